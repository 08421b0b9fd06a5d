"""Signals that stop a run."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from kokofast.cli.command import PARTIAL
from kokofast.cli.output import complain
from kokofast.drivers import Stop
from kokofast.host.threads import Running

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class HeldSignals(Stop):
    """A block that no signal breaks off: a thread waits for them, and asks the run to stop.

    A second one only has the user told what goes on still, for what was begun is brought to an end; a third one ends
    the process at once. still is what goes on, rest what the user can do then. What has come and was not heeded by the
    end of the block is forgotten: the work that it would have ended has ended. The first signal behind the block ends
    nothing either, until listen_no_more().
    """

    def __init__(self, still: str = "", rest: str = "") -> None:
        super().__init__()
        self._still = still
        self._rest = rest

    @property
    def name(self) -> str:
        """The first signal that came."""
        return signal.Signals(self.caught[0]).name

    def heed(self, number: int) -> None:
        """Note a signal, and tell the user when it is not the first one."""
        super().heed(number)
        if self._still and len(self.caught) == 2:
            complain(f"kokofast: {self._still}; one more signal ends this at once, and {self._rest}")
        elif self._still and len(self.caught) > 2:
            complain(f"kokofast: ended by {signal.Signals(number).name} before its time: {self._rest}")
            os._exit(PARTIAL)

    def __enter__(self) -> HeldSignals:
        heeded = _heeded()
        # Threads that are started in the block keep them off, too.
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, [*heeded, _WAKE])
        self._waiter: Running | None = None
        self._ending = False
        try:
            _pass_over_one(heeded)
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

    def __exit__(self, *_: object) -> None:
        try:
            if self._waiter is not None:
                self._ending = True
                if not self._waiter.has_ended():
                    signal.pthread_kill(self._waiter.ident, _WAKE)
                self._waiter.wait()
                while signal.sigtimedwait(self._numbers, 0) is not None:
                    pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
