"""batch: make the kernel match a topology, all or nothing."""

from __future__ import annotations

from kokofast.drivers import POLL_SECONDS, LabLocked
from kokofast.drivers.work_queue import WorkerCount, WorkQueue
from kokofast.engine.groundwork import is_to_do, leave_out, only_new, plan_of, see_for
from kokofast.engine.result import APPLIED, PARTIAL, PLANNED, ROLLED_BACK, UNCHANGED, Result, failure_of
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT, survey_nodes
from kokofast.host.lock import is_locked
from kokofast.ops.executor import Executor
from kokofast.ops.journal import Applied
from kokofast.ops.registry import load
from kokofast.plan.left_over import count_left_over, ends_left_over, has_leaving
from kokofast.plan.operations import MakeNamespace
from kokofast.plan.plan import CREATE, REPLACE, UPDATE, nodes_of, sets_nodes
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Protocol

    from kokofast.drivers import Driver
    from kokofast.engine.prune import LeftOver
    from kokofast.engine.result import Failure
    from kokofast.engine.result_types import Progress
    from kokofast.engine.snapshot import Survey
    from kokofast.engine.superseded import Superseded
    from kokofast.host.kernel import Kernel
    from kokofast.ops.executor import OperationError
    from kokofast.plan.plan import Plan
    from kokofast.topology.model import Topology

    class Observer(Protocol):
        """Follows a run."""

        def begin(self) -> None:
            """Take note that the run holds the lab's lock; an exception ends it."""

        def see(self, survey: Survey, plan: Plan, applied: Applied | None) -> None:
            """Take note of what was found and done; of nothing done if applied is None."""


ATTEMPTS = 5  # while other labs remove the namespaces that the run uses
OTHERS_POLLS = 100
STAYS = "what is not in the file any more stays, because links of the file failed"

# Some 300 links between existing namespaces.
FEW_OPERATIONS = 1000


async def apply(
    topology: Topology,
    driver: Driver,
    kernel: Kernel,
    *,
    keep_going: bool = False,
    dry_run: bool = False,
    prune: bool = False,
    replace: bool = False,
    create_only: bool = False,
    exclusive: bool = True,
    jobs: int | None = None,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    progress: Progress | None = None,
    result: Result | None = None,
    problems: Sequence[Problem] = (),
    waits: Callable[[], object] | None = None,
    observer: Observer | None = None,
) -> Result:
    """Make the kernel match the topology and return what was done.

    When a link fails, or the run is stopped, everything this run made is taken back first. Errors of the file and
    refusals of the kernel raise no exception: see Result.status and Result.errors.

    Args:
        topology: The lab.
        driver: Runs the blocking work.
        kernel: The kernel.
        keep_going: Keep the links that work when others fail. Links of nodes that do not resolve count as failed.
        dry_run: Only compute what would be done.
        prune: Remove links and namespaces of the lab that are not in the topology, after all else has succeeded.
        replace: Delete links of the lab that cannot be changed in place, and make them again.
        create_only: Refuse existing links that would have to be changed.
        exclusive: Hold the lab's lock.
        jobs: Number of worker threads; None chooses it by measuring.
        runtime_timeout: Seconds that a container daemon may be silent.
        progress: Called with (stage, done, total).
        result: Filled in, so that a caller who stops the run still has it. Its trace, if any, records the run.
        problems: Found when reading the file: apply nothing, but add the problems of the valid part on this machine.
        waits: Called once, when another run has held the lock for half a second.
        observer: Follows the run.
    """
    run = Run(topology, driver, kernel, result if result is not None else Result(topology.name, UNCHANGED))
    run.keep_going, run.dry_run, run.create_only, run.jobs = keep_going, dry_run, create_only, jobs
    run.prune, run.replace, run.observer = prune, replace, observer
    run.runtime_timeout, run.progress, run.problems = runtime_timeout, progress, problems
    kernel.trace = run.result.trace
    # A second run of the same lab waits for the lock, and then has nothing to do.
    needed = exclusive and not dry_run and not problems
    async with LabLocked(driver, topology.name, needed=needed, waits=waits) as notes:
        if observer is not None:
            observer.begin()
        await run.go(notes, is_alone=needed and not notes)
    return run.result


class Run:
    """A run of batch. Its attributes are the options of apply(), and the survey."""

    keep_going = False
    dry_run = False
    prune = False
    replace = False
    create_only = False
    jobs: int | None = None
    runtime_timeout = DEFAULT_RUNTIME_TIMEOUT
    progress: Progress | None = None
    problems: Sequence[Problem] = ()
    observer: Observer | None = None
    survey: Survey

    def __init__(self, topology: Topology, driver: Driver, kernel: Kernel, result: Result) -> None:
        self.topology = topology
        self.driver = driver
        self.kernel = kernel
        self.result = result

    async def go(self, notes: Sequence[str], *, is_alone: bool) -> None:
        """Make the kernel match the topology. is_alone is whether the lab's lock is held; notes say why it is not."""
        for attempts_left in range(ATTEMPTS - 1, -1, -1):
            applied = await self._attempt(notes, is_alone=is_alone)
            if applied is None or not attempts_left or not await self._may_try_again(applied):
                break

    async def _attempt(self, notes: Sequence[str], *, is_alone: bool) -> Applied | None:
        """Survey, plan and apply; return None when there was nothing to do."""
        topology, result = self.topology, self.result
        survey = await survey_nodes(
            self.driver,
            self.kernel,
            nodes_of(topology),
            see_for(topology),
            result,
            from_file=not self.create_only,
            runtime_timeout=self.runtime_timeout,
            progress=self.progress,
        )
        self.survey = survey
        missing: list[Problem] = []
        lost: dict[str, int] = {}
        with result.stage("plan"):
            if self.keep_going and survey.problems and not self.problems:
                whole, lost = leave_out(topology, survey)
                if whole.links:
                    topology, missing, survey.problems = whole, survey.problems, []
            if self.problems:  # nodes whose declaration is wrong are missing
                topology, _ = leave_out(topology, survey)
            superseded = self._find_superseded(topology, survey)
            plan = plan_of(
                topology,
                survey,
                self.kernel,
                self.dry_run,
                leaving=superseded.asides if superseded else (),
                going=self._find_going(topology, survey, superseded),
                replace=self.replace,
            )
            if self.create_only:
                only_new(plan, survey, self.kernel.boot_id())
        await self.driver.sleep(0)  # a run that was stopped during the survey has no result
        if plan.problems:  # report all of them, in the file's order
            plan.problems[:0], missing = missing, []
        plan.problems = list(dict.fromkeys([*self.problems, *plan.problems]))
        left_over = None
        if self.prune and not plan.problems and not missing:
            left_over = await self._find_left_over(survey)
            plan.problems += left_over.problems
        applied = None
        if is_to_do(topology, plan, result, self.dry_run):
            result.notes += notes
            load(plan.operations)
            executor = Executor(self.kernel, survey.handles, survey.observed, is_alone=is_alone)
            applied = Applied(topology, plan, executor, survey.replacement)
            await self.carry_out(applied)
        if self.observer is not None:
            self.observer.see(survey, plan, applied)
        if self.replace:
            result.links.setdefault("replaced", 0)
        if missing:
            _count_lost(topology, result, dict(zip(survey.unresolved, missing, strict=True)), lost)
        if left_over is not None:
            await self._settle_left_over(left_over)
        if superseded is not None:
            executor = Executor(self.kernel, survey.handles, survey.observed, is_alone=is_alone)
            if result.status == PARTIAL and superseded.keep_whole(applied) and STAYS not in result.notes:
                result.notes.append(STAYS)
            await self._settle_superseded(superseded, applied.executor if applied is not None else executor)
        if (
            left_over is None
            and not plan.problems
            and not missing
            and not self.create_only
            and result.status != ROLLED_BACK
        ):
            _note_left_over(topology, survey, self.kernel, result)
        return applied

    def _find_superseded(self, topology: Topology, survey: Survey) -> Superseded | None:
        """Return the links that have to go first; None for none, as nearly always."""
        if self.create_only or survey.problems or self.problems:
            return None
        if not self.prune and not has_leaving(topology.name, survey.observed):
            return None
        from kokofast.engine.superseded import find_superseded

        found = find_superseded(topology, survey, self.kernel.boot_id(), prune=self.prune)
        return found if found.ends else None

    def _find_going(
        self, topology: Topology, survey: Survey, superseded: Superseded | None
    ) -> Collection[tuple[int, int]]:
        """Return the interfaces in the namespaces of the file that are deleted last, where the plan asks."""
        going = superseded.places() if superseded is not None else set()
        if self.prune and not survey.problems and (self.replace or sets_nodes(topology)):
            found = ends_left_over(topology, survey.places, survey.observed, self.kernel.boot_id())
            going |= {(number, interface.ifindex) for number, interface in found}
        return going

    async def _settle_superseded(self, superseded: Superseded, executor: Executor) -> None:
        """Delete links that gave their names away, or tell which would be."""
        result = self.result
        if self.dry_run:
            if result.status not in (PLANNED, UNCHANGED):
                return
            from kokofast.plan.step import Step

            result.planned += [Step("delete", "link", name=title) for title in superseded.titles]
            result.status = PLANNED
            removed = len(superseded.titles)
        elif result.status in (APPLIED, UNCHANGED, PARTIAL):
            result.status = PARTIAL if result.status == PARTIAL else APPLIED
            removed = await superseded.delete(executor, self.driver, result, self.progress)
        else:
            return
        result.links["removed"] = result.links.get("removed", 0) + removed

    async def _find_left_over(self, survey: Survey) -> LeftOver:
        from kokofast.engine.prune import find_left_over  # only --prune needs it

        with self.result.stage("survey"):
            return await find_left_over(
                self.topology, survey, self.kernel, self.driver, self.progress, survey.replacement
            )

    async def _settle_left_over(self, left_over: LeftOver) -> None:
        """Remove what has left the file, or tell what would be removed."""
        result = self.result
        result.links["removed"] = result.namespaces["removed"] = 0
        if self.dry_run and not left_over.problems:
            left_over.tell(result)
        elif left_over and result.status in (APPLIED, UNCHANGED):
            with self.driver.shielded(), result.stage("delete"):
                await left_over.remove(self.kernel, self.driver, result, self.progress)
        elif left_over and result.status == PARTIAL:
            result.notes.append(STAYS)
        left_over.forget(self.kernel)

    async def _may_try_again(self, applied: Applied) -> bool:
        """Whether the run failed only because another lab's run removed namespaces that this lab could make itself.

        Wait for the end of the other run.
        """
        if self.result.status != ROLLED_BACK:
            return False
        from kokofast.engine.verify import lost_to

        labs = lost_to(applied)
        if not labs:
            return False
        for _ in range(OTHERS_POLLS):  # bounded: the other run may wait for this one
            if not any(map(is_locked, labs)):
                break
            await self.driver.sleep(POLL_SECONDS)
        self.result.status, self.result.errors = UNCHANGED, []
        return True

    async def carry_out(self, applied: Applied) -> None:
        """Carry the plan out and fill the result in. Take all back when something fails."""
        result, workers = self.result, WorkerCount(self.jobs)
        applied.executor.stopped = self.driver.is_stopped
        result.begin_rollback()  # the state that holds if the event loop breaks down
        refusals: list[Failure] = []
        try:
            if applied.replacement is not None:
                from kokofast.engine.replace import remove_replaced

                with result.stage("delete"):
                    refusals = await remove_replaced(applied, self.driver, self.progress)
            with result.stage("apply"):
                for start, stop in applied.plan.stages() if not refusals else ():
                    if start < stop and (self.keep_going or not applied.failures):
                        await self.driver.carry_out(self._queue(applied, workers, start, stop))
                if not refusals and (self.keep_going or not applied.failures):
                    _verify(applied)
            applied.spend_reserve()  # the imports below need memory and descriptors
            failed = self._name_failures(applied) if applied.failures else set()
        except BaseException:
            # Also for a bug of ours: nothing may stay half made.
            await self._roll_back(applied, None)
            raise
        result.workers = workers.workers
        if refusals:
            result.errors = refusals
            await self._roll_back(applied, None)
        elif not applied.failures:
            _succeed(applied, result)
        elif self.keep_going:
            await self._roll_back(applied, failed)
            _count_done(applied, result, failed)
        else:
            await self._roll_back(applied, None)
            _count_failed(applied, result)

    def _queue(self, applied: Applied, workers: WorkerCount, start: int, stop: int) -> WorkQueue:
        """Return the work queue of a stage."""
        plan, executor, trace = applied.plan, applied.executor, self.result.trace
        numbers: Sequence[int] = range(start, stop)
        after: Sequence[tuple[int, ...]] | None = plan.after[:stop]
        if start:  # the earlier stages are over: an operation is ready, or never will be
            skipped = applied.failed_links(start)
            numbers = [n for n in numbers if getattr(plan.operations[n], "link", -1) not in skipped]
            numbers = [n for n in numbers if applied.done.issuperset(plan.after[n])]
            after = None

        def report(places: Sequence[int], answers: Sequence[OperationError | None]) -> None:
            for place, answer in zip(places, answers, strict=True):
                applied.note(numbers[place], answer)
            if self.progress is not None:
                self.progress("apply", len(applied.done) + len(applied.failures), len(plan.operations))

        return WorkQueue(
            [plan.operations[number] for number in numbers],
            executor.execute if trace is None else trace.of(executor.execute),
            report,
            workers=workers,
            chunk=workers.chunk(self.kernel.capacity),
            after=after,
            failed=lambda answer: answer is not None,
            stop_on_failure=not self.keep_going,
            few=FEW_OPERATIONS if self.jobs is None else 0,
        )

    def _name_failures(self, applied: Applied) -> set[int]:
        """Put the failures into the result; return the links that cannot stay."""
        from kokofast.engine.failures import failures_of, failures_of_dependents, failures_of_nodes

        self.result.errors = failures_of(applied)
        failed = applied.failed_links()
        if self.keep_going:
            lost = _lost_with(applied, failed)
            self.result.errors += failures_of_dependents(applied, lost) + failures_of_nodes(applied)
            failed |= lost
        return failed

    async def _roll_back(self, applied: Applied, only: set[int] | None) -> None:
        applied.spend_reserve()
        from kokofast.engine.rollback import roll_back

        self.result.begin_rollback()
        with self.driver.shielded(), self.result.stage("rollback"):
            left = await roll_back(applied, only, self.driver, self.progress)
        self.result.end_rollback(left, whole=only is None)
        self.result.notes += applied.notes


def _lost_with(applied: Applied, failed: set[int]) -> set[int]:
    """Return the other links that cannot stay without the failed ones."""
    from kokofast.engine.verify import dependents_of

    lost = dependents_of(applied, failed)
    while (replacement := applied.replacement) is not None:
        more = replacement.together_with(failed | lost) - failed - lost
        more |= dependents_of(applied, failed | lost | more)
        if not more:
            break
        lost |= more
    return lost


def _verify(applied: Applied) -> None:
    """Count operations as failed whose namespace or parent has been replaced."""
    kernel = applied.executor.kernel
    has_parents = any(link.parent is not None for link in applied.topology.links)
    if has_parents or any(handle and kernel.misled(handle) for handle in applied.executor.handles):
        from kokofast.engine.verify import verify_namespaces  # rarely needed

        verify_namespaces(applied)


def _count_failed(applied: Applied, result: Result) -> None:
    """Count the links, and the namespaces if any, that were refused."""
    refused = [applied.plan.operations[number] for number in applied.failures]
    result.links["failed"] = len({operation.link for operation in refused} - {None})
    if unmade := sum(number in applied.failures for number, _ in applied.plan.of_type(MakeNamespace)):
        result.namespaces["failed"] = unmade


def _count_done(applied: Applied, result: Result, failed: set[int]) -> None:
    """Count what was done apart from the links in failed, and add notes on limits of the machine."""
    actions = applied.plan.actions
    result.links["created"] = sum(action == CREATE and number not in failed for number, action in enumerate(actions))
    result.links["updated"] = sum(action == UPDATE and number not in failed for number, action in enumerate(actions))
    result.links["failed"] = len(failed)
    if applied.replacement is not None:
        replaced = (number for number, action in enumerate(actions) if action == REPLACE and number not in failed)
        result.links["replaced"] = sum(1 for _ in replaced)
    result.namespaces["created"] = sum(
        number in applied.done and operation.ns not in applied.executor.adopted
        for number, operation in applied.plan.of_type(MakeNamespace)
    )
    if len(actions) > 1:  # not for koko's command line
        from kokofast.engine.neighbour_limits import crowded

        result.notes += crowded(applied.topology)


def _note_left_over(topology: Topology, survey: Survey, kernel: Kernel, result: Result) -> None:
    """Note how many links of the lab the file does not have any more."""
    number = count_left_over(topology, survey.places, survey.observed, kernel.boot_id())
    if number == 1:
        result.notes.append("1 link of the lab is not in the file any more and stays; --prune removes it")
    elif number:
        result.notes.append(f"{number:,} links of the lab are not in the file any more and stay; --prune removes them")


def _count_lost(topology: Topology, result: Result, missing: Mapping[str, Problem], lost: Mapping[str, int]) -> None:
    """Add what a run with keep_going left out: missing has the problems of nodes, lost the number of their links."""
    counted = [
        Problem(problem.place, problem.message + (f"; links that need it: {lost[node]:,}" if node in lost else ""))
        for node, problem in missing.items()
    ]
    result.errors[:0] = map(failure_of, topology.in_order(counted))
    number = sum(lost.values())
    result.links["total"] += number
    result.links["failed"] += number
    if result.status in (APPLIED, UNCHANGED, PLANNED):
        result.status = PARTIAL


def _succeed(applied: Applied, result: Result) -> None:
    """Fill in the result of a run without failures."""
    result.status = APPLIED
    result.left = []
    _count_done(applied, result, set())
