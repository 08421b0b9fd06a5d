"""Independent items in the calling thread, chunk by chunk, where no event loop is worth its import.

What is written for scheduler.run_all() runs with an AtOnce in its place, and without trio, by drive().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")
T = TypeVar("T")


class RunAll(Protocol):
    """Independent items through execute() in chunks; report(number, answer) for each."""

    async def __call__(
        self,
        items: Sequence[Item],
        execute: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        workers: int,
        chunk: int,
        report: Callable[[int, Answer], None],
    ) -> None: ...


class Stopped(Exception):
    """What had begun is done, the rest is not."""


class AtOnce:
    """A RunAll for drive(). Raises Stopped before the next chunk when stopped() says so."""

    def __init__(self, stopped: Callable[[], bool] = lambda: False) -> None:
        self._stopped = stopped

    async def __call__(
        self,
        items: Sequence[Item],
        execute: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        workers: int,
        chunk: int,
        report: Callable[[int, Answer], None],
    ) -> None:
        for start in range(0, len(items), chunk):
            if self._stopped():
                raise Stopped
            for number, answer in enumerate(execute(items[start : start + chunk]), start):
                report(number, answer)


def unstoppable(run: RunAll) -> RunAll:
    """The same run, which neither stopped() nor a cancelled scope ends before all its items are done."""
    if isinstance(run, AtOnce):
        return AtOnce()

    async def shielded(
        items: Sequence[Item],
        execute: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        workers: int,
        chunk: int,
        report: Callable[[int, Answer], None],
    ) -> None:
        import trio

        if items:
            with trio.CancelScope(shield=True):
                await run(items, execute, workers=workers, chunk=chunk, report=report)

    return shielded


def drive(job: Coroutine[Any, Any, T]) -> T:
    """Runs a job that waits for nothing but an AtOnce, and returns its result."""
    try:
        job.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    job.close()
    raise RuntimeError("it waits for an event loop")
