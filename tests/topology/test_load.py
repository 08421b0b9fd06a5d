"""What load() makes of a right file, and which problems, at which places, it finds in a wrong one."""

# ruff: noqa: E501 - a table row is one line, so that file and words are read together

from __future__ import annotations

import json
from typing import Any

import pytest

from kokofast.topology import TopologyError, load
from kokofast.topology.model import End, Topology
from kokofast.topology.nodes import CALLER_HINT

pytestmark = pytest.mark.usefixtures("veth_only")

OK = ["a:eth0", "b:eth0"]


def load_tree(tree: object, **options: Any) -> Topology:
    return load(json.dumps(tree).encode(), filename="links.json", **options)


def problems(data: bytes | str, filename: str, **options: Any) -> list[str]:
    """The problems of a file as text; a test of a file without problems fails."""
    raw = data.encode() if isinstance(data, str) else data
    with pytest.raises(TopologyError) as caught:
        load(raw, filename=filename, **options)
    found = [
        f"{problem.place}: {problem.message}" if problem.place else problem.message for problem in caught.value.problems
    ]
    assert all(text.isprintable() for text in found)
    return found


def tree_problems(tree: object) -> list[str]:
    return problems(json.dumps(tree), "links.json")


def shape_of(end: End) -> tuple[object, ...]:
    texts = tuple(address.text for address in end.addresses)
    return end.node, end.ifname, texts, end.mac, end.mtu, end.txqlen, end.queues, end.up


def test_everything_at_once() -> None:
    topology = load_tree(
        {
            "name": "fabric1",
            "defaults": {"mtu": 9000, "create": True},
            "nodes": {
                "r1": {"docker": "clab-r1"},
                "r2": {"netns": "blue"},
                "r3": {"pid": 4711},
                "r4": {"path": "/run/netns/r4"},
                "r5": {"cri": "3f2a", "socket": "/run/crio/crio.sock"},
                "r6": {"podman": "p"},
                "r7": {"netns": "r7", "create": False},
                "me": {"host": True},
            },
            "links": [
                {"endpoints": ["r1:eth1", "r2:eth1"]},
                {"endpoints": ["r2:eth2:10.0.0.0/31,2001:db8::/127", "free:eth1:10.0.0.1/31"], "mtu": 1400},
                {
                    "endpoints": [
                        {
                            "node": "me",
                            "interface": "eth3",
                            "mac": "02:aa:c1:00:00:01",
                            "addresses": ["2001:db8::1/64"],
                            "mtu": 1300,
                            "queues": "auto",
                            "txqlen": 0,
                            "up": False,
                            "mirror": {"from": "eth0"},
                        },
                        "r4:eth1",
                    ]
                },
            ],
        }
    )
    assert topology.name == "fabric1"
    nodes = {n.name: (n.kind, n.target, n.create, n.socket, n.place) for n in topology.nodes.values()}
    assert nodes == {
        "r1": ("docker", "clab-r1", False, None, "$.nodes.r1"),
        "r2": ("netns", "blue", True, None, "$.nodes.r2"),
        "r3": ("pid", "4711", False, None, "$.nodes.r3"),
        "r4": ("path", "/run/netns/r4", False, None, "$.nodes.r4"),
        "r5": ("cri", "3f2a", False, "/run/crio/crio.sock", "$.nodes.r5"),
        "r6": ("podman", "p", False, None, "$.nodes.r6"),
        "r7": ("netns", "r7", False, None, "$.nodes.r7"),
        "me": ("host", "", False, None, "$.nodes.me"),
        "free": ("netns", "free", True, None, "$.links[1].endpoints[1]"),
    }
    first, second, third = topology.links
    assert (first.kind, first.place, first.options, first.title()) == ("veth", "$.links[0]", {}, "r1:eth1--r2:eth1")
    assert shape_of(first.ends[0]) == ("r1", "eth1", (), None, 9000, None, 1, True)
    assert shape_of(second.ends[0]) == ("r2", "eth2", ("10.0.0.0/31", "2001:db8::/127"), None, 1400, None, 1, True)
    mac = bytes.fromhex("02aac1000001")
    assert shape_of(third.ends[0]) == ("me", "eth3", ("2001:db8::1/64",), mac, 1300, 0, None, False)
    mirror = third.ends[0].mirror
    assert mirror is not None
    assert (mirror.source, mirror.direction) == ("eth0", "both")
    assert third.ends[1].mtu == 9000


def test_places_name_the_origin() -> None:
    end = {"node": "c", "interface": "x", "mtu": 70, "addresses": ["10.0.0.1/8", "10.0.0.2/8"]}
    tree = {
        "defaults": {"mtu": 9000, "txqlen": 5},
        "links": [{"endpoints": OK, "queues": 2}, {"endpoints": [end, "d:x"]}],
    }
    first, second = load_tree(tree).links
    short, full = first.ends[1], second.ends[0]
    assert (short.place, short.where("ifname")) == ("$.links[0].endpoints[1]", "$.links[0].endpoints[1]")
    assert short.where("mtu") == "$.defaults.mtu"
    assert short.where("queues") == "$.links[0].queues" == first.where("queues")
    assert first.where("mtu") == "$.links[0]"
    assert full.where("mtu") == "$.links[1].endpoints[0].mtu"
    assert full.where("txqlen") == "$.defaults.txqlen"
    assert full.where("ifname") == "$.links[1].endpoints[0].interface"
    assert full.where("addresses[1]") == "$.links[1].endpoints[0].addresses[1]"
    assert full.where("up") == "$.links[1].endpoints[0]"


def test_properties_of_ends() -> None:
    end = {"node": "a", "interface": "x", "master": "br1"}
    tree = {"defaults": {"master": "br0"}, "links": [{"endpoints": [end, "b:x"], "mtu": 1400}]}
    first, second = load_tree(tree).links[0].ends
    assert (first.properties, second.properties) == ({"master": "br1"}, {"master": "br0"})
    assert (first.mtu, first.where("master")) == (1400, "$.links[0].endpoints[0].master")
    assert second.where("master") == "$.defaults.master"
    assert load_tree([{"endpoints": OK}]).links[0].ends[0].properties == {}


def test_places_of_each_format() -> None:
    bare = load_tree([{"endpoints": OK, "mtu": 70}]).links[0]
    assert (bare.place, bare.ends[1].place, bare.ends[1].where("mtu")) == ("$[0]", "$[0].endpoints[1]", "$[0].mtu")
    text = b'\n{"endpoints": ["a:b", "c:d"], "mtu": 70}\n\n'
    line = load(text, filename="d/links.jsonl").links[0]
    assert (line.place, line.ends[0].where("mtu")) == ("d/links.jsonl:2", "d/links.jsonl:2 mtu")
    assert line.ends[0].place == "d/links.jsonl:2 endpoints[0]"
    text = b"mtu,a_node,a_if,b_node,b_if,b_ip\r\n\r\n70,a,x,b,y,10.0.0.1/8\r\n"
    row = load(text, filename="links.csv").links[0]
    assert (row.place, row.ends[0].where("mtu")) == ("links.csv:3", "links.csv:3 mtu")
    assert row.ends[1].where("addresses[0]") == "links.csv:3 b_ip"
    assert row.ends[1].where("ifname") == row.ends[1].place == "links.csv:3 b_if"


def test_inheritance() -> None:
    end = {"node": "b", "interface": "y", "addresses": [], "up": True}
    tree = {
        "defaults": {"up": False, "queues": 4},
        "links": [{"endpoints": ["a:x:10.0.0.2/8", end], "addresses": ["10.0.0.1/8"], "queues": "auto"}],
    }
    left, right = load_tree(tree).links[0].ends
    assert (left.up, left.queues, [a.text for a in left.addresses]) == (False, None, ["10.0.0.2/8"])
    assert left.where("addresses[0]") == left.place
    assert (right.up, right.queues, right.addresses) == (True, None, ())


@pytest.mark.parametrize(
    ("defaults", "node", "argument", "expected"),
    [
        ({}, {}, False, False),
        ({}, {}, True, True),
        ({"create": True}, {}, False, True),
        ({"create": False}, {}, True, True),
        ({"create": True}, {"create": False}, True, False),
        ({}, {"create": True}, False, True),
    ],
)
def test_create(defaults: dict[str, Any], node: dict[str, Any], argument: bool, expected: bool) -> None:
    tree = {"defaults": defaults, "nodes": {"a": {"netns": "a", **node}}, "links": [{"endpoints": OK}]}
    assert load_tree(tree, create=argument).nodes["a"].create is expected


def test_a_declared_name_wins_over_the_first_colon() -> None:
    tree = {"nodes": {"x:y": {"docker": "c"}}, "links": [{"endpoints": ["x:y:eth0:10.0.0.1/8", "x:z"]}]}
    first, second = load_tree(tree).links[0].ends
    assert (first.node, first.ifname, len(first.addresses)) == ("x:y", "eth0", 1)
    assert (second.node, second.ifname) == ("x", "z")


@pytest.mark.parametrize(
    ("filename", "name", "in_file", "expected"),
    [
        ("d/fabric.v1.json", None, None, "fabric.v1"),
        ("-", None, None, "stdin"),
        ("links.json", None, "lab", "lab"),
        ("links.json", "other", "lab", "other"),
    ],
)
def test_lab_name(filename: str, name: str | None, in_file: str | None, expected: str) -> None:
    tree: dict[str, object] = {"links": []} | ({"name": in_file} if in_file else {})
    assert load(json.dumps(tree).encode(), filename=filename, name=name).name == expected


def test_lab_name_refused() -> None:
    assert problems('{"links": []}', "my links.json")[0].startswith(
        "my links.json: 'my links' cannot be the lab's name"
    )
    assert problems('{"links": [], "name": "a b"}', "l.json")[0].startswith("$.name: 'a b' cannot be the lab's name")
    assert problems('{"links": [], "name": 5}', "l.json") == ["$.name: must be text, not 5"]
    assert problems("[]", "l.json", name="/")[0].startswith("--name: '/' cannot be the lab's name")


VETH = {"endpoints": OK}
HOST_WORDS = f"'host' is not declared: {CALLER_HINT}"
NODE_WORDS = "a node has exactly one of netns, path, pid, host, docker, podman, cri; this one has"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (5, ["$: must be an object with 'links', or a list of links, not 5"]),
        ({}, ["$: has no 'links'"]),
        ({"links": {}}, ["$.links: must be a list, not an object"]),
        ({"links": [], "nodes": []}, ["$.nodes: must be an object, not a list"]),
        ({"links": [], "defaults": None}, ["$.defaults: must be an object, not null"]),
        ({"links": [], "linkz": 1}, ["$.linkz: unknown key 'linkz'; did you mean 'links'?"]),
        ({"links": [], "$schema": 5}, ["$['$schema']: must be text, not 5"]),
        ([{"endpoints": ["host:x", "c:d"]}], [f"$[0].endpoints[0]: {HOST_WORDS}"]),
        ([3], ["$[0]: a link must be an object, or a list of its endpoints, not 3"]),
        ([{}], ["$[0]: a veth link needs 'endpoints'"]),
        ([VETH | {"mtuu": 1}], ["$[0].mtuu: unknown key 'mtuu'; did you mean 'mtu'?"]),
        # What a default contradicts at the second end only.
        ({"defaults": {"link_local": False}, "links": [["a", {"node": "b", "dad": False}]]},
         ["$.defaults.link_local: dad: false gives the end a link-local address in place of the kernel's; leave one of them out"]),
        ([VETH | {"mirror": []}], ['$[0].mirror: must be an object with "from" and "direction", not a list']),
        ([VETH | {"a\x1bb": 1}], ["$[0]['a\\x1bb']: unknown key 'a\\x1bb'; known: addresses, altnames, between, corrupt, corrupt_correlation, cost, dad, delay, delay_correlation, duplicate, duplicate_correlation, endpoints, jitter, lacp, limit, link_local, loss, loss_correlation, mac, master, mirror, mtu, offload, queues, rate, reorder, reorder_correlation, subnet, subnet6, txqlen, type, up"]),
        ([VETH | {"mtu": 67}], ["$[0].mtu: must be a whole number from 68 to 65535, not 67"]),
        ([VETH | {"mtu": 65536}], ["$[0].mtu: must be a whole number from 68 to 65535, not 65536"]),
        ([VETH | {"mtu": True}], ["$[0].mtu: must be a whole number from 68 to 65535, not true"]),
        ([VETH | {"mtu": "1500"}], ["$[0].mtu: must be a whole number from 68 to 65535, not '1500'"]),
        ([VETH | {"mtu": 1500.0}], ["$[0].mtu: must be a whole number from 68 to 65535, not the number 1500.0"]),
        ([VETH | {"mtu": None}], ["$[0].mtu: must be a whole number from 68 to 65535, not null"]),
        ([VETH | {"mtu": 10**30}], ["$[0].mtu: must be a whole number from 68 to 65535, not the number 10000000000000000000..."]),
        ([VETH | {"txqlen": -1}], ["$[0].txqlen: must be a whole number from 0 to 4294967295, not -1"]),
        ([VETH | {"txqlen": 2**32}], ["$[0].txqlen: must be a whole number from 0 to 4294967295, not 4294967296"]),
        ([VETH | {"queues": 0}], ['$[0].queues: must be a whole number from 1 to 4096, or "auto", not 0']),
        ([VETH | {"queues": "many"}], ["$[0].queues: must be a whole number from 1 to 4096, or \"auto\", not 'many'"]),
        ([VETH | {"up": 1}], ["$[0].up: must be true or false, not 1"]),
        ([VETH | {"mac": "x"}], ["$[0].mac: 'x' is not a MAC address: six hex pairs such as 02:aa:c1:00:00:01"]),
        ([VETH | {"mac": 5}], ["$[0].mac: must be a MAC address in text, not 5"]),
        ([VETH | {"addresses": "10.0.0.1"}], ["$[0].addresses: must be a list of addresses in text, not '10.0.0.1'"]),
        ([VETH | {"addresses": [1]}], ["$[0].addresses[0]: must be an address in text, not 1"]),
        ([VETH | {"mirror": "eth0"}], ['$[0].mirror: must be an object with "from" and "direction", not \'eth0\'']),
        ([VETH | {"mirror": {}}], ["$[0].mirror: it needs 'from'"]),
        ([VETH | {"mirror": {"from": "e", "direction": "up"}}], ["$[0].mirror.direction: must be one of both, ingress, egress, not 'up'"]),
        ([VETH | {"mirror": {"from": "a b"}}], ["$[0].mirror.from: the interface name 'a b' has white space in it"]),
        ([VETH | {"type": "vet"}], ["$[0].type: unknown link type 'vet'; did you mean 'veth'?"]),
        ([VETH | {"type": ["veth"]}], ["$[0].type: must be text, not a list"]),
        ([{"endpoints": ["a:b"]}], ["$[0].endpoints: a veth link has 2 ends, not 1"]),
        ([{"endpoints": "a:b"}], ["$[0].endpoints: must be a list of 2 endpoints, not 'a:b'"]),
        ([{"endpoints": [5, "a:b"]}], ["$[0].endpoints[0]: must be 'node', 'node:interface[:address,...]' or an object, not 5"]),
        ([{"endpoints": [":x", "a:"]}], ["$[0].endpoints[0]: the node name is empty", "$[0].endpoints[1]: the interface name is empty; without the colon the end gets one by itself"]),
        ([{"endpoints": ["a:x:", "a:b"]}], ["$[0].endpoints[0]: '' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64"]),
        ([{"endpoints": ["docker:c:eth0", "a:b"]}], ["$[0].endpoints[0]: 'eth0' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64 (the node is 'docker')"]),
        ([{"endpoints": ["a:x:10.0.0.1/8,10.0.0.1/8", "a:b"]}], ["$[0].endpoints[0]: the address '10.0.0.1/8' is given twice"]),
        ([{"endpoints": [{"node": "a", "interface": "x", "addresses": ["10.0.0.1/8", "x", "2001:db8::1/64", "2001:DB8::1/65"]}, "b:b"]}],
         ["$[0].endpoints[0].addresses[1]: 'x' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64",
          "$[0].endpoints[0].addresses[3]: the address '2001:DB8::1/65' is given twice"]),
        ([{"endpoints": [{"node": "a", "interface": "b/c", "mtu": 9}, {"node": "a", "ifname": "x"}]}],
         ["$[0].endpoints[0].interface: the interface name 'b/c' has a slash or a colon in it",
          "$[0].endpoints[0].mtu: must be a whole number from 68 to 65535, not 9",
          "$[0].endpoints[1].ifname: unknown key 'ifname'; known: addresses, altnames, corrupt, corrupt_correlation, cost, dad, delay, delay_correlation, duplicate, duplicate_correlation, interface, jitter, lacp, limit, link_local, loss, loss_correlation, mac, master, mirror, mtu, node, offload, queues, rate, reorder, reorder_correlation, txqlen, up"]),
        ([{"endpoints": [{"node": "a", "interface": "b/c", "mtu": 9}, "d:e/f"]}],
         ["$[0].endpoints[0].interface: the interface name 'b/c' has a slash or a colon in it",
          "$[0].endpoints[0].mtu: must be a whole number from 68 to 65535, not 9",
          "$[0].endpoints[1]: the interface name 'e/f' has a slash or a colon in it"]),
        ([{"endpoints": [{"node": "docker:c", "interface": "x"}, "d:e"]}],
         ["$[0].endpoints[0].node: 'docker:' is for CSV; declare the node: \"nodes\": {\"NAME\": {\"docker\": ...}}"]),
        ([VETH, {"endpoints": ["c:x", "a:eth0"]}], ["$[1].endpoints[1]: 'a:eth0' is already the end at $[0].endpoints[0]"]),
        ([VETH, VETH], ["$[1]: the link 'a:eth0--b:eth0' is there already at $[0]"]),
        ([VETH, {"endpoints": ["b:eth0", "a:eth0"]}], ["$[1]: the link 'b:eth0--a:eth0' is there already at $[0]"]),
        ([VETH, {"endpoints": ["c:x", "d:x"]}, {"endpoints": ["c:x", "b:eth0"]}],
         ["$[2].endpoints[0]: 'c:x' is already the end at $[1].endpoints[0]", "$[2].endpoints[1]: 'b:eth0' is already the end at $[0].endpoints[1]"]),
        ([{"endpoints": ["a:x", "a:x"]}], ["$[0].endpoints[1]: 'a:x' is already the end at $[0].endpoints[0]"]),
        ({"nodes": {"a": {"docker": "c"}, "b": {"docker": "c"}}, "links": [VETH]},
         ["$.links[0].endpoints[1]: 'b:eth0' is already the end at $.links[0].endpoints[0]"]),
        ({"nodes": {"b": {"path": "/run/netns/a"}}, "links": [VETH]},
         ["$.links[0].endpoints[1]: 'b:eth0' is already the end at $.links[0].endpoints[0]"]),
        ({"defaults": {"mtuu": 1}, "links": []}, ["$.defaults.mtuu: unknown key 'mtuu'; did you mean 'mtu'?"]),
        ({"defaults": {"mtu": 1}, "links": [VETH]}, ["$.defaults.mtu: must be a whole number from 68 to 65535, not 1"]),
        ({"defaults": {"mac": "x"}, "links": []}, ["$.defaults.mac: 'x' is not a MAC address: six hex pairs such as 02:aa:c1:00:00:01"]),
        ({"defaults": {"type": "x"}, "links": []}, ["$.defaults.type: must be one of veth, not 'x'"]),
        ({"defaults": {"create": 1}, "links": []}, ["$.defaults.create: must be true or false, not 1"]),
        ({"defaults": {"endpoints": OK}, "links": []}, ["$.defaults.endpoints: unknown key 'endpoints'; known: addresses, altnames, corrupt, corrupt_correlation, cost, create, dad, delay, delay_correlation, duplicate, duplicate_correlation, jitter, lacp, limit, link_local, loss, loss_correlation, mac, master, mirror, mtu, offload, queues, rate, reorder, reorder_correlation, subnet, subnet6, txqlen, type, up"]),
        ({"nodes": {"r1": "x"}, "links": []}, ["$.nodes.r1: must be an object such as {\"netns\": \"r1\"}, not 'x'"]),
        ({"nodes": {"r1": {}}, "links": []}, [f"$.nodes.r1: {NODE_WORDS} none"]),
        ({"nodes": {"r1": {"pid": 1, "netns": "x"}}, "links": []}, [f"$.nodes.r1: {NODE_WORDS} netns and pid"]),
        ({"nodes": {"r1": {"netns": "x", "crate": True}}, "links": []}, ["$.nodes.r1.crate: unknown key 'crate'; did you mean 'create'?"]),
        ({"nodes": {"r1": {"pid": 0}}, "links": []}, ["$.nodes.r1.pid: must be a whole number from 1 to 4194304, not 0"]),
        ({"nodes": {"r1": {"pid": 4194305}}, "links": []}, ["$.nodes.r1.pid: must be a whole number from 1 to 4194304, not 4194305"]),
        ({"nodes": {"r1": {"path": "x"}}, "links": []}, ["$.nodes.r1.path: the path 'x' is not absolute"]),
        ({"nodes": {"r1": {"host": False}}, "links": []}, ["$.nodes.r1.host: must be true, not false"]),
        ({"nodes": {"r1": {"host": 1}}, "links": []}, ["$.nodes.r1.host: must be true, or the name of a host, not 1"]),
        ({"nodes": {"r1": {"docker": "c", "create": True}}, "links": []}, ["$.nodes.r1.create: only a netns node can be created, not a docker node"]),
        ({"nodes": {"r1": {"netns": "c", "socket": "/x"}}, "links": []}, ["$.nodes.r1.socket: a netns node has no socket; docker, podman, cri nodes do"]),
        ({"nodes": {"a b": {"netns": "../x"}}, "links": []}, ["$.nodes['a b'].netns: the namespace name '../x' is not a file name: no '/', not '.' or '..'"]),
        ({"nodes": {"x" * 256: {"netns": "x"}}, "links": []}, [f"$.nodes['{'x' * 40}'...]: the node name '{'x' * 60}'... has 256 bytes, the limit is 255"]),
        # A node that is wrong is complained about once, not at each link of it too.
        ({"nodes": {"a": {"docker": "c d"}}, "links": [VETH]},
         ["$.nodes.a.docker: 'c d' is not a container's name or id: letters, digits, '.', '_' or '-', a letter or digit first"]),
    ],
)  # fmt: skip
def test_problems(tree: object, expected: list[str]) -> None:
    assert tree_problems(tree) == expected


def test_all_problems_of_a_file() -> None:
    tree = {
        "nodes": {"n": {}},
        "defaults": {"txqlen": -1},
        "links": [VETH | {"mtu": 1, "mac": "x"}, 7, {"endpoints": ["a:eth0", "c:"]}, VETH | {"muu": 1}],
    }
    places = [text.split(": ")[0] for text in tree_problems(tree)]
    assert places == [
        "$.nodes.n",
        "$.defaults.txqlen",
        "$.links[0].mtu",
        "$.links[0].mac",
        "$.links[1]",
        "$.links[2].endpoints[0]",
        "$.links[2].endpoints[1]",
        "$.links[3]",
        "$.links[3].muu",
    ]


def test_a_format_that_is_none_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="unknown format"):
        load(b"[]", filename="-", format="toml")
