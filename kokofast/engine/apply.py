"""batch: makes the kernel match a topology, all or nothing."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import trio

from kokofast.engine.applied import Applied
from kokofast.engine.count import count_done, count_lost, succeed
from kokofast.engine.execute import Executor
from kokofast.engine.failures import failures_of, failures_of_bereft
from kokofast.engine.groundwork import is_to_do, leave_out, plan_of, see_for
from kokofast.engine.locking import POLL_SECONDS, lab_locked
from kokofast.engine.pace import Pace
from kokofast.engine.recheck import bereft, fail_the_misled, lost_to
from kokofast.engine.result import ROLLED_BACK, UNCHANGED, Result
from kokofast.engine.rollback import take_back
from kokofast.engine.scheduler import Scheduler, run_all
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT, survey_nodes
from kokofast.host.kernel import Kernel
from kokofast.host.lock import is_locked
from kokofast.host.trio_threads import is_cancelled
from kokofast.plan.plan import nodes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kokofast.engine.execute import Refusal
    from kokofast.engine.headstart import HeadStart
    from kokofast.engine.result import Progress
    from kokofast.plan.operations import Operation
    from kokofast.topology.model import Topology
    from kokofast.topology.problems import Problem

ATTEMPTS = 5  # of a run whose namespaces other labs take away
OTHERS_POLLS = 100


async def apply(
    topology: Topology,
    *,
    kernel: Kernel | None = None,
    keep_going: bool = False,
    dry_run: bool = False,
    exclusive: bool = True,
    jobs: int | None = None,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    progress: Progress | None = None,
    result: Result | None = None,
    problems: Sequence[Problem] = (),
    waits: Callable[[], object] | None = None,
) -> Result:
    """Makes the kernel match the topology and returns what was done.

    When a link fails, or the caller's scope is cancelled, everything this run made is taken back first; with keep_going
    the links that work stay, and those of a node that does not resolve are failed links. Never raises for what the
    kernel or the user's file is to blame for: see Result.status and Result.errors. exclusive keeps other runs off the
    lab meanwhile. jobs is the number of worker threads, None for as many as are found to be worth it, runtime_timeout
    how many seconds a container daemon may be silent. A result that is given is filled in, so that a caller who cancels
    the run can see what became of it; its trace, if it has one, is told what was done when. problems are those that
    reading the file found: then nothing is applied, but what the kernel has to object is found and reported with them.
    waits is called once, when another run has kept the lab for half a second.
    """
    result = result if result is not None else Result(topology.name, UNCHANGED)
    own = kernel is None
    kernel = kernel if kernel is not None else Kernel()
    kernel.trace = result.trace
    try:
        # A second run of the same lab waits, and then finds nothing to do.
        needed = exclusive and not dry_run and not problems
        async with lab_locked(topology.name, needed=needed, waits=waits) as unlocked:
            await _run(
                topology,
                result,
                kernel,
                keep_going=keep_going,
                dry_run=dry_run,
                jobs=jobs,
                runtime_timeout=runtime_timeout,
                progress=progress,
                problems=problems,
                notes=unlocked,
                is_alone=needed and not unlocked,
            )
        return result
    finally:
        if own:
            kernel.close()


async def _run(
    topology: Topology,
    result: Result,
    kernel: Kernel,
    *,
    keep_going: bool = False,
    dry_run: bool = False,
    jobs: int | None = None,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    progress: Progress | None = None,
    problems: Sequence[Problem] = (),
    notes: Sequence[str] = (),
    is_alone: bool,
    attempts: int = ATTEMPTS,
) -> None:
    survey = await survey_nodes(
        kernel,
        topology.name,
        nodes_of(topology),
        see_for(topology),
        runtime_timeout=runtime_timeout,
        timed=result.stage,
        progress=progress,
    )
    missing: list[Problem] = []
    lost: Counter[str] = Counter()
    with result.stage("plan"):
        if keep_going and survey.problems and not problems:
            whole, lost = leave_out(topology, survey)
            if whole.links:
                topology, missing, survey.problems = whole, survey.problems, []
        plan = plan_of(topology, survey, kernel, dry_run)
    if plan.problems:  # all of them are told, in the file's order
        plan.problems[:0], missing = missing, []
    plan.problems = list(dict.fromkeys([*problems, *plan.problems]))
    if is_to_do(topology, plan, result, dry_run):
        result.notes += notes
        applied = Applied(topology, plan, Executor(kernel, survey.handles, survey.observed, is_alone=is_alone))
        await _carry_out(applied, result, keep_going, Pace(jobs), progress)
        if attempts > 1 and await _may_try_again(applied, result):
            more = partial(_run, keep_going=keep_going, jobs=jobs, runtime_timeout=runtime_timeout, progress=progress)
            await more(topology, result, kernel, notes=notes, is_alone=is_alone, attempts=attempts - 1)
    if missing:
        count_lost(topology, result, dict(zip(survey.unresolved, missing, strict=True)), lost)


async def _may_try_again(applied: Applied, result: Result) -> bool:
    """Whether all was taken back only because another lab, which failed or was destroyed, took the namespaces away that
    it had made, and this one would have made them itself. Waits for the end of the other run."""
    labs = lost_to(applied) if result.status == ROLLED_BACK else set()
    if not labs:
        return False
    for _ in range(OTHERS_POLLS):  # not for ever: it may wait for us
        if not any(map(is_locked, labs)):
            break
        await trio.sleep(POLL_SECONDS)
    result.status, result.errors = UNCHANGED, []
    return True


async def go_on(
    head: HeadStart, *, keep_going: bool = False, jobs: int | None = None, progress: Progress | None = None
) -> Result:
    """The rest of apply() for a run that has had a head start."""
    head.is_taken_over = True
    await _carry_out(head.applied, head.result, keep_going, Pace(jobs), progress, head.answers)
    if await _may_try_again(head.applied, head.result):
        is_alone = head.applied.executor.is_alone
        more = partial(_run, keep_going=keep_going, jobs=jobs, progress=progress, is_alone=is_alone)
        await more(head.topology, head.result, head.kernel)
    return head.result


async def _carry_out(
    applied: Applied,
    result: Result,
    keep_going: bool,
    pace: Pace,
    progress: Progress | None,
    answers: Mapping[int, Refusal | None] | None = None,
) -> None:
    """answers are those of operations that were carried out already, by their numbers in the plan."""
    answered = answers if answers is not None else {}
    plan, executor, trace = applied.plan, applied.executor, result.trace
    executor.stopped = is_cancelled
    total = len(plan.operations)

    def report(numbers: Sequence[int], answers: Sequence[Refusal | None]) -> None:
        for number, answer in zip(numbers, answers, strict=True):
            applied.note(number, answer)
        if progress is not None:
            progress("apply", len(applied.done) + len(applied.failures), total)

    async def run(start: int, stop: int) -> None:
        numbers: list[int] = list(range(start, stop))
        after = plan.after[:stop]
        if start:  # what a later stage waits for has been done by now, or never will be
            skipped = applied.failed_links(start)
            numbers = [n for n in numbers if getattr(plan.operations[n], "link", -1) not in skipped]
            numbers = [n for n in numbers if applied.done.issuperset(after[n])]
            after = [()] * stop
        scheduler: Scheduler[Operation, Refusal | None] = Scheduler(
            [plan.operations[number] for number in numbers],
            [after[number] for number in numbers],
            executor.execute if trace is None else trace.of(executor.execute),
            failed=lambda answer: answer is not None,
            report=lambda done, answers: report([numbers[number] for number in done], answers),
            workers=pace,
            chunk=pace.chunk(executor.kernel.capacity),
            stop_on_failure=not keep_going,
            answered={place: answered[number] for place, number in enumerate(numbers) if number in answered},
        )
        await scheduler.run()

    result.begin_rollback()  # should the event loop itself break down, that is what is known
    try:
        with result.stage("apply"):
            for start, stop in plan.stages():
                if keep_going or not applied.failures:
                    await run(start, stop)
            if keep_going or not applied.failures:
                fail_the_misled(applied)
    except BaseException:
        # Cancelled (Ctrl-C, SIGTERM), or a defect of ours: either way nothing stays half made.
        await _roll_back(applied, result, None, progress)
        raise
    result.workers = pace.workers
    await _settle(applied, result, keep_going, progress)


async def _settle(applied: Applied, result: Result, keep_going: bool, progress: Progress | None) -> None:
    """After a run that came to its end: counts what was done, names what failed, and takes that or all of it back."""
    result.errors = failures_of(applied)
    if not applied.failures:
        succeed(applied, result)
        applied.is_settled = True
        return
    failed = applied.failed_links()
    if keep_going:
        lost = bereft(applied, failed)
        result.errors += failures_of_bereft(applied, lost)
        failed |= lost
    await _roll_back(applied, result, failed if keep_going else None, progress)
    if keep_going:
        count_done(applied, result, failed)
    else:
        applied.count_failed(result)


async def _roll_back(applied: Applied, result: Result, only: set[int] | None, progress: Progress | None) -> None:
    result.begin_rollback()
    with trio.CancelScope(shield=True), result.stage("rollback"):
        left = await take_back(applied, only, run_all, progress)
    result.end_rollback(left, whole=only is None)
    result.notes += applied.notes
    applied.is_settled = True
