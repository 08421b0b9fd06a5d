"""The part of a topology that a run looks at."""

from __future__ import annotations

import json

import pytest

from kokofast.topology import load
from kokofast.topology.problems import Problem
from kokofast.watching.part import Parts

LINKS = [
    {"endpoints": ["a:e0", "b:e0"]},
    {"type": "macvlan", "endpoint": "b:m0", "parent": "b:e0"},
    {"endpoints": ["c:e0", "d:e0"]},
    {"endpoints": [{"node": "d", "interface": "e1", "mirror": {"from": "e0", "direction": "both"}}, "e:e0"]},
    {"type": "bridge", "endpoint": "f:br0"},
    {"endpoints": [{"node": "f", "interface": "e0", "master": "br0"}, "g:e0"]},
]
TOPOLOGY = load(json.dumps({"name": "lab", "links": LINKS}).encode(), filename="lab.json")


@pytest.mark.parametrize(
    ("nodes", "links", "more"),
    [
        ({"a"}, {0, 1}, "b"),
        ({"b"}, {0, 1}, "a"),
        ({"c"}, {2, 3}, "de"),
        ({"e"}, {2, 3}, "cd"),
        ({"g"}, {4, 5}, "f"),
        ({"a", "c"}, {0, 1, 2, 3}, "bde"),
    ],
)
def test_links_that_need_each_other_are_looked_at_together(nodes: set[str], links: set[int], more: str) -> None:
    part = Parts(TOPOLOGY).of_nodes(nodes)
    assert {TOPOLOGY.links.index(link) for link in part.links} == links
    assert set(part.nodes) == nodes | set(more)


def test_what_is_left_out_takes_what_needs_it_along() -> None:
    parts = Parts(TOPOLOGY)
    assert parts.with_dependents([0]) == {0, 1}
    assert parts.with_dependents([5]) == {5}
    assert len(parts.all({0, 1}).links) == len(LINKS) - 2
    assert parts.all() is TOPOLOGY
    assert [link.title() for link in parts.of_nodes({"b"}, {0, 1}).links] == []


def test_a_problem_is_about_the_links_at_its_place() -> None:
    parts = Parts(TOPOLOGY)
    assert parts.at(Problem("$.links[3].endpoints[0].mirror", "")) == [3]
    assert parts.at(Problem("$.nodes.a", "")) == []
