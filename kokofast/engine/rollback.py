"""Takes away: the deletions of a teardown plan, run concurrently; and what a failed run has to take back."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from kokofast.engine.observe import observe
from kokofast.engine.scheduler import run_all
from kokofast.plan.operations import AddMirror, ConfigureEnd, CreateLink, IfRef, MakeNamespace, RemoveNamespace
from kokofast.plan.ownership import group_of, lab_of
from kokofast.plan.teardown import OwnedEnd, plan_teardown
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.engine.apply import Applied
    from kokofast.engine.execute import Executor, Refusal
    from kokofast.engine.result import Progress
    from kokofast.plan.operations import Removal

log = logging.getLogger(__name__)

# Deleting is waiting for RCU with little work in between: many requests in flight share the grace periods.
DELETE_WORKERS = 64
REMOVE_WORKERS = 2
REMOVE_CHUNK = 64

# The namespace or the interface is gone already, or nothing stands under the name: what was wanted.
_GONE = (errno.ENODEV, errno.ENOENT)


class TornDown:
    """What a teardown did: links and namespaces that are gone, and why the others are not."""

    def __init__(self) -> None:
        self.links: set[int] = set()
        self.namespaces: list[str] = []
        self.failed_links: dict[int, Refusal] = {}
        self.failed_namespaces: dict[str, Refusal] = {}


async def tear_down(
    executor: Executor,
    ends: Sequence[OwnedEnd],
    removable: Mapping[int, str],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> TornDown:
    """Deletes the interfaces and removes the namespaces (number -> name), with the fewest requests."""
    done = TornDown()
    deletions, removals = plan_teardown(ends, removable)
    total = len(deletions) + len(removals)
    finished = 0

    def report(_: int, answers: list[tuple[int, Refusal | None]]) -> None:
        nonlocal finished
        finished += 1
        for link, refusal in answers:
            if refusal is None or refusal.errno in _GONE:
                done.links.add(link)
            else:
                done.failed_links[link] = refusal
        if progress is not None:
            progress("delete", finished, total)

    def delete(chosen: Sequence[Removal]) -> list[list[tuple[int, Refusal | None]]]:
        return [executor.remove(operation) for operation in chosen]

    wanted = workers or DELETE_WORKERS
    await run_all(deletions, delete, workers=max(min(wanted, executor.kernel.capacity), 1), chunk=1, report=report)

    def report_removal(number: int, answers: list[tuple[int, Refusal | None]]) -> None:
        nonlocal finished
        finished += 1
        operation = removals[number]
        assert isinstance(operation, RemoveNamespace)
        refusal = answers[0][1]
        if refusal is None or refusal.errno in _GONE:
            done.namespaces.append(operation.name)
        else:
            done.failed_namespaces[operation.name] = refusal
        if progress is not None:
            progress("delete", finished, total)

    await run_all(removals, delete, workers=REMOVE_WORKERS, chunk=REMOVE_CHUNK, report=report_removal)
    done.links.update(end.link for end in ends if end.ns in removable and end.link not in done.failed_links)
    return done


async def take_back(applied: Applied, only: set[int] | None, progress: Progress | None) -> list[str]:
    """Takes back what a run made: all of it, or with ``only`` just these links (its namespaces then stay).

    Returns a line for everything that could not be taken back.
    """
    executor = applied.executor
    left = _undo_mirrors(applied, only) + _undo_changes(applied, only)
    ends: list[OwnedEnd] = []
    group = group_of(applied.topology.name)
    for number, operation in enumerate(applied.plan.operations):
        if isinstance(operation, CreateLink) and (only is None or operation.link in only):
            was_made = number in applied.done
            ends += [
                OwnedEnd(reference.ns, executor.index_of(reference), group, operation.link)
                for reference in operation.ends
                if was_made or _came_to_be(applied, number, reference)
            ]
    removable: dict[int, str] = {}
    if only is None:
        made = [applied.plan.operations[number] for number in applied.done]
        removable = {item.ns: item.name for item in made if isinstance(item, MakeNamespace)}
    done = await tear_down(executor, ends, removable, progress=progress)
    links = applied.topology.links
    left += [f"link {links[link].title()}: {refusal}" for link, refusal in sorted(done.failed_links.items())]
    left += [f"namespace {name}: {refusal}" for name, refusal in sorted(done.failed_namespaces.items())]
    return left


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
    except OSError as error:
        log.debug("%s cannot be looked into: %s", handle, error)
        return False
    interface = namespace.interfaces.get(reference.ifname)
    return (
        interface is not None
        and interface.ifindex == executor.index_of(reference)
        and lab_of(interface, namespace, executor.boot, applied.topology.name) == applied.topology.name
    )


def _undo_mirrors(applied: Applied, only: set[int] | None) -> list[str]:
    left: list[str] = []
    for number, operation in enumerate(applied.plan.operations):
        if not isinstance(operation, AddMirror) or (only is not None and operation.link not in only):
            continue
        if number not in applied.done and number not in applied.failures:
            continue
        refusal = applied.executor.unmirror(operation)
        if refusal is not None and refusal.errno not in _GONE:
            end = applied.topology.links[operation.link].ends[operation.end]
            left.append(f"the mirror of {end.node}:{operation.source.ifname}: {refusal}")
    return left


def _undo_changes(applied: Applied, only: set[int] | None) -> list[str]:
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
