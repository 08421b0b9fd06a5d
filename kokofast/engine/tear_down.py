"""Delete links and remove namespaces concurrently, for destroy and for the rollback of a failed run."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kokofast.drivers import run_all
from kokofast.engine.scene import scan
from kokofast.host.threads import in_threads
from kokofast.ops import delete_group, remove_namespace
from kokofast.ops.dumps import MARKS, Patience
from kokofast.ops.executor import Executor
from kokofast.ops.journal import ENDED
from kokofast.ops.remove_namespace import give_back_if_used, used_by_others
from kokofast.plan.teardown import OwnedEnd, plan_teardown
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.engine.scene import Scene
    from kokofast.host.kernel import Handle
    from kokofast.ops.executor import OperationError
    from kokofast.plan.operations import DeleteGroup, RemoveNamespace

# Deletions mostly wait for RCU: many requests at a time share the grace periods.
DELETE_WORKERS = 64
DELETE_CHUNK = 4  # to hand one to a thread, and to wait for it, takes a quarter of a destroy's own time
FEW_DELETIONS = 4  # not worth the import of an event loop
# Each umount2(2) waits for an RCU grace period, which several can share: namespace_unlock() in fs/namespace.c. Busy
# processors make one last a millisecond and more. More threads than these spend their time on taking turns. Namespaces
# are ended afterwards, as that takes processor time.
REMOVE_THREADS = 4
REMOVE_CHUNK = 512

# Up to so many namespaces are all watched, and notes name those that live on. Of more, only those that the links need
# are watched.
WATCH_ALL = 64

HELD = "it lives on while something holds it: a process, an open file or socket, another mount of it"

LOOKS_FOR_MOVED = 3  # of which the last one only finds out
_MOVED = "it was moved to another namespace during its deletion, again and again"
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

    def settled(self) -> set[int]:
        """Return the links that are gone, or cannot be deleted."""
        return self.links | self.failed_links.keys()

    def count(self, answers: Iterable[tuple[int, OperationError | None]]) -> None:
        """Note the answers to deletions of links."""
        for link, refusal in answers:
            if refusal is None:
                self.links.add(link)
            elif refusal.errno == errno.ENODEV or (isinstance(refusal, OSError) and refusal.errno in ENDED):
                self.missed.add(link)
            else:
                self.failed_links[link] = refusal


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
    run = _Teardown(executor, ends, removable, driver)
    run.workers, run.progress, run.stage, run.lab = workers or DELETE_WORKERS, progress, stage, lab
    if watch:
        run.watched = _to_watch(ends, removable)
    await run.go()
    return run.done


class _Teardown:
    """Deletes interfaces and removes namespaces. Its attributes are the arguments of tear_down().

    Attributes:
        done: What was done so far.
        watched: The numbers of the namespaces of which the kernel is to say whether they live on.
        gone: The numbers of the namespaces without a name now.
    """

    workers = DELETE_WORKERS
    progress: Progress | None = None
    stage = "delete"
    lab: str | None = None
    watched: Collection[int] = ()
    gone: Collection[int] = ()

    def __init__(
        self, executor: Executor, ends: Sequence[OwnedEnd], removable: Mapping[int, str], driver: Driver
    ) -> None:
        self.executor = executor
        self.ends = ends
        self.removable = removable
        self.driver = driver
        self.done = TornDown()
        self._total = self._finished = 0
        self._patience = Patience(MARKS)
        self._unwatched: list[RemoveNamespace] = []

    async def go(self) -> None:
        """Do it all."""
        deletions, removals = plan_teardown(self.ends, self.removable)
        self._total = len(deletions) + len(removals)
        await self._delete(deletions)
        held: set[int] = set()
        try:
            await self._remove(removals)
        finally:
            # A namespace without a name cannot be found again: finish this even when the run is stopped.
            with self.driver.shielded():
                held = await self._end_nameless()
        # The links between namespaces that stay were not deleted yet.
        settled = self.done.settled()
        await self._delete_rest([end for end in self.ends if end.link not in settled and end.ns not in self.gone])
        await self._remove_unwatched()
        missed = [end for end in self.ends if end.link in self.done.missed - self.done.links]
        if missed:
            await self._delete_moved(missed)
        if held:
            executor = self.executor
            living = executor.kernel.outlived([executor.handle(number) for number in held], patient=False)
            self.done.held = [self.removable[number] for number in sorted(held) if executor.handle(number) in living]

    def _step(self) -> None:
        self._finished += 1
        if self.progress is not None:
            self.progress(self.stage, self._finished, self._total)

    async def _end_nameless(self) -> set[int]:
        """End the namespaces without a name, and the links in those that live on; return these."""
        done = self.done
        names = set(done.namespaces)
        self.gone = gone = {number for number, name in self.removable.items() if name in names}
        # The kernel ends them only now: earlier that would have taken processor time from unmounting.
        _forget(self.executor, gone)
        asked = gone.intersection(self.watched)
        held = await _outlived(self.executor, asked, self.driver)
        ended = asked - held
        settled = done.missed | done.failed_links.keys()
        done.links.update(end.link for end in self.ends if end.ns in ended and end.link not in settled)
        settled = done.settled()
        await self._delete_rest([end for end in self.ends if end.ns in held and end.link not in settled])
        return held

    async def _delete_rest(self, ends: Sequence[OwnedEnd]) -> None:
        if ends:
            deletions, _ = plan_teardown(ends, {})
            self._total += len(deletions)
            await self._delete(deletions)

    async def _delete(self, deletions: Sequence[DeleteGroup]) -> None:
        await _delete_links(self.executor, deletions, self.done, self)

    async def _delete_moved(self, ends: Sequence[OwnedEnd]) -> None:
        """Look everywhere for links that were not in their namespaces any more, and delete those that were moved.

        A moved interface keeps its mark, and its random ifindex (see ops.ifindex). One that is missed again was moved
        on, or has ended with the namespace of its peer: only another look can tell.
        """
        for look in range(LOOKS_FOR_MOVED):
            scene = await self._look_for(ends)
            again = Executor(
                self.executor.kernel, scene.survey.handles, scene.survey.observed, is_alone=self.executor.is_alone
            )
            found = _find_moved(self.executor, ends, again, scene)
            deleted = TornDown()
            if look < LOOKS_FOR_MOVED - 1:
                await _delete_links(again, plan_teardown(found, {})[0], deleted, self)
            else:
                deleted.failed_links = {end.link: OSError(errno.EBUSY, _MOVED) for end in found}
            _forget(again, range(len(again.handles)))
            missed = deleted.missed - deleted.settled()
            self._count_moved({end.link for end in ends} - missed, deleted, scene)
            ends = [end for end in ends if end.link in missed]
            if not ends:
                break

    async def _look_for(self, ends: Sequence[OwnedEnd]) -> Scene:
        labs = {end.lab for end in ends}
        lab = labs.pop() if len(labs) == 1 else None
        return await scan(self.executor.kernel, self.driver, lab=lab, to_remove=True)

    def _count_moved(self, links: set[int], deleted: TornDown, scene: Scene) -> None:
        """Note what became of links that were looked for."""
        done = self.done
        done.failed_links |= deleted.failed_links
        for unseen in scene.unseen.values():  # the link may be in there
            done.failed_links |= dict.fromkeys(links - done.failed_links.keys() - deleted.links, unseen)
        done.links |= links - done.failed_links.keys()

    async def _remove(self, removals: Sequence[RemoveNamespace]) -> None:
        """Remove the names of namespaces, but of those that the kernel cannot watch: their links must go first."""
        done = self.done

        def report(number: int, refusal: OperationError | None) -> None:
            name = removals[number].name
            if refusal is _UNWATCHED:
                self._unwatched.append(removals[number])
                return
            if refusal is None or refusal.errno in (errno.ENODEV, errno.ENOENT):  # gone already
                done.namespaces.append(name)
            else:
                done.failed_namespaces[name] = refusal
            self._step()

        chunk = max(min(REMOVE_CHUNK, self.executor.kernel.capacity), 1)
        await run_all(self.driver, removals, self._remove_chunk, workers=1, chunk=chunk, report=report)

    async def _remove_unwatched(self) -> None:
        """Remove the namespaces that the kernel cannot watch.

        One keeps its name if links in it cannot be deleted: so they can be found again.
        """
        done, unwatched, self._unwatched, self.watched = self.done, self._unwatched, [], ()
        if unwatched:
            refused = {end.ns: done.failed_links[end.link] for end in self.ends if end.link in done.failed_links}
            done.failed_namespaces |= {one.name: refused[one.ns] for one in unwatched if one.ns in refused}
            rest = [removal for removal in unwatched if removal.ns not in refused]
            await self._remove(rest)
            _forget(self.executor, (removal.ns for removal in rest))

    def _remove_chunk(self, chosen: Sequence[RemoveNamespace]) -> list[OperationError | None]:
        try:
            return self._remove_each(chosen)
        except OSError:  # of one of them: try each alone
            return [self._remove_one(operation) for operation in chosen]

    def _remove_one(self, operation: RemoveNamespace) -> OperationError | None:
        try:
            return self._remove_each([operation])[0]
        except OSError as error:
            return error

    def _remove_each(self, chosen: Sequence[RemoveNamespace]) -> list[OperationError | None]:
        executor, lab, kernel = self.executor, self.lab, self.executor.kernel
        handles = [executor.handle(operation.ns) for operation in chosen]
        with kernel.using(handles):  # opens closed ones again, all at once
            # Check before the name is removed, too: after a kill in between, no command would find the links.
            used = [None if lab is None else used_by_others(executor, one, lab, self._patience) for one in handles]
            asked = [
                handle
                for operation, handle, why in zip(chosen, handles, used, strict=True)
                if why is None and operation.ns in self.watched
            ]
            if asked:
                try:
                    kernel.watch(asked)
                except (KernelError, OSError):
                    return [_UNWATCHED] * len(chosen)
            reasons = dict(zip(chosen, used, strict=True))
            return in_threads(
                lambda one: reasons[one] or remove_namespace.execute(executor, one) or self._spare(one),
                chosen,
                REMOVE_THREADS,
            )

    def _spare(self, operation: RemoveNamespace) -> OperationError | None:
        if self.lab is None:
            return None
        return give_back_if_used(self.executor, operation, self.lab, self._patience)


async def _delete_links(executor: Executor, deletions: Sequence[DeleteGroup], done: TornDown, run: _Teardown) -> None:
    def report(_: int, answers: list[tuple[int, OperationError | None]]) -> None:
        done.count(answers)
        run._step()

    def delete(chosen: Sequence[DeleteGroup]) -> list[list[tuple[int, OperationError | None]]]:
        answers: list[list[tuple[int, OperationError | None]]] = []
        for operation in chosen:
            if answers and run.driver.is_stopped():
                break
            answers.append(delete_group.execute(executor, operation))
        return answers

    workers = max(min(run.workers, executor.kernel.capacity), 1)
    await run_all(run.driver, deletions, delete, workers=workers, chunk=DELETE_CHUNK, report=report, few=FEW_DELETIONS)


def _find_moved(executor: Executor, ends: Sequence[OwnedEnd], again: Executor, scene: Scene) -> list[OwnedEnd]:
    """Return the interfaces of the scene, whose executor is again, that were these ends."""
    lost = {end.ifindex: end.link for end in ends}
    places = {(executor.handle(end.ns).identity, end.ifindex) for end in ends}
    # Other interfaces that have the same ifindex by chance.
    others = {
        (namespace.identity, interface.ifindex)
        for namespace in executor.observed
        if namespace is not None
        for interface in namespace.interfaces.values()
    } - places
    return [
        OwnedEnd(item.ns, item.interface.ifindex, item.interface.group, item.lab or None, lost[item.interface.ifindex])
        for item in scene.interfaces
        if item.interface.ifindex in lost and (again.handle(item.ns).identity, item.interface.ifindex) not in others
    ]


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
