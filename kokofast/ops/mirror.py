"""Add mirrors, and remove them."""

from __future__ import annotations

import _thread
import errno

from kokofast.kinds.kind import IPV6_MIN_MTU
from kokofast.ops.dumps import ADDRESSES, ALL_MIRRORS
from kokofast.ops.journal import GONE, look, twice
from kokofast.ops.mirror_filters import BareQdisc, add_mirror, remove_bare, remove_everywhere, remove_mirrors, set_mtu
from kokofast.ops.traffic_control import TrafficControl
from kokofast.wire.addr import AF_INET6, RT_SCOPE_LINK
from kokofast.wire.link import RTM_GETLINK, RTM_SETLINK
from kokofast.wire.message import KernelError, Request, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.ops.executor import Executor, OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.observed import MirrorFilter
    from kokofast.plan.operations import IfRef, Mirror
    from kokofast.plan.plan import Plan
    from kokofast.plan.step import Step
    from kokofast.topology.problems import Problem


class Mirrors:
    """The mirrors of a run, and the qdiscs that were made for a mirror but have none."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._bare: dict[tuple[int, int], BareQdisc] = {}  # (namespace, ifindex) -> qdisc without a mirror
        # One operation at a time on the qdiscs of an interface: otherwise one could remove a qdisc that another uses.
        self._locks: dict[tuple[int, int], _thread.LockType] = {}
        self._controls: dict[tuple[int, int], TrafficControl] = {}
        # (namespace, ifindex) -> MTUs of the tunnels that it is copied into, each with the mirrors of this run
        self._caps: dict[tuple[int, int], dict[int, set[Mirror]]] = {}

    def leaves_bare(self, source: IfRef) -> bool:
        """Whether the interface has a qdisc of ours without a mirror."""
        return self._place(source) in self._bare

    def add(self, operation: Mirror) -> OperationError | None:
        """Make the filters of the operation."""
        executor = self._executor
        handle = executor.handle(operation.source.ns)
        source, target = executor.indexes.of(operation.source), executor.indexes.of(operation.target)
        try:
            with self._alone_at(operation.source), executor.kernel.using([handle]):
                for reference in (operation.source, operation.target):
                    if (replaced := executor.replaced(handle, reference)) is not None:
                        return replaced
                self._remove_bare(operation.source)
                mtu = operation.mtu
                caps = self._caps.setdefault(self._place(operation.source), {})
                if mtu is not None and min(caps, default=IPV6_MIN_MTU) >= IPV6_MIN_MTU:
                    _check_ipv6(executor.kernel, handle, source, mtu[0])
                has_queue = _has_queue(executor.kernel, handle, source)
                try:
                    add_mirror(self._control(operation.source), target, operation.directions, operation.cookie)
                finally:
                    if not has_queue:  # the kernel makes it 1000 with a new qdisc, though clsact has none
                        executor.kernel.send(handle, [Request(RTM_SETLINK, {"index": source}, {"txqlen": 0})])
                if mtu is not None:
                    # The smallest MTU counts, whatever the order of operations.
                    caps.setdefault(mtu[0], set()).add(operation)
                    set_mtu(executor.kernel, handle, source, min(caps))
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

    def remove(self, operation: Mirror) -> OperationError | None:
        """Remove the filters of the operation, and their qdisc if it is ours and empty then."""
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
                caps = self._caps.get(self._place(operation.source), {})
                mtu = operation.mtu
                refusal: KernelError | None = None
                if mtu is not None and operation in caps.get(mtu[0], ()):
                    try:
                        set_mtu(executor.kernel, handle, source, self.mtu_without(operation, mtu[1]))
                    except KernelError as error:  # still remove the filters
                        refusal = error
                    else:
                        caps[mtu[0]].remove(operation)
                        if not caps[mtu[0]]:
                            del caps[mtu[0]]
                refusal = self._remove_bare(operation.source) or refusal
                return remove_mirrors(self._control(operation.source), chosen, operation.cookie) or refusal
        except (KernelError, OSError) as error:
            self._control(operation.source).forget()
            return error

    def forget(self, source: IfRef) -> None:
        """Read an interface's filters again: it was made again, or the target of a mirror was."""
        with self._alone_at(source):
            self._control(source).forget()

    def mtu_without(self, operation: Mirror, before: int) -> int:
        """Return the MTU of the mirrored interface without this mirror; before is its MTU before this run."""
        caps = self._caps.get(self._place(operation.source), {})
        return min([before, *(cap for cap, mirrors in caps.items() if mirrors != {operation})])

    def _place(self, source: IfRef) -> tuple[int, int]:
        return source.ns, self._executor.indexes.of(source)

    def _alone_at(self, source: IfRef) -> _thread.LockType:
        return self._locks.setdefault(self._place(source), _thread.allocate_lock())

    def _control(self, source: IfRef) -> TrafficControl:
        """Return the interface's traffic control. Call it with _alone_at() held."""
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


def _has_queue(kernel: Kernel, handle: Handle, index: int) -> bool:
    (found,) = kernel.ask(handle, Request(RTM_GETLINK, {"index": index}, only=frozenset(("txqlen",))))
    return bool(found.attributes.get("txqlen"))


def _check_ipv6(kernel: Kernel, handle: Handle, index: int, mtu: int) -> None:
    """Raise KernelError if with this MTU the kernel removes IPv6 addresses, which cannot be restored."""
    if mtu >= IPV6_MIN_MTU:
        return
    rows: Iterable[Any] = kernel.dump(handle, ADDRESSES)
    for family, _, _, scope, of, *_ in rows:
        if of == index and family == AF_INET6 and scope != RT_SCOPE_LINK:
            raise KernelError(
                errno.EINVAL,
                f"the interface would be lowered to the tunnel's mtu of {mtu}, and below {IPV6_MIN_MTU} the kernel "
                f"removes its IPv6 addresses; give the tunnel an mtu of at least {IPV6_MIN_MTU}, or lower that of the "
                "interface yourself",
            )


def remove_all(executor: Executor, ns: int, is_chosen: Callable[[MirrorFilter], bool]) -> OperationError | None:
    """Remove the chosen mirror filters of ours from all interfaces of a namespace."""
    kernel, handle = executor.kernel, executor.handle(ns)
    try:
        with kernel.using([handle]):
            return remove_everywhere(kernel, handle, is_chosen)
    except (KernelError, OSError) as error:
        return error


def execute(executor: Executor, operations: Sequence[Mirror]) -> list[OperationError | None]:
    """Add mirrors, or remove them."""
    mirrors = executor.state(Mirrors)
    return [mirrors.add(item) if item.adds else mirrors.remove(item) for item in operations]


def undo(applied: Applied, numbers: Sequence[int]) -> list[str]:
    """Remove mirrors that were added, and restore removed ones, also those that failed half-way."""
    left: list[str] = []
    mirrors = applied.executor.state(Mirrors)
    going = {(end.ns, end.ifindex) for end in applied.ends}
    # Backwards: the priority of a restored filter must be free.
    for number in reversed(numbers):
        operation: Mirror = applied.operation(number)
        source = operation.source
        if (source.ns, applied.executor.indexes.of(source)) in going:  # deleted with the filters on it
            continue
        back = mirrors.remove if operation.adds else mirrors.add
        refusal = twice(lambda back=back, operation=operation: back(operation))  # type: ignore[misc]
        if refusal is not None and refusal.errno not in GONE and not _is_back(applied.executor, operation):
            end = applied.topology.links[operation.link].ends[operation.end]
            left.append(f"the mirror of {end.node}:{operation.source.ifname}: {words_of(refusal)}")
    return left


def _is_back(executor: Executor, operation: Mirror) -> bool:
    mirrors = executor.state(Mirrors)
    if mirrors.leaves_bare(operation.source):
        return False
    try:
        namespace = look(executor, operation.source.ns, mirrors=ALL_MIRRORS)
    except OSError:
        return False
    source = namespace.interfaces.get(operation.source.ifname) if namespace is not None else None
    if namespace is None or source is None:
        return True
    there = {
        mirror.direction
        for mirror in namespace.mirrors
        if mirror.belongs_to(operation.cookie, source.ifname) and mirror.direction in operation.directions
    }
    if not operation.adds:
        return there == operation.directions
    if there or operation.mtu is None:
        return not there
    return source.mtu == mirrors.mtu_without(operation, operation.mtu[1])


def locate(applied: Applied, operation: Mirror, refusal: OperationError, obstacle: tuple[str, str]) -> Problem:
    """Find the field mirror."""
    from kokofast.ops.refusals import problem_of_end

    link = applied.topology.links[operation.link]
    end = link.ends[operation.end]
    return problem_of_end(link, end, end.where("mirror"), refusal)


def describe(plan: Plan, operation: Mirror) -> Step:
    """Describe what is copied where, or the change of the MTU."""
    from kokofast.plan.step import Step

    link = plan.topology.links[operation.link]
    end = link.ends[operation.end]
    source = end.where("mirror")
    if not operation.directions and operation.mtu is not None:
        after, before = operation.mtu
        name = f"{end.node}:{operation.source.ifname}"
        return Step("update", "end", link, name=name, source=source, changes=(("mtu", before, after),))
    direction = "both" if len(operation.directions) == 2 else min(operation.directions)
    mirror = {"from": operation.source.ifname, "direction": direction}
    return Step(
        "create" if operation.adds else "delete",
        "mirror",
        link,
        name=f"{end.node}:{end.ifname}",
        source=source,
        changes=(("mirror", None, mirror) if operation.adds else ("mirror", mirror, None),),
    )
