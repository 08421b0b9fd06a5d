"""Links with any number of ends: what they become, and where their problems are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kokofast.topology import TopologyError, load
from kokofast.topology.model import Topology
from kokofast.topology.segments import PORTS_MAX


def loaded(*links: object, **more: object) -> Topology:
    return load(json.dumps({"name": "lan", "links": links, **more}).encode(), filename="lan.json")


def places(*links: object, **more: object) -> list[tuple[str, str]]:
    with pytest.raises(TopologyError) as caught:
        loaded(*links, **more)
    return [(problem.place, problem.message) for problem in caught.value.problems]


def segment(*ends: object, **more: object) -> dict[str, Any]:
    return {"type": "bridge", "endpoints": list(ends), **more}


def test_a_bridge_and_a_veth_for_each_end() -> None:
    topology = loaded(segment("a:lan:10.0.0.1/24", "b", "c"), ["a", "b"])
    assert [link.title() for link in topology.links] == [
        "lan-segments:br0",
        "a:lan--lan-segments:br0p0",
        "b:eth0--lan-segments:br0p1",
        "c:eth0--lan-segments:br0p2",
        "a:eth0--b:eth1",
    ]
    assert [link.kind for link in topology.links] == ["bridge", "veth", "veth", "veth", "veth"]
    assert [end.properties.get("master") for end in topology.links[1].ends] == [None, "br0"]
    node = topology.nodes["lan-segments"]
    assert (node.kind, node.target, node.create) == ("netns", "lan-segments", True)
    assert not topology.nodes["a"].create


def test_a_segment_that_is_added_renames_nothing() -> None:
    links = [segment("a", "b"), segment("a", "c")]
    before = [link.title() for link in loaded(*links).links]
    after = [link.title() for link in loaded(*links, segment("b", "c"), ["a", "b"]).links]
    assert after[: len(before)] == before


def test_fields_of_the_bridge_and_of_the_ends() -> None:
    end = {"node": "c", "mtu": 9000}
    topology = loaded(segment("a", end, stp=True, mtu=1400, txqlen=7, bridge="sw:lan0"), defaults={"queues": 2})
    bridge, first, second = topology.links
    assert (bridge.ends[0].node, bridge.ends[0].ifname, bridge.ends[0].mtu) == ("sw", "lan0", 1400)
    assert bridge.options["stp"] is True
    assert first.ends[1].ifname == "lan0p0"  # so two labs can have bridges in one node
    assert [(end.mtu, end.txqlen, end.queues) for end in first.ends] == [(1400, 7, 2)] * 2
    assert [end.mtu for end in second.ends] == [9000, 9000]
    assert "lan-segments" not in topology.nodes


def test_a_subnet_of_defaults_is_for_links_of_two_ends() -> None:
    topology = loaded(segment("a", "b"), ["a", "b"], defaults={"subnet": "10.0.0.0/24"})
    assert [[len(end.addresses) for end in link.ends] for link in topology.links] == [[0], [0, 0], [0, 0], [1, 1]]


def test_the_type_of_defaults() -> None:
    topology = loaded({"endpoints": ["a", "b"]}, defaults={"type": "bridge"})
    assert [link.kind for link in topology.links] == ["bridge", "veth", "veth"]


def test_a_bridge_alone_stays_one_link() -> None:
    (link,) = loaded({"type": "bridge", "endpoint": "sw:br0"}).links
    assert link.title() == "sw:br0"


@pytest.mark.parametrize(
    ("link", "place", "words"),
    [
        (segment("a:e0", "b:"), "$.links[0].endpoints[1]", "without the colon"),
        (segment("a", {"node": "b", "mtu": 1}), "$.links[0].endpoints[1].mtu", "68"),
        (segment("a", "b", mtu=1), "$.links[0].mtu", "68"),
        (segment("a", "b", stp="on"), "$.links[0].stp", "true"),
        (segment("a", "b", spt=True), "$.links[0].spt", "stp"),
        (segment("a:e0", "b", "a:e0"), "$.links[0].endpoints[2]", "$.links[0].endpoints[0]"),
        (segment("a", "b", bridge="br0"), "$.links[0].bridge", "node:interface"),
        (segment("a", "b", bridge="sw:much-too-long-a-name"), "$.links[0].bridge", "15"),
        (segment("a", "b", bridge="sw:name-of-11b"), "$.links[0].bridge", "10 bytes"),
        (segment("a", "b", bridge="host:lan0"), "$.links[0].bridge", "'host' is not declared"),
        (segment("a", "b", bridge=":lan0"), "$.links[0].bridge", "node name is empty"),
        (segment("a", "b", **{"": 1}), "$.links[0]['']", "unknown key ''"),
        (segment("a", "b", bridge=5), "$.links[0].bridge", "node:interface"),
        (segment("a", "b", endpoint="sw:br0"), "$.links[0].endpoint", "bridge"),
        ({"type": "bridge", "endpoints": "ab"}, "$.links[0].endpoints", "list"),
        (segment(*["a"] * (PORTS_MAX + 1)), "$.links[0].endpoints", "1,023"),
        (segment("a", "b", group_fwd_mask=0xFFFF), "$.links[0].group_fwd_mask", "0xfff8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_problems_have_the_places_of_the_file(link: object, place: str, words: str) -> None:
    (found,) = dict.fromkeys(places(link))
    assert found[0] == place
    assert words in found[1]


def test_a_node_with_the_name_of_the_namespace() -> None:
    (found,) = places(segment("a", "b"), nodes={"lan-segments": {"netns": "x"}})
    assert found[0] == "$.nodes.lan-segments"
    assert "rename the node" in found[1]


def test_places_in_lines_of_json() -> None:
    lines = [json.dumps(segment("a", "b")), json.dumps(segment("c", {"node": "d", "mtu": 1}))]
    with pytest.raises(TopologyError) as caught:
        load("\n".join(lines).encode(), filename="lan.jsonl")
    assert [problem.place for problem in caught.value.problems] == ["lan.jsonl:2 endpoints[1].mtu"]
