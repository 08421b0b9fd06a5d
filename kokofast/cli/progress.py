"""What the last line of a terminal shows while a command works: a bar, a task, or a state."""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import TYPE_CHECKING

from kokofast.cli.status_line import LINE, fit, has_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kokofast.engine.result_types import Progress

SHOWN_AFTER = 1.0  # seconds; a run that is shorter shows nothing
INTERVAL = 0.1  # seconds between two drawings
UNITS = {"survey": "namespaces", "verify": "checks", "check": "hosts", "wire": "hosts", "keep": "hosts"}
FORMAT = "{desc}: {percentage:3.0f}%|{bar}|"
BAR_COLUMNS = 16  # with the percentage: with less room there are no numbers


class Bar:
    """A block with a bar that shows the stage of a run: entering it returns what to call, None if there is no bar.

    links maps a stage that counts links, not steps, to what returns at its start how many have work.
    """

    def __init__(self, silent: bool, links: Mapping[str, Callable[[], int]]) -> None:
        self._is_shown = not silent and has_terminal()
        self._links = links
        self._stage = ""
        self._done = self._total = self._of = 0
        self._unit = ""

    def __enter__(self) -> Progress | None:
        self._began = self._last = time.monotonic()
        self._next = self._last + SHOWN_AFTER
        return self._take if self._is_shown else None

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            LINE.close()

    def _take(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        is_new = stage != self._stage or done < self._done
        if is_new:
            self._stage, self._began = stage, self._last
            self._of = self._links[stage]() if stage in self._links else 0
            self._unit = "links" if self._of else UNITS.get(stage, "steps")
        self._done, self._total, self._last = done, total, now
        # A stage that reports nothing more, as the plan does, is to be seen at once.
        if now >= self._next or (is_new and LINE.render is not None):
            LINE.show(self._render)
            self._next = now + INTERVAL if LINE.render is not None else float("inf")

    def _render(self, columns: int) -> str:
        if self._total <= 1:
            return fit(self._stage, columns)
        from tqdm import tqdm

        of = self._of or self._total
        done = self._done * of // self._total
        seconds = self._last - self._began
        rate = f", {done / seconds:,.0f}/s" if seconds >= INTERVAL else ""
        counts = f" {done:,} of {of:,} {self._unit}{rate}"
        if columns < len(self._stage) + len(counts) + BAR_COLUMNS:
            counts = ""
        text: str = tqdm.format_meter(
            done,
            of,
            seconds,
            ncols=columns,
            prefix=self._stage,
            ascii=not (sys.stderr.encoding or "").lower().startswith("utf"),
            bar_format=FORMAT + counts,
        )
        return text


class Task:
    """A block with a line that says what is done in it, where nothing tells how much of it is done."""

    def __init__(self, text: str, *, silent: bool) -> None:
        self._text = text
        self._is_shown = not silent and has_terminal()

    def __enter__(self) -> None:
        if self._is_shown:
            LINE.show(lambda columns: fit(self._text, columns))

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            LINE.close()


class State:
    """A block with a line that says what a command is about, for as long as it runs.

    There is none while another program reads standard output: what that prints would be mixed with the line.
    """

    def __init__(self, silent: bool) -> None:
        self.is_shown = not silent and has_terminal() and not _is_piped()
        self._next = 0.0

    def __enter__(self) -> State:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.is_shown = False  # the last events come after the block

    def close(self) -> None:
        """Erase the line."""
        if self.is_shown:
            LINE.close()

    def is_due(self) -> bool:
        """Return whether the line should be drawn anew."""
        return self.is_shown and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Have the line say this: at once if it is due, otherwise when it is drawn the next time."""
        if not self.is_shown:
            return

        def render(columns: int) -> str:
            return fit(text, columns)

        if self.is_due():
            self._next = time.monotonic() + INTERVAL
            LINE.show(render)
        elif LINE.render is not None:
            LINE.render = render


def _is_piped() -> bool:
    mode = os.fstat(sys.stdout.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
