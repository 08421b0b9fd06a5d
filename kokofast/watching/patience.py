"""Choose what to leave alone for a while: what others change again and again, and what the kernel refuses."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 5  # repairs of one thing
WITHIN = 10.0  # seconds
FIGHT_PAUSES = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0)
FAILURE_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)


class _Record:
    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=MOST)
        self.place: object = None
        self.pauses = 0
        self.failures = 0
        self.until = 0.0


class Patience:
    """Counts the repairs and failures of things, and says which to leave alone. Times are in seconds."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._paused: dict[str, float] = {}

    def note_repair(self, thing: str, place: object, now: float) -> float | None:
        """Note a repair of something in a place; return for how long it is left alone now, None if it is not.

        Another place (the namespace of a container that was restarted) begins a new count.
        """
        record = self._records.setdefault(thing, _Record())
        record.failures = 0
        if record.place != place:
            record.place, record.pauses = place, 0
            record.times.clear()
        if record.pauses and now - record.until > 2 * FIGHT_PAUSES[min(record.pauses, len(FIGHT_PAUSES)) - 1]:
            record.pauses = 0  # nothing has changed it for long
        record.times.append(now)
        if len(record.times) < MOST or now - record.times[0] > WITHIN:
            return None
        record.times.clear()
        record.pauses += 1
        return self._pause(thing, record, FIGHT_PAUSES[min(record.pauses, len(FIGHT_PAUSES)) - 1], now)

    def note_failure(self, thing: str, now: float) -> float:
        """Note that something could not be done; return for how long it is left alone."""
        record = self._records.setdefault(thing, _Record())
        record.failures += 1
        return self._pause(thing, record, FAILURE_PAUSES[min(record.failures, len(FAILURE_PAUSES)) - 1], now)

    def _pause(self, thing: str, record: _Record, seconds: float, now: float) -> float:
        record.until = self._paused[thing] = now + seconds
        return seconds

    def left_alone(self) -> set[str]:
        """Return what is left alone."""
        return set(self._paused)

    def next_end(self) -> float | None:
        """Return when the first pause ends; None if nothing is left alone."""
        return min(self._paused.values(), default=None)

    def end_pauses(self, now: float) -> list[str]:
        """Return what need not be left alone any more."""
        ended = [thing for thing, until in self._paused.items() if until <= now]
        for thing in ended:
            del self._paused[thing]
        return ended

    def has_failed(self, thing: str) -> bool:
        """Whether something is, or was, left alone because it could not be done."""
        return thing in self._records and self._records[thing].failures > 0

    def forgive_failures(self, things: Iterable[str]) -> None:
        """Retry failed things at once: their nodes have other namespaces now."""
        for thing in things:
            if self.has_failed(thing):
                self._paused.pop(thing, None)

    def begin_anew(self) -> None:
        """Forget everything, as for a new file."""
        self._records.clear()
        self._paused.clear()
