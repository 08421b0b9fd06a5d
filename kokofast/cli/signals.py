"""Signals that stop a run."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from kokofast.cli.command import PARTIAL
from kokofast.cli.output import print_error
from kokofast.cli.status_line import LINE
from kokofast.drivers import Stop
from kokofast.host.threads import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Sequence

# Wakes the waiting thread. Harmless, as the default is to ignore it, and no realtime signal: RLIMIT_SIGPENDING does not
# limit it.
_WAKE = signal.SIGURG


def _heeded() -> list[signal.Signals]:
    # Those ignored at our start (nohup, a shell's background job) stay ignored.
    return [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]


def _once(*_: object) -> None:
    end_at_next_signal()


def _pass_over_one(heeded: Sequence[signal.Signals]) -> None:
    # The result is printed after the run: ignore one signal meanwhile. A second one ends the process, because printing
    # blocks when nothing reads the output. Do nothing in a process that is not ours (a test's).
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        for number in heeded:
            signal.signal(number, _once)


def end_at_next_signal() -> None:
    """Let the next signal end the process: the result is printed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is _once:
            signal.signal(number, signal.SIG_DFL)


class HeldSignals(Stop):
    """Block signals; a thread waits for them and asks the run to stop.

    The second signal prints what is still being done (still), the third one ends the process at once and prints what
    the user can do then (rest). Signals still pending at the end of the block are dropped. The first one after it is
    ignored, until end_at_next_signal().
    """

    def __init__(self, still: str = "", rest: str = "") -> None:
        super().__init__()
        self._still = still
        self._rest = rest

    @property
    def name(self) -> str:
        """Return the name of the first signal."""
        return signal.Signals(self.caught[0]).name

    def on_signal(self, number: int) -> None:
        """Record a signal. Print a message for the second one, exit at the third one."""
        super().on_signal(number)
        if self._still and len(self.caught) == 2:
            print_error(f"kokofast: {self._still}; one more signal ends this at once, and {self._rest}")
        elif self._still and len(self.caught) > 2:
            LINE.close(for_good=True)
            print_error(f"kokofast: aborted by {signal.Signals(number).name}: {self._rest}")
            os._exit(PARTIAL)

    def __enter__(self) -> HeldSignals:
        heeded = _heeded()
        # Threads started in the block inherit the mask.
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, [*heeded, _WAKE])
        self._waiter: BackgroundThread | None = None
        self._ending = False
        try:
            _pass_over_one(heeded)
            # Signals that our parent has blocked stay blocked.
            self._numbers = set(heeded) - self._before
            if self._numbers:
                self._waiter = BackgroundThread(self._wait)
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            raise
        return self

    def _wait(self) -> None:
        while not self._ending:
            number = signal.sigwait([*self._numbers, _WAKE])
            if number != _WAKE:
                self.on_signal(number)

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
