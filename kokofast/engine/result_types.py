"""Types of the library's results. Not in result.py: importing typing takes koko's command line longer than its link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

# Called with (stage, done, total), in the thread that begins the run. Must not block.
Progress = Callable[[str, int, int], None]

Status = Literal["applied", "unchanged", "rolled_back", "partial", "invalid", "planned", "destroyed"]
