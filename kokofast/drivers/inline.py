"""The driver without an event loop: all work in the calling thread, chunk by chunk."""

from __future__ import annotations

import os
import time

from kokofast.drivers import Stop, Stopped
from kokofast.host.limits import need_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Any, TypeVar

    from kokofast.drivers.work_queue import WorkQueue
    from kokofast.endpoints.containers import Containers
    from kokofast.topology.model import Node

    T = TypeVar("T")

LARGE = 16  # items; a larger chunk may take a megabyte
LONGEST_WAIT = 86400.0  # seconds; poll(2) takes 24 days at most


class InlineDriver:
    """A driver for drive()."""

    def __init__(self, stop: Stop | None = None) -> None:
        self._stop = stop if stop is not None else Stop()
        self._shields = 0

    async def carry_out(self, queue: WorkQueue) -> None:
        """See Driver. Raises Stopped before the next chunk."""
        while queue:
            self._carry_on(queue)

    def _carry_on(self, queue: WorkQueue) -> None:
        # The next chunk.
        self._check()
        numbers = queue.take(queue.chunk)
        if len(numbers) >= LARGE and not queue.must_end:
            need_room()
        queue.finish(numbers, queue.execute(numbers))

    async def sleep(self, seconds: float) -> None:
        """See Driver."""
        self._check()
        if seconds > 0:  # else the kernel would wait for its timer slack, 50 us
            time.sleep(seconds)  # noqa: ASYNC251 - there is no event loop
        self._check()

    async def wait_readable(self, fd: int, seconds: float) -> None:
        """See Driver."""
        from select import POLLIN, poll  # few runs wait

        self._check()
        wake = _Wake()
        waiting = poll()
        waiting.register(fd, POLLIN)
        waiting.register(wake.fd, POLLIN)
        with self._stop.calling(wake):
            waiting.poll(min(seconds, LONGEST_WAIT) * 1000)
        self._check()

    def now(self) -> float:
        """See Driver."""
        return time.monotonic()

    def is_stopped(self) -> bool:
        """See Driver."""
        return not self._shields and self._stop.came()

    def _check(self) -> None:
        if self.is_stopped():
            raise Stopped

    def shielded(self) -> AbstractContextManager[object]:
        """See Driver."""
        return _Shield(self)

    def containers(self, nodes: Sequence[Node], timeout: float) -> AbstractAsyncContextManager[Containers]:
        """See Driver."""
        # Slow to import.
        from kokofast.drivers.asyncio_here import AsyncioHere
        from kokofast.endpoints.containers import Containers

        return Containers(nodes, timeout, AsyncioHere(self._stop))


class _Wake:
    # A descriptor that can be read once this is called. It stays open for as long as another thread may call it.
    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __call__(self) -> None:
        os.eventfd_write(self.fd, 1)

    def __del__(self) -> None:
        os.close(self.fd)


class _Shield:
    # Not contextlib's decorator: koko's command line imports this.
    __slots__ = ("_driver",)

    def __init__(self, driver: InlineDriver) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        self._driver._shields += 1

    def __exit__(self, *_: object) -> None:
        self._driver._shields -= 1


def drive(job: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that awaits nothing but an InlineDriver, and return its result."""
    try:
        job.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    job.close()
    raise RuntimeError("it waits for an event loop")
