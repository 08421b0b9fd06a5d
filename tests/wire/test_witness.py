"""What we write is read by pyroute2, which shares no code with us; what the kernel writes is read the same by both."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from kokofast.host.namespaces import named, open_namespace, open_sockets
from kokofast.wire.addr import AF_INET, AF_INET6, RTM_GETADDR
from kokofast.wire.attributes import encode
from kokofast.wire.link import RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, RTM_NEWLINK, TYPES
from kokofast.wire.message import (
    FORMATS,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    Request,
    pack,
    split,
    unpack,
)
from kokofast.wire.route import (
    RT_TABLE_MAIN,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTPROT_KOKOFAST,
    pack_hops,
    unpack_hops,
)
from tests import golden
from tests.conftest import NamespaceFactory, ip, ip_json
from tests.wire.test_golden import CASES

LINK_MESSAGES = {*TYPES}
ROUTE_MESSAGES = {RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE}


def witness(data: bytes, type: int) -> Any:
    message = (ifinfmsg if type in LINK_MESSAGES else rtmsg if type in ROUTE_MESSAGES else ifaddrmsg)(data)
    message.decode()
    return message


def prefix_of(type: int) -> str:
    """What pyroute2, as the kernel's headers, puts before the names of attributes."""
    return "IFLA_" if type in LINK_MESSAGES else "RTA_" if type in ROUTE_MESSAGES else "IFA_"


def field_of(name: str, type: int) -> str:
    """What pyroute2 calls a field of the fixed header."""
    if type in LINK_MESSAGES:
        return "ifi_type" if name == "type" else name
    return "proto" if name == "protocol" else name


def attributes_of(message: Any, prefix: str) -> dict[str, Any]:
    """pyroute2's attributes by our names: IFLA_NUM_TX_QUEUES is num_tx_queues."""
    return {name.removeprefix(prefix).lower(): value for name, value in message["attrs"]}


def same(ours: object, theirs: object) -> bool:
    """pyroute2 shows addresses as text and other bytes by its own types."""
    if isinstance(ours, bytes) and isinstance(theirs, str):
        texts = [ours.hex(":")]
        with contextlib.suppress(ValueError):
            texts.append(socket.inet_ntop(socket.AF_INET if len(ours) == 4 else socket.AF_INET6, ours))
        return theirs in texts
    if isinstance(ours, bytes) and isinstance(theirs, list):  # the next hops of a route
        hops = [(hop["oif"], dict(hop["attrs"])["RTA_GATEWAY"]) for hop in theirs]
        return [(index, str(ip_address(packed))) for index, packed in unpack_hops(ours)] == hops
    if isinstance(ours, bytes) and isinstance(theirs, int):
        return ours == theirs.to_bytes(len(ours), "little")
    if isinstance(ours, dict) and isinstance(theirs, dict):  # a nest
        inside = [(name, value) for name, value in theirs["attrs"] if not isinstance(value, bytes)]
        names = [re.sub("^AF_|^IFLA_(INET6_|BRPORT_)?", "", name).lower() for name, _ in inside]
        return list(ours) == names and all(map(same, ours.values(), (value for _, value in inside)))
    return ours == theirs


def assert_same_attributes(ours: Mapping[Any, Any], theirs: Mapping[str, Any], skip: frozenset[str]) -> int:
    compared = 0
    for name, value in ours.items():
        if not isinstance(name, str) or name in skip:
            continue
        assert name in theirs, f"{name} is not what pyroute2 calls it: {sorted(theirs)}"
        assert same(value, theirs[name]), f"{name}: {value!r} and {theirs[name]!r}"
        compared += 1
    return compared


@pytest.mark.parametrize("name", CASES)
def test_pyroute2_reads_what_we_write(name: str) -> None:
    seq, ack, request = CASES[name]
    data = pack(request, seq, ack=ack)
    message = witness(data, request.type)
    assert message["header"]["type"] == request.type
    assert message["header"]["sequence_number"] == seq
    assert message["header"]["flags"] == 1 | (4 if ack else 0) | request.flags
    for field, value in request.header.items():
        assert message[field_of(field, request.type)] == value
    theirs = attributes_of(message, prefix_of(request.type))
    nested = frozenset({"linkinfo", "prop_list"})
    assert assert_same_attributes(request.attributes, theirs, nested) == len(set(request.attributes) - nested)
    assert set(theirs) == set(request.attributes)


def test_pyroute2_reads_the_peer() -> None:
    _, _, request = CASES["newlink_veth"]
    message = witness(golden.read("newlink_veth"), RTM_NEWLINK)
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    linkinfo: Any = request.attributes["linkinfo"]
    wanted = dict(linkinfo["data"]["peer"])
    assert peer["index"] == wanted.pop("header")["index"]
    theirs = attributes_of(peer, "IFLA_")
    assert set(theirs) == set(wanted)
    assert assert_same_attributes(wanted, theirs, frozenset()) == len(wanted)


# pyroute2's tables are as old as its release; these it gives other shapes, or the user's words for the number.
OTHER_SHAPE = frozenset({"af_spec", "linkinfo", "operstate", "cacheinfo", "prop_list", "proto"})


def dump(namespace: str, request: Request) -> Iterator[tuple[bytes, Message]]:
    """(the kernel's bytes, what we read in them) of every message of a dump."""
    fd = open_namespace(named(namespace))
    try:
        (ours,) = open_sockets([fd])
    finally:
        os.close(fd)
    with socket.socket(fileno=os.dup(ours.fileno())) as sock:
        ours.close()
        sock.send(pack(request, 1, ack=False))
        while True:
            for type, flags, seq, pid, body in split(sock.recv(1 << 16)):
                assert type != NLMSG_ERROR
                if type == NLMSG_DONE:
                    return
                raw = struct.pack("=IHHII", 16 + len(body), type, flags, seq, pid) + bytes(body)
                yield raw, unpack(type, flags, seq, pid, body)


LINKS = Request(RTM_GETLINK, {}, {}, NLM_F_DUMP)
LINKS_WITHOUT_STATISTICS = Request(RTM_GETLINK, {}, {"ext_mask": RTEXT_FILTER_SKIP_STATS}, NLM_F_DUMP)
ADDRESSES = Request(RTM_GETADDR, {}, {}, NLM_F_DUMP)
ROUTES = Request(RTM_GETROUTE, {"family": AF_INET6}, {}, NLM_F_DUMP)

# What a kernel may or may not have: each adds its own attributes to a dump.
MORE_KINDS = (
    ("link", "add", "br0", "type", "bridge"),
    ("link", "set", "v0", "master", "br0"),
    ("link", "add", "d0", "type", "dummy"),
    ("link", "add", "link", "v1", "name", "v1.7", "type", "vlan", "id", "7"),
    ("link", "add", "link", "v1", "name", "mv0", "type", "macvlan", "mode", "bridge"),
    ("link", "add", "vx0", "type", "vxlan", "id", "42", "remote", "192.0.2.9", "dstport", "4789", "dev", "v1"),
    ("link", "add", "g0", "type", "gretap", "remote", "192.0.2.9", "local", "192.0.2.1"),
    ("link", "property", "add", "dev", "v1", "altname", "a-very-long-alternative-name-of-v1"),
)


@pytest.fixture
def furnished(netns: NamespaceFactory) -> str:
    """A namespace with many kinds of interfaces in it, and addresses."""
    name, other = netns("wire"), netns("peer")
    for number in range(3):
        ip(None, "link", "add", f"v{number}", "netns", name, "type", "veth", "peer", f"p{number}", "netns", other)
    ip(name, "link", "set", "v1", "up", "alias", "kokofast:lab:r1:eth1--r2:eth1", "group", "1259484246")
    ip(name, "link", "set", "v2", "mtu", "9000", "txqueuelen", "77", "address", "02:aa:bb:cc:dd:01", "up")
    ip(name, "link", "set", "v2", "alias", "käse ☃")
    ip(name, "link", "set", "lo", "up")
    ip(name, "address", "add", "192.0.2.1/24", "broadcast", "+", "label", "v1:web", "dev", "v1")
    ip(name, "address", "add", "198.51.100.1", "peer", "198.51.100.2/32", "dev", "v1")
    ip(name, "address", "add", "2001:db8::1/64", "nodad", "dev", "v2")
    for command in MORE_KINDS:
        with contextlib.suppress(AssertionError):
            ip(name, *command)
    return name


@pytest.mark.parametrize(
    "request_",
    [LINKS, LINKS_WITHOUT_STATISTICS, ADDRESSES, ROUTES],
    ids=["links", "slim", "addresses", "routes"],
)
def test_a_dump_written_again_is_the_same_bytes(furnished: str, request_: Request) -> None:
    count = 0
    for raw, message in dump(furnished, request_):
        count += 1
        header, table = FORMATS[message.type]
        again = header.pack(message.header) + encode(table, message.attributes)
        # A nest we know loses NLA_F_NESTED, should the kernel set it; nothing else may differ.
        assert again.hex(" ") == raw[16:].hex(" ")
    assert count >= 4


@pytest.mark.parametrize("request_", [LINKS, ADDRESSES, ROUTES], ids=["links", "addresses", "routes"])
def test_pyroute2_reads_the_same_in_a_dump(furnished: str, request_: Request) -> None:
    compared = 0
    for raw, message in dump(furnished, request_):
        theirs = witness(raw, message.type)
        for field, value in message.header.items():
            assert theirs[field_of(field, message.type)] == value
        compared += assert_same_attributes(
            message.attributes, attributes_of(theirs, prefix_of(message.type)), OTHER_SHAPE
        )
        if "linkinfo" in message.attributes:
            info = theirs.get_attr("IFLA_LINKINFO")
            assert message.attributes["linkinfo"]["kind"] == info.get_attr("IFLA_INFO_KIND")
            assert message.attributes["linkinfo"].get("slave_kind") == info.get_attr("IFLA_INFO_SLAVE_KIND")
    assert compared > 10


def test_ip_shows_the_same_links(furnished: str) -> None:
    shown = {one["ifname"]: one for one in ip_json(furnished, "-N", "link", "show")}
    found = {message.attributes["ifname"]: message for _, message in dump(furnished, LINKS)}
    assert set(found) == set(shown)
    assert len(found) >= 4
    for name, message in found.items():
        attributes, one = message.attributes, shown[name]
        assert message.header["index"] == one["ifindex"]
        assert bool(message.header["flags"] & 1) == ("UP" in one["flags"])
        assert attributes["mtu"] == one["mtu"]
        assert attributes.get("txqlen", 0) == one.get("txqlen", 0)
        assert str(attributes["group"]) == one["group"]
        assert attributes.get("ifalias") == one.get("ifalias")
        assert attributes["address"].hex(":") == one["address"] or one["link_type"] != "ether"
        assert attributes["num_tx_queues"] == one["num_tx_queues"]
        assert attributes["num_rx_queues"] == one["num_rx_queues"]
        assert attributes["min_mtu"] == one["min_mtu"]
        assert attributes["max_mtu"] == one["max_mtu"]
        assert attributes.get("link_netnsid") == one.get("link_netnsid")
        assert attributes.get("link") == one.get("link_index", attributes.get("link"))
        assert attributes.get("linkinfo", {}).get("kind") == one.get("linkinfo", {}).get("info_kind")
    assert found["v2"].attributes["ifalias"] == "käse ☃"


def test_ip_shows_the_same_addresses(furnished: str) -> None:
    shown = {
        (one["ifindex"], info["local"], info["prefixlen"], info.get("label", ""))
        for one in ip_json(furnished, "address", "show")
        for info in one["addr_info"]
    }
    found = set()
    for _, message in dump(furnished, ADDRESSES):
        header, attributes = message.header, message.attributes
        local = socket.inet_ntop(header["family"], attributes.get("local", attributes["address"]))
        found.add((header["index"], local, header["prefixlen"], attributes.get("label", "")))
    assert found == shown
    assert {(local, length, label) for _, local, length, label in found} >= {
        ("192.0.2.1", 24, "v1:web"),
        ("198.51.100.1", 32, "v1"),
        ("2001:db8::1", 64, ""),
    }


OUR_ROUTES = Request(RTM_GETROUTE, {"table": RT_TABLE_MAIN, "protocol": RTPROT_KOKOFAST}, {}, NLM_F_DUMP)


@pytest.fixture
def routed(netns: NamespaceFactory) -> str:
    """A namespace in which v0 and v1 have networks with neighbours."""
    name, other = netns("routed"), netns("peer")
    for number in range(2):
        ip(None, "link", "add", f"v{number}", "netns", name, "type", "veth", "peer", f"p{number}", "netns", other)
        ip(name, "address", "add", f"10.0.{number}.1/24", "dev", f"v{number}")
        ip(name, "address", "add", f"2001:db8:{number}::1/64", "nodad", "dev", f"v{number}")
        ip(name, "link", "set", f"v{number}", "up")
        ip(other, "link", "set", f"p{number}", "up")
    return name


def routes_of_ip(namespace: str, family: str) -> list[dict[str, Any]]:
    return ip_json(namespace, "-N", family, "route", "show", "proto", "75")


def test_ip_shows_the_routes_that_we_make(routed: str) -> None:
    index = {one["ifname"]: one["ifindex"] for one in ip_json(routed, "link", "show")}
    hops = {
        AF_INET: [(index["v0"], bytes([10, 0, 0, 9])), (index["v1"], bytes([10, 0, 1, 9]))],
        AF_INET6: [(index[f"v{n}"], ip_address(f"2001:db8:{n}::9").packed) for n in (0, 1)],
    }
    goals = {AF_INET: (bytes([10, 9, 0, 0]), 16), AF_INET6: (ip_address("2001:db8:9::").packed, 48)}
    requests = []
    for family, (packed, length) in goals.items():
        header = {"family": family, "table": RT_TABLE_MAIN, "protocol": RTPROT_KOKOFAST, "type": RTN_UNICAST}
        several = {"dst": packed, "multipath": pack_hops(hops[family]), "priority": 7}
        requests.append(Request(RTM_NEWROUTE, {**header, "dst_len": length}, several, NLM_F_CREATE | NLM_F_EXCL))
        oif, gateway = hops[family][0]
        one = {"gateway": gateway, "oif": oif}
        requests.append(Request(RTM_NEWROUTE, header, one, NLM_F_CREATE | NLM_F_EXCL))
    fd = open_namespace(named(routed))
    try:
        (ours,) = open_sockets([fd])
    finally:
        os.close(fd)
    assert ours.send(requests) == [None] * 4
    default, several_v4 = sorted(routes_of_ip(routed, "-4"), key=lambda one: str(one["dst"]), reverse=True)
    assert (default["dst"], default["gateway"], default["dev"]) == ("default", "10.0.0.9", "v0")
    assert (several_v4["dst"], several_v4["metric"]) == ("10.9.0.0/16", 7)
    assert [(hop["gateway"], hop["dev"]) for hop in several_v4["nexthops"]] == [("10.0.0.9", "v0"), ("10.0.1.9", "v1")]
    shown = {one["dst"]: one for one in routes_of_ip(routed, "-6")}
    assert shown["default"]["gateway"] == "2001:db8::9"
    assert [hop["gateway"] for hop in shown["2001:db8:9::/48"]["nexthops"]] == ["2001:db8::9", "2001:db8:1::9"]
    # The same attributes take them away, and nothing else of that network.
    ip(routed, "route", "add", "10.9.0.0/16", "via", "10.0.0.8")
    assert ours.send([Request(RTM_DELROUTE, one.header, one.attributes) for one in requests]) == [None] * 4
    again = ours.send([Request(RTM_DELROUTE, one.header, one.attributes) for one in requests])
    assert [error.errno for error in again if error] == [errno.ESRCH] * 4
    ours.close()
    assert routes_of_ip(routed, "-4") == routes_of_ip(routed, "-6") == []
    assert [one["dst"] for one in ip_json(routed, "route", "show", "proto", "boot")] == ["10.9.0.0/16"]


def test_we_read_the_routes_that_ip_makes(routed: str) -> None:
    for line in (
        "route add default via 10.0.0.9 proto 75",
        "route add 10.9.0.0/16 proto 75 metric 7 nexthop via 10.0.0.9 dev v0 nexthop via 10.0.1.9 dev v1",
        "-6 route add 2001:db8:9::/48 proto 75 nexthop via 2001:db8::9 dev v0 nexthop via 2001:db8:1::9 dev v1",
        "route add 10.8.0.0/16 via 10.0.0.9 proto static",
        "route add 10.7.0.0/16 via 10.0.0.9 proto 75 table 7",
    ):
        ip(routed, *line.split())
    index = {one["ifname"]: one["ifindex"] for one in ip_json(routed, "link", "show")}
    found = {}
    for _, message in dump(routed, OUR_ROUTES):
        goal = message.header["family"], message.header["dst_len"], message.attributes.get("priority", 0)
        raw = message.attributes.get("multipath")
        hops = unpack_hops(raw) if raw else [(message.attributes["oif"], message.attributes["gateway"])]
        found[goal] = [(index, str(ip_address(packed))) for index, packed in hops]
    first, second = index["v0"], index["v1"]
    assert found == {
        (AF_INET, 0, 0): [(first, "10.0.0.9")],
        (AF_INET, 16, 7): [(first, "10.0.0.9"), (second, "10.0.1.9")],
        (AF_INET6, 48, 1024): [(first, "2001:db8::9"), (second, "2001:db8:1::9")],
    }
