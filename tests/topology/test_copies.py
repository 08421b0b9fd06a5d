"""Loops of mirrors: copies that come back to be copied again, as far as the file alone tells."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from kokofast.topology import TopologyError, load
from kokofast.topology.copies import Flows
from tests.steps import Steps


def end(title: str, source: str = "", direction: str = "ingress", **more: Any) -> dict[str, Any]:
    node, _, ifname = title.partition(":")
    mirror = {"mirror": {"from": source, "direction": direction}} if source else {}
    return {"node": node, "interface": ifname, **mirror, **more}


def veth(first: Any, second: Any) -> dict[str, Any]:
    return {"endpoints": [first, second]}


def on(kind: str, endpoint: Any, parent: str, **options: Any) -> dict[str, Any]:
    return {"type": kind, "endpoint": endpoint, "parent": parent, **options}


def tunnel(endpoint: Any, parent: str, remote: str, vni: int = 7, **options: Any) -> dict[str, Any]:
    return on("vxlan", endpoint, parent, remote=remote, vni=vni, **options)


def loops(*links: Any, nodes: Any = None) -> list[tuple[str, str]]:
    """(place, the members) of each loop that is found."""
    data = json.dumps({"links": links, "nodes": nodes or {}}).encode()
    try:
        load(data, filename="f.json")
    except TopologyError as error:
        found = [(one.place, one.message) for one in error.problems]
        assert all("mirror loop" in message for _, message in found), found
        return [(place, message.split("end: ")[1].split(" (")[0]) for place, message in found]
    return []


UNDERLAY = veth("a:e0:192.0.2.1/24", "b:e0:192.0.2.2/24")
TAG = {"id": 5}

LOOPS = {
    "the other end of the same link": ([veth(end("a:l1", "l2"), "a:l2")], "a:l2 => a:l1 -> a:l2"),
    "both ways": ([veth(end("a:l1", "l2", "both"), "a:l2")], "a:l2 => a:l1 -> a:l2"),
    "two links": (
        [veth("a:y", end("b:y", "x")), veth(end("a:x", "y"), "b:x")],
        "b:x => b:y -> a:y => a:x -> b:x",
    ),
    "three links and nodes": (
        [veth(end("a:n", "p"), "b:p"), veth(end("b:n", "p"), "c:p"), veth(end("c:n", "p"), "a:p")],
        "a:p => a:n -> b:p => b:n -> c:p => c:n -> a:p",
    ),
    "what goes out": (
        [veth(end("a:x", "y", "egress"), "b:x"), veth(end("a:y", "x", "egress"), "b:y")],
        "a:y => a:x => a:y",
    ),
    "the carrier of a tunnel": (
        [UNDERLAY, tunnel(end("a:t", "e0", "egress"), "a:e0", "192.0.2.2")],
        "a:e0 => a:t -> a:e0",
    ),
    "a tunnel between two nodes": (
        [
            *(UNDERLAY, tunnel("a:t", "a:e0", "192.0.2.2"), tunnel(end("b:t", "x"), "b:e0", "192.0.2.1")),
            veth(end("a:x", "t"), "b:x"),
        ],
        "b:x => b:t -> a:t => a:x -> b:x",
    ),
    "a tunnel over a router": (
        [
            *(veth("a:e:192.0.2.1/24", "r:a"), veth("b:e:198.51.100.1/24", "r:b")),
            *(tunnel("a:t", "a:e", "198.51.100.1"), tunnel(end("b:t", "x"), "b:e", "192.0.2.1")),
            veth(end("a:x", "t"), "b:x"),
        ],
        "b:x => b:t -> a:t => a:x -> b:x",
    ),
    "tunnels of a multicast group": (
        [
            *(tunnel("a:t", "e0", "239.1.1.1"), tunnel(end("b:t", "x"), "h:e0", "239.1.1.1")),
            veth(end("a:x", "t"), "b:x"),
        ],
        "b:x => b:t -> a:t => a:x -> b:x",
    ),
    "a VLAN on both ends of a link": (
        [
            *(veth("a:e", "b:e"), on("vlan", "a:v", "a:e", **TAG), on("vlan", end("b:v", "x"), "b:e", **TAG)),
            veth(end("a:x", "v"), "b:x"),
        ],
        "b:x => b:v -> b:e -> a:e -> a:v => a:x -> b:x",
    ),
    "a macvlan takes what comes in at its parent": (
        [veth(end("a:x", "m"), "b:e"), on("macvlan", "a:m", "b:e")],
        "a:m => a:x -> b:e -> a:m",
    ),
    "ports of a bridge": (
        [
            {"type": "bridge", "endpoint": "s:br"},
            *(veth("a:e", end("s:p", master="br")), veth(end("a:t", "e"), end("s:q", master="br"))),
        ],
        "a:e => a:t -> s:q -> s:p -> a:e",
    ),
    "what a bridge itself sends": (
        [
            {"type": "bridge", "endpoint": "s:br"},
            *(veth("a:e", end("s:p", master="br")), veth(end("s:w", "br"), end("s:q", master="br"))),
        ],
        "s:br => s:w -> s:q -> s:br",
    ),
    "macvlans on one parent": (
        [on("macvlan", "a:m", "e0"), on("macvlan", end("b:m", "x"), "e0"), veth(end("a:x", "m"), "b:x")],
        "b:x => b:m -> a:m => a:x -> b:x",
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_refused_with_its_members(name: str) -> None:
    links, expected = LOOPS[name]
    (found,) = loops(*links)
    steps = expected.split(" ")[:-1]
    # Whichever member comes first.
    first = found[1].split(" ")[0]
    turn = steps.index(first)
    assert found[1] == " ".join([*steps[turn:], *steps[:turn], first])
    assert found[0].endswith(".mirror")


RIGHT: dict[str, list[Any]] = {
    "a patch": [veth(end("a:l", "r"), "b:e"), veth(end("a:r", "l"), "c:e")],
    "a watcher": [veth("a:e", "b:e"), veth(end("a:t", "e", "both"), "w:t")],
    "what goes out at the other end": [veth(end("a:l1", "l2", "egress"), "a:l2")],
    "what comes in by a tunnel's parent": [UNDERLAY, tunnel(end("a:t", "e0"), "a:e0", "192.0.2.2")],
    "two tunnels that are watched by two more over the same link": [
        UNDERLAY,
        *(tunnel("a:t", "a:e0", "192.0.2.2", 1), tunnel("b:t", "b:e0", "192.0.2.1", 1)),
        *(tunnel(end("a:w", "t"), "a:e0", "192.0.2.2", 2), tunnel(end("b:w", "t"), "b:e0", "192.0.2.1", 2)),
    ],
    "VLANs of other ids": [
        *(veth("a:e", "b:e"), on("vlan", "a:v", "a:e", id=5), on("vlan", end("b:v", "x"), "b:e", id=6)),
        veth(end("a:x", "v"), "b:x"),
    ],
    "a segment that is watched from elsewhere": [
        {"type": "bridge", "endpoints": ["a:e", "b:e", "c:e"]},
        veth(end("a:t", "e", "both"), "w:t"),
    ],
    "two segments": [
        {"type": "bridge", "endpoints": ["a:e", "b:e"]},
        {"type": "bridge", "endpoints": [end("a:t", "e"), "b:t"]},
    ],
    "beside what has no link": [
        {"type": "bridge", "endpoint": "a:br"},
        *({"type": "dummy", "endpoint": f"a:lo{number}"} for number in range(2)),
        veth(end("a:t", "br", "both"), "w:t"),
    ],
    "macvlans that do not reach each other": [
        *(on("macvlan", "a:m", "e0", mode="private"), on("macvlan", end("b:m", "x"), "e0", mode="private")),
        veth(end("a:x", "m"), "b:x"),
    ],
    "a macvlan that nobody else shares a parent with": [
        *(on("macvlan", end("b:m", "x"), "e0"), on("macvlan", "a:m", "e0")),
        veth(end("b:y", "m"), "b:x"),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_does_not_come_back_is_right(name: str) -> None:
    assert loops(*RIGHT[name]) == []


def test_two_names_of_one_namespace() -> None:
    links = [veth("a:y", end("b:y", "x")), veth(end("also-a:x", "y"), "b:x")]
    nodes = {"a": {"netns": "n"}, "also-a": {"path": "/run/netns/n"}}
    assert len(loops(*links, nodes=nodes)) == 1
    assert loops(*links) == []


def test_each_loop_once() -> None:
    links = [
        link
        for number in range(3)
        for link in (
            veth(f"a{number}:y", end(f"b{number}:y", "x", "both")),
            veth(end(f"a{number}:x", "y", "both"), f"b{number}:x"),
        )
    ]
    assert [place for place, _ in loops(*links)] == [f"$.links[{number}].endpoints[1].mirror" for number in (0, 2, 4)]


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_what_others_send_back_to_themselves_is_theirs(direction: str) -> None:
    flows = Flows({"a": "a"})
    flows.copies(("a", "x"), direction, ("a", "x"), None)
    flows.copies(("a", "x"), "ingress", ("a", "y"), "$.links[0].endpoints[0].mirror")
    assert flows.loops({}) == []


def test_a_ring_of_a_thousand() -> None:
    ring = [veth(end(f"n{number}:n", "p"), f"n{(number + 1) % 1000}:p") for number in range(1000)]
    ((_, members),) = loops(*ring)
    assert members.count("=>") == 1000
    assert loops(*ring[:-1], veth("n999:n", "n0:p")) == []


@pytest.mark.parametrize("shape", ["between two loops", "many tags on one parent"])
def test_a_mirror_costs_the_same_among_many(shape: str) -> None:
    def cost(count: int) -> int:
        flows = Flows({})
        if shape == "between two loops":  # on a way from one ring to another, and on none itself
            for ring in ("first", "last"):
                flows.copies((ring, "a"), "egress", (ring, "b"), None)
                flows.copies((ring, "b"), "egress", (ring, "a"), None)
            chain = [("first", "a"), *((str(number), "x") for number in range(count)), ("last", "a")]
            for here, there in itertools.pairwise(chain):
                flows.copies(here, "egress", there, "a mirror")
        else:
            flows.joins(("a", "e0"), ("b", "e0"))
            for number in range(count):
                for node in "ab":
                    data = {"id": number, "protocol": 0x8100}
                    flows.has_parent((node, f"v{number}"), (node, "e0"), "vlan", data)
                flows.copies(("a", "up0"), "ingress", ("a", f"v{number}"), "a mirror")
        with Steps() as steps:
            assert flows.loops({}) == []
        return steps.count

    cost(10)  # Python 3.13 counts the instructions of a function from its second call on
    few, many = cost(100), cost(200)
    assert many < 2.2 * few, (few, many)
