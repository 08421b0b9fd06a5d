"""Segments: links of type bridge with any number of ends, on the real kernel."""

from __future__ import annotations

import pytest

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
