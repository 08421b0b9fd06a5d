"""Types of the library's results. Not in result.py: importing typing takes koko's command line longer than its link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total), in the thread that begins the run. Must not block.

The stages are "survey", "plan", "apply", "delete", "rollback" and "verify".
"""

Status = Literal["applied", "unchanged", "rolled_back", "partial", "invalid", "planned", "destroyed"]
"""How a run ended.

- "applied", "unchanged": the kernel matches the topology; something had to be done, or nothing.
- "rolled_back": a link failed, and everything that the run made was taken back.
- "partial": only some of it was done, as with keep_going; or something could not be taken back, or removed.
- "invalid": the topology does not fit the machine, and nothing was touched.
- "planned": a dry run.
- "destroyed": the lab is gone.
"""
