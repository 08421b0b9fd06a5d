"""What a play came to on each host: when it began by which clock, what it has refused, how it ended."""

from __future__ import annotations

import itertools
import signal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kokofast.hosts.outcome import SSH, HostError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.hosts.ansible import Answer
    from kokofast.hosts.places import TimelinePlaces

PlayStatus = Literal["unasked", "playing", "played", "stopped", "partial", "failed", "unreachable"]
"""How a play ended on a host:

- "unasked": it has not begun there.
- "playing": it has not ended; only while it is asked.
- "played": all epochs were played.
- "stopped": it was ended between two epochs, as all were, or an epoch was refused.
- "partial": an epoch was refused, and the others were played; or something could not be taken back.
- "failed": it could not be played there.
- "unreachable": it did not answer any more. It has ended by itself.
"""

# Tasks of the playbooks.
CLOCK, BEGIN, RENEW, END, CLOCK_AGAIN = "Clock", "Begin", "Renew", "End", "Clock at the end"
ERRORS_MAX = 20  # of a host
PLAYED, REFUSED, PARTIAL = 0, 1, 3  # exit codes of play


class Clock(NamedTuple):
    """By how many seconds a clock is ahead of the controller's, and by how many that is wrong at most."""

    offset: float
    error: float

    def text(self) -> str:
        """Return it in words."""
        side = "ahead" if self.offset >= 0 else "behind"
        return f"{abs(self.offset):.3f} s {side}, give or take {self.error:.3f} s"

    def as_dict(self) -> dict[str, float]:
        """Return the JSON object."""
        return {"offset": self.offset, "error": self.error}


class HostPlay:
    """A play on a host.

    Attributes:
        host: Its name.
        status: How it ended.
        clocks: The host's clock before the play, and after it, as far as it was measured.
        offset: How much of the output was read.
        at: The time of the last epoch in the timeline; None before the first.
        code: The exit code of play; None before it has ended.
        summary: What play printed at its end.
        errors: Why it failed.
    """

    def __init__(self, host: str, lease: float, places: TimelinePlaces) -> None:
        self.host = host
        self.status: PlayStatus = "unasked"
        self.clocks: list[Clock] = []
        self.offset = 0
        self.at: float | None = None
        self.code: int | None = None
        self.summary: dict[str, Any] = {}
        self.errors: list[HostError] = []
        self._lease = lease
        self._places = places
        self._has_begun = False
        self._heard = 0.0  # by the clock of those who call take()

    def take(self, answer: Answer, now: float, *, is_told_to_end: bool) -> None:
        """Take the answer of a task. now is in seconds, by a clock that is never set."""
        was_lost = self.status == "playing" and now - self._heard >= self._lease
        if answer.state == "unreachable":
            self._lose(answer, now)
        elif answer.state == "failed":
            self._fail(answer)
        elif answer.task in (CLOCK, CLOCK_AGAIN):
            self.clocks.append(Clock(answer.found["offset"], answer.found["error"]))
        elif answer.task == BEGIN:
            self.status, self._heard, self._has_begun = "playing", now, True
        elif self.status == "playing":
            self._heard = now
            self._follow(answer.found, is_told_to_end)
        if was_lost and self.status == "failed":
            self.status = "unreachable"  # it answers again, but its lease was over meanwhile

    def _lose(self, answer: Answer, now: float) -> None:
        why = SSH.split(str(answer.found.get("msg", "")).strip())[-1]
        if answer.task == RENEW and now - self._heard < self._lease:
            return  # it is asked again
        if answer.task in (CLOCK, BEGIN):
            self._add(f"cannot be reached: {why}")
        elif self.status == "playing":
            self._add(f"cannot be reached any more: {why}; it ends by itself within {self._lease:g} s")
        else:
            return
        self.status = "unreachable"

    def _fail(self, answer: Answer) -> None:
        if answer.task == CLOCK_AGAIN or (answer.task in (RENEW, END) and self.status != "playing"):
            return
        self._add(str(answer.found.get("msg", "the task failed")).strip())
        self.status = "failed"

    def _follow(self, found: dict[str, Any], is_told_to_end: bool) -> None:
        self.offset = found["offset"]
        self.at = found.get("at", self.at)
        self.summary = found.get("summary", self.summary)
        for line in found["bad"]:
            for error in line.get("errors", []):
                self._add(error["message"], error.get("source", ""), error.get("errno"))
        if not found["ended"]:
            return
        self.code = found["code"]
        if self.code == PLAYED:
            self.status = "played"
            return
        known = bool(self.errors)
        self.status = "partial" if self.code == PARTIAL else "stopped" if self.code == REFUSED else "failed"
        if not known and not (is_told_to_end and self.status == "stopped"):
            self._add(_cause(found["messages"], self.code))
            self.status = "failed" if self.status == "stopped" else self.status

    def _add(self, message: str, source: str = "", errno: int | None = None) -> None:
        if len(self.errors) < ERRORS_MAX:
            place = self._places.locate(self.host, source)
            message = message if place is not None or not source else f"{source} of its part: {message}"
            self.errors.append(HostError(self.host, message, place or "", errno))

    @property
    def may_play(self) -> bool:
        """Whether it has begun, and has not been heard to end."""
        return self._has_begun and self.code is None and self.status in ("playing", "unreachable")

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        clock = {name: one.as_dict() for name, one in zip(("begin", "end"), self.clocks, strict=False)}
        return {
            "status": self.status,
            "clock": clock,
            **({"code": self.code} if self.code is not None else {}),
            **({"summary": self.summary} if self.summary else {}),
        }


def _cause(messages: str, code: int | None) -> str:
    how = f"exit code {code}" if code is None or code >= 0 else f"signal {-code} ({signal.strsignal(-code)})"
    told = "; ".join(messages.strip().splitlines()) or f"kokofast play ended with {how}"
    return f"{told}; give the hosts more time by --lead" if "--start-at" in told else told


class Plays:
    """A play on all hosts."""

    def __init__(self, hosts: Iterable[str], lease: float, places: TimelinePlaces) -> None:
        self.hosts = {name: HostPlay(name, lease, places) for name in hosts}

    def playing(self) -> list[HostPlay]:
        """Return those that have not ended."""
        return [one for one in self.hosts.values() if one.status == "playing"]

    def going_on(self) -> list[str]:
        """Return the names of hosts that may play still: those that have begun, and have not been heard to end."""
        return [one.host for one in self.hosts.values() if one.may_play]

    def have_begun(self) -> bool:
        """Whether all have."""
        return all(one.status != "unasked" for one in self.hosts.values())

    def errors(self) -> list[HostError]:
        """Return the errors of all hosts."""
        return [error for one in self.hosts.values() for error in one.errors]

    def apart(self, time: int) -> float | None:
        """Return the largest difference between two clocks, before (0) or after (1) the play; None of less than two."""
        found = [one.clocks[time].offset for one in self.hosts.values() if len(one.clocks) > time]
        return max(found) - min(found) if len(found) > 1 else None

    def within(self) -> float:
        """Return how far apart two hosts may have begun, because their clocks are not known better."""
        errors = sorted((one.clocks[0].error for one in self.hosts.values() if one.clocks), reverse=True)
        return sum(itertools.islice(errors, 2)) if len(errors) > 1 else 0.0

    def status(self) -> PlayStatus:
        """Return the status of all hosts together."""
        found = {one.status for one in self.hosts.values()}
        if found == {"played"}:
            return "played"
        if found & {"partial", "unreachable"}:
            return "partial"
        return "failed" if "failed" in found else "stopped"
