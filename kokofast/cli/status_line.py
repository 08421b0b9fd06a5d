"""The last line of a terminal while a command works. All that draws or erases it is here.

Messages are written in a block of Hidden, which erases the line and draws it again. koko's command line imports this
module by way of output.py, so it imports little.
"""

from __future__ import annotations

import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Render = Callable[[int], str]  # the text for a terminal of so many columns

# The thread that waits for signals must be heard while another one is stuck in writing to the terminal (Ctrl-S).
PATIENCE = 1.0
ERASE = "\r\x1b[K"
COLUMNS = 80  # of a terminal that does not know its size


def has_terminal() -> bool:
    """Return whether standard error is a terminal on which a line can be erased."""
    # Lines of KOKOFAST_DEBUG are written without regard to ours.
    capable = os.environ.get("TERM", "dumb") != "dumb" and "KOKOFAST_DEBUG" not in os.environ
    return capable and sys.stderr.isatty()


def fit(text: str, columns: int) -> str:
    """Cut a text off that is too long for a line. What is not ASCII is taken for two columns wide."""
    if text.isascii():
        return text[:columns]
    width = 0
    for place, char in enumerate(text):
        width += 1 if char.isascii() else 2
        if width > columns:
            return text[:place]
    return text


class _Line:
    """The line of this process."""

    def __init__(self) -> None:
        self.lock = _thread.allocate_lock()  # not threading: see host.threads
        self.render: Render | None = None  # None: there is no line
        self._is_over = False

    def show(self, render: Render) -> None:
        """Draw a line, in the place of the one before."""
        with self.lock:
            if not self._is_over:
                self.render = render
                self.draw()

    def close(self, *, for_good: bool = False) -> None:
        """Erase the line; for good: the process is about to end."""
        with Hidden():
            self.render = None
            self._is_over |= for_good

    def draw(self) -> None:
        """Draw the line, if there is one; the caller has the lock."""
        if self.render is None or not _is_in_foreground():
            return
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
            # In the last column the cursor of some terminals is on the next line.
            self._write(f"\r{self.render(max(columns - 1, 1))}{ERASE[1:]}")
        except (OSError, MemoryError, ImportError):  # the run goes on when its terminal is closed
            self.render = None

    def erase(self) -> None:
        """Erase the line, if there is one; the caller has the lock."""
        if self.render is None or not _is_in_foreground():
            return
        try:
            self._write(ERASE)
        except (OSError, MemoryError):
            self.render = None

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _is_in_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
    except OSError:  # it is not the terminal of our session
        return True


LINE = _Line()


class Hidden:
    """A block in which other text is written to the terminal."""

    def __enter__(self) -> None:
        self._is_locked = LINE.lock.acquire(timeout=PATIENCE)
        if self._is_locked:
            LINE.erase()

    def __exit__(self, *_: object) -> None:
        if self._is_locked:
            LINE.draw()
            LINE.lock.release()
