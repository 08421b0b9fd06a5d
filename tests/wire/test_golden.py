"""Every message, byte by byte, in both directions."""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kokofast.wire.ack import explain, unpack_ack
from kokofast.wire.addr import AF_INET, AF_INET6, IFA_F_NODAD, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR
from kokofast.wire.attributes import DecodeError, encode
from kokofast.wire.link import (
    ADDR_GEN_MODE_NONE,
    AF_BRIDGE,
    IFF_UP,
    RTEXT_FILTER_SKIP_STATS,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
    RTM_SETLINK,
)
from kokofast.wire.message import (
    HEADER_SIZE,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLMSG_DONE,
    NLMSG_ERROR,
    Request,
    pack,
    split,
    unpack,
)
from kokofast.wire.route import (
    ROUTE,
    RT_TABLE_MAIN,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTPROT_KOKOFAST,
    pack_goal,
    pack_hops,
    unpack_hops,
)
from tests import golden

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are those of a little-endian machine")

NEW = NLM_F_CREATE | NLM_F_EXCL
LAB_GROUP = 0x4B123456
OUR_ROUTE = {"table": RT_TABLE_MAIN, "protocol": RTPROT_KOKOFAST, "type": RTN_UNICAST}
HOPS_V4 = [(5, bytes([10, 0, 0, 1])), (6, bytes([10, 0, 0, 3]))]
HOPS_V6 = [
    (0x20000005, bytes.fromhex("20010db8000000000000000000000001")),
    (0x20000006, bytes.fromhex("20010db8000100000000000000000001")),
]

# file -> (sequence number, whether an acknowledgement is asked for, the request)
CASES: dict[str, tuple[int, bool, Request]] = {
    "newlink_veth": (
        7,
        True,
        Request(
            RTM_NEWLINK,
            {"index": 5},
            {
                "ifname": "eth1",
                "group": LAB_GROUP,
                "txqlen": 1000,
                "net_ns_fd": 9,
                "num_tx_queues": 1,
                "num_rx_queues": 1,
                "mtu": 1450,
                "address": bytes.fromhex("02aabbccdd01"),
                "linkinfo": {
                    "kind": "veth",
                    "data": {
                        "peer": {
                            "header": {"index": 6},
                            "ifname": "eth-of-15-bytes",
                            "group": LAB_GROUP,
                            "txqlen": 500,
                            "net_ns_fd": 10,
                            "num_tx_queues": 4,
                            "num_rx_queues": 4,
                            "mtu": 65535,
                            "address": bytes.fromhex("02aabbccdd02"),
                        }
                    },
                },
            },
            NEW,
        ),
    ),
    "newlinkprop": (
        9,
        False,
        Request(
            RTM_NEWLINKPROP,
            {"index": 5},
            {"prop_list": {"alt_ifname": ["uplink"]}},
            NLM_F_EXCL | NLM_F_CREATE | NLM_F_APPEND,
        ),
    ),
    "setlink_up_alias": (
        8,
        False,
        Request(
            RTM_SETLINK,
            {"index": 5, "flags": IFF_UP, "change": IFF_UP},
            {"ifalias": "kokofast:lab:r1:eth1--r2:eth1", "txqlen": 500},
        ),
    ),
    "setlink_addr_gen_mode": (
        8,
        False,
        Request(RTM_SETLINK, {"index": 5}, {"af_spec": {"inet6": {"addr_gen_mode": ADDR_GEN_MODE_NONE}}}),
    ),
    "setlink_port_mask": (
        8,
        False,
        Request(RTM_SETLINK, {"family": AF_BRIDGE, "index": 5}, {"protinfo": {"group_fwd_mask": 4}}),
    ),
    "dellink_index": (9, True, Request(RTM_DELLINK, {"index": 42})),
    "dellink_group": (10, True, Request(RTM_DELLINK, {}, {"group": LAB_GROUP})),
    "getlink_dump": (11, False, Request(RTM_GETLINK, {}, {"ext_mask": RTEXT_FILTER_SKIP_STATS}, NLM_F_DUMP)),
    "newaddr_v4": (
        12,
        True,
        Request(
            RTM_NEWADDR,
            {"family": AF_INET, "prefixlen": 24, "index": 5},
            {"local": bytes([192, 0, 2, 1]), "proto": b"K"},
            NEW,
        ),
    ),
    "newaddr_v6": (
        13,
        False,
        Request(
            RTM_NEWADDR,
            {"family": AF_INET6, "prefixlen": 64, "index": 5},
            {"local": bytes.fromhex("20010db8000000000000000000000001"), "proto": b"K", "flags": IFA_F_NODAD},
            NEW,
        ),
    ),
    "deladdr_v4": (
        14,
        True,
        Request(RTM_DELADDR, {"family": AF_INET, "prefixlen": 24, "index": 5}, {"local": bytes([192, 0, 2, 1])}),
    ),
    "getaddr_dump": (15, False, Request(RTM_GETADDR, {}, {}, NLM_F_DUMP)),
    "delroute_v6": (
        16,
        False,
        Request(
            RTM_DELROUTE,
            {"family": AF_INET6, "dst_len": 64, "table": RT_TABLE_MAIN, "protocol": 2, "type": 1},
            {"dst": bytes.fromhex("fe80") + bytes(14), "priority": 256, "oif": 5},
        ),
    ),
    "newroute_v4": (
        17,
        True,
        Request(
            RTM_NEWROUTE,
            {"family": AF_INET, "dst_len": 31, **OUR_ROUTE},
            {"dst": bytes([10, 0, 2, 0]), "gateway": bytes([10, 0, 0, 1]), "oif": 0x20000005, "priority": 20},
            NEW,
        ),
    ),
    "newroute_multipath_v6": (
        18,
        False,
        Request(
            RTM_NEWROUTE,
            {"family": AF_INET6, "dst_len": 64, **OUR_ROUTE},
            {"dst": bytes.fromhex("20010db80002") + bytes(10), "multipath": pack_hops(HOPS_V6)},
            NEW,
        ),
    ),
    "delroute_multipath_v4": (
        19,
        True,
        Request(RTM_DELROUTE, {"family": AF_INET, **OUR_ROUTE}, {"multipath": pack_hops(HOPS_V4)}),
    ),
    "getroute_dump": (
        20,
        False,
        Request(RTM_GETROUTE, {"table": RT_TABLE_MAIN, "protocol": RTPROT_KOKOFAST}, {}, NLM_F_DUMP),
    ),
    "newaddr_loopback": (
        22,
        True,
        Request(
            RTM_NEWADDR,
            {"family": AF_INET, "prefixlen": 32, "index": 1},
            {"local": bytes([10, 255, 0, 1]), "proto": b"K", "rt_priority": LAB_GROUP},
            NEW,
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_request_becomes_the_golden_bytes(name: str) -> None:
    seq, ack, request = CASES[name]
    assert pack(request, seq, ack=ack).hex(" ") == golden.read(name).hex(" ")


@pytest.mark.parametrize("name", CASES)
def test_the_golden_bytes_become_the_request(name: str) -> None:
    seq, ack, request = CASES[name]
    (part,) = split(golden.read(name))
    message = unpack(*part)
    assert (message.type, message.seq, message.pid) == (request.type, seq, 0)
    assert message.flags == 1 | (4 if ack else 0) | request.flags
    assert {name: value for name, value in message.header.items() if value} == request.header
    assert _without_zero_header(message.attributes) == request.attributes


def _without_zero_header(attributes: Mapping[Any, object]) -> dict[object, object]:
    """A request names only the header's fields it sets; the decoder names all of them."""
    found: dict[object, object] = {}
    for name, value in attributes.items():
        if name == "header" and isinstance(value, dict):
            found[name] = {field: number for field, number in value.items() if number}
        else:
            found[name] = _without_zero_header(value) if isinstance(value, dict) else value
    return found


@pytest.mark.parametrize("hops", [[], HOPS_V4, HOPS_V6, [(7, b""), *HOPS_V4]])
def test_next_hops_are_read_as_they_were_written(hops: list[tuple[int, bytes]]) -> None:
    assert unpack_hops(pack_hops(hops)) == hops


@pytest.mark.parametrize("packed", [bytes([10, 0, 0, 0]), bytes.fromhex("20010db8") + bytes(12)])
def test_the_network_of_a_route_is_written_as_by_the_table(packed: bytes) -> None:
    assert pack_goal(packed) == encode(ROUTE, {"dst": packed})


def test_next_hops_that_are_cut_short_are_refused() -> None:
    data = pack_hops(HOPS_V4)
    for size in {*range(len(data))} - {0, len(data) // 2}:
        with pytest.raises(DecodeError):
            unpack_hops(data[:size])


def test_every_golden_file_is_used() -> None:
    files = {path.stem for path in Path(golden.__file__).parent.glob("*.hex")}
    answers = {"ack_refused", "ack_done", "dump_refused"}
    # Kinds have golden files of their own, checked beside them.
    assert set(CASES) | answers <= files


def test_several_messages_in_one_datagram() -> None:
    data = b"".join(golden.read(name) for name in CASES)
    assert [part[2] for part in split(data)] == [seq for seq, _, _ in CASES.values()]


def test_a_refusal_names_the_attribute_of_the_request() -> None:
    ((type, flags, seq, pid, body),) = split(golden.read("ack_refused"))
    assert (type, seq, pid) == (NLMSG_ERROR, 7, 12345)
    ack = unpack_ack(flags, seq, body)
    assert (ack.seq, ack.errno, ack.message, ack.offset) == (
        7, errno.ERANGE, "Attribute failed validation :)", 104
    )  # fmt: skip
    error = explain(golden.read("newlink_veth"), ack)
    # nlmsghdr 16, ifinfomsg 16, the first end's attributes 72: the linkinfo itself stands there.
    assert error.path == ("linkinfo",)
    assert str(error) == "Attribute failed validation :) (ERANGE)"


@pytest.mark.parametrize(
    ("offset", "path"),
    [
        (32, ("ifname",)),
        (44, ("group",)),
        (84, ("mtu",)),
        (92, ("address",)),
        (108, ("linkinfo", "kind")),
        (120, ("linkinfo", "data")),
        (124, ("linkinfo", "data", "peer")),
        (128, ("linkinfo", "data", "peer")),  # inside the peer's ifinfomsg
        (144, ("linkinfo", "data", "peer", "ifname")),
        (204, ("linkinfo", "data", "peer", "mtu")),
        (212, ("linkinfo", "data", "peer", "address")),
        (86, ("mtu",)),  # inside an attribute
        (0, ()),
        (31, ()),
        (43, ()),  # padding
        (224, ()),
        (1 << 32, ()),
    ],
)
def test_every_offset_has_its_path(offset: int, path: tuple[str, ...]) -> None:
    ((_, flags, seq, _, body),) = split(golden.read("ack_refused"))
    ack = unpack_ack(flags, seq, body)
    ack.offset = offset
    assert explain(golden.read("newlink_veth"), ack).path == path


def test_an_acknowledgement_without_error() -> None:
    ((type, flags, seq, _, body),) = split(golden.read("ack_done"))
    ack = unpack_ack(flags, seq, body)
    assert (type, ack.seq, ack.errno, ack.message, ack.offset) == (NLMSG_ERROR, 9, 0, "", None)


def test_a_refused_dump_says_why_at_its_end() -> None:
    ((type, flags, seq, _, body),) = split(golden.read("dump_refused"))
    assert type == NLMSG_DONE
    ack = unpack_ack(flags, seq, body, echoes=False)
    assert (ack.seq, ack.errno, ack.message) == (11, errno.EINVAL, "not this")
    with pytest.raises(DecodeError):
        unpack_ack(flags, seq, body)


def test_an_acknowledgement_that_echoes_the_request() -> None:
    request = golden.read("dellink_group")
    sentence = bytes.fromhex("09 00 01 00 6e 6f 70 65 00 00 00 00")  # NLMSGERR_ATTR_MSG "nope"
    body = (-19).to_bytes(4, "little", signed=True) + request + sentence
    ack = unpack_ack(0x200, 10, body)
    assert (ack.errno, ack.message) == (errno.ENODEV, "nope")
    # Without NLM_F_ACK_TLVS nothing behind the error is looked at.
    assert unpack_ack(0, 10, body[:4]).errno == errno.ENODEV
    assert HEADER_SIZE == 16
