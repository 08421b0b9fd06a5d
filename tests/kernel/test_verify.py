"""verify on the real kernel: it finds what was broken by hand, where that is, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kokofast.cli.result_schema import schema_of_verify
from tests import ROOT
from tests.conftest import ip
from tests.kernel.conftest import Lab, run, state
from tests.kernel.test_mirror import qdiscs, tc

pytestmark = pytest.mark.usefixtures("requires_root")

SCHEMA = Draft202012Validator(schema_of_verify())


def verify(lab: Lab, source: str | None = None, *arguments: str) -> dict[str, Any]:
    """What verify finds of the lab, or of a file."""
    done = lab.kokofast("verify", source or lab.name, "--format", "json", *arguments)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    SCHEMA.validate(found)
    assert done.returncode == (0 if found["ok"] else 1), done.stderr
    assert found["ok"] == (not found["errors"] and all(link["state"] != "failed" for link in found["links"]))
    return found


def problems(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """The problems of the links that have some."""
    return {
        link["link"]: [f"{one['check']}: {one['message']}" for one in link["problems"]]
        for link in found["links"]
        if link["problems"]
    }


def test_links_that_carry(lab: Lab) -> None:
    names = lab.chain(3)
    lab.batch("--create")
    before = [state(name) for name in names]
    for source in (lab.name, lab.file):
        found = verify(lab, source)
        assert [link["state"] for link in found["links"]] == ["ok"] * 3
    done = lab.kokofast("verify", lab.name)
    assert done.stdout.splitlines()[-1] == "3 links: 3 ok"
    assert [state(name) for name in names] == before


def test_an_end_that_is_down(lab: Lab) -> None:
    a, b, *_ = lab.chain(2)
    lab.batch("--create")
    ip(a, "link", "set", "eth1", "down")
    link = f"{a}:eth1 -- {b}:eth0"
    assert problems(verify(lab)) == {link: [f"down: {a}:eth1 is down; set it up: run batch, or ip link set up"]}
    assert list(problems(verify(lab, lab.file))) == [link]


def test_an_end_that_the_file_has_down_is_not_checked(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [{"node": a, "interface": "x", "up": False}, f"{b}:x"]}])
    lab.batch()
    (link,) = verify(lab, lab.file)["links"]
    assert link["state"] == "unchecked"
    assert link["notes"] == [f"{a}:x is down, as the file has it"]


@pytest.mark.parametrize("mtu", [1500, 9000, 65535])
def test_frames_of_the_whole_mtu(lab: Lab, mtu: int) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:x", f"{b}:x"], "mtu": mtu}])
    lab.batch()
    assert problems(verify(lab)) == {}
    ip(b, "link", "set", "x", "mtu", "1400")
    text = f"mtu: frames of {mtu} bytes from {a}:x do not arrive at {b}:x, small ones do: its MTU is 1400"
    assert problems(verify(lab)) == {f"{a}:x -- {b}:x": [text]}
    of_file = problems(verify(lab, lab.file))[f"{a}:x -- {b}:x"]
    assert of_file == [f"different: it is not as the file has it (~ {b}:x mtu 1400 -> {mtu}): run batch", text]


def test_a_link_that_loses_all_frames(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:x", f"{b}:x"]}])
    lab.batch()
    # A bucket that no frame fits into.
    tc(a, "qdisc", "add", "dev", "x", "root", "tbf", "rate", "1mbit", "burst", "10", "limit", "10")
    text = f"carry: frames from {a}:x do not arrive at {b}:x"
    assert problems(verify(lab)) == {f"{a}:x -- {b}:x": [text]}


def test_links_that_lead_elsewhere(lab: Lab) -> None:
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    lab.write([{"endpoints": [f"{a}:x", f"{b}:x"]}, {"endpoints": [f"{a}:y", f"{b}:y"]}])
    lab.batch()
    ip(a, "link", "delete", "x")
    for end in (a, b):
        peer = f"to-{end[-1]}"
        ip(end, "link", "add", "x", "up", "type", "veth", "peer", "name", peer, "netns", c)
        ip(c, "link", "set", peer, "up")
    lab.write([{"endpoints": [f"{a}:x", f"{b}:x"]}, {"endpoints": [f"{a}:y", f"{b}:y"]}], nodes={c: {"netns": c}})
    found = problems(verify(lab, lab.file))
    assert list(found) == [f"{a}:x -- {b}:x"]
    assert found[f"{a}:x -- {b}:x"][-2:] == [
        f"peer: frames from {a}:x do not arrive at {b}:x, but at {c}:to-a",
        f"peer: frames from {b}:x do not arrive at {a}:x, but at {c}:to-b",
    ]


def test_links_and_nodes_that_are_not_there(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    gone = lab.new("gone")
    lab.write([{"endpoints": [f"{a}:x", f"{b}:x"]}, {"endpoints": [f"{a}:y", f"{gone}:y"]}])
    found = verify(lab, lab.file)
    assert problems(found) == {
        f"{a}:x -- {b}:x": [f"missing: {a}:x and {b}:x are not there: run batch"],
        f"{a}:y -- {gone}:y": [f"missing: {a}:y and {gone}:y are not there: run batch"],
    }
    assert [gone in error["message"] for error in found["errors"]] == [True]
    assert "no link of the lab" in lab.kokofast("verify", lab.name).stderr
    assert lab.kokofast("verify", lab.name, "--name", "other").returncode == 2


def test_a_lab_of_containerlab_in_a_sandbox(tmp_path: Path) -> None:
    file = tmp_path / "fabric.clab.yml"
    links = [{"endpoints": [f"s{i}:eth{j + 1}", f"l{j}:eth{i + 1}"]} for i in range(6) for j in range(10)]
    nodes = {end.partition(":")[0]: {"kind": "linux"} for link in links for end in link["endpoints"]}
    file.write_text(json.dumps({"name": "fabric", "topology": {"nodes": nodes, "links": links}}))
    kokofast = [sys.executable, "-m", "kokofast"]
    command = [*kokofast, "batch", "-q", str(file), "--sandbox", "--", *kokofast, "verify"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "60 links: 60 ok"


@pytest.mark.parametrize(("links", "limit"), [(40, 100), (300, 500)])
def test_with_few_open_files(lab: Lab, links: int, limit: int) -> None:
    """All links at the first attempt: there is no time for a second one."""
    names = lab.chain(links)
    lab.batch("--create")
    state(*names[-20:])  # until all interfaces send: the kernel activates them in turn
    command = f'ulimit -n {limit} && exec "{sys.executable}" -m kokofast verify {lab.name} --timeout 0.001'
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"{links} links: {links} ok"


def test_a_node_with_many_links(lab: Lab) -> None:
    """More frames arrive at one socket than the kernel keeps for it."""
    names = lab.bundle(400)
    lab.batch()
    state(*names[-20:])  # until all interfaces send: the kernel activates them in turn
    assert problems(verify(lab)) == {}


def neighbours(*names: str) -> list[str]:
    return [ip(name, "neigh", "show") for name in names]


def test_addresses_are_asked_for_and_nobody_learns_a_neighbour(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:x:10.0.0.1/24,2001:db8::1/64", f"{b}:x:10.0.0.2/24,2001:db8::2/64,10.9.0.1/32"]}])
    lab.batch()
    before = neighbours(a, b)
    assert problems(verify(lab)) == {}
    run(["ip", "netns", "exec", b, "sysctl", "-qw", "net.ipv4.conf.x.arp_ignore=8"])
    text = f"address: {b}:x does not answer for 10.0.0.2 when {a}:x asks"
    assert problems(verify(lab)) == {f"{a}:x -- {b}:x": [text]}
    run(["ip", "netns", "exec", b, "sysctl", "-qw", "net.ipv4.conf.x.arp_ignore=0"])
    assert verify(lab, lab.file)["ok"]
    assert neighbours(a, b) == before


def test_ipv6_addresses_are_asked_for(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:x:2001:db8::1/64", f"{b}:x:2001:db8::2/64"]}])
    lab.batch()
    assert problems(verify(lab)) == {}
    # Solicitations are led away at ingress, where frames have been seen before.
    tc(b, "qdisc", "add", "dev", "x", "ingress")
    away = ["protocol", "ipv6", "u32", "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", "lo"]
    tc(b, "filter", "add", "dev", "x", "ingress", *away)
    text = f"address: {b}:x does not answer for 2001:db8::2 when {a}:x asks"
    assert problems(verify(lab)) == {f"{a}:x -- {b}:x": [text]}


@pytest.mark.parametrize("direction", ["ingress", "egress", "both"])
def test_mirrors(lab: Lab, direction: str) -> None:
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    mirror = {"node": a, "interface": "m", "mirror": {"from": "x", "direction": direction}}
    lab.write([{"endpoints": [f"{a}:x", f"{b}:x"]}, {"endpoints": [mirror, f"{c}:m"]}])
    lab.batch()
    for source in (lab.name, lab.file):
        found = verify(lab, source)
        assert found["ok"], problems(found)
    for way in qdiscs(a, "x"):
        tc(a, "qdisc", "delete", "dev", "x", *(["clsact"] if way["kind"] == "clsact" else ["ingress"]))
    lost = problems(verify(lab, lab.file))[f"{a}:m -- {c}:m"]
    words = {"ingress": ["receives"], "egress": ["sends"], "both": ["sends", "receives"]}[direction]
    assert [one for one in lost if one.startswith("mirror: ")] == [
        f"mirror: copies of what {a}:x {word} do not arrive at {c}:m" for word in words
    ]


@pytest.mark.parametrize("count", [3, 80])
def test_the_ends_of_a_lan_reach_each_other(lab: Lab, count: int) -> None:
    names = [lab.node(f"n{number}") for number in range(3)]
    ends = [f"{names[number % 3]}:e{number}:10.0.0.{number + 1}/24" for number in range(count)]
    hub = lab.node("hub")
    lab.write([{"type": "bridge", "bridge": f"{hub}:br", "endpoints": ends}])
    lab.batch()
    for source in (lab.name, lab.file):
        found = verify(lab, source)
        assert {link["state"] for link in found["links"]} == {"ok"}, problems(found)
    for port in ("brp0", "brp1"):
        ip(hub, "link", "set", port, "type", "bridge_slave", "isolated", "on")
    lost = problems(verify(lab))[f"{hub}:br"]
    assert [one for one in lost if "frames" in one] == [
        f"carry: frames from {names[0]}:e0 do not arrive at {names[1]}:e1",
        f"carry: frames from {names[1]}:e1 do not arrive at {names[0]}:e0",
    ]


def test_links_with_one_end(lab: Lab) -> None:
    a, b, up, far = lab.node("a"), lab.node("b"), lab.node("up"), lab.node("far")
    tunnel = {"type": "vxlan", "vni": 5}
    lab.write(
        [
            {"endpoints": [f"{up}:eth0:192.0.2.1/24", f"{far}:eth0:192.0.2.2/24"]},
            {"type": "macvlan", "endpoint": f"{a}:m:10.0.0.1/24", "parent": f"{up}:eth0", "mode": "bridge"},
            {"type": "macvlan", "endpoint": f"{b}:m:10.0.0.2/24", "parent": f"{up}:eth0", "mode": "bridge"},
            {"type": "macvlan", "endpoint": f"{b}:alone", "parent": f"{far}:eth0", "mode": "bridge"},
            {**tunnel, "endpoint": f"{a}:v", "parent": f"{up}:eth0", "local": "192.0.2.1", "remote": "192.0.2.2"},
            {**tunnel, "endpoint": f"{b}:v", "parent": f"{far}:eth0", "local": "192.0.2.2", "remote": "192.0.2.1"},
        ]
    )
    lab.batch()
    for source in (lab.name, lab.file):
        found = verify(lab, source)
        assert problems(found) == {}
        assert [link["link"] for link in found["links"] if link["state"] == "unchecked"] == [f"{b}:alone"]
    ip(far, "link", "set", "eth0", "down")
    for source in (lab.name, lab.file):
        lost = problems(verify(lab, source))
        assert lost[f"{b}:alone"] == [f"down: {b}:alone has no carrier: its parent {far}:eth0 is down, or has none"]
        assert lost[f"{a}:v"] == [f"carry: frames from {a}:v do not arrive at {b}:v"]
        assert lost[f"{a}:m"] == [f"down: {a}:m has no carrier: its parent {up}:eth0 is down, or has none"]


def test_a_low_rate_is_waited_for(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:x:10.0.0.1/24", f"{b}:x:10.0.0.2/24"], "rate": "64kbit"}])
    lab.batch()
    assert problems(verify(lab)) == {}


@pytest.mark.guest
def test_delays_and_losses_are_no_failure(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    ends = [f"{a}:x:10.0.0.1/24,2001:db8::1/64", f"{b}:x:10.0.0.2/24,2001:db8::2/64"]
    lab.write([{"endpoints": ends, "delay": "600ms", "loss": "50%"}])
    lab.batch()
    assert problems(verify(lab)) == {}
    found = verify(lab, None, "--timeout", "0.2")
    assert "and its delay, loss and rate may need" in problems(found)[f"{a}:x -- {b}:x"][0]
    lab.write([{"endpoints": ends, "loss": "100%"}])
    lab.batch()
    lost = problems(verify(lab))[f"{a}:x -- {b}:x"]
    assert all(text.endswith(": all of it is to be lost (loss 100%)") for text in lost)
