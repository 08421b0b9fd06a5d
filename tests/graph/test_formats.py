"""The formats: golden files, and that any names come back from them."""

from __future__ import annotations

import html
import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.graph import FORMATS
from kokofast.graph.labels import Room, around, by_degree, shortened, width_of
from kokofast.graph.model import DOWN, EXTRA, FAR, LAN, MISSING, NODE, STATES, UP, Edge, Graph, Vertex
from kokofast.graph.svg import write as write_svg

GOLDEN = Path(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"
PLACES = ((0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (1.0, 1.0), (0.0, 1.0), (2.0, 1.0))

# Each shape and state, edges side by side, a loop, and letters that each of the formats has for itself.
SAMPLE = Graph(
    'lab "1" <&>',
    [
        Vertex("r1", NODE, "", (("netns", "r1"),)),
        Vertex("r2"),
        Vertex('<q>"&amp;\\N'),
        Vertex("br0", LAN, UP, (("stp", "off"),)),
        Vertex("192.0.2.9", FAR),
        Vertex("not in the file", NODE, EXTRA),
    ],
    [
        Edge(0, 1, ("eth0", "eth0"), "veth", UP, (("r1:eth0", "up, 10.0.0.0/31"),)),
        Edge(1, 0, ("eth1", "eth1"), "veth", DOWN),
        Edge(1, 2, ("eth2", "<&>"), "veth", MISSING),
        Edge(0, 3, ("eth2", ""), "veth", UP),
        Edge(0, 4, ("vx0", ""), "vxlan", UP, (("vni", "7"),)),
        Edge(1, 1, ("x0", "x1"), "veth", UP),
        Edge(2, 5, ("eth1", "eth0"), "veth", EXTRA),
    ],
)


def written(format: str, graph: Graph, places: tuple[tuple[float, float], ...] | None = None) -> str:
    if places is None:
        places = tuple((float(number % 5), float(number // 5)) for number in range(len(graph.vertices)))
    return "".join(FORMATS[format].write(graph, places))


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "html"])
def test_a_sample_is_written_as_before(format: str) -> None:
    assert written(format, SAMPLE, PLACES) == (GOLDEN / f"sample.{format}").read_text(encoding="utf-8")


def data_in(page: str) -> dict[str, Any]:
    (block,) = re.findall(r'<script type="application/json" id="data">\n(.*?)</script>', page, re.DOTALL)
    found: dict[str, Any] = json.loads(block)
    return found


def test_a_page_has_its_data_and_loads_nothing() -> None:
    page = written("html", SAMPLE, PLACES)
    data = data_in(page)
    assert data["counts"] == {DOWN: 1, MISSING: 1, EXTRA: 1, UP: 5}
    assert data["vertices"][0] == [0.0, 0.0, "r1", "node", "", [["netns", "r1"]]]
    assert data["edges"][1] == [1, 0, -1, "eth1", "eth1", "veth", DOWN, []]
    assert re.findall(r"https?://[^\s\"']*", page) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert not re.search(r"\b(src|href|srcset|action)\s*=|url\(|@import|\bfetch\(|XMLHttp|WebSocket|import\(", page)
    assert '<title>lab "1" &lt;&amp;&gt;</title>' in page


TEXTS = st.text(st.characters(categories=("L", "N", "P", "S", "M"), include_characters=" "), max_size=30).filter(
    str.isprintable
) | st.sampled_from(
    ["</script>", "<!--", '"', "\\", "\\N", "&lt;", "#35;", "]]>", "- x", "1. x", "`x`", "%%{", "$a", "_x_"]
)
STATE = st.sampled_from(sorted(STATES))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    details = st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple)
    shapes = st.sampled_from((NODE, LAN, FAR))
    vertices = draw(st.lists(st.builds(Vertex, TEXTS.filter(bool), shapes, STATE, details), min_size=1, max_size=5))
    ends = st.integers(0, len(vertices) - 1)
    edge = st.builds(Edge, ends, ends, st.tuples(TEXTS, TEXTS), TEXTS, STATE, details)
    return Graph(draw(TEXTS), vertices, draw(st.lists(edge, max_size=6)))


any_graph = given(graphs())
some = settings(max_examples=40)


@some
@any_graph
def test_svg_has_each_name_as_text(graph: Graph) -> None:
    root = ElementTree.fromstring(written("svg", graph))
    assert root.findtext(f"{SVG}title") == graph.title
    groups = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
    names = sorted(group.findtext(f"{SVG}title", "").split("\n")[0] for group in groups)
    assert names == sorted(vertex.name for vertex in graph.vertices)
    links = [
        path.findtext(f"{SVG}title", "") for path in root.iter(f"{SVG}path") if path.find(f"{SVG}title") is not None
    ]
    assert sorted(link.split("\n")[0] for link in links) == sorted(map(graph.title_of, graph.edges))
    shown = {text.text for text in root.iter(f"{SVG}text")}
    assert any(shortened(vertex.name) in shown for vertex in graph.vertices)


@some
@any_graph
def test_html_has_each_name_as_data(graph: Graph) -> None:
    page = written("html", graph)
    data = data_in(page)
    assert [vertex[2] for vertex in data["vertices"]] == [vertex.name for vertex in graph.vertices]
    assert [edge[3:] for edge in data["edges"]] == [
        [*edge.labels, edge.kind, edge.state, [list(one) for one in edge.details]] for edge in graph.edges
    ]
    assert page.count("<script") == page.count("</script>") == 2
    assert html.unescape(re.findall(r"<title>(.*?)</title>", page)[0]) == graph.title


@some
@any_graph
def test_drawio_has_each_name_and_connects_what_is_there(graph: Graph) -> None:
    root = ElementTree.fromstring(written("drawio", graph))
    cells = {one.get("id"): one for one in root.iter("UserObject")}
    assert len(cells) == len(graph.vertices) + len(graph.edges)
    for number, vertex in enumerate(graph.vertices):
        assert cells[f"n{number}"].get("label") == shortened(vertex.name, 40)
        # A tooltip is HTML.
        assert html.unescape(cells[f"n{number}"].get("tooltip", "").split("<br>")[0]) == vertex.name
    for number, edge in enumerate(graph.edges):
        cell = cells[f"e{number}"].find("mxCell")
        assert cell is not None
        assert (cell.get("source"), cell.get("target")) == (f"n{edge.first}", f"n{edge.second}")
    labels = [one.get("value") for one in root.iter("mxCell") if one.get("connectable") == "0"]
    assert labels == [label for edge in graph.edges for label in edge.labels if label]


STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def of_dot(text: str) -> str:
    """What Graphviz shows of a string."""
    return html.unescape(re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text))


@some
@any_graph
def test_dot_has_each_name_in_one_string(graph: Graph) -> None:
    first, *lines, last = written("dot", graph).splitlines()
    assert of_dot(STRING.findall(first)[0]) == graph.title
    assert (first.count("{") - graph.title.count("{"), last) == (1, "}")
    nodes = [line for line in lines if re.match(r"  n\d+ \[", line)]
    assert [of_dot(STRING.findall(line)[0]) for line in nodes] == [vertex.name for vertex in graph.vertices]
    # Nothing of a name is outside of its string.
    assert all(re.fullmatch(r"[\w .;,=#\[\]-]*", STRING.sub("", line)) for line in lines)


@some
@any_graph
def test_mermaid_has_each_name_by_letters_or_numbers(graph: Graph) -> None:
    first, *lines = written("mmd", graph).splitlines()
    assert first == "flowchart LR"
    nodes = [line for line in lines if re.match(r"  n\d+[\[(]", line)]
    shown = [re.sub(r"#(\d+);", lambda found: chr(int(found[1])), STRING.findall(line)[0]) for line in nodes]
    assert shown == [vertex.name for vertex in graph.vertices]
    for line in lines:
        for text in STRING.findall(line):
            assert not re.search(r"[\"`<>{}|$*_\\]|[-.] ", re.sub(r"#\d+;", "", text)), text
    assert sum(" ---" in line for line in lines) == len(graph.edges)


def test_graphviz_reads_the_sample() -> None:
    done = subprocess.run(["dot", "-Tplain"], input=written("dot", SAMPLE), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(re.findall(r"^edge", done.stdout, re.MULTILINE)) == len(SAMPLE.edges)


def test_long_names_are_cut_and_their_titles_are_whole() -> None:
    name = "a-very-long-name-of-a-node-in-a-large-network"
    root = ElementTree.fromstring(written("svg", Graph("g", [Vertex(name)])))
    assert [text.text for text in root.iter(f"{SVG}text")][1:] == ["a-very-long-name-of-a-n…"]
    assert root.findtext(f"{SVG}g/{SVG}title") == name


def test_labels_do_not_overlap_and_those_with_many_links_come_first() -> None:
    assert by_degree(4, [(1, 2), (1, 3), (1, 1)]) == [1, 2, 3, 0]
    room = Room([(0.0, 0.0), (200.0, 0.0), (230.0, 0.0)])
    assert room.take(around(0, 0, 100, 20), (0.0, 0.0))
    assert not room.take(around(60, 5, 40, 20))
    assert not room.take(around(200, 0, 100, 20), (200.0, 0.0))  # it would hide a vertex
    assert room.take(around(60, 25, 40, 20))
    assert width_of("中文", 10) > width_of("ab", 10)


def test_the_legend_is_within_a_small_picture() -> None:
    many = [Edge(0, 1, ("", ""), "veth", state) for state in STATES for _ in range(3000)]
    root = ElementTree.fromstring(written("svg", Graph("a-lab-with-a-long-name", [Vertex("a"), Vertex("b")], many)))
    for text in root.iter(f"{SVG}text"):
        if "start" in text.get("class", ""):
            assert float(text.get("x", "")) + width_of(text.text or "", 12) < float(root.get("width", ""))


def test_a_dense_picture_has_few_labels_and_nothing_outside_of_it() -> None:
    count = 2000
    places = [(number % 50 / 4, number // 50 / 4) for number in range(count)]
    edges = [Edge(number, number + 1, ("eth0", "eth1"), "veth", UP) for number in range(count - 1)]
    root = ElementTree.fromstring("".join(write_svg(Graph("g", map(Vertex, map(str, range(count))), edges), places)))
    width, height = (float(root.get(side, "")) for side in ("width", "height"))
    shown = [(float(one.get("x", "")), float(one.get("y", ""))) for one in root.iter(f"{SVG}text")]
    assert 20 < len(shown) < count / 4
    assert all(0 < x < width and 0 < y < height for x, y in shown)
    assert all(math.dist(one, other) >= 8 for one in shown for other in shown if one is not other)
