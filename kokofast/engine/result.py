"""The result of a run, as ``--format json`` prints it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Final

    from kokofast.engine.result_types import Status
    from kokofast.engine.trace import Trace
    from kokofast.plan.step import Step
    from kokofast.topology.problems import Problem

APPLIED: Final = "applied"
UNCHANGED: Final = "unchanged"
ROLLED_BACK: Final = "rolled_back"
PARTIAL: Final = "partial"
INVALID: Final = "invalid"
PLANNED: Final = "planned"
DESTROYED: Final = "destroyed"


class Failure:
    """An error of a run.

    Attributes:
        source (str): The place in the user's file: ``$.links[3].mtu``.
        message (str): A sentence.
        errno (int | None): The kernel's errno, if the kernel refused it.
        position (str): file:line:column of the place, if known; else empty.
    """

    __slots__ = ("errno", "message", "position", "source")

    def __init__(self, source: str, message: str, errno: int | None = None, position: str = "") -> None:
        self.source = source
        self.message = message
        self.errno = errno
        self.position = position

    def __str__(self) -> str:
        where = f"{self.position} {self.source}".strip()
        return f"{where}: {self.message}" if where else self.message

    def __repr__(self) -> str:
        return f"Failure({self.source!r}, {self.message!r}, {self.errno!r}, {self.position!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failure) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((self.source, self.message, self.errno, self.position))

    def as_dict(self) -> dict[str, object]:
        """Return the JSON object; docs/format.md."""
        found: dict[str, object] = {"source": self.source, "message": self.message, "errno": self.errno}
        return found | {"position": self.position} if self.position else found


def failure_of(problem: Problem, errno: int | None = None) -> Failure:
    """Convert a problem to a failure."""
    return Failure(problem.place, problem.message, errno, problem.position)


class Result:
    """Counts, times and errors of a run.

    Attributes:
        lab (str): The name of the lab.
        status: How the run ended: see kokofast.Status.
        links: How many links: "total", and those that were "created", "updated", "unchanged", "removed", "replaced" and
            "failed", where there are any.
        namespaces: The same of namespaces: "created", "removed" and "failed".
        seconds: How long each stage took.
        errors: Why the run failed, and of which link.
        left: What could not be taken back or removed, a line each.
        notes: What else the user should know, a line each.
        planned: The steps of a dry run.
        workers: How many threads carried out the plan; None if there was nothing to do.
        trace: Filled by ``--trace`` of the command line.
    """

    def __init__(self, lab: str, status: Status) -> None:
        self.lab = lab
        self.status: Status = status
        self.links: dict[str, int] = {}
        self.namespaces: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.errors: list[Failure] = []
        self.left: list[str] = []
        self.notes: list[str] = []
        self.planned: list[Step] = []
        self.workers: int | None = None
        self.trace: Trace | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in self.links.items())
        return f"<Result of {self.lab!r}: {self.status}; links: {counts or 'none'}; {len(self.errors)} errors>"

    def as_dict(self) -> dict[str, object]:
        """Return the JSON object; docs/format.md."""
        rounded = {stage: round(value, 6) for stage, value in self.seconds.items()}
        found: dict[str, object] = {
            "lab": self.lab,
            "status": self.status,
            "links": self.links,
            "namespaces": self.namespaces,
            "seconds": {**rounded, "total": round(sum(rounded.values()), 6)},
            "errors": [error.as_dict() for error in self.errors],
        }
        if self.workers is not None:
            found["workers"] = self.workers
        if self.left:
            found["left"] = self.left
        if self.planned:
            found["plan"] = [entry for step in self.planned for entry in step.as_dicts()]
        if self.notes:
            found["notes"] = self.notes
        return found

    def begin_rollback(self) -> None:
        """Set the state that holds if the rollback breaks off before end_rollback()."""
        self.status = PARTIAL
        self.left = [f"the rollback was not completed: 'kokofast destroy --name {self.lab}' removes what is left"]

    def end_rollback(self, left: list[str], *, whole: bool = True) -> None:
        """Record the end of a rollback, with a line for each thing that is left. Not whole: working links were kept."""
        self.left = left
        self.status = PARTIAL if left or not whole else ROLLED_BACK

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Return a block whose time is added under this name."""
        return _Stage(self.seconds, name, self.trace)


class _Stage:
    # Not contextlib's decorator: koko's command line imports this.
    __slots__ = ("_name", "_seconds", "_span", "_start", "_trace")

    def __init__(self, seconds: dict[str, float], name: str, trace: Trace | None) -> None:
        self._seconds = seconds
        self._name = name
        self._trace = trace
        self._span: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        self._start = time.perf_counter()
        if self._trace is not None:
            self._span = self._trace.span(self._name, "stage")
            self._span.__enter__()

    def __exit__(self, *_: object) -> None:
        if self._span is not None:
            self._span.__exit__(None, None, None)
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + time.perf_counter() - self._start
