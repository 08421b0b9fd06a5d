# ruff: noqa: E501 - one case a line
"""Addresses, routes and sysctls of nodes, and the routing of a lab, as a file gives them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kokofast.topology import load, schema
from kokofast.topology.model import AF_INET, AF_INET6, Topology
from kokofast.topology.problems import TopologyError
from kokofast.topology.sysctls import DISABLE_IPV6, name_of, parse_sysctl

LINK = {"endpoints": ["a:eth0:10.0.0.0/31,2001:db8::/127", "b:eth0:10.0.0.1/31,2001:db8::1/127"]}


def document(node: dict[str, Any], links: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "lab", "nodes": {"a": {"netns": "a", **node}}, "links": [LINK] if links is None else links, **more}


def loaded(tree: dict[str, Any]) -> Topology:
    return load(json.dumps(tree).encode(), filename="lab.json")


def problems(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        loaded(tree)
    return [f"{problem.place}: {problem.message}" for problem in caught.value.problems]


def test_all_of_a_node() -> None:
    routes = [
        {"to": "default", "via": "10.0.0.1"},
        {"to": "default", "via": "2001:db8::1", "metric": 0},
        {"to": "10.9.0.0/16", "dev": "eth0", "metric": 7},
        {"to": "192.0.2.1", "via": "10.0.0.1", "dev": "eth0"},
        {"to": "2001:db8:9::/48", "via": "fe80::1", "dev": "eth0"},
    ]
    sysctls = {"net.ipv4.ip_forward": 1, "net/ipv4/conf/eth0/rp_filter": "2", "net.ipv4.tcp_rmem": "4096\t9  99"}
    node = loaded(document({"addresses": ["10.255.0.1", "2001:db8:ff::1/128"], "routes": routes, "sysctls": sysctls}))
    found = node.nodes["a"]
    assert [address.text for address in found.addresses] == ["10.255.0.1", "2001:db8:ff::1/128"]
    assert [
        (route.goal.family, route.goal.packed.hex(), route.goal.prefixlen, route.via and route.via.text, route.dev,
         route.metric) for route in found.routes
    ] == [
        (AF_INET, "00000000", 0, "10.0.0.1", None, None),
        (AF_INET6, "0" * 32, 0, "2001:db8::1", None, 0),
        (AF_INET, "0a090000", 16, None, "eth0", 7),
        (AF_INET, "c0000201", 32, "10.0.0.1", "eth0", None),
        (AF_INET6, "20010db80009" + "0" * 20, 48, "fe80::1", "eth0", None),
    ]  # fmt: skip
    assert found.sysctls == {"ipv4/ip_forward": "1", "ipv4/conf/eth0/rp_filter": "2", "ipv4/tcp_rmem": "4096 9 99"}
    assert node.nodes["b"].routes == ()
    assert node.routing is None


@pytest.mark.parametrize(
    ("routing", "multipath"),
    [
        ("shortest-path", False),
        ({"mode": "shortest-path"}, False),
        ({"mode": "shortest-path", "multipath": True}, True),
    ],
)
def test_the_routing(routing: object, multipath: bool) -> None:
    found = loaded(document({}, routing=routing)).routing
    assert found is not None
    assert found.multipath is multipath


def test_costs() -> None:
    ends = [{"node": "a", "interface": "x", "cost": 3}, "b:x"]
    links = [{"endpoints": ["a", "b"], "cost": 7}, ["a", "b"], {"endpoints": ends, "cost": 9}]
    found = loaded(document({}, links, defaults={"cost": 5}))
    assert [[end.cost for end in link.ends] for link in found.links] == [[7, 7], [5, 5], [3, 9]]
    assert loaded(document({})).links[0].ends[0].cost == 1
    csv = load(b"a_node,b_node,cost\na,b,12\na,b,\n", filename="lab.csv")
    assert [[end.cost for end in link.ends] for link in csv.links] == [[12, 12], [1, 1]]


case = pytest.param
ROUTE = "$.nodes.a.routes[0]"
SHAPE = 'must be a list of routes such as {"to": "default", "via": "10.0.0.1"}'
# fmt: off
WRONG: list[Any] = [
    case({"routes": {}}, [f"$.nodes.a.routes: {SHAPE}, not an object"], id="no list"),
    case({"routes": [1]}, [f"{ROUTE}: must be an object, not 1"], id="no object"),
    case({"routes": [{"via": "10.0.0.1"}]}, [f"{ROUTE}: it needs 'to'"], id="without to"),
    case({"routes": [{"to": "default", "vai": "10.0.0.1"}]}, [f"{ROUTE}.vai: unknown key 'vai'; did you mean 'via'?"], id="a slip"),
    case({"routes": [{"to": "default"}]}, [f"{ROUTE}: a route needs 'via', a neighbour's address, or 'dev', an interface"], id="no way"),
    case({"routes": [{"to": "default", "dev": "eth0"}]},
         [f"{ROUTE}: 'default' without 'via' may be IPv4 or IPv6; write 'to' as 0.0.0.0/0 or ::/0"], id="which default"),
    case({"routes": [{"to": "10.9.0.1/16", "via": "10.0.0.1"}]},
         [f"{ROUTE}.to: '10.9.0.1/16' has bits set behind the prefix; its network is 10.9.0.0/16"], id="host bits"),
    case({"routes": [{"to": "nowhere", "via": "10.0.0.1/31"}]},
         [f"{ROUTE}.to: 'nowhere' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64",
          f"{ROUTE}.via: '10.0.0.1/31' has a prefix length; a neighbour's address has none"], id="texts"),
    case({"routes": [{"to": "default", "via": "::"}]}, [f"{ROUTE}.via: '::' is no neighbour's address"], id="unspecified"),
    case({"routes": [{"to": "::/0", "via": "10.0.0.1"}]}, [f"{ROUTE}: '10.0.0.1' is not of the family of '::/0'"], id="families"),
    case({"routes": [{"to": "default", "via": []}]}, [f"{ROUTE}.via: a list has 1 to 1,024 addresses, not 0"], id="no neighbours"),
    case({"routes": [{"to": "default", "via": ["10.0.0.1", "x", "10.0.0.1"]}]},
         [f"{ROUTE}.via[1]: 'x' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64",
          f"{ROUTE}.via[2]: the address '10.0.0.1' is given twice"], id="neighbours"),
    case({"routes": [{"to": "default", "via": ["10.0.0.1", "10.0.0.9"]}]},
         [f"{ROUTE}: '10.0.0.9' is in no network of the node's ends (eth0 10.0.0.0/31, eth0 2001:db8::/127)"], id="one out of reach"),
    case({"routes": [{"to": "default", "via": ["10.0.0.1", "2001:db8::1"]}]},
         [f"{ROUTE}: the neighbours are not all IPv4, nor all IPv6"], id="neighbours of two families"),
    case({"routes": [{"to": "default", "via": ["10.0.0.1", "10.0.0.2"], "dev": "eth0"}]},
         [f"{ROUTE}: a route by several neighbours has no 'dev': each of them is on a network of the node"], id="neighbours and dev"),
    case({"routes": [{"to": "::/0", "via": ["fe80::1", "fe80::2"]}]},
         [f"{ROUTE}: the link-local address 'fe80::1' is on every link; say which by 'dev'"], id="link-local neighbours"),
    case({"routes": [{"to": "::/0", "via": "fe80::1"}]},
         [f"{ROUTE}: the link-local address 'fe80::1' is on every link; say which by 'dev'"], id="link-local"),
    case({"routes": [{"to": "default", "via": "10.0.0.1", "metric": -1}]},
         [f"{ROUTE}.metric: must be a whole number from 0 to 4294967295, not -1"], id="metric"),
    case({"routes": [{"to": "default", "via": "10.0.0.9"}]},
         [f"{ROUTE}: '10.0.0.9' is in no network of the node's ends (eth0 10.0.0.0/31, eth0 2001:db8::/127)"], id="out of reach"),
    case({"routes": [{"to": "default", "via": "10.0.0.0"}]},
         [f"{ROUTE}: '10.0.0.0' is an address of the node itself; give a neighbour's"], id="itself"),
    case({"routes": [{"to": "default", "via": "10.0.0.1", "dev": "eth9"}]},
         [f"{ROUTE}: 'eth9' is no end of this node in the file; name one of its ends"], id="no such end"),
    case({"routes": [{"to": "10.0.0.0/31", "via": "10.0.0.1"}]},
         [f"{ROUTE}: '10.0.0.0/31' is the network of eth0 itself; leave the route out, or give it a metric"], id="connected"),
    case({"routes": [{"to": "default", "via": "10.0.0.1"}, {"to": "0.0.0.0/0", "dev": "eth0", "metric": 0}]},
         [f"$.nodes.a.routes[1]: there is a route to '0.0.0.0/0' already, with the same metric: see {ROUTE}"], id="twice"),
    case({"addresses": ["127.0.0.1/8", "x"]},
         ["$.nodes.a.addresses[0]: '127.0.0.1/8' is a loopback address; a link's end cannot have it",
          "$.nodes.a.addresses[1]: 'x' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64"], id="addresses"),
    case({"sysctls": [1]}, ['$.nodes.a.sysctls: must be an object such as {"net.ipv4.ip_forward": 1}, not a list'], id="sysctls"),
    case({"sysctls": {"net.ipv4.ip_forward": True, "net.core.x": 1.5}},
         ["$.nodes.a.sysctls['net.core.x']: must be a number or text, not the number 1.5",
          "$.nodes.a.sysctls['net.ipv4.ip_forward']: must be a number or text, not true"], id="sysctl types"),
    case({"sysctls": {"net.ipv4.ip_forward": "1\n2\x01"}},
         ["$.nodes.a.sysctls['net.ipv4.ip_forward']: the value must be a number, or text of 1 to 255 ASCII characters in one line"],
         id="a control character"),
    case({"sysctls": {"net.ipv4.ip_forward": 1, "net/ipv4/ip_forward": 0}},
         ["$.nodes.a.sysctls['net/ipv4/ip_forward']: 'net/ipv4/ip_forward' is the sysctl 'net.ipv4.ip_forward' again"], id="again"),
    case({"ipv6": "no"}, ["$.nodes.a.ipv6: must be true or false, not 'no'"], id="ipv6"),
    case({"ipv6": False, "sysctls": {"net.ipv6.conf.all.disable_ipv6": 0}},
         ["$.nodes.a.ipv6: the node's sysctls set net.ipv6.conf.all.disable_ipv6 to 0; leave one of the two out"], id="two values"),
    case({"ipv6": False, "addresses": ["10.255.0.1", "2001:db8:ff::1"], "routes": [{"to": "::/0", "via": "2001:db8::1"}]},
         ["$.nodes.a.addresses[1]: a has ipv6: false; leave out ipv6, or the address 2001:db8:ff::1",
          f"{ROUTE}: a has ipv6: false; leave out ipv6, or the route to ::/0",
          "$.links[0].endpoints[0]: the node a has ipv6: false; leave out ipv6, or the address 2001:db8::/127"], id="no IPv6"),
]
# fmt: on


@pytest.mark.parametrize(("node", "expected"), WRONG)
def test_what_is_wrong_with_a_node(node: dict[str, Any], expected: list[str]) -> None:
    assert sorted(problems(document(node))) == sorted(expected)


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        ("ospf", '$.routing: must be "shortest-path", or an object with "mode" and "multipath", not \'ospf\''),
        (None, "$.routing: must not be null; leave it out"),
        ({"multipath": True}, "$.routing: it needs 'mode'"),
        ({"mode": "shortest-path", "multipath": 1}, "$.routing.multipath: must be true or false, not 1"),
        ({"mode": "longest-path"}, "$.routing.mode: must be one of shortest-path, not 'longest-path'"),
    ],
)
def test_what_is_wrong_with_the_routing(routing: object, expected: str) -> None:
    assert problems(document({}, routing=routing)) == [expected]


def test_a_route_through_an_end_that_is_down() -> None:
    link = {"endpoints": [{"node": "a", "interface": "eth0", "addresses": ["10.0.0.0/31"], "up": False}, "b"]}
    told = problems(document({"routes": [{"to": "default", "via": "10.0.0.1"}]}, [link]))
    assert told == [f"{ROUTE}: eth0 is not set up in the file; set it up, or leave the route out"]


def test_a_node_without_a_link() -> None:
    told = problems(document({"routes": [{"to": "default", "via": "10.0.0.1"}]}, []))
    assert told == [f"{ROUTE}: this node has no end of a link in the file, which a route needs"]


def test_nodes_of_one_namespace_share_their_ends() -> None:
    tree = document({"routes": [{"to": "default", "via": "10.0.0.1"}]}, [])
    tree["nodes"]["other"] = {"path": "/run/netns/a"}
    tree["links"] = [{"endpoints": ["other:eth0:10.0.0.0/31", "b:eth0:10.0.0.1/31"]}]
    assert loaded(tree).nodes["a"].routes


NAMES = {
    "net.ipv4.ip_forward": "ipv4/ip_forward",
    "net/ipv4/ip_forward": "ipv4/ip_forward",
    "net.ipv4.conf.eth0/7.rp_filter": "ipv4/conf/eth0.7/rp_filter",
    "net/ipv4/conf/eth0.7/rp_filter": "ipv4/conf/eth0.7/rp_filter",
    "net.core.somaxconn": "core/somaxconn",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_sysctls(name: str) -> None:
    assert parse_sysctl(name) == NAMES[name]
    assert parse_sysctl(name_of(NAMES[name])) == NAMES[name]


@pytest.mark.parametrize(
    "name",
    [
        "", "net", "net.ipv4", "kernel.hostname", "/net/ipv4/x", "net//ipv4/x", "net/ipv4/../../kernel/hostname",
        "net/../kernel/hostname", "net.ipv4..x", "net.ipv4.//.x", "net.ipv4./.x", "net/./ipv4/x", "net.ipv4.x y",
        "net.ipv4.x\n", "net.ipv4.x\0", "net.ipv4.\ud800.x", "net" + ".x" * 8, f"net.ipv4.{'x' * 256}", "NET.ipv4.x",
        "net.ipv4.\u00a0.x", "net.ipv4.ip_forward.", " net.ipv4.ip_forward",
    ],
)  # fmt: skip
def test_what_is_no_sysctl(name: str) -> None:
    with pytest.raises(ValueError, match=r"sysctl|longer"):
        parse_sysctl(name)


@pytest.mark.parametrize(("node", "expected"), [*WRONG[:4], WRONG[17], WRONG[24]])
def test_the_schema_refuses_the_same(node: dict[str, Any], expected: list[str]) -> None:
    validator = Draft202012Validator(schema())
    assert not validator.is_valid(document(node))


def test_the_schema_takes_what_is_right() -> None:
    validator = Draft202012Validator(schema())
    node = {
        "addresses": ["10.255.0.1"],
        "routes": [{"to": "default", "via": "10.0.0.1", "dev": "eth0", "metric": 3}],
        "sysctls": {"net.ipv4.ip_forward": 1, "net.ipv4.tcp_congestion_control": "reno"},
    }
    for routing in ("shortest-path", {"mode": "shortest-path", "multipath": True}):
        validator.validate(document(node, routing=routing, defaults={"cost": 3}))
    assert not validator.is_valid(document({}, routing="ospf"))
    assert not validator.is_valid(document({}, routing={"multipath": True}))


def test_a_node_without_ipv6() -> None:
    links: list[Any] = [{"endpoints": ["a:e0", "b:e0"]}, {"endpoints": ["b:e1", "c:e1"]}]
    tree = document({"ipv6": False}, links, defaults={"subnet": "10.0.0.0/24", "subnet6": "2001:db8::/64"})
    found = loaded(tree)
    assert found.nodes["a"].sysctls == dict.fromkeys(DISABLE_IPV6, "1")
    assert [[one.text for one in link.ends[0].addresses] for link in found.links] == [
        ["10.0.0.0/31"],
        ["10.0.0.2/31", "2001:db8::/127"],
    ]
    both = loaded(document({"ipv6": True, "sysctls": {"net.ipv6.conf.all.disable_ipv6": 0, "net.ipv4.ip_forward": 1}}))
    assert both.nodes["a"].sysctls == {**dict.fromkeys(DISABLE_IPV6, "0"), "ipv4/ip_forward": "1"}


def test_what_needs_ipv6_where_it_is_off() -> None:
    end = {"node": "a", "interface": "e0", "link_local": True}
    tree = document({"ipv6": False}, [{"endpoints": [end, "b:e0"]}, {"endpoints": [{"node": "x", "dad": False}, "b"]}])
    tree["nodes"]["x"] = {"path": "/run/netns/a", "ipv6": True}
    off = "the node a has ipv6: false, so there is no link-local address"
    assert sorted(problems(tree)) == [
        f"$.links[0].endpoints[0].link_local: {off}; leave link_local out",
        f"$.links[1].endpoints[0].dad: {off}; leave dad out",
        "$.nodes.x.ipv6: the node a is the same namespace, and has ipv6: false; give both the same",
    ]
