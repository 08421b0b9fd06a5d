"""What the guest's kernel has and others may lack, and veth batches on it.

It is older than 6.15, and looks for a name collision in the namespace of the sender.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NamespaceFactory, RunKokofast, addresses, ip, ip_json, links, namespaces

pytestmark = pytest.mark.guest

LINKS = 20


def tc(namespace: str, *arguments: str) -> str:
    done = subprocess.run(["tc", "-n", namespace, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"tc {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def receives(namespace: str, ifname: str) -> int:
    (link,) = ip_json(namespace, "-s", "link", "show", ifname)
    return int(link["stats64"]["rx"]["packets"])


def ping(namespace: str, address: str) -> None:
    """Fails the test when no answer comes."""
    ip(None, "netns", "exec", namespace, "ping", "-c", "1", "-W", "5", address)


@pytest.fixture
def parent(netns: NamespaceFactory) -> str:
    """A namespace with an interface ``up0`` that others can be made on, connected to ``up0`` of another namespace."""
    here, there = netns("here"), netns("there")
    ip(here, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", there)
    ip(here, "link", "set", "up0", "up")
    ip(there, "link", "set", "up0", "up")
    ip(here, "address", "add", "10.7.0.1/24", "dev", "up0")
    ip(there, "address", "add", "10.7.0.2/24", "dev", "up0")
    return here


class TestKinds:
    @pytest.mark.parametrize("protocol", ["802.1Q", "802.1ad"])
    def test_vlan(self, parent: str, protocol: str) -> None:
        ip(parent, *f"link add link up0 name v10 type vlan id 10 protocol {protocol}".split())
        data = links(parent)["v10"]["linkinfo"]["info_data"]
        assert (data["protocol"], data["id"]) == (protocol, 10)

    @pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
    def test_ipvlan(self, parent: str, mode: str) -> None:
        ip(parent, *f"link add link up0 name i0 type ipvlan mode {mode}".split())
        assert links(parent)["i0"]["linkinfo"]["info_data"]["mode"] == mode

    @pytest.mark.parametrize("kind", ["dummy", "bridge"])
    def test_a_kind_without_parent(self, netns: NamespaceFactory, kind: str) -> None:
        name = netns()
        ip(name, "link", "add", "x0", "type", kind)
        assert links(name)["x0"]["linkinfo"]["info_kind"] == kind


class TestTrafficControl:
    @pytest.mark.parametrize(
        ("qdisc", "shown"),
        [
            ("root handle 1: prio", "qdisc prio 1: root"),
            ("root netem delay 1ms", "qdisc netem"),
            ("clsact", "qdisc clsact ffff:"),
        ],
    )
    def test_qdisc(self, parent: str, qdisc: str, shown: str) -> None:
        tc(parent, "qdisc", "add", "dev", "up0", *qdisc.split())
        assert shown in tc(parent, "qdisc", "show", "dev", "up0")

    @pytest.mark.parametrize("classifier", ["matchall", "u32 match u32 0 0"])
    @pytest.mark.parametrize(("qdisc", "hook"), [("clsact", "egress"), ("root handle 1: prio", "parent 1:")])
    def test_a_mirror(self, parent: str, netns: NamespaceFactory, classifier: str, qdisc: str, hook: str) -> None:
        watcher = netns("watcher")
        ip(parent, "link", "add", "tap0", "type", "veth", "peer", "name", "tap0", "netns", watcher)
        ip(parent, "link", "set", "tap0", "up")
        ip(watcher, "link", "set", "tap0", "up")
        tc(parent, "qdisc", "add", "dev", "up0", *qdisc.split())
        action = "action mirred egress mirror dev tap0"
        tc(parent, *f"filter add dev up0 {hook} protocol all {classifier} {action}".split())
        before = receives(watcher, "tap0")
        ping(parent, "10.7.0.2")
        assert receives(watcher, "tap0") > before


class Lab:
    """A batch file, and kokofast on it."""

    def __init__(self, path: Path, kokofast: RunKokofast, names: list[str]) -> None:
        self.path = path
        self.names = names
        self._kokofast = kokofast

    def write(self, links_of: list[dict[str, Any]]) -> None:
        self.path.write_text(json.dumps({"name": self.path.stem, "links": links_of}))

    def batch(self) -> dict[str, Any]:
        done = self._kokofast("batch", str(self.path), "--create", "--format", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def destroy(self) -> None:
        done = self._kokofast("destroy", str(self.path))
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def make_lab(tmp_path: Path, kokofast: RunKokofast, netns: NamespaceFactory) -> Callable[[int], Lab]:
    def make(size: int) -> Lab:
        return Lab(tmp_path / "guestlab.json", kokofast, [netns.reserve(f"r{number}") for number in range(size)])

    return make


@pytest.fixture
def taken_names() -> Iterator[list[str]]:
    """Names that interfaces of this namespace, the caller's, have."""
    names = ["eth0", "eth1"]
    made = []
    try:
        for name in names:
            ip(None, "link", "add", name, "type", "dummy")
            made.append(name)
        yield names
    finally:
        for name in made:
            ip(None, "link", "delete", name)


class TestBatch:
    def test_a_chain_is_made_carries_traffic_is_left_alone_and_goes(self, make_lab: Callable[[int], Lab]) -> None:
        lab = make_lab(LINKS + 1)
        lab.write(
            [
                {
                    "endpoints": [
                        f"{lab.names[number]}:eth1:10.8.{number}.0/31,2001:db8:{number:x}::/127",
                        f"{lab.names[number + 1]}:eth0:10.8.{number}.1/31,2001:db8:{number:x}::1/127",
                    ],
                    "mtu": 1400,
                }
                for number in range(LINKS)
            ]
        )
        made = lab.batch()
        assert (made["status"], made["links"]["created"]) == ("applied", LINKS), made
        assert made["namespaces"]["created"] == LINKS + 1
        for number in (0, LINKS // 2, LINKS - 1):
            ping(lab.names[number], f"10.8.{number}.1")
            ping(lab.names[number], f"2001:db8:{number:x}::1")
        assert addresses(lab.names[1], "eth0") == ["10.8.0.1/31", "2001:db8::1/127"]
        assert {link["mtu"] for name in lab.names for link in links(name).values()} == {1400}

        again = lab.batch()
        assert (again["status"], again["links"]["unchanged"]) == ("unchanged", LINKS), again

        lab.destroy()
        assert not set(lab.names) & namespaces()

    def test_this_kernel_looks_for_collisions_in_the_senders_namespace(
        self, taken_names: list[str], netns: NamespaceFactory
    ) -> None:
        """The premise of the next test: what a plain request meets here."""
        left, right = netns(), netns()
        with pytest.raises(AssertionError, match="File exists"):
            ip(None, *f"link add name eth0 netns {left} type veth peer name eth0 netns {right}".split())

    def test_names_that_are_taken_in_the_callers_namespace_are_free_elsewhere(
        self, taken_names: list[str], make_lab: Callable[[int], Lab]
    ) -> None:
        lab = make_lab(3)
        first, middle, last = lab.names
        lab.write(
            [
                {"endpoints": [f"{first}:eth0:10.9.0.0/31", f"{middle}:eth0:10.9.0.1/31"]},
                {"endpoints": [f"{middle}:eth1:10.9.0.2/31", f"{last}:eth1:10.9.0.3/31"]},
            ]
        )
        made = lab.batch()
        assert (made["status"], made["links"]["created"]) == ("applied", 2), made
        ping(first, "10.9.0.1")
        ping(last, "10.9.0.2")
        assert [links(None)[name]["linkinfo"]["info_kind"] for name in taken_names] == ["dummy", "dummy"]

        lab.destroy()
        assert not set(lab.names) & namespaces()
        assert set(taken_names) <= set(links(None))
