"""A topology of containerlab: its wiring becomes ours, and errors name its lines."""

# ruff: noqa: E501 - a table row is one line

from __future__ import annotations

from pathlib import Path

import pytest

from kokofast.importers.environment import expand
from kokofast.importers.importer import Options
from kokofast.importers.interface_names import InterfaceNames
from kokofast.topology import TopologyError, load
from kokofast.topology.model import Topology
from kokofast.topology.values import check_ifname

ODD = (Path(__file__).parent / "odd.clab.yml").read_text()


def read(text: str, **options: object) -> Topology:
    return load(text.encode(), filename="lab.clab.yml", options=Options(**options))  # type: ignore[arg-type]


def problems(text: str, **options: object) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        read(text, **options)
    return [str(problem) for problem in caught.value.problems]


def lab(*links: str, nodes: str = "{a: {kind: linux}, b: }") -> str:
    return f"name: x\ntopology:\n  nodes: {nodes}\n  links:\n" + "".join(f"    - {link}\n" for link in links)


def test_everything_odd_about_the_format() -> None:
    topology = read(ODD)
    assert (topology.name, topology.imported) == ("odd", "a topology of containerlab")
    assert {(link.kind, link.title(), link.ends[0].mtu) for link in topology.links} == {
        ("veth", "srl1:e1-1--srl2:e1-1", 9500),
        ("veth", "srl1:e1-2-3--sros:e1-1-c1-1", 1500),
        ("veth", "xr:Gigabi-8efa2ab9--xr:Gi0-0-0-1", 9500),
        ("veth", "h1:eth1--h2:eth1", 9500),
        ("veth", "h1:eth2--h3:eth2", 9000),
        ("veth", "host:a-veth-of-h1--h1:eth3", 9500),
        ("veth", "h1:eth4--host:h1-eth4", 9500),
        ("macvlan", "h2:eth6", None),
        ("macvlan", "h2:eth7", None),
        ("vxlan", "h1:vx1", None),
        ("vxlan", "h2:vx2", None),
        ("dummy", "h3:dummy0", None),
        ("veth", "h2:eth8--h3:eth8", 9500),
        ("bridge", "lan:lan", None),
        ("bridge", "a-bridge-with-a-long-name:br0", None),
        ("veth", "lan:p1--h1:eth9", 9500),
        ("veth", "lan:p2--side:eth9", 9500),
        ("veth", "lan:p3--a-bridge-with-a-long-name:p1", 9500),
        ("veth", "1:eth1--a-bridge-with-a-long-name:p2", 9500),
    }
    links = {link.title(): link for link in topology.links}
    one, two = links["h1:eth1--h2:eth1"].ends
    assert [[address.text for address in end.addresses] for end in (one, two)] == [
        ["10.0.0.0/31", "2001:db8::/127"],
        ["10.0.0.1/31", "2001:db8::1/127"],
    ]
    assert links["h1:eth2--h3:eth2"].ends[0].mac == bytes.fromhex("020000000001")
    assert links["srl1:e1-1--srl2:e1-1"].ends[0].properties["altnames"] == ["ethernet-1-1"]
    assert links["lan:p3--a-bridge-with-a-long-name:p1"].ends[1].properties["master"] == "br0"
    assert [links[f"h{n}:vx{n}"].options["port"] for n in (1, 2)] == [14789, 4789]
    assert topology.nodes["side"].target == "h3"
    assert all(node.create for name, node in topology.nodes.items() if name != "host")
    assert [(note.position.rpartition(":")[0], note.message) for note in topology.notes] == [
        (
            "lab.clab.yml:28",
            "a bridge is made in a namespace of its own; with --runtime the links join the host's bridge (and 1 more of these)",
        ),
        (
            "lab.clab.yml:32",
            "the kernel takes no names with '/', or of more than 15 bytes: ethernet-1/1 is e1-1, ethernet-1/2/3 is e1-2-3, 1/1/c1/1 is e1-1-c1-1, ...",
        ),
        ("lab.clab.yml:50", "the link to the management network is left out (and 1 more of these)"),
        (
            "lab.clab.yml:55",
            "a stitched vxlan is made as a vxlan of the node: its MTU is less, the host has no interface of it",
        ),
        ("lab.clab.yml:56", "the source port of a vxlan is left to the kernel"),
        ("lab.clab.yml:58", "a stitched link is made as a veth: the host has no interface to capture at"),
    ]


def test_variables_of_the_environment() -> None:
    topology = read(ODD, environment={"LAB": "mine", "MTU": "1280", "PARENT": "eth7"})
    assert topology.name == "mine"
    assert {link.ends[0].mtu for link in topology.links if link.title().startswith("srl1:e1-2-3")} == {1280}
    assert [link.options["parent"] for link in topology.links if link.title() == "h2:eth6"] == ["eth7"]
    assert problems(lab('{endpoints: ["a:eth1", "b:${WHICH}"]}')) == [
        "lab.clab.yml:5:30 $.topology.links[0].endpoints[1]: the variable WHICH is not set in the environment; "
        "set it, or write ${WHICH:=DEFAULT}"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-${A}", "1-1"),
        ("${A:-x}${B:-x}${E:-x}${E-x}", "1xx"),
        ("${A:=x}${B:=x}${E:=x}${E=x}", "1xx"),
        ("${A:+x}${B:+x}${E:+x}${E+x}", "xx"),
        ("${B:=\"\"}|${B:='y'}|${B:=a b}", "|y|a b"),
        ("$5 $", "$5 $"),
    ],
)
def test_rules_of_variables(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "E": ""}) == expected


@pytest.mark.parametrize(
    ("prefix", "container"),
    [
        ("", "clab-x-a"),
        ("prefix:\n", "clab-x-a"),
        ('prefix: ""\n', "a"),
        ("prefix: p\n", "p-x-a"),
        ("prefix: __lab-name\n", "x-a"),
    ],
)
def test_containers_of_a_running_lab(prefix: str, container: str) -> None:
    text = prefix + lab('endpoints: ["a:eth1", "host:x"]', nodes="{a: {kind: linux}, unused: {kind: linux}}")
    topology = read(text, runtime="docker")
    assert {name: (node.kind, node.target) for name, node in topology.nodes.items()} == {
        "a": ("docker", container),
        "host": ("host", ""),
    }


def test_special_nodes_of_a_running_lab() -> None:
    nodes = "{lan: {kind: bridge}, ovs: {kind: ovs-bridge}, ext: {kind: ext-container}, a: {network-mode: host}, h: {kind: host}, c: {network-mode: 'container:ext'}}"
    links = [f'endpoints: ["lan:p{number}", "{end}:x{number}"]' for number, end in enumerate(("ext", "a", "h", "c"))]
    topology = read(lab(*links, 'endpoints: ["ovs:p9", "ext:x9"]', nodes=nodes), runtime="podman")
    assert {name: (node.kind, node.target) for name, node in topology.nodes.items()} == {
        "host": ("host", ""),
        "ext": ("podman", "ext"),
        "a": ("host", ""),
        "c": ("podman", "ext"),
    }
    assert [link.title() for link in topology.links] == [
        "host:p0--ext:x0",
        "host:p1--a:x1",
        "host:p2--host:x2",
        "host:p3--c:x3",
    ]
    assert {link.ends[0].properties["master"] for link in topology.links} == {"lan"}
    assert [note.message for note in topology.notes] == [
        "a port of an Open vSwitch bridge is left out: add it by ovs-vsctl"
    ]


def test_errors_name_the_lines() -> None:
    text = lab(
        'endpoints: ["a:eth1"]',
        'endpoints: ["a:eth1", "c:eth1"]',
        'endpoints: ["a", "b:"]',
        "type: vlan",
        "type: host\n      endpoint: {node: a, interface: e}",
        "{type: vxlan, endpoint: 5, remote: 192.0.2.1, vni: 7}",
        "",
        'endpoints: ["a:{{ .x }}", "b:eth1"]',
        "{type: dummy}",
    )
    assert problems(text) == [
        "lab.clab.yml:5:7 $.topology.links[0].endpoints: a link has a list of 2 endpoints, not 1",
        "lab.clab.yml:6:29 $.topology.links[1].endpoints[1]: unknown node 'c'; known: a, b",
        "lab.clab.yml:7:19 $.topology.links[2].endpoints[0]: needs a node and an interface: 'node:interface'",
        "lab.clab.yml:7:24 $.topology.links[2].endpoints[1]: needs a node and an interface: 'node:interface'",
        "lab.clab.yml:8:7 $.topology.links[3].type: unknown link type 'vlan'; did you mean 'vxlan'?",
        "lab.clab.yml:9:7 $.topology.links[4]: the link needs 'host-interface'",
        "lab.clab.yml:11:7 $.topology.links[5]: needs 'parent-interface', the host's interface towards the remote: kokofast does not look for it",
        "lab.clab.yml:11:21 $.topology.links[5].endpoint: must be 'node:interface', not 5",
        "lab.clab.yml:12:6 $.topology.links[6]: the link has no 'endpoints'",
        "lab.clab.yml:13:19 $.topology.links[7].endpoints[0]: this is a template; give what containerlab makes of it",
        "lab.clab.yml:14:7 $.topology.links[8]: the link needs 'endpoint'",
    ]


def test_the_ordinary_checks_name_the_lines_too() -> None:
    text = lab(
        'endpoints: ["a:eth1", "b:eth1"]',
        '{endpoints: ["a:eth1", "b:eth2"], mtu: 5}',
        '{endpoints: ["a:eth3", "b:eth3"], ipv4: [10.0.0.300/8]}',
        "{type: macvlan, endpoint: {node: a, interface: eth4}, host-interface: eth0, mode: other}",
        nodes="{a: {kind: linux}, b: , '..': {kind: linux}}",
    )
    assert [problem.partition(": ")[0] for problem in problems(text)] == [
        "lab.clab.yml:3:34 $.topology.nodes['..']",
        "lab.clab.yml:6:20 $.topology.links[1].endpoints[0]",
        "lab.clab.yml:6:41 $.topology.links[1].mtu",
        "lab.clab.yml:7:20 $.topology.links[2].endpoints[0]",
        "lab.clab.yml:8:7 $.topology.links[3]",
    ]
    assert problems(text.replace("name: x", "name: a b"))[0].startswith("lab.clab.yml:1:1 $.name: 'a b' cannot be")


def test_names_that_are_no_nodes() -> None:
    words = "a node cannot be called host: in containerlab's endpoints that is no node; rename it"
    assert problems(lab('endpoints: ["a:eth1", "host:x"]', nodes="{a: , host: {kind: linux}}")) == [
        f"lab.clab.yml:3:16 $.topology.nodes.host: {words}"
    ]
    assert read(lab('endpoints: ["a:eth1", "host:x"]', nodes="{a: , host: {kind: host}}")).nodes["host"].kind == "host"
    many = "{" + ", ".join(f"n{number}: " for number in range(1000)) + "}"
    assert problems(lab('endpoints: ["n1:eth1", "n1000:x"]', nodes=many))[0].endswith(": there is no node 'n1000'")


def test_other_shapes() -> None:
    assert len(read("topology: {nodes: {a: }}\n").nodes) == 1  # nothing is linked yet
    assert [problem.partition(": ")[2] for problem in problems("topology:\n  nodes: 5\n  links: {}\n")] == [
        "must be a mapping, not 5",
        "must be a list, not an object",
    ]
    assert problems("topology:\n  nodes:\n{{ range .x }}\n") == [
        "lab.clab.yml: this is a template; give what containerlab makes of it"
    ]


def test_names_of_interfaces_are_taken_once() -> None:
    names = InterfaceNames()
    names.take("a", "Gi0-1")
    wanted = [
        "GigabitEthernet0/1",
        "GigabitEthernet0/1",
        "Gi0/1",
        "Gi0 1",
        "Gi0-1",
        "/",
        "x" * 300,
        "Ethernet1/1",
        "\x1b/é",
    ]
    found = [names.name("a", name) for name in wanted]
    assert found[0] == found[1]
    given = [name for number, (name, _) in enumerate(found) if number != 1]
    alternatives = [name for number, (_, others) in enumerate(found) for name in others if number != 1]
    assert len({*given, *alternatives}) == len(given) + len(alternatives)
    assert all(check_ifname(name) for name in given)
    assert names.name("b", "Ethernet1/1/1/1/1/1") == ("Et1-1-1-1-1-1", ["Ethernet1-1-1-1-1-1"])


def test_what_netlab_writes() -> None:
    topology = read((Path(__file__).parent / "netlab.clab.yml").read_text())
    assert [(link.kind, link.title()) for link in topology.links] == [
        ("bridge", "small_1:small_1"),
        ("veth", "r1:eth1--small_1:bni0n1i1"),
        ("veth", "r2:et1--small_1:bni0n2i1"),
        ("veth", "r3:eth1--small_1:bni0n3i1"),
        ("veth", "r1:eth2--r2:et2"),
        ("dummy", "r3:eth2"),
        ("macvlan", "r1:eth3"),
    ]
