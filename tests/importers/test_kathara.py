"""A lab.conf of Kathara: collision domains become links, and errors name its lines."""

from __future__ import annotations

import pytest

from kokofast.topology import TopologyError, load
from kokofast.topology.model import Topology

LAB = """\
# a hub, a pair, a cable that leads nowhere
LAB_NAME="two_halves"
LAB_DESCRIPTION='it''s "odd": [0]=A'
LAB_AUTHOR=someone
pc1[image]="kathara/base"   # the first word decides nothing
pc1[0]=A
pc2[0]='A'
r1[0]="A/02:00:00:00:00:01" # a MAC
r1[1] = "B_2"
pc3[0]=B_2
pc3[1]="C"
r1[sysctl]="net.ipv4.ip_forward=1"
r1[sysctl]="net.ipv4.conf.all.rp_filter=0"
pc3[ipv6]=False
pc4[mem]="64m"
pc1[bridged]=true
pc2[bridged]="true"
pc2[port]="3000:3000/udp"
"""


def read(text: str, filename: str = "x/lab.conf") -> Topology:
    return load(text.encode(), filename=filename)


def problems(text: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_everything_odd_about_the_format() -> None:
    lab = read(LAB)
    assert (lab.name, lab.imported) == ("two_halves", "a lab.conf of Kathara or Netkit")
    assert {name: (node.kind, node.create) for name, node in lab.nodes.items() if name != "two_halves-segments"} == {
        name: ("netns", True) for name in ("pc1", "pc2", "pc3", "pc4", "r1")
    }
    assert [link.title() for link in lab.links if link.kind == "veth"] == [
        "pc1:eth0--two_halves-segments:br0p0",
        "pc2:eth0--two_halves-segments:br0p1",
        "r1:eth0--two_halves-segments:br0p2",
        "r1:eth1--pc3:eth0",
        "pc3:eth1--two_halves-segments:br1p0",
    ]
    assert [end.mac for link in lab.links for end in link.ends if end.mac] == [bytes.fromhex("020000000001")]
    assert lab.nodes["r1"].sysctls == {"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0"}
    assert lab.nodes["pc3"].ipv6 is False
    assert [str(note) for note in lab.notes] == [
        "x/lab.conf: addresses and routes are in the .startup files of the devices, which are not read",
        "x/lab.conf:16: the interface to Docker's own bridge is not made ([bridged]) (and 1 more of these)",
        "x/lab.conf:18: no port of the host leads to a device ([port])",
    ]


@pytest.mark.parametrize("filename", ["lab.conf", "lab", "-", "lab.yaml", "lab.json", "lab.csv"])
def test_it_is_recognised_under_any_name(filename: str) -> None:
    assert len(read("a[0]=X\nb[0]=X\n", filename).links) == 1


def test_errors_name_the_lines() -> None:
    assert problems("a[0]=X\na[0]=Y\nb[0]=X-1\nb[1]=X\nwhat is this\nb[sysctl]=5\nb[ipv6]=maybe\n") == [
        "x/lab.conf:2: the interface 0 of a is there already at x/lab.conf:1",
        "x/lab.conf:3: 'X-1' cannot be a collision domain: letters, digits and '_'",
        "x/lab.conf:5: must be a line such as pc1[0]=A, pc1[image]=NAME or LAB_NAME=TEXT, not 'what is this'",
        "x/lab.conf:6: must be a sysctl and its value such as net.ipv4.ip_forward=1, not '5'",
        "x/lab.conf:7: must be true or false, not 'maybe'",
    ]


def test_the_ordinary_checks_name_the_lines_too() -> None:
    text = "a[0]=X\nb[0]=X/zz\nb[1]=Y\nc[0]=Y\nb[sysctl]=kernel.pid_max=1\nc[1]=Y/01:00:00:00:00:00\n"
    assert [problem.partition(": ")[0] for problem in problems(text)] == [f"x/lab.conf:{line}" for line in (2, 5, 6)]


def test_a_lab_without_interfaces() -> None:
    assert problems("LAB_AUTHOR=someone\npc1[image]=a/b\n") == [
        "x/lab.conf: no device has an interface: there is no line such as pc1[0]=A"
    ]


def test_a_format_can_be_forced() -> None:
    assert len(load(b"# nothing\na[0]=X\nb[0]=X\n", filename="x.csv", format="kathara").links) == 1
    with pytest.raises(ValueError, match="unknown format 'kathra'; did you mean 'kathara'"):
        load(b"a[0]=X\n", filename="x", format="kathra")
