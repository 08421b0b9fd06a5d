"""The end properties of kokofast.ends on the real kernel: set, compared, changed, undone."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kokofast.ends.link_local import made_of
from tests.conftest import addresses, ip, ip_batch, ip_json, links
from tests.kernel.conftest import Lab, Start, Watch, are_unique, kill_midway, ping, refused_by_the_kernel, state, until
from tests.kernel.test_kinds import refused

pytestmark = pytest.mark.usefixtures("requires_root")


def end(node: str, ifname: str, **more: object) -> dict[str, object]:
    return {"node": node, "interface": ifname, **more}


def seen_of(*names: str) -> str:
    """All that ``ip`` shows, but for what a bridge keeps of ports that it once had."""
    return re.sub(r"tso_max_size \d+", "", state(*names))


class TestMaster:
    @pytest.fixture
    def nodes(self, lab: Lab) -> tuple[str, str]:
        """Two namespaces with bridges br0 and br1 of somebody else in the first.

        They are down, and have a MAC address of their own: else they change with their ports, and with time.
        """
        a, b = lab.node("a"), lab.node("b")
        ip_batch(a, *(f"link add br{i} address 02:00:00:00:00:0{i} type bridge" for i in range(2)))
        return a, b

    def test_ports_of_a_bridge(self, lab: Lab, nodes: tuple[str, str]) -> None:
        a, b = nodes
        before = seen_of(a, b)
        lab.write([{"endpoints": [end(a, "e0", master="br0"), f"{b}:e0"]}])
        assert lab.batch("--dry-run")["status"] == "planned"
        lab.batch()
        assert links(a)["e0"]["master"] == "br0"
        assert lab.batch()["status"] == "unchanged"
        (seen,) = lab.inspect()
        assert [one.get("master") for one in seen["endpoints"]] == ["br0", None]
        lab.destroy()
        assert seen_of(a, b) == before

    def test_another_master_is_set_in_place(self, lab: Lab, nodes: tuple[str, str]) -> None:
        a, b = nodes
        addresses_of_e0 = ["192.0.2.1/24", "2001:db8::1/64"]
        lab.write([{"endpoints": [end(a, "e0", addresses=addresses_of_e0, master="br0"), f"{b}:e0"]}])
        lab.batch()
        ip(a, "address", "add", "192.0.2.9/32", "dev", "e0")  # somebody else's stays
        index = links(a)["e0"]["ifindex"]
        lab.write([{"endpoints": [end(a, "e0", addresses=addresses_of_e0, master="br1"), f"{b}:e0"]}])
        planned = lab.batch("--dry-run")["plan"]
        assert [(one["field"], one["before"], one["after"]) for one in planned] == [("master", "br0", "br1")]
        assert lab.batch()["links"]["updated"] == 1
        assert (links(a)["e0"]["master"], links(a)["e0"]["ifindex"]) == ("br1", index)
        assert sorted(addresses(a, "e0")) == sorted([*addresses_of_e0, "192.0.2.9/32"])
        assert lab.batch()["status"] == "unchanged"
        # Without the field it stays; somebody else may have chosen it.
        lab.write([{"endpoints": [end(a, "e0", addresses=addresses_of_e0), f"{b}:e0"]}])
        assert lab.batch()["status"] == "unchanged"
        assert links(a)["e0"]["master"] == "br1"

    def test_a_bridge_of_the_same_file(self, lab: Lab) -> None:
        a, b, switch = lab.node("a"), lab.node("b"), lab.node("switch")
        before = state(a, b, switch)
        ports = [f"{a}:e0:192.0.2.1/24", f"{b}:e0:192.0.2.2/24"]
        rows: list[dict[str, object]] = [
            {"endpoints": [port, end(switch, f"p{number}", master="sw")]} for number, port in enumerate(ports)
        ]
        lab.write([*rows, {"type": "bridge", "endpoint": f"{switch}:sw"}])
        lab.batch()
        ping(a, "192.0.2.2")
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(a, b, switch) == before

    def test_all_is_taken_back(self, lab: Lab, nodes: tuple[str, str]) -> None:
        a, b = nodes
        lab.write([{"endpoints": [end(a, "e0", master="br0"), f"{b}:e0"]}, {"endpoints": [f"{a}:e1", f"{b}:e1"]}])
        lab.batch()
        # A bridge does not take the parent of a macvlan, which only the kernel knows.
        ip(a, "link", "add", "link", "e1", "name", "m1", "type", "macvlan")
        until(lambda: are_unique(a, b), "the link-local addresses are known to be unique")
        before = seen_of(a, b)
        lab.write(
            [
                {"endpoints": [end(a, "e0", master="br1"), f"{b}:e0"]},
                {"endpoints": [end(a, "e1", master="br1"), f"{b}:e1"]},
                {"endpoints": [end(a, "e2", master="br1"), f"{b}:e2"]},
            ]
        )
        refused(lab, "$.links[1].endpoints[0].master", "e1", code=1)
        assert seen_of(a, b) == before

    def test_what_is_no_master_is_refused(self, lab: Lab, nodes: tuple[str, str]) -> None:
        a, b = nodes
        ip(a, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        before = seen_of(a, b)
        place = "$.links[0].endpoints[0].master"
        for master, words in (
            ("br9", "there is no interface br9"),
            ("v0", "v0 is a veth and no bridge, bond or VRF; name one of these"),
            ("lo", "lo is no bridge"),
            ("e0", "master cycle"),
        ):
            lab.write([{"endpoints": [end(a, "e0", master=master), f"{b}:e0"]}])
            refused(lab, place, words)
        lab.write([{"type": "bridge", "endpoint": end(a, "sw", master="br0")}])
        refused(lab, "$.links[0].endpoint.master", "connect bridges by a veth link")
        lab.write([{"endpoints": [end(a, "e0"), f"{b}:e0"], "master": "br0"}])
        refused(lab, "$.links[0].master", f"there is no interface br0 in {b}")
        assert seen_of(a, b) == before

    def test_yaml(self, lab: Lab, nodes: tuple[str, str], tmp_path: Path) -> None:
        a, b = nodes
        file = tmp_path / f"{lab.name}.yaml"
        file.write_text(f"links:\n- endpoints:\n  - {{node: {a}, interface: e0, master: br0}}\n  - {b}:e0\n")
        done = lab.kokofast("batch", str(file), "--format", "json")
        assert json.loads(done.stdout)["status"] == "applied", done.stderr
        assert links(a)["e0"]["master"] == "br0"

    def test_killed_while_ports_are_made(self, lab: Lab, nodes: tuple[str, str], start: Start, watch: Any) -> None:
        a, b = nodes
        before = seen_of(a, b)
        lab.write([{"endpoints": [end(a, f"e{i}", master="br0"), f"{b}:e{i}"]} for i in range(300)])
        sight: Watch = watch(a)
        kill_midway(lab, start, lambda: sight.count() > 5)
        lab.batch()
        assert {link.get("master") for name, link in links(a).items() if name[0] == "e"} == {"br0"}
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert seen_of(a, b) == before


class TestAltnames:
    def test_names_in_place(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        before = state(a, b)
        longest = "n" * 127
        lab.write([{"endpoints": [end(a, "e0", altnames=["to-b", longest]), f"{b}:e0"]}])
        lab.batch()
        assert links(a)["e0"]["altnames"] == [longest, "to-b"]
        assert lab.batch()["status"] == "unchanged"
        (seen,) = lab.inspect()
        assert [one.get("altnames") for one in seen["endpoints"]] == [[longest, "to-b"], None]
        index = links(a)["e0"]["ifindex"]
        lab.write([{"endpoints": [end(a, "e0", altnames=["to-b", "uplink"]), f"{b}:e0"]}])
        (planned,) = lab.batch("--dry-run")["plan"]
        assert (planned["field"], planned["before"], planned["after"]) == (
            "altnames",
            [longest, "to-b"],
            ["to-b", "uplink"],
        )
        assert lab.batch()["links"]["updated"] == 1
        assert (links(a)["e0"]["altnames"], links(a)["e0"]["ifindex"]) == (["to-b", "uplink"], index)
        # The list is all of them; without it they stay.
        ip(a, "link", "property", "add", "dev", "e0", "altname", "mine")
        assert lab.batch()["links"]["updated"] == 1
        assert links(a)["e0"]["altnames"] == ["to-b", "uplink"]
        ip(a, "link", "property", "add", "dev", "e0", "altname", "mine")
        lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(a, b) == before

    def test_all_is_taken_back(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        lab.write([{"endpoints": [end(a, "e0", altnames=["one", "two"]), f"{b}:e0"]}])
        lab.batch()
        rows = [
            {"endpoints": [end(a, "e0", altnames=["one", "three"]), f"{b}:e0"]},
            {"endpoints": [end(a, "e1", altnames=["four"]), f"{b}:e1"]},
            refused_by_the_kernel(a),
        ]
        until(lambda: are_unique(a, b), "the link-local addresses are known to be unique")
        before = seen_of(a, b)
        lab.write(rows)
        assert lab.kokofast("batch", lab.file).returncode == 1
        assert sorted(links(a)["e0"]["altnames"]) == ["one", "two"]
        assert seen_of(a, b) == before

    def test_names_that_are_taken_are_refused(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        ip(a, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip(a, "link", "property", "add", "dev", "v0", "altname", "theirs")
        before = state(a, b)
        cure = "or remove it there (ip link property del dev v0 altname theirs)"
        for name, words in (
            ("theirs", f"theirs is an alternative name of v0; choose another one, {cure}"),
            ("v1", "there is an interface v1"),
            ("e0", "e0 is its own name"),
        ):
            lab.write([{"endpoints": [end(a, "e0", altnames=["x", name]), f"{b}:e0"]}])
            refused(lab, "$.links[0].endpoints[0].altnames[1]", words)
        rows = [{"endpoints": [end(a, f"e{i}", altnames=["x"]), f"{b}:e{i}"]} for i in range(2)]
        lab.write(rows)
        refused(lab, "$.links[1].endpoints[0].altnames[0]", "x is an alternative name of e0")
        assert state(a, b) == before

    def test_yaml(self, lab: Lab, tmp_path: Path) -> None:
        a, b = lab.node("a"), lab.node("b")
        file = tmp_path / f"{lab.name}.yaml"
        file.write_text(f"links:\n- endpoints:\n  - {{node: {a}, interface: e0, altnames: [x, y]}}\n  - {b}:e0\n")
        done = lab.kokofast("batch", str(file), "--format", "json")
        assert json.loads(done.stdout)["status"] == "applied", done.stderr
        assert links(a)["e0"]["altnames"] == ["x", "y"]

    def test_killed_while_names_are_given(self, lab: Lab, start: Start, watch: Any) -> None:
        a, b = lab.node("a"), lab.node("b")
        before = state(a, b)
        lab.write([{"endpoints": [end(a, f"e{i}", altnames=[f"x{i}", f"y{i}"]), f"{b}:e{i}"]} for i in range(300)])
        sight: Watch = watch(a)
        kill_midway(lab, start, lambda: sight.count() > 5)
        lab.batch()
        assert {tuple(link["altnames"]) for link in links(a).values()} == {(f"x{i}", f"y{i}") for i in range(300)}
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(a, b) == before


def link_local_of(*names: str) -> list[tuple[str | None, list[str]]]:
    """Of e0 in each namespace: how it comes by its link-local address, and those that it has."""
    found = []
    for name in names:
        (shown,) = ip_json(name, "address", "show", "dev", "e0")
        made = [one["local"] for one in shown["addr_info"] if one["scope"] == "link"]
        found.append((details(name)["e0"]["inet6_addr_gen_mode"], made))
    return found


def by_eui64(name: str) -> str:
    """The address that the kernel makes of the MAC address of e0."""
    return str(ipaddress.ip_address(made_of(bytes.fromhex(links(name)["e0"]["address"].replace(":", "")))))


class TestLinkLocal:
    def test_none_in_place_and_back(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        before = state(a, b)
        row: dict[str, object] = {"endpoints": [f"{a}:e0:2001:db8::1/64,192.0.2.1/24", f"{b}:e0:2001:db8::2/64"]}
        lab.write([row], defaults={"link_local": False})
        lab.batch()
        ping(a, "2001:db8::2")
        assert link_local_of(a, b) == [("none", []), ("none", [])]
        assert lab.batch()["status"] == "unchanged"
        (seen,) = lab.inspect()
        assert [one.get("link_local") for one in seen["endpoints"]] == [False, False]
        # without the field it stays
        lab.write([row])
        assert lab.batch()["status"] == "unchanged"
        chatty = end(a, "e0", link_local=True, addresses=["2001:db8::1/64", "192.0.2.1/24"])
        lab.write([{"endpoints": [chatty, f"{b}:e0:2001:db8::2/64"]}])
        planned = lab.batch("--dry-run")["plan"]
        assert [(one["field"], one["before"], one["after"]) for one in planned] == [("link_local", False, None)]
        lab.batch()
        assert link_local_of(a, b) == [("eui64", [by_eui64(a)]), ("none", [])]
        assert lab.batch()["status"] == "unchanged"
        ip(a, "link", "set", "e0", "down")
        ip(a, "link", "set", "e0", "up")
        until(lambda: link_local_of(a) == [("eui64", [by_eui64(a)])], "the kernel's own address is the same one")
        # somebody else's address stays
        ip(a, "address", "add", "fe80::77/64", "dev", "e0")
        lab.write([row], defaults={"link_local": False})
        assert lab.batch()["links"]["updated"] == 1
        assert link_local_of(a, b) == [("none", ["fe80::77"]), ("none", [])]
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(a, b) == before

    def test_what_the_kernel_makes_at_once_is_taken_away(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        lab.write([{"endpoints": [end(a, "e0", up=False), f"{b}:e0"]}])
        lab.batch()
        assert link_local_of(a) == [("eui64", [])]
        lab.write([{"endpoints": [end(a, "e0", link_local=False), f"{b}:e0"]}])
        lab.batch()
        assert link_local_of(a) == [("none", [])]
        assert link_local_of(b)[0][1] == [by_eui64(b)]

    def test_all_is_taken_back(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
        lab.batch()
        refused_row = refused_by_the_kernel(a)
        until(lambda: are_unique(a, b), "the link-local addresses are known to be unique")
        before = seen_of(a, b)
        rows = [{"endpoints": [f"{a}:e0", f"{b}:e0"]}, {"endpoints": [f"{a}:e1", f"{b}:e1"]}, refused_row]
        lab.write(rows, defaults={"link_local": False})
        assert lab.kokofast("batch", lab.file).returncode == 1
        until(lambda: are_unique(a, b), "the link-local addresses are known to be unique")
        assert seen_of(a, b) == before

    def test_csv(self, lab: Lab, tmp_path: Path) -> None:
        a, b = lab.node("a"), lab.node("b")
        file = tmp_path / f"{lab.name}.csv"
        file.write_text(f"a_node,a_if,b_node,b_if,link_local\n{a},e0,{b},e0,false\n")
        done = lab.kokofast("batch", str(file), "--format", "json")
        assert json.loads(done.stdout)["status"] == "applied", done.stderr
        assert link_local_of(a, b) == [("none", []), ("none", [])]

    @pytest.mark.parametrize("mtu", [1000, 68])
    def test_an_end_without_ipv6_has_none_anyway(self, lab: Lab, mtu: int) -> None:
        a, b = lab.node("a"), lab.node("b")
        row: dict[str, object] = {"endpoints": [end(a, "e0", link_local=False), f"{b}:e0"]}
        lab.write([row | {"mtu": mtu}])
        lab.batch()
        assert lab.batch()["status"] == "unchanged"
        lab.write([row | {"mtu": 1500}])
        refused(lab, "$.links[0].endpoints[0].link_local", "it exists without IPv6")

    def test_killed_while_it_is_changed(self, lab: Lab, start: Start, watch: Any) -> None:
        a, b = lab.node("a"), lab.node("b")
        before = state(a, b)
        lab.write([{"endpoints": [f"{a}:e{i}", f"{b}:e{i}"]} for i in range(300)], defaults={"link_local": False})
        sight: Watch = watch(a)
        kill_midway(lab, start, lambda: sight.count() > 5)
        lab.batch()
        assert {one["inet6_addr_gen_mode"] for name, one in details(a).items() if name[0] == "e"} == {"none"}
        assert "fe80" not in ip(a, "address")
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(a, b) == before


def features_of(*names: str) -> list[list[str]]:
    """Of e0 in each namespace: the features of kokofast.ends.offload that are at work, by the ioctl of ethtool."""
    return [json.loads(run_in(name, FEATURES_AT_WORK, "e0")) for name in names]


# ETHTOOL_GTXCSUM, GTSO, GGSO, GGRO of include/uapi/linux/ethtool.h, by SIOCETHTOOL.
FEATURES_AT_WORK = """
import array, fcntl, json, socket, struct, sys
found = []
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    for name, command in (("tx", 0x16), ("tso", 0x1E), ("gso", 0x23), ("gro", 0x2B)):
        value = array.array("I", (command, 0))
        fcntl.ioctl(one, 0x8946, struct.pack("16sP16x", sys.argv[1].encode(), value.buffer_info()[0]))
        found += [name] if value[1] else []
print(json.dumps(found))
"""


def run_in(name: str, program: str, *arguments: str) -> str:
    command = ["ip", "netns", "exec", name, sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# A datagram as it arrives: where a sender leaves the checksum to the device, a veth passes it on without a right one.
CHECKSUM_ARRIVING = """
import socket, struct
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as one:
    one.bind(("e0", 0x0800))
    one.settimeout(20)
    print("ready", flush=True)
    data = one.recv(2000)
    while data[9] != 17:
        data = one.recv(2000)
size = struct.unpack(">H", data[24:26])[0]
whole = data[12:20] + struct.pack(">HH", 17, size) + data[20:20 + size]
total = sum(struct.unpack(f">{len(whole) // 2}H", whole[: len(whole) // 2 * 2]))
while total >> 16:
    total = (total & 0xFFFF) + (total >> 16)
print(total == 0xFFFF)
"""
SEND = 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"12345678", ("192.0.2.2", 9))'


def has_right_checksum(a: str, b: str) -> bool:
    command = ["ip", "netns", "exec", b, sys.executable, "-c", CHECKSUM_ARRIVING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        run_in(a, SEND)
        return receiver.stdout.read() == "True\n"


USUAL = ["tx", "tso", "gso"]


class TestOffload:
    def rows(self, a: str, b: str, **more: object) -> list[dict[str, object]]:
        return [{"endpoints": [f"{a}:e0:192.0.2.1/24", f"{b}:e0:192.0.2.2/24"], **more}]

    def test_off_in_place_and_back(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        before = state(a, b)
        lab.write(self.rows(a, b))
        lab.batch()
        assert features_of(a, b) == [USUAL, USUAL]
        assert not has_right_checksum(a, b)
        lab.write(self.rows(a, b), defaults={"offload": False})
        assert [one["field"] for one in lab.batch("--dry-run")["plan"]] == ["offload", "offload"]
        assert lab.batch()["links"]["updated"] == 1
        assert features_of(a, b) == [[], []]
        assert has_right_checksum(a, b)
        assert lab.batch()["status"] == "unchanged"
        # without the field it stays
        lab.write(self.rows(a, b))
        assert lab.batch()["status"] == "unchanged"
        ends = [end(a, "e0", addresses=["192.0.2.1/24"], offload={"gro": True}), f"{b}:e0:192.0.2.2/24"]
        lab.write([{"endpoints": ends, "offload": True}])
        (first, second) = lab.batch("--dry-run")["plan"]
        assert (first["before"], first["after"]) == (False, {"tx": False, "tso": False, "gso": False, "gro": True})
        assert (second["before"], second["after"]) == (False, True)
        lab.batch()
        assert features_of(a, b) == [["gro"], USUAL]
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(a, b) == before

    def test_a_new_end_has_it_at_once(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        lab.write(self.rows(a, b, offload={"tso": False, "gso": False}))
        lab.batch()
        assert features_of(a, b) == [["tx"], ["tx"]]
        assert lab.batch()["status"] == "unchanged"

    def test_all_is_taken_back(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        lab.write(self.rows(a, b, offload={"tx": False, "gro": True}))
        lab.batch()
        refused_row = refused_by_the_kernel(a)
        until(lambda: are_unique(a, b), "the link-local addresses are known to be unique")
        before = state(a, b), features_of(a, b)
        assert before[1] == [["gso", "gro"], ["gso", "gro"]]  # without checksums there is no segmentation of TCP
        rows = [*self.rows(a, b), {"endpoints": [f"{a}:e1", f"{b}:e1"]}, refused_row]
        lab.write(rows, defaults={"offload": False})
        assert lab.kokofast("batch", lab.file).returncode == 1
        until(lambda: are_unique(a, b), "the link-local addresses are known to be unique")
        assert (state(a, b), features_of(a, b)) == before
        lab.write(self.rows(a, b, offload={"tx": True}))  # what was wanted before is there again
        lab.batch()
        assert features_of(a, b) == [[*USUAL, "gro"], [*USUAL, "gro"]]

    def test_a_replaced_link_that_is_given_back_has_its_own(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        lab.write(self.rows(a, b, offload=False))
        lab.batch()
        refused_row = refused_by_the_kernel(a)
        lab.write([*self.rows(a, b, queues=2), refused_row])
        assert lab.kokofast("batch", lab.file, "--replace").returncode == 1
        assert features_of(a, b) == [[], []]

    def test_csv(self, lab: Lab, tmp_path: Path) -> None:
        a, b = lab.node("a"), lab.node("b")
        file = tmp_path / f"{lab.name}.csv"
        file.write_text(f"a_node,a_if,b_node,b_if,offload\n{a},e0,{b},e0,false\n")
        done = lab.kokofast("batch", str(file), "--format", "json")
        assert json.loads(done.stdout)["status"] == "applied", done.stderr
        assert features_of(a, b) == [[], []]

    def test_killed_while_it_is_changed(self, lab: Lab, start: Start, watch: Any) -> None:
        a, b = lab.node("a"), lab.node("b")
        before = state(a, b)
        rows = [*self.rows(a, b), *({"endpoints": [f"{a}:e{i}", f"{b}:e{i}"]} for i in range(1, 300))]
        lab.write(rows, defaults={"offload": False})
        sight: Watch = watch(a)
        kill_midway(lab, start, lambda: sight.count() > 5)
        lab.batch()
        assert features_of(a, b) == [[], []]
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(a, b) == before


def details(name: str) -> dict[str, dict[str, Any]]:
    return {one["ifname"]: one for one in ip_json(name, "-d", "link", "show")}
