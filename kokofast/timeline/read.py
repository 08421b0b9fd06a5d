"""Read the epochs of a timeline, one after the other."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kokofast.timeline import netsatbench
from kokofast.timeline.epoch import Command, Epoch, is_word
from kokofast.topology.change import CHANGES
from kokofast.topology.document import InvalidNumber, describe, report_repeated
from kokofast.topology.problems import Problem, TopologyError, step, unknown
from kokofast.topology.read_json import TOO_DEEP, Decoder, explain
from kokofast.topology.values import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = ("at", *CHANGES, "run")
SECONDS_MAX = 10**9


class Reader:
    """Makes epochs of texts, in order: lines of JSON, or NetSatBench's files.

    A time is a number of seconds after the start, or a date and time in ISO 8601: then the first one is the start.

    Args:
        is_live: Whether an epoch may have no time, and times may be in the past.
    """

    def __init__(self, *, is_live: bool = False) -> None:
        self._is_live = is_live
        self._first: datetime | None = None
        self._seconds_at = ""  # the first epoch whose time is in seconds
        self._before: tuple[float, str] | None = None
        self._decoder = Decoder()

    def read(self, text: str, place: str) -> Epoch:
        """Return the epoch of a text. Raises TopologyError with all its problems."""
        problems: list[Problem] = []
        found = self._decode(text, place)
        if not isinstance(found, dict):
            raise TopologyError([Problem(place, f"an epoch must be an object, not {describe(found)}")])
        if self._decoder.repeated:
            self._decoder.repeated = False
            report_repeated(found, place, " ", problems)
        if netsatbench.is_epoch(found):
            epoch = netsatbench.epoch_of(found, self._time(found, "time", place, problems), place, problems)
        else:
            for key in found:
                if key not in KEYS:
                    problems.append(Problem(f"{place} {step(key).removeprefix('.')}", unknown("key", key, KEYS)))
            at = self._time(found, "at", place, problems)
            changes: dict[str, list[object]] = {}
            for key in CHANGES:
                value = found.get(key, [])
                if isinstance(value, list):
                    changes[key] = value
                else:
                    problems.append(Problem(f"{place} {key}", f"must be a list, not {describe(value)}"))
            commands = _commands(found["run"], place, problems) if "run" in found else ()
            epoch = Epoch(at, place, changes, commands)
        if problems:
            raise TopologyError(problems)
        if epoch.at is not None:
            self._before = epoch.at, place
        return epoch

    def _decode(self, text: str, place: str) -> object:
        try:
            return self._decoder.decode(text)
        except json.JSONDecodeError as error:
            message, at = explain(error)
            raise TopologyError([Problem(f"{place}:{at + 1}", message)]) from None
        except RecursionError:
            raise TopologyError([Problem(place, TOO_DEEP)]) from None

    def _time(self, found: Mapping[str, object], key: str, place: str, problems: list[Problem]) -> float | None:
        """Return the time of an epoch in seconds after the start."""
        if key not in found:
            if not self._is_live:
                problems.append(Problem(place, f"needs '{key}': when it is, in seconds after the start"))
            return None
        where = f"{place} {key}"
        try:
            seconds = self._seconds(found[key], place)
        except ValueError as error:
            problems.append(Problem(where, str(error)))
            return None
        if self._before is not None and seconds < self._before[0] and not self._is_live:
            problems.append(Problem(where, f"is before that of the epoch before, {self._before[1]}"))
            return None
        return seconds

    def _seconds(self, value: object, place: str) -> float:
        if isinstance(value, str):
            return self._of_date(value)
        number = value.text if isinstance(value, InvalidNumber) else value
        seconds = math.nan
        if isinstance(value, (int, InvalidNumber)) and not isinstance(value, bool):
            seconds = float(number)  # type: ignore[arg-type]
        if not 0 <= seconds <= SECONDS_MAX:
            raise ValueError(f"must be seconds from 0 to {SECONDS_MAX:,}, or a date and time, not {describe(value)}")
        if self._first is not None:
            raise ValueError("is in seconds, and the first epoch has a date: give all times in one form")
        self._seconds_at = self._seconds_at or place
        return seconds

    def _of_date(self, text: str) -> float:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{quote(text)} is not a date and time such as 2026-01-31T12:00:00Z") from None
        if self._seconds_at:
            raise ValueError(f"is a date, and that of {self._seconds_at} is in seconds: give all times in one form")
        time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        if self._first is None:
            self._first = time
        seconds = (time - self._first).total_seconds()
        if seconds < 0:
            raise ValueError("is before the first epoch, which is the start")
        return seconds


def _commands(value: object, place: str, problems: list[Problem]) -> tuple[Command, ...]:
    several = isinstance(value, list)
    found: list[Command] = []
    for number, entry in enumerate(value if isinstance(value, list) else [value]):
        path = f"run[{number}]" if several else "run"
        where = f"{place} {path}"
        before = len(problems)
        if not isinstance(entry, dict):
            problems.append(Problem(where, f'must be an object with "node" and "command", not {describe(entry)}'))
            continue
        for key in entry:
            if key not in ("node", "command"):
                problems.append(Problem(where + step(key), unknown("key", key, ("node", "command"))))
        node, words = entry.get("node"), entry.get("command")
        if not isinstance(node, str):
            problems.append(Problem(f"{where}.node", f"must be the name of a node, not {describe(node)}"))
        if not isinstance(words, list) or not words or not words[0] or not all(map(is_word, words)):
            problems.append(Problem(f"{where}.command", "must be a list of texts: the program, and its arguments"))
        if len(problems) == before:
            assert isinstance(node, str)
            assert isinstance(words, list)
            found.append(Command(node, tuple(words), where))
    return tuple(found)
