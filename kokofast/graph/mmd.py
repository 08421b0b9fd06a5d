"""Mermaid, which GitHub, GitLab and editors draw in Markdown. It lays the graph out itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.graph.format import Format
from kokofast.graph.model import EXTRA, FAR, LAN, STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.graph.format import Places
    from kokofast.graph.model import Graph

BRACKETS = {LAN: ("[[", "]]"), FAR: ("([", "])")}
EDGES_MAX = 500  # maxEdges, a setting of the page that a file cannot change


def quoted(text: str) -> str:
    """Return a text of Mermaid: all that could be Mermaid's, Markdown or HTML is an entity of its number."""
    pairs = zip(text, f"{text[1:]} ", strict=True)
    # A dot or a minus before a space could begin a list of Markdown.
    plain = (
        one if one.isalnum() or one in " :/" or (one in ".-" and after.isalnum()) else f"#{ord(one)};"
        for one, after in pairs
    )
    return f'"{"".join(plain)}"'


def write(graph: Graph, _: Places) -> Iterator[str]:
    """Yield the lines of the file."""
    yield "flowchart LR\n"
    for number, vertex in enumerate(graph.vertices):
        left, right = BRACKETS.get(vertex.shape, ("[", "]"))
        yield f"  n{number}{left}{quoted(vertex.name)}{right}\n"
    for edge in graph.edges:
        label = " / ".join(filter(None, edge.labels))
        yield f"  n{edge.first} ---{f'|{quoted(label)}|' if label else ''} n{edge.second}\n"
    for state, how in STATES.items():
        numbers = [str(number) for number, edge in enumerate(graph.edges) if edge.state == state]
        dashes = f",stroke-dasharray:{' '.join(map(str, how.dashes))}" if how.dashes else ""
        if numbers:
            yield f"  linkStyle {','.join(numbers)} stroke:{how.colour},stroke-width:2px{dashes}\n"
        marked = [f"n{number}" for number, vertex in enumerate(graph.vertices) if vertex.state == state]
        if marked:
            yield f"  classDef {state} stroke:{how.colour}{',stroke-dasharray:5 3' if state == EXTRA else ''}\n"
            yield f"  class {','.join(marked)} {state}\n"


FORMAT = Format(write, has_places=False, endings=("mermaid",), edges_max=EDGES_MAX)
