"""Write sysctls of nodes."""

from __future__ import annotations

import errno

from kokofast.ops.journal import ENDED, undo_on_nodes
from kokofast.topology.model import AF_INET
from kokofast.topology.problems import Problem
from kokofast.topology.sysctls import DISABLE_IPV6, FORWARDING, name_of
from kokofast.wire.message import words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.host.sysctls import NetSysctls
    from kokofast.ops.executor import Executor, OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.operations import SetSysctls
    from kokofast.plan.plan import Plan
    from kokofast.plan.step import Step

REDIRECTS = "ipv4/conf/all/accept_redirects"  # which forwarding switches off, and the end of it on


class Written:
    """The values that each operation of a run has overwritten."""

    def __init__(self, executor: Executor) -> None:
        self.before: dict[SetSysctls, dict[str, str]] = {}


class SysctlError(OSError):
    """A sysctl that cannot be written; filename is its path below /proc/sys/net."""

    def __str__(self) -> str:
        return f"sysctl {self.filename}: {self.strerror}"


def execute(executor: Executor, operations: Sequence[SetSysctls]) -> list[OperationError | None]:
    """Write the sysctls of nodes; return the first refusal of each node."""
    handles = [executor.handle(operation.ns) for operation in operations]
    try:
        with executor.kernel.using(handles):
            answers = executor.kernel.with_sysctls(handles, lambda place, net: _write(executor, operations[place], net))
    except OSError as error:
        return [error] * len(operations)
    return list(answers)


def _write(executor: Executor, operation: SetSysctls, net: NetSysctls) -> None:
    before = executor.state(Written).before.setdefault(operation, {})
    for path, value in operation.values.items():
        try:
            if executor.makes(operation.ns):  # it goes if the run fails
                net.write(path, value)
                continue
            others = _spread(net, path)
            before.setdefault(path, net.write(path, value))
            for other in others:
                before.setdefault(other, others[other])
        except OSError as error:
            raise SysctlError(error.errno, error.strerror, path) from error


def _spreads_to(path: str) -> tuple[str, str] | None:
    """Return the family and the key that interfaces have of a sysctl which is for all of them; None for another one.

    With some of these the kernel sets those of all interfaces, and the default for new ones: inet_forward_change(),
    addrconf_fixup_forwarding(), addrconf_disable_ipv6().
    """
    if path == FORWARDING[AF_INET]:
        return "ipv4", "forwarding"
    pieces = path.split("/")
    return (pieces[0], pieces[3]) if pieces[1:3] == ["conf", "all"] and len(pieces) == 4 else None


def _spread(net: NetSysctls, path: str) -> dict[str, str]:
    """Return what a change of a sysctl may change beside it. Raises OSError."""
    found = _spreads_to(path)
    if found is None:
        return {}
    others = net.read_everywhere(*found)
    if path == FORWARDING[AF_INET]:
        others |= net.read((REDIRECTS,))
    return others


def undo(applied: Applied, numbers: Sequence[int]) -> list[str]:
    """Write the former values."""
    return undo_on_nodes(applied, numbers, _set_back)


def _set_back(executor: Executor, operation: SetSysctls) -> OSError | None:
    before = executor.state(Written).before.get(operation, {})
    handle = executor.handle(operation.ns)
    try:
        with executor.kernel.using([handle]):
            (refusal,) = executor.kernel.with_sysctls([handle], lambda _, net: _set_all_back(net, before))
    except OSError as error:
        refusal = error
    if refusal is None or isinstance(refusal, SysctlError) or refusal.errno not in ENDED:
        return refusal
    return None


def _set_all_back(net: NetSysctls, before: dict[str, str]) -> None:
    for path in [path for path in before if _spreads_to(path) is not None]:
        _set_one_back(net, before, path)
    now = net.read(before)  # most of those that they set are right by now
    for path in [path for path in before if now.get(path) != before[path]]:
        _set_one_back(net, before, path)


def _set_one_back(net: NetSysctls, before: dict[str, str], path: str) -> None:
    try:
        net.write(path, before[path])
    except OSError as error:
        if error.errno != errno.ENOENT:  # gone with its interface
            raise SysctlError(error.errno, error.strerror, path) from error
    del before[path]


def locate(applied: Applied, operation: SetSysctls, refusal: OperationError, obstacle: tuple[str, str]) -> Problem:
    """Find the sysctl of the node, or the routing that needs it."""
    node = applied.topology.nodes[operation.node]
    path = refusal.filename if isinstance(refusal, SysctlError) else None
    if path is None:
        return Problem(node.place, f"{operation.node}: {words_of(refusal)}")
    why = "there is no such sysctl in this namespace" if refusal.errno == errno.ENOENT else words_of(refusal)
    place = f"{node.place}.sysctls" if path in node.sysctls else "$.routing"
    if node.ipv6 is not None and path in DISABLE_IPV6:
        place = f"{node.place}.ipv6"
    return Problem(place, f"{operation.node}: {name_of(path)} cannot be set to {operation.values[path]!r}: {why}")


def describe(plan: Plan, operation: SetSysctls) -> Step:
    """Show names and values."""
    from kokofast.plan.step import Step

    changes = tuple(
        ("sysctls", {name_of(path): operation.seen[path]} if path in operation.seen else None, {name_of(path): value})
        for path, value in operation.values.items()
    )
    source = plan.topology.nodes[operation.node].place
    return Step("update", "node", name=operation.node, source=source, changes=changes)
