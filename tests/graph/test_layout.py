"""Where vertices are drawn."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kokofast
from kokofast.graph.build import graph_of_file
from kokofast.graph.labels import Room, around, name_width, spacing_of
from kokofast.graph.layout import places_of
from kokofast.graph.model import Edge, Graph, Vertex


def graph_with(count: int, pairs: list[tuple[int, int]]) -> Graph:
    made = (Edge(one, other, ("", ""), "veth", "up") for one, other in pairs)
    return Graph("g", (Vertex(f"n{number}") for number in range(count)), made)


def shape(name: str, **sizes: Any) -> Graph:
    return graph_of_file(kokofast.loads(kokofast.generate(name, **sizes)))


def crossings(graph: Graph) -> int:
    """The pairs of edges without a common vertex that cross."""
    places = places_of(graph)

    def side(a: int, b: int, c: int) -> float:
        (ax, ay), (bx, by), (cx, cy) = places[a], places[b], places[c]
        return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)

    pairs = itertools.combinations([edge[:2] for edge in graph.edges], 2)
    return sum(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in pairs
        if len({a, b, c, d}) == 4
    )


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("chain", {"links": 40}),
        ("ring", {"nodes": 30}),
        ("star", {"spokes": 25}),
        ("tree", {"depth": 4, "fanout": 2}),
        ("grid", {"rows": 8, "columns": 9}),
    ],
)
def test_what_can_be_drawn_without_crossings_is(name: str, sizes: dict[str, int]) -> None:
    assert crossings(shape(name, **sizes)) == 0


def test_a_large_grid_is_no_tangle() -> None:
    graph = shape("grid", rows=40, columns=45)
    places = places_of(graph)
    width, height = (max(point[axis] for point in places) for axis in range(2))
    lengths = [math.dist(places[edge.first], places[edge.second]) for edge in graph.edges]
    # With random places to begin with it is some 0.2 of the picture.
    assert sum(lengths) / len(lengths) < 0.06 * min(width, height)


def test_a_chain_of_5000_links_is_a_page_of_rows() -> None:
    graph = shape("chain", links=5000)
    places = places_of(graph)
    assert len(set(places)) == 5001
    assert all(1 <= math.dist(places[edge.first], places[edge.second]) < 1.2 for edge in graph.edges)
    assert 1 < max(x for x, _ in places) / max(y for _, y in places) < 2


@pytest.mark.parametrize("count", [61, 62, 63, 100, 103, 107, 1000, 1001])
def test_a_long_ring_is_drawn_in_rows(count: int) -> None:
    graph = shape("ring", nodes=count)
    places = places_of(graph)
    assert len(set(places)) == count
    assert all(math.dist(places[edge.first], places[edge.second]) < 1.5 for edge in graph.edges)
    assert max(at for place in places for at in place) < 2.2 * math.sqrt(count)  # and not a circle with nothing in it


@pytest.mark.parametrize(
    ("name", "sizes"), [("star", {"spokes": 1600}), ("leaf-spine", {"leaves": 40, "spines": 4, "hosts": 40})]
)
def test_leaves_have_room_around_what_they_hang_on(name: str, sizes: dict[str, int]) -> None:
    graph = shape(name, **sizes)
    places = places_of(graph)
    leaves = {
        vertex for vertex, degree in Counter(end for edge in graph.edges for end in edge[:2]).items() if degree == 1
    }
    assert len(leaves) == 1600
    near = [math.dist(places[one], places[other]) for one in leaves for other in leaves if one < other]
    assert sum(distance < 0.5 for distance in near) < 320
    assert max(near) < 80
    assert all(math.dist(places[edge.first], places[edge.second]) < 24 for edge in graph.edges if {*edge[:2]} & leaves)


def test_a_large_tree_has_few_crossings() -> None:
    assert crossings(shape("tree", depth=8, fanout=2)) < 30


def test_the_names_of_a_small_graph_all_have_room() -> None:
    graph = shape("leaf-spine", leaves=8, spines=4, hosts=4)
    spacing = spacing_of(len(graph.vertices))
    points = [(x * spacing, y * spacing) for x, y in places_of(graph)]
    room = Room(points)
    boxes = (around(*point, name_width(one.name), 20) for point, one in zip(points, graph.vertices, strict=True))
    assert all(room.take(box, point) for box, point in zip(boxes, points, strict=True))


@settings(max_examples=60)
@given(st.data())
def test_any_graph_has_a_place_for_each_vertex(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 30))
    numbers = st.integers(0, max(count - 1, 0))
    pairs = data.draw(st.lists(st.tuples(numbers, numbers), max_size=50 if count else 0))
    graph = graph_with(count, pairs)
    places = places_of(graph)
    assert len(places) == count == len(set(places))
    assert all(math.isfinite(at) and at >= 0 for place in places for at in place)
    assert places == places_of(graph)


def test_only_a_picture_that_needs_places_imports_the_layout_library() -> None:
    program = (
        "import sys; from kokofast.cli.main import run; code = run(sys.argv[1:]); "
        "assert 'igraph' not in sys.modules; sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "graph", "-", "--no-state", "--format"]
    for format, code in (("dot", 0), ("mmd", 0), ("svg", 1)):
        done = subprocess.run([*command, format], input='[["a", "b"]]', capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
