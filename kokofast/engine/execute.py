"""Carries out operations: resolves what was not known when the plan was made, sends, and reads the answers.

Blocking; several worker threads call it at a time with different operations.
"""

from __future__ import annotations

import _thread
import errno

from kokofast.engine.indexes import Indexes
from kokofast.engine.observe import NO_MIRRORS, look_at, observe
from kokofast.engine.requests import requests_of, requests_of_change
from kokofast.plan.operations import (
    AddMirror,
    Change,
    ConfigureEnd,
    CreateLink,
    IfRef,
    MakeNamespace,
    MarkRef,
    NsRef,
    RemoveMirror,
)
from kokofast.plan.ownership import first_address, is_our_group
from kokofast.wire.addr import AF_INET, AF_INET6, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.message import KernelError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kokofast.engine.mirrors import Mirrors
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.plan.operations import Operation

    Refusal = KernelError | OSError

PROMOTE = "ipv4/conf/{}/promote_secondaries"
KEEP_ADDRESSES = "ipv6/conf/{}/keep_addr_on_down"
DISABLE_IPV6 = "ipv6/conf/{}/disable_ipv6"

# There is none, or /proc/sys is read-only: then it is as it is.
_NO_SYSCTL = (errno.ENOENT, errno.EROFS, errno.EACCES, errno.EPERM)

INDEX_ATTEMPTS = 8


class Executor:
    """The state of one run: the namespaces by number, the ifindex of every interface, and what was made so far.

    is_alone: whether the lab's lock keeps other runs off, so that no new link is one of theirs."""

    def __init__(
        self,
        kernel: Kernel,
        handles: list[Handle | None],
        observed: Sequence[Namespace | None],
        *,
        is_alone: bool = True,
    ) -> None:
        self.kernel = kernel
        self.handles = handles
        self.boot = kernel.boot_id()
        self.begun: set[Operation] = set()
        self.adopted: dict[int, Namespace] = {}  # that were to be made, and that somebody else made
        self.is_alone = is_alone
        self.observed = observed
        self.stopped: Callable[[], bool] = lambda: False  # whether what waits is to give up
        self.indexes = Indexes(observed)
        self._mirrors: Mirrors | None = None
        self._lock = _thread.allocate_lock()  # not threading: see host.threads
        self._sysctls: dict[tuple[int, str], dict[str, str]] = {}  # of interfaces: what was changed, as it was before

    @property
    def mirrors(self) -> Mirrors:
        """What knows of mirrors; only who has some pays for it."""
        with self._lock:
            if self._mirrors is None:
                from kokofast.engine.mirrors import Mirrors

                self._mirrors = Mirrors(self)
            return self._mirrors

    def handle(self, ns: int) -> Handle:
        """The namespace of this number, which exists by now."""
        handle = self.handles[ns]
        assert handle is not None, f"namespace {ns} is used before it is made"
        return handle

    def resolve(self, reference: object) -> int | bytes:
        """What a typed reference stands for."""
        if isinstance(reference, IfRef):
            return self.indexes.of(reference)
        if isinstance(reference, NsRef):
            fd = self.handle(reference.ns).fd
            if fd is None:  # never while the namespace is held by using()
                raise OSError(errno.EBADF, "the namespace is not open")
            return fd
        if isinstance(reference, MarkRef):
            ns = reference.interface.ns
            place = self.boot, self.handle(ns).identity, reference.group, self.indexes.of(reference.interface)
            return first_address(place, self.indexes.salt_of(reference.interface), reference.lab)
        raise TypeError(f"{reference!r} is neither a number nor a reference")

    def execute(self, operations: Sequence[Operation]) -> list[Refusal | None]:
        """Carries out operations of one type that wait for nothing; one result each, in order."""
        self.begun.update(operations)
        first = operations[0]
        if isinstance(first, MakeNamespace):
            from kokofast.engine.making import make_namespaces  # only who makes some pays

            return make_namespaces(self, [item for item in operations if isinstance(item, MakeNamespace)])
        if isinstance(first, CreateLink):
            return self._create_links([item for item in operations if isinstance(item, CreateLink)])
        if isinstance(first, AddMirror):
            return [self.mirrors.add(item) for item in operations if isinstance(item, AddMirror)]
        if isinstance(first, RemoveMirror):
            return [self.mirrors.remove(item) for item in operations if isinstance(item, RemoveMirror)]
        return self._configure([item for item in operations if isinstance(item, ConfigureEnd)])

    def adopt(self, ns: int, handle: Handle) -> OSError | None:
        """Takes a namespace that somebody else has made since we looked, for the one of this number."""
        try:
            with self.kernel.using([handle]):
                namespace = observe(self.kernel, handle)
        except OSError as error:
            return error
        self.indexes.learn(ns, namespace)
        with self._lock:
            self.handles[ns] = handle
            self.adopted[ns] = namespace
        return None

    def _create_links(self, operations: Sequence[CreateLink]) -> list[Refusal | None]:
        places = {reference.ns for operation in operations for reference in operation.ends}
        places |= {operation.sender for operation in operations if operation.sender is not None}
        results: dict[int, Refusal | None] = {}
        waiting = dict(enumerate(operations))
        try:
            with self.kernel.using([self.handle(ns) for ns in sorted(places)]):
                for attempt in range(INDEX_ATTEMPTS):
                    if attempt:
                        waiting = self._look_again(waiting)
                    answers = self._send_creations(list(waiting.values()))
                    results.update(zip(waiting, answers, strict=True))
                    waiting = {number: operations[number] for number in waiting if _index_taken(results[number])}
                    if not waiting:
                        break
        except OSError as error:
            # Also those whose index was taken in the attempt before: whether this one went well is not known.
            results.update(dict.fromkeys(waiting, error))
        return [results[number] for number in range(len(operations))]

    def _send_creations(self, operations: Sequence[CreateLink]) -> list[Refusal | None]:
        by_sender: dict[int | None, list[int]] = {}
        for number, operation in enumerate(operations):
            by_sender.setdefault(operation.sender, []).append(number)
        self.indexes.choose(operations)
        results: list[Refusal | None] = [None] * len(operations)
        for sender, numbers in by_sender.items():
            requests = [request for number in numbers for request in requests_of(operations[number])]
            answers: Sequence[Refusal | None]
            try:
                handle = self.kernel.scratch() if sender is None else self.handle(sender)
                answers = self.kernel.send(handle, requests, self.resolve)
            except OSError as error:  # of this socket: the other senders' links have nothing to do with it
                answers = [error] * len(numbers)
            for number, answer in zip(numbers, answers, strict=True):
                results[number] = answer
        return results

    def _look_again(self, waiting: Mapping[int, CreateLink]) -> dict[int, CreateLink]:
        # Someone else has the index: another is chosen. Those whose name was taken are not tried again.
        taken: set[tuple[int, str]] = set()
        for ns in sorted({reference.ns for operation in waiting.values() for reference in operation.ends}):
            namespace = observe(self.kernel, self.handle(ns))
            taken.update((ns, ifname) for ifname in namespace.interfaces)
        again = {
            number: operation
            for number, operation in waiting.items()
            if not any((reference.ns, reference.ifname) in taken for reference in operation.ends)
        }
        self.indexes.drop(again.values())
        return again

    def _configure(self, operations: Sequence[ConfigureEnd]) -> list[Refusal | None]:
        return self._change(
            [(operation.interface, operation.change, requests_of(operation)) for operation in operations]
        )

    def change(self, changes: Sequence[tuple[IfRef, Change]]) -> list[Refusal | None]:
        """Sets interfaces, all of a namespace in one send; one result each, the first refusal of those it had."""
        return self._change(
            [(reference, change, requests_of_change(reference, change)) for reference, change in changes]
        )

    def _change(self, changes: Sequence[tuple[IfRef, Change, list[Request]]]) -> list[Refusal | None]:
        results: list[Refusal | None] = [None] * len(changes)
        by_namespace: dict[int, list[int]] = {}
        for number, (reference, _, _) in enumerate(changes):
            by_namespace.setdefault(reference.ns, []).append(number)
        try:
            with self.kernel.using([self.handle(ns) for ns in by_namespace]):
                for ns, numbers in by_namespace.items():
                    handle = self.handle(ns)
                    try:
                        for number in numbers:
                            results[number] = self.replaced(handle, changes[number][0], ours=True)
                        chosen = [(number, *changes[number]) for number in numbers if results[number] is None]
                        if chosen:
                            self._change_in(handle, chosen, results)
                    except OSError as error:  # of this namespace's socket
                        for number in numbers:
                            results[number] = results[number] or error
        except OSError as error:
            return [error] * len(changes)
        return results

    def _change_in(
        self,
        handle: Handle,
        changes: Sequence[tuple[int, IfRef, Change, list[Request]]],
        results: list[Refusal | None],
    ) -> None:
        requests: list[Request] = []
        owners: list[tuple[int, IfRef]] = []
        for number, reference, _, wanted in changes:
            requests += wanted
            owners += [(number, reference)] * len(wanted)
        # What the kernel does beside what it is asked for, a user's addresses included.
        guarded = [(number, ref, PROMOTE) for number, ref, change, _ in changes if _removes_ipv4(change)]
        guarded += [(number, ref, KEEP_ADDRESSES) for number, ref, change, _ in changes if change.up is False]
        for _, reference, path in guarded:
            self._guard(handle, reference, path)
        try:
            answers = self.kernel.send(handle, requests, self.resolve)
        finally:
            for number, reference, path in guarded:
                refusal = self._set_back(handle, reference, path) and self._set_back(handle, reference, path)
                results[number] = results[number] or refusal
        for request, (number, reference), answer in zip(requests, owners, answers, strict=True):
            if answer is not None and request.type == RTM_DELADDR and answer.errno == errno.EADDRNOTAVAIL:
                answer = None  # gone already: what was wanted
            if answer is not None and _is_ipv6_address(request):
                answer = self._enable_ipv6(handle, reference, request, answer)
            if answer is not None and results[number] is None:
                answer.request = request
                results[number] = answer

    def replaced(self, handle: Handle, reference: IfRef, *, ours: bool = False) -> KernelError | None:
        """Why an interface that was seen before this run did anything is not to be touched: its number is another's by
        now. The number of one that this run makes is its own (see engine.indexes). Raises OSError."""
        if self.indexes.has_chosen(reference):
            return None
        found = look_at(self.kernel, handle, self.indexes.of(reference))
        if found is not None and found.ifname == reference.ifname and (is_our_group(found.group) or not ours):
            return None
        return KernelError(
            errno.ENODEV, f"{reference.ifname} has gone since it was looked at, or is another one by now"
        )

    def set_sysctls_back(self, reference: IfRef) -> Refusal | None:
        """Gives an interface's sysctls that this run has changed their values of before."""
        handle = self.handle(reference.ns)
        try:
            with self.kernel.using([handle]):
                for path in list(self._sysctls.get((reference.ns, reference.ifname), ())):
                    refusal = self._set_back(handle, reference, path)
                    if refusal is not None:
                        return refusal
        except OSError as error:
            return error
        return None

    def _set(self, handle: Handle, reference: IfRef, path: str, value: str) -> None:
        before = self.kernel.write_sysctl(handle, path.format(reference.ifname), value)
        self._sysctls.setdefault((reference.ns, reference.ifname), {}).setdefault(path, before)

    def _set_back(self, handle: Handle, reference: IfRef, path: str) -> OSError | None:
        changed = self._sysctls.get((reference.ns, reference.ifname), {})
        if path in changed:
            try:
                self.kernel.write_sysctl(handle, path.format(reference.ifname), changed[path])
            except OSError as error:
                if error.errno != errno.ENOENT:  # gone with the interface, or with its IPv6
                    return error
            del changed[path]
        return None

    def look(self, ns: int, *, mirrors: int = NO_MIRRORS) -> Namespace:
        """What is in a namespace now. Raises OSError."""
        handle = self.handle(ns)
        with self.kernel.using([handle]):
            return observe(self.kernel, handle, mirrors=mirrors)

    def _guard(self, handle: Handle, reference: IfRef, path: str) -> None:
        # With an IPv4 address the kernel removes all later ones of its subnet, unless it may promote them; and when an
        # interface goes down all its IPv6 addresses, unless it is told to keep them.
        try:
            self._set(handle, reference, path, "1")
        except OSError as error:
            if error.errno not in _NO_SYSCTL:
                raise

    def _enable_ipv6(
        self, handle: Handle, reference: IfRef, request: Request, refusal: KernelError
    ) -> KernelError | None:
        try:
            if refusal.errno == errno.EACCES:
                # inet6_addr_add(): disable_ipv6 is set, Docker's default in containers. Who gives an IPv6 address
                # wants it on, for this interface only.
                self._set(handle, reference, DISABLE_IPV6, "0")
            elif refusal.errno == errno.EOPNOTSUPP:
                self.kernel.load_ipv6()
            else:
                return refusal
        except OSError as error:
            why = error.strerror or str(error)
            return KernelError(error.errno or errno.EIO, f"IPv6 is off there and cannot be switched on: {why}")
        return self.kernel.send(handle, [request], self.resolve)[0]


def _index_taken(result: Refusal | None) -> bool:
    # EEXIST may also be about the name. Since Linux 6.15 a taken index of the first end gives that, of the peer EBUSY.
    return isinstance(result, KernelError) and result.errno in (errno.EBUSY, errno.EEXIST)


def _removes_ipv4(change: Change) -> bool:
    return any(address.family == AF_INET for address in change.remove)


def _is_ipv6_address(request: Request) -> bool:
    return request.type == RTM_NEWADDR and request.header.get("family") == AF_INET6
