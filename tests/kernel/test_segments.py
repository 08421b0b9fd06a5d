"""Segments: links of type bridge with any number of ends, on the real kernel."""

from __future__ import annotations

import socket

import pytest

from bench.netns import socket_in
from tests.conftest import ip, links
from tests.kernel.conftest import Lab, Start, Watch, answers, kill_midway, ping, present, refused_by_the_kernel, state

pytestmark = pytest.mark.usefixtures("requires_root")


def segment(*ends: object, **more: object) -> dict[str, object]:
    return {"type": "bridge", "endpoints": list(ends), **more}


def test_all_ends_reach_each_other(lab: Lab) -> None:
    names = [lab.node(name) for name in "abc"]
    before = state(*names)
    ends = [f"{name}:lan:192.0.2.{number}/24,2001:db8::{number}/64" for number, name in enumerate(names, 1)]
    lab.write([segment(*ends)])
    result = lab.batch()
    assert (result["links"]["created"], result["namespaces"]["created"]) == (4, 1)
    for own, name in enumerate(names, 1):
        for number in {1, 2, 3} - {own}:
            ping(name, f"192.0.2.{number}")
    ping(names[0], "2001:db8::3")
    assert lab.batch()["status"] == "unchanged"
    more = lab.node("d")
    lab.write([segment(*ends, f"{more}:lan:192.0.2.4/24")])
    assert lab.batch()["links"] == {"total": 5, "created": 1, "updated": 0, "unchanged": 4, "failed": 0}
    ping(more, "192.0.2.1")
    assert lab.destroy()["namespaces"]["removed"] == 1
    assert state(*names) == before


def test_segments_are_apart(lab: Lab) -> None:
    a, b, c, d = (lab.node(name) for name in "abcd")
    lab.write(
        [
            segment(f"{a}:e0:192.0.2.1/24", f"{b}:e0:192.0.2.2/24"),
            segment(f"{c}:e0:192.0.2.2/24", f"{d}:e0:192.0.2.1/24"),
        ]
    )
    lab.batch()
    ping(a, "192.0.2.2")
    ip(b, "link", "set", "e0", "down")
    assert not answers(a, "192.0.2.2")
    ping(d, "192.0.2.2")


def test_lldp_passes_and_the_tree_protocol_is_off(lab: Lab) -> None:
    a, switch = lab.node("a"), lab.node("switch")
    lab.write([segment(f"{a}:e0", f"{a}:e1", bridge=f"{switch}:lan", mtu=1400)])
    lab.batch()
    found = links(switch)
    assert {name: link["mtu"] for name, link in found.items()} == {"lan": 1400, "lanp0": 1400, "lanp1": 1400}
    assert found["lan"]["linkinfo"]["info_data"].items() >= {"stp_state": 0, "group_fwd_mask": "0xfff8"}.items()
    assert {found[port]["master"] for port in ("lanp0", "lanp1")} == {"lan"}


@pytest.mark.parametrize("mtu", [1400, 1500, 65535])
def test_a_bridge_keeps_its_mtu_whatever_its_ports_have(lab: Lab, mtu: int) -> None:
    a, switch = lab.node("a"), lab.node("switch")
    lab.write([segment(f"{a}:e0", {"node": a, "interface": "e1", "mtu": 1300}, bridge=f"{switch}:lan", mtu=mtu)])
    lab.batch()
    assert {name: link["mtu"] for name, link in links(switch).items()} == {"lan": mtu, "lanp0": mtu, "lanp1": 1300}
    assert lab.batch()["status"] == "unchanged"


def test_what_is_refused_takes_all_of_it_back(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    bad = refused_by_the_kernel(a)
    before = state(a, b)
    lab.write([segment(f"{a}:e0", f"{b}:e0"), bad])
    assert lab.kokofast("batch", lab.file).returncode == 1
    assert state(a, b) == before
    assert present([f"{lab.name}-segments"]) == 0


def test_killed_and_destroyed(lab: Lab, start: Start, watch: type[Watch]) -> None:
    a, b = lab.node("a"), lab.node("b")
    before = state(a, b)
    lab.write([segment(*(f"{name}:e{number}" for number in range(100) for name in (a, b)))])
    sight = watch(a)
    kill_midway(lab, start, lambda: sight.count() > 20)
    lab.destroy()
    assert state(a, b) == before
    assert present([f"{lab.name}-segments"]) == 0


GROUPS = {0: 0x0027, 1: 0x8808, 2: 0x8809, 3: 0x888E, 0xE: 0x88CC}  # STP, pause, LACP, 802.1X, LLDP


def passed_on(sender: str, receiver: str, ifname: str) -> set[int]:
    """The groups 01:80:c2:00:00:0X of which a frame arrives."""
    found: set[int] = set()
    kind = socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)
    with socket_in(sender, *kind) as one, socket_in(receiver, *kind) as other:
        one.bind((ifname, 3))
        other.bind((ifname, 3))
        other.settimeout(0.5)
        for group, protocol in GROUPS.items():
            head = b"\x01\x80\xc2\x00\x00" + bytes((group,)) + b"\x02\x00\x00\x00\x00\x09"
            one.send(head + protocol.to_bytes(2, "big") + b"\x01\x01" + bytes(108))
            try:
                while other.recv(2048)[:12] != head:
                    pass
                found.add(group)
            except TimeoutError:
                pass
    return found


def test_lacp_passes_where_it_is_asked_for(lab: Lab) -> None:
    a, b, c = (lab.node(name) for name in "abc")
    ends = [f"{name}:e0" for name in (a, b, c)]
    lab.write([segment(*ends)])
    lab.batch()
    assert passed_on(a, b, "e0") == {0, 3, 0xE}
    lab.write([segment(*ends, lacp=True)])
    assert lab.batch()["links"]["updated"] == 3
    assert passed_on(a, b, "e0") == {0, 2, 3, 0xE}
    assert passed_on(c, a, "e0") == {0, 2, 3, 0xE}
    assert lab.batch()["status"] == "unchanged"
    lab.write([segment(*ends, lacp=False)])
    assert lab.batch()["links"]["updated"] == 3
    assert passed_on(a, b, "e0") == {0, 3, 0xE}
    lab.destroy()
    lab.write([segment(*ends, lacp=True)])  # and from the start
    lab.batch()
    assert passed_on(b, c, "e0") == {0, 2, 3, 0xE}
    assert lab.batch()["status"] == "unchanged"


def test_a_port_that_moves_to_another_bridge_passes_lacp_there(lab: Lab) -> None:
    a, switch = lab.node("a"), lab.node("switch")
    bridges = [{"type": "bridge", "endpoint": f"{switch}:{name}"} for name in ("br0", "br1")]

    def port(master: str) -> dict[str, object]:
        return {"endpoints": [f"{a}:e0", {"node": switch, "interface": "p0", "master": master, "lacp": True}]}

    def mask() -> object:
        return links(switch)["p0"]["linkinfo"]["info_slave_data"]["group_fwd_mask"]

    lab.write([*bridges, port("br0")])
    lab.batch()
    assert mask() == "0x4"
    ip(switch, "link", "set", "p0", "type", "bridge_slave", "group_fwd_mask", "5")
    assert lab.batch()["status"] == "unchanged"  # other groups are not our business
    lab.write([*bridges, port("br1")])
    assert lab.batch()["links"]["updated"] == 1
    assert (links(switch)["p0"]["master"], mask()) == ("br1", "0x4")
    assert lab.batch()["status"] == "unchanged"
    lab.write([{"endpoints": [f"{a}:e1", {"node": switch, "interface": "p1", "lacp": True}]}])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert "it is no port of a bridge; give the end a bridge as its master" in done.stderr
