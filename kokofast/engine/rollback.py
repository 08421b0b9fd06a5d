"""Takes away: the deletions of a teardown plan, run concurrently; and what a failed run has to take back."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kokofast.drivers import run_all
from kokofast.engine.scene import scan
from kokofast.ops import delete_group, remove_namespace
from kokofast.ops.applied import ENDED
from kokofast.ops.executor import Executor
from kokofast.ops.observe import MARKS, Patience
from kokofast.ops.registry import MODULES, home
from kokofast.ops.remove_namespace import give_back_if_used, used_by_others
from kokofast.plan.teardown import OwnedEnd, plan_teardown
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.host.kernel import Handle
    from kokofast.ops.applied import Applied
    from kokofast.ops.executor import Refusal
    from kokofast.plan.operations import DeleteGroup, RemoveNamespace

# Deleting is waiting for RCU with little work in between: many requests in flight share the grace periods.
DELETE_WORKERS = 64
FEW_DELETIONS = 4  # not worth the import of an event loop
# Unmounting is short as long as the kernel ends none of the namespaces meanwhile, 2,000 in 0.13 s; 16 threads wait for
# each other's locks, and take twice as long.
REMOVE_WORKERS = 1
REMOVE_CHUNK = 64

# Of up to so many namespaces each is watched, and a note names all that live on; of more, those that the links need.
WATCH_ALL = 64

HELD = "it lives on until what holds it (a process, an open file or socket, another mount of it) lets go"


_MOVED = "it was moved to another namespace while it was to be deleted, and again"
_UNWATCHED = OSError(errno.ENOSPC, "nothing tells whether the namespace lives on")


class TornDown:
    """What a teardown did: links and namespaces that are gone, and why the others are not."""

    def __init__(self) -> None:
        self.links: set[int] = set()
        self.missed: set[int] = set()  # links of which an end was not where it was to be deleted
        self.namespaces: list[str] = []
        self.failed_links: dict[int, Refusal] = {}
        self.failed_namespaces: dict[str, Refusal] = {}
        self.held: list[str] = []  # of the namespaces that are gone by name: those that something else holds


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
) -> TornDown:
    """Deletes the interfaces and removes the namespaces (number -> name), with the fewest requests. Without watch it is
    known that these live on. With ``lab`` those stay in which another lab has links."""
    done = TornDown()
    deletions, removals = plan_teardown(ends, removable)
    total = len(deletions) + len(removals)
    finished = 0

    def step() -> None:
        nonlocal finished
        finished += 1
        if progress is not None:
            progress("delete", finished, total)

    workers = workers or DELETE_WORKERS
    await _delete_links(executor, deletions, done, driver, workers, step)
    watched = _to_watch(ends, removable) if watch else set()
    unwatched: dict[int, RemoveNamespace] = {}
    try:
        await _remove_namespaces(executor, removals, done, driver, step, watched, unwatched, lab=lab)
    finally:
        # Nobody finds a namespace without its name: what was begun is ended, also when the run is stopped now.
        names = set(done.namespaces)
        gone = {number for number, name in removable.items() if name in names}
        # Only now does the kernel end them: it would take the processors, and unmounting waits for those (RCU).
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
    # Where namespaces stay, the links between them have not been asked for.
    settled = done.links | done.failed_links.keys()
    stay = [end for end in ends if end.link not in settled and end.ns not in gone]
    if stay:
        deletions, _ = plan_teardown(stay, {})
        total += len(deletions)
        await _delete_links(executor, deletions, done, driver, workers, step)
    if unwatched:
        # With links that cannot be deleted a namespace keeps its name, so that they can be found again.
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
    """Those of the namespaces to remove that have to be asked for afterwards. A link lives on only where both of its
    namespaces do, so one of the two is enough: the one with more links."""
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
        if len(places) > 2:  # which go together cannot be told
            watched.update(places)
        elif len(places) == 2 and watched.isdisjoint(places):
            first, second = places
            watched.add(first if count[first] > count[second] else second)
    return watched


def _forget(executor: Executor, numbers: Iterable[int]) -> None:
    for number in numbers:
        executor.kernel.forget(executor.handle(number))


async def _outlived(executor: Executor, gone: Collection[int], driver: Driver) -> set[int]:
    """Those of these namespaces, which have lost their names and are let go, that live on all the same."""
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
    def report(_: int, answers: list[tuple[int, Refusal | None]]) -> None:
        for link, refusal in answers:
            if refusal is None:
                done.links.add(link)
            elif refusal.errno == errno.ENODEV or (isinstance(refusal, OSError) and refusal.errno in ENDED):
                done.missed.add(link)
            else:
                done.failed_links[link] = refusal
        step()

    def delete(chosen: Sequence[DeleteGroup]) -> list[list[tuple[int, Refusal | None]]]:
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
    """Looks once more, everywhere, for links that were not where they were to be deleted, and deletes those that are
    elsewhere now. One that keeps its mark keeps its number too, a random one (see ops.indexes)."""
    lost = {end.ifindex: end.link for end in ends}
    links = {end.link for end in ends}
    labs = {end.lab for end in ends}
    scene = await scan(executor.kernel, driver, lab=labs.pop() if len(labs) == 1 else None, to_remove=True)
    again = Executor(executor.kernel, scene.survey.handles, scene.survey.observed, is_alone=executor.is_alone)
    places = {(executor.handle(end.ns).identity, end.ifindex) for end in ends}
    # With the same number by chance: a link that was there before, and is looked at no more.
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
    for unseen in scene.unseen.values():  # it may be there
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
    """Takes the names away. Adds to unwatched, by number, the removals that were not begun: whether those namespaces
    live on could not be told afterwards, so their links have to be deleted first."""
    kernel = executor.kernel
    patience = Patience(MARKS)

    def report(number: int, refusal: Refusal | None) -> None:
        name = removals[number].name
        if refusal is _UNWATCHED:
            unwatched[removals[number].ns] = removals[number]
            return
        if refusal is None or refusal.errno in (errno.ENODEV, errno.ENOENT):  # it is gone already
            done.namespaces.append(name)
        else:
            done.failed_namespaces[name] = refusal
        step()

    def remove_each(chosen: Sequence[RemoveNamespace]) -> list[Refusal | None]:
        handles = [executor.handle(operation.ns) for operation in chosen]
        with kernel.using(handles):  # those that were closed in between are opened again all at once
            # Before the name goes, too: killed in between, we would leave links in what nobody finds.
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

    def spare(operation: RemoveNamespace) -> Refusal | None:
        return None if lab is None else give_back_if_used(executor, operation, lab, patience)

    def remove_one(operation: RemoveNamespace) -> Refusal | None:
        try:
            return remove_each([operation])[0]
        except OSError as error:
            return error

    def remove_chunk(chosen: Sequence[RemoveNamespace]) -> list[Refusal | None]:
        try:
            return remove_each(chosen)
        except OSError:  # one of them: that is found out one by one
            return [remove_one(operation) for operation in chosen]

    chunk = max(min(REMOVE_CHUNK, kernel.capacity), 1)
    await run_all(driver, removals, remove_chunk, workers=REMOVE_WORKERS, chunk=chunk, report=report)


async def take_back(
    applied: Applied, only: set[int] | None, driver: Driver, progress: Progress | None = None
) -> list[str]:
    """Takes back what a run made: all of it, or with ``only`` just these links (its namespaces then stay).

    Returns a line for everything that could not be taken back. Of namespaces that something else holds, which may let
    them go at any time, only the notes tell.
    """
    executor = applied.executor
    chosen: dict[str, list[int]] = {}
    for number, operation in enumerate(applied.plan.operations):
        is_chosen = only is None or operation.link in only or number not in applied.done
        if is_chosen and operation in executor.begun:
            chosen.setdefault(MODULES[type(operation)], []).append(number)
    left: list[str] = []
    for name in dict.fromkeys(MODULES.values()):
        if name in chosen:
            left += home(name).undo(applied, chosen[name])
    ends, removable = applied.ends, applied.removable
    done = await tear_down(executor, ends, removable, driver, progress=progress, lab=applied.topology.name)
    links = applied.topology.links
    # Under the name of a namespace of ours somebody has made another one: ours ends with the last descriptor of it.
    stay = {name: why for name, why in done.failed_namespaces.items() if why.errno != errno.ESTALE}
    # What is in a namespace that is left need not be named too.
    seen = {end.link for end in ends if removable.get(end.ns) not in stay}
    refused = [(link, refusal) for link, refusal in sorted(done.failed_links.items()) if link in seen]
    left += [f"link {links[link].title()}: {refusal}" for link, refusal in refused]
    left += [f"namespace {name}: {getattr(why, 'strerror', None) or why}" for name, why in sorted(stay.items())]
    applied.notes += [f"namespace {name}: its name and its links are gone, but {HELD}" for name in sorted(done.held)]
    return left
