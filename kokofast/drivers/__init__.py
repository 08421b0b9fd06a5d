"""Drivers: how a run carries out blocking work, waits for it, and is stopped.

apply() and destroy() are coroutines that await nothing but their driver. So the same code serves koko's command line,
where importing an event loop would take too long, and a library that runs under trio.
"""

from __future__ import annotations

from kokofast.host.lock import LabLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Protocol, TypeVar

    from kokofast.drivers.work_queue import WorkQueue
    from kokofast.endpoints.containers import Containers
    from kokofast.topology.model import Node

    Item = TypeVar("Item")
    Answer = TypeVar("Answer")

    class Driver(Protocol):
        """Runs the blocking parts of a run.

        When the run is stopped, each coroutine raises once what has begun is done: Stopped, or trio.Cancelled.
        """

        async def carry_out(self, queue: WorkQueue) -> None:
            """Execute the items of the queue until nothing more can be done."""

        async def sleep(self, seconds: float) -> None:
            """Wait."""

        async def wait_readable(self, fd: int, seconds: float) -> None:
            """Wait until the descriptor can be read, for so many seconds at most; it may return before."""

        def now(self) -> float:
            """Return the time in seconds since some moment; it never goes back."""

        def is_stopped(self) -> bool:
            """Whether the run should stop; for work that waits, in any thread."""

        def shielded(self) -> AbstractContextManager[object]:
            """Return a block that goes on when the run is stopped."""

        def containers(self, nodes: Sequence[Node], timeout: float) -> AbstractAsyncContextManager[Containers]:
            """Return a connection to the daemons of container nodes; timeout is in seconds, for each request."""


POLL_SECONDS = 0.05
POLLS_UNTIL_TOLD = 10  # half a second: a user notices a longer wait


class Stopped(Exception):
    """The run was stopped: what had begun is done, the rest is not."""


class Stop:
    """A request to stop a run, by signals. on_signal() may be called by any thread, and by a signal handler."""

    def __init__(self) -> None:
        self.caught: list[int] = []
        self._listener: Callable[[], object] | None = None

    def on_signal(self, number: int) -> None:
        """Record a signal."""
        self.caught.append(number)
        listener = self._listener
        if listener is not None:
            try:  # noqa: SIM105 - no contextlib: koko's command line imports this
                listener()
            except RuntimeError:  # its event loop has ended: there is nothing left to stop
                pass

    def came(self) -> bool:
        """Whether a signal has come."""
        return bool(self.caught)

    def calling(self, listener: Callable[[], object]) -> AbstractContextManager[None]:
        """Return a block in which each signal calls the listener; one that came before calls it at once."""
        return _Calling(self, listener)


class _Calling:
    # Not contextlib's decorator: koko's command line imports this.
    __slots__ = ("_listener", "_stop")

    def __init__(self, stop: Stop, listener: Callable[[], object]) -> None:
        self._stop = stop
        self._listener = listener

    def __enter__(self) -> None:
        self._stop._listener = self._listener
        if self._stop.caught:
            self._listener()

    def __exit__(self, *_: object) -> None:
        self._stop._listener = None


async def run_all(
    driver: Driver,
    items: Sequence[Item],
    execute: Callable[[Sequence[Item]], Sequence[Answer]],
    *,
    workers: int,
    chunk: int,
    report: Callable[[int, Answer], None],
    few: int = 0,
) -> None:
    """Execute independent items in chunks; call report(number, answer) for each.

    Where no thread can be started the calling one does the work, as deletions must be completed. Up to few items are
    done in the calling thread: that is faster than to start an event loop.
    """
    if not items:
        return
    from kokofast.drivers.work_queue import WorkerCount, WorkQueue

    def report_all(numbers: Sequence[int], answers: Sequence[Answer]) -> None:
        for number, answer in zip(numbers, answers, strict=True):
            report(number, answer)

    queue = WorkQueue(items, execute, report_all, workers=WorkerCount(workers), chunk=chunk, few=few, must_end=True)
    await driver.carry_out(queue)


class LabLocked:
    """A block that holds the lock of the lab, or of all labs (None), if needed.

    It yields lines for the user: why locking is impossible. waits is called once, when another run has held the lock
    for half a second.
    """

    def __init__(
        self, driver: Driver, lab: str | None, *, needed: bool = True, waits: Callable[[], object] | None = None
    ) -> None:
        self._driver = driver
        self._lock = LabLock(lab)
        self._needed = needed
        self._waits = waits

    async def __aenter__(self) -> list[str]:
        if not self._needed:
            return []
        polls = 0
        try:
            while not self._lock.acquire():
                if polls == POLLS_UNTIL_TOLD and self._waits is not None:
                    self._waits()
                polls += 1
                await self._driver.sleep(POLL_SECONDS)
        except BaseException:
            self._lock.release()
            raise
        return self._lock.notes()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
