"""What a run did, and how it is taken back. Blocking and without an event loop: koko's command line uses it too."""

from __future__ import annotations

import errno

from kokofast.engine.observe import observe
from kokofast.plan.operations import AddMirror, ConfigureEnd, CreateLink, IfRef, MakeNamespace, RemoveMirror
from kokofast.plan.ownership import group_of, lab_of
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.engine.execute import Executor, Refusal
    from kokofast.plan.planner import Plan
    from kokofast.plan.teardown import OwnedEnd
    from kokofast.topology.model import Topology

# The namespace or the interface is gone already, or nothing stands under the name: what was wanted.
GONE = (errno.ENODEV, errno.ENOENT)


class Applied:
    """What a run did, in a form that it can take back: the numbers of the operations that were done."""

    def __init__(self, topology: Topology, plan: Plan, executor: Executor) -> None:
        self.topology = topology
        self.plan = plan
        self.executor = executor
        self.done: set[int] = set()
        self.failures: dict[int, Refusal] = {}

    def failed_links(self, stop: int | None = None) -> set[int]:
        """The links that are not as the file wants them: refused, or never reached; by the operations before stop."""
        return {
            operation.link
            for number, operation in enumerate(self.plan.operations[:stop])
            if number not in self.done and not isinstance(operation, MakeNamespace)
        }


def ends_made(applied: Applied, only: set[int] | None = None) -> list[OwnedEnd]:
    """The interfaces that a run made, also those of which it does not know; with ``only`` those of these links."""
    from kokofast.plan.teardown import OwnedEnd  # only who has to delete pays

    executor = applied.executor
    group = group_of(applied.topology.name)
    ends: list[OwnedEnd] = []
    for number, operation in enumerate(applied.plan.operations):
        if isinstance(operation, CreateLink) and (only is None or operation.link in only):
            was_made = number in applied.done
            ends += [
                OwnedEnd(reference.ns, executor.index_of(reference), group, operation.link)
                for reference in operation.ends
                if was_made or _came_to_be(applied, number, reference)
            ]
    return ends


def _came_to_be(applied: Applied, number: int, reference: IfRef) -> bool:
    # The socket failed, or the run broke off, between our request and its answer: only looking tells.
    executor = applied.executor
    if isinstance(applied.failures.get(number), KernelError) or not executor.has_chosen(reference):
        return False
    handle = executor.handles[reference.ns]
    if handle is None:
        return False
    try:
        with executor.kernel.using([handle]):
            namespace = observe(executor.kernel, handle)
    except OSError:  # it is gone, and all that was in it
        return False
    interface = namespace.interfaces.get(reference.ifname)
    return (
        interface is not None
        and interface.ifindex == executor.index_of(reference)
        and lab_of(interface, namespace, executor.boot, applied.topology.name) == applied.topology.name
    )


def undo_mirrors(applied: Applied, only: set[int] | None) -> list[str]:
    left: list[str] = []
    # Backwards, so that a filter that comes back finds its priority free.
    for number, operation in reversed(list(enumerate(applied.plan.operations))):
        if not isinstance(operation, (AddMirror, RemoveMirror)) or (only is not None and operation.link not in only):
            continue
        if number not in applied.done and number not in applied.failures:
            continue
        refusal = applied.executor.take_back(operation)
        if refusal is not None and refusal.errno not in GONE:
            end = applied.topology.links[operation.link].ends[operation.end]
            left.append(f"the mirror of {end.node}:{operation.source.ifname}: {refusal}")
    return left


def undo_changes(applied: Applied, only: set[int] | None) -> list[str]:
    """Brings interfaces that were there before back to what they were; also those whose change failed half-way."""
    left: list[str] = []
    for number, operation in enumerate(applied.plan.operations):
        if not isinstance(operation, ConfigureEnd) or operation.undo is None:
            continue
        if operation not in applied.executor.begun:
            continue
        if only is not None and operation.link not in only:
            continue
        (refusal,) = applied.executor.change([(operation.interface, operation.undo)])
        if refusal is not None and number in applied.done:
            end = applied.topology.links[operation.link].ends[operation.end]
            left.append(f"{end.node}:{end.ifname}: {refusal}")
    return left
