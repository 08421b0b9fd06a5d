"""Run asyncio functions in the calling thread, for runs without an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from kokofast.drivers import Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class AsyncioHere:
    """``async with AsyncioHere(stop) as loop: await loop.call(function, ...)``, in a coroutine that drive() runs.

    A signal cancels the function, and call() raises Stopped.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    async def __aenter__(self) -> AsyncioHere:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._runner.close()

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
        """Run an asyncio function to its end."""
        try:
            return self._runner.run(self._watched(function(*arguments)))
        except asyncio.CancelledError:
            raise Stopped from None

    async def finish(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an asyncio function to its end; signals do not cancel it."""
        self._runner.run(function())

    async def _watched(self, job: Coroutine[Any, Any, T]) -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        with self._stop.calling(lambda: loop.call_soon_threadsafe(task.cancel)):
            return await job
