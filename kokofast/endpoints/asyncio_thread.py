"""An asyncio loop in a thread of its own, for trio programs that need a library which knows asyncio only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import trio

T = TypeVar("T")


class AsyncioThread:
    """``async with AsyncioThread() as thread: await thread.call(function, ...)``. The thread ends with the block."""

    def __init__(self) -> None:
        # Its own factory keeps the runner from making the loop the current one of our thread.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._body, name="kokofast-asyncio", daemon=True)

    def _body(self) -> None:
        with self._runner as runner:
            runner.run(self._stop.wait())

    async def __aenter__(self) -> AsyncioThread:
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join)

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
        """Runs an asyncio function to its end. When the caller is cancelled, so is the asyncio task, and its end is
        waited for: nothing goes on behind the back of a caller who has left."""
        token = trio.lowlevel.current_trio_token()
        finished = trio.Event()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(function(*arguments))
            tasks.append(task)
            task.add_done_callback(lambda _: token.run_sync_soon(finished.set))

        self._loop.call_soon_threadsafe(begin)
        try:
            await finished.wait()
        except BaseException:  # cancelled; or Ctrl-C where trio has not been told to treat it otherwise
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            with trio.CancelScope(shield=True):
                await finished.wait()
            if not tasks[0].cancelled():
                tasks[0].result()  # an error on the way out is not to be lost
            raise
        return tasks[0].result()
