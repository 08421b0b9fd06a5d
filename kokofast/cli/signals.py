"""Signals that end a run: kept while it begins, and then what cancels it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, PARTIAL, CommandError
from kokofast.cli.output import complain, sentence_of
from kokofast.host.threads import Running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import trio

# Wakes the thread that waits for the others. Ignored by default, so it can do no harm; and as it is no realtime signal,
# no limit on pending ones (RLIMIT_SIGPENDING) keeps it from being sent.
_WAKE = signal.SIGURG


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


def _once(*_: object) -> None:
    listen_no_more()


def _pass_over_one(heeded: Sequence[signal.Signals]) -> None:
    # When we listen no more the work is done, and has yet to be told: the first signal ends nothing, the next one does,
    # should nobody read what is told. In a process that is not ours (a test's) all stays as it is.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        for number in heeded:
            signal.signal(number, _once)


def listen_no_more() -> None:
    """All is told: the next signal ends the process at once."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is _once:
            signal.signal(number, signal.SIG_DFL)


class Heed:
    """Signals that came, in turn, and what the user is told of them: still, what goes on after the second one; rest,
    what to do after the third, which ends the process at once."""

    def __init__(self, still: str = "", rest: str = "") -> None:
        self.caught: list[signal.Signals] = []
        self._still = still
        self._rest = rest

    def heed(self, number: int) -> None:
        """One has come."""
        self.caught.append(signal.Signals(number))
        if self._still and len(self.caught) == 2:
            complain(f"kokofast: {self._still}; one more signal ends this at once, and {self._rest}")
        elif self._still and len(self.caught) > 2:
            complain(f"kokofast: ended by {self.caught[-1].name} before its time: {self._rest}")
            os._exit(PARTIAL)


class HeldSignals(Heed):
    """A block that no signal breaks off, up to release(): those that come are heeded by a thread, and by nobody else.

    Threads that are started until then keep them off for good. At the end of a block that was not released, what nobody
    has heeded yet is forgotten: the work that it would have ended has ended. With then_tells the first signal behind
    the block ends nothing either, until listen_no_more().
    """

    def __init__(self, still: str = "", rest: str = "", *, then_tells: bool = False) -> None:
        super().__init__(still, rest)
        self.then_tells = then_tells

    def __enter__(self) -> HeldSignals:
        heeded = _heeded()
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, [*heeded, _WAKE])
        self._waiter: Running | None = None
        self._ending = False
        try:
            if self.then_tells:
                _pass_over_one(heeded)
            else:
                _leave_to_the_kernel()
            # What our parent has blocked is not to end us.
            self._numbers = set(heeded) - self._before
            if self._numbers:
                self._waiter = Running(self._wait)
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            raise
        return self

    def _wait(self) -> None:
        while not self._ending:
            number = signal.sigwait([*self._numbers, _WAKE])
            if number != _WAKE:
                self.heed(number)

    def came(self) -> bool:
        """Whether one has come."""
        return bool(self.caught)

    def release(self) -> None:
        """Lets them come again to who listens."""
        try:
            self._end()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def _end(self) -> bool:
        # Whether the thread was there still.
        if self._waiter is None:
            return False
        waiter, self._waiter, self._ending = self._waiter, None, True
        if not waiter.has_ended():
            signal.pthread_kill(waiter.ident, _WAKE)
        waiter.wait()
        return True

    def __exit__(self, *_: object) -> None:
        try:
            if self._end():
                while signal.sigtimedwait(self._numbers, 0) is not None:
                    pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def import_engine() -> None:
    """Imports trio and what stands on it. Raises CommandError."""
    try:
        import kokofast.engine.apply  # noqa: F401
    except Exception as error:
        why = sentence_of(error) if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
        raise CommandError(FAILED, f"the event loop cannot be imported: {why}") from error


def with_signals(job: Callable[[], Awaitable[object]], signals: Heed | None = None) -> signal.Signals | None:
    """Runs job under trio; returns the signal that cancelled it, None when it came to its end.

    A second signal only has the user told what goes on still, for what was begun is brought to an end. A third one ends
    the process at once. Signals that are held are released when trio listens; those that have come by then count.
    """
    import trio

    signals = signals if signals is not None else Heed()
    heeded = _heeded()
    if not (isinstance(signals, HeldSignals) and signals.then_tells):
        _leave_to_the_kernel()

    async def watch(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*heeded) as received:
            if isinstance(signals, HeldSignals):
                signals.release()
            if signals.caught:
                scope.cancel()
            task_status.started()
            async for number in received:
                signals.heed(number)
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
    except trio.TrioInternalError as error:  # for want of memory, most likely
        raise CommandError(FAILED, f"the event loop broke down: {error.__cause__!r}") from error
    return signals.caught[0] if signals.caught else None


def _explain(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to raise instead of a group from under trio: a sentence where the machine is to blame."""
    from kokofast.wire.message import KernelError

    if group.split(KeyboardInterrupt)[1] is None:
        return KeyboardInterrupt()
    blamed, rest = group.split((OSError, KernelError, MemoryError))
    if blamed is None or rest is not None:
        return group
    sentences: dict[str, None] = {}
    waiting: list[BaseException] = [blamed]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            sentences[sentence_of(error)] = None
    return CommandError(FAILED, *sentences)
