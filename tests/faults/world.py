"""The machine that the faults happen on: three namespaces with interfaces of somebody else, a lab that is there, and
the file that a run is to make true: new links of every kind, new namespaces, and changes of what is there."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from kokofast.engine.result import Result
from kokofast.host.kernel import LinuxKernel
from kokofast.host.namespaces import open_namespace
from kokofast.topology import load
from kokofast.topology.model import Topology
from tests.conftest import NETNS_DIRECTORY, SETTLE_SECONDS, NamespaceFactory, ip
from tests.faults.witness import State, Witness, difference
from tests.host.helpers import write_sysctl
from tests.kernel.conftest import run, until
from tests.runs import apply, destroy

GENEROUS, TIGHT = 256, 8  # descriptors: all stay open, or each namespace is closed and opened again all the time


class World:
    """a and b are joined by links of the lab; eth0 in a and eth1 in b are somebody else's; c and d are to be made."""

    def __init__(self, netns: NamespaceFactory, lab: str) -> None:
        self.lab = lab
        self.a, self.b, self.w = (netns(name) for name in "abw")
        self.c, self.d = (netns.reserve(name) for name in "cd")
        for name in (self.a, self.b, self.w):
            # Without duplicate address detection an address is at once what it will be.
            _write(name, "net/ipv6/conf/default/accept_dad", "0")
            # Nor link-local addresses, which come a second behind the carrier.
            _write(name, "net/ipv6/conf/default/addr_gen_mode", "1")
            ip(name, "link", "set", "lo", "up")
        # The kernel looks at a carrier once a second only, and at once where the two ends have different numbers.
        ip(self.a, "link", "add", "eth0", "index", "20", "type", "veth", "peer", "name", "eth1", "netns", self.b)
        for number, (name, ifname) in enumerate(((self.a, "eth0"), (self.b, "eth1")), 1):
            ip(name, "address", "add", f"192.0.2.{number}/24", "dev", ifname)
            ip(name, "address", "add", f"2001:db8:f::{number}/64", "dev", ifname)
            ip(name, "link", "set", ifname, "up")
        self.witness = Witness({"a": self.a, "b": self.b, "w": self.w}, {"c": self.c, "d": self.d})
        self.places = self.witness.cookies()
        self.strangers = self._settled()

    def close(self) -> None:
        self.witness.close()

    def prepared(self) -> Topology:
        """What is there before: ends that will change, and a mirror and a rate that will go."""
        tap = {"node": self.a, "interface": "old", "mirror": {"from": "eth0", "direction": "ingress"}}
        first = {"node": self.a, "interface": "e0", "addresses": ["10.0.0.1/24", "10.0.5.1/24", "2001:db8::1/64"]}
        return self._load(
            [
                {"endpoints": [first, f"{self.b}:e0:10.0.0.2/24"], "mtu": 1400, "rate": "5mbit"},
                {"endpoints": [tap, f"{self.w}:old"]},
            ]
        )

    def wanted(self) -> Topology:
        """The file of the run."""
        both = {"from": "eth0", "direction": "both"}
        first = {"node": self.a, "interface": "e0", "addresses": ["10.0.0.1/24", "2001:db8::1/64", "10.9.0.1/24"]}
        first["rate"] = "10mbit"
        second = {"node": self.b, "interface": "e0", "addresses": ["10.0.0.2/24", "2001:db8::2/64"], "txqlen": 77}
        return self._load(
            [
                {"endpoints": [first, {**second, "mac": "02:00:00:00:00:0b"}], "mtu": 1300},
                {"endpoints": [f"{self.a}:old", f"{self.w}:old"]},
                {"endpoints": [f"{self.a}:e1:10.1.0.0/31,2001:db8:1::/127", f"{self.c}:e0:10.1.0.1/31"]},
                {
                    "endpoints": [f"{self.c}:f1", {"node": self.d, "interface": "f0", "up": False}],
                    "mtu": 9000,
                    "rate": "1mbit",
                },
                {
                    "type": "vxlan",
                    "endpoint": {"node": self.a, "interface": "vx0", "mirror": {"from": "eth0", "direction": "egress"}},
                    "parent": f"{self.a}:e1",
                    "remote": "10.1.0.1",
                    "vni": 7,
                },
                {"type": "macvlan", "endpoint": f"{self.b}:mv0:10.2.0.1/24", "parent": f"{self.b}:eth1"},
                {"endpoints": [{"node": self.a, "interface": "tap", "mirror": both}, f"{self.w}:tap"]},
            ]
        )

    def mirrored(self, direction: str) -> Topology:
        """One link, to which eth0 is mirrored."""
        tap = {"node": self.a, "interface": "tap", "mirror": {"from": "eth0", "direction": direction}}
        return self._load([{"endpoints": [tap, f"{self.w}:tap"]}])

    def _load(self, links: list[dict[str, Any]]) -> Topology:
        document = {"name": self.lab, "defaults": {"create": True}, "links": links}
        return load(json.dumps(document).encode(), filename="lab.json")

    async def prepare(self, *, told: bool = False) -> State:
        """Brings everything to what it was at the beginning, and the lab to what is there before a run. told: a run has
        said that something of a mirror is left."""
        await self.clear(told=told)
        kernel = LinuxKernel(GENEROUS)
        try:
            result = await apply(self.prepared(), kernel=kernel, jobs=1)
        finally:
            kernel.close()
        assert (result.status, result.errors) == ("applied", [])
        # The run gives this end an IPv6 address, for which it switches IPv6 on.
        fd = open_namespace(str(NETNS_DIRECTORY / self.b))
        try:
            write_sysctl(fd, "ipv6/conf/e0/disable_ipv6", "1")
        finally:
            os.close(fd)
        return self._settled()

    async def clear(self, *, told: bool = False) -> Result:
        """Destroys the lab: nothing of it may be left, and nothing of anyone else's be missing."""
        kernel = LinuxKernel(GENEROUS)
        try:
            result = await destroy(self.lab, kernel=kernel)
        finally:
            kernel.close()
        assert result.errors == []
        if told:
            self.remove_bare_qdisc()
        # The MTU that a mirror into a tunnel lowered stays lowered, which the user was told.
        if difference(self.strangers, self.witness.state()):
            ip(self.a, "link", "set", "eth0", "mtu", "1500")
        try:
            until(lambda: not difference(self.strangers, self.witness.state()), "the lab is gone", SETTLE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"left or missing: {difference(self.strangers, self.witness.state())}") from error
        return result

    def remove_bare_qdisc(self) -> None:
        """A qdisc without any filter has nothing that says whose it is: who was told that it is left deletes it."""
        state = self.witness.state()
        if has_clsact(state) and not any(key[:3] == ("a", "eth0", "filter") for key in state):
            done = run(["tc", "-n", self.a, "qdisc", "del", "dev", "eth0", "clsact"])
            assert done.returncode == 0, done.stderr

    def _settled(self) -> State:
        # Carriers are a moment behind.
        seen: list[State] = []

        def stands() -> bool:
            seen.append(self.witness.state())
            return len(seen) > 1 and not difference(seen[-2], seen[-1]) and _all_up(seen[-1]) and _all_ready(seen[-1])

        until(stands, "nothing moves any more")
        return seen[-1]


def has_clsact(state: State) -> bool:
    """Whether the interface that is mirrored has a clsact qdisc."""
    return any(key[:3] == ("a", "eth0", "qdisc") and "clsact" in key[3] for key in state)


def _all_up(state: State) -> bool:
    operstate = 16
    for key, value in state.items():
        if key[2:3] != ("link",) or key[1] == "lo" or not isinstance(value, tuple) or not value[2] & 1:
            continue
        if value[3].get(operstate) != b"\x06":
            return False
    return True


def _all_ready(state: State) -> bool:
    """The kernel adds an IPv6 address's own route when it comes to it (addrconf_dad_work())."""
    routes = {(key[0], key[3]) for key in state if key[2:3] == ("route",)}
    for key, value in state.items():
        if key[2:3] != ("address",) or not isinstance(value, tuple) or value[0][0] != socket.AF_INET6:
            continue
        up = state[key[0], key[1], "link"][2] & 1  # type: ignore[index]
        destination = f"(1, {value[1][1]!r})"
        if up and not any(title == key[0] and destination in route for title, route in routes):
            return False
    return True


def _write(namespace: str, path: str, value: str) -> None:
    done = run(["ip", "netns", "exec", namespace, "sh", "-c", f"echo {value} > /proc/sys/{path}"])
    assert done.returncode == 0, done.stderr
