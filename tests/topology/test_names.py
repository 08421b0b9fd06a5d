"""Names of interfaces whose file gives none."""

# ruff: noqa: E501 - a table row is one line, so that file and words are read together

from __future__ import annotations

import json
from typing import Any

import pytest

from kokofast.topology import load
from kokofast.topology.model import Topology
from kokofast.topology.values import check_ifname
from tests.topology.test_load import problems, tree_problems

TAKEN = "which has no name in the file and got this one; name it, or put this link before it"


def loaded(tree: object, **options: Any) -> Topology:
    return load(json.dumps(tree).encode(), filename="links.json", **options)


def titles(topology: Topology) -> list[str]:
    return [link.title() for link in topology.links]


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([["a", "b"], ["b", "c"]], ["a:eth0--b:eth0", "b:eth1--c:eth0"]),
        ([["a", "a"], ["a", "b"]], ["a:eth0--a:eth1", "a:eth2--b:eth0"]),
        ([{"endpoints": ["a", {"node": "b"}], "mtu": 1400}], ["a:eth0--b:eth0"]),
        ([["a", {"node": "b", "addresses": ["10.0.0.1/31"]}], ["b", "a"]], ["a:eth0--b:eth0", "b:eth1--a:eth1"]),
        # What the file gives before is passed over, and leaves no gap that is filled later.
        ([["a:eth0", "b:eth1"], ["a", "b"], ["a", "b"]], ["a:eth0--b:eth1", "a:eth1--b:eth0", "a:eth2--b:eth2"]),
        ([["a:eth1", "b:x"], ["a", "b"], ["a", "b"]], ["a:eth1--b:x", "a:eth0--b:eth0", "a:eth2--b:eth1"]),
        ([["a", "b"], ["a:eth7", "b:eth00"], ["a", "b"]], ["a:eth0--b:eth0", "a:eth7--b:eth00", "a:eth1--b:eth1"]),
        ([["a:eth0", "a"]], ["a:eth0--a:eth1"]),
        ([{"type": "dummy", "endpoint": "a"}, ["a", "b"]], ["a:eth0", "a:eth1--b:eth0"]),
        # The parent is the interface that the first link makes.
        ([["a", "b"], {"type": "vlan", "id": 7, "parent": "a:eth0", "endpoint": "a"}], ["a:eth0--b:eth0", "a:eth1"]),
    ],
)
def test_names(links: list[object], expected: list[str]) -> None:
    assert titles(loaded(links)) == expected
    for number in range(len(links)):
        assert titles(loaded(links[:number])) == expected[:number]


def test_names_of_each_kind_of_node() -> None:
    nodes: dict[str, dict[str, object]] = {
        "n": {"netns": "blue"},
        "same": {"path": "/var/run/netns/blue"},
        "p": {"path": "/proc/4711/ns/net"},
        "pid": {"pid": 4711},
        "d": {"docker": "web"},
        "web": {"docker": "web"},
        "o": {"podman": "web"},
        "c": {"cri": "3f2a"},
        "me": {"host": True},
    }
    links = [["n", "same"], ["p", "pid"], ["d", "web"], ["o", "c"], ["me", "n"], ["me", "d"]]
    assert titles(loaded({"name": "fabric1", "nodes": nodes, "links": links})) == [
        "n:eth0--same:eth1",
        "p:eth1--pid:eth1",
        "d:eth1--web:eth2",
        "o:eth1--c:eth1",
        "me:fabric1-0--n:eth2",
        "me:fabric1-1--d:eth3",
    ]


def test_names_at_the_host_are_those_of_the_lab() -> None:
    tree = {"nodes": {"me": {"host": True}}, "links": [["me", "r"]]}
    names = [loaded(tree, name=lab).links[0].ends[0].ifname for lab in ("a", "experiment-1", "experiment-2", "x" * 64)]
    assert names == ["a-0", "exp4eb9-0", "exp1f03-0", "xxxac12-0"]
    assert all(check_ifname(name[:-1] + "1999999") for name in names)  # a million links, both ends at the host


@pytest.mark.parametrize(
    ("text", "filename"),
    [
        ('[["a", "b"], ["b", "c"]]', "l.json"),
        ('{"links": [["a", "b"], ["b", "c"]]}', "l.json"),
        ('["a", "b"]\n["b", "c"]\n', "l.jsonl"),
        ('{"endpoints": ["a", "b"]}\n["b", {"node": "c"}]\n', "l.jsonl"),
        ("links:\n- [a, b]\n- [b, c]\n", "l.yaml"),
        ("- [a, b]\n- [b, c]\n", "l.yaml"),
        ("a_node,b_node\na,b\nb,c\n", "l.csv"),
        ("a_node,a_if,b_node,b_if\na,,b,\nb,,c,\n", "l.csv"),
    ],
)
def test_formats(text: str, filename: str) -> None:
    for name in (filename, "-"):
        assert titles(load(text.encode(), filename=name)) == ["a:eth0--b:eth0", "b:eth1--c:eth0"]


def test_a_line_of_two_nodes_is_a_link_on_standard_input_too() -> None:
    assert titles(load(b'["a", "b"]', filename="-")) == ["a:eth0--b:eth0"]
    assert problems('["a", "b"]', "l.json") == [
        f"$[{number}]: a link must be an object, or a list of its endpoints, not '{node}'" for number, node in enumerate("ab")
    ]  # fmt: skip


def test_a_declared_node_with_a_colon_in_its_name() -> None:
    tree = {"nodes": {"x:y": {"netns": "blue"}}, "links": [["x:y", "x:z"], ["x:y:e", "x:y"]]}
    assert titles(loaded(tree)) == ["x:y:eth0--x:z", "x:y:e--x:y:eth1"]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ([["a", "b"], ["c:x", "a:eth0"]], [f"$[1][1]: 'a:eth0' is already the end at $[0][0], {TAKEN}"]),
        ({"links": [{"endpoints": ["a", "b"]}, {"endpoints": ["c:x", "b:eth0"]}]},
         [f"$.links[1].endpoints[1]: 'b:eth0' is already the end at $.links[0].endpoints[1], {TAKEN}"]),
        ([["a:eth0", "b:x"], ["a:eth0", "c"]], ["$[1][0]: 'a:eth0' is already the end at $[0][0]"]),
        ([["a", "b:"]], ["$[0][1]: the interface name is empty; without the colon the end gets one by itself"]),
        ([["a", ""]], ["$[0][1]: the node name is empty"]),
        ([["a", "host"]], ["$[0][1]: 'host' is not declared: for the caller's namespace: \"nodes\": {\"host\": {\"host\": true}}, in CSV host:; for one of that name: {\"host\": {\"netns\": \"host\"}}, in CSV netns:host"]),
        ([["a", "b", "c"]], ["$[0]: a veth link has 2 ends, not 3"]),
        ([[]], ["$[0]: a veth link has 2 ends, not 0"]),
        ([["a", {"node": "b", "mtuu": 5}]], ["$[0][1].mtuu: unknown key 'mtuu'; did you mean 'mtu'?"]),
        # One whose name is wrong gets no other, which another end could be in the way of.
        ([["a", {"node": "b", "interface": 5}], ["a:x", "b:eth0"]], ["$[0][1].interface: must be an interface's name, not 5"]),
        ({"defaults": {"type": "dummy"}, "links": [["a", "b"]]}, ["$.links[0]: a dummy link needs 'endpoint'", "$.links[0]: unknown key 'endpoints'; did you mean 'endpoint'?"]),
    ],
)  # fmt: skip
def test_problems(tree: object, expected: list[str]) -> None:
    assert tree_problems(tree) == expected


def test_places_of_a_list_have_lines_and_columns() -> None:
    found = problems('["a", "b"]\n["c:x", {"node": "d", "mtu": 1}]\n', "l.jsonl")
    assert found == ["l.jsonl:2 [1].mtu: must be a whole number from 68 to 65535, not 1"]
    for text, filename, position in (
        ('[["a", "b"],\n ["c:x", {"node": "d", "mtu": 1}]]', "l.json", "l.json:2:24"),
        ("- [a, b]\n- ['c:x', {node: d, mtu: 1}]\n", "l.yaml", "l.yaml:2:21"),
    ):
        with pytest.raises(Exception, match=r"must be a whole number") as caught:
            load(text.encode(), filename=filename)
        assert str(caught.value).startswith(f"{position} $[1][1].mtu: ")
