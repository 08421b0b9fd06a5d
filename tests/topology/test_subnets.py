"""Addresses of links whose file gives them a subnet only."""

# ruff: noqa: E501 - a table row is one line, so that file and words are read together

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kokofast.topology import TopologyError, load
from kokofast.topology.model import Topology
from tests.topology.test_load import tree_problems
from tests.topology.test_names import loaded, titles

EMPTY: list[str] = []


def addresses(topology: Topology) -> list[list[str]]:
    """Of each link: its ends' addresses, as in the short form."""
    return [[",".join(one.text for one in end.addresses) for end in link.ends] for link in topology.links]


def with_subnets(*links: object, **defaults: object) -> dict[str, object]:
    return {"defaults": defaults, "links": list(links)}


V4 = {"subnet": "10.0.0.0/16"}
A, B, C = (["10.0.0.0/31", "10.0.0.1/31"], ["10.0.0.2/31", "10.0.0.3/31"], ["10.0.0.4/31", "10.0.0.5/31"])


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (with_subnets(["a", "b"], ["b", "c"], **V4), [A, B]),
        (with_subnets(["a:x", "b:y"], {"endpoints": ["b", "c"], "mtu": 1400}, **V4), [A, B]),
        (with_subnets(["a", "b"], subnet6="2001:db8::/48"), [["2001:db8::/127", "2001:db8::1/127"]]),
        (with_subnets(["a", "b"], subnet6="2001:db8::ffff:fffe/127"), [["2001:db8::ffff:fffe/127", "2001:db8::ffff:ffff/127"]]),
        (with_subnets(["a", "b"], subnet="10.0.0.254/31", subnet6="2001:db8::/48"),
         [["10.0.0.254/31,2001:db8::/127", "10.0.0.255/31,2001:db8::1/127"]]),
        # Who has addresses, or says there are none, gets none; nor does a link with one end.
        (with_subnets(["a:x:192.0.2.1/24", "b"], ["a", "b"], **V4), [["192.0.2.1/24", ""], A]),
        (with_subnets(["a", {"node": "b", "addresses": []}], {"endpoints": ["a", "b"], "addresses": []}, ["a", "b"], **V4),
         [["", ""], ["", ""], A]),
        (with_subnets({"type": "dummy", "endpoint": "a"}, ["a", "b"], **V4), [[""], A]),
        (with_subnets(["a", "b"], addresses=EMPTY, **V4), [["", ""]]),
        # What the file gives before is passed over, by its address alone.
        (with_subnets(["a:x:10.0.0.1/24", "b"], ["a", "b"], **V4), [["10.0.0.1/24", ""], B]),
        (with_subnets(["a", "b"], ["a:x:10.0.0.3/8", "b"], ["a", "b"], **V4), [A, ["10.0.0.3/8", ""], C]),
        (with_subnets({"type": "dummy", "endpoint": "a:lo1:10.0.0.0/32"}, ["a", "b"], **V4), [["10.0.0.0/32"], B]),
        (with_subnets(["a", "b"], ["a:x:10.0.0.9", "b"], ["a", "b"], **V4), [A, ["10.0.0.9", ""], B]),
        # A link's own subnet; one that several have is shared, and nothing is given twice where two overlap.
        ([{"endpoints": ["a", "b"], **V4}, ["a", "b"], {"endpoints": ["a", "b"], **V4}], [A, ["", ""], B]),
        (with_subnets({"endpoints": ["a", "b"], "subnet": "10.1.0.0/31"}, ["a", "b"], **V4), [["10.1.0.0/31", "10.1.0.1/31"], A]),
        (with_subnets(["a", "b"], {"endpoints": ["a", "b"], "subnet": "10.0.0.0/29"}, ["a", "b"], **V4), [A, B, C]),
        (with_subnets({"endpoints": ["a", "b"], "subnet": "10.0.0.2/31"}, ["a", "b"], ["a", "b"], **V4), [B, A, C]),
        (with_subnets({"endpoints": ["a", "b"], "subnet6": "2001:db8:1::/64"}, **V4),
         [["10.0.0.0/31,2001:db8:1::/127", "10.0.0.1/31,2001:db8:1::1/127"]]),
    ],
)  # fmt: skip
def test_addresses(tree: Any, expected: list[list[str]]) -> None:
    assert addresses(loaded(tree)) == expected
    bare = isinstance(tree, list)
    links = tree if bare else tree["links"]
    for number in range(len(links)):
        first = links[:number] if bare else {**tree, "links": links[:number]}
        assert addresses(loaded(first)) == expected[:number]


@pytest.mark.parametrize(
    ("text", "filename"),
    [
        ("defaults: {subnet: 10.0.0.0/16}\nlinks: [[a, b], [b, c]]\n", "l.yaml"),
        ("a_node,a_ip,b_node,subnet\na,,b,10.0.0.0/16\nb,,c,10.0.0.0/16\n", "l.csv"),
        (
            '{"endpoints": ["a", "b"], "subnet": "10.0.0.0/16"}\n{"endpoints": ["b", "c"], "subnet": "10.0.0.0/16"}',
            "l.jsonl",
        ),
    ],
)
def test_formats(text: str, filename: str) -> None:
    assert addresses(load(text.encode(), filename=filename)) == [A, B]


LINK = ["a", "b"]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (with_subnets(LINK, LINK, LINK, subnet="10.0.0.0/30"),
         ["$.links[2]: no addresses are left for this link: the subnet 10.0.0.0/30 has them for 2 links; choose a larger one, or give addresses in the file"]),
        (with_subnets(*[LINK] * 5, subnet="10.0.0.0/30"),
         ["$.links[2]: no addresses are left for this link and the 2 after it: the subnet 10.0.0.0/30 has them for 2 links; choose a larger one, or give addresses in the file"]),
        (with_subnets(LINK, subnet="10.0.0.1/16"), ["$.defaults.subnet: '10.0.0.1/16' has bits set behind the prefix; its subnet is 10.0.0.0/16"]),
        (with_subnets(LINK, subnet6="2001:db8::1/48"), ["$.defaults.subnet6: '2001:db8::1/48' has bits set behind the prefix; its subnet is 2001:db8::/48"]),
        (with_subnets(LINK, subnet="2001:db8::/48"), ["$.defaults.subnet: '2001:db8::/48' is an IPv6 subnet; write it as 'subnet6'"]),
        (with_subnets(LINK, subnet6="10.0.0.0/16"), ["$.defaults.subnet6: '10.0.0.0/16' is an IPv4 subnet; write it as 'subnet'"]),
        (with_subnets(LINK, subnet="10.0.0.0"), ["$.defaults.subnet: '10.0.0.0' is one address, and a link takes two; a subnet is written as 10.0.0.0/16"]),
        (with_subnets(LINK, subnet6="2001:db8::1/128"), ["$.defaults.subnet6: '2001:db8::1/128' is one address, and a link takes two; a subnet is written as 2001:db8::/48"]),
        (with_subnets(LINK, subnet="x"), ["$.defaults.subnet: 'x' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64"]),
        (with_subnets(LINK, subnet=5), ["$.defaults.subnet: must be a subnet in text, not 5"]),
        (with_subnets(LINK, subnet=["10.0.0.0/16"]), ["$.defaults.subnet: must be a subnet in text, not a list"]),
        (with_subnets(LINK, subnet="0.0.0.0/0"), ["$.defaults.subnet: '0.0.0.0/0' is the unspecified address; an interface cannot have it"]),
        (with_subnets(LINK, subnet="64.0.0.0/2"), ["$.defaults.subnet: '64.0.0.0/2' is a loopback address; a link's end cannot have it"]),
        (with_subnets(LINK, subnet="192.0.0.0/2"), ["$.defaults.subnet: '192.0.0.0/2' is the broadcast address; a link's end cannot have it"]),
        (with_subnets(LINK, subnet6="8000::/1"), ["$.defaults.subnet6: '8000::/1' is a multicast address; a link's end cannot have it"]),
        ([{"endpoints": LINK, "subnet": "10.0.0.1/16"}], ["$[0].subnet: '10.0.0.1/16' has bits set behind the prefix; its subnet is 10.0.0.0/16"]),
        ([{"endpoints": LINK, "subnet": 5}], ["$[0].subnet: must be a subnet in text, not 5"]),
        ([{"type": "dummy", "endpoint": "a", "subnet": "10.0.0.0/16"}], ["$[0].subnet: a dummy link has no 'subnet'"]),
        (with_subnets(LINK, ["a:x", "b:y:10.0.0.0/31"], **V4),
         ["$.links[1][1]: 10.0.0.0/31 is among the addresses that a:eth0--b:eth0 at $.links[0] got from its subnet; choose another one, or put this link before that one"]),
        (with_subnets(LINK, {"endpoints": [{"node": "c", "addresses": ["192.0.2.1", "10.0.0.1"]}, "d"]}, **V4),
         ["$.links[1].endpoints[0].addresses[1]: 10.0.0.1 is among the addresses that a:eth0--b:eth0 at $.links[0] got from its subnet; choose another one, or put this link before that one"]),
        (with_subnets(LINK, subnet6="2001:db8::/48", mtu=1000),
         [f"$.defaults.mtu: 1000 is too small for the IPv6 address {one}/127, which needs 1280" for one in ("2001:db8::", "2001:db8::1")]),
    ],
)  # fmt: skip
def test_problems(tree: object, expected: list[str]) -> None:
    assert tree_problems(tree) == expected


ENDS = st.sampled_from("abc").flatmap(
    lambda node: st.sampled_from([node, node, node, f"{node}:eth0", f"{node}:eth2", f"{node}:x:10.0.0.3/24", {"node": node, "addresses": []}])
)  # fmt: skip
LINKS = st.lists(
    st.lists(ENDS, min_size=2, max_size=2)
    | st.builds(lambda ends: {"endpoints": ends, "subnet": "10.0.0.8/29"}, st.lists(ENDS, min_size=2, max_size=2)),
    max_size=12,
)


@given(LINKS, st.integers(0, 12))
def test_what_comes_after_changes_nothing(links: list[Any], number: int) -> None:
    defaults = {"subnet": "10.0.0.0/27", "subnet6": "2001:db8::/64"}
    try:
        whole = loaded({"defaults": defaults, "links": links})
    except TopologyError:  # something is given twice, or too late
        assume(False)
    first = loaded({"defaults": defaults, "links": links[:number]})
    assert titles(first) == titles(whole)[:number]
    assert addresses(first) == addresses(whole)[:number]


@given(LINKS)
def test_nothing_is_given_twice(links: list[Any]) -> None:
    try:
        topology = loaded({"defaults": {"subnet": "10.0.0.0/16", "subnet6": "2001:db8::/64"}, "links": links})
    except TopologyError:
        assume(False)
    ends = [(end.node, end.ifname) for link in topology.links for end in link.ends]
    assert len(set(ends)) == len(ends)
    pairs = [
        [one.key() for one in end.addresses if one.prefixlen in (31, 127)]
        for link in topology.links
        for end in link.ends
    ]
    found = [one for pair in pairs for one in pair]
    assert len(set(found)) == len(found)
    for link in topology.links:
        one, two = (end.addresses for end in link.ends)
        for low, high in zip(one, two, strict=len(one) == len(two)):
            if low.prefixlen in (31, 127):
                assert ipaddress.ip_interface(low.text).network == ipaddress.ip_interface(high.text).network
                assert int(ipaddress.ip_interface(low.text)) + 1 == int(ipaddress.ip_interface(high.text))
