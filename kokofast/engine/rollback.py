"""Carry out a teardown plan concurrently, for destroy and for the rollback of a failed run."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kokofast.drivers import run_all
from kokofast.engine.scene import scan
from kokofast.ops import delete_group, remove_namespace
from kokofast.ops.dumps import MARKS, Patience
from kokofast.ops.executor import Executor
from kokofast.ops.journal import ENDED
from kokofast.ops.registry import AFTER_DELETION, MODULES, home
from kokofast.ops.remove_namespace import give_back_if_used, used_by_others
from kokofast.plan.left_over import names_of
from kokofast.plan.operations import ConfigureEnd
from kokofast.plan.teardown import OwnedEnd, plan_teardown
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.host.kernel import Handle
    from kokofast.ops.executor import OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.operations import DeleteGroup, RemoveNamespace

# Deletions mostly wait for RCU: many requests at a time share the grace periods.
DELETE_WORKERS = 64
FEW_DELETIONS = 4  # not worth the import of an event loop
# Unmounting is fast while the kernel ends none of the namespaces, 2,000 in 0.13 s. 16 threads wait for each other's
# locks, and take twice as long.
REMOVE_WORKERS = 1
REMOVE_CHUNK = 64

# Up to so many namespaces are all watched, and notes name those that live on. Of more, only those that the links need
# are watched.
WATCH_ALL = 64

HELD = "it lives on while something holds it: a process, an open file or socket, another mount of it"


_MOVED = "it was moved to another namespace during its deletion, twice"
_UNWATCHED = OSError(errno.ENOSPC, "the kernel cannot say whether the namespace lives on")


class TornDown:
    """What a teardown did: the links and namespaces that are gone, and why others are not."""

    def __init__(self) -> None:
        self.links: set[int] = set()
        self.missed: set[int] = set()  # links with an end that was not in its namespace any more
        self.namespaces: list[str] = []
        self.failed_links: dict[int, OperationError] = {}
        self.failed_namespaces: dict[str, OperationError] = {}
        self.held: list[str] = []  # namespaces without a name now that something else keeps alive


async def tear_down(
    executor: Executor,
    ends: Sequence[OwnedEnd],
    removable: Mapping[int, str],
    driver: Driver,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    watch: bool = True,
    lab: str | None = None,
    stage: str = "delete",
) -> TornDown:
    """Delete the interfaces and remove the namespaces (number -> name), with as few requests as possible.

    Without watch the namespaces are known to live on. With lab, namespaces with links of other labs stay.
    progress is called with this stage.
    """
    done = TornDown()
    deletions, removals = plan_teardown(ends, removable)
    total = len(deletions) + len(removals)
    finished = 0

    def step() -> None:
        nonlocal finished
        finished += 1
        if progress is not None:
            progress(stage, finished, total)

    workers = workers or DELETE_WORKERS
    await _delete_links(executor, deletions, done, driver, workers, step)
    watched = _to_watch(ends, removable) if watch else set()
    unwatched: dict[int, RemoveNamespace] = {}
    try:
        await _remove_namespaces(executor, removals, done, driver, step, watched, unwatched, lab=lab)
    finally:
        # A namespace without a name cannot be found again: finish this even when the run is stopped.
        names = set(done.namespaces)
        gone = {number for number, name in removable.items() if name in names}
        # The kernel ends them only now: earlier that would have taken processor time from unmounting.
        _forget(executor, gone)
        with driver.shielded():
            asked = gone & watched
            held = await _outlived(executor, asked, driver)
            ended = asked - held
            settled = done.missed | done.failed_links.keys()
            done.links.update(end.link for end in ends if end.ns in ended and end.link not in settled)
            settled = done.links | done.failed_links.keys()
            alive = [end for end in ends if end.ns in held and end.link not in settled]
            deletions, _ = plan_teardown(alive, {})
            total += len(deletions)
            await _delete_links(executor, deletions, done, driver, workers, step)
    # The links between namespaces that stay were not deleted yet.
    settled = done.links | done.failed_links.keys()
    stay = [end for end in ends if end.link not in settled and end.ns not in gone]
    if stay:
        deletions, _ = plan_teardown(stay, {})
        total += len(deletions)
        await _delete_links(executor, deletions, done, driver, workers, step)
    if unwatched:
        # A namespace keeps its name if links in it cannot be deleted: so they can be found again.
        refused = {end.ns: done.failed_links[end.link] for end in ends if end.link in done.failed_links}
        kept = {ns: refused[ns] for ns in unwatched if ns in refused}
        done.failed_namespaces |= {unwatched[ns].name: refusal for ns, refusal in kept.items()}
        rest = [removal for ns, removal in unwatched.items() if ns not in kept]
        await _remove_namespaces(executor, rest, done, driver, step, (), {}, lab=lab)
        _forget(executor, (removal.ns for removal in rest))
    missed = [end for end in ends if end.link in done.missed - done.links]
    if missed:
        await _delete_moved(executor, missed, done, driver, workers, step)
    if held:
        living = executor.kernel.outlived([executor.handle(number) for number in held], patient=False)
        done.held = [removable[number] for number in sorted(held) if executor.handle(number) in living]
    return done


def _to_watch(ends: Sequence[OwnedEnd], removable: Mapping[int, str]) -> set[int]:
    """Return the namespaces to check after their removal.

    A link lives on only if both of its namespaces do, so one of them is enough: the one with more links.
    """
    if len(removable) <= WATCH_ALL:
        return set(removable)
    by_link: dict[int, list[int]] = {}
    count = dict.fromkeys(removable, 0)
    for end in ends:
        if end.ns in count:
            by_link.setdefault(end.link, []).append(end.ns)
            count[end.ns] += 1
    watched: set[int] = set()
    for places in by_link.values():
        if len(places) > 2:  # the pairs are not known
            watched.update(places)
        elif len(places) == 2 and watched.isdisjoint(places):
            first, second = places
            watched.add(first if count[first] > count[second] else second)
    return watched


def _forget(executor: Executor, numbers: Iterable[int]) -> None:
    for number in numbers:
        executor.kernel.forget(executor.handle(number))


async def _outlived(executor: Executor, gone: Collection[int], driver: Driver) -> set[int]:
    """Return which of these namespaces live on without their names and our descriptors."""
    handles = {executor.handle(number): number for number in gone}
    held: set[int] = set()

    def ask(chosen: Sequence[list[Handle]]) -> list[list[Handle]]:
        return [executor.kernel.outlived(item) for item in chosen]

    def report(_: int, living: list[Handle]) -> None:
        held.update(handles[handle] for handle in living)

    await run_all(driver, [list(handles)] if handles else [], ask, workers=1, chunk=1, report=report)
    return held


async def _delete_links(
    executor: Executor,
    deletions: Sequence[DeleteGroup],
    done: TornDown,
    driver: Driver,
    workers: int,
    step: Callable[[], None],
) -> None:
    def report(_: int, answers: list[tuple[int, OperationError | None]]) -> None:
        for link, refusal in answers:
            if refusal is None:
                done.links.add(link)
            elif refusal.errno == errno.ENODEV or (isinstance(refusal, OSError) and refusal.errno in ENDED):
                done.missed.add(link)
            else:
                done.failed_links[link] = refusal
        step()

    def delete(chosen: Sequence[DeleteGroup]) -> list[list[tuple[int, OperationError | None]]]:
        return [delete_group.execute(executor, operation) for operation in chosen]

    workers = max(min(workers, executor.kernel.capacity), 1)
    await run_all(driver, deletions, delete, workers=workers, chunk=1, report=report, few=FEW_DELETIONS)


async def _delete_moved(
    executor: Executor,
    ends: Sequence[OwnedEnd],
    done: TornDown,
    driver: Driver,
    workers: int,
    step: Callable[[], None],
) -> None:
    """Look everywhere for links that were not in their namespaces any more, and delete those that were moved.

    A moved interface keeps its mark, and its random ifindex (see ops.ifindex).
    """
    lost = {end.ifindex: end.link for end in ends}
    links = {end.link for end in ends}
    labs = {end.lab for end in ends}
    scene = await scan(executor.kernel, driver, lab=labs.pop() if len(labs) == 1 else None, to_remove=True)
    again = Executor(executor.kernel, scene.survey.handles, scene.survey.observed, is_alone=executor.is_alone)
    places = {(executor.handle(end.ns).identity, end.ifindex) for end in ends}
    # Other interfaces that have the same ifindex by chance.
    others = {
        (namespace.identity, interface.ifindex)
        for namespace in executor.observed
        if namespace is not None
        for interface in namespace.interfaces.values()
    } - places
    found = [
        OwnedEnd(item.ns, item.interface.ifindex, item.interface.group, item.lab or None, lost[item.interface.ifindex])
        for item in scene.interfaces
        if item.interface.ifindex in lost and (again.handle(item.ns).identity, item.interface.ifindex) not in others
    ]
    deleted = TornDown()
    await _delete_links(again, plan_teardown(found, {})[0], deleted, driver, workers, step)
    _forget(again, range(len(again.handles)))
    moved = {end.link for end in found} - deleted.links
    done.failed_links |= dict.fromkeys(moved, OSError(errno.EBUSY, _MOVED)) | deleted.failed_links
    for unseen in scene.unseen.values():  # the link may be in there
        done.failed_links |= dict.fromkeys(links - done.failed_links.keys() - deleted.links, unseen)
    done.links |= links - done.failed_links.keys()


async def _remove_namespaces(
    executor: Executor,
    removals: Sequence[RemoveNamespace],
    done: TornDown,
    driver: Driver,
    step: Callable[[], None],
    watched: Collection[int],
    unwatched: dict[int, RemoveNamespace],
    *,
    lab: str | None = None,
) -> None:
    """Remove the names of namespaces.

    Add to unwatched, by number, those that the kernel cannot watch. They keep their names: their links must be deleted
    first.
    """
    kernel = executor.kernel
    patience = Patience(MARKS)

    def report(number: int, refusal: OperationError | None) -> None:
        name = removals[number].name
        if refusal is _UNWATCHED:
            unwatched[removals[number].ns] = removals[number]
            return
        if refusal is None or refusal.errno in (errno.ENODEV, errno.ENOENT):  # gone already
            done.namespaces.append(name)
        else:
            done.failed_namespaces[name] = refusal
        step()

    def remove_each(chosen: Sequence[RemoveNamespace]) -> list[OperationError | None]:
        handles = [executor.handle(operation.ns) for operation in chosen]
        with kernel.using(handles):  # opens closed ones again, all at once
            # Also check before removing the name: a kill in between would leave links where nobody finds them.
            used = [None if lab is None else used_by_others(executor, handle, lab, patience) for handle in handles]
            asked = [
                handle
                for operation, handle, why in zip(chosen, handles, used, strict=True)
                if why is None and operation.ns in watched
            ]
            if asked:
                try:
                    kernel.watch(asked)
                except (KernelError, OSError):
                    return [_UNWATCHED] * len(chosen)
            return [
                why or remove_namespace.execute(executor, operation) or spare(operation)
                for operation, why in zip(chosen, used, strict=True)
            ]

    def spare(operation: RemoveNamespace) -> OperationError | None:
        return None if lab is None else give_back_if_used(executor, operation, lab, patience)

    def remove_one(operation: RemoveNamespace) -> OperationError | None:
        try:
            return remove_each([operation])[0]
        except OSError as error:
            return error

    def remove_chunk(chosen: Sequence[RemoveNamespace]) -> list[OperationError | None]:
        try:
            return remove_each(chosen)
        except OSError:  # of one of them: try each alone
            return [remove_one(operation) for operation in chosen]

    chunk = max(min(REMOVE_CHUNK, kernel.capacity), 1)
    await run_all(driver, removals, remove_chunk, workers=REMOVE_WORKERS, chunk=chunk, report=report)


def _needless(applied: Applied, failed: set[int]) -> set[int]:
    """Return the SetAside operations whose names no link needs any more, as the links that needed them failed."""
    operations = applied.plan.operations
    asides = [
        (number, applied.operation(number))
        for number, one in enumerate(operations)
        if MODULES[type(one)] in AFTER_DELETION
    ]
    if not asides:
        return set()
    stay = [operations[number] for number in applied.done if operations[number].link not in failed]
    links = applied.topology.links
    taken = {
        (one.interface.ns, name)
        for one in stay
        if isinstance(one, ConfigureEnd)
        for name in names_of(links[one.link].ends[one.end])
    }
    needed = {one.title for _, one in asides if not taken.isdisjoint((one.ns, name) for name in one.names)}
    return {number for number, one in asides if one.title not in needed}


async def roll_back(
    applied: Applied, only: set[int] | None, driver: Driver, progress: Progress | None = None
) -> list[str]:
    """Undo what a run made: all of it, or with ``only`` these links (then its namespaces stay).

    Return a line for each thing that could not be undone. Namespaces that something else keeps alive are only noted.
    """
    executor = applied.executor
    chosen: dict[str, list[int]] = {}
    needless = set() if only is None else _needless(applied, only)
    for number, operation in enumerate(applied.plan.operations):
        is_chosen = only is None or operation.link in only or number not in applied.done or number in needless
        if is_chosen and operation in executor.begun:
            chosen.setdefault(MODULES[type(operation)], []).append(number)
    left: list[str] = []
    for name in dict.fromkeys(MODULES.values()):
        if name in chosen and name not in AFTER_DELETION:
            left += home(name).undo(applied, chosen[name])
    ends, removable = applied.ends, applied.removable
    lab = applied.topology.name
    done = await tear_down(executor, ends, removable, driver, progress=progress, lab=lab, stage="rollback")
    for name in AFTER_DELETION:
        if name in chosen:
            left += home(name).undo(applied, chosen[name])
    links = applied.topology.links
    # ESTALE: the name is of another namespace now, and ours ends with its last descriptor.
    stay = {name: why for name, why in done.failed_namespaces.items() if why.errno != errno.ESTALE}
    # Do not list the links in a namespace that is listed.
    seen = {end.link for end in ends if removable.get(end.ns) not in stay}
    refused = [(link, refusal) for link, refusal in sorted(done.failed_links.items()) if link in seen]
    left += [f"link {links[link].title()}: {refusal}" for link, refusal in refused]
    left += [f"namespace {name}: {getattr(why, 'strerror', None) or why}" for name, why in sorted(stay.items())]
    applied.notes += [f"namespace {name}: its name and its links are gone, but {HELD}" for name in sorted(done.held)]
    if applied.replacement is not None:
        from kokofast.engine.give_back import give_back

        left += give_back(applied, only)
    return left
