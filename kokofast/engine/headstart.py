"""What a batch does before there is an event loop: the look, the plan, and the first links, or all of a few.

To import trio takes the interpreter as long as it takes the kernel to make some 300 links. So the command line looks
and plans without it, carries a short plan out without it, and of a longer one has the first links made while a thread
imports it. apply.go_on() takes it from there.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from kokofast.engine.applied import Applied
from kokofast.engine.at_once import AtOnce, Stopped, drive
from kokofast.engine.count import succeed
from kokofast.engine.execute import Executor
from kokofast.engine.groundwork import Paths, blame, is_to_do, plan_of, see_for
from kokofast.engine.pace import Pace
from kokofast.engine.ready import Ready
from kokofast.engine.recheck import fail_the_misled
from kokofast.engine.seen import Survey
from kokofast.host.kernel import Kernel
from kokofast.host.limits import need_room
from kokofast.host.lock import LabLock
from kokofast.host.threads import Running
from kokofast.plan.operations import CreateLink
from kokofast.plan.plan import nodes_of
from kokofast.topology.model import CONTAINER_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kokofast.engine.execute import Refusal
    from kokofast.engine.result import Progress, Result
    from kokofast.topology.model import Topology
    from kokofast.topology.problems import Problem


# What a batch of some 300 links between namespaces that are there has to do.
FEW_OPERATIONS = 1000


class HeadStart:
    """A run that has begun: a block, at whose end what was not brought to an end, by carry_out() or apply.go_on(), is
    taken back, and the lock and all descriptors are given back.

    is_to_do: whether there is work still; the result is whole when there is none. answers: what became of operations
    that were carried out, by their numbers in the plan.
    """

    def __init__(self, topology: Topology, result: Result, kernel: Kernel, lock: LabLock | None) -> None:
        self.topology = topology
        self.result = result
        self.kernel = kernel
        self.lock = lock
        self.is_to_do = False
        self.is_taken_over = False
        self.applied: Applied
        self.answers: dict[int, Refusal | None] = {}

    def is_short(self, jobs: int | None) -> bool:
        """Whether the plan is one for carry_out(): the event loop would cost more than its workers save."""
        return jobs in (None, 1) and len(self.applied.plan.operations) <= FEW_OPERATIONS

    def carry_out(self, *, progress: Progress | None = None, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Does all of a short plan, in this thread. False when something failed, or stopped() said so before all was
        done, and it is for apply.go_on() to end it. Raises OSError."""
        applied = self.applied
        with self.result.stage("apply"):
            if not all(self._carry_out(*stage, progress, stopped) for stage in applied.plan.stages()):
                return False
            for number, answer in self.answers.items():
                applied.note(number, answer)
            fail_the_misled(applied)
        if applied.failures:
            applied.failures.clear()  # go_on() looks again
            return False
        self.is_to_do = False
        self.result.workers = 1
        succeed(applied, self.result)
        return True

    def _carry_out(self, start: int, stop: int, progress: Progress | None, stopped: Callable[[], bool]) -> bool:
        """The operations from start to stop; whether all of them went well."""
        plan, executor, trace = self.applied.plan, self.applied.executor, self.result.trace
        executor.stopped = stopped
        execute = executor.execute if trace is None else trace.of(executor.execute)
        size = Pace(1).chunk(self.kernel.capacity)
        # What a later stage waits for is done by now.
        ready = Ready(plan.operations[start:stop], [()] * (stop - start) if start else plan.after[:stop])
        while ready:
            if stopped():
                return False
            need_room()
            numbers = [start + number for number in ready.take(size)]
            answers = execute([plan.operations[number] for number in numbers])
            self.answers.update(zip(numbers, answers, strict=True))
            if progress is not None:
                progress("apply", len(self.answers), len(plan.operations))
            if any(answer is not None for answer in answers):
                return False
            for number in numbers:
                ready.done(number - start)
        return True

    def make_first_links(
        self,
        beside: Callable[[], object],
        *,
        jobs: int | None = None,
        progress: Progress | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Makes links that wait for nothing, chunk by chunk, until the job that runs beside in a thread has ended, a
        link fails, or stopped() says so. Then waits for the job; raises its exception, or OSError."""
        # First imported by another thread, it would take that for the main one (until Python 3.12).
        import threading  # noqa: F401

        plan, executor, trace = self.applied.plan, self.applied.executor, self.result.trace
        size = Pace(jobs).chunk(self.kernel.capacity)
        ready = [
            number
            for number, operation in enumerate(plan.operations[: plan.last])
            if isinstance(operation, CreateLink) and not plan.after[number]
        ]
        execute = executor.execute if trace is None else trace.of(executor.execute)
        job = Running(beside if trace is None else trace.around("import", beside))
        try:
            with self.result.stage("apply") if ready else nullcontext():
                for start in range(0, len(ready), size):
                    if stopped() or (start and job.has_ended()):
                        break
                    need_room()
                    numbers = ready[start : start + size]
                    answers = execute([plan.operations[number] for number in numbers])
                    self.answers.update(zip(numbers, answers, strict=True))
                    if progress is not None:
                        progress("apply", len(self.answers), len(plan.operations))
                    if any(answer is not None for answer in answers):
                        break
        except BaseException:
            with suppress(BaseException):
                job.wait()
            raise
        job.wait()

    def __enter__(self) -> HeadStart:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.is_to_do and not self.applied.is_settled:
                self._take_back()
        finally:
            self.close()

    def _take_back(self) -> None:
        self.applied.spend_reserve()
        from kokofast.engine.failures import failures_of
        from kokofast.engine.rollback import take_back

        if self.is_taken_over:  # and the event loop has broken down
            from kokofast.host.trio_threads import wait_for_all

            wait_for_all()
        applied, result = self.applied, self.result
        for number, answer in self.answers.items():
            applied.note(number, answer)
        result.begin_rollback()
        try:  # whatever becomes of the words, what was made is taken back
            fail_the_misled(applied)
            result.errors += failures_of(applied)
            applied.count_failed(result)
        finally:
            with result.stage("rollback"):
                left = drive(take_back(applied, None, AtOnce()))
            result.end_rollback(left)
            result.notes += applied.notes

    def close(self) -> None:
        """Gives the lab's lock back, and closes what is open."""
        if self.lock is not None:
            self.lock.release()
        self.kernel.close()


def head_start(
    topology: Topology,
    result: Result,
    *,
    kernel: Kernel | None = None,
    exclusive: bool = True,
    keep_going: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    problems: Sequence[Problem] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> HeadStart | None:
    """Begins what apply() does, with the same arguments, up to where something is to be done; nothing is touched yet.

    None when it has to be begun by apply(): the lab is locked by another run, nodes are containers, which only an event
    loop can ask for, nodes do not resolve and keep_going has the others wired, or stopped() said so meanwhile. Raises
    OSError.
    """
    nodes = nodes_of(topology)
    if any(node.kind in CONTAINER_KINDS for node in nodes.values()):
        return None
    lock = LabLock(topology.name) if exclusive and not dry_run and not problems else None
    kernel = kernel if kernel is not None else Kernel()
    kernel.trace = result.trace
    head = HeadStart(topology, result, kernel, lock)
    is_whole = False
    try:
        is_whole = (lock is None or lock.acquire()) and _look_and_plan(
            head, progress, problems, stopped, keep_going, dry_run
        )
        if is_whole:
            head.is_to_do = is_to_do(topology, head.applied.plan, result, dry_run)
            if head.is_to_do and lock is not None:
                result.notes += lock.notes()
    finally:
        if not is_whole:
            head.close()
    return head if is_whole else None


def _look_and_plan(
    head: HeadStart,
    progress: Progress | None,
    problems: Sequence[Problem],
    stopped: Callable[[], bool],
    keep_going: bool,
    dry_run: bool,
) -> bool:
    """Whether it came to its end."""
    kernel, nodes = head.kernel, nodes_of(head.topology)
    survey = Survey()
    with head.result.stage("survey"):
        paths = Paths(head.topology.name, nodes, {})
        try:
            sights = drive(paths.look(kernel, AtOnce(stopped), see_for(head.topology), progress))
        except Stopped:
            return False
        paths.take_in(survey, sights)
        blame(survey, nodes, paths.unresolved)
    if survey.problems and keep_going:
        return False
    with head.result.stage("plan"):
        plan = plan_of(head.topology, survey, kernel, dry_run)
    plan.problems = list(dict.fromkeys([*problems, *plan.problems]))
    is_alone = head.lock is not None and not head.lock.refusal
    head.applied = Applied(head.topology, plan, Executor(kernel, survey.handles, survey.observed, is_alone=is_alone))
    return not stopped()
