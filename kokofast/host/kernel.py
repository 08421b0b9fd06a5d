"""The kernel as the engine sees it: namespaces that can be asked, within a budget of descriptors.

Everything here blocks and is meant for worker threads; several may call at once. Tests put a fake in its place.
"""

from __future__ import annotations

import _thread
import errno
import os

from kokofast.host.namespaces import (
    NewNamespace,
    identity,
    list_processes,
    make_namespaces,
    make_scratch,
    misled,
    name_namespace,
    named,
    open_each,
    open_namespace,
    open_sockets,
    prepare_directory,
    remove_namespace,
    write_sysctl,
)
from kokofast.host.netlink import Socket
from kokofast.wire.link import RTM_SETLINK
from kokofast.wire.message import KernelError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    from kokofast.host.watch import Remote, Watch
    from kokofast.wire.attributes import Resolve
    from kokofast.wire.message import Message

    class Trace(Protocol):
        """What is told of every exchange: engine.trace.Trace, say."""

        def span(self, name: str, category: str, **details: object) -> AbstractContextManager[None]: ...


DESCRIPTORS_EACH = 2  # the namespace and a netlink socket in it
_NOWHERE = (errno.ENOENT, errno.ESRCH, errno.EINVAL)
LOOPBACK_IFINDEX = 1  # include/net/net_namespace.h LOOPBACK_IFINDEX: the first device of every namespace


class Handle:
    """A network namespace in use. It can be closed in between to stay within the budget: identity, (device, inode),
    and cookie tell whether the path still leads to the same namespace when it is opened again. The inode alone does
    not: while it is closed the namespace may end, and a new one gets the lowest free number."""

    __slots__ = ("cookie", "fd", "identity", "lock", "path", "remote", "socket", "users")

    def __init__(self, path: str, identity: tuple[int, int], fd: int | None, socket: Socket | None = None) -> None:
        self.remote: Remote | None = None  # see Kernel.outlived()
        self.path = path
        self.identity = identity
        self.cookie: int | None = None  # taken when it is closed
        self.fd = fd
        self.socket = socket
        self.users = 0
        self.lock = _thread.allocate_lock()  # one exchange at a time on a socket

    def __repr__(self) -> str:
        return f"Handle({self.path})"


class Kernel:
    """budget is how many descriptors may be open at a time; None raises the limit on open files and takes it."""

    trace: Trace | None = None
    waits: Callable[[str], object] | None = None  # called with what is waited for, when that takes half a second

    def __init__(self, budget: int | None = None) -> None:
        self.budget = _all_open_files() if budget is None else budget
        self._lock = _thread.allocate_lock()
        self._idle: dict[Handle, None] = {}  # least recently used first
        self._open = 0
        self._scratch: Handle | None = None
        self._prepared = False
        self._boot_id = ""
        self._watch: Watch | None = None

    @property
    def capacity(self) -> int:
        """How many namespaces may be held at a time by all workers together."""
        return max(self.budget // DESCRIPTORS_EACH - 1, 2)

    def expect(self, namespaces: int) -> None:
        """Makes room for the descriptors of this many namespaces; best before there is a second thread."""
        from kokofast.host.limits import RESERVED, make_room

        make_room(min(namespaces * DESCRIPTORS_EACH, self.budget) + RESERVED - 1)

    def boot_id(self) -> str:
        """The kernel's random name for this boot; random(4)."""
        if not self._boot_id:
            with open("/proc/sys/kernel/random/boot_id", "rb") as file:
                self._boot_id = file.read().decode().strip()
        return self._boot_id

    def open_all(self, paths: Sequence[str]) -> list[Handle | OSError]:
        """Opens namespaces by path. The descriptors stay open while the budget allows."""
        self._reserve(len(paths))
        found: list[Handle | OSError] = []
        ready: list[Handle] = []
        try:
            for path in paths:
                try:
                    fd, found_there = _open(path)
                except OSError as error:
                    found.append(error)
                    continue
                found.append(Handle(path, found_there, fd))
            opened = [item for item in found if isinstance(item, Handle)]
            refused: dict[Handle, OSError] = {}
            for handle, socket in zip(opened, self._sockets(opened), strict=True):
                if isinstance(socket, OSError):
                    _close_fd(handle)
                    refused[handle] = socket
                else:
                    handle.socket = socket
                    ready.append(handle)
            found = [refused.get(item, item) if isinstance(item, Handle) else item for item in found]
        finally:
            with self._lock:
                self._open -= len(paths) - len(ready)
                self._idle.update(dict.fromkeys(ready))
        return found

    def _sockets(self, handles: Sequence[Handle]) -> list[Socket | OSError]:
        try:
            return open_each([handle.fd for handle in handles if handle.fd is not None]) if handles else []
        except OSError as error:
            return [error] * len(handles)
        except BaseException:
            for handle in handles:
                _close_fd(handle)
            raise

    def using(self, handles: Sequence[Handle], *, to_ask: bool = True) -> AbstractContextManager[None]:
        """Holds these namespaces open for the block; not to_ask: their sockets may be closed. Raises OSError ESTALE
        when a path leads elsewhere by now."""
        return _Use(self, list(dict.fromkeys(handles)), to_ask)

    def _take(self, handles: Sequence[Handle], to_ask: bool) -> None:
        with self._lock:
            for handle in handles:
                handle.users += 1
                self._idle.pop(handle, None)
        try:
            closed = [handle for handle in handles if handle.socket is None and handle.remote is None]
            if closed:
                self._reopen([handle for handle in closed if to_ask or handle.fd is None])
        except BaseException:
            self._give_back(handles)
            raise

    def _give_back(self, handles: Sequence[Handle]) -> None:
        with self._lock:
            for handle in handles:
                handle.users -= 1
                if handle.users == 0 and handle.fd is not None:
                    self._idle[handle] = None
            self._evict(0)

    def _reopen(self, closed: Sequence[Handle]) -> None:
        half = {handle: handle.fd for handle in closed if handle.fd is not None}  # see watch()
        for handle, socket in zip(half, open_sockets(half.values()) if half else (), strict=True):
            if handle.socket is None:
                handle.socket = socket
            else:  # another worker was faster
                socket.close()
        closed = [handle for handle in closed if handle.fd is None]
        if not closed:
            return
        self._reserve(len(closed))
        fds: list[int] = []
        sockets: list[Socket] = []
        try:
            processes: dict[tuple[int, int], int] = {}
            for handle in closed:
                fds.append(_open_again(handle, processes))
            sockets = open_sockets(fds)
            for handle, socket in zip(closed, sockets, strict=True):
                if socket.namespace_cookie() != handle.cookie:
                    raise _stale(handle)
        except BaseException:
            for fd in fds:
                os.close(fd)
            for socket in sockets:
                socket.close()
            with self._lock:
                self._open -= len(closed)
            raise
        with self._lock:
            for handle, fd, socket in zip(closed, fds, sockets, strict=True):
                if handle.socket is None:
                    handle.fd, handle.socket = fd, socket
                else:  # another worker was faster
                    os.close(fd)
                    socket.close()
                    self._open -= 1

    def _reserve(self, wanted: int) -> None:
        # Counted before they are opened: two workers must not both take the last descriptors.
        with self._lock:
            self._evict(wanted)
            self._open += wanted

    def _evict(self, wanted: int) -> None:
        # Called with the lock held. What is in use stays: workers take no more than their share of the capacity.
        while self._idle and (self._open + wanted) * DESCRIPTORS_EACH > self.budget:
            handle = next(iter(self._idle))
            del self._idle[handle]
            self._close(handle)

    def _close(self, handle: Handle) -> None:
        if handle.fd is not None:
            os.close(handle.fd)
        _close_socket(handle)
        handle.fd = None
        self._open -= 1

    def forget(self, handle: Handle) -> None:
        """Closes a namespace for good, so that the kernel can end it."""
        with self._lock:
            if handle in self._idle:
                del self._idle[handle]
                self._close(handle)

    def watch(self, handles: Sequence[Handle]) -> None:
        """Has outlived() know these namespaces, held by using(), and closes the sockets in them: the kernel lets go of
        a socket's namespace some time later only (RCU). Raises OSError, KernelError."""
        with self._lock:
            if self._watch is None:
                from kokofast.host.watch import Watch  # only who removes namespaces pays

                self._watch = Watch()
            watch = self._watch
        watch.add([(handle.identity, handle.fd) for handle in handles if handle.fd is not None])
        for handle in handles:
            _close_socket(handle)

    def watches(self, handle: Handle) -> bool:
        """Whether outlived() can tell of this namespace."""
        return self._watch is not None and self._watch.knows(handle.identity)

    def reach(self, handle: Handle) -> None:
        """Has the links of a namespace, held by using(), asked for without a socket in it where that is closed."""
        if handle.socket is None and self._watch is not None and self._watch.knows(handle.identity):
            handle.remote = self._watch.remote(handle.identity)

    def outlived(self, handles: Sequence[Handle], *, patient: bool = True) -> list[Handle]:
        """Those of these namespaces, watched, unnamed and forgotten, that something else holds. Their links can still
        be asked for and deleted. patient: those that end by themselves are given a moment."""
        if self._watch is None:
            return []
        by_identity = {handle.identity: handle for handle in handles}
        ask = self._watch.wait if patient else self._watch.living
        living = [by_identity[found] for found in ask(by_identity)]
        for handle in living:
            handle.remote = self._watch.remote(handle.identity)
        return living

    def send(
        self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        """Has requests carried out in a namespace held by using(); one result each, None for done; as Socket.send()."""
        socket = handle.remote or handle.socket
        assert socket is not None
        if self.trace is not None:
            with handle.lock, self.trace.span("send", "netlink", namespace=handle.path, messages=len(requests)):
                return socket.send(requests, resolve, whole=whole)
        with handle.lock:
            return socket.send(requests, resolve, whole=whole)

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        """A dump in a namespace held by using()."""
        socket = handle.remote or handle.socket
        assert socket is not None
        if self.trace is not None:
            with handle.lock, self.trace.span("dump", "netlink", namespace=handle.path):
                return socket.dump(request)
        with handle.lock:
            return socket.dump(request)

    def ask(self, handle: Handle, request: Request) -> list[Message]:
        """The answer to a question that is no dump, in a namespace held by using(). Raises KernelError, OSError."""
        socket = handle.remote or handle.socket
        assert socket is not None
        with handle.lock:
            return socket.ask(request)

    def nsid(self, handle: Handle, other: Handle) -> int | None:
        """The number by which a namespace calls another one, both held by using(); None when it has none for it.
        Raises KernelError, OSError."""
        from kokofast.wire.netns import NETNSA_NSID_NOT_ASSIGNED, RTM_GETNSID  # a single veth link does without

        assert other.fd is not None
        (answer,) = self.ask(handle, Request(RTM_GETNSID, {}, {"fd": other.fd}))
        found: int = answer.attributes["nsid"]
        return None if found == NETNSA_NSID_NOT_ASSIGNED else found

    def write_sysctl(self, handle: Handle, path: str, value: str) -> str:
        """Writes /proc/sys/net/PATH in a namespace held by using(); returns what it was."""
        assert handle.fd is not None
        return write_sysctl(handle.fd, path, value)

    def load_ipv6(self) -> None:
        """Has the kernel load its IPv6 module: only a socket does that. Raises OSError when there is none."""
        import socket

        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC).close()

    def scratch(self) -> Handle:
        """An empty namespace without a name, to send creations from: kernels before 6.15 look for a name collision in
        the sender's namespace. It ends with the process."""
        with self._lock:
            if self._scratch is None:
                made = make_scratch()
                self._scratch = Handle("(scratch)", made.identity, made.fd, made.socket)
                self._open += 1
            return self._scratch

    def make(self, jobs: Sequence[tuple[str, str]]) -> list[Handle | OSError | KernelError]:
        """Makes named namespaces from (name, alias), each marked with the alias before it has its name, its loopback
        up. One result each, in order. Raises DirectoryLockedError, for another attempt."""
        with self._lock:
            if not self._prepared:
                prepare_directory()
                self._prepared = True
        try:  # noqa: SIM105 - see threads.py: no contextlib
            # Links need it: where the kernel allows few namespaces more, it must not be the one too many.
            self.scratch()
        except OSError:  # to whoever needs it
            pass
        self._reserve(len(jobs))
        results: list[Handle | OSError | KernelError] = []
        ready: list[Handle] = []
        try:
            for (name, _), item in zip(jobs, make_namespaces(jobs, _mark), strict=True):
                if not isinstance(item, NewNamespace):
                    results.append(item)
                    continue
                ready.append(handle := Handle(named(name), item.identity, item.fd, item.socket))
                results.append(handle)
        finally:
            with self._lock:
                self._open -= len(jobs) - len(ready)
                self._idle.update(dict.fromkeys(ready))
        return results

    def misled(self, handle: Handle) -> OSError | None:
        """Why the path of a namespace does not lead to it any more; None while it does."""
        return misled(handle.path, handle.identity)

    def remove(self, name: str, expected: tuple[int, int] | None) -> None:
        """Takes a named namespace away; see namespaces.remove_namespace()."""
        remove_namespace(name, expected)

    def give_name(self, name: str, handle: Handle, claim: str) -> None:
        """Gives a namespace held by using() a name; see namespaces.name_namespace()."""
        assert handle.fd is not None
        name_namespace(name, handle.fd, claim)

    def close(self) -> None:
        """Closes everything that is open."""
        with self._lock:
            while self._idle:
                handle, _ = self._idle.popitem()
                self._close(handle)
            if self._scratch is not None:
                scratch, self._scratch = self._scratch, None
                self._open -= 1
                if scratch.fd is not None:
                    os.close(scratch.fd)
                if scratch.socket is not None:
                    scratch.socket.close()
            if self._watch is not None:
                self._watch.close()
                self._watch = None


def kernel_for(namespaces: int) -> Kernel:
    """A kernel with room for this many, made while there is one thread only: see make_room()."""
    kernel = Kernel()
    kernel.expect(namespaces)
    return kernel


class _Use:
    # Not contextlib's decorator: see threads.py.
    __slots__ = ("_handles", "_kernel", "_to_ask")

    def __init__(self, kernel: Kernel, handles: Sequence[Handle], to_ask: bool) -> None:
        self._to_ask = to_ask
        self._kernel = kernel
        self._handles = handles

    def __enter__(self) -> None:
        self._kernel._take(self._handles, self._to_ask)

    def __exit__(self, *_: object) -> None:
        self._kernel._give_back(self._handles)


def _close_socket(handle: Handle) -> None:
    if handle.socket is not None:
        handle.cookie = handle.socket.namespace_cookie()
        handle.socket.close()
        handle.socket = None


def _close_fd(handle: Handle) -> None:
    if handle.fd is not None:
        os.close(handle.fd)
        handle.fd = None


def _open(path: str) -> tuple[int, tuple[int, int]]:
    fd = open_namespace(path)
    try:
        return fd, identity(fd)
    except BaseException:
        os.close(fd)
        raise


def _open_again(handle: Handle, processes: dict[tuple[int, int], int]) -> int:
    """Opens a namespace by its path, or, where that leads nowhere or elsewhere by now, by a process that lives in it.
    processes, by namespace, are listed when they are needed. Raises OSError."""
    refusal: OSError | None = None
    for path in _paths_of(handle, processes):
        try:
            fd, found = _open(path)
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            refusal = refusal or error
            continue
        if found == handle.identity:
            return fd
        os.close(fd)
    raise refusal or _stale(handle)


def _paths_of(handle: Handle, processes: dict[tuple[int, int], int]) -> Iterator[str]:
    yield handle.path
    if not processes:
        processes.update((identity, pid) for pid, identity in list_processes())
    if handle.identity in processes:
        yield f"/proc/{processes[handle.identity]}/ns/net"


def _all_open_files() -> int:
    from kokofast.host.limits import raise_open_files

    return raise_open_files()


def _stale(handle: Handle) -> OSError:
    return OSError(errno.ESTALE, "the name leads to another network namespace by now", handle.path)


def _mark(socket: Socket, alias: str) -> None:
    # Up as well: without its loopback a namespace cannot reach its own addresses.
    request = Request(RTM_SETLINK, {"index": LOOPBACK_IFINDEX, "flags": 1, "change": 1}, {"ifalias": alias})
    (refusal,) = socket.send([request])
    if refusal is not None:
        raise refusal
