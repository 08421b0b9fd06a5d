"""The progress bar."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tqdm import tqdm

    from kokofast.engine.result_types import Progress

# No rate and no estimate: tqdm shows a question mark for both at the start.
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}]"
LOOKING = "survey"


@contextlib.contextmanager
def progress_shown(silent: bool, links: Callable[[], int]) -> Iterator[Progress | None]:
    """Yield a callback that draws a bar on standard error; None when silent, or without a terminal.

    links() returns at the start of a stage how many links have work, 0 if unknown. The bar counts links, not steps.
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
        # The run goes on when its terminal is closed.
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
        """Erase the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
