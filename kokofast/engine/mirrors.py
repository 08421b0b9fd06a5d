"""The mirror operations of a run: adds filters, removes them, and takes either back. Blocking, for worker threads."""

from __future__ import annotations

import _thread
import errno

from kokofast.engine.mirror import BareQdisc, add_mirror, remove_bare, remove_everywhere, remove_mirrors, set_mtu
from kokofast.engine.observe import ADDRESSES
from kokofast.engine.traffic_control import TrafficControl
from kokofast.plan.compare import IPV6_MIN_MTU
from kokofast.plan.operations import AddMirror
from kokofast.plan.ownership import cookie_owner, owner_in
from kokofast.wire.addr import AF_INET6, RT_SCOPE_LINK
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.engine.execute import Executor, Refusal
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import MirrorFilter
    from kokofast.plan.operations import IfRef, RemoveMirror


class Mirrors:
    """Of one run. Remembers the qdiscs that were made for a mirror and stand without it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._bare: dict[tuple[int, int], BareQdisc] = {}  # (namespace, ifindex) -> what is left of a mirror
        # One operation at a time on the qdiscs of an interface: one takes the qdisc away that another is about to use.
        self._locks: dict[tuple[int, int], _thread.LockType] = {}
        self._controls: dict[tuple[int, int], TrafficControl] = {}
        # (namespace, ifindex) -> the MTUs of the tunnels that it is copied into by this run, and by which mirrors
        self._rooms: dict[tuple[int, int], dict[int, set[AddMirror]]] = {}

    def leaves_bare(self, source: IfRef) -> bool:
        """Whether a qdisc of ours without a mirror is left at the interface."""
        return self._place(source) in self._bare

    def add(self, operation: AddMirror | RemoveMirror) -> Refusal | None:
        """Makes the filters that the operation is about."""
        executor = self._executor
        handle = executor.handle(operation.source.ns)
        source, target = executor.indexes.of(operation.source), executor.indexes.of(operation.target)
        try:
            with self._alone_at(operation.source), executor.kernel.using([handle]):
                for reference in (operation.source, operation.target):
                    if (replaced := executor.replaced(handle, reference)) is not None:
                        return replaced
                self._remove_bare(operation.source)
                mtu = operation.mtu if isinstance(operation, AddMirror) else None
                rooms = self._rooms.setdefault(self._place(operation.source), {})
                if mtu is not None and min(rooms, default=IPV6_MIN_MTU) >= IPV6_MIN_MTU:
                    _check_ipv6(executor.kernel, handle, source, mtu[0])
                add_mirror(self._control(operation.source), target, operation.directions, operation.cookie)
                if isinstance(operation, AddMirror) and mtu is not None:
                    # The narrowest tunnel counts, in whatever order they come.
                    rooms.setdefault(mtu[0], set()).add(operation)
                    set_mtu(executor.kernel, handle, source, min(rooms))
        except BareQdisc as error:
            self._control(operation.source).forget()
            self._bare[self._place(operation.source)] = error
            return error.refusal
        except KernelError as error:
            return error
        except OSError as error:
            self._control(operation.source).forget()
            return error
        return None

    def remove(self, operation: AddMirror | RemoveMirror) -> Refusal | None:
        """Removes the filters that the operation is about, and their qdisc when it is ours and nothing else needs
        it."""
        executor = self._executor
        handle = executor.handle(operation.source.ns)
        source, target = executor.indexes.of(operation.source), executor.indexes.of(operation.target)

        def chosen(found: MirrorFilter) -> bool:
            return (
                found.belongs_to(operation.cookie, found.ifname)
                and found.direction in operation.directions
                and found.target in (target, 0)
            )

        try:
            with self._alone_at(operation.source), executor.kernel.using([handle]):
                if (replaced := executor.replaced(handle, operation.source)) is not None:
                    return replaced
                rooms = self._rooms.get(self._place(operation.source), {})
                mtu = operation.mtu if isinstance(operation, AddMirror) else None
                refusal: KernelError | None = None
                if isinstance(operation, AddMirror) and mtu is not None and operation in rooms.get(mtu[0], ()):
                    try:
                        set_mtu(executor.kernel, handle, source, self.mtu_without(operation, mtu[1]))
                    except KernelError as error:  # no reason to keep the filter
                        refusal = error
                    else:
                        rooms[mtu[0]].remove(operation)
                        if not rooms[mtu[0]]:
                            del rooms[mtu[0]]
                refusal = self._remove_bare(operation.source) or refusal
                return remove_mirrors(self._control(operation.source), chosen, operation.cookie) or refusal
        except (KernelError, OSError) as error:
            self._control(operation.source).forget()
            return error

    def mtu_without(self, operation: AddMirror, before: int) -> int:
        """The MTU that the mirrored interface has without this mirror, before this run's that of ``before``."""
        rooms = self._rooms.get(self._place(operation.source), {})
        return min([before, *(room for room, mirrors in rooms.items() if mirrors != {operation})])

    def take_back(self, operation: AddMirror | RemoveMirror) -> Refusal | None:
        """Undoes an operation that was done, whole or by half."""
        return self.remove(operation) if isinstance(operation, AddMirror) else self.add(operation)

    def remove_all(self, ns: int, lab: str | None) -> Refusal | None:
        """Removes the mirror filters of a lab (None: of every lab) from all interfaces of a namespace."""
        owner = cookie_owner(lab) if lab is not None else None
        kernel, handle = self._executor.kernel, self._executor.handle(ns)
        try:
            with kernel.using([handle]):
                return remove_everywhere(kernel, handle, lambda item: _is_of(item.cookie, owner))
        except (KernelError, OSError) as error:
            return error

    def _place(self, source: IfRef) -> tuple[int, int]:
        return source.ns, self._executor.indexes.of(source)

    def _alone_at(self, source: IfRef) -> _thread.LockType:
        return self._locks.setdefault(self._place(source), _thread.allocate_lock())

    def _control(self, source: IfRef) -> TrafficControl:
        """What is known of the interface's traffic control; for who is alone there."""
        place = self._place(source)
        if place not in self._controls:
            self._controls[place] = TrafficControl(self._executor.kernel, self._executor.handle(source.ns), place[1])
        return self._controls[place]

    def _remove_bare(self, source: IfRef) -> KernelError | None:
        place = self._place(source)
        if place not in self._bare:
            return None
        is_gone, refusal = remove_bare(self._control(source), self._bare[place])
        if is_gone:
            del self._bare[place]
        return refusal


def _check_ipv6(kernel: Kernel, handle: Handle, index: int, mtu: int) -> None:
    """Raises KernelError when an MTU would cost an interface IPv6 addresses, which nobody could give back."""
    if mtu >= IPV6_MIN_MTU:
        return
    for message in kernel.dump(handle, ADDRESSES):
        header = message.header
        if header["index"] == index and header["family"] == AF_INET6 and header["scope"] != RT_SCOPE_LINK:
            raise KernelError(
                errno.EINVAL,
                f"what is copied has to fit into a tunnel with an mtu of {mtu}, and below {IPV6_MIN_MTU} the kernel "
                f"would take away the interface's IPv6 addresses; give the tunnel an mtu of at least {IPV6_MIN_MTU}, "
                "or lower that of the interface yourself",
            )


def _is_of(cookie: bytes, owner: bytes | None) -> bool:
    found = owner_in(cookie)
    return found is not None and owner in (None, found)
