"""Worker threads under trio: the driver of the library, and of large batches.

The next items are chosen synchronously; only handing a chunk to a thread awaits. A run waits for each chunk that has
begun, also when its scope is cancelled, so that what was made is known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from kokofast.drivers.inline import LARGE
from kokofast.drivers.trio_threads import in_thread, is_cancelled
from kokofast.host.limits import HEADROOM, need_room, no_room

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Any

    from kokofast.drivers.work_queue import WorkQueue
    from kokofast.endpoints.containers import Containers
    from kokofast.topology.model import Node

# HEADROOM is enough for so many small chunks, each in a thread with a stack of a megabyte.
SMALL_CHUNKS = 4


class TrioDriver:
    """A driver for trio programs: each coroutine ends with trio.Cancelled when its scope is cancelled."""

    async def carry_out(self, queue: WorkQueue) -> None:
        """See Driver."""
        pool = _Pool(queue)
        async with trio.open_nursery() as nursery:
            for worker in range(min(queue.workers.most, max(queue.left, 1))):
                nursery.start_soon(pool.work, worker)

    async def sleep(self, seconds: float) -> None:
        """See Driver."""
        await trio.sleep(seconds)

    async def wait_readable(self, fd: int, seconds: float) -> None:
        """See Driver."""
        with trio.move_on_after(seconds):
            await trio.lowlevel.wait_readable(fd)

    def now(self) -> float:
        """See Driver."""
        return trio.current_time()

    def is_stopped(self) -> bool:
        """See Driver."""
        return is_cancelled()

    def shielded(self) -> AbstractContextManager[object]:
        """See Driver."""
        return trio.CancelScope(shield=True)

    def containers(self, nodes: Sequence[Node], timeout: float) -> AbstractAsyncContextManager[Containers]:
        """See Driver."""
        # Slow to import.
        from kokofast.drivers.asyncio_thread import AsyncioThread
        from kokofast.endpoints.containers import Containers

        return Containers(nodes, timeout, AsyncioThread())


class _Pool:
    """Tasks that hand one chunk after the other to a thread."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._running = 0
        self._unchecked = SMALL_CHUNKS  # small chunks since memory was checked; the first chunk is
        self._wake = trio.Condition()

    # A new task does not inherit the protection from KeyboardInterrupt that a caller may have.
    @trio.lowlevel.enable_ki_protection
    async def work(self, worker: int) -> None:
        queue, count = self._queue, self._queue.workers
        while True:
            async with self._wake:
                while worker >= count.workers or not (numbers := self._next()):
                    if not (self._running or queue):
                        self._wake.notify_all()
                        return
                    await self._wake.wait()
                self._running += 1
            answers: Sequence[Any] = ()
            try:
                if not self._has_room(numbers):
                    answers = queue.execute(numbers)
                else:
                    answers = await in_thread(queue.execute, numbers, else_here=queue.must_end)
            finally:
                self._running -= 1
                count.done(len(answers))
                queue.finish(numbers, answers)
            async with self._wake:
                self._wake.notify_all()

    def _has_room(self, numbers: Sequence[int]) -> bool:
        """Whether there is enough memory for a chunk in another thread. Raises OSError for work that need not end."""
        if not self._queue.must_end:
            need_room()
            return True
        # Deletions are chunks of a few items by tens of threads, which wait for each other in the call that checks.
        self._unchecked += 1
        if len(numbers) >= LARGE or self._unchecked >= SMALL_CHUNKS:
            if no_room(HEADROOM) is not None:
                return False  # so the next chunk is checked, too
            self._unchecked = 0
        return True

    def _next(self) -> list[int]:
        # Spread a small plan over all workers.
        return self._queue.take(min(self._queue.chunk, math.ceil(len(self._queue) / self._queue.workers.workers)))
