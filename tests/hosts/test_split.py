"""The parts of a lab on hosts: made by batch on each, they are one network."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bench.underlay import Host, Underlay
from kokofast.cli.main import run

PATIENCE = 10.0
LAB: dict[str, Any] = {
    "name": "split",
    "defaults": {"subnet": "10.9.0.0/16", "create": True},
    "routing": "shortest-path",
    "nodes": {
        "a": {"host": "h1", "addresses": ["10.255.0.1/32"]},
        "b": {"host": "h2"},
        "c": {"host": "h3", "addresses": ["10.255.0.3/32", "2001:db8::3/128"]},
        "d": {"host": "h3"},
        "h3": {"host": True},
    },
    "links": [
        ["a", "b"],
        ["b", "c"],
        {"endpoints": ["a:m:172.20.0.1/24", "c:m:172.20.0.2/24"], "between": "macvlan", "cost": 100},
        {"endpoints": ["a:six:2001:db8:1::1/64", "c:six:2001:db8:1::2/64"], "cost": 100},
        {
            "type": "bridge",
            "endpoints": [f"{node}:lan:172.21.0.{number}/24" for number, node in enumerate("abcd", 1)],
            "cost": 100,
        },
        ["a:own", "h3:lab0"],
    ],
}


def reaches(host: Host, *ping: str) -> bool:
    """Whether an answer comes within some seconds: bridges and IPv6 addresses need a moment."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            host.run("ip", "netns", "exec", "a", "ping", "-q", "-c", "1", "-W", "1", *ping)
        except AssertionError:
            continue
        return True
    return False


@pytest.mark.parametrize("family", [4, 6])
def test_the_parts_are_one_network(underlay: Underlay, tmp_path: Path, family: int) -> None:
    hosts = underlay.declared()
    for number, host in enumerate(underlay.hosts.values(), 1):
        if family == 6:
            host.run("ip", "address", "add", f"2001:db8:99::{number}/64", "dev", "eth0", "nodad")
            hosts[host.name]["address"] = f"2001:db8:99::{number}"
    before = {name: host.state() for name, host in underlay.hosts.items()}
    (tmp_path / "lab.json").write_text(json.dumps({**LAB, "hosts": hosts}))
    assert run(["split", str(tmp_path / "lab.json"), "-o", str(tmp_path / "parts"), "-q"]) == 0
    parts = {name: str(tmp_path / "parts" / f"{name}.json") for name in underlay.hosts}
    for status in ("applied", "unchanged"):
        for name, host in underlay.hosts.items():
            assert json.loads(host.kokofast("batch", parts[name], "--format", "json"))["status"] == status
    host = underlay.hosts["h1"]
    for address in ("10.255.0.3", "172.20.0.2", "172.21.0.4", "2001:db8::3", "2001:db8:1::2"):
        assert reaches(host, address), address
    own = json.loads(underlay.hosts["h3"].run("ip", "-j", "-4", "address", "show", "lab0"))
    assert reaches(host, own[0]["addr_info"][0]["local"])
    largest = 1450 if family == 4 else 1430
    assert reaches(host, "-M", "do", "-s", str(largest - 28), "172.21.0.4")
    assert json.loads(host.run("ip", "-j", "-n", "a", "link", "show", "lan"))[0]["mtu"] == largest
    for name, host in underlay.hosts.items():
        assert json.loads(host.kokofast("destroy", parts[name], "--format", "json"))["status"] == "destroyed"
    assert {name: host.state() for name, host in underlay.hosts.items()} == before
