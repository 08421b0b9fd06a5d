"""DOT, for Graphviz, which lays the graph out itself: ``dot -Tpdf x.dot``, ``neato``, ``sfdp`` for large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.graph.format import Format
from kokofast.graph.model import EXTRA, FAR, LAN, STATES, described

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.graph.format import Places
    from kokofast.graph.model import Graph

SHAPES = {LAN: "box", FAR: "plaintext"}
STYLES = {"": "solid", EXTRA: "dashed"}
LINES = {"down": "dashed", "missing": "dotted", "extra": "dashed"}


def quoted(text: str) -> str:
    r"""Return a string of DOT that shows the text: \N and &lt; would stand for something else."""
    for char, written in (("\\", "\\\\"), ('"', '\\"'), ("&", "&amp;"), ("\n", "\\n")):
        text = text.replace(char, written)
    return f'"{text}"'


def write(graph: Graph, _: Places) -> Iterator[str]:
    """Yield the lines of the file."""
    yield f"graph {quoted(graph.title)} {{\n"
    yield f"  graph [label={quoted(graph.title)}, overlap=false, splines=true];\n"
    yield '  node [fontname="sans-serif", shape=ellipse];\n  edge [fontname="sans-serif", fontsize=9, penwidth=1.5];\n'
    for number, vertex in enumerate(graph.vertices):
        words = [f"label={quoted(vertex.name)}"]
        if vertex.shape in SHAPES:
            words.append(f"shape={SHAPES[vertex.shape]}")
        if vertex.state:
            words += [f'color="{STATES[vertex.state].colour}"', f"style={STYLES.get(vertex.state, 'solid')}"]
        tip = described(vertex.name, "LAN" if vertex.shape == LAN else "", vertex.state, vertex.details)
        yield f"  n{number} [{', '.join(words)}, tooltip={quoted(tip)}];\n"
    for edge in graph.edges:
        words = [f'color="{STATES[edge.state].colour}"']
        if edge.state in LINES:
            words.append(f"style={LINES[edge.state]}")
        words += [f"{at}label={quoted(name)}" for at, name in zip(("tail", "head"), edge.labels, strict=True) if name]
        text = described(graph.title_of(edge), edge.kind, edge.state, edge.details)
        yield f"  n{edge.first} -- n{edge.second} [{', '.join(words)}, edgetooltip={quoted(text)}];\n"
    yield "}\n"


FORMAT = Format(write, has_places=False, endings=("gv",))
