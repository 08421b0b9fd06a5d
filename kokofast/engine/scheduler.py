"""Runs operations in worker threads as soon as what they wait for is done.

Which operation is next is decided synchronously; only handing a chunk to a thread awaits. A chunk that has begun is
always waited for, also when the scope is cancelled, so that what was made is known.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from kokofast.engine.pace import Pace
from kokofast.host.threads import no_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Behind a chunk of links come two of their ends, and the next one of links.
AHEAD = 3

Item = TypeVar("Item")
Answer = TypeVar("Answer")
T = TypeVar("T")


class Scheduler(Generic[Item, Answer]):
    """operations[i] starts when all of after[i] went well; those behind a failed one are never started.

    execute(chunk) runs in a worker thread and returns one answer an operation; failed(answer) tells a failure.
    report(numbers, answers) is called in the trio thread for every finished chunk. With stop_on_failure nothing new
    is started after the first failure. prepare(chunk, next) runs in another thread while a chunk of the type
    beside is executed, with those that will probably come behind it. answered are those that were carried out before,
    by their numbers; they are reported first.
    """

    def __init__(
        self,
        operations: Sequence[Item],
        after: Sequence[tuple[int, ...]],
        execute: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        failed: Callable[[Answer], bool],
        report: Callable[[Sequence[int], Sequence[Answer]], None],
        workers: int | Pace,
        chunk: int,
        stop_on_failure: bool = True,
        prepare: Callable[[Sequence[Item], Sequence[Item]], None] | None = None,
        beside: type = object,
        answered: Mapping[int, Answer] | None = None,
    ) -> None:
        self._operations = operations
        self._prepare = prepare
        self._beside = beside
        self._execute = execute
        self._failed = failed
        self._report = report
        self._pace = workers if isinstance(workers, Pace) else Pace(workers)
        self._chunk = chunk
        self._stop_on_failure = stop_on_failure
        self._stopped = False
        self._running = 0
        self._waiting = [len(numbers) for numbers in after]
        self._followers: list[list[int]] = [[] for _ in operations]
        for number, numbers in enumerate(after):
            for other in numbers:
                self._followers[other].append(number)
        # Lowest number first: what belongs together in the file is finished together, and few namespaces are open.
        self._answered = answered if answered is not None else {}
        self._ready = [
            number for number, count in enumerate(self._waiting) if count == 0 and number not in self._answered
        ]
        self._wake = trio.Condition()
        self._preparing = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """Returns when nothing more can be done."""
        limiter = trio.CapacityLimiter(self._pace.most)
        if self._answered:
            self._finish(list(self._answered), list(self._answered.values()))
        async with trio.open_nursery() as nursery:
            for worker in range(min(self._pace.most, max(len(self._operations), 1))):
                nursery.start_soon(self._work, worker, limiter)

    async def _work(self, worker: int, limiter: trio.CapacityLimiter) -> None:
        while True:
            async with self._wake:
                while worker >= self._pace.workers or not (numbers := self._next()):
                    if self._stopped or not (self._running or self._ready):
                        self._wake.notify_all()
                        return
                    await self._wake.wait()
                self._running += 1
            answers: Sequence[Answer] = ()
            chunk = [self._operations[number] for number in numbers]
            try:
                if self._prepare is None or not isinstance(chunk[0], self._beside):
                    answers = await _in_thread(self._execute, chunk, limiter=limiter)
                else:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._look_ahead, self._prepare, chunk, numbers)
                        answers = await _in_thread(self._execute, chunk, limiter=limiter)
            finally:
                self._running -= 1
                self._pace.done(len(answers))
                self._finish(numbers, answers)
            async with self._wake:
                self._wake.notify_all()

    async def _look_ahead(
        self, prepare: Callable[[Sequence[Item], Sequence[Item]], None], chunk: Sequence[Item], numbers: Sequence[int]
    ) -> None:
        # In a task of its own: when it runs, the chunk is on its way.
        upcoming = [self._operations[number] for number in self._upcoming(numbers)]
        await _in_thread(prepare, chunk, upcoming, limiter=self._preparing)

    def _upcoming(self, running: Sequence[int]) -> list[int]:
        """What will be ready first when these are done."""
        met: dict[int, int] = {}
        for number in running:
            for follower in self._followers[number]:
                met[follower] = met.get(follower, 0) + 1
        behind = [number for number, count in met.items() if self._waiting[number] == count]
        return sorted([*self._ready, *behind])[: self._chunk * AHEAD]

    def _next(self) -> list[int]:
        if self._stopped or not self._ready:
            return []
        # A small plan is spread over all workers; a chunk holds operations of one type.
        size = min(self._chunk, math.ceil(len(self._ready) / self._pace.workers))
        type_of_first = type(self._operations[self._ready[0]])
        numbers: list[int] = []
        while self._ready and len(numbers) < size and type(self._operations[self._ready[0]]) is type_of_first:
            numbers.append(heapq.heappop(self._ready))
        return numbers

    def _finish(self, numbers: list[int], answers: Sequence[Answer]) -> None:
        self._report(numbers[: len(answers)], answers)
        failed, waiting, ready = self._failed, self._waiting, self._ready
        for number, answer in zip(numbers, answers, strict=False):
            if failed(answer):
                self._stopped = self._stopped or self._stop_on_failure
                continue
            for follower in self._followers[number]:
                waiting[follower] -= 1
                if waiting[follower] == 0:
                    heapq.heappush(ready, follower)


async def _in_thread(job: Callable[..., T], *arguments: object, limiter: trio.CapacityLimiter) -> T:
    try:
        return await trio.to_thread.run_sync(job, *arguments, limiter=limiter)
    except RuntimeError as error:
        raise no_thread(error) from error


async def run_all(
    items: Sequence[Item],
    execute: Callable[[Sequence[Item]], Sequence[Answer]],
    *,
    workers: int,
    chunk: int,
    report: Callable[[int, Answer], None],
) -> None:
    """Independent items through worker threads in chunks; report(number, answer) for each."""
    nothing: list[tuple[int, ...]] = [()] * len(items)

    def report_all(numbers: Sequence[int], answers: Sequence[Answer]) -> None:
        for number, answer in zip(numbers, answers, strict=True):
            report(number, answer)

    scheduler = Scheduler(
        items,
        nothing,
        execute,
        failed=lambda _: False,
        report=report_all,
        workers=workers,
        chunk=chunk,
        stop_on_failure=False,
    )
    await scheduler.run()
