"""After the work: what was done, and does not stand."""

from __future__ import annotations

import errno

from kokofast.host.namespaces import named
from kokofast.plan.ownership import lab_of_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.ops.applied import Applied
    from kokofast.ops.executor import Refusal


def fail_the_misled(applied: Applied) -> None:
    """Of what was done in a namespace whose name (or process, or container) has ended or leads to another one by now:
    the first operation of each link, and the making of the namespace itself, count as failed.

    The namespaces are held, so nothing was done in a wrong one; but what is under the name is not what the file wants.
    One stat(2) for each namespace, 2 us.
    """
    why: dict[int, Refusal] = {}
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
    """The other labs whose namespaces have gone meanwhile, where that is all that failed, and this run would have made
    them had they not been there. Those labs are taken back, or destroyed."""
    executor, lab = applied.executor, applied.topology.name
    to_make = {named(node.target) for node in applied.topology.nodes.values() if node.kind == "netns" and node.create}
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
    """Of the links that were made, those count as failed whose parent has lost its name meanwhile: the kernel takes a
    parent by its index, and that may be another interface's by now. One dump of each namespace with such parents."""
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


def bereft(applied: Applied, failed: set[int]) -> set[int]:
    """The other links that were done, but cannot stay when the failed ones are taken back: those whose parent is an
    interface that goes, or whose mirror is on one."""
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
