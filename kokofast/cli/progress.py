"""The progress bar."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.engine.result import Progress


@contextlib.contextmanager
def progress_shown(silent: bool) -> Iterator[Progress | None]:
    """A callback that draws a bar on standard error, for the block; None when that is no terminal, or silent."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    bar: tqdm[object] = tqdm(unit="op", leave=False, file=sys.stderr, dynamic_ncols=True)

    def show(stage: str, done: int, total: int) -> None:
        # A terminal that was closed is no reason to take back what is being made.
        with contextlib.suppress(OSError):
            if bar.desc != f"{stage}: ":
                bar.set_description(stage, refresh=False)
                bar.reset(total)
            bar.update(done - bar.n)

    try:
        yield show
    finally:
        with contextlib.suppress(OSError):
            bar.close()
