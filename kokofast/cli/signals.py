"""Runs a job under trio until it is done or a signal ends it."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, PARTIAL, CommandError
from kokofast.cli.output import complain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

    from kokofast.engine.result import Progress


def with_signals(
    job: Callable[[Progress | None], Awaitable[object]], quiet: bool, *, still: str = "", rest: str = ""
) -> signal.Signals | None:
    """Runs job under trio; returns the signal that cancelled it, None when it came to its end.

    A second signal only has the user told what goes on still, for what was begun is brought to an end. A third one ends
    the process at once; rest says what to do then.
    """
    import trio

    from kokofast.cli.output import progress_bar

    caught: list[signal.Signals] = []
    # One that we were started with ignored (nohup, a shell's background job) is not for us.
    heeded = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
        # When we listen no more the work is done, and what __main__ says of a Ctrl-C, "interrupted", exit 1, a lie.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    progress, bar = (None, None) if quiet else progress_bar()

    async def watch(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*heeded) as signals:
            task_status.started()
            async for number in signals:
                caught.append(signal.Signals(number))
                scope.cancel()
                if still and len(caught) == 2:
                    complain(f"kokofast: {still}; one more signal ends this at once, and {rest}")
                elif still and len(caught) > 2:
                    complain(f"kokofast: ended by {caught[-1].name} before its time: {rest}")
                    os._exit(PARTIAL)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            work = trio.CancelScope()
            if heeded:
                await nursery.start(lambda task_status: watch(work, task_status))
            with work:
                await job(progress)
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        raise _explain(group) from group
    finally:
        if bar is not None:
            with contextlib.suppress(OSError):  # the terminal is closed
                bar.close()  # type: ignore[attr-defined]
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
