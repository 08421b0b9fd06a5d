"""Find out which network namespaces live on after their names and our descriptors are gone.

A socket, an open file, a thread, or a mount in another mount namespace may keep one alive, and the kernel lists these
nowhere. But an nsid of it in another namespace (RTM_NEWNSID) does not keep it alive, and works as long as it lives
(RTM_GETNSID, IFLA_TARGET_NETNSID). Source: net/core/net_namespace.c get_net_ns_by_id().
"""

from __future__ import annotations

import _thread
import errno
import os
import time

from kokofast.host.namespaces import make_scratch
from kokofast.wire.link import RTM_DELLINK, RTM_GETLINK
from kokofast.wire.message import KernelError, Request
from kokofast.wire.netns import RTM_GETNSID, RTM_NEWNSID, asked, numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kokofast.host.namespaces import Identity
    from kokofast.wire.attributes import Resolve
    from kokofast.wire.message import Message

# nsids in one observer: the kernel walks all of them for each that it gives, and for each namespace that ends.
NUMBERS_EACH = 512

# Give up after so many without progress. RCU grace periods take some 10 ms, rarely 100.
ATTEMPTS = 30
PAUSE_SECONDS = 0.01

_BY_NUMBER = (RTM_GETLINK, RTM_DELLINK)


def _ready(type: int, body: bytes) -> Request:
    request = Request(type, {})
    request.body = body
    return request


class _Observer:
    """An empty namespace of ours, with nsids for other namespaces, and a socket in it."""

    __slots__ = ("lock", "numbers", "socket")

    def __init__(self) -> None:
        made = make_scratch()
        os.close(made.fd)
        self.socket = made.socket
        try:
            self.socket.be_short()
        except BaseException:
            self.socket.close()
            raise
        self.lock = _thread.allocate_lock()
        self.numbers = 0


class Remote:
    """Acts as a socket in a namespace without a name, by its nsid. Only for requests about links."""

    __slots__ = ("_number", "_observer")

    def __init__(self, observer: _Observer, number: int) -> None:
        self._observer = observer
        self._number = number

    def send(
        self, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        """Do as Socket.send()."""
        with self._observer.lock:
            answers = self._observer.socket.send([self._there(request) for request in requests], resolve, whole=whole)
            return [answer if answer is None else self._or_gone(answer) for answer in answers]

    def dump(self, request: Request) -> list[Message]:
        """Do as Socket.dump()."""
        with self._observer.lock:
            try:
                return self._observer.socket.dump(self._there(request))
            except KernelError as error:
                raise self._or_gone(error) from None

    def ask(self, request: Request) -> list[Message]:
        """Do as Socket.ask()."""
        with self._observer.lock:
            try:
                return self._observer.socket.ask(self._there(request))
            except KernelError as error:
                raise self._or_gone(error) from None

    def _or_gone(self, error: KernelError) -> KernelError:
        # The namespace may end at any time. The kernel refuses the nsid with EINVAL then.
        if error.errno != errno.EINVAL:
            return error
        (refusal,) = self._observer.socket.send([_ready(RTM_GETNSID, asked(self._number))])
        is_gone = refusal is not None and refusal.errno == errno.ENOENT
        return KernelError(errno.ENODEV, "the namespace has ended") if is_gone else error

    def _there(self, request: Request) -> Request:
        if request.type not in _BY_NUMBER:
            raise OSError(errno.EOPNOTSUPP, "the namespace has no name any more: only its links can be reached")
        attributes = {**request.attributes, "target_netnsid": self._number}
        return Request(
            request.type,
            request.header,
            attributes,
            request.flags,
            only=request.only,
            rows=request.rows,
            accept=request.accept,
        )


def _ask(observer: _Observer, numbers: Sequence[int]) -> Sequence[KernelError | None]:
    """Ask for namespaces by their nsids. The refusal ENOENT means that one has ended."""
    for _ in range(2):  # an answer may be lost, and there is no other way to them
        try:
            with observer.lock:
                return observer.socket.send([_ready(RTM_GETNSID, asked(number)) for number in numbers])
        except OSError:
            continue
    return [None] * len(numbers)


class Watch:
    """Namespaces that are about to lose their names, by (device, inode). Thread-safe."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._observers: list[_Observer] = []
        self._places: dict[Identity, tuple[_Observer, int]] = {}

    def add(self, namespaces: Iterable[tuple[Identity, int]]) -> None:
        """Watch these open namespaces from now on. Raises OSError, KernelError."""
        with self._lock:
            new = [(found, fd) for found, fd in namespaces if found not in self._places]
            while new:
                if not self._observers or self._observers[-1].numbers >= NUMBERS_EACH:
                    self._observers.append(_Observer())
                observer = self._observers[-1]
                chosen, new = new[: NUMBERS_EACH - observer.numbers], new[NUMBERS_EACH - observer.numbers :]
                # Downwards: the kernel ends the last namespace first, and walks the nsids from 0.
                numbers = range(NUMBERS_EACH - observer.numbers - 1, -1, -1)
                observer.numbers += len(chosen)
                requests = [
                    _ready(RTM_NEWNSID, numbered(number, fd)) for number, (_, fd) in zip(numbers, chosen, strict=False)
                ]
                with observer.lock:
                    refusals = observer.socket.send(requests)
                for number, (found, _), refusal in zip(numbers, chosen, refusals, strict=False):
                    if refusal is not None:
                        raise refusal
                    self._places[found] = observer, number

    def living(self, namespaces: Iterable[Identity]) -> list[Identity]:
        """Return those that are still alive, or of which the kernel does not say."""
        by_observer: dict[_Observer, list[tuple[Identity, int]]] = {}
        for found in namespaces:
            if found in self._places:  # else it has ended, or others removed its name
                observer, number = self._places[found]
                by_observer.setdefault(observer, []).append((found, number))
        living: list[Identity] = []
        for observer, places in by_observer.items():
            refusals = _ask(observer, [number for _, number in places])
            for (found, _), refusal in zip(places, refusals, strict=True):
                if refusal is None or refusal.errno != errno.ENOENT:
                    living.append(found)
                else:
                    del self._places[found]  # a new namespace may get the inode
        return living

    def wait(self, namespaces: Iterable[Identity]) -> list[Identity]:
        """Return those that are kept alive, after waiting for others to end.

        The kernel releases our last sockets and descriptors in them after an RCU grace period only.
        """
        living = self.living(namespaces)
        attempts = 0
        while living and attempts < ATTEMPTS:
            time.sleep(PAUSE_SECONDS)
            before, living = living, self.living(living)
            attempts = attempts + 1 if len(living) == len(before) else 0
        return living

    def knows(self, namespace: Identity) -> bool:
        """Whether the namespace is watched and not known to have ended."""
        return namespace in self._places

    def remote(self, namespace: Identity) -> Remote:
        """Return access to the links of a namespace that lives on."""
        return Remote(*self._places[namespace])

    def close(self) -> None:
        """Close all observers."""
        for observer in self._observers:
            observer.socket.close()
        self._observers.clear()
        self._places.clear()
