"""The messages of link kinds that stand on another interface, and of traffic control: byte by byte, in both
directions, read by pyroute2, and what the kernel shows of both."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from kokofast.wire import ethtool, neigh, tc
from kokofast.wire.attributes import encode
from kokofast.wire.link import AF_BRIDGE, RTM_NEWLINK
from kokofast.wire.message import (
    FORMATS,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Request,
    pack,
    split,
    unpack,
)
from tests import golden
from tests.conftest import NamespaceFactory, ip, ip_json
from tests.wire.test_golden import _without_zero_header
from tests.wire.test_witness import attributes_of, dump, witness

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are those of a little-endian machine")

NEW = NLM_F_CREATE | NLM_F_EXCL
COOKIE = b"koko" + bytes.fromhex("4b123456 a1a2a3a4a5a6a7 01")
ACTION = {"kind": "mirred", "options": {"parms": tc.mirred(12)}, "cookie": COOKIE}
INFO = tc.filter_info(17)
EGRESS = tc.CLSACT_HANDLE | tc.TC_H_MIN_EGRESS


def newlink(kind: str, data: dict[str, object] | None, **more: object) -> Request:
    """An interface v0 with index 5 to be, in the namespace of descriptor 9."""
    common = {"ifname": "v0", "group": 0x4B123456, "net_ns_fd": 9}
    info = {"kind": kind} | ({} if data is None else {"data": data})
    return Request(RTM_NEWLINK, {"index": 5}, {**common, **more, "linkinfo": info}, NEW)


def newfilter(kind: str, options: dict[str, object]) -> Request:
    header = {"index": 3, "parent": EGRESS, "info": INFO}
    return Request(tc.RTM_NEWTFILTER, header, {"kind": kind, "options": {**options, "act": {"first": ACTION}}}, NEW)


def newqdisc(kind: str, handle: int, parent: int, **more: object) -> Request:
    return Request(tc.RTM_NEWQDISC, {"index": 3, "handle": handle, "parent": parent}, {"kind": kind, **more}, NEW)


LOCAL6 = bytes.fromhex("20010db8000000000000000000000001")
REMOTE6 = bytes.fromhex("20010db8000000000000000000000002")
CASES: dict[str, Request] = {
    "newlink_vxlan_v4": newlink(
        "vxlan",
        {
            "id": 0x123456,
            "link": 2,
            "port": 4789,
            "learning": 1,
            "group": bytes((192, 0, 2, 2)),
            "local": bytes((192, 0, 2, 1)),
            "ttl": 9,
        },
    ),
    "newlink_vxlan_v6": newlink(
        "vxlan", {"id": 7, "link": 2, "port": 4789, "learning": 0, "group6": REMOTE6, "local6": LOCAL6}
    ),
    "newlink_vlan": newlink("vlan", {"id": 100, "protocol": 0x88A8}, link=2),
    "newlink_macvlan": newlink("macvlan", {"mode": 4}, link=2),
    "newlink_ipvlan": newlink("ipvlan", {"mode": 1}, link=2),
    "newlink_dummy": newlink("dummy", None),
    "newlink_bridge": newlink("bridge", {"stp_state": 0, "group_fwd_mask": 0xFFF8}),
    "newqdisc_clsact": newqdisc("clsact", tc.CLSACT_HANDLE, tc.TC_H_CLSACT),
    "newqdisc_ingress": newqdisc("ingress", tc.CLSACT_HANDLE, tc.TC_H_CLSACT),
    "newqdisc_prio": newqdisc("prio", 0x4B0000, tc.TC_H_ROOT, options=tc.PRIO_OPTIONS),
    "delqdisc_clsact": Request(
        tc.RTM_DELQDISC, {"index": 3, "handle": tc.CLSACT_HANDLE, "parent": tc.TC_H_CLSACT}, {"kind": "clsact"}
    ),
    "newtfilter_matchall": newfilter("matchall", {}),
    "newtfilter_u32": newfilter("u32", {"sel": tc.U32_MATCH_ALL}),
    "deltfilter": Request(
        tc.RTM_DELTFILTER, {"index": 3, "handle": 0x80000800, "parent": EGRESS, "info": INFO}, {"kind": "u32"}
    ),
    "newneigh_vxlan": Request(
        neigh.RTM_NEWNEIGH,
        {"family": AF_BRIDGE, "index": 5, "state": neigh.NUD_PERMANENT, "flags": neigh.NTF_SELF},
        {"dst": bytes((192, 0, 2, 2)), "lladdr": bytes(6)},
        NLM_F_CREATE | NLM_F_APPEND,
    ),
    "ethtool_getfamily": Request(
        ethtool.CTRL, {"cmd": ethtool.CTRL_CMD_GETFAMILY, "version": 1}, {"family_name": "ethtool"}
    ),
    "ethtool_features_get": Request(
        ethtool.ETHTOOL, {"cmd": ethtool.ETHTOOL_MSG_FEATURES_GET, "version": 1}, {"header": {}}, NLM_F_DUMP
    ),
    "ethtool_features_set": Request(
        ethtool.ETHTOOL,
        {"cmd": ethtool.ETHTOOL_MSG_FEATURES_SET, "version": 1},
        {
            "header": {"dev_index": 5, "flags": ethtool.ETHTOOL_FLAG_OMIT_REPLY},
            "wanted": {"bits": {"bit": [{"name": "rx-gro"}, {"name": "tx-tcp-segmentation", "value": True}]}},
        },
    ),
    "getqdisc_dump": Request(tc.RTM_GETQDISC, {}, {}, NLM_F_DUMP),
    "gettfilter_dump": Request(tc.RTM_GETTFILTER, {"index": 3, "parent": EGRESS}, {}, NLM_F_DUMP),
}


@pytest.mark.parametrize("name", CASES)
def test_a_request_becomes_the_golden_bytes(name: str) -> None:
    assert pack(CASES[name], 7, ack=True).hex(" ") == golden.read(name).hex(" ")


@pytest.mark.parametrize("name", CASES)
def test_the_golden_bytes_become_the_request(name: str) -> None:
    request = CASES[name]
    (part,) = split(golden.read(name))
    message = unpack(*part)
    assert (message.type, message.seq, message.flags) == (request.type, 7, 5 | request.flags)
    assert {name: value for name, value in message.header.items() if value} == request.header
    assert _without_zero_header(message.attributes) == request.attributes


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "newlink_vxlan_v4",
            {
                "vxlan_id": 0x123456,
                "vxlan_link": 2,
                "vxlan_port": 4789,
                "vxlan_learning": 1,
                "vxlan_group": "192.0.2.2",
                "vxlan_local": "192.0.2.1",
                "vxlan_ttl": 9,
            },
        ),
        (
            "newlink_vxlan_v6",
            {
                "vxlan_id": 7,
                "vxlan_link": 2,
                "vxlan_port": 4789,
                "vxlan_learning": 0,
                "vxlan_group6": "2001:db8::2",
                "vxlan_local6": "2001:db8::1",
            },
        ),
        ("newlink_vlan", {"vlan_id": 100, "vlan_protocol": 0x88A8}),
        ("newlink_macvlan", {"macvlan_mode": "bridge"}),
        ("newlink_ipvlan", {"ipvlan_mode": 1}),
    ],
)
def test_pyroute2_reads_the_links(name: str, wanted: dict[str, object]) -> None:
    message = witness(golden.read(name), RTM_NEWLINK)
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == name.split("_")[1]
    assert attributes_of(info.get_attr("IFLA_INFO_DATA"), "IFLA_") == wanted
    theirs = attributes_of(message, "IFLA_")
    if "link" in CASES[name].attributes:
        assert theirs["link"] == 2
    assert (message["index"], theirs["ifname"], theirs["net_ns_fd"]) == (5, "v0", 9)


def read_tc(data: bytes) -> Any:
    message = tcmsg(data)
    message.decode()
    return message


TC_CASES = [name for name in CASES if not name.startswith(("newlink", "newneigh", "ethtool"))]


def test_pyroute2_reads_an_entry_of_a_forwarding_database() -> None:
    message = ndmsg(golden.read("newneigh_vxlan"))
    message.decode()
    assert (message["family"], message["ifindex"], message["state"], message["flags"]) == (7, 5, 0x80, 2)
    assert message.get_attr("NDA_LLADDR") == "00:00:00:00:00:00"
    assert message.get_attr("NDA_DST") in ("192.0.2.2", bytes((192, 0, 2, 2)), "c0:00:02:02")


@pytest.mark.parametrize("name", TC_CASES)
def test_pyroute2_reads_traffic_control(name: str) -> None:
    request = CASES[name]
    message = read_tc(golden.read(name))
    assert message["header"]["type"] == request.type
    # pyroute2 reads these two as signed or unsigned numbers, depending on its release.
    for field in ("index", "handle", "parent", "info"):
        assert message[field] & 0xFFFFFFFF == request.header.get(field, 0)
    assert message.get_attr("TCA_KIND") == request.attributes.get("kind")


@pytest.mark.parametrize(("name", "prefix"), [("newtfilter_matchall", "MATCHALL"), ("newtfilter_u32", "U32")])
def test_pyroute2_reads_the_filters(name: str, prefix: str) -> None:
    options = read_tc(golden.read(name)).get_attr("TCA_OPTIONS")
    action = options.get_attr(f"TCA_{prefix}_ACT").get_attr("TCA_ACT_PRIO_1")
    assert action.get_attr("TCA_ACT_KIND") == "mirred"
    parms = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    # TCA_EGRESS_MIRROR, and TC_ACT_UNSPEC for what comes after.
    assert (parms["eaction"], parms["ifindex"], parms["action"]) == (2, 12, -1)
    if prefix == "U32":
        selector = options.get_attr("TCA_U32_SEL")
        assert (selector["flags"], selector["nkeys"]) == (1, 1)
        (key,) = selector["keys"]
        assert (key["key_val"], key["key_mask"]) == (0, 0)


def test_the_target_of_a_mirror() -> None:
    assert tc.mirred_target(tc.mirred(12)) == 12
    assert tc.mirred_target(b"short") == 0
    assert tc.priority_of(INFO) == 17


@pytest.fixture
def furnished(netns: NamespaceFactory) -> str:
    """A namespace with qdiscs and filters that tc(8) made."""
    name = netns()
    for number in range(2):
        ip(name, "link", "add", f"v{number}", "type", "veth", "peer", "name", f"p{number}")
    commands = [
        "qdisc add dev v0 clsact",
        "qdisc add dev v1 ingress",
        "qdisc add dev p0 root pfifo limit 10",
        "filter add dev v0 ingress protocol ip prio 3 u32 match ip dst 192.0.2.0/24 match ip tos 8 0xff flowid 1:1",
    ]
    # Each hook its own priority: u32 shows the filters of both hooks where they share one.
    for priority, hook in ((20, "ingress"), (21, "egress")):
        action = f"action mirred egress mirror dev v1 continue cookie {COOKIE.hex()}"
        commands.append(f"filter add dev v0 {hook} protocol all prio {priority} u32 match u32 0 0 {action}")
    made = [
        subprocess.run(["tc", "-n", name, *one.split()], capture_output=True, text=True, check=False)
        for one in commands
    ]
    assert [done.stderr for done in made] == [""] * len(made)
    # What one kernel has and another has not.
    optional = [
        "qdisc add dev p1 root prio",
        "filter add dev v0 egress prio 30 matchall action mirred egress mirror dev v1",
    ]
    for one in optional:
        subprocess.run(["tc", "-n", name, *one.split()], capture_output=True, check=False)
    return name


def index_of(namespace: str, ifname: str) -> int:
    (link,) = ip_json(namespace, "link", "show", "dev", ifname)
    return int(link["ifindex"])


@pytest.mark.usefixtures("requires_root")
class TestTheKernelsOwn:
    def test_a_dump_of_qdiscs_written_again_is_the_same_bytes(self, furnished: str) -> None:
        kinds = []
        for raw, message in dump(furnished, CASES["getqdisc_dump"]):
            header, table = FORMATS[message.type]
            assert (header.pack(message.header) + encode(table, message.attributes)).hex(" ") == raw[16:].hex(" ")
            assert read_tc(raw).get_attr("TCA_KIND") == message.attributes["kind"]
            kinds.append(message.attributes["kind"])
        assert {"clsact", "ingress"} <= set(kinds)

    @pytest.mark.parametrize(("minor", "priority"), [(tc.TC_H_MIN_INGRESS, 20), (tc.TC_H_MIN_EGRESS, 21)])
    def test_a_dump_of_filters_is_read_to_its_end(self, furnished: str, minor: int, priority: int) -> None:
        header_of = {"index": index_of(furnished, "v0"), "parent": tc.CLSACT_HANDLE | minor}
        mirrors = 0
        for raw, message in dump(furnished, Request(tc.RTM_GETTFILTER, header_of, {}, NLM_F_DUMP)):
            header, table = FORMATS[message.type]
            again = header.pack(message.header) + encode(table, message.attributes)
            # The kernel marks some nests with NLA_F_NESTED, which we read over; the lengths must not differ.
            assert len(again) == len(raw) - 16
            assert read_tc(raw).get_attr("TCA_KIND") == message.attributes["kind"]
            action = message.attributes.get("options", {}).get("act", {}).get("first", {})
            if action.get("cookie") == COOKIE:
                mirrors += 1
                assert action["kind"] == "mirred"
                assert tc.mirred_target(action["options"]["parms"]) == index_of(furnished, "v1")
                assert tc.priority_of(message.header["info"]) == priority
                assert socket.htons(message.header["info"] & 0xFFFF) == tc.ETH_P_ALL
        assert mirrors == 1
