"""Types of the library's results. Apart from result.py, because typing costs koko's command line more than a link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

# (stage, done, total) whenever it changes; called in the thread that begins the run, must not block.
Progress = Callable[[str, int, int], None]

Status = Literal["applied", "unchanged", "rolled_back", "partial", "invalid", "planned", "destroyed"]
