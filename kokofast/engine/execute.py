"""Carries out operations: resolves what was not known when the plan was made, sends, and reads the answers.

Blocking; several worker threads call it at a time with different operations.
"""

from __future__ import annotations

import _thread
import errno
import os
import time

from kokofast.engine.observe import NO_MIRRORS, members_of, observe
from kokofast.engine.requests import requests_of, requests_of_change
from kokofast.host.namespaces import named
from kokofast.plan.operations import (
    AddMirror,
    Change,
    ConfigureEnd,
    CreateLink,
    DeleteGroup,
    DeleteInterface,
    IfRef,
    MakeNamespace,
    MarkRef,
    NsRef,
    RemoveMirror,
    RemoveNamespace,
)
from kokofast.plan.ownership import first_broadcast, first_mac, group_of_cookie
from kokofast.wire.addr import AF_INET, AF_INET6, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import RTM_DELLINK
from kokofast.wire.message import KernelError, Request, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.engine.mirror import BareQdisc
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import MirrorFilter, Namespace
    from kokofast.plan.operations import Operation, Removal

    Refusal = KernelError | OSError

PROMOTE = "ipv4/conf/{}/promote_secondaries"
DISABLE_IPV6 = "ipv6/conf/{}/disable_ipv6"

ADOPT_ATTEMPTS = 50
ADOPT_SECONDS = 0.01
INDEX_ATTEMPTS = 8
# Interfaces with larger numbers (someone chose them) are not counted, so that there is always room above the highest.
LARGEST_INDEX = 1 << 30


class Executor:
    """The state of one run: the namespaces by number, the ifindex of every interface, and what was made so far."""

    def __init__(self, kernel: Kernel, handles: list[Handle | None], observed: Sequence[Namespace | None]) -> None:
        self.kernel = kernel
        self.handles = handles
        self.boot = kernel.boot_id()
        self.begun: set[Operation] = set()
        self.adopted: set[int] = set()  # namespaces that were to be made, and that somebody else made
        self._lock = _thread.allocate_lock()  # not threading: see host.threads
        self._index: dict[tuple[int, str], int] = {}
        self._chosen: set[tuple[int, str]] = set()
        self._sysctls: dict[tuple[int, str], dict[str, str]] = {}  # of interfaces: what was changed, as it was before
        self.bare: dict[tuple[int, int], BareQdisc] = {}  # (namespace, ifindex) -> what is left of a mirror
        # Requests whose bytes were made ahead, and what must be as it was then (see _stamp).
        self._ahead: dict[Operation, tuple[tuple[int, int], list[Request]]] = {}
        self._index_changes = 0
        # One operation at a time on the qdiscs of an interface: one takes the qdisc away that another is about to use.
        self._at_mirrors: dict[tuple[int, int], _thread.LockType] = {}
        self._next_index: list[int] = []
        for ns, namespace in enumerate(observed):
            self._next_index.append(2)
            if namespace is not None:
                self._learn(ns, namespace)

    def _learn(self, ns: int, namespace: Namespace) -> None:
        for interface in namespace.interfaces.values():
            self._index[ns, interface.ifname] = interface.ifindex
        self._next_index[ns] = max(self._next_index[ns], _highest_index(namespace) + 1)

    def index_of(self, reference: IfRef) -> int:
        """The ifindex that an interface of this run has."""
        return self._index[reference.ns, reference.ifname]

    def has_chosen(self, reference: IfRef) -> bool:
        """Whether this run has chosen an index for the interface, that is: may have asked for it to be made."""
        return (reference.ns, reference.ifname) in self._chosen

    def handle(self, ns: int) -> Handle:
        """The namespace of this number, which exists by now."""
        handle = self.handles[ns]
        assert handle is not None, f"namespace {ns} is used before it is made"
        return handle

    def resolve(self, reference: object) -> int | bytes:
        """What a typed reference stands for."""
        if isinstance(reference, IfRef):
            return self._index[reference.ns, reference.ifname]
        if isinstance(reference, NsRef):
            fd = self.handle(reference.ns).fd
            if fd is None:  # never while the namespace is held by using()
                raise OSError(errno.EBADF, "the namespace is not open")
            return fd
        if isinstance(reference, MarkRef):
            ns = reference.interface.ns
            index = self._index[ns, reference.interface.ifname]
            mark = first_mac if reference.is_mac else first_broadcast
            return mark(self.boot, self.handle(ns).identity, reference.group, index)
        raise TypeError(f"{reference!r} is neither a number nor a reference")

    def execute(self, operations: Sequence[Operation]) -> list[Refusal | None]:
        """Carries out operations of one type that wait for nothing; one result each, in order."""
        self.begun.update(operations)
        first = operations[0]
        if isinstance(first, MakeNamespace):
            return self._make_namespaces([item for item in operations if isinstance(item, MakeNamespace)])
        if isinstance(first, CreateLink):
            return self._create_links([item for item in operations if isinstance(item, CreateLink)])
        if isinstance(first, AddMirror):
            return [self._mirror(item) for item in operations if isinstance(item, AddMirror)]
        if isinstance(first, RemoveMirror):
            return [self._unmirror(item) for item in operations if isinstance(item, RemoveMirror)]
        return self._configure([item for item in operations if isinstance(item, ConfigureEnd)])

    def prepare(self, running: Sequence[Operation], upcoming: Sequence[Operation]) -> None:
        """Makes the bytes of operations that come next, while creations of links are in the kernel.

        Many of those are one long call. The short ones of other operations would each wait for the interpreter's lock
        until this lets it go.
        """
        stamp = self._stamp()
        with self._lock:
            for operation in (*running, *upcoming):
                if isinstance(operation, CreateLink):
                    self._choose_indexes(operation)
        for operation in upcoming:
            if operation in self._ahead:
                continue
            if not isinstance(operation, (CreateLink, ConfigureEnd)):
                continue
            requests = requests_of(operation)
            try:
                for request in requests:
                    prepare(request, self.resolve)
            except OSError:  # a descriptor that is closed for now
                continue
            self._ahead[operation] = stamp, requests

    def _stamp(self) -> tuple[int, int]:
        return self._index_changes, self.kernel.closings

    def _requests_of(self, operation: CreateLink | ConfigureEnd) -> list[Request]:
        stamp, requests = self._ahead.pop(operation, (None, []))
        if stamp == self._stamp():
            return requests
        return requests_of(operation)

    def _make_namespaces(self, operations: Sequence[MakeNamespace]) -> list[Refusal | None]:
        results: list[Refusal | None] = []
        try:
            made = self.kernel.make([(operation.name, operation.alias) for operation in operations])
        except OSError as error:  # not one of them, but the directory of all
            return [error] * len(operations)
        for operation, item in zip(operations, made, strict=True):
            if isinstance(item, FileExistsError):
                results.append(self._adopt(operation, item))
            elif isinstance(item, (OSError, KernelError)):
                results.append(item)
            else:
                self.handles[operation.ns] = item
                results.append(None)
        return results

    def _adopt(self, operation: MakeNamespace, refusal: OSError) -> Refusal | None:
        """Takes a namespace that somebody else, another lab perhaps, has made since we looked. It is theirs."""
        for _ in range(ADOPT_ATTEMPTS):
            (item,) = self.kernel.open_all([named(operation.name)])
            if not isinstance(item, OSError):
                break
            time.sleep(ADOPT_SECONDS)  # the name comes a moment before the namespace
        else:
            return refusal
        try:
            with self.kernel.using([item]):
                namespace = observe(self.kernel, item)
        except OSError as error:
            return error
        with self._lock:
            self._learn(operation.ns, namespace)
            self.handles[operation.ns] = item
            self.adopted.add(operation.ns)
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
                        waiting = self._look_again(waiting, attempt)
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
        with self._lock:
            for number, operation in enumerate(operations):
                by_sender.setdefault(operation.sender, []).append(number)
                self._choose_indexes(operation)
        results: list[Refusal | None] = [None] * len(operations)
        for sender, numbers in by_sender.items():
            requests = [request for number in numbers for request in self._requests_of(operations[number])]
            answers: Sequence[Refusal | None]
            try:
                handle = self.kernel.scratch() if sender is None else self.handle(sender)
                answers = self.kernel.send(handle, requests, self.resolve)
            except OSError as error:  # of this socket: the other senders' links have nothing to do with it
                answers = [error] * len(numbers)
            for number, answer in zip(numbers, answers, strict=True):
                results[number] = answer
        return results

    def _choose_indexes(self, operation: CreateLink) -> None:
        # Free in the sender's namespace as well: kernels before 6.15 look there for what the message names.
        for reference in operation.ends:
            key = reference.ns, reference.ifname
            if key not in self._chosen:
                floor = self._next_index[operation.sender] if operation.sender is not None else 0
                index = max(self._next_index[reference.ns], floor)
                self._chosen.add(key)
                self._index[key] = index
                self._next_index[reference.ns] = index + 1

    def _look_again(self, waiting: Mapping[int, CreateLink], attempt: int) -> dict[int, CreateLink]:
        # Someone else took the index between our look and our request: look where the free ones begin by now. Those
        # whose name was taken are not tried again. Two runs that meet would choose the same numbers over and over:
        # chance parts them.
        taken: set[tuple[int, str]] = set()
        for ns in sorted({reference.ns for operation in waiting.values() for reference in operation.ends}):
            namespace = observe(self.kernel, self.handle(ns))
            taken.update((ns, ifname) for ifname in namespace.interfaces)
            with self._lock:
                gap = int.from_bytes(os.urandom(2), "big") % (64 << attempt)
                self._next_index[ns] = max(self._next_index[ns], _highest_index(namespace) + 1 + gap)
        again = {
            number: operation
            for number, operation in waiting.items()
            if not any((reference.ns, reference.ifname) in taken for reference in operation.ends)
        }
        with self._lock:
            self._index_changes += 1
            for operation in again.values():
                self._chosen.difference_update((reference.ns, reference.ifname) for reference in operation.ends)
        return again

    def _configure(self, operations: Sequence[ConfigureEnd]) -> list[Refusal | None]:
        return self._change(
            [(operation.interface, operation.change, self._requests_of(operation)) for operation in operations]
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
                    try:
                        self._change_in(self.handle(ns), [(number, *changes[number]) for number in numbers], results)
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
        removing = [(number, ref) for number, ref, change, _ in changes if _removes_ipv4(change)]
        for _, reference in removing:
            self._promote(handle, reference)
        try:
            answers = self.kernel.send(handle, requests, self.resolve)
        finally:
            for number, reference in removing:
                refusal = self._set_back(handle, reference, PROMOTE) and self._set_back(handle, reference, PROMOTE)
                results[number] = results[number] or refusal
        for request, (number, reference), answer in zip(requests, owners, answers, strict=True):
            if answer is not None and request.type == RTM_DELADDR and answer.errno == errno.EADDRNOTAVAIL:
                answer = None  # gone already: what was wanted
            if answer is not None and _is_ipv6_address(request):
                answer = self._enable_ipv6(handle, reference, request, answer)
            if answer is not None and results[number] is None:
                answer.request = request
                results[number] = answer

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
                return error
            del changed[path]
        return None

    def look(self, ns: int, *, mirrors: int = NO_MIRRORS) -> Namespace:
        """What is in a namespace now. Raises OSError."""
        handle = self.handle(ns)
        with self.kernel.using([handle]):
            return observe(self.kernel, handle, mirrors=mirrors)

    def _mirror(self, operation: AddMirror | RemoveMirror) -> Refusal | None:
        from kokofast.engine.mirror import BareQdisc, add_mirror, set_mtu

        handle = self.handle(operation.source.ns)
        source, target = self.index_of(operation.source), self.index_of(operation.target)
        try:
            with self._alone_at(operation.source), self.kernel.using([handle]):
                self._remove_bare(handle, operation.source)
                if isinstance(operation, AddMirror) and operation.mtu is not None:
                    set_mtu(self.kernel, handle, source, operation.mtu[0])
                add_mirror(self.kernel, handle, source, target, operation.directions, operation.cookie)
        except BareQdisc as error:
            self.bare[operation.source.ns, source] = error
            return error.refusal
        except (KernelError, OSError) as error:
            return error
        return None

    def _alone_at(self, source: IfRef) -> _thread.LockType:
        return self._at_mirrors.setdefault((source.ns, self.index_of(source)), _thread.allocate_lock())

    def take_back(self, operation: AddMirror | RemoveMirror) -> Refusal | None:
        """Undoes an operation on mirrors that was done, whole or by half."""
        return self._unmirror(operation) if isinstance(operation, AddMirror) else self._mirror(operation)

    def _unmirror(self, operation: AddMirror | RemoveMirror) -> Refusal | None:
        from kokofast.engine.mirror import remove_mirrors, set_mtu

        handle = self.handle(operation.source.ns)
        source, target = self.index_of(operation.source), self.index_of(operation.target)

        def chosen(found: MirrorFilter) -> bool:
            return (
                found.belongs_to(operation.cookie, found.ifname)
                and found.direction in operation.directions
                and found.target in (target, 0)
            )

        try:
            with self._alone_at(operation.source), self.kernel.using([handle]):
                if isinstance(operation, AddMirror) and operation.mtu is not None:
                    set_mtu(self.kernel, handle, source, operation.mtu[1])
                refusal = self._remove_bare(handle, operation.source)
                return remove_mirrors(self.kernel, handle, source, chosen) or refusal
        except (KernelError, OSError) as error:
            return error

    def _remove_bare(self, handle: Handle, source: IfRef) -> KernelError | None:
        place = source.ns, self.index_of(source)
        if place not in self.bare:
            return None
        from kokofast.engine.mirror import remove_bare

        is_gone, refusal = remove_bare(self.kernel, handle, place[1], self.bare[place])
        if is_gone:
            del self.bare[place]
        return refusal

    def remove_all_mirrors(self, ns: int, groups: frozenset[int] | None) -> Refusal | None:
        """Removes the mirror filters of these labs' groups (None: of every lab) from all interfaces of a namespace."""
        from kokofast.engine.mirror import list_mirrors, remove_mirrors

        handle = self.handle(ns)
        try:
            with self.kernel.using([handle]):
                names = {item.ifindex: item.ifname for item in observe(self.kernel, handle).interfaces.values()}
                indexes = {name: index for index, name in names.items()}
                found = list_mirrors(self.kernel, handle, names)
                refusals = [
                    remove_mirrors(self.kernel, handle, indexes[ifname], lambda item: _is_of(item.cookie, groups))
                    for ifname in {item.ifname for item in found if _is_of(item.cookie, groups)}
                ]
        except (KernelError, OSError) as error:
            return error
        return next((refusal for refusal in refusals if refusal is not None), None)

    def _promote(self, handle: Handle, reference: IfRef) -> None:
        # With an IPv4 address the kernel removes all later ones of its subnet, a user's too, unless it may promote
        # them.
        try:  # noqa: SIM105 - contextlib costs koko's command line more than this module
            self._set(handle, reference, PROMOTE, "1")
        except OSError:  # a read-only /proc/sys: then it is as it is
            pass

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

    def remove(self, operation: Removal) -> list[tuple[int, Refusal | None]]:
        """Carries out one removal. (link, why not or None) of each link it covers; a removal of a namespace has the
        link -1. What is gone already counts as removed. What fails is tried once more: a socket that failed leaves open
        what was done."""
        answers = self._remove(operation)
        if all(refusal is None for _, refusal in answers):
            return answers
        if isinstance(operation, RemoveNamespace):
            again = self._remove(operation)
            return again if again[0][1] is None else answers
        return self._remove_again(operation, answers)

    def _remove_again(
        self, operation: DeleteInterface | DeleteGroup, answers: list[tuple[int, Refusal | None]]
    ) -> list[tuple[int, Refusal | None]]:
        # With a look first: someone else may have taken the index of an interface that is gone.
        indexes = operation.ifindexes if isinstance(operation, DeleteGroup) else (operation.ifindex,)
        try:
            now = self.look(operation.ns)
        except OSError:
            return answers
        there = {item.ifindex for item in now.interfaces.values() if item.group == operation.group}
        found: list[tuple[int, Refusal | None]] = []
        for index, (link, refusal) in zip(indexes, answers, strict=True):
            if refusal is None or index not in there:
                found.append((link, None))
            else:
                again = self._remove(DeleteInterface(operation.ns, index, operation.group, link))
                found.append((link, again[0][1]))
        return found

    def _remove(self, operation: Removal) -> list[tuple[int, Refusal | None]]:
        try:
            if isinstance(operation, RemoveNamespace):
                return [(-1, self._remove_namespace(operation))]
            handle = self.handle(operation.ns)
            with self.kernel.using([handle]):
                if isinstance(operation, DeleteInterface):
                    return [(operation.link, self._delete(handle, operation.ifindex))]
                return self._delete_group(handle, operation)
        except OSError as error:
            links = operation.links if isinstance(operation, DeleteGroup) else (getattr(operation, "link", -1),)
            return [(link, error) for link in links]

    def _delete(self, handle: Handle, ifindex: int) -> Refusal | None:
        (answer,) = self.kernel.send(handle, [Request(RTM_DELLINK, {"index": ifindex})])
        return None if answer is None or answer.errno == errno.ENODEV else answer

    def _delete_group(self, handle: Handle, operation: DeleteGroup) -> list[tuple[int, Refusal | None]]:
        if not members_of(self.kernel, handle, operation.group) <= set(operation.ifindexes):
            pairs = zip(operation.ifindexes, operation.links, strict=True)
            return [(link, self._delete(handle, ifindex)) for ifindex, link in pairs]
        (answer,) = self.kernel.send(handle, [Request(RTM_DELLINK, {}, {"group": operation.group})])
        refusal = None if answer is None or answer.errno == errno.ENODEV else answer
        return [(link, refusal) for link in operation.links]

    def _remove_namespace(self, operation: RemoveNamespace) -> Refusal | None:
        handle = self.handle(operation.ns)
        with self.kernel.using([handle]):
            self.kernel.remove(operation.name, handle.identity)
        return None


def _is_of(cookie: bytes, groups: frozenset[int] | None) -> bool:
    group = group_of_cookie(cookie)
    return group is not None and (groups is None or group in groups)


def _highest_index(namespace: Namespace) -> int:
    indexes = (interface.ifindex for interface in namespace.interfaces.values())
    return max((index for index in indexes if index <= LARGEST_INDEX), default=1)


def _index_taken(result: Refusal | None) -> bool:
    # EEXIST may also be about the name. Since Linux 6.15 a taken index of the first end gives that, of the peer EBUSY.
    return isinstance(result, KernelError) and result.errno in (errno.EBUSY, errno.EEXIST)


def _removes_ipv4(change: Change) -> bool:
    return any(address.family == AF_INET for address in change.remove)


def _is_ipv6_address(request: Request) -> bool:
    return request.type == RTM_NEWADDR and request.header.get("family") == AF_INET6
