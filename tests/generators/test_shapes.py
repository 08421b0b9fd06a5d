"""Shapes: their numbers of nodes and links, that they are connected, and that each format has the same topology."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.generators.shape import REQUIRED
from kokofast.generators.shapes import SHAPES
from kokofast.generators.wiring import generate
from kokofast.topology import load
from kokofast.topology.write import WRITERS

# (shape, sizes, nodes, links): by the formulas of the literature, written out.
COUNTED = [
    ("chain", {"links": 5}, 6, 5),
    ("ring", {"nodes": 7}, 7, 7),
    ("star", {"spokes": 9}, 10, 9),
    ("tree", {"depth": 3, "fanout": 3}, 1 + 3 + 9 + 27, 3 + 9 + 27),
    ("tree", {"depth": 4, "fanout": 1}, 5, 4),
    ("mesh", {"nodes": 6}, 6, 15),
    ("grid", {"rows": 3, "columns": 4}, 12, 3 * 3 + 2 * 4),
    ("grid", {"rows": 1, "columns": 2}, 2, 1),
    ("torus", {"rows": 3, "columns": 4}, 12, 24),
    ("leaf-spine", {"leaves": 4, "spines": 2, "hosts": 3}, 4 + 2 + 12, 8 + 12),
    ("leaf-spine", {"leaves": 4, "spines": 2}, 6, 8),
    ("fat-tree", {"k": 4}, 4 + 8 + 8 + 16, 16 + 16 + 16),
    ("fat-tree", {"k": 4, "hosts": 0}, 4 + 8 + 8, 32),
    ("random", {"nodes": 10, "links": 9}, 10, 9),
    ("random", {"nodes": 10, "links": 45}, 10, 45),
    ("scale-free", {"nodes": 20, "attach": 3}, 20, 3 * 17),
]


def pairs(topology: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the nodes of each link."""
    return [tuple(end.partition(":")[0] for end in link["endpoints"]) for link in topology["links"]]


def reached(links: list[tuple[str, str]]) -> set[str]:
    """Return the nodes that the first one reaches."""
    beside: dict[str, list[str]] = defaultdict(list)
    for one, other in links:
        beside[one].append(other)
        beside[other].append(one)
    found, waiting = {links[0][0]}, [links[0][0]]
    while waiting:
        waiting += (new := set(beside[waiting.pop()]) - found)
        found |= new
    return found


@pytest.mark.parametrize(("shape", "sizes", "nodes", "links"), COUNTED, ids=str)
def test_nodes_and_links(shape: str, sizes: dict[str, Any], nodes: int, links: int) -> None:
    topology = generate(shape, **sizes)
    found = pairs(topology)
    assert len(found) == links
    assert len({node for pair in found for node in pair}) == len(reached(found)) == nodes
    assert len({frozenset(pair) for pair in found}) == links  # no two links between the same nodes, no link to itself
    ends = [end.rsplit(":", 1)[0] for link in topology["links"] for end in link["endpoints"]]
    assert len(set(ends)) == len(ends)


@st.composite
def sized(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a shape and sizes, valid or not."""
    shape = draw(st.sampled_from(sorted(SHAPES)))
    sizes = {}
    for size in SHAPES[shape].sizes:
        if size.default == REQUIRED or draw(st.booleans()):
            sizes[size.name] = draw(st.integers(size.lowest - 1, size.lowest + 5))
    return shape, sizes


@given(sized())
def test_each_size_makes_a_graph_or_is_refused(drawn: tuple[str, dict[str, Any]]) -> None:
    shape, sizes = drawn
    try:
        topology = generate(shape, **sizes)
    except ValueError:
        return
    found = pairs(topology)
    assert len(reached(found)) == len({node for pair in found for node in pair})
    assert len({frozenset(pair) for pair in found}) == len(found)


def everything() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a small size of each shape."""
    seen = set()
    for shape, sizes, _, _ in COUNTED:
        if shape not in seen:
            seen.add(shape)
            yield shape, sizes


@pytest.mark.parametrize(("shape", "sizes"), list(everything()), ids=str)
def test_each_format_has_the_same_topology(shape: str, sizes: dict[str, Any]) -> None:
    topology = generate(shape, subnet="2001:db8::/64", delay="5ms", rate="1gbit", prefix="lab1-", **sizes)
    loaded = [
        load("\n".join(write(topology)).encode(), filename=f"x.{name}", name="x", create=True)
        for name, write in WRITERS.items()
    ]
    for one in loaded:
        assert [link.title() for link in one.links] == [link.title() for link in loaded[0].links]
        assert [[end.addresses for end in link.ends] for link in one.links] == [
            [end.addresses for end in link.ends] for link in loaded[0].links
        ]
        assert [[end.properties for end in link.ends] for link in one.links] == [
            [end.properties for end in link.ends] for link in loaded[0].links
        ]
        assert all(node.startswith("lab1-") for node in one.nodes)


@pytest.mark.parametrize(
    ("shape", "sizes", "digest"),
    [
        ("random", {"nodes": 100, "links": 300, "seed": 7}, "56064c266896577a"),
        ("random", {"nodes": 30, "links": 400, "seed": 1}, "4dfe1fc8ef56c4ea"),
        ("scale-free", {"nodes": 200, "attach": 2, "seed": 3}, "47d0ff65078a71c3"),
    ],
)
def test_a_seed_gives_the_same_graph_on_every_version(shape: str, sizes: dict[str, Any], digest: str) -> None:
    text = json.dumps(generate(shape, **sizes))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest
    assert json.dumps(generate(shape, **{**sizes, "seed": 99})) != text


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ("cube", {}, "unknown shape 'cube'"),
        ("ring", {"nodes": 2}, "nodes must be at least 3, not 2"),
        ("fat-tree", {"k": 3}, "k must be even, not 3"),
        ("random", {"nodes": 4, "links": 2}, "4 nodes take from 3 links, so that all are connected, to 6, not 2"),
        ("scale-free", {"nodes": 3, "attach": 3}, "attach must be less than the 3 nodes"),
        ("mesh", {"nodes": 5000}, "12497500 links are more than a file may have, 1000000"),
        ("tree", {"depth": 999_999_999}, "more links than a file may have"),
        ("star", {"spokes": 4, "subnet": "10.0.0.0/30"}, "has them for 2"),
        ("ring", {"nodes": 3, "delay": "5 parsec"}, "^delay: '5 parsec' is not a time"),
        ("ring", {"nodes": 3, "rate": "fast"}, "^rate: 'fast' is not a rate"),
        ("ring", {"nodes": 3, "subnet": "x"}, "^subnet: 'x' is not an IPv4 or IPv6 address"),
        ("ring", {"nodes": 3, "prefix": "a:b"}, "^prefix: 'a:b' cannot begin the names of nodes"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_line_is_made(shape: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        generate(shape, **options)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({}, "needs a size 'nodes'"),
        ({"nodes": 3, "k": 1}, "unknown size 'k'"),
        ({"nodes": "3"}, "is a whole number"),
        ({"nodes": 3, "delay": 5}, "^delay is a text, not 5"),
        ({"nodes": 3, "rate": 1.5}, "^rate is a text, not 1.5"),
        ({"nodes": 3, "subnet": ("10.0.0.0/8",)}, "^subnet is a text, not"),
        ({"nodes": 3, "prefix": None}, "^prefix is a text, not None"),
    ],
)
def test_wrong_arguments_of_the_library(sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        generate("ring", **sizes)
