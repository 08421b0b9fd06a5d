"""Nodes are placed: balanced, with few links between hosts, and together where they have to be."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.generators.wiring import generate
from kokofast.splitting.place import Placer
from kokofast.splitting.split import Split, split
from kokofast.topology import TopologyError
from kokofast.topology.loader import load_to_split

HOSTS = {f"h{number}": {"address": f"192.0.2.{number}", "parent": "eth0"} for number in range(1, 6)}


def placed(tree: dict[str, Any], wish: str = "", tag: str = "") -> Split:
    data = json.dumps({"name": "lab", "hosts": HOSTS, **tree}).encode()
    topology, document = load_to_split(data, filename="lab.json", placing=Placer(wish, tag))
    return split(topology, document)


def homes(found: Split) -> dict[str, str]:
    return {name: str(node.host) for name, node in found.topology.nodes.items()}


def test_a_torus_is_cut_where_it_is_thin() -> None:
    found = placed(generate("torus", rows=20, columns=20))
    loads = [len(part.links) for part in found.parts.values()]
    assert max(loads) <= 1.1 * sum(loads) / len(loads)
    assert len(found.joints) < 0.2 * 800  # at random 0.8 of them
    assert homes(found) == homes(placed(generate("torus", rows=20, columns=20)))


@pytest.mark.parametrize(
    ("wish", "expected"),
    [("", set(HOSTS)), ("2", {"h1", "h2"}), ("h5,h2,h5", {"h2", "h5"}), ("1", {"h1"}), ("h3", {"h3"})],
)
def test_the_hosts_of_a_wish(wish: str, expected: set[str]) -> None:
    assert set(homes(placed(generate("ring", nodes=30), wish)).values()) == expected


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("6", "--place 6: there are 5 hosts; give a number from 1 to 5, or their names"),
        ("0", "--place 0: there are 5 hosts; give a number from 1 to 5, or their names"),
        ("9" * 30, "--place 999999999: there are 5 hosts; give a number from 1 to 5, or their names"),
        ("h1,x", "--place: unknown host 'x'; known: h1, h2, h3, h4, h5"),
        ("h1,", "--place: unknown host ''; known: h1, h2, h3, h4, h5"),
    ],
)
def test_wishes_that_cannot_be_met(wish: str, expected: str) -> None:
    with pytest.raises(TopologyError) as failed:
        placed(generate("ring", nodes=30), wish)
    assert str(failed.value) == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ({}, "--place-by: no node has 'tags'; give it to those to be together"),
        ({"n0": {"netns": "n0", "tags": {"rack": "1"}}}, "--place-by: unknown tag 'rock'; did you mean 'rack'?"),
    ],
)
def test_a_tag_that_no_node_has(nodes: object, expected: str) -> None:
    with pytest.raises(TopologyError) as failed:
        placed({**generate("ring", nodes=30), "nodes": nodes}, "", "rock")
    assert str(failed.value) == expected


def test_nodes_of_one_tag_are_together() -> None:
    nodes = {f"n{number}": {"netns": f"n{number}", "tags": {"rack": str(number % 7)}} for number in range(40)}
    links = [[f"n{number}", f"n{number + 1}"] for number in range(39)]
    racks: dict[str, set[str]] = {}
    for name, host in homes(placed({"nodes": nodes, "links": links}, "", "rack")).items():
        racks.setdefault(nodes[name]["tags"]["rack"], set()).add(host)  # type: ignore[index]
    assert all(len(those) == 1 for those in racks.values())
    assert len(set.union(*racks.values())) == len(HOSTS)


def test_nodes_with_a_host_stay_there_and_draw_the_others() -> None:
    chain = [[f"a{number}", f"a{number + 1}"] for number in range(20)]
    other = [[f"b{number}", f"b{number + 1}"] for number in range(20)]
    tree = {"links": chain + other, "nodes": {"a0": {"host": "h2"}, "b0": {"host": "h1"}, "b1": {"host": "h1"}}}
    found = homes(placed(tree, "2"))
    assert {found[f"a{number}"] for number in range(21)} == {"h2"}
    assert {found[f"b{number}"] for number in range(21)} == {"h1"}


def test_what_has_to_be_together() -> None:
    links = [[f"n{number}", f"n{(number + 1) % 60}"] for number in range(60)]
    links += [
        {"type": "vlan", "endpoint": "n0:v", "parent": "n30:eth0", "id": 5},  # type: ignore[list-item]
    ]
    same = {"alias": {"netns": "n45"}, "n45": {"path": "/run/netns/n45"}}
    found = homes(placed({"links": [*links, ["alias", "n10"]], "nodes": same}))
    assert found["n0"] == found["n30"]
    assert found["alias"] == found["n45"]


def test_a_hub_is_alone() -> None:
    found = homes(placed(generate("star", spokes=100), "3"))
    assert sorted(Counter(found.values()).values()) == [1, 50, 50]


def test_segments_are_placed_with_their_ends() -> None:
    links = [{"type": "bridge", "endpoints": [f"{lan}{number}" for number in range(9)]} for lan in "abc"]
    assert not placed({"links": links}, "3").joints


def test_a_file_with_problems_is_not_placed() -> None:
    with pytest.raises(TopologyError) as failed:
        placed({"links": [["a", "b", "c"]]}, "9")
    assert [problem.place for problem in failed.value.problems] == ["$.links[0]"]


@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 60), st.randoms())
def test_every_node_gets_one_of_the_hosts(count: int, nodes: int, links: int, chance: random.Random) -> None:
    names = [f"n{number}" for number in range(nodes)]
    ends = [[chance.choice(names), chance.choice(names)] for _ in range(links)]
    declared = {
        name: {"host": chance.choice(list(HOSTS))} if chance.random() < 0.2 else {"netns": name} for name in names
    }
    found = homes(placed({"links": ends, "nodes": declared}, str(count)))
    for name in names:
        assert found[name] in list(HOSTS)[:count] or found[name] == declared[name].get("host")
