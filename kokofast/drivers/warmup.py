"""The driver of the command line: in the calling thread where that is faster, otherwise under trio.

Importing trio takes as long as making some 300 links. So short work never imports it. For long work a thread imports it
while the first chunks are carried out; then trio runs the rest of that work only.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from kokofast.drivers import Stopped
from kokofast.drivers.inline import InlineDriver
from kokofast.host.limits import HEADROOM, no_room
from kokofast.host.threads import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kokofast.drivers import Stop
    from kokofast.drivers.work_queue import WorkQueue


# Bytes of memory: 14 MB measured for the import, and what the first links take at the same time. Where memory ends
# within an import, Python can hang in its own handlers of exceptions.
IMPORT_SIZE = 28 << 20


class LoopError(Exception):
    """The event loop cannot be imported, or broke down. The text is a sentence."""


def import_trio() -> None:
    """Import trio and what needs it. Raises LoopError."""
    # OpenSSL, which an import of trio's loads, ends the process by SIGSEGV where it finds no memory.
    shortage = no_room(IMPORT_SIZE + HEADROOM)
    if shortage is not None:
        raise LoopError(f"the event loop cannot be imported: not enough memory{shortage}")
    try:
        import kokofast.drivers.trio_driver  # noqa: F401
    except Exception as error:
        why = "not enough memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
        raise LoopError(f"the event loop cannot be imported: {why}") from error


class WarmupDriver(InlineDriver):
    """A driver for drive(). around("import", job) may wrap the import of trio, for a trace."""

    def __init__(
        self, stop: Stop, around: Callable[[str, Callable[[], None]], Callable[[], None]] = lambda _, job: job
    ) -> None:
        super().__init__(stop)
        self._import = around("import", import_trio)
        self._is_warm = False

    async def carry_out(self, queue: WorkQueue) -> None:
        """See Driver. Raises Stopped, and LoopError when the queue need not end."""
        if queue.workers.most > 1 and queue.left > queue.few:
            try:
                self._warm_up(queue)
                if queue:
                    self._under_trio(queue)
                return
            except (LoopError, OSError, MemoryError, ImportError):
                if not queue.must_end:
                    raise
                queue.put_back()  # carry out again what broke off
        await super().carry_out(queue)

    def _warm_up(self, queue: WorkQueue) -> None:
        # At least one chunk, which is mostly one long system call, while a thread imports trio.
        if self._is_warm:
            return
        # Before Python 3.13 threading takes the thread that imports it first for the main thread.
        import threading  # noqa: F401

        importing = BackgroundThread(self._import)
        try:
            while queue:
                self._carry_on(queue)
                if importing.has_ended():
                    break
        except BaseException:
            with suppress(BaseException):
                importing.wait()
            raise
        importing.wait()
        self._is_warm = True

    def _under_trio(self, queue: WorkQueue) -> None:
        import trio

        from kokofast.drivers.trio_driver import TrioDriver
        from kokofast.drivers.trio_threads import wait_for_all

        async def section() -> bool:
            token = trio.lowlevel.current_trio_token()
            with trio.CancelScope() as scope:
                stop = self._stop.calling(lambda: token.run_sync_soon(scope.cancel))
                with nullcontext() if self._shields else stop:
                    await TrioDriver().carry_out(queue)
            return scope.cancelled_caught

        try:
            is_cancelled = trio.run(section)
        except trio.TrioInternalError as error:  # most likely memory is short
            wait_for_all()
            raise LoopError(f"the event loop broke down: {error.__cause__!r}") from error
        except BaseExceptionGroup as group:
            errors = list(leaves(group))
            # Several threads met the same error, most likely of the machine: report one.
            raise errors[0] from group
        if is_cancelled:
            raise Stopped


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the exceptions in a group and in its groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
