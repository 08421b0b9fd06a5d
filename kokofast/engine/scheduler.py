"""Runs operations in worker threads as soon as what they wait for is done.

Which operation is next is decided synchronously; only handing a chunk to a thread awaits. A chunk that has begun is
always waited for, also when the scope is cancelled, so that what was made is known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from kokofast.engine.pace import Pace
from kokofast.engine.ready import Ready
from kokofast.host.limits import HEADROOM, need_room, no_room
from kokofast.host.trio_threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Scheduler(Generic[Item, Answer]):
    """operations[i] starts when all of after[i] went well; those behind a failed one are never started.

    execute(chunk) runs in a worker thread and returns one answer an operation; failed(answer) tells a failure.
    report(numbers, answers) is called in the trio thread for every finished chunk. With stop_on_failure nothing new
    is started after the first failure. answered are those that were carried out before, by their numbers; they are
    reported first. With else_here the trio thread does what no thread can be had for.
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
        answered: Mapping[int, Answer] | None = None,
        else_here: bool = False,
    ) -> None:
        self._else_here = else_here
        self._operations = operations
        self._execute = execute
        self._failed = failed
        self._report = report
        self._pace = workers if isinstance(workers, Pace) else Pace(workers)
        self._chunk = chunk
        self._stop_on_failure = stop_on_failure
        self._stopped = False
        self._running = 0
        self._answered = answered if answered is not None else {}
        self._ready = Ready(operations, after, self._answered)
        self._wake = trio.Condition()

    async def run(self) -> None:
        """Returns when nothing more can be done."""
        if self._answered:
            self._finish(list(self._answered), list(self._answered.values()))
        async with trio.open_nursery() as nursery:
            for worker in range(min(self._pace.most, max(len(self._operations), 1))):
                nursery.start_soon(self._work, worker)

    async def _work(self, worker: int) -> None:
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
                if not self._else_here:
                    need_room()
                if self._else_here and no_room(HEADROOM) is not None:
                    answers = self._execute(chunk)
                else:
                    answers = await in_thread(self._execute, chunk, else_here=self._else_here)
            finally:
                self._running -= 1
                self._pace.done(len(answers))
                self._finish(numbers, answers)
            async with self._wake:
                self._wake.notify_all()

    def _next(self) -> list[int]:
        if self._stopped:
            return []
        # A small plan is spread over all workers.
        return self._ready.take(min(self._chunk, math.ceil(len(self._ready) / self._pace.workers)))

    def _finish(self, numbers: list[int], answers: Sequence[Answer]) -> None:
        self._report(numbers[: len(answers)], answers)
        for number, answer in zip(numbers, answers, strict=False):
            if self._failed(answer):
                self._stopped = self._stopped or self._stop_on_failure
            else:
                self._ready.done(number)


async def run_all(
    items: Sequence[Item],
    execute: Callable[[Sequence[Item]], Sequence[Answer]],
    *,
    workers: int,
    chunk: int,
    report: Callable[[int, Answer], None],
) -> None:
    """Independent items through worker threads in chunks; report(number, answer) for each.

    Where no more threads can be started the calling one does their work: what takes away must come to its end.
    """
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
        else_here=True,
    )
    await scheduler.run()
