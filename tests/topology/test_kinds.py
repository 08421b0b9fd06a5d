"""Kinds that exist here only: what a kind declares is all that the package topology needs to know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from kokofast.kinds import KINDS, macvlan
from kokofast.kinds.fields import Field
from kokofast.kinds.kind import Kind
from kokofast.topology import load
from kokofast.topology.model import Address, Topology
from tests.topology.test_load import problems, tree_problems


def create(*arguments: object) -> Mapping[str, object]:
    raise NotImplementedError


TUNNEL = Kind(
    "tunnel",
    ends=1,
    fields=(
        Field("parent", "interface", "where it stands"),
        Field("remote", "ip", "the other side", required=True),
        Field("key", "int", "which one", minimum=1, maximum=100, required=True),
        Field("port", "int", "UDP port", minimum=1, maximum=65535, default=4000),
        Field("mode", "choice", "how", choices=("fast", "safe"), default="safe"),
        Field("learning", "bool", "learn"),
        Field("label", "str", "words"),
    ),
    mtu=(68, 2000),
    create=create,
)
TWIN = Kind(
    "twin",
    ends=2,
    fields=(
        Field("key", "int", "which one", minimum=0, maximum=2000),
        Field("mode", "choice", "how", choices=("even", "odd")),
    ),
    mtu=(1000, 9000),
    create=create,
)
# English says "an" before it.
INNER = Kind("inner", ends=1, fields=(), mtu=(68, 2000), create=create, own_mac=lambda _: False)
GOOD: dict[str, Any] = {"type": "tunnel", "endpoint": "r:eth0:10.0.0.1/24", "remote": "192.0.2.9", "key": 7}


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch, veth_only: None) -> None:
    monkeypatch.setitem(KINDS, "tunnel", TUNNEL)
    monkeypatch.setitem(KINDS, "twin", TWIN)
    monkeypatch.setitem(KINDS, "inner", INNER)


def load_tree(tree: object) -> Topology:
    return load(json.dumps(tree).encode(), filename="links.json")


def test_one_end_and_its_options() -> None:
    topology = load_tree([GOOD | {"parent": "up:eth9", "mac": "02:00:00:00:00:01", "mtu": 1400}])
    (link,) = topology.links
    assert (link.kind, link.title(), link.ends[0].place) == ("tunnel", "r:eth0", "$[0].endpoint")
    assert dict(link.options) == {
        "parent": "up:eth9",
        "remote": Address(2, bytes((192, 0, 2, 9)), 32, "192.0.2.9"),
        "key": 7,
        "port": 4000,
        "mode": "safe",
        "learning": None,
        "label": None,
    }
    assert (link.where("key"), link.where("port")) == ("$[0].key", "$[0]")
    assert (link.ends[0].mtu, link.ends[0].mac) == (1400, bytes.fromhex("020000000001"))
    assert set(topology.nodes) == {"r", "up"}


def test_defaults_reach_the_kinds_that_have_them() -> None:
    bare = {"type": "tunnel", "endpoint": "r:eth0"}
    defaults = {"remote": "2001:db8::1", "key": 5, "mtu": 1500}
    tunnel, veth = load_tree({"defaults": defaults, "links": [bare, {"endpoints": ["a:b", "c:d"]}]}).links
    assert (tunnel.options["key"], tunnel.where("key")) == (5, "$.defaults.key")
    assert (veth.options, veth.ends[0].mtu, veth.ends[0].where("mtu")) == ({}, 1500, "$.defaults.mtu")
    (typed,) = load_tree({"defaults": {"type": "twin", "mode": "odd"}, "links": [{"endpoints": ["a:b", "c:d"]}]}).links
    assert (typed.kind, typed.options) == ("twin", {"key": None, "mode": "odd"})


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"remote": "x"}, ["$[0].remote: 'x' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64"]),
        ({"remote": "10.0.0.1/8"}, ["$[0].remote: '10.0.0.1/8' has a prefix length, which does not belong here"]),
        ({"key": 0}, ["$[0].key: must be a whole number from 1 to 100, not 0"]),
        ({"mode": "slow"}, ["$[0].mode: must be one of fast, safe, not 'slow'"]),
        ({"learning": 1}, ["$[0].learning: must be true or false, not 1"]),
        ({"label": "a\nb"}, ["$[0].label: 'a\\nb' has a control character in it"]),
        ({"parent": "up:"}, ["$[0].parent: the interface name is empty"]),
        ({"parent": "a/b:eth0"}, ["$[0].parent: the namespace name 'a/b' is not a file name: no '/', not '.' or '..'"]),
        ({"mtu": 2001}, ["$[0].mtu: must be a whole number from 68 to 2000, not 2001"]),
        ({"endpoint": {"interface": "r"}}, ["$[0].endpoint: an endpoint needs 'node'"]),
        (
            {"endpoint": ["a:b"]},
            ["$[0].endpoint: must be 'node', 'node:interface[:address,...]' or an object, not a list"],
        ),
    ],
)
def test_problems(wrong: dict[str, Any], expected: list[str]) -> None:
    assert tree_problems([GOOD | wrong]) == expected


def test_missing_options_and_ends() -> None:
    assert tree_problems([{"type": "tunnel", "endpoint": "a:b"}]) == [
        "$[0]: a tunnel link needs 'remote'",
        "$[0]: a tunnel link needs 'key'",
    ]
    found = tree_problems({"defaults": {"key": 0}, "links": [{"type": "tunnel", "endpoint": "a:b", "remote": "::2"}]})
    assert found == ["$.defaults.key: must be a whole number from 1 to 100, not 0"]
    # A wrong value is not also a missing one.
    assert tree_problems([GOOD | {"key": "x"}]) == ["$[0].key: must be a whole number from 1 to 100, not 'x'"]
    assert tree_problems([{"type": "tunnel", "endpoints": ["a:b"]}]) == [
        "$[0]: a tunnel link needs 'endpoint'",
        "$[0].endpoints: unknown key 'endpoints'; did you mean 'endpoint'?",
    ]


def test_defaults_out_of_one_kinds_range() -> None:
    links = [GOOD, {"type": "twin", "endpoints": ["a:b", "c:d"]}]
    found = tree_problems({"defaults": {"mtu": 500, "key": 1500}, "links": links})
    assert found == [
        "$.defaults.mtu: must be a whole number from 1000 to 9000, not 500",
        "$.defaults.key: must be a whole number from 1 to 100, not 1500",
    ]


def test_a_kind_without_a_mac_address_of_its_own() -> None:
    inner = {"type": "inner", "endpoint": "r:eth0"}
    sentence = "an inner interface has its parent's MAC address; leave mac out"
    assert tree_problems([inner | {"mac": "02:00:00:00:00:01"}]) == [f"$[0].mac: {sentence}"]
    end = {"node": "r", "interface": "eth0", "mac": "02:00:00:00:00:01"}
    assert tree_problems([inner | {"endpoint": end}]) == [f"$[0].endpoint.mac: {sentence}"]
    found = tree_problems({"defaults": {"mac": "02:00:00:00:00:01"}, "links": [inner]})
    assert found == [f"$.defaults.mac: {sentence}"]
    assert load_tree([inner]).links[0].ends[0].mac is None


def test_a_macvlan_that_passes_through_has_its_parents_mac_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "macvlan", macvlan.KIND)
    link = {"type": "macvlan", "endpoint": "r:eth0", "parent": "r:up", "mac": "02:00:00:00:00:01"}
    assert load_tree([link]).links[0].ends[0].mac is not None
    (found,) = tree_problems([link | {"mode": "passthru"}])
    assert found == "$[0].mac: a macvlan interface has its parent's MAC address; leave mac out"
    (found,) = tree_problems({"defaults": {"mode": "passthru"}, "links": [link]})
    assert found.startswith("$.links[0].mac: ")


@pytest.mark.parametrize(("cell", "value"), [("true", True), ("TRUE", True), ("false", False), ("", None)])
def test_csv_true_and_false(cell: str, value: bool | None) -> None:
    text = f"type,a_node,a_if,remote,key,learning\ntunnel,r,eth0,192.0.2.9,7,{cell}\n"
    (link,) = load(text.encode(), filename="links.csv").links
    assert link.options["learning"] is value
    assert problems(text.replace(f"7,{cell}", "7,yes"), "links.csv") == [
        "links.csv:2 learning: must be true or false, not 'yes'"
    ]


def test_csv() -> None:
    header = "type,a_node,a_if,a_ip,b_node,b_if,parent,remote,key,port,mode\n"
    rows = "tunnel,r,eth0,10.0.0.1/8,,,eth1,192.0.2.9,7,,fast\ntwin,a,b,,c,d,,,,,\n"
    tunnel, twin = load((header + rows).encode(), filename="links.csv").links
    assert (tunnel.options["key"], tunnel.options["port"], tunnel.options["mode"]) == (7, 4000, "fast")
    assert tunnel.where("remote") == "links.csv:2 remote"
    assert len(twin.ends) == 2
    wrong = "tunnel,r,eth0,,b,,,192.0.2.9,x,,\ntwin,a,b,,c,d,,192.0.2.9,,,\n"
    assert problems(header + wrong, "links.csv") == [
        "links.csv:2 b_node: a tunnel link has one end: leave b_node blank",
        "links.csv:2 key: must be a whole number from 1 to 100, not 'x'",
        "links.csv:3 remote: a twin link has no 'remote'",
    ]


def test_csv_a_parents_node_with_its_kind() -> None:
    header = "type,a_node,a_if,parent,remote,key\n"
    text = header + "tunnel,r,eth0,netns:up:eth9,192.0.2.9,7\ntunnel,r,eth1,pid:4711:eth9,192.0.2.9,8\n"
    topology = load(text.encode(), filename="links.csv")
    assert [link.options["parent"] for link in topology.links] == ["up:eth9", "pid:4711:eth9"]
    assert {name: node.kind for name, node in topology.nodes.items()} == {
        "r": "netns",
        "up": "netns",
        "pid:4711": "pid",
    }
    assert problems(header + "tunnel,r,eth0,pidd:1:eth9,192.0.2.9,7\n", "links.csv") == [
        "links.csv:2 parent: unknown node kind 'pidd'; did you mean 'pid'?"
    ]


@pytest.mark.parametrize("text", ["0.0.0.0", "::"])
def test_no_hosts_address(text: str) -> None:
    assert tree_problems([GOOD | {"remote": text}]) == [
        f"$[0].remote: '{text}' is the unspecified address; a tunnel needs that of a host or a group"
    ]
