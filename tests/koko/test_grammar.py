"""koko's grammar: what a command line asks for, and what is wrong with it."""

from __future__ import annotations

import pytest

from kokofast.koko.grammar import Create, Delete, Show, UsageError, parse, syntax_of
from kokofast.topology.model import Address, End, Link


def link(*argv: str) -> Link:
    action = parse(list(argv))
    assert isinstance(action, Create)
    assert action.topology.name == "koko"
    (made,) = action.topology.links
    assert {end.node for end in made.ends} == set(action.topology.nodes)
    return made


def refusal(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(list(argv))
    return str(caught.value)


def texts(end: End) -> list[str]:
    return [address.text for address in end.addresses]


@pytest.mark.parametrize(
    ("option", "value", "kind", "target"),
    [
        ("n", "ns1", "netns", "ns1"),
        ("n", "/run/netns/ns1", "path", "/run/netns/ns1"),
        ("a", "/run/netns/ns1", "path", "/run/netns/ns1"),
        ("p", "4711", "pid", "4711"),
        ("d", "centos1", "docker", "centos1"),
        ("e", "3f2a", "cri", "3f2a"),
        ("e", "default/pod1/app", "cri", "default/pod1/app"),
    ],
)
@pytest.mark.parametrize("glued", [False, True])
def test_endpoints(option: str, value: str, kind: str, target: str, glued: bool) -> None:
    whole = f"{value},link1,192.168.1.1/24"
    words = [f"-{option}{whole}"] if glued else [f"-{option}", whole]
    action = parse([*words, "-n", "other,link2"])
    assert isinstance(action, Create)
    first, second = action.topology.links[0].ends
    node = action.topology.nodes[first.node]
    assert (node.kind, node.target) == (kind, target)
    assert (first.ifname, texts(first)) == ("link1", ["192.168.1.1/24"])
    assert (second.ifname, second.node) == ("link2", "other")


def test_the_current_namespace_takes_a_link_and_addresses() -> None:
    first, second = link("-c", "link1", "-clink2,10.0.0.2/24").ends
    assert first.node == second.node
    assert (first.ifname, second.ifname, texts(second)) == ("link1", "link2", ["10.0.0.2/24"])


def test_the_order_is_kept() -> None:
    assert [end.ifname for end in link("-n", "b,l2", "-n", "a,l1").ends] == ["l2", "l1"]
    assert link("-x", "eth1,10.1.1.1,1", "-n", "a,l1").title() == "a:l1"


def test_nodes_of_different_kinds_are_told_apart() -> None:
    action = parse(["-n", "pid:1,l1", "-p", "1,l2"])
    assert isinstance(action, Create)
    assert len(action.topology.nodes) == 2


def test_any_number_of_addresses() -> None:
    many = [f"10.0.{number}.1/24" for number in range(50)] + ["2001:DB8::1/64"]
    first, _ = link("-n", ",".join(["a", "l1", *many]), "-n", "b,l2").ends
    assert texts(first) == many


@pytest.mark.parametrize("direction", ["ingress", "egress", "both"])
@pytest.mark.parametrize("colon", [":", ","])
@pytest.mark.parametrize("form", ["{m}", "{m},10.0.0.1/24", "10.0.0.1/24,{m}"])
def test_mirror(direction: str, colon: str, form: str) -> None:
    items = form.format(m=f"mirror:{direction}{colon}eth0")
    first, _ = link("-n", f"a,l1,{items}", "-n", "b,l2").ends
    assert first.mirror is not None
    assert (first.mirror.direction, first.mirror.source) == (direction, "eth0")
    assert len(first.addresses) == form.count("10.0")


@pytest.mark.parametrize("letter", ["x", "X"])
@pytest.mark.parametrize(
    ("more", "port", "mtu"),
    [
        ("", 4789, None),
        (",port=8472", 8472, None),
        (",mtu=1400", 4789, 1400),
        (",port=1,mtu=68", 1, 68),
        (",mtu=9000,port=65535", 65535, 9000),
    ],
)
def test_vxlan(letter: str, more: str, port: int, mtu: int | None) -> None:
    made = link("-n", "a,l1", f"-{letter}", f"eth1,10.1.1.1,1{more}")
    remote = made.options["remote"]
    assert isinstance(remote, Address)
    assert made.kind == "vxlan"
    assert remote.packed == bytes((10, 1, 1, 1))
    assert {name: made.options[name] for name in ("parent", "vni", "port", "learning")} == {
        "parent": "eth1",
        "vni": 1,
        "port": port,
        "learning": True,
    }
    assert made.ends[0].mtu == mtu


def test_vlan() -> None:
    made = link("-n", "a,l1", "-V", "eth1,4094")
    assert (made.kind, made.options["parent"], made.options["id"]) == ("vlan", "eth1", 4094)
    assert made.options["protocol"] == "802.1Q"


@pytest.mark.parametrize("mode", ["default", "private", "vepa", "bridge", "passthru"])
def test_macvlan(mode: str) -> None:
    made = link("-n", "a,l1", "-M", f"eth1,{mode}")
    assert (made.kind, made.options["parent"], made.options["mode"]) == ("macvlan", "eth1", mode)


@pytest.mark.parametrize(
    ("argv", "kind", "target"),
    [
        (["-N", "ns1,link1"], "netns", "ns1"),
        (["-Nns1,link1,10.0.0.1/24"], "netns", "ns1"),
        (["-N", "/run/netns/x,link1"], "path", "/run/netns/x"),
        (["-A", "/run/netns/x,link1"], "path", "/run/netns/x"),
        (["-P", "4711,link1"], "pid", "4711"),
        (["-D", "centos1,link1"], "docker", "centos1"),
        (["-E", "3f2a,link1"], "cri", "3f2a"),
        (["-C", "link1"], "host", ""),
    ],
)
def test_deletion(argv: list[str], kind: str, target: str) -> None:
    action = parse(argv)
    assert isinstance(action, Delete)
    assert (action.node.kind, action.node.target, action.ifname) == (kind, target, "link1")


@pytest.mark.parametrize(("argv", "what"), [(["-h"], "h"), (["-v"], "v"), (["-n", "a,l1", "-h"], "h")])
def test_help_and_version(argv: list[str], what: str) -> None:
    action = parse(argv)
    assert isinstance(action, Show)
    assert action.what == what


A, B = ["-n", "a,l1"], ["-n", "b,l2"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        # the shape of the command line
        (A, "-n 'a,l1': the other end is missing"),
        (["-x", "eth1,10.1.1.1,1"], "give one endpoint, not 0"),
        ([*A, *B, "-n", "c,l3"], "two ends, not 3"),
        ([*A, *B, "-V", "eth1,5"], "-V 'eth1,5' makes a link with one end: give one endpoint, not 2"),
        ([*A, *B, "-M", "eth1,bridge"], "give one endpoint, not 2"),
        ([*A, *B, "-x", "eth1,10.1.1.1,1"], "give one endpoint, not 2"),
        ([*A, "-V", "eth1,5", "-M", "eth1,bridge"], "one parent interface"),
        (["-N", "a,l1", *B], "-N 'a,l1' deletes an interface, so it must be the only option"),
        ([*B, "-C", "l1"], "-C 'l1' deletes an interface"),
        (["-N", "a,l1", "-N", "b,l2"], "must be the only option"),
        (["-N", "a,l1", "-x", "eth1,10.1.1.1,1"], "must be the only option"),
        ([*A, "-q", "b,l2"], "no option '-q'"),
        (["--", *A, *B], "no option '--'"),
        ([*A, "--frob"], "no option '--frob'"),
        ([*A, "b,l2"], "'b,l2' has no option"),
        ([*A, ""], "'' has no option"),
        (["-"], "'-' has no option"),
        ([*A, "-n"], "-n needs a value: -n NAMESPACE,LINK[,ADDRESS/LENGTH,...]"),
        (["-C"], "-C needs a value: -C LINK"),
        (["-x"], "-x needs a value: -x PARENT,REMOTE,VNI[,port=PORT][,mtu=MTU]"),
        # endpoints
        (["-n", "", *B], "-n '': the namespace is missing"),
        (["-n", "a", *B], "the name of the link is missing"),
        (["-na", *B], "-n 'a': the name of the link is missing"),
        (["-n", "a,", *B], "the interface name is empty"),
        (["-n", ",l1", *B], "the namespace is missing"),
        (["-c", "", *B], "the interface name is empty"),
        (["-n", "a,a-name-of-over-15", *B], "the limit is 15"),
        (["-n", "a,l/1", *B], "slash"),
        (["-n", "../x,l1", *B], "not a file name"),
        (["-a", "x,l1", *B], "not absolute"),
        (["-p", "0,l1", *B], "'0' is not a process id"),
        (["-p", "x,l1", *B], "'x' is not a process id"),
        (["-d", "no good,l1", *B], "not a container's name"),
        (["-n", "a\x1b[2J,l1", *B], "control character"),
        # addresses, mirrors
        (["-n", "a,l1,10.0.0.300/24", *B], "'10.0.0.300/24' is not an IPv4 or IPv6 address"),
        (["-n", "a,l1,10.0.0.1/33", *B], "prefix length of '10.0.0.1/33'"),
        (["-n", "a,l1,10.0.0.1", *B], "'10.0.0.1' has no prefix length, such as 10.0.0.1/32"),
        (["-n", "a,l1,10.0.0.1/24,", *B], "'' is not an IPv4"),
        (["-n", "a,l1,10.0.0.1/24,10.0.0.1/24", *B], "given twice"),
        (["-n", "a,l1,2001:DB8::1/64,2001:db8::1/96", *B], "given twice"),
        (["-n", "a,l1,mirror", *B], "'' is not a direction"),
        (["-n", "a,l1,mirror:up:eth0", *B], "'up' is not a direction to mirror: ingress, egress, both"),
        (["-n", "a,l1,mirror:both", *B], "does not say which interface"),
        (["-n", "a,l1,mirror:both:", *B], "does not say which interface"),
        (["-n", "a,l1,mirror:both,e/0", *B], "slash"),
        (["-n", "a,l1,mirror:both:e0,mirror:both:e1", *B], "second mirror"),
        # parents
        ([*A, "-x", "eth1,10.1.1.1"], "it takes 3 values: PARENT,REMOTE,VNI[,port=PORT][,mtu=MTU]"),
        ([*A, "-x", ",10.1.1.1,1"], "the parent interface is missing"),
        ([*A, "-x", "eth1,nowhere,1"], "'nowhere' is not an IPv4"),
        ([*A, "-x", "eth1,,1"], "'' is not an IPv4"),
        ([*A, "-x", "eth1,0.0.0.0,1"], "a tunnel needs"),
        ([*A, "-x", "eth1,10.1.1.1/24,1"], "prefix length"),
        ([*A, "-x", "eth1,10.1.1.1,16777216"], "vni '16777216' is not a whole number from 0 to 16777215"),
        ([*A, "-x", "eth1,10.1.1.1,1,port=abc"], "port 'abc' is not a whole number from 1 to 65535"),
        ([*A, "-x", "eth1,10.1.1.1,1,port=70000"], "port '70000' is not a whole number from 1 to 65535"),
        ([*A, "-x", "eth1,10.1.1.1,1,port="], "port ''"),
        ([*A, "-x", "eth1,10.1.1.1,1,port"], "'port' is neither port=PORT nor mtu=MTU"),
        ([*A, "-x", "eth1,10.1.1.1,1,ttl=5"], "'ttl=5' is neither"),
        ([*A, "-x", "eth1,10.1.1.1,1,"], "'' is neither"),
        ([*A, "-x", "eth1,10.1.1.1,1,mtu=67"], "mtu '67' is not a whole number from 68"),
        ([*A, "-x", "eth1,10.1.1.1,1,port=1,port=2"], "port is given twice"),
        ([*A, "-V", "eth1"], "it takes 2 values: PARENT,ID"),
        ([*A, "-V", "eth1,10,20"], "it takes 2 values"),
        ([*A, "-V", "eth1,65546"], "id '65546' is not a whole number from 0 to 4094"),
        ([*A, "-V", "eth1,1_0"], "id '1_0'"),
        ([*A, "-M", "eth1"], "it takes 2 values: PARENT,MODE"),
        ([*A, "-M", "eth1,tree"], "'tree' is not a mode: default, private, vepa, bridge, passthru"),
        ([*A, "-M", "eth1,source"], "'source' is not a mode"),
    ],
)
def test_what_is_wrong_is_said(argv: list[str], words: str) -> None:
    said = refusal(*argv)
    assert words in said
    assert said.isprintable()


@pytest.mark.parametrize("letter", list("acdenpACDENPxXVM"))
def test_every_option_says_what_stands_behind_it(letter: str) -> None:
    assert refusal(f"-{letter}") == f"-{letter} needs a value: -{letter} {syntax_of(letter)}"
