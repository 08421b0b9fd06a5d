"""batch: makes the kernel match a topology, all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from kokofast.engine.applied import Applied
from kokofast.engine.execute import Executor
from kokofast.engine.failures import failures_of
from kokofast.engine.locking import lab_locked
from kokofast.engine.pace import Pace
from kokofast.engine.recheck import bereft, fail_the_misled
from kokofast.engine.result import APPLIED, INVALID, PARTIAL, PLANNED, ROLLED_BACK, UNCHANGED, Failure, Result
from kokofast.engine.rollback import take_back
from kokofast.engine.scheduler import Scheduler
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT, survey_nodes
from kokofast.host.kernel import Kernel
from kokofast.plan.operations import AddMirror, ConfigureEnd, CreateLink, MakeNamespace, RemoveMirror
from kokofast.plan.plan import CREATE, UPDATE, Situation, nodes_of, parent_of
from kokofast.plan.plan import UNCHANGED as LINK_UNCHANGED
from kokofast.plan.planner import make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.engine.execute import Refusal
    from kokofast.engine.result import Progress
    from kokofast.engine.seen import Survey
    from kokofast.plan.operations import Operation
    from kokofast.plan.plan import Plan
    from kokofast.topology.model import Link, Topology
    from kokofast.topology.problems import Problem

CHUNK = 256


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
) -> Result:
    """Makes the kernel match the topology and returns what was done.

    When a link fails, or the caller's scope is cancelled, everything this run made is taken back first; with keep_going
    the links that work stay. Never raises for what the kernel or the user's file is to blame for: see Result.status and
    Result.errors. exclusive keeps other runs off the lab meanwhile. jobs is the number of worker threads, None for as
    many as are found to be worth it, runtime_timeout how many seconds a container daemon may be silent. A result that
    is given is filled in, so that a caller who cancels the run can see what became of it; its trace, if it has one, is
    told what was done when. problems are those that reading the file found: then nothing is applied, but what the
    kernel has to object is found and reported with them.
    """
    result = result if result is not None else Result(topology.name, UNCHANGED)
    own = kernel is None
    kernel = kernel if kernel is not None else Kernel()
    kernel.trace = result.trace
    try:
        # A second run of the same lab waits, and then finds nothing to do.
        async with lab_locked(topology.name, needed=exclusive and not dry_run and not problems) as unlocked:
            survey = await survey_nodes(
                kernel,
                nodes_of(topology),
                runtime_timeout=runtime_timeout,
                timed=result.stage,
                progress=progress,
            )
            with result.stage("plan"):
                plan = _make_plan(topology, survey, kernel)
            plan.problems[:0] = problems
            _count(result, plan)
            if plan.problems:
                result.status = INVALID
                result.errors = [Failure(problem.place, problem.message) for problem in plan.problems]
            elif dry_run:
                result.status = PLANNED if plan.operations else UNCHANGED
                result.notes = describe(topology, plan) + plan.notes
            elif plan.operations:
                result.notes = plan.notes + unlocked
                applied = Applied(topology, plan, Executor(kernel, survey.handles, survey.observed))
                await _carry_out(applied, result, keep_going, Pace(jobs), progress)
        return result
    finally:
        if own:
            kernel.close()


def _make_plan(topology: Topology, survey: Survey, kernel: Kernel) -> Plan:
    if survey.problems:
        # Links between nodes that do resolve are checked all the same: every error of the file is shown at once.
        whole = [link for link in topology.links if _resolves(link, survey)]
        nodes = {name: node for name, node in topology.nodes.items() if name in survey.places}
        topology = type(topology)(topology.name, nodes, tuple(whole))
    situation = Situation(survey.places, survey.observed, kernel.boot_id())
    plan = make_plan(topology, situation)
    plan.problems[:0] = survey.problems
    return plan


def _resolves(link: Link, survey: Survey) -> bool:
    parent = parent_of(link)
    nodes = [end.node for end in link.ends] + ([] if parent is None else [parent[0]])
    return all(node in survey.places for node in nodes)


def _count(result: Result, plan: Plan) -> None:
    result.links = {
        "total": len(plan.actions),
        "created": 0,
        "updated": 0,
        "unchanged": 0 if plan.problems else plan.actions.count(LINK_UNCHANGED),
        "failed": 0,
    }
    result.namespaces = {"created": 0}


async def _carry_out(applied: Applied, result: Result, keep_going: bool, pace: Pace, progress: Progress | None) -> None:
    plan, executor, trace = applied.plan, applied.executor, result.trace
    total = len(plan.operations)

    def report(numbers: Sequence[int], answers: Sequence[Refusal | None]) -> None:
        for number, answer in zip(numbers, answers, strict=True):
            if answer is None:
                applied.done.add(number)
            else:
                applied.failures[number] = answer
            if progress is not None:
                progress("apply", len(applied.done) + len(applied.failures), total)

    async def run(start: int, stop: int) -> None:
        skipped = applied.failed_links(start) if start else set()
        numbers = [n for n in range(start, stop) if getattr(plan.operations[n], "link", -1) not in skipped]
        scheduler: Scheduler[Operation, Refusal | None] = Scheduler(
            [plan.operations[number] for number in numbers],
            [plan.after[number] for number in numbers],
            executor.execute if trace is None else trace.of(executor.execute),
            failed=lambda answer: answer is not None,
            report=lambda done, answers: report([numbers[number] for number in done], answers),
            workers=pace,
            chunk=max(min(CHUNK, executor.kernel.capacity // (2 * pace.most)), 1),
            stop_on_failure=not keep_going,
            prepare=executor.prepare if trace is None else trace.of(executor.prepare),
            beside=CreateLink,
        )
        await scheduler.run()

    try:
        with result.stage("apply"):
            await run(0, plan.last)
            if keep_going or not applied.failures:
                await run(plan.last, total)
            if keep_going or not applied.failures:
                fail_the_misled(applied)
    except BaseException:
        # Cancelled (Ctrl-C, SIGTERM), or a defect of ours: either way nothing stays half made.
        result.status = ROLLED_BACK
        await _roll_back(applied, result, None, progress)
        raise
    result.workers = pace.workers
    result.errors = failures_of(applied)
    if not applied.failures:
        result.status = APPLIED
        _count_done(applied, result, set())
        return
    failed = applied.failed_links()
    if keep_going:
        lost = bereft(applied, failed)
        links = [applied.topology.links[number] for number in sorted(lost)]
        result.errors += [Failure(link.place, f"{link.title()}: what it stands on was not made") for link in links]
        failed |= lost
    result.status = PARTIAL if keep_going else ROLLED_BACK
    await _roll_back(applied, result, failed if keep_going else None, progress)
    if keep_going:
        _count_done(applied, result, failed)
    else:
        result.links["failed"] = len({getattr(plan.operations[number], "link", -1) for number in applied.failures})


async def _roll_back(applied: Applied, result: Result, only: set[int] | None, progress: Progress | None) -> None:
    with trio.CancelScope(shield=True), result.stage("rollback"):
        result.left = await take_back(applied, only, progress)
    if result.left:
        result.status = PARTIAL


def _count_done(applied: Applied, result: Result, failed: set[int]) -> None:
    actions = applied.plan.actions
    result.links["created"] = sum(action == CREATE and number not in failed for number, action in enumerate(actions))
    result.links["updated"] = sum(action == UPDATE and number not in failed for number, action in enumerate(actions))
    result.links["failed"] = len(failed)
    result.namespaces["created"] = sum(
        isinstance(operation, MakeNamespace) and operation.ns not in applied.executor.adopted
        for operation in (applied.plan.operations[number] for number in applied.done)
    )


def describe(topology: Topology, plan: Plan) -> list[str]:
    """The plan as lines for people: + for what comes, ~ for what changes."""
    lines: list[str] = []
    changed: set[int] = set()
    for operation in plan.operations:
        if isinstance(operation, MakeNamespace):
            lines.append(f"+ namespace {operation.name}")
        elif isinstance(operation, CreateLink):
            link = topology.links[operation.link]
            lines.append(f"+ {link.kind} {link.title()}")
        elif isinstance(operation, (AddMirror, RemoveMirror)):
            end = topology.links[operation.link].ends[operation.end]
            sign = "+" if isinstance(operation, AddMirror) else "-"
            way = " and ".join(sorted(operation.directions))
            lines.append(f"{sign} mirror {way} of {end.node}:{operation.source.ifname} to {end.ifname}")
        elif plan.actions[operation.link] == UPDATE:
            changed.add(operation.link)
            end = topology.links[operation.link].ends[operation.end]
            lines.append(f"~ {end.node}:{end.ifname} {_describe_change(operation)}")
    return lines


def _describe_change(operation: ConfigureEnd) -> str:
    change = operation.change
    parts = [
        name if isinstance(value, (str, bytes)) else f"{name} {value}" for name, value in change.attributes.items()
    ]
    if change.up is not None:
        parts.append("up" if change.up else "down")
    parts += [f"+{_text(address.packed, address.prefixlen)}" for address in change.add]
    parts += [f"-{_text(address.packed, address.prefixlen)}" for address in change.remove]
    return ", ".join(parts)


def _text(packed: bytes, prefixlen: int) -> str:
    import ipaddress

    return f"{ipaddress.ip_address(packed)}/{prefixlen}"
