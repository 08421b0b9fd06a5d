"""A lab is split: the parts together are the whole."""

# ruff: noqa: E501 - a table row is one line, so that file and words are read together

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.splitting.split import Split, split
from kokofast.topology import TopologyError, load
from kokofast.topology.loader import load_hosts, load_to_split
from kokofast.topology.model import Address, End, Link, Topology

H1 = {"address": "192.0.2.1", "parent": "eth0"}
H2 = {"address": "192.0.2.2", "parent": "ens3"}
HOSTS = {"h1": H1, "h2": H2}
NODES: dict[str, dict[str, Any]] = {"a": {"host": "h1"}, "b": {"host": "h1"}, "c": {"host": "h2"}, "d": {"host": "h2"}}


def split_tree(tree: object) -> tuple[Topology, Split]:
    topology, document = load_to_split(json.dumps(tree).encode(), filename="lab.json")
    return topology, split(topology, document)


def parts_of(found: Split) -> dict[str, Topology]:
    return {name: load(json.dumps(part.tree()).encode(), filename=f"{name}.json") for name, part in found.parts.items()}


def lab(*links: object, **more: Any) -> dict[str, Any]:
    return {"name": "lab", "hosts": HOSTS, "nodes": NODES, "links": list(links), **more}


def trees(*links: object, **more: Any) -> dict[str, list[object]]:
    """The links of each part."""
    _, found = split_tree(lab(*links, **more))
    return {name: part.links for name, part in found.parts.items()}


def problems_of(tree: object) -> list[str]:
    with pytest.raises(TopologyError) as failed:
        split_tree(tree)
    return [f"{problem.place}: {problem.message}" for problem in failed.value.problems]


def plain(value: object) -> object:
    return value.text if isinstance(value, Address) else value


def properties(end: End, mtu: int | None) -> dict[str, object]:
    mirror = (end.mirror.source, end.mirror.direction) if end.mirror is not None else None
    return {
        "addresses": [address.text for address in end.addresses],
        "mtu": end.mtu if end.mtu is not None else mtu,
        "mirror": mirror,
        "properties": dict(end.properties),
        **{name: getattr(end, name) for name in ("mac", "txqlen", "queues", "up", "dad", "cost")},
    }


def shown(link: Link, mtu: int | None = None) -> object:
    """All that a link has, but for its places."""
    return (
        link.kind,
        {name: plain(value) for name, value in link.options.items()},
        [(end.node, end.ifname, properties(end, mtu)) for end in link.ends],
    )


def test_a_link_within_a_host_stays_as_it_is() -> None:
    inside = [
        ["a:x", "b:x"],
        {"endpoints": [{"node": "a", "interface": "y", "mac": "02:00:00:00:00:01"}, "b:y:10.0.0.1/24"], "mtu": 9000},
        {"type": "vlan", "endpoint": "a:v", "parent": "eth9", "id": 7},
    ]
    assert trees(*inside) == {"h1": inside, "h2": []}


def test_a_link_between_hosts_is_one_on_each() -> None:
    found = trees({"endpoints": ["a:x:10.0.0.1/24", {"node": "c", "interface": "y", "loss": "1%"}], "delay": "5ms"})
    (one,), (other,) = found["h1"], found["h2"]
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    vni = one.pop("vni")
    assert vni == other.pop("vni")
    assert 1 <= vni < 1 << 24
    common = {"type": "vxlan", "delay": "5ms", "mtu": 1450}
    assert one == {**common, "endpoint": "a:x:10.0.0.1/24", "parent": "eth0", "remote": "192.0.2.2"}
    end = {"node": "c", "interface": "y", "loss": "1%"}
    assert other == {**common, "endpoint": end, "parent": "ens3", "remote": "192.0.2.1"}


def test_names_and_addresses_are_those_of_the_whole() -> None:
    links = [["a", "c"], ["a", "b"], ["c", "d"], {"endpoints": ["b", "d"], "subnet": "10.1.0.0/24"}]
    tree = lab(*links, defaults={"subnet": "10.0.0.0/24", "delay": "1ms"})
    whole, found = split_tree(tree)
    parts = parts_of(found)
    ends = {(end.node, end.ifname): [one.text for one in end.addresses] for link in whole.links for end in link.ends}
    assert ends["b", "eth1"] == ["10.1.0.0/31"]
    there = [(end.node, end.ifname, end) for part in parts.values() for link in part.links for end in link.ends]
    assert {(node, ifname): [one.text for one in end.addresses] for node, ifname, end in there} == ends
    assert len(there) == len(ends)
    assert all(part.defaults == {"delay": "1ms"} for part in parts.values())


def test_numbers_do_not_depend_on_the_other_links() -> None:
    numbers = {}
    for count in (20, 40):
        links = [[f"a:x{number}", f"c:x{number}"] for number in range(count)]
        found = split_tree(lab(*(links if count == 20 else reversed(links))))[1]
        numbers[count] = {joint.link.title(): joint.number for joint in found.joints.values()}
    assert numbers[20].items() <= numbers[40].items()
    swapped = split_tree(lab(["c:x0", "a:x0"]))[1].joints[0].number
    assert swapped == numbers[20]["a:x0--c:x0"]
    assert split_tree(lab(["a:x0", "c:x0"], name="other"))[1].joints[0].number != swapped


def test_links_that_the_file_has_keep_their_numbers() -> None:
    own = {"type": "vxlan", "endpoint": "a:v", "parent": "eth0", "remote": "198.51.100.1", "vni": 5}
    found = trees(own, ["a:x", "c:x"], ["a:y", "c:y"], between={"vni": "5-7", "port": 8472})
    assert found["h1"][0] == own
    assert {link["vni"] for link in found["h1"][1:] if isinstance(link, dict)} == {6, 7}
    assert {link["port"] for link in found["h1"][1:] if isinstance(link, dict)} == {8472}


@pytest.mark.parametrize(
    ("between", "own", "expected"),
    [
        ("vlan", None, {"type": "vlan", "id": 1234}),
        ({"type": "vlan", "id": "7-7", "protocol": "802.1ad"}, None, {"type": "vlan", "id": 7, "protocol": "802.1ad"}),
        ("macvlan", None, {"type": "macvlan"}),
        ("vlan", {"type": "macvlan", "mode": "vepa"}, {"type": "macvlan", "mode": "vepa"}),
        ({"type": "vlan", "protocol": "802.1ad"}, {"id": 9}, {"type": "vlan", "id": 9, "protocol": "802.1ad"}),
    ],
)
def test_other_links_between_hosts(between: object, own: object, expected: Mapping[str, object]) -> None:
    link = {"endpoints": ["a:x", "c:x"]} | ({} if own is None else {"between": own})
    found = trees(link, between=between)
    for name, end, parent in (("h1", "a:x", "eth0"), ("h2", "c:x", "ens3")):
        (entry,) = found[name]
        assert isinstance(entry, dict)
        number = {"id": entry["id"]} if expected.get("id") == 1234 else {}
        assert entry == {**expected, **number, "endpoint": end, "parent": parent, "mtu": 1500}
    if own is None and between == "vlan":
        assert found["h1"][0]["id"] == found["h2"][0]["id"]  # type: ignore[index]


def test_ipv6_underlay() -> None:
    hosts = {name: {**HOSTS[name], "address": address} for name, address in (("h1", "2001:db8::1"), ("h2", "fe80::2"))}
    found = trees(["a:x", "c:x"], hosts=hosts)
    (one,) = found["h1"]
    assert isinstance(one, dict)
    assert (one["remote"], one["mtu"]) == ("fe80::2", 1430)


def test_defaults_of_the_file_do_not_change_what_is_between_hosts() -> None:
    defaults = {"ttl": 3, "local": "198.51.100.1", "learning": False, "port": 1, "mode": "vepa", "parent": "x"}
    defaults |= {"remote": "198.51.100.2", "vni": 4, "offload": False, "queues": 2}
    _, found = split_tree(lab(["a:x", "c:x"], defaults=defaults))
    (link,) = parts_of(found)["h2"].links
    options = {name: plain(value) for name, value in link.options.items()}
    del options["vni"]
    assert options == {
        "parent": "ens3",
        "remote": "192.0.2.1",
        "local": "192.0.2.2",
        "ttl": 0,
        "learning": True,
        "port": 4789,
    }
    assert link.ends[0].queues == 2


def test_a_segment_is_where_most_of_its_ends_are() -> None:
    found = parts_of(split_tree(lab({"type": "bridge", "endpoints": ["a", "c:x", "d:x"]}, ["a", "b"]))[1])
    links = {name: [(link.kind, link.title(), link.ends[0].mtu) for link in part.links] for name, part in found.items()}
    assert links == {
        "h1": [("vxlan", "a:eth0", 1450), ("veth", "a:eth1--b:eth0", None)],
        "h2": [
            ("bridge", "lab-segments-br0:br0", None),
            ("vxlan", "lab-segments-br0:br0p0", 1450),
            ("veth", "c:x--lab-segments-br0:br0p1", 1450),
            ("veth", "d:x--lab-segments-br0:br0p2", 1450),
        ],
    }
    node = found["h2"].nodes["lab-segments-br0"]
    assert (node.kind, node.target, node.create) == ("netns", "lab-segments", True)
    assert found["h2"].links[1].ends[0].properties["master"] == "br0"


def test_a_bridge_of_the_file_may_have_ports_on_other_hosts() -> None:
    links = [
        {"type": "bridge", "endpoint": "a:br"},
        {"endpoints": [{"node": "a", "interface": "p1", "master": "br"}, "b:x"]},
        {"endpoints": [{"node": "a", "interface": "p2", "master": "br"}, "c:x"]},
    ]
    found = parts_of(split_tree(lab(*links))[1])
    assert [(link.kind, link.ends[0].mtu) for link in found["h1"].links] == [
        ("bridge", None),
        ("veth", 1450),
        ("vxlan", 1450),
    ]


def test_the_own_namespace_of_a_host() -> None:
    nodes = NODES | {"h2": {"host": True}}
    found = trees(["a:x", "h2:lab0"], {"type": "macvlan", "endpoint": "c:m", "parent": "h2:eth7"}, nodes=nodes)
    assert found["h2"][1] == {"type": "macvlan", "endpoint": "c:m", "parent": "h2:eth7"}
    _, whole = split_tree(lab(["a:x", "h2:lab0"], nodes=nodes))
    assert whole.parts["h2"].nodes["h2"] == {"host": True}


def test_a_node_may_have_the_name_of_a_host() -> None:
    nodes = NODES | {"h1": {"netns": "h1", "host": "h2"}}
    mirror = {
        "type": "vlan",
        "endpoint": {"node": "a", "interface": "v", "mirror": {"from": "x"}},
        "parent": "eth7",
        "id": 7,
    }
    found = trees(["a:x", "h1:x"], mirror, nodes=nodes)
    assert found["h1"][1] == mirror
    assert len(found["h2"]) == 1


def test_what_excludes_each_other_on_one_host_only() -> None:
    def vlan(node: str) -> dict[str, object]:
        return {"type": "vlan", "endpoint": f"{node}:v", "parent": "eth0", "id": 10}

    assert trees(vlan("a"), vlan("c")) == {"h1": [vlan("a")], "h2": [vlan("c")]}
    assert problems_of(lab(vlan("a"), vlan("b"))) == [
        "$.links[1].id: a parent has each vlan id once: see a:v at $.links[0]"
    ]
    same = {"a": {"netns": "n", "host": "h1"}, "c": {"netns": "n", "host": "h2"}}
    assert trees(["a:x", "c:x"], nodes=same).keys() == {"h1", "h2"}


def test_routes_are_those_of_the_whole() -> None:
    tree = lab(
        ["a:x", "c:x"],
        ["c:y", "d:y"],
        ["b:z", "a:z"],
        defaults={"subnet": "10.0.0.0/24"},
        routing="shortest-path",
        nodes=NODES
        | {
            "d": {"host": "h2", "routes": [{"to": "10.0.0.4/31", "via": "10.0.0.2"}]},
            "c": {"host": "h2", "sysctls": {"net.ipv4.ip_forward": 0, "net.ipv4.conf.all.rp_filter": 0}},
        },
    )
    _, found = split_tree(tree)
    nodes = {name: node for part in found.parts.values() for name, node in part.nodes.items()}
    assert nodes == {
        "a": {
            "netns": "a",
            "routes": [{"to": "10.0.0.2/31", "via": "10.0.0.1", "dev": "x"}],
            "sysctls": {"net.ipv4.ip_forward": 1},
        },
        "b": {
            "netns": "b",
            "routes": [
                {"to": "10.0.0.0/31", "via": "10.0.0.5", "dev": "z"},
                {"to": "10.0.0.2/31", "via": "10.0.0.5", "dev": "z"},
            ],
        },
        "c": {
            "netns": "c",
            "sysctls": {"net.ipv4.ip_forward": 0, "net.ipv4.conf.all.rp_filter": 0},
            "routes": [{"to": "10.0.0.4/31", "via": "10.0.0.0", "dev": "x"}],
        },
        "d": {
            "netns": "d",
            "routes": [
                {"to": "10.0.0.4/31", "via": "10.0.0.2"},
                {"to": "10.0.0.0/31", "via": "10.0.0.2", "dev": "y"},
            ],
        },
    }
    assert all("routing" not in part.tree() for part in found.parts.values())


def test_routes_by_several_neighbours() -> None:
    links = [["a", "b"], ["a", "c"], ["b", "d"], ["c", "d"]]
    tree = lab(*links, defaults={"subnet": "10.0.0.0/24"}, routing={"mode": "shortest-path", "multipath": True})
    tree["nodes"] = {**NODES, "d": {"host": "h2", "addresses": ["10.255.0.4"]}}
    _, found = split_tree(tree)
    routes = found.parts["h1"].nodes["a"]["routes"]
    assert {"to": "10.255.0.4", "via": ["10.0.0.1", "10.0.0.3"]} in routes
    assert {"to": "10.0.0.4/31", "via": "10.0.0.1", "dev": "eth0"} in routes
    parts_of(found)


X = ["a:x", "c:x"]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"links": []}, [": the file has no 'hosts': add them, or give a file that has them with --hosts"]),
        (
            lab(["a:x", "e:x"], ["f:y", "e:y"]),
            ["$.links[0][1]: e, f have no host: give each a 'host' in 'nodes', or let --place choose"],
        ),
        (
            lab(*(["a", f"n{number}"] for number in range(9)), nodes={"a": {"host": "h1"}}),
            [
                "$.links[0][1]: n0, n1, n2, n3, n4 and 4 more have no host: "
                "give each a 'host' in 'nodes', or let --place choose"
            ],
        ),
        (
            lab({"endpoints": X, "mtu": 1500}),
            [
                "$.links[0].mtu: 1500 is too large: h1 and h2 carry 1500 bytes between them, of which a vxlan link "
                "leaves 1450; give at most 1450, or the hosts the mtu that they have"
            ],
        ),
        (
            lab(X, defaults={"mtu": 9000}),
            [
                "$.defaults.mtu: 9000 is too large: h1 and h2 carry 1500 bytes between them, of which a vxlan link "
                "leaves 1450; give at most 1450, or the hosts the mtu that they have"
            ],
        ),
        (
            lab(["a:x:2001:db8::1/64", "c:x"], hosts={"h1": H1, "h2": H2 | {"mtu": 1300}}),
            [
                "$.links[0][0]: IPv6 needs an mtu of 1280, and h1 and h2 carry 1300 bytes between them, of "
                "which a vxlan link leaves 1250; give the hosts a larger mtu"
            ],
        ),
        (
            lab(X, hosts={"h1": H1, "h2": H2 | {"address": "2001:db8::2"}}),
            [
                "$.links[0]: h1 has the address 192.0.2.1 and h2 2001:db8::2: "
                "a vxlan link between them needs both IPv4, or both IPv6"
            ],
        ),
        (
            lab({"endpoints": ["a:x", {"node": "c", "interface": "x", "offload": False}]}),
            [
                "$.links[0].endpoints[1].offload: the link is between h1 and h2, and a vxlan link has no 'offload'; "
                "leave it out, or put both nodes on one host"
            ],
        ),
        (
            lab(["a:x", "c:x"], ["a:y", "c:y"], ["a:z", "c:z"], between={"vni": "7-8"}),
            [
                "$.between: the vnis 7 to 8 are 2, and 1 of the links between hosts find none left; "
                "give a larger range (vni of 'between')"
            ],
        ),
        (
            lab(
                {"endpoints": ["a:x", "c:x"], "between": {"vni": 7}},
                {"endpoints": ["a:y", "c:y"], "between": {"vni": 7}},
            ),
            ["$.links[1].between: vni 7 is that of a:x--c:x at $.links[0] as well; give each link its own"],
        ),
        (
            lab(["a:x", "h1:x"]),
            [
                "$.links[0][1]: h1 is a host; declare the node: "
                '{"h1": {"host": true}} for its own namespace, else {"h1": {"netns": "h1"}}'
            ],
        ),
        (
            lab(["a:x", "me:x"], nodes=NODES | {"me": {"host": True}}),
            ["$.nodes.me.host: true is the own namespace of a host, so the node has the name of one: h1, h2"],
        ),
        (lab(X, nodes={"a": {"host": "h3"}}), ["$.nodes.a.host: unknown host 'h3'; known: h1, h2"]),
        ({"nodes": {"a": {"host": "h1"}}, "links": []}, ["$.nodes.a.host: the file has no 'hosts'; add them, or leave this out"]),
        (
            lab(X, hosts={"h1": H1, "h2": H1}),
            ["$.hosts.h2.address: 192.0.2.1 is the address of the host h1 as well; each host has one of its own"],
        ),
        (
            lab(["a:x", "h1:eth0"], nodes=NODES | {"h1": {"host": True}}),
            ["$.links[0][1]: h1 has an interface eth0 already, that of the underlay; choose another name"],
        ),
        (
            lab({"type": "vlan", "endpoint": "a:v", "parent": "c:x", "id": 1}, ["c:x", "d:x"]),
            ["$.links[0].parent: the parent is on the host h2, and a on h1: both have to be on one"],
        ),
        (lab(hosts={}), ["$.hosts: must have at least one host"]),
        (lab(hosts=[]), ["$.hosts: must be an object, not a list"]),
        (lab(hosts={"../x": H1, "h1": H1, "h2": H2}), ["$.hosts['../x']: '../x' cannot be a host's name: 1 to 100 letters, digits, '.', '_' or '-', a letter or digit first"]),
        (lab(hosts=HOSTS | {"h3": {"address": "x", "parent": "a/b", "mtu": 1, "vars": []}}), [
            "$.hosts.h3.address: 'x' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64",
            "$.hosts.h3.parent: the interface name 'a/b' has a slash or a colon in it",
            "$.hosts.h3.mtu: must be a whole number from 256 to 65535, not 1",
            "$.hosts.h3.vars: must be an object, not a list",
        ]),
        (lab(hosts=HOSTS | {"h3": {"address": "224.0.0.1", "parent": "e"}}), ["$.hosts.h3.address: '224.0.0.1' is a multicast address; a link's end cannot have it"]),
        (lab(hosts=HOSTS | {"h3": {"adress": "192.0.2.3", "parent": "e"}}), [
            "$.hosts.h3: a host needs 'address'", "$.hosts.h3.adress: unknown key 'adress'; did you mean 'address'?",
        ]),
        (lab(between={"vni": "9-5"}), ["$.between.vni: must be a number from 1 to 16777215, or a range such as \"1-16777215\", not '9-5'"]),
        (lab(between={"type": "vlan", "vni": 5}), ["$.between.vni: a vlan link has no 'vni'"]),
        (lab(between={"type": "macvlan", "mode": "passthru"}), ["$.between.mode: must be one of bridge, private, vepa, not 'passthru'"]),
        (lab(hosts={"\x1f": H1}, nodes={"a": {"host": "h1"}}), [
            "$.hosts['\\x1f']: '\\x1f' cannot be a host's name: 1 to 100 letters, digits, '.', '_' or '-', a letter or digit first",
        ]),
        (lab({"type": "vlan", "endpoint": {"node": "a", "mirror": {"from": "x"}}, "id": 7, "parent": "eth0"}, hosts={}), ["$.hosts: must have at least one host"]),
        (lab(between="veth"), ["$.between: must be one of vxlan, vlan, macvlan, not 'veth'"]),
        (lab(between=7), ["$.between: must be a type such as \"vlan\", or an object with \"type\", not 7"]),
        (lab({"endpoints": X, "between": {"mode": "bridge"}}), ["$.links[0].between.mode: a vxlan link has no 'mode'"]),
        ({"links": [{"endpoints": X, "between": "vlan"}]}, ["$.links[0].between: is for links between hosts, and the file has no 'hosts'"]),
        ({"between": "vlan", "links": []}, ["$.between: is for links between hosts, and the file has no 'hosts'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_split(tree: object, expected: list[str]) -> None:
    assert problems_of(tree) == expected


def test_hosts_of_another_file() -> None:
    hosts = load_hosts(json.dumps({"hosts": HOSTS, "between": {"port": 5}}).encode(), filename="hosts.json")
    data = json.dumps({"name": "lab", "nodes": NODES, "links": [X]}).encode()
    topology, document = load_to_split(data, filename="lab.json", hosts=hosts)
    (link,) = split(topology, document).parts["h1"].links
    assert link["port"] == 5  # type: ignore[index]
    assert topology.hosts["h1"].place == "hosts.json $.hosts.h1"
    with pytest.raises(TopologyError, match="the hosts are given in a file of their own as well"):
        load_to_split(json.dumps(lab(X)).encode(), filename="lab.json", hosts=hosts)
    for tree, words in (
        ({"hosts": HOSTS, "links": [X]}, "does not belong to a file of hosts"),
        ({"between": "vlan"}, "has no 'hosts'"),
        ({"hosts": {"h1": {}}}, "needs 'address'"),
    ):
        with pytest.raises(TopologyError, match=words):
            load_hosts(json.dumps(tree).encode(), filename="hosts.json")


def test_variables_are_kept_as_they_are() -> None:
    given = {"ansible_user": "root", "list": [1, 2.5, {"x": None}], "big": 10**30}
    topology, _ = split_tree(lab(hosts={"h1": H1 | {"vars": given}, "h2": H2}))
    assert topology.hosts["h1"].variables == given


NAMES = [f"n{number}" for number in range(6)]
MACS = st.integers(1, 255).map(lambda number: f"02:00:00:00:00:{number:02x}")
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "mac": MACS,
        "mtu": st.integers(1280, 1400),
        "txqlen": st.integers(0, 9),
        "queues": st.sampled_from([1, 2, "auto"]),
        "up": st.booleans(),
        "dad": st.booleans(),
        "cost": st.integers(1, 9),
        "delay": st.sampled_from(["1ms", "20ms"]),
        "rate": st.sampled_from(["1mbit", "3gbit"]),
        "altnames": st.just(["other"]),
    },
)


@st.composite
def labs(draw: st.DrawFn) -> dict[str, Any]:
    """Files of labs on up to four hosts."""
    hosts = [f"h{number}" for number in range(draw(st.integers(1, 4)))]
    nodes: dict[str, Any] = {
        name: {"host": draw(st.sampled_from(hosts))}
        | draw(st.sampled_from([{}, {"netns": f"ns-{name}"}, {"path": f"/x/{name}"}]))
        for name in NAMES
    }
    ifnames = iter(range(1000))

    def end() -> object:
        node = draw(st.sampled_from(NAMES))
        match draw(st.integers(0, 4)):
            case 0:
                return node
            case 1:
                return f"{node}:i{next(ifnames)}"
            case 2:
                number = next(ifnames)
                return f"{node}:i{number}:10.{number >> 8}.{number & 255}.1/24,2001:db8:{number:x}::1/64"
            case 3:
                return {"node": node, **draw(FIELDS)}
            case _:
                return {"node": node, "interface": f"i{next(ifnames)}", "addresses": [f"172.16.0.{next(ifnames)}"]}

    links: list[object] = []
    for _ in range(draw(st.integers(0, 8))):
        match draw(st.integers(0, 5)):
            case 0:
                links.append({"type": "dummy", "endpoint": end(), **draw(FIELDS)})
            case 1:
                links.append(
                    {"type": "bridge", "endpoints": [end() for _ in range(draw(st.integers(0, 4)))], **draw(FIELDS)}
                )
            case 2:
                links.append([end(), end()])
            case _:
                links.append({"endpoints": [end(), end()], **draw(FIELDS)})
    defaults = draw(FIELDS) | draw(
        st.sampled_from([{}, {"subnet": "198.18.0.0/16"}, {"create": True, "port": 9, "type": "veth"}])
    )
    between = draw(st.sampled_from(["vxlan", "vlan", "macvlan", {"vni": "5-90", "port": 8472}]))
    return {
        "name": "lab",
        "hosts": {name: {"address": f"192.0.2.{number}", "parent": "eth0"} for number, name in enumerate(hosts, 1)},
        "between": between,
        "defaults": {key: value for key, value in defaults.items() if key not in ("mac", "altnames")},
        "nodes": nodes,
        "links": links,
    }


@given(labs())
def test_the_parts_together_are_the_whole(tree: dict[str, Any]) -> None:
    try:
        whole, document = load_to_split(json.dumps(tree).encode(), filename="lab.json")
    except TopologyError:
        return
    found = split(whole, document)
    parts = parts_of(found)
    rest = {name: list(part.links) for name, part in parts.items()}
    lans = lan_mtus(whole, found)
    for number, link in enumerate(whole.links):
        mtu = lans.get((link.ends[-1].node, str(link.ends[-1].properties.get("master"))))
        joint = found.joints.get(number)
        hosts = [whole.nodes[end.node].host for end in link.ends]
        if joint is None:
            assert len(set(hosts)) == 1
            twin = rest[str(hosts[0])].pop(0)
            has_mtu = any(end.mtu is not None for end in link.ends)
            assert shown(twin) == shown(link, None if has_mtu else mtu)
            continue
        assert [host.name for host in joint.hosts] == hosts
        assert hosts[0] != hosts[1]
        twins = [rest[str(host)].pop(0) for host in hosts]
        for twin, end, here, there in zip(twins, link.ends, joint.hosts, joint.hosts[::-1], strict=True):
            assert (twin.kind, twin.parent) == (joint.between.kind, ("", here.parent))
            (its,) = twin.ends
            assert (its.node, its.ifname) == (end.node, end.ifname)
            assert properties(its, None) == properties(end, joint.mtu if mtu is None else mtu)
            if joint.way.remote:
                assert plain(twin.options["remote"]) == there.address.text
        one, other = ({**twin.options, "remote": None} for twin in twins)
        assert one == other
        if joint.way.number:
            assert one[joint.way.number] == joint.number
    assert not any(rest.values())
    numbers = [joint.number for joint in found.joints.values() if joint.way.number]
    assert len(set(numbers)) == len(numbers)
    for name, node in whole.nodes.items():
        assert node.host is not None
        twin_node = parts[node.host].nodes.get(name)
        assert twin_node is None or (twin_node.kind, twin_node.target, twin_node.create) == (
            node.kind,
            node.target,
            node.create,
        )
        assert twin_node is not None or name not in tree["nodes"]


def lan_mtus(whole: Topology, found: Split) -> dict[tuple[str, str], int]:
    """The MTU of each segment that is on several hosts."""
    lans: dict[tuple[str, str], int] = {}
    for joint in found.joints.values():
        port = joint.link.ends[-1]
        if "master" in port.properties:
            lans[port.node, str(port.properties["master"])] = joint.mtu
    return lans
