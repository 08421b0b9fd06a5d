"""What a run did, as data: the object that ``--format json`` prints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from kokofast.engine.trace import Trace
    from kokofast.topology.problems import Problem

# (stage, done, total) whenever it changes; called in the thread that begins the run, must not block.
Progress = Callable[[str, int, int], None]

Status = Literal["applied", "unchanged", "rolled_back", "partial", "invalid", "planned", "destroyed"]
APPLIED: Final = "applied"
UNCHANGED: Final = "unchanged"
ROLLED_BACK: Final = "rolled_back"
PARTIAL: Final = "partial"
INVALID: Final = "invalid"
PLANNED: Final = "planned"
DESTROYED: Final = "destroyed"


class Failure(NamedTuple):
    """One thing that went wrong: its place in the user's file, a sentence, the errno (None when there is none), and
    file:line:column of the place where that is known."""

    source: str
    message: str
    errno: int | None = None
    position: str = ""

    def __str__(self) -> str:
        where = f"{self.position} {self.source}".strip()
        return f"{where}: {self.message}" if where else self.message

    def as_dict(self) -> dict[str, object]:
        """The JSON object of the contract."""
        return {key: value for key, value in self._asdict().items() if key != "position" or value}


def failure_of(problem: Problem) -> Failure:
    """A problem as a result has it."""
    return Failure(problem.place, problem.message, position=problem.position)


class Result:
    """Counts, times and errors of one run. seconds has one entry a stage."""

    def __init__(self, lab: str, status: Status) -> None:
        self.lab = lab
        self.status: Status = status
        self.links: dict[str, int] = {}
        self.namespaces: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.errors: list[Failure] = []
        self.left: list[str] = []
        self.notes: list[str] = []
        self.planned: list[str] = []  # of a dry run: a line for each thing that would be done
        self.workers: int | None = None  # threads that worked at a time, where a plan was carried out
        self.trace: Trace | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in self.links.items())
        return f"<Result of {self.lab!r}: {self.status}; links: {counts or 'none'}; {len(self.errors)} errors>"

    def as_dict(self) -> dict[str, object]:
        """The JSON object of the contract."""
        rounded = {stage: round(value, 6) for stage, value in self.seconds.items()}
        found: dict[str, object] = {
            "lab": self.lab,
            "status": self.status,
            "links": self.links,
            "namespaces": self.namespaces,
            "seconds": {**rounded, "total": round(sum(self.seconds.values()), 6)},
            "errors": [error.as_dict() for error in self.errors],
        }
        if self.workers is not None:
            found["workers"] = self.workers
        if self.left:
            found["left"] = self.left
        if self.planned or self.notes:
            found["notes"] = self.planned + self.notes
        return found

    def begin_rollback(self) -> None:
        """Until end_rollback() nobody knows what is left: should it break off, that is what the result says."""
        self.status = PARTIAL
        self.left = [f"taking back did not come to its end: 'kokofast destroy --name {self.lab}' removes what is left"]

    def end_rollback(self, left: list[str], *, whole: bool = True) -> None:
        """It has come to its end: a line for each thing that is left. Not whole: what works was to be kept."""
        self.left = left
        self.status = PARTIAL if left or not whole else ROLLED_BACK

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Times a block under this name."""
        return _stage(self.seconds, name, self.trace)


def _stage(seconds: dict[str, float], name: str, trace: Trace | None) -> AbstractContextManager[None]:
    from contextlib import contextmanager, nullcontext

    @contextmanager
    def timed() -> Iterator[None]:
        start = time.perf_counter()
        try:
            with nullcontext() if trace is None else trace.span(name, "stage"):
                yield
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

    return timed()
