"""A timeline is split: the parts of each epoch together do what the epoch does."""

# ruff: noqa: E501 - a table row is one line

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.splitting.split import Split
from kokofast.splitting.timeline import SplitTimeline
from kokofast.timeline.read import Reader
from kokofast.topology import TopologyError
from kokofast.topology.change import make_change
from kokofast.topology.live import LiveTopology
from kokofast.topology.model import Topology
from tests.splitting.test_split import NODES, X, lab, parts_of, properties, split_tree

Lines = dict[str, list[dict[str, Any]]]


def split_epochs(tree: object, *epochs: object) -> Lines:
    """The lines of each host, without those numbers that come from hashes."""
    found = split_all(split_tree(tree)[1], *epochs)
    for lines in found.values():
        for line in lines:
            for link in line.get("add", ()):
                if isinstance(link, dict):
                    link.pop("vni", None)
    return found


def split_all(found: Split, *epochs: object) -> Lines:
    splits, reader = SplitTimeline(found), Reader()
    lines: Lines = {host: [] for host in found.parts}
    for number, epoch in enumerate(epochs, 1):
        for host, line in splits.split(reader.read(json.dumps(epoch), f"t.jsonl:{number}")).items():
            lines[host].append(line)
    return lines


CROSS = ["a:x", "c:x"]
INSIDE = ["a:y", "b:y"]
OTHER = {"endpoint": "c:x"}


@pytest.mark.parametrize(
    ("epoch", "h1", "h2"),
    [
        ({"set": [{"endpoints": CROSS, "rate": "1mbit"}]}, {"set": [{"endpoint": "a:x", "rate": "1mbit"}]}, {"set": [{**OTHER, "rate": "1mbit"}]}),
        ({"set": [{"endpoints": ["a", "c"], "mtu": 1450}]}, {"set": [{"endpoint": "a:x", "mtu": 1450}]}, {"set": [{**OTHER, "mtu": 1450}]}),
        ({"set": [{"endpoint": "c:x:10.0.0.1/24", "delay": None}]}, None, {"set": [{**OTHER, "delay": None}]}),
        ({"set": [{"endpoints": INSIDE, "mtu": 9000}]}, {"set": [{"endpoints": INSIDE, "mtu": 9000}]}, None),
        ({"set": [{"select": "*:x", "loss": "1%"}]}, {"set": [{"select": "*:x", "loss": "1%"}]}, {"set": [{"select": "*:x", "loss": "1%"}]}),
        ({"set": [{"select": "a:*", "loss": "1%"}]}, {"set": [{"select": "a:*", "loss": "1%"}]}, None),
        ({"remove": [CROSS]}, {"remove": [{"endpoint": "a:x"}]}, {"remove": [OTHER]}),
        ({"remove": [{"endpoint": "a:x"}]}, {"remove": [{"endpoint": "a:x"}]}, {"remove": [OTHER]}),
        ({"remove": [INSIDE]}, {"remove": [{"endpoints": INSIDE}]}, None),
        ({"remove": [{"select": "a:*"}]}, {"remove": [{"select": "a:*"}]}, {"remove": [OTHER]}),
        ({"remove": [{"select": "*"}]}, {"remove": [{"select": "*"}]}, {"remove": [{"select": "*"}]}),
        ({"add": [["b:z", "a:z"]]}, {"add": [["b:z", "a:z"]]}, None),
        (
            {"add": [{"endpoints": ["b:z", {"node": "d", "interface": "z"}], "delay": "1ms"}]},
            {"add": [{"type": "vxlan", "endpoint": "b:z", "parent": "eth0", "remote": "192.0.2.2", "delay": "1ms", "mtu": 1450}]},
            {"add": [{"type": "vxlan", "endpoint": {"node": "d", "interface": "z"}, "parent": "ens3", "remote": "192.0.2.1", "delay": "1ms", "mtu": 1450}]},
        ),
        (
            {"add": [{"endpoints": ["b:z", "d:z"], "between": {"type": "vlan", "id": 7}}]},
            {"add": [{"type": "vlan", "endpoint": "b:z", "parent": "eth0", "id": 7, "mtu": 1500}]},
            {"add": [{"type": "vlan", "endpoint": "d:z", "parent": "ens3", "id": 7, "mtu": 1500}]},
        ),
        ({"add": [{"type": "dummy", "endpoint": "d:z"}]}, None, {"add": [{"type": "dummy", "endpoint": "d:z"}]}),
        (
            {"run": [{"node": "d", "command": ["x", "y"]}, {"node": "a", "command": ["z"]}]},
            {"run": [{"node": "a", "command": ["z"]}]},
            {"run": [{"node": "d", "command": ["x", "y"]}]},
        ),
        ({}, None, None),
    ],
)  # fmt: skip
def test_each_host_gets_its_part(epoch: dict[str, Any], h1: Any, h2: Any) -> None:
    found = split_epochs(lab(CROSS, INSIDE), {"at": 5, **epoch})
    assert found == {host: [{"at": 5.0, **mine}] if mine else [] for host, mine in (("h1", h1), ("h2", h2))}


def test_epochs_of_others_and_dates() -> None:
    found = split_epochs(
        lab(CROSS),
        {"time": "2026-01-31T12:00:00Z", "links-update": [{"endpoint1": "a", "endpoint2": "c", "rate": "5mbit"}]},
        {"time": "2026-01-31T12:00:02Z", "links-del": [{"endpoint1": "a", "endpoint2": "c"}], "run": {"d": "ping x"}},
    )
    assert found["h2"] == [
        {"at": 0.0, "set": [{"endpoint": "c:x", "rate": "5mbit"}]},
        {"at": 2.0, "remove": [{"endpoint": "c:x"}], "run": [{"node": "d", "command": ["ping", "x"]}]},
    ]


def test_a_link_that_comes_back_has_its_number_again() -> None:
    links = lab(CROSS)
    _, found = split_tree(links)
    number = found.joints[0].number
    lines = split_all(
        found, {"at": 1, "remove": [CROSS]}, {"at": 2, "add": [CROSS]}, {"at": 3, "remove": [CROSS], "add": [CROSS]}
    )
    assert lines["h1"][1]["add"][0]["vni"] == number
    # The removed one is there until all else is done.
    assert lines["h1"][2]["add"][0]["vni"] != number
    assert [line["add"][0]["vni"] for line in lines["h1"][1:]] == [line["add"][0]["vni"] for line in lines["h2"][1:]]


@pytest.mark.parametrize(
    ("more", "epoch", "expected"),
    [
        ({}, {"set": [{"endpoints": CROSS, "mtu": 1500}]}, ["t.jsonl:1 set[0].mtu: 1500 is too large: a vxlan link between h1 and h2 has 1450; give at most that"]),
        (
            {},
            {"set": [{"select": "*", "offload": False}]},
            ["t.jsonl:1 set[0].offload: the link is between h1 and h2, and a vxlan link has no 'offload'; leave it out, or put both nodes on one host"] * 2,
        ),
        ({}, {"add": [["a:z", "e:z"]]}, ["t.jsonl:1 add[0]: 'e' has no host: give it one in 'nodes' of the file"]),
        (
            {},
            {"add": [{"endpoints": ["a:z", "c:z"], "mtu": 9000}]},
            ["t.jsonl:1 add[0].mtu: 9000 is too large: h1 and h2 carry 1500 bytes between them, of which a vxlan link leaves 1450; give at most 1450, or the hosts the mtu that they have"],
        ),
        ({}, {"run": {"node": "x", "command": ["y"]}}, ["t.jsonl:1 run.node: the lab has no node 'x' at this time"]),
        ({}, {"remove": [["a:z", "b:z"]]}, ["t.jsonl:1 remove[0].endpoints: there is no link 'a:z--b:z' at this time"]),
        ({"between": {"vni": "9-9"}}, {"add": [["a:z", "c:z"]]}, ["t.jsonl:1 add[0]: x"]),
        ({"routing": "shortest-path"}, {"set": [{"endpoints": CROSS, "cost": 3}]}, ["t.jsonl:1 set[0]: would change the routes of the lab, and a part has routes of its own: leave out 'routing'"]),
        ({"routing": "shortest-path"}, {"remove": [CROSS]}, ["t.jsonl:1 remove[0]: would change the routes of the lab, and a part has routes of its own: leave out 'routing'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_split(more: dict[str, Any], epoch: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(TopologyError) as failed:
        split_epochs(lab(CROSS, INSIDE, **more), {"at": 1, **epoch})
    if "between" in more:
        expected = ["$.between: vni 9 is taken at this time; give each link its own"]
    assert [f"{problem.place}: {problem.message}" for problem in failed.value.problems] == list(dict.fromkeys(expected))


def test_impairments_change_with_routing() -> None:
    tree = lab(X, routing="shortest-path", defaults={"subnet": "10.0.0.0/24"})
    assert split_epochs(tree, {"at": 1, "set": [{"select": "a:*", "delay": "1ms"}]})["h1"]


ENDS = [f"{node}:{ifname}" for node in NODES for ifname in ("i", "j")]
PAIRS = st.lists(st.sampled_from(ENDS), min_size=2, max_size=2, unique=True)
VALUES = st.fixed_dictionaries(
    {}, optional={"delay": st.sampled_from(["1ms", "9ms"]), "mtu": st.sampled_from([1300, 1450]), "up": st.booleans()}
)
NAMED = st.one_of(
    PAIRS.map(lambda ends: {"endpoints": ends}),
    st.lists(st.sampled_from(list(NODES)), min_size=2, max_size=2).map(lambda nodes: {"endpoints": nodes}),
    st.sampled_from(ENDS).map(lambda end: {"endpoint": end}),
    st.sampled_from(["*", "a:*", "*:i", "[ac]:j"]).map(lambda text: {"select": text}),
)
EPOCHS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "remove": st.lists(NAMED | PAIRS, max_size=2),
            "set": st.lists(st.builds(lambda name, values: {**name, **values}, NAMED, VALUES), max_size=2),
            "add": st.lists(
                PAIRS | st.builds(lambda ends, values: {"endpoints": ends, **values}, PAIRS, VALUES), max_size=3
            ),
        },
    ),
    max_size=5,
)


def ends_of(links: Any, topology: Topology) -> dict[tuple[str, str], dict[str, object]]:
    return {(end.node, end.ifname): properties(end, None) for link in links for end in link.ends}


@given(st.lists(PAIRS, min_size=1, max_size=5), EPOCHS)
def test_the_parts_together_do_what_the_whole_does(links: list[Any], epochs: list[dict[str, Any]]) -> None:
    try:
        whole, found = split_tree(lab(*links, between={"vni": "1-200"}))
    except TopologyError:
        return
    topologies = parts_of(found)
    live = LiveTopology(whole)
    parts = {name: LiveTopology(part) for name, part in topologies.items()}
    splits, reader = SplitTimeline(found), Reader()
    for epoch in epochs:
        read = reader.read(json.dumps({"at": 1, **epoch}), "t.jsonl:1")
        try:
            make_change(live, read.changes, read.where)
        except TopologyError:
            continue
        for host, line in splits.split(read).items():
            mine = Reader().read(json.dumps(line), "part")
            make_change(parts[host], mine.changes, mine.where)
        wanted = ends_of(live.links.values(), whole)
        there = {end: one for part in parts.values() for end, one in ends_of(part.links.values(), part.whole()).items()}
        for end, one in there.items():
            if one["mtu"] == 1450 and wanted[end]["mtu"] is None:  # of a link between hosts
                one["mtu"] = None
        assert there == wanted
        numbers = [link.options["vni"] for part in parts.values() for link in part.links.values() if link.options]
        across = sum(len({whole.nodes[end.node].host for end in link.ends}) > 1 for link in live.links.values())
        assert len(numbers) == 2 * across
        assert len(set(numbers)) == across
