"""Carry out a plan, all or nothing: its stages, the check at the end, the rollback, and the counts of the result."""

from __future__ import annotations

from kokofast.drivers.work_queue import WorkerCount, WorkQueue
from kokofast.engine.result import APPLIED
from kokofast.plan.operations import MakeNamespace
from kokofast.plan.plan import CREATE, REPLACE, UPDATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.confirmation import Confirmation
    from kokofast.engine.result import Failure, Result
    from kokofast.engine.result_types import Progress
    from kokofast.ops.executor import OperationError
    from kokofast.ops.journal import Applied

# Some 300 links between existing namespaces.
FEW_OPERATIONS = 1000


class PlanRun:
    """Carries out a plan. Takes back everything if an operation fails; with keep_going, only the links that fail.

    With a confirmation it takes back everything, too, if that is refused.
    """

    def __init__(
        self,
        applied: Applied,
        result: Result,
        driver: Driver,
        keep_going: bool = False,
        jobs: int | None = None,
        progress: Progress | None = None,
        confirmation: Confirmation | None = None,
    ) -> None:
        self.applied = applied
        self.result = result
        self.driver = driver
        self.keep_going = keep_going
        self.jobs = jobs
        self.progress = progress
        self.confirmation = confirmation

    async def go(self) -> None:
        """Carry out the plan and fill in the result."""
        applied, result, workers = self.applied, self.result, WorkerCount(self.jobs)
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
                        await self.driver.carry_out(self._queue(workers, start, stop))
                if not refusals and (self.keep_going or not applied.failures):
                    _recheck(applied)
            if self.confirmation is not None and not refusals and not applied.failures:
                refusal = await self.confirmation.wait(self.driver, result)
                refusals = [refusal] if refusal is not None else []
            applied.spend_reserve()  # the imports below need memory and descriptors
            failed = self._name_failures() if applied.failures else set()
        except BaseException:
            # Also for a bug of ours: nothing may stay half made.
            await self._roll_back(None)
            raise
        result.workers = workers.workers
        if refusals:
            result.errors = refusals
            await self._roll_back(None)
        elif not applied.failures:
            _succeed(applied, result)
        elif self.keep_going:
            await self._roll_back(failed)
            _count_done(applied, result, failed)
        else:
            await self._roll_back(None)
            _count_failed(applied, result)

    def _queue(self, workers: WorkerCount, start: int, stop: int) -> WorkQueue:
        """Return the work queue of a stage."""
        applied, trace = self.applied, self.result.trace
        plan, executor = applied.plan, applied.executor
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
            chunk=workers.chunk(executor.kernel.capacity),
            after=after,
            failed=lambda answer: answer is not None,
            stop_on_failure=not self.keep_going,
            few=FEW_OPERATIONS if self.jobs is None else 0,
        )

    def _name_failures(self) -> set[int]:
        """Put the failures into the result; return the links that cannot stay."""
        from kokofast.engine.failures import failures_of, failures_of_dependents, failures_of_nodes

        applied = self.applied
        self.result.errors = failures_of(applied)
        failed = applied.failed_links()
        if self.keep_going:
            lost = _lost_with(applied, failed)
            self.result.errors += failures_of_dependents(applied, lost) + failures_of_nodes(applied)
            failed |= lost
        return failed

    async def _roll_back(self, only: set[int] | None) -> None:
        """Take back the links in only, or everything."""
        applied = self.applied
        applied.spend_reserve()
        from kokofast.engine.rollback import roll_back

        self.result.begin_rollback()
        with self.driver.shielded(), self.result.stage("rollback"):
            left = await roll_back(applied, only, self.driver, self.progress)
        self.result.end_rollback(left, whole=only is None)
        self.result.notes += applied.notes


def _lost_with(applied: Applied, failed: set[int]) -> set[int]:
    """Return the other links that cannot stay without the failed ones."""
    from kokofast.engine.recheck import dependents_of

    lost = dependents_of(applied, failed)
    while (replacement := applied.replacement) is not None:
        more = replacement.together_with(failed | lost) - failed - lost
        more |= dependents_of(applied, failed | lost | more)
        if not more:
            break
        lost |= more
    return lost


def _recheck(applied: Applied) -> None:
    """Count operations as failed whose namespace or parent has been replaced."""
    kernel = applied.executor.kernel
    has_parents = any(link.parent is not None for link in applied.topology.links)
    if has_parents or any(handle and kernel.misled(handle) for handle in applied.executor.handles):
        from kokofast.engine.recheck import recheck_namespaces  # rarely needed

        recheck_namespaces(applied)


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


def _succeed(applied: Applied, result: Result) -> None:
    """Fill in the result of a run without failures."""
    result.status = APPLIED
    result.left = []
    _count_done(applied, result, set())
