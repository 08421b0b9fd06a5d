"""What is drawn: vertices, edges between them, and the state of each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# (what, value) of a vertex or an edge, in the order in which they are shown.
Details = tuple[tuple[str, str], ...]


class State(NamedTuple):
    """How a state is drawn: its colour on light and dark paper, and the lengths of its dashes."""

    title: str
    colour: str
    dashes: tuple[int, ...] = ()


UP, DOWN, MISSING, EXTRA, UNKNOWN = "up", "down", "missing", "extra", "unknown"

# The dashes tell states apart for those who see no colours. Each colour has a contrast of 3 to white and to black.
STATES = {
    DOWN: State("down", "#d5500b", (7, 4)),
    MISSING: State("missing", "#8a8f98", (2, 4)),
    EXTRA: State("not in the file", "#9a6bdb", (9, 3, 2, 3)),
    UP: State("up", "#0a9467"),
    UNKNOWN: State("not looked at", "#6480a3"),
}

BENDS_MAX = 7  # edges side by side; more of them have no more room

NODE, LAN, FAR = "node", "lan", "far"


class Vertex:
    """A node, a LAN, or what is at the far side of a link with one end.

    state is that of the link that a LAN is; of a node it is EXTRA where the file does not have it, otherwise "".
    """

    __slots__ = ("details", "name", "shape", "state")

    def __init__(self, name: str, shape: str = NODE, state: str = "", details: Details = ()) -> None:
        self.name = name
        self.shape = shape
        self.state = state
        self.details = details


class Edge(NamedTuple):
    """A link between two vertices, which are given by their numbers.

    Attributes:
        first: A vertex.
        second: The other one; the same for a link of a node to itself.
        labels: The interfaces at both sides, "" for none.
        kind: The link's type.
        state: One of STATES.
        details: What else is known.
    """

    first: int
    second: int
    labels: tuple[str, str]
    kind: str
    state: str
    details: Details = ()


class Graph:
    """A topology as it is drawn. title is the lab."""

    __slots__ = ("edges", "title", "vertices")

    def __init__(self, title: str, vertices: Iterable[Vertex] = (), edges: Iterable[Edge] = ()) -> None:
        self.title = title
        self.vertices = list(vertices)
        self.edges = list(edges)

    def title_of(self, edge: Edge) -> str:
        """Return ``r1:eth0 -- r2:eth0``."""
        sides = zip((edge.first, edge.second), edge.labels, strict=True)
        return " -- ".join(f"{self.vertices[one].name}{f':{label}' if label else ''}" for one, label in sides)

    def counts(self) -> Mapping[str, int]:
        """Return the number of links in each state that there is, in the order of STATES."""
        states = [edge.state for edge in self.edges] + [one.state for one in self.vertices if one.shape == LAN]
        counted = Counter(states)
        return {state: counted[state] for state in STATES if counted[state]}

    def bends(self) -> list[float]:
        """Return how far each edge bends: 0 for a straight one, other numbers for those between the same vertices.

        Those of many are closer to each other. The edges of a vertex to itself are numbered from 0.
        """
        total = Counter(frozenset((edge.first, edge.second)) for edge in self.edges)
        seen: Counter[frozenset[int]] = Counter()
        found: list[float] = []
        for edge in self.edges:
            pair = frozenset((edge.first, edge.second))
            number, count = seen[pair], total[pair]
            seen[pair] += 1
            # -1, 1 for two of them, -2, 0, 2 for three, as seen from the vertex with the lower number
            bend = number if edge.first == edge.second else 2 * number - count + 1
            bend = bend if edge.first <= edge.second else -bend
            found.append(bend if count <= BENDS_MAX else round(bend * BENDS_MAX / count, 3))
        return found


def described(title: str, kind: str, state: str, details: Details) -> str:
    """Return all that is known of a link or a vertex, as lines of text."""
    known = ", ".join(filter(None, (kind, STATES[state].title if state else "")))
    return "\n".join(filter(None, (title, known, *(f"{what}: {value}" for what, value in details))))
