"""How far a host's clock is ahead of ours, from exchanges of the time with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


TIME = re.compile(r"\s*([0-9]{1,12}\.[0-9]{9})\s*")


class Exchange(NamedTuple):
    """A question for the time and its answer: when it was asked by our clock, how long that took, what was said.

    Attributes:
        asked: Seconds since the epoch, by the clock of the one who asks.
        took: The round trip in seconds, by a clock that is never set.
        said: Seconds since the epoch, by the clock of the one who was asked.
    """

    asked: float
    took: float
    said: float


def told_time(text: str) -> float | None:
    """Return the time that ``date +%s.%N`` has printed; None if that is not one with nanoseconds.

    A date that does not know %N prints whole seconds and a point. Such a time may be wrong by a second.
    """
    found = TIME.fullmatch(text)
    return float(found[1]) if found else None


def estimate(exchanges: Iterable[Exchange]) -> dict[str, float]:
    """Return the offset of the other clock, in seconds, and how far that may be off.

    The exchange with the shortest round trip is the best one (RFC 5905, section 10). The other clock was read somewhere
    in it: so its middle is wrong by half of it at most.
    """
    best = min(exchanges, key=lambda one: one.took)
    return {
        "offset": round(best.said - (best.asked + best.took / 2), 6),
        "error": round(best.took / 2, 6),
        "round_trip": round(best.took, 6),
    }
