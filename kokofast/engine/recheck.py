"""Look again, after the work, whether namespaces and parents are still the same."""

from __future__ import annotations

import errno

from kokofast.host.namespaces import named
from kokofast.plan.ownership import lab_of_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.ops.executor import OperationError
    from kokofast.ops.journal import Applied


def recheck_namespaces(applied: Applied) -> None:
    """Count operations as failed whose namespace has ended, or is no longer what its path leads to.

    That is the first operation of each such link, and the creation of the namespace. The namespaces were held open, so
    nothing was done in a wrong one, but the path leads to something else than the file wants. Takes one stat(2), 2 us,
    for each namespace.
    """
    why: dict[int, OperationError] = {}
    for number, handle in enumerate(applied.executor.handles):
        refusal = None if handle is None else applied.executor.kernel.misled(handle)
        if refusal is not None:
            why[number] = refusal
    _fail_on_replaced_parents(applied)
    if not why:
        return
    told: set[int] = set()
    for number, operation in enumerate(applied.plan.operations):
        ns = next((ns for ns in operation.namespaces if ns in why), None)
        link = operation.link
        if ns is None or number not in applied.done or link in told:
            continue
        if link is not None:
            told.add(link)
        applied.done.discard(number)
        applied.failures[number] = why[ns]


def lost_to(applied: Applied) -> set[str]:
    """Return the other labs whose namespaces ended during the run, if nothing else failed and the file may make them.

    The runs of these labs failed, or they were destroyed.
    """
    executor, lab = applied.executor, applied.topology.name
    to_make = {named(node.target) for node in applied.topology.nodes.values() if node.create}
    lent: dict[int, str] = {}
    for ns, namespace in (*enumerate(executor.observed), *executor.adopted.items()):
        owner = lab_of_namespace(namespace) if namespace is not None else None
        if owner not in (None, lab) and executor.handle(ns).path in to_make:
            lent[ns] = owner
    found: set[str] = set()
    for number, refusal in applied.failures.items():
        owners = {lent[ns] for ns in applied.plan.operations[number].namespaces if ns in lent}
        if not owners or refusal.errno not in (errno.ENOENT, errno.ESTALE):
            return set()
        found |= owners
    return found


def _fail_on_replaced_parents(applied: Applied) -> None:
    """Count new links as failed whose parent's name has another ifindex now: the link may have another parent.

    Takes one dump for each namespace with such parents.
    """
    if all(link.parent is None for link in applied.topology.links):
        return
    executor = applied.executor
    names: dict[int, dict[str, int] | OSError] = {}
    for number in sorted(applied.done):
        operation = applied.plan.operations[number]
        for parent in operation.requires if operation.makes else ():
            if parent.ns not in names:
                try:
                    found = executor.look(parent.ns).interfaces.values()
                    names[parent.ns] = {interface.ifname: interface.ifindex for interface in found}
                except OSError as error:
                    names[parent.ns] = error
            there = names[parent.ns]
            if isinstance(there, OSError):
                applied.failures[number] = there
            elif there.get(parent.ifname) != executor.indexes.of(parent):
                words = f"its parent {parent.ifname} was replaced, renamed or removed while it was made"
                applied.failures[number] = OSError(errno.ESTALE, words)
            else:
                continue
            applied.done.discard(number)


def dependents_of(applied: Applied, failed: set[int]) -> set[int]:
    """Return the other links that cannot stay without the failed ones: as their parent, or for their mirror."""
    operations = applied.plan.operations
    found: set[int] = set()
    while True:
        lost = failed | found
        gone = {(end.ns, end.ifname) for operation in operations if operation.link in lost for end in operation.makes}
        more = {
            operation.link
            for operation in operations
            if operation.link is not None and operation.link not in lost
            if any((end.ns, end.ifname) in gone for end in operation.requires)
        }
        if not more:
            return found
        found |= more
