"""SVG: a picture for documents. It is light or dark, as its reader has it; pointing at a link shows its details."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from kokofast.graph.format import Format
from kokofast.graph.labels import SIZE, Room, around, by_degree, name_width, shortened, spacing_of, width_of
from kokofast.graph.model import EXTRA, FAR, LAN, STATES, described

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.graph.format import Places
    from kokofast.graph.model import Graph

MARGIN = 20
LOOP = 62  # how far an edge from a vertex to itself reaches
LEGEND = 34  # the height of the line at the top
SMALL = 9  # the letters of interfaces
PILL = 20  # the height of a node with its name in it
DOT = 4
HUBS = 50  # one name for so many vertices may cover others
BEND = 13  # pixels between two edges side by side
LEGEND_GAP = 26

STYLE = """\
text{font-family:system-ui,"DejaVu Sans",sans-serif;fill:#1b2530;text-anchor:middle;dominant-baseline:central}
.paper{fill:#fff}.node{fill:#eef3f8;stroke:#5b6b7c}.lan{fill:#fdf3d7;stroke:#a98a2b}.far{fill:#fff;stroke:#9aa5b1}
.extra{stroke-dasharray:5 3}
.small{font-size:9px;fill:#51606f;paint-order:stroke;stroke:#fff;stroke-width:3px}.start{text-anchor:start}
.title{font-weight:600;font-size:14px}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.paper{fill:#12171d}.node{fill:#253242;stroke:#8fa3b8}
.lan{fill:#41371a;stroke:#d0ad4a}.far{fill:#12171d;stroke:#6d7a88}.small{fill:#a9b7c5;stroke:#12171d}}"""


def write(graph: Graph, places: Places) -> Iterator[str]:
    """Yield the lines of the picture."""
    picture = _Picture(graph, places)
    width, height = picture.width, picture.height
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-size="{SIZE}">\n'
    )
    yield f"<title>{escape(graph.title)}</title>\n<style>{STYLE}</style>\n"
    yield '<rect class="paper" width="100%" height="100%"/>\n'
    yield from picture.legend
    picture.name_vertices()
    yield from picture.edges()
    yield from picture.vertices()
    yield from picture.interfaces()
    yield "</svg>\n"


def _legend(graph: Graph) -> tuple[list[str], float]:
    """Return the lines of the legend, and how wide it is."""
    x, y = float(MARGIN), LEGEND / 2
    title = shortened(graph.title, 40)
    lines = [f'<text class="title start" x="{x:.0f}" y="{y}">{escape(title)}</text>\n']
    x += width_of(title, 15) + LEGEND_GAP
    for state, number in graph.counts().items():
        text = f"{number:,} {STATES[state].title}"
        lines.append(f'<path d="M{x:.0f} {y}h28" {_stroke(state)}/>')
        lines.append(f'<text class="start" x="{x + 34:.0f}" y="{y}">{text}</text>\n')
        x += 34 + width_of(text, SIZE) + LEGEND_GAP
    return lines, x


def _stroke(state: str) -> str:
    how = STATES[state]
    dashes = f' stroke-dasharray="{" ".join(map(str, how.dashes))}"' if how.dashes else ""
    return f'fill="none" stroke="{how.colour}" stroke-width="2"{dashes}'


class _Picture:
    def __init__(self, graph: Graph, places: Places) -> None:
        self.graph = graph
        spacing, halves = spacing_of(len(places)), [name_width(vertex.name) / 2 for vertex in graph.vertices]
        loops = LOOP if any(edge.first == edge.second for edge in graph.edges) else PILL
        left = MARGIN + max([0.0, *(half - x * spacing for (x, _), half in zip(places, halves, strict=True))])
        top = LEGEND + MARGIN + loops
        self.points = [(left + x * spacing, top + y * spacing) for x, y in places]
        self.legend, wide = _legend(graph)
        self.width = max([wide, *(x + half + MARGIN for (x, _), half in zip(self.points, halves, strict=True))])
        self.height = max([top, *(y + loops + MARGIN for _, y in self.points)])
        self._room = Room(self.points)
        self._names = [shortened(vertex.name) for vertex in graph.vertices]
        self._widths = [2.0 * DOT] * len(places)  # of each vertex as it is drawn

    def name_vertices(self) -> None:
        """Choose the vertices that are drawn with their names."""
        hubs = len(self.points) // HUBS
        for vertex in by_degree(len(self.points), [edge[:2] for edge in self.graph.edges]):
            x, y = self.points[vertex]
            width = name_width(self._names[vertex])
            # In a crowd at least those with most links have their names.
            if self._room.take(around(x, y, width + 2, PILL + 2), (x, y), covers=hubs > 0):
                hubs -= 1
                self._widths[vertex] = width

    def edges(self) -> Iterator[str]:
        """Yield the edges, a group for each state."""
        parts: dict[str, list[str]] = {}
        for edge, bend in zip(self.graph.edges, self.graph.bends(), strict=True):
            path = self._path(edge.first, edge.second, bend)
            text = escape(described(self.graph.title_of(edge), edge.kind, edge.state, edge.details))
            parts.setdefault(edge.state, []).append(f'<path d="{path}"><title>{text}</title></path>\n')
        for state in reversed(STATES):
            if state in parts:
                yield f'<g class="links {state}" {_stroke(state)}>\n'
                yield from parts[state]
                yield "</g>\n"

    def _path(self, first: int, second: int, bend: float) -> str:
        (ax, ay), (bx, by) = self.points[first], self.points[second]
        if first == second:
            return loop(ax, ay, bend)
        if not bend:
            return f"M{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}"
        x, y = bent(ax, ay, bx, by, bend * BEND)
        return f"M{ax:.1f} {ay:.1f}Q{x:.1f} {y:.1f} {bx:.1f} {by:.1f}"

    def vertices(self) -> Iterator[str]:
        """Yield the vertices: as dots, and then those that have room for their names."""
        for is_dot in (True, False):
            for number, width in enumerate(self._widths):
                if (width == 2 * DOT) == is_dot:
                    yield from self._vertex(number, width)

    def _vertex(self, number: int, width: float) -> Iterator[str]:
        vertex, (x, y) = self.graph.vertices[number], self.points[number]
        text = escape(described(vertex.name, "LAN" if vertex.shape == LAN else "", vertex.state, vertex.details))
        how = f'class="{vertex.shape}{" extra" if vertex.state == EXTRA else ""}"'
        if vertex.state:
            how += f' style="stroke:{STATES[vertex.state].colour};stroke-width:2"'
        yield f"<g><title>{text}</title>"
        if width == 2 * DOT:
            yield f'<circle {how} cx="{x:.1f}" cy="{y:.1f}" r="{DOT}"/></g>\n'
            return
        radius = {LAN: 3, FAR: PILL / 2}.get(vertex.shape, 6)
        yield (
            f'<rect {how} x="{x - width / 2:.1f}" y="{y - PILL / 2:.1f}" width="{width:.1f}" height="{PILL}" '
            f'rx="{radius}"/><text x="{x:.1f}" y="{y:.1f}">{escape(self._names[number])}</text></g>\n'
        )

    def interfaces(self) -> Iterator[str]:
        """Yield the names of interfaces that have room at their ends of edges."""
        for edge, bend in zip(self.graph.edges, self.graph.bends(), strict=True):
            if edge.first == edge.second:
                continue
            sides = ((edge.first, edge.second, bend), (edge.second, edge.first, -bend))
            for (near, far, way), label in zip(sides, edge.labels, strict=True):
                if label:
                    yield from self._interface(near, far, way, shortened(label, 15))

    def _interface(self, near: int, far: int, bend: float, label: str) -> Iterator[str]:
        (ax, ay), (bx, by) = self.points[near], self.points[far]
        length = math.dist((ax, ay), (bx, by))
        if length < 2 * PILL:
            return
        cx, cy = bent(ax, ay, bx, by, bend * BEND)
        width = width_of(label, SMALL)
        # Beyond the vertex, in the direction of the edge.
        along, across = abs(bx - ax) / length, abs(by - ay) / length
        half = min(
            (self._widths[near] + width) / 2 / along if along else math.inf, PILL / across if across else math.inf
        )
        share = (half + 3) / length
        if share > 0.45:
            return
        x = (1 - share) ** 2 * ax + 2 * share * (1 - share) * cx + share**2 * bx
        y = (1 - share) ** 2 * ay + 2 * share * (1 - share) * cy + share**2 * by
        if self._room.take(around(x, y, width, SMALL + 2)):
            yield f'<text class="small" x="{x:.1f}" y="{y:.1f}">{escape(label)}</text>\n'


def bent(ax: float, ay: float, bx: float, by: float, pixels: float) -> tuple[float, float]:
    """Return the control point of an edge that is bent so much in its middle."""
    length = math.dist((ax, ay), (bx, by)) or 1.0
    return (ax + bx) / 2 - (by - ay) / length * pixels, (ay + by) / 2 + (bx - ax) / length * pixels


def loop(x: float, y: float, number: float) -> str:
    """Return the path of an edge from a vertex to itself: the first above it, the next ones around it."""
    angle, reach = -math.pi / 2 + number * 0.9, LOOP
    ends = [(x + math.cos(angle + turn) * reach, y + math.sin(angle + turn) * reach) for turn in (-0.5, 0.5)]
    points = " ".join(f"{a:.1f} {b:.1f}" for a, b in ends)
    return f"M{x:.1f} {y:.1f}C{points} {x:.1f} {y:.1f}"


FORMAT = Format(write)
