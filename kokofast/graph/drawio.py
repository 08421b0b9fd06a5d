"""draw.io (diagrams.net): a drawing to go on with. Each link is connected to its nodes, and has its details."""

from __future__ import annotations

from html import escape as as_html
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from kokofast.graph.format import Format
from kokofast.graph.labels import shortened, width_of
from kokofast.graph.model import EXTRA, FAR, LAN, STATES, described
from kokofast.graph.svg import bent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.graph.format import Places
    from kokofast.graph.model import Edge, Graph

SPACING = 140
MARGIN = 160  # so that names and loops of the first vertices are on the page
HEIGHT = 30
SHAPES = {
    LAN: "shape=rectangle;fillColor=#fff2cc;strokeColor=#d6b656;",
    FAR: "shape=ellipse;fillColor=none;strokeColor=#999999;",
}
NODE_STYLE = "rounded=1;fillColor=#dae8fc;strokeColor=#6c8ebf;"
BEND = 20
LABEL_AT = 0.6  # from the middle of an edge, 0, to its end, 1


def write(graph: Graph, places: Places) -> Iterator[str]:
    """Yield the lines of the file."""
    yield f'<mxfile host="kokofast">\n<diagram name={quoteattr(graph.title)}>\n'
    yield '<mxGraphModel grid="1" page="0">\n<root>\n'
    yield '<mxCell id="0"/>\n<mxCell id="1" parent="0"/>\n'
    places = [(MARGIN + x * SPACING, MARGIN + y * SPACING) for x, y in places]
    for number, (edge, bend) in enumerate(zip(graph.edges, graph.bends(), strict=True)):
        yield from _edge(graph, number, edge, _way(edge, bend, places))
    for number, vertex in enumerate(graph.vertices):
        name = shortened(vertex.name, 40)
        width = max(width_of(name, 12) + 16, 40)
        x, y = places[number]
        style = SHAPES.get(vertex.shape, NODE_STYLE)
        if vertex.state:
            style += f"strokeColor={STATES[vertex.state].colour};{'dashed=1;' if vertex.state == EXTRA else ''}"
        tip = described(vertex.name, "LAN" if vertex.shape == LAN else "", vertex.state, vertex.details)
        yield (
            f'<UserObject label={quoteattr(name)} tooltip={_tip(tip)} id="n{number}">'
            f'<mxCell style="html=0;{style}" vertex="1" parent="1"><mxGeometry x="{x - width / 2:.1f}" '
            f'y="{y - HEIGHT / 2:.1f}" width="{width:.1f}" height="{HEIGHT}" as="geometry"/></mxCell></UserObject>\n'
        )
    yield "</root>\n</mxGraphModel>\n</diagram>\n</mxfile>\n"


def _tip(text: str) -> str:
    # draw.io shows tooltips as HTML.
    return quoteattr(as_html(text).replace("\n", "<br>"))


def _way(edge: Edge, bend: float, places: Places) -> list[tuple[float, float]]:
    """Return the points that an edge passes between its vertices; none for a straight one."""
    (ax, ay), (bx, by) = (places[vertex] for vertex in edge[:2])
    if edge.first == edge.second:
        reach = HEIGHT * (1.5 + bend)
        return [(ax - HEIGHT, ay - reach), (ax + HEIGHT, ay - reach)]
    return [bent(ax, ay, bx, by, bend * BEND)] if bend else []


def _edge(graph: Graph, number: int, edge: Edge, way: list[tuple[float, float]]) -> Iterator[str]:
    how = STATES[edge.state]
    dashes = f"dashed=1;dashPattern={' '.join(map(str, how.dashes))};" if how.dashes else ""
    tip = described(graph.title_of(edge), edge.kind, edge.state, edge.details)
    style = f"endArrow=none;html=0;curved=1;strokeWidth=2;strokeColor={how.colour};{dashes}"
    points = "".join(f'<mxPoint x="{x:.1f}" y="{y:.1f}"/>' for x, y in way)
    yield (
        f'<UserObject label="" tooltip={_tip(tip)} id="e{number}"><mxCell style="{style}" edge="1" parent="1" '
        f'source="n{edge.first}" target="n{edge.second}"><mxGeometry relative="1" as="geometry">'
        f'<Array as="points">{points}</Array></mxGeometry></mxCell></UserObject>\n'
    )
    for side, (label, at) in enumerate(zip(edge.labels, (-LABEL_AT, LABEL_AT), strict=True)):
        if label:
            yield (
                f'<mxCell id="e{number}-{side}" value={quoteattr(label)} style="edgeLabel;html=0;fontSize=9;" '
                f'vertex="1" connectable="0" parent="e{number}">'
                f'<mxGeometry x="{at}" relative="1" as="geometry"/></mxCell>\n'
            )


FORMAT = Format(write)
