"""Run asyncio functions in a thread, for trio programs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import trio

from kokofast.host.threads import LOST_SECONDS, BackgroundThread

T = TypeVar("T")


class AsyncioThread:
    """``async with AsyncioThread() as thread: await thread.call(function, ...)``. The thread ends with the block."""

    def __init__(self) -> None:
        # With a factory the runner does not set the loop as the current one of our thread.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._stop = asyncio.Event()
        self._ended = trio.Event()
        self._thread: BackgroundThread

    def _body(self) -> None:
        with self._runner as runner:
            runner.run(self._stop.wait())

    async def __aenter__(self) -> AsyncioThread:
        token = trio.lowlevel.current_trio_token()
        self._thread = BackgroundThread(self._body, lambda: token.run_sync_soon(self._ended.set))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(RuntimeError):  # closed: the thread has broken off
            self._loop.call_soon_threadsafe(self._stop.set)
        with trio.CancelScope(shield=True):
            await self._wait(self._ended, lambda: False)
        self._thread.wait()

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
        """Run an asyncio function to its end.

        When the caller is cancelled, cancel the asyncio task and wait for its end.
        """
        token = trio.lowlevel.current_trio_token()
        finished = trio.Event()
        tasks: list[asyncio.Task[T]] = []
        failures: list[BaseException] = []

        def begin() -> None:
            try:
                task = self._loop.create_task(function(*arguments))
                tasks.append(task)
                task.add_done_callback(lambda _: token.run_sync_soon(finished.set))
            except BaseException as error:
                failures.append(error)

        def is_over() -> bool:
            return bool(failures) or any(task.done() for task in tasks)

        self._loop.call_soon_threadsafe(begin)
        try:
            await self._wait(finished, is_over)
        except BaseException:  # cancelled, or KeyboardInterrupt
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            with trio.CancelScope(shield=True):
                await self._wait(finished, is_over)
            if not tasks[0].cancelled():
                tasks[0].result()  # raise an error of its clean-up
            raise
        if failures:
            raise failures[0]
        if not tasks or not tasks[0].done():
            self._thread.wait()
            raise MemoryError("a thread died")
        return tasks[0].result()

    async def finish(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an asyncio function to its end, shielded from cancellation."""
        with trio.CancelScope(shield=True):
            await self.call(function)

    async def _wait(self, event: trio.Event, is_over: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        # The event is not set when memory is short, or the thread dies.
        while not (event.is_set() or is_over() or self._thread.has_ended()):
            with trio.move_on_after(LOST_SECONDS):
                await event.wait()
