"""What we write is read by pyroute2, which shares no code with us; what the kernel writes is read the same by both."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from kokofast.host.namespaces import named, open_namespace, open_sockets
from kokofast.wire.addr import AF_INET6, RTM_GETADDR
from kokofast.wire.attributes import encode
from kokofast.wire.link import RTEXT_FILTER_SKIP_STATS, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import FORMATS, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, Message, Request, pack, split, unpack
from kokofast.wire.route import RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE
from tests import golden
from tests.conftest import NamespaceFactory, ip, ip_json
from tests.wire.test_golden import CASES

LINK_MESSAGES = {RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK}
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
    if isinstance(ours, bytes) and isinstance(theirs, int):
        return ours == theirs.to_bytes(len(ours), "little")
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
    nested = frozenset({"linkinfo"})
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
