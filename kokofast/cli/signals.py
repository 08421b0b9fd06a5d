"""Signals that end a run: kept while it begins, and then what cancels it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, PARTIAL, CommandError
from kokofast.cli.output import complain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio


def _heeded() -> list[signal.Signals]:
    # One that we were started with ignored (nohup, a shell's background job) is not for us.
    return [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]


def _leave_to_the_kernel() -> None:
    # When we listen no more the work is done, and what __main__ says of a Ctrl-C, "interrupted", exit 1, a lie.
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class HeldSignals:
    """A block that is not broken off: signals that come are kept until release(). What is kept at its end is forgotten:
    the work that it would have ended has ended.

    Threads that are started in it never get one. So nobody does but the main thread, when it is ready.
    """

    def __init__(self) -> None:
        self._numbers = _heeded()
        self._before: set[signal.Signals | int] | None = None

    def __enter__(self) -> HeldSignals:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        _leave_to_the_kernel()
        return self

    def came(self) -> bool:
        """Whether one has come."""
        return not signal.sigpending().isdisjoint(self._numbers)

    def take(self) -> signal.Signals | None:
        """One that has come; all others that have are forgotten."""
        taken: list[signal.Signals] = []
        while (found := signal.sigtimedwait(self._numbers, 0)) is not None:
            taken.append(signal.Signals(found.si_signo))
        return taken[0] if taken else None

    def release(self) -> None:
        """Lets them come from now on."""
        if self._before is not None:
            before, self._before = self._before, None
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            self.take()
        self.release()


def with_signals(
    job: Callable[[], Awaitable[object]], *, held: HeldSignals | None = None, still: str = "", rest: str = ""
) -> signal.Signals | None:
    """Runs job under trio; returns the signal that cancelled it, None when it came to its end.

    A second signal only has the user told what goes on still, for what was begun is brought to an end. A third one ends
    the process at once; rest says what to do then. Those that held has kept count as one; it is released.
    """
    import trio

    caught: list[signal.Signals] = []
    heeded = _heeded()
    _leave_to_the_kernel()

    def heed(number: int) -> None:
        caught.append(signal.Signals(number))
        if still and len(caught) == 2:
            complain(f"kokofast: {still}; one more signal ends this at once, and {rest}")
        elif still and len(caught) > 2:
            complain(f"kokofast: ended by {caught[-1].name} before its time: {rest}")
            os._exit(PARTIAL)

    async def watch(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*heeded) as signals:
            if held is not None:
                if (first := held.take()) is not None:
                    heed(first)
                    scope.cancel()
                held.release()
            task_status.started()
            async for number in signals:
                heed(number)
                scope.cancel()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            work = trio.CancelScope()
            if heeded:
                await nursery.start(lambda task_status: watch(work, task_status))
            with work:
                await job()
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        raise _explain(group) from group
    return caught[0] if caught else None


def _explain(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to raise instead of a group from under trio: a sentence where the machine is to blame."""
    from kokofast.wire.message import KernelError

    if group.split(KeyboardInterrupt)[1] is None:
        return KeyboardInterrupt()
    blamed, rest = group.split((OSError, KernelError))
    if blamed is None or rest is not None:
        return group
    sentences: dict[str, None] = {}
    waiting: list[BaseException] = [blamed]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            sentences[str(error)] = None
    return CommandError(FAILED, *sentences)
