"""What kokofast does between two hosts, as scenarios: vxlan, vlan, macvlan, mirrors, across a real (virtual) cable.

The hosts may be anything that runs a shell script as root and says how it ended: the pair of User-mode Linux guests of
the test suite, the pair of Vagrant machines. Nothing here knows which, nor of pytest; only iproute2, ping and kokofast
are asked of a host. Each scenario ends with ``destroy`` on both hosts and a look that all is as it was before.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.underlay import UNLOCK, sshd

LAB = "two-hosts"
MTU = 1500  # of the cable
PATIENCE = 20  # seconds, for a first ping: neighbours have to be found
IPV4_HEADERS = 28  # IPv4 and ICMP: what ping's -s does not count
BATCH = 200

# For Ansible: keys, and what says where kokofast is.
FOLDER = Path("/run/kft-hosts")
PORT = 2222
# A shell script -> how it ended. One at a time for each host.
RunScript = Callable[[str], subprocess.CompletedProcess[str]]


class ScenarioFailed(Exception):
    """A step did not do what it should; says which, where, and what was printed."""


@dataclass(frozen=True)
class Host:
    """One of the two: its name, the interface that leads to the other, how its kokofast is called."""

    name: str
    uplink: str
    ipv4: str
    ipv6: str
    kokofast: str
    run_script: RunScript

    def run(self, script: str) -> str:
        """The output of a shell script. Raises ScenarioFailed when it does not end with 0."""
        done = self.run_script(f"set -e\n{script}")
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise ScenarioFailed(f"on {self.name}, exit {done.returncode}:\n{script}\n{said}")
        return done.stdout

    def prepare(self) -> None:
        """Gives the uplink its addresses."""
        self.run(
            f"ip address replace {self.ipv4}/24 dev {self.uplink}\n"
            f"ip -6 address replace {self.ipv6}/64 dev {self.uplink} nodad\n"
            f"ip link set {self.uplink} up\n"
        )

    def batch(self, links: Sequence[object]) -> str:
        """The script that wires these links; what is not there yet is made."""
        text = json.dumps({"name": LAB, "defaults": {"create": True}, "links": links})
        return f"{self.kokofast} batch - --quiet <<'END'\n{text}\nEND\n"

    def ping(self, node: str, address: str, *, payload: int = 56, count: int = 2) -> str:
        """The script that pings from a namespace, without fragmentation. Fails when no answer comes."""
        return f"ip netns exec {node} ping -c {count} -i 0.2 -W 5 -w {PATIENCE} -M do -s {payload} {address}\n"

    def state(self) -> str:
        """Interfaces with all that kokofast could have changed of them, qdiscs, and names of namespaces."""
        return self.run(
            "ip -o link show | sed 's/^[0-9]*: //; s/ state .*//' | sort\n"
            "ip -o address show | awk '{print $2, $4}' | sort\ntc qdisc show | sort\nip netns list | sort\n"
        )


class Pair(NamedTuple):
    """The two hosts."""

    left: Host
    right: Host

    def both(self, script: Callable[[Host, Host], str]) -> None:
        """script(host, the other) on both at the same time."""
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(host.run, script(host, other)) for host, other in (self, reversed(self))]
        for job in jobs:
            job.result()

    def wire(self, links: Callable[[Host, Host], Sequence[object]]) -> None:
        """Wires the links of each host, on both at the same time."""
        self.both(lambda host, other: host.batch(links(host, other)))

    def destroy(self) -> None:
        self.both(lambda host, other: f"{host.kokofast} destroy --name {LAB}\n")


def last(host: Host, pair: Pair) -> int:
    """The number of a host, for addresses: 1 and 2."""
    return 1 if host is pair.left else 2


def joined(pair: Pair, link: Callable[[Host, Host], dict[str, object]], *, mtu: int) -> str:
    """A link of each host into a namespace of its own, pinged, also with the largest packet that fits."""
    names = {pair.left: "kft-a", pair.right: "kft-b"}

    def links(host: Host, other: Host) -> list[object]:
        endpoint = f"{names[host]}:x0:198.51.100.{last(host, pair)}/24,2001:db8:1::{last(host, pair)}/64"
        return [{"endpoint": endpoint, "parent": host.uplink, **link(host, other)}]

    pair.wire(links)
    return pings(pair, names[pair.left], "198.51.100.2", "2001:db8:1::2", mtu)


def pings(pair: Pair, node: str, ipv4: str, ipv6: str, mtu: int) -> str:
    """Pings by both protocols; with the don't-fragment bit mtu bytes pass, and one more is refused on the spot."""
    host = pair.left
    full = mtu - IPV4_HEADERS
    script = host.ping(node, ipv4) + host.ping(node, ipv4, payload=full)
    script += host.ping(node, ipv6)
    script += f"if {host.ping(node, ipv4, payload=full + 1, count=1).strip()}; then echo too large; exit 1; fi\n"
    host.run(script)
    return f"IPv4 and IPv6, {mtu} bytes unfragmented"


def vxlan_over_ipv4(pair: Pair) -> str:
    return joined(pair, lambda _, other: {"type": "vxlan", "remote": other.ipv4, "vni": 42}, mtu=MTU - 50)


def vxlan_over_ipv6(pair: Pair) -> str:
    return joined(pair, lambda _, other: {"type": "vxlan", "remote": other.ipv6, "vni": 43}, mtu=MTU - 70)


def vxlan_with_port_and_mtu(pair: Pair) -> str:
    own = {"vni": 44, "port": 8472, "mtu": 1300}
    return joined(pair, lambda _, other: {"type": "vxlan", "remote": other.ipv4, **own}, mtu=1300)


def vlan(pair: Pair) -> str:
    return joined(pair, lambda *_: {"type": "vlan", "id": 10}, mtu=MTU)


def vlan_in_vlan(pair: Pair) -> str:
    """QinQ: an 802.1Q vlan on an 802.1ad one, both made by the same file, in any order."""
    names = {pair.left: "kft-a", pair.right: "kft-b"}

    def links(host: Host, other: Host) -> list[object]:
        node, number = names[host], last(host, pair)
        endpoint = f"{node}:c10:198.51.100.{number}/24,2001:db8:1::{number}/64"
        return [
            # A second tag takes four bytes more than an Ethernet frame has for tags.
            {"type": "vlan", "endpoint": endpoint, "parent": f"{node}:s100", "id": 10, "mtu": MTU - 4},
            {"type": "vlan", "endpoint": f"{node}:s100", "parent": host.uplink, "id": 100, "protocol": "802.1ad"},
        ]

    pair.wire(links)
    return pings(pair, "kft-a", "198.51.100.2", "2001:db8:1::2", MTU - 4)


def macvlan(pair: Pair) -> str:
    return joined(pair, lambda *_: {"type": "macvlan", "mode": "bridge"}, mtu=MTU)


def mirror_over_vxlan(pair: Pair) -> str:
    """What passes between two namespaces of one host is seen, both ways, on the other."""
    sent = 10

    def links(host: Host, other: Host) -> list[object]:
        tunnel = {"type": "vxlan", "parent": host.uplink, "remote": other.ipv4, "vni": 77}
        if host is pair.right:
            return [{**tunnel, "endpoint": "kft-watch:tap0"}]
        return [
            {"endpoints": ["kft-a:eth0:198.51.100.1/24", "kft-b:eth0:198.51.100.2/24"]},
            {
                **tunnel,
                "endpoint": {
                    "node": "kft-a", "interface": "tap0", "mirror": {"from": "eth0", "direction": "both"}
                },
            },
        ]  # fmt: skip

    pair.wire(links)
    before = received(pair.right, "kft-watch", "tap0")
    pair.left.run(pair.left.ping("kft-a", "198.51.100.2", count=sent))
    # A request and an answer for each; the last one may still be on its way.
    deadline = time.monotonic() + PATIENCE
    while (seen := received(pair.right, "kft-watch", "tap0") - before) < 2 * sent:
        if time.monotonic() > deadline:
            raise ScenarioFailed(
                f"{sent} pings were answered on {pair.left.name}, {pair.right.name} saw {seen} packets"
            )
        time.sleep(0.2)
    return f"{seen} packets of {sent} pings seen"


def received(host: Host, node: str, ifname: str) -> int:
    """The packets that an interface has received so far."""
    return int(host.run(f"ip netns exec {node} cat /sys/class/net/{ifname}/statistics/rx_packets"))


def many_vxlans(pair: Pair) -> str:
    """A batch of vxlan links, each into a namespace of its own, all named alike."""

    def links(host: Host, other: Host) -> list[object]:
        return [
            {
                "type": "vxlan",
                "endpoint": f"kft-n{number}:x0:10.{number}.0.{last(host, pair)}/24",
                "parent": host.uplink,
                "remote": other.ipv4,
                "vni": 1000 + number,
            }
            for number in range(BATCH)
        ]

    pair.wire(links)
    host = pair.left
    found = json.loads(host.run(f"{host.kokofast} inspect {LAB} --format json\n"))
    if len(found) != BATCH:
        raise ScenarioFailed(f"{len(found)} of {BATCH} links are there on {host.name}")
    chosen = range(0, BATCH, 40)
    host.run("".join(host.ping(f"kft-n{number}", f"10.{number}.0.2", count=1) for number in chosen))
    pair.both(lambda host, other: host.batch(links(host, other)))  # changes nothing, fails at nothing
    return f"{BATCH} links, {len(chosen)} of them pinged"


def hosts_by_ansible(pair: Pair) -> str:
    """A file of both hosts, wired by `hosts deploy` on one of them, which reaches the other by SSH."""
    keygen = "ssh-keygen -q -t ed25519 -N '' -f"
    own = pair.left.run(f"mkdir -m 700 {FOLDER}\n{keygen} {FOLDER}/key\ncat {FOLDER}/key.pub")
    others = pair.right.run(f"mkdir -m 700 {FOLDER}\n{keygen} {FOLDER}/host\ncat {FOLDER}/host.pub")
    pair.both(
        lambda host, _: (
            f"cat >{FOLDER}/kokofast <<'END'\n#!/bin/sh\nexec {host.kokofast} \"$@\"\nEND\nchmod +x {FOLDER}/kokofast\n"
        )
    )
    serve = shlex.quote(f"{UNLOCK} exec {shlex.join(sshd(FOLDER, PORT))}")
    pair.right.run(
        f"echo '{own.strip()}' >{FOLDER}/key.pub\nmkdir -p /run/sshd\n"
        f"unshare --mount --propagation private -- sh -ec {serve}\n"
    )
    known = f"-i {FOLDER}/key -o UserKnownHostsFile={FOLDER}/known -o HostKeyAlgorithms=ssh-ed25519"
    common = {"kokofast_executable": f"{FOLDER}/kokofast", "ansible_python_interpreter": "/usr/bin/python3"}
    ways: dict[Host, dict[str, object]] = {
        pair.left: {"ansible_connection": "local"},
        pair.right: {"ansible_user": "root", "ansible_port": PORT, "ansible_ssh_common_args": known},
    }
    text = json.dumps(
        {
            "name": LAB,
            "defaults": {"create": True},
            "hosts": {
                host.name: {"address": host.ipv4, "parent": host.uplink, "vars": {**common, **way}}
                for host, way in ways.items()
            },
            "nodes": {"kft-a": {"host": pair.left.name}, "kft-b": {"host": pair.right.name}},
            "links": [["kft-a:x0:198.51.100.1/24", "kft-b:x0:198.51.100.2/24"]],
        }
    )
    kokofast = f"{pair.left.kokofast} hosts"
    try:
        pair.left.run(
            f"echo '[{pair.right.ipv4}]:{PORT} {others.strip()}' >{FOLDER}/known\n"
            f"cat >{FOLDER}/both.json <<'END'\n{text}\nEND\n{kokofast} deploy {FOLDER}/both.json\n"
        )
        pair.left.run(pair.left.ping("kft-a", "198.51.100.2"))
        pair.left.run(f"{kokofast} destroy {FOLDER}/both.json\n")
    finally:
        pair.right.run("kill $(cat /run/kft-sshd.pid)\nrm -f /run/shadow\n")
        pair.both(lambda *_: f"rm -r {FOLDER}\n")
    return "deployed, pinged, destroyed"


def koko_flags(pair: Pair) -> str:
    """The same by koko's command line, and deleted by it on both sides."""
    names = {pair.left: "kft-a", pair.right: "kft-b"}
    pair.both(
        lambda host, other: (
            f"ip netns add {names[host]}\n"
            f"{host.kokofast} -n {names[host]},x0,198.51.100.{last(host, pair)}/24 -x {host.uplink},{other.ipv4},45\n"
        )
    )
    pair.left.run(pair.left.ping("kft-a", "198.51.100.2"))
    pair.both(
        lambda host, other: (
            f"{host.kokofast} -N {names[host]},x0\n"
            f"! ip netns exec {names[host]} ip link show x0 2>/dev/null\nip netns delete {names[host]}\n"
        )
    )
    return "made, pinged, deleted"


SCENARIOS: tuple[tuple[str, Callable[[Pair], str]], ...] = (
    ("vxlan over IPv4", vxlan_over_ipv4),
    ("vxlan over IPv6", vxlan_over_ipv6),
    ("vxlan, port 8472, mtu 1300", vxlan_with_port_and_mtu),
    ("vlan 10", vlan),
    ("vlan 10 in 802.1ad vlan 100", vlan_in_vlan),
    ("macvlan", macvlan),
    ("mirror over vxlan", mirror_over_vxlan),
    (f"batch of {BATCH} vxlan links", many_vxlans),
    ("vxlan by koko's flags", koko_flags),
    ("both by Ansible", hosts_by_ansible),
)


class Outcome(NamedTuple):
    """What came of one scenario; failure is None when all went well."""

    name: str
    seconds: float
    detail: str
    failure: str | None


def play(pair: Pair) -> Iterator[Outcome]:
    """Plays all scenarios, one after another; a failed one does not keep the others from being played."""
    for host in pair:
        host.prepare()
    for name, scenario in SCENARIOS:
        started = time.monotonic()
        detail, failure = "", None
        try:
            before = [host.state() for host in pair]
            try:
                detail = scenario(pair)
            finally:
                pair.destroy()
            for host, was in zip(pair, before, strict=True):
                if (now := host.state()) != was:
                    raise ScenarioFailed(f"on {host.name} destroy left\n{now}\nwhere there was\n{was}")
        except ScenarioFailed as error:
            failure = str(error)
        yield Outcome(name, time.monotonic() - started, detail, failure)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes for people, failures below in full."""
    width = max(len(outcome.name) for outcome in outcomes)
    lines = [
        f"{outcome.name:{width}}  {'passed' if outcome.failure is None else 'FAILED'}  {outcome.seconds:6.1f} s  "
        f"{outcome.detail}".rstrip()
        for outcome in outcomes
    ]
    lines += [f"\n{outcome.name}: {outcome.failure}" for outcome in outcomes if outcome.failure is not None]
    return "\n".join(lines)


def quoted(words: Sequence[str]) -> str:
    """A command as a part of a script."""
    return shlex.join(words)
