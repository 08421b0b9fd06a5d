"""The progress bar."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tqdm import tqdm

    from kokofast.engine.result_types import Progress

# Neither a rate nor an estimate: at the start tqdm would show a question mark for both.
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}]"
LOOKING = "survey"


@contextlib.contextmanager
def progress_shown(silent: bool, links: Callable[[], int]) -> Iterator[Progress | None]:
    """A callback that draws a bar on standard error, for the block; None when that is no terminal, or silent.

    links tells how many links there is work for, at the start of a stage: what is done of the work is shown as so many
    of them. 0 when nobody knows.
    """
    if silent or not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(links)
    try:
        yield bar.show
    finally:
        with contextlib.suppress(OSError):
            bar.close()


class _Bar:
    def __init__(self, links: Callable[[], int]) -> None:
        self.links = links
        self.stage = ""
        self.total = 0
        self.bar: tqdm[object] | None = None

    def show(self, stage: str, done: int, total: int) -> None:
        # A terminal that was closed is no reason to take back what is being made.
        with contextlib.suppress(OSError, MemoryError):
            if self.bar is None or stage != self.stage:
                self._begin(stage, total)
            assert self.bar is not None
            self.bar.update(done * self.total // max(total, 1) - self.bar.n)

    def _begin(self, stage: str, total: int) -> None:
        from tqdm import tqdm

        self.close()
        self.stage = stage
        links = 0 if stage == LOOKING else self.links()
        unit = "namespaces" if stage == LOOKING else "links" if links else "steps"
        self.total = links or total
        self.bar = tqdm(
            desc=stage,
            total=self.total,
            unit=unit,
            bar_format=FORMAT,
            leave=False,
            file=sys.stderr,
            dynamic_ncols=True,
        )

    def close(self) -> None:
        """Wipes the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
