"""What a batch does before there is an event loop: the look, the plan, and the first links.

To import trio takes the interpreter as long as it takes the kernel to make some 300 links. So the command line looks
and plans without trio, and imports it while a thread has the first links made. apply.go_on() takes it from there.
"""

from __future__ import annotations

import _thread
from typing import TYPE_CHECKING

from kokofast.engine.applied import Applied
from kokofast.engine.execute import Executor
from kokofast.engine.groundwork import Paths, blame, is_to_do, plan_of, see
from kokofast.engine.pace import Pace
from kokofast.engine.seen import Survey, look_into
from kokofast.host.kernel import Kernel
from kokofast.host.lock import LabLock
from kokofast.host.threads import no_thread
from kokofast.plan.operations import CreateLink
from kokofast.plan.plan import nodes_of
from kokofast.topology.model import CONTAINER_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kokofast.engine.execute import Refusal
    from kokofast.engine.result import Progress, Result
    from kokofast.engine.seen import Sight
    from kokofast.plan.operations import Operation
    from kokofast.topology.model import Topology

LOOK_CHUNK = 512


class HeadStart:
    """A run that has begun. Whoever has one must have apply.go_on() end it, or abandon it."""

    def __init__(self, topology: Topology, kernel: Kernel, lock: LabLock | None) -> None:
        self.topology = topology
        self.kernel = kernel
        self.lock = lock
        self.applied: Applied
        self.is_done = False
        self._begun: dict[Operation, int] = {}  # those in the thread -> their number in the plan
        self._answers: dict[Operation, Refusal | None] = {}
        self._ended = _thread.allocate_lock()
        self._defect: BaseException | None = None

    def begin(self, numbers: Sequence[int], job: Callable[[Sequence[Operation]], Sequence[Refusal | None]]) -> None:
        """Has these operations of the plan, all of one type and waiting for none, carried out by job, in a thread.

        Raises OSError EAGAIN when there can be no thread; then nothing has begun."""
        operations = [self.applied.plan.operations[number] for number in numbers]

        def body() -> None:
            try:
                self._answers.update(zip(operations, job(operations), strict=True))
            except BaseException as error:
                self._defect = error
            finally:
                self._ended.release()

        self._ended.acquire()
        try:
            _thread.start_new_thread(body, ())
        except RuntimeError as error:
            self._ended.release()
            raise no_thread(error) from error
        self._begun = dict(zip(operations, numbers, strict=True))

    def execute(self, operations: Sequence[Operation]) -> list[Refusal | None]:
        """As Executor.execute(); what the thread has in hand is waited for."""
        execute = self.applied.executor.execute
        if not any(operation in self._begun for operation in operations):
            return execute(operations)
        self._wait()
        if self._defect is not None:
            raise self._defect
        rest = [operation for operation in operations if operation not in self._begun]
        answers = self._answers | dict(zip(rest, execute(rest) if rest else (), strict=True))
        return [answers[operation] for operation in operations]

    def settle(self) -> None:
        """Waits for the thread, and notes what it has done."""
        self._wait()
        applied = self.applied
        for operation, answer in self._answers.items():
            number = self._begun[operation]
            if answer is None:
                applied.done.add(number)
            else:
                applied.failures[number] = answer

    def _wait(self) -> None:
        with self._ended:
            pass

    def abandon(self) -> list[str]:
        """Takes back what was made, without an event loop. A line for everything that could not be taken back."""
        from kokofast.engine.remove import take_back_at_once

        try:
            self.settle()
            return take_back_at_once(self.applied)
        finally:
            self.close()

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
    jobs: int | None = None,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> HeadStart | None:
    """Begins a run. None, with nothing touched, when it has to be begun by apply(): the lab is locked by another run,
    nodes are containers, which only an event loop can ask for, or stopped() said so meanwhile.

    HeadStart.is_done tells that the result is whole already: there is nothing to do, or nothing that can be done.
    """
    nodes = nodes_of(topology)
    if any(node.kind in CONTAINER_KINDS for node in nodes.values()):
        return None
    lock = LabLock(topology.name) if exclusive else None
    if lock is not None and not lock.acquire():
        lock.release()
        return None
    kernel = kernel if kernel is not None else Kernel()
    kernel.trace = result.trace
    head = HeadStart(topology, kernel, lock)
    try:
        if _look_and_plan(head, result, progress, stopped):
            if is_to_do(topology, head.applied.plan, result):
                _begin_links(head, result, Pace(jobs))
            else:
                head.is_done = True
                head.close()
            return head
    except BaseException:
        head.close()
        raise
    head.close()
    return None


def _look_and_plan(head: HeadStart, result: Result, progress: Progress | None, stopped: Callable[[], bool]) -> bool:
    kernel, nodes = head.kernel, nodes_of(head.topology)
    survey = Survey()
    with result.stage("survey"):
        paths = Paths(nodes, {})
        wanted = list(paths.nodes)
        kernel.expect(len(wanted))
        sights: list[Sight] = []
        size = max(min(LOOK_CHUNK, kernel.capacity), 1)
        for start in range(0, len(wanted), size):
            if stopped():
                return False
            sights += [look_into(kernel, item, see) for item in kernel.open_all(wanted[start : start + size])]
            if progress is not None:
                progress("survey", len(sights), len(wanted))
        paths.take_in(survey, sights)
        blame(survey, nodes, paths.unresolved)
    with result.stage("plan"):
        plan = plan_of(head.topology, survey, kernel)
    head.applied = Applied(head.topology, plan, Executor(kernel, survey.handles, survey.observed))
    return not stopped()


def _begin_links(head: HeadStart, result: Result, pace: Pace) -> None:
    """The first chunk, where it is of links: one long call, beside which the interpreter is free."""
    plan, execute = head.applied.plan, head.applied.executor.execute
    numbers: list[int] = []
    for number, operation in enumerate(plan.operations[: plan.last]):
        if isinstance(operation, CreateLink) and not plan.after[number]:
            numbers.append(number)
            if len(numbers) == pace.chunk(head.kernel.capacity):
                break
    if numbers:
        head.begin(numbers, execute if result.trace is None else result.trace.of(execute))
