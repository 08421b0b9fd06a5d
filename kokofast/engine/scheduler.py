"""Runs operations in worker threads as soon as what they wait for is done.

Which operation is next is decided synchronously; only handing a chunk to a thread awaits. A chunk that has begun is
always waited for, also when the scope is cancelled, so that what was made is known.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Scheduler(Generic[Item, Answer]):
    """operations[i] starts when all of after[i] went well; those behind a failed one are never started.

    execute(chunk) runs in a worker thread and returns one answer an operation; failed(answer) tells a failure.
    report(number, answer) is called in the trio thread for every finished operation. With stop_on_failure nothing new
    is started after the first failure.
    """

    def __init__(
        self,
        operations: Sequence[Item],
        after: Sequence[tuple[int, ...]],
        execute: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        failed: Callable[[Answer], bool],
        report: Callable[[int, Answer], None],
        workers: int,
        chunk: int,
        stop_on_failure: bool = True,
    ) -> None:
        self._operations = operations
        self._execute = execute
        self._failed = failed
        self._report = report
        self._workers = workers
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
        self._ready = [number for number, count in enumerate(self._waiting) if count == 0]
        self._wake = trio.Condition()

    async def run(self) -> None:
        """Returns when nothing more can be done."""
        limiter = trio.CapacityLimiter(self._workers)
        async with trio.open_nursery() as nursery:
            for _ in range(min(self._workers, max(len(self._operations), 1))):
                nursery.start_soon(self._work, limiter)

    async def _work(self, limiter: trio.CapacityLimiter) -> None:
        while True:
            async with self._wake:
                while not (numbers := self._next()):
                    if self._running == 0 or self._stopped:
                        self._wake.notify_all()
                        return
                    await self._wake.wait()
                self._running += 1
            answers: Sequence[Answer] = ()
            try:
                answers = await trio.to_thread.run_sync(
                    self._execute, [self._operations[number] for number in numbers], limiter=limiter
                )
            finally:
                self._running -= 1
                self._finish(numbers, answers)
            async with self._wake:
                self._wake.notify_all()

    def _next(self) -> list[int]:
        if self._stopped or not self._ready:
            return []
        # A small plan is spread over all workers; a chunk holds operations of one type.
        size = min(self._chunk, math.ceil(len(self._ready) / self._workers))
        type_of_first = type(self._operations[self._ready[0]])
        numbers: list[int] = []
        while self._ready and len(numbers) < size and type(self._operations[self._ready[0]]) is type_of_first:
            numbers.append(heapq.heappop(self._ready))
        return numbers

    def _finish(self, numbers: list[int], answers: Sequence[Answer]) -> None:
        for number, answer in zip(numbers, answers, strict=False):
            self._report(number, answer)
            if self._failed(answer):
                self._stopped = self._stopped or self._stop_on_failure
                continue
            for follower in self._followers[number]:
                self._waiting[follower] -= 1
                if self._waiting[follower] == 0:
                    heapq.heappush(self._ready, follower)


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
    scheduler = Scheduler(
        items,
        nothing,
        execute,
        failed=lambda _: False,
        report=report,
        workers=workers,
        chunk=chunk,
        stop_on_failure=False,
    )
    await scheduler.run()
