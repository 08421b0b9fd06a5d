"""batch: make the kernel match a topology, all or nothing."""

from __future__ import annotations

from kokofast.drivers import POLL_SECONDS, LabLocked
from kokofast.engine.carry_out import PlanRun
from kokofast.engine.groundwork import is_to_do, leave_out, only_new, plan_of, see_for
from kokofast.engine.result import APPLIED, PARTIAL, PLANNED, ROLLED_BACK, UNCHANGED, Result, failure_of
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT, survey_nodes
from kokofast.host.lock import is_locked
from kokofast.ops.executor import Executor
from kokofast.ops.journal import Applied
from kokofast.ops.registry import load
from kokofast.plan.plan import nodes_of, sets_nodes
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Protocol

    from kokofast.drivers import Driver
    from kokofast.engine.confirmation import Confirmation
    from kokofast.engine.prune import LeftOver
    from kokofast.engine.result_types import Progress
    from kokofast.engine.snapshot import Survey
    from kokofast.engine.superseded import Superseded
    from kokofast.host.kernel import Kernel
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
    confirmation: Confirmation | None = None,
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
        confirmation: Waited for before anything is done that cannot be taken back. Needs the lock; not with keep_going.
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
        if needed and confirmation is not None:
            confirmation.open(notes)
            run.confirmation = confirmation
        try:
            await run.go(notes, is_alone=needed and not notes)
        finally:
            if run.confirmation is not None:
                run.confirmation.close()
    return run.result


class Planned:
    """What an attempt found and planned.

    Attributes:
        topology: What the plan is for: the lab, or the rest of it that resolves.
        plan: The plan.
        missing: The problems of nodes that are left out, as keep_going is given.
        lost: The number of links that need such a node, by node.
        superseded: The links that have to go first; None for none, as nearly always.
        left_over: What is not in the file, to be removed; None without prune.
    """

    plan: Plan
    superseded: Superseded | None = None
    left_over: LeftOver | None = None

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.missing: list[Problem] = []
        self.lost: dict[str, int] = {}

    def removes(self) -> bool:
        """Whether something is to be deleted when all else has succeeded."""
        return bool(self.left_over) or self.superseded is not None


class Run:
    """A run of batch: survey, plan, apply, prune. Its attributes are the options of apply(), and the survey."""

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
    confirmation: Confirmation | None = None
    survey: Survey

    def __init__(self, topology: Topology, driver: Driver, kernel: Kernel, result: Result) -> None:
        self.topology = topology
        self.driver = driver
        self.kernel = kernel
        self.result = result

    async def go(self, notes: Sequence[str], *, is_alone: bool) -> None:
        """Make the kernel match the topology. is_alone is whether the lab's lock is held; notes say why it is not."""
        self._is_alone = is_alone
        for attempts_left in range(ATTEMPTS - 1, -1, -1):
            applied = await self._attempt(notes)
            if applied is None or not attempts_left or not await self._may_try_again(applied):
                break

    async def _attempt(self, notes: Sequence[str]) -> Applied | None:
        """Survey, plan and apply; return None when there was nothing to do."""
        topology, result = self.topology, self.result
        self.survey = survey = await survey_nodes(
            self.driver,
            self.kernel,
            nodes_of(topology),
            see_for(topology),
            result,
            from_file=not self.create_only,
            runtime_timeout=self.runtime_timeout,
            progress=self.progress,
        )
        with result.stage("plan"):
            self._report("plan", 0)
            planned = self._plan(survey)
            self._report("plan", 1)
        await self.driver.sleep(0)  # a run that was stopped during the survey has no result
        plan = planned.plan
        plan.problems = list(dict.fromkeys([*self.problems, *plan.problems]))
        if self.prune and not plan.problems and not planned.missing:
            planned.left_over = await self._find_left_over(survey)
            plan.problems += planned.left_over.problems
        applied = None
        if is_to_do(planned.topology, plan, result, self.dry_run):
            result.notes += notes
            load(plan.operations)
            applied = Applied(planned.topology, plan, self._executor(), survey.replacement)
            run = PlanRun(applied, result, self.driver, self.keep_going, self.jobs, self.progress, self.confirmation)
            await run.go()
        elif self.confirmation is not None and planned.removes() and not plan.problems:
            await self._confirm_removal()
        if self.observer is not None:
            self.observer.see(survey, plan, applied)
        await self._settle(planned, applied)
        return applied

    async def _confirm_removal(self) -> None:
        """Wait before something is deleted, where nothing has been made."""
        assert self.confirmation is not None
        refusal = await self.confirmation.wait(self.driver, self.result)
        if refusal is not None:
            self.result.status, self.result.errors = ROLLED_BACK, [refusal]

    def _report(self, stage: str, done: int) -> None:
        """Report that a stage of one step begins, or is done."""
        if self.progress is not None:
            self.progress(stage, done, 1)

    def _executor(self) -> Executor:
        return Executor(self.kernel, self.survey.handles, self.survey.observed, is_alone=self._is_alone)

    def _plan(self, survey: Survey) -> Planned:
        """Make the plan; with keep_going, of the links whose nodes resolve."""
        planned = Planned(self.topology)
        if self.keep_going and survey.problems and not self.problems:
            rest, lost = leave_out(self.topology, survey)
            if rest.links:
                planned.topology, planned.lost = rest, lost
                planned.missing, survey.problems = survey.problems, []
        if self.problems:  # nodes whose declaration is wrong are missing
            planned.topology, _ = leave_out(self.topology, survey)
        superseded = planned.superseded = self._find_superseded(planned.topology, survey)
        plan = planned.plan = plan_of(
            planned.topology,
            survey,
            self.kernel,
            self.dry_run,
            leaving=superseded.asides if superseded else (),
            going=self._find_going(planned.topology, survey, superseded),
            replace=self.replace,
        )
        if self.create_only:
            only_new(plan, survey, self.kernel.boot_id())
        if plan.problems:  # report all of them, in the file's order
            plan.problems[:0], planned.missing = planned.missing, []
        return planned

    async def _settle(self, planned: Planned, applied: Applied | None) -> None:
        """Count what was left out, and delete what is not in the file."""
        result, left_over, superseded = self.result, planned.left_over, planned.superseded
        if self.replace:
            result.links.setdefault("replaced", 0)
        if planned.missing:
            missing = dict(zip(self.survey.unresolved, planned.missing, strict=True))
            _count_lost(planned.topology, result, missing, planned.lost)
        if left_over is not None:
            await self._settle_left_over(left_over)
        if superseded is not None:
            if result.status == PARTIAL and superseded.keep_whole(applied) and STAYS not in result.notes:
                result.notes.append(STAYS)
            executor = applied.executor if applied is not None else self._executor()
            await self._settle_superseded(superseded, executor)
        is_whole = not planned.plan.problems and not planned.missing and result.status != ROLLED_BACK
        if is_whole and left_over is None and not self.create_only:
            _note_left_over(planned.topology, self.survey, self.kernel, result)

    def _find_superseded(self, topology: Topology, survey: Survey) -> Superseded | None:
        """Return the links that have to go first; None for none, as nearly always."""
        if self.create_only or survey.problems or self.problems:
            return None
        from kokofast.plan.left_over import has_leaving  # koko's command line does without

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
            from kokofast.plan.left_over import ends_left_over

            found = ends_left_over(topology, survey.places, survey.observed, self.kernel.boot_id())
            going |= {(number, interface.ifindex) for number, interface in found}
        return going

    async def _settle_superseded(self, superseded: Superseded, executor: Executor) -> None:
        """Delete the links that gave their names away; a dry run lists them."""
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
        """Remove what is not in the file any more; a dry run lists it."""
        result = self.result
        result.links["removed"] = result.namespaces["removed"] = 0
        if self.dry_run and not left_over.problems:
            left_over.tell(result)
        elif left_over and result.status in (APPLIED, UNCHANGED):
            with self.driver.shielded(), result.stage("delete"):
                if self.confirmation is not None:
                    args = self.topology, self.kernel, self.driver, self.progress
                    result.errors = await left_over.newcomers(*args)
                if result.errors:
                    result.status = PARTIAL
                else:
                    await left_over.remove(self.kernel, self.driver, result, self.progress)
        elif left_over and result.status == PARTIAL:
            result.notes.append(STAYS)
        left_over.forget(self.kernel)

    async def _may_try_again(self, applied: Applied) -> bool:
        """Return whether the run failed only because another lab removed namespaces that this one could make itself.

        Wait for the end of the other run.
        """
        if self.result.status != ROLLED_BACK:
            return False
        from kokofast.engine.recheck import lost_to

        labs = lost_to(applied)
        if not labs:
            return False
        for _ in range(OTHERS_POLLS):  # bounded: the other run may wait for this one
            if not any(map(is_locked, labs)):
                break
            await self.driver.sleep(POLL_SECONDS)
        self.result.status, self.result.errors = UNCHANGED, []
        return True


def _note_left_over(topology: Topology, survey: Survey, kernel: Kernel, result: Result) -> None:
    """Note how many links of the lab the file does not have any more."""
    from kokofast.plan.left_over import count_left_over

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
