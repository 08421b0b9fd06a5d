"""What the file alone shows to be wrong, although each value is right: found by load(), so by validate as well."""

# ruff: noqa: E501 - a table row is one line, so that file and words are read together

from __future__ import annotations

import json
from typing import Any

import pytest

from kokofast.topology import TopologyError, load


def problems(links: list[dict[str, Any]], **more: Any) -> list[str]:
    try:
        load(json.dumps({"links": links, **more}).encode(), filename="links.json")
    except TopologyError as error:
        return [f"{problem.place}: {problem.message}" for problem in error.problems]
    return []


def on(kind: str, name: str, parent: str = "h:up0", **fields: Any) -> dict[str, Any]:
    needed: dict[str, dict[str, Any]] = {"vxlan": {"remote": "192.0.2.1", "vni": 7}, "vlan": {"id": 5}}
    required = needed.get(kind, {})
    return {"type": kind, "endpoint": f"a:{name}", "parent": parent, **required, **fields}


def bridge(name: str) -> dict[str, Any]:
    return {"type": "bridge", "endpoint": f"a:{name}"}


LOOP = "{}.master: a port of {} cannot be above it ({}); give it another master or parent"
IPV6 = ["a:e0:2001:db8::1/64", "b:e0"]


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([{"endpoints": IPV6, "mtu": 1280}], []),
        ([{"endpoints": ["a:e0:10.0.0.1/24", "b:e0"], "mtu": 68}], []),
        ([{"endpoints": IPV6, "mtu": 1279}], ["$.links[0].mtu: 1279 is too small for the IPv6 address 2001:db8::1/64, which needs 1280"]),
        ([{"endpoints": [{"node": "a", "interface": "e0", "mtu": 1000, "addresses": ["10.0.0.1/8", "fe80::1/64"]}, "b:e0"]}],
         ["$.links[0].endpoints[0].mtu: 1000 is too small for the IPv6 address fe80::1/64, which needs 1280"]),
        ([on("macvlan", "m0", mtu=1000, addresses=["2001:db8::1/64"])], ["$.links[0].mtu: 1000 is too small for the IPv6 address 2001:db8::1/64, which needs 1280"]),
        ([{"endpoints": ["a:e0:10.0.0.1/24", "b:e0:10.0.0.2/24"]}], []),
        ([{"endpoints": ["a:e0:10.0.0.1/24", "b:e0:10.0.0.2/24,10.0.0.1/32"]}], ["$.links[0].endpoints[1]: both ends of the link have the address 10.0.0.1/32"]),
        ([{"endpoints": ["a:e0", "b:e0"], "addresses": ["2001:db8::1/64"]}], ["$.links[0].addresses[0]: both ends of the link have the address 2001:db8::1/64"]),
        ([on("vxlan", "x0", local="192.0.2.2")], []),
        ([on("vxlan", "x0", local="2001:db8::1")], ["$.links[0].local: 2001:db8::1 and the remote 192.0.2.1 are not both IPv4, nor both IPv6"]),
        ([on("vxlan", "x0", local="192.0.2.2", remote="2001:db8::1")], ["$.links[0].local: 192.0.2.2 and the remote 2001:db8::1 are not both IPv4, nor both IPv6"]),
        # What kernels do not take beside each other.
        ([on("vlan", "v0"), on("vlan", "v1", "h:up1"), on("vlan", "v2", id=6), on("vlan", "v3", protocol="802.1ad")], []),
        ([on("vlan", "v0"), on("vlan", "v1")], ["$.links[1].id: a parent has each vlan id once: see a:v0 at $.links[0]"]),
        ([on("vlan", "v0", "up0"), on("vlan", "v1", "me:up0")], ["$.links[1].id: a parent has each vlan id once: see a:v0 at $.links[0]"]),
        ([on("vlan", "v0", "other:up0"), on("vlan", "v1")], ["$.links[1].id: a parent has each vlan id once: see a:v0 at $.links[0]"]),
        ([on("vxlan", "x0"), on("vxlan", "x1", "b:up0"), on("vxlan", "x2", port=4790), on("vxlan", "x3", vni=8), on("vxlan", "x4", remote="2001:db8::1")], []),
        ([on("vxlan", "x0"), on("vxlan", "x1", "h:up1", remote="192.0.2.9")], ["$.links[1].vni: a namespace has each vni once on a port: see a:x0 at $.links[0]"]),
        ([on("vxlan", "x0", remote="fe80::1"), on("vxlan", "x1", "h:up1", remote="fe80::1")], []),
        ([on("macvlan", "m0"), on("macvlan", "m1", mode="private"), on("macvlan", "m2", "h:up1", mode="passthru")], []),
        ([on("macvlan", "m0", mode="passthru"), on("macvlan", "m1", mode="passthru")], ["$.links[1].mode: a parent has one macvlan with mode passthru, or any number without, and no ipvlan: see a:m0 at $.links[0]"]),
        ([on("macvlan", "m0"), on("macvlan", "m1", mode="passthru")], ["$.links[1].mode: a parent has one macvlan with mode passthru, or any number without, and no ipvlan: see a:m0 at $.links[0]"]),
        ([on("macvlan", "m0", mode="passthru"), on("macvlan", "m1")], ["$.links[1]: a parent has one macvlan with mode passthru, or any number without, and no ipvlan: see a:m0 at $.links[0]"]),
        ([on("ipvlan", "i0"), on("ipvlan", "i1")], []),
        ([on("ipvlan", "i0"), on("ipvlan", "i1", mode="l3")], ["$.links[1].mode: the ipvlans of a parent have one mode, and no macvlan is beside them: see a:i0 at $.links[0]"]),
        ([on("macvlan", "m0"), on("ipvlan", "i1")], ["$.links[1]: the ipvlans of a parent have one mode, and no macvlan is beside them: see a:m0 at $.links[0]"]),
    ],
)  # fmt: skip
def test_links(links: list[dict[str, Any]], expected: list[str]) -> None:
    nodes = {"me": {"host": True}, "other": {"path": "/run/netns/h"}}
    assert problems(links, nodes=nodes) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [("224.0.0.1/24", "multicast"), ("127.0.0.5/8", "loopback"), ("255.255.255.255/32", "broadcast")],
)
def test_addresses_that_no_end_can_have(text: str, word: str) -> None:
    (problem,) = problems([{"endpoints": [f"a:e0:{text}", "b:e0"]}])
    assert word in problem


@pytest.mark.parametrize(
    ("offload", "expected"),
    [
        (False, []),
        ({"tx": False, "gro": True}, []),
        ({}, ["$.links[0].offload: an object has some of tx, tso, gso, gro; it is empty"]),
        ({"tx": 0}, ["$.links[0].offload.tx: must be true or false, not 0"]),
        ({"lro": False}, ["$.links[0].offload.lro: unknown key 'lro'; did you mean 'gro'?"]),
        ("off", ["$.links[0].offload: must be true, false, or an object of tx, tso, gso, gro, not 'off'"]),
    ],
)
def test_offload(offload: object, expected: list[str]) -> None:
    assert problems([{"endpoints": ["a:e0", "b:e0"], "offload": offload}]) == expected


def test_offload_is_for_ends_of_veth_links() -> None:
    words = "only ends of veth links have 'offload'; leave it out here"
    assert problems([on("macvlan", "m0", offload=False)]) == [f"$.links[0].offload: {words}"]
    one = {"type": "dummy", "endpoint": {"node": "a", "interface": "d0", "offload": False}}
    assert problems([one]) == [f"$.links[0].endpoint.offload: {words}"]
    # defaults are for those that have it, and a segment is made of veth links
    segment = {"type": "bridge", "endpoints": ["a:e1", "b:e1"]}
    for links in ([on("macvlan", "m0"), segment], [{**segment, "offload": False}]):
        text = json.dumps({"defaults": {"offload": False} if len(links) > 1 else {}, "links": links}).encode()
        found = load(text, filename="links.json").links
        assert {(link.kind, *(end.properties.get("offload") for end in link.ends)) for link in found} == {
            *((link.kind, None) for link in found if link.kind != "veth"),
            ("veth", False, False),
        }


def test_what_is_common_to_all_links_is_one_problem() -> None:
    links = [{"endpoints": [f"a:e{number}", f"b:e{number}"]} for number in range(3)]
    assert problems(links, defaults={"addresses": ["10.0.0.1/24"]}) == [
        "$.defaults.addresses[0]: both ends of the link have the address 10.0.0.1/24"
    ]


@pytest.mark.parametrize("missing", ["remote", "vni"])
def test_a_link_that_lacks_what_it_needs_beside_a_mirror(missing: str) -> None:
    tunnel = on("vxlan", "x0", local="192.0.2.2", mtu=1000)
    del tunnel[missing]
    tap = {"endpoints": [{"node": "a", "interface": "t", "mirror": {"from": "e"}}, "b:t"]}
    assert problems([tunnel, tap]) == [f"$.links[0]: a vxlan link needs '{missing}'"]


def test_a_link_that_lacks_what_is_checked() -> None:
    assert problems([{"type": "vxlan", "endpoint": "a:x0", "parent": "up0", "local": "192.0.2.1", "vni": 1}]) == [
        "$.links[0]: a vxlan link needs 'remote'"
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"remote": ["192.0.2.1", "2001:db8::1"]}, "remote: the remotes are not all IPv4, nor all IPv6"),
        ({"remote": ["192.0.2.1"], "local": "2001:db8::1"},
         "local: 2001:db8::1 and the remote 192.0.2.1 are not both IPv4, nor both IPv6"),
        ({"remote": ["192.0.2.1", "239.1.1.1"]}, "remote: a list has hosts only, and 239.1.1.1 is a multicast group"),
        ({"remote": ["fe80::1"]}, "remote: a list has hosts only, and fe80::1 is a link-local address"),
        ({"remote": "239.1.1.1", "parent": None}, "remote: 239.1.1.1 is a multicast group, which needs a parent"),
        ({"remote": "fe80::1", "parent": None}, "remote: fe80::1 is a link-local address, which needs a parent"),
        ({"remote": "2001:db8::1", "local": "fe80::2", "parent": None},
         "local: fe80::2 is a link-local address, which needs a parent"),
    ],
)  # fmt: skip
def test_remotes(fields: dict[str, Any], expected: str) -> None:
    link = on("vxlan", "x0", **fields)
    assert problems([{key: value for key, value in link.items() if value is not None}]) == [f"$.links[0].{expected}"]


def test_tunnels_without_a_parent_share_the_namespace_of_their_end() -> None:
    rows = [on("vxlan", name) for name in ("x0", "x1")]
    for row in rows:
        del row["parent"]
    rule = "a namespace has each vni once on a port"
    assert problems(rows) == [f"$.links[1].vni: {rule}: see a:x0 at $.links[0]"]
    rows[1]["endpoint"] = "b:x0"
    assert problems([*rows, on("vxlan", "x2", parent="a:x9")]) == [f"$.links[2].vni: {rule}: see a:x0 at $.links[0]"]


def test_several_remotes() -> None:
    link = {"type": "vxlan", "endpoint": "a:x0", "remote": ["192.0.2.2", "192.0.2.1"], "vni": 7}
    text = "a_node,a_if,type,remote,vni\na,x0,vxlan,192.0.2.2 192.0.2.1,7\na,x1,vxlan,192.0.2.2,8\n"
    (one,), (two, single) = (
        load(json.dumps([link]).encode(), filename="x.json").links,
        load(text.encode(), filename="x.csv").links,
    )
    for found in (one, two):
        assert [host.text for host in found.options["remote"]] == ["192.0.2.2", "192.0.2.1"]  # type: ignore[attr-defined]
        assert found.ends[0].properties["remote"] is found.options["remote"]
        assert found.parent is None
    assert one.ends[0].where("remote") == "$[0].remote"
    assert (str(single.options["remote"]), single.ends[0].properties) == ("Address('192.0.2.2')", {})


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ([], ["$.links[0].remote: a list has 1 to 1,024 addresses, not 0"]),
        (["192.0.2.1"] * 1025, ["$.links[0].remote: a list has 1 to 1,024 addresses, not 1,025"]),
        (["192.0.2.1", "x", "192.0.2.1"],
         ["$.links[0].remote[1]: 'x' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64",
          "$.links[0].remote[2]: the address '192.0.2.1' is given twice"]),
        (7, ["$.links[0].remote: must be an IP address in text, or a list of them, not 7"]),
        (["192.0.2.1", 7], ["$.links[0].remote[1]: must be an address in text, not 7"]),
    ],
)  # fmt: skip
def test_wrong_remotes(remote: object, expected: list[str]) -> None:
    assert problems([{"type": "vxlan", "endpoint": "a:x0", "remote": remote, "vni": 7}]) == expected


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([bridge("br0"), on("vlan", "v0", "a:br0"), {"endpoints": [{"node": "a", "interface": "p0", "master": "br0"}, "b:p0"]}], []),
        ([bridge("br0"), on("vlan", "v0", "b:br0", master="br0"), on("macvlan", "m0", "b:up0", master="br0")], []),
        *[
            ([bridge("br0"), on(kind, "x0", "a:br0", master="br0")], [LOOP.format("$.links[1]", "br0", "a:x0 -> a:br0")])
            for kind in ("macvlan", "vxlan", "vlan", "ipvlan")
        ],
        ([bridge("br0"), on("macvlan", "m0", "other:br0", master="br0")], [LOOP.format("$.links[1]", "br0", "a:m0 -> a:br0")]),
        ([on("macvlan", "m0", "a:v0", master="br0"), on("vlan", "v0", "a:br0"), bridge("br0")],
         [LOOP.format("$.links[0]", "br0", "a:m0 -> a:v0 -> a:br0")]),
        ([bridge("br0"), bridge("br1"), on("macvlan", "m0", "a:br0", master="br1"), on("macvlan", "m1", "a:br1", master="br0")],
         [LOOP.format("$.links[2]", "br1", "a:m0 -> a:br0 -> a:m1 -> a:br1")]),
        # An interface that is there before is no end of the file, and its name is known from the parent's.
        ([on("macvlan", "m0", "a:there", master="there")], [LOOP.format("$.links[0]", "there", "a:m0 -> there")]),
        ([on("vlan", f"v{n}", f"a:v{n + 1}" if n < 20 else "a:br0", id=n, **({} if n else {"master": "br0"})) for n in range(21)] + [bridge("br0")],
         [LOOP.format("$.links[0]", "br0", "a:v0 -> a:v1 -> a:v2 -> a:v3 -> 14 more -> a:v18 -> a:v19 -> a:v20 -> a:br0")]),
    ],
)  # fmt: skip
def test_a_master_below_its_port(links: list[dict[str, Any]], expected: list[str]) -> None:
    """The kernel refuses it with a bare EBUSY."""
    assert problems(links, nodes={"a": {"netns": "a"}, "other": {"netns": "a"}}) == expected
