"""Problems of a user's file, each with its place. All are reported at once."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.topology.model import Topology

PROBLEMS_MAX = 10_000  # more would take more memory than the file
PLACE_KEY_CHARACTERS = 40  # of a key in a place


class Problem:
    """A place in the file and what is wrong there, in one printable line.

    Attributes:
        place (str): Where: ``$.links[3].mtu``, ``links.csv:17 mtu``.
        message (str): What is wrong, and where it helps, what to do.
        position (str): file:line:column of the place in JSON and YAML, if known; else empty. Comparison ignores it.
    """

    __slots__ = ("message", "place", "position")

    def __init__(self, place: str, message: str) -> None:
        self.place = place
        self.message = message
        self.position = ""

    def __str__(self) -> str:
        where = f"{self.position} {self.place}".strip()
        return f"{where}: {self.message}" if where else self.message

    def __repr__(self) -> str:
        return f"Problem({self.place!r}, {self.message!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and (self.place, self.message) == (other.place, other.message)

    def __hash__(self) -> int:
        return hash((self.place, self.message))


class TopologyError(Exception):
    """The file is no valid topology. The text has a line for each problem.

    Attributes:
        problems: Everything that is wrong.
        topology (Topology | None): Its valid part, to look for further problems; None when the file cannot be read.
    """

    def __init__(self, problems: Iterable[Problem], topology: Topology | None = None) -> None:
        self.topology = topology
        # The same problem can be found several times (a default that no link kind can have).
        self.problems: list[Problem] = list(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


class Problems(list[Problem]):
    """The problems of one file. Raises TopologyError when there are more than PROBLEMS_MAX."""

    def append(self, problem: Problem) -> None:
        """Append a problem. Raises TopologyError."""
        if len(self) == PROBLEMS_MAX:
            last = Problem("", f"more than {PROBLEMS_MAX:,} problems: the rest was not looked at")
            raise TopologyError([*self, last])
        super().append(problem)


def step(key: str) -> str:
    """Return a key as one step of a place: ``.mtu``, or ``['a b']`` if it is no plain word."""
    if len(key) > PLACE_KEY_CHARACTERS:
        return f"[{key[:PLACE_KEY_CHARACTERS]!a}...]"
    plain = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return f".{key}" if plain else f"[{key!a}]"


def unknown(what: str, key: str, known: Iterable[str]) -> str:
    """Return ``unknown key 'mtuu'; did you mean 'mtu'?``."""
    from difflib import get_close_matches  # needed for errors only

    from kokofast.topology.values import quote

    names = list(known)
    near = get_close_matches(key[:PLACE_KEY_CHARACTERS].lower(), names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "known: " + ", ".join(sorted(names))
    return f"unknown {what} {quote(key)}; {hint}"
