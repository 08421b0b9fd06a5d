"""What is not ours stays as it is, whatever we do beside it: every object that iproute2 shows is compared."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from kokofast.plan.ownership import group_of
from tests.faults.machine import Dump, Machine, differences, seed, settled, size, without
from tests.kernel.conftest import COMMAND, until

pytestmark = pytest.mark.usefixtures("requires_root")

LAB = "fabric"
OTHER = "neighbour"
HOMES = ("s0", "s1", "s2")
EVERYWHERE = ("", *HOMES)
MIRRORED = ("up0", "m0", "m1")
FILE = "/run/fabric.json"


class Strangers:
    """Random objects of other people, written as batches for ip and tc in three namespaces."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.count = 0
        self.links: list[tuple[str, str, str]] = []  # namespace, name, kind
        self.ip: dict[str, list[str]] = {home: [] for home in HOMES}
        self.tc: dict[str, list[str]] = {home: [] for home in HOMES}
        self._wire("s0", "s1", "up0", "up0")
        for home in HOMES:
            self._wire(home, home, "m0", "m1")
            for _ in range(chance.randrange(3, 7)):
                self._link(home)
        for home, name, kind in self.links:
            self._dress(home, name, kind)
        self.ip["s1"].append("link add narrow mtu 1000 up type veth peer name narrow-peer")
        for home in HOMES:
            self.ip[home] += [
                f"route add blackhole 198.51.{chance.randrange(256)}.0/24",
                f"-6 route add unreachable 2001:db8:dead:{chance.randrange(1, 999)}::/64",
                f"rule add from 203.0.113.{chance.randrange(256)} table {chance.randrange(300, 400)}",
                "neighbour add 192.0.2.99 lladdr 02:00:00:00:00:63 dev m0 nud permanent",
            ]

    def _name(self) -> str:
        self.count += 1
        return self.chance.choice(["veth", "x", "eth1-", "k"]) + f"{self.count:02}"

    def _wire(self, a: str, b: str, first: str, second: str) -> None:
        self.ip[a].append(f"link add {first} type veth peer name {second} netns {b}")
        self.links += [(a, first, "veth"), (b, second, "veth")]

    def _link(self, home: str) -> None:
        kind = self.chance.choice(["veth", "bridge", "macvlan", "vxlan", "ifb"])
        name = self._name()
        if kind == "veth":
            self._wire(home, self.chance.choice(HOMES), name, self._name())
            return
        options = {
            "macvlan": "link m1 type macvlan mode bridge",
            "vxlan": f"type vxlan id {1000 + self.count} remote 192.0.2.77 dev m1 dstport {5000 + self.count}",
        }.get(kind, f"type {kind}")
        before, _, after = options.partition("type")
        self.ip[home].append(f"link add {before} name {name} type{after}")
        self.links.append((home, name, kind))

    def _dress(self, home: str, name: str, kind: str) -> None:
        """Groups, aliases, addresses, qdiscs and filters, some of which look like ours."""
        chance = self.chance
        group, alias = chance.choice(
            [
                ("0", ""),
                ("7", "uplink to the datacentre"),
                # Half of the mark, or that of others, proves nothing.
                (str(group_of(LAB)), ""),
                (str(group_of(LAB)), "uplink"),
                (str(group_of(LAB)), "kokofast:"),
                (str(group_of(LAB)), f"kokofast:{LAB}"),
                (str(group_of(LAB)), "kokofast:somebody:s0:a--s1:a"),
                ("0", f"kokofast:{LAB}:s0:k0--s1:k0"),
                (str(group_of(OTHER)), f"kokofast:{LAB}:s0:k0--s1:k0"),
            ]
        )
        say = self.ip[home].append
        say(f"link set {name} group {group}" + (f' alias "{alias}"' if alias else ""))
        if chance.random() < 0.7 or name in MIRRORED:
            say(f"link set {name} up")
        for _ in range(chance.randrange(3)):
            # Some in the subnets of the lab.
            say(f"address replace 10.0.{chance.randrange(3)}.{chance.randrange(9, 250)}/24 dev {name}")
            say(f"address replace 2001:db8:{chance.randrange(9)}::{chance.randrange(9, 999):x}/64 dev {name} nodad")
        if kind == "veth" and chance.random() < 0.6:
            self._control(home, name)

    def _control(self, home: str, name: str) -> None:
        chance, say = self.chance, self.tc[home].append
        # Where an ingress qdisc stands a mirror of egress takes a prio qdisc, which not every kernel has.
        hook = "clsact" if name in MIRRORED else chance.choice(["clsact", "ingress"])
        say(f"qdisc add dev {name} {hook}")
        for _ in range(chance.randrange(3)):
            place = "ingress" if hook == "ingress" else chance.choice(["ingress", "egress"])
            # Other priorities than ours, the same ones, and a cookie that begins like ours but is not.
            say(
                f"filter add dev {name} {place} pref {chance.choice([5, 16, 17, 18, 49152]) + self._next()} u32 "
                f"match u32 0 0 action mirred egress mirror dev m1 cookie {chance.choice(['0011', '6b6f6b6f'])}"
            )
        if chance.random() < 0.5:
            say(f"qdisc add dev {name} root handle {chance.randrange(1, 99)}: pfifo limit {chance.randrange(9, 99)}")

    def _next(self) -> int:
        self.count += 1
        return 2 * self.count

    def make(self, machine: Machine) -> None:
        for home in HOMES:
            # Link-local addresses would come by themselves, some time later. A loopback's alias that begins like that
            # of a namespace of ours proves nothing.
            machine.must(
                "sh",
                "-c",
                f"ip netns add {home} && ip -n {home} link set lo up alias kokofast:{LAB}:elsewhere && nsenter "
                f"--net=/run/netns/{home} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/addr_gen_mode'",
            )
        for home in HOMES:
            made = [line for line in self.ip[home] if line.startswith("link add")]
            machine.must("nsenter", f"--net=/run/netns/{home}", "ip", "-batch", "-", input="\n".join(made) + "\n")
        for home in HOMES:
            rest = [line for line in self.ip[home] if not line.startswith(("link add", "-6"))]
            machine.must("nsenter", f"--net=/run/netns/{home}", "ip", "-batch", "-", input="\n".join(rest) + "\n")
            six = [line.removeprefix("-6 ") for line in self.ip[home] if line.startswith("-6")]
            machine.must("nsenter", f"--net=/run/netns/{home}", "ip", "-6", "-batch", "-", input="\n".join(six) + "\n")
            if self.tc[home]:
                machine.must(
                    "nsenter", f"--net=/run/netns/{home}", "tc", "-batch", "-", input="\n".join(self.tc[home]) + "\n"
                )


def wanted(chance: random.Random) -> list[dict[str, Any]]:
    """The links of the lab: beside, upon and between what strangers have."""
    mirrored = {"from": chance.choice(["m0", "up0"]), "direction": chance.choice(["ingress", "egress", "both"])}
    return [
        {"endpoints": ["s0:k0:10.0.0.1/24,2001:db8:1::1/64", "s1:k0:10.0.0.2/24"]},
        {"endpoints": ["s0:k1:10.0.1.1/24", "c0:e0:10.0.1.2/24"], "txqlen": 77},
        {"endpoints": ["c0:e1", {"node": "c1", "interface": "e1", "mac": "02:00:00:00:0a:01", "up": False}]},
        {"endpoints": [{"node": "s0", "interface": "k2", "mirror": mirrored}, "c1:e2"]},
        {"type": "vxlan", "endpoint": "c0:v0:10.0.2.1/24", "parent": "s0:up0", "remote": "192.0.2.9", "vni": 7},
        {"type": "macvlan", "endpoint": "c1:m0:10.0.2.2/24", "parent": "s1:up0"},
    ]


def changed(links: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """The same links with other fields, and one more."""
    mirrored = {"from": chance.choice(["m0", "m1", "up0"]), "direction": chance.choice(["ingress", "egress", "both"])}
    return [
        {"endpoints": ["s0:k0:10.0.1.1/24,2001:db8:2::1/64", "s1:k0"], "mtu": 1400},
        {"endpoints": ["s0:k1", {"node": "c0", "interface": "e0", "up": False}], "txqlen": 99},
        links[2],
        {"endpoints": [{"node": "s0", "interface": "k2", "mirror": mirrored}, "c1:e2"]},
        *links[4:],
        {"endpoints": ["s1:k4", "s2:k4:10.0.0.77/24"]},
    ]


# IPv6 takes an MTU of 1,280 at least: the kernel refuses the address when the interface is there already.
REFUSED = {"type": "macvlan", "endpoint": "c0:k8:2001:db8:8::1/64", "parent": "s1:narrow"}
TAKEN = {"endpoints": ["s1:k8", "s0:m0"]}


class Bystander:
    """Runs commands on the lab, and compares everything else before and after each."""

    def __init__(self, machine: Machine, counts: Counter[str]) -> None:
        self.machine = machine
        self.counts = counts
        self.before = settled(EVERYWHERE, machine.prefix)
        self.names = machine.names()

    def run(self, *arguments: str, code: int = 0) -> str:
        done = self.machine.run(*COMMAND, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        self.compare(without(LAB, self.before), lambda: without(LAB, self.machine.dump(EVERYWHERE)))
        return done.stdout + done.stderr

    def batch(self, links: list[dict[str, Any]], *arguments: str, code: int = 0) -> str:
        self.machine.must("sh", "-c", f"cat > {FILE}", input=json.dumps({"name": LAB, "links": links}))
        nothing_done = code in (1, 2)  # taken back, or nothing touched: then the lab too is as it was
        whole = settled(EVERYWHERE, self.machine.prefix) if nothing_done else {}
        names = self.machine.names()
        said = self.run("batch", FILE, "--create", "--quiet", *arguments, code=code)
        if nothing_done:
            self.compare(whole, lambda: self.machine.dump(EVERYWHERE))
            assert self.machine.names() == names
        return said

    def compare(self, before: Dump, look: Callable[[], Dump]) -> None:
        self.counts["strangers compared"] += size(before)
        seen: list[Dump] = []

        def same() -> bool:
            seen.append(look())
            return bool(seen[-1] == before)

        try:
            until(same, "it is as before", patience=5)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *differences(before, seen[-1])])) from None

    def check_all_gone(self) -> None:
        """Nothing of the lab is left, and nothing else has changed, down to the last flag."""
        left = set(self.machine.names()) - set(self.names)
        self.counts["left over"] += len(left)
        assert not left
        self.compare(self.before, lambda: self.machine.dump(EVERYWHERE))
        assert self.machine.names() == self.names


def one_round(machine: Machine, counts: Counter[str], chance: random.Random, way: str, steps: int) -> None:
    Strangers(chance).make(machine)
    if way != "all":
        other = json.dumps({"name": OTHER, "links": [{"endpoints": ["s0:o0:10.0.0.9/24", "s2:o0"]}]})
        machine.must(*COMMAND, "batch", "-", "--quiet", input=other)
    beside = Bystander(machine, counts)
    links = wanted(chance)
    others: list[Callable[[], str]] = [
        lambda: beside.batch(changed(links, chance)),
        lambda: beside.batch(with_one_more(REFUSED, links, chance), code=1),
        lambda: beside.batch(with_one_more(REFUSED, links, chance), "--keep-going", code=3),
        lambda: beside.batch(with_one_more(TAKEN, links, chance), code=2),
    ]
    chosen: list[Callable[[], str]] = [lambda: beside.batch(links), *chance.sample(others, steps)]
    chance.shuffle(chosen)
    for step in chosen:
        step()
    destroy = {"file": (FILE,), "name": ("--name", LAB), "all": ("--all",)}[way]
    beside.run("destroy", *destroy, "--quiet")
    beside.check_all_gone()
    counts["rounds"] += 1


@pytest.mark.parametrize("way", ["file", "name", "all"])
def test_strangers_stay_as_they_are(counts: Counter[str], long: bool, way: str) -> None:
    for _ in range(20 if long else 1):
        machine = Machine()
        try:
            one_round(machine, counts, random.Random(seed()), way, 4 if long else 1)
        finally:
            machine.close()


def batch(machine: Machine, links: list[dict[str, Any]], code: int = 0) -> str:
    done = machine.run(*COMMAND, "batch", "-", "--name", LAB, "--create", "--quiet", input=json.dumps(links))
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


AWAY = [
    # (what the user does, the place of the complaint, what it says)
    (
        "ip -n a link set e0 down; ip -n a link set e0 name mine",
        0,
        "a:e0 of this link was renamed or moved: it is a:mine",
    ),
    ("ip -n b link set e0 netns c", 1, "b:e0 of this link was renamed or moved: it is c:e0"),
    (
        "ip netns add x; ip -n b link set e0 netns x",
        1,
        "b:e0 of this link was renamed or moved: it has left the namespaces",
    ),
    ("ip -n b link set e0 netns 1", 1, "b:e0 of this link was renamed or moved: it has left the namespaces"),
    (
        "ip -n a link set e0 name p; ip -n b link set e0 netns c name q",
        0,
        "a:e0 and b:e0 of this link was renamed or moved: it is a:p and c:q",
    ),
]


@pytest.mark.parametrize(("deed", "place", "said"), AWAY)
def test_an_end_that_its_user_renamed_or_moved(
    machine: Machine, counts: Counter[str], deed: str, place: int, said: str
) -> None:
    wanted = [{"endpoints": ["a:e0", "b:e0"]}, {"endpoints": ["c:e1", "d:e1"]}]
    machine.must("sh", "-c", "ip netns add a; ip netns add b; ip netns add c")
    before = settled(["", "a", "b", "c"], machine.prefix)
    batch(machine, wanted)
    machine.must("sh", "-c", deed)
    after = settled(["", "a", "b", "c"], machine.prefix)
    complaint = batch(machine, wanted, code=2)
    assert f"$[0].endpoints[{place}]: {said}" in complaint
    assert f"kokofast destroy --name {LAB}" in complaint
    # The rest of the file is shown all the same.
    more = json.dumps([*wanted, {"endpoints": ["c:e2", "d:e2"]}])
    shown = machine.run(*COMMAND, "batch", "-", "--dry-run", "--name", LAB, input=more)
    assert (shown.returncode, shown.stdout) == (2, "+ veth c:e2--d:e2\n")
    until(lambda: machine.dump(["", "a", "b", "c"]) == after, "the batch has changed nothing")
    # Wherever it is, destroy finds it.
    machine.must(*COMMAND, "destroy", "--name", LAB, "--quiet")
    until(lambda: machine.dump(["", "a", "b", "c"]) == before, "everything is as before")
    assert set(machine.names()) - {"x"} == {"a", "b", "c"}
    counts["strangers compared"] += size(before)
    batch(machine, wanted)


@pytest.mark.parametrize(("deed", "place", "said"), AWAY)
def test_the_command_that_cures_it(machine: Machine, deed: str, place: int, said: str) -> None:
    wanted = [{"endpoints": ["a:e0", "b:e0"]}, {"endpoints": ["c:e1", "d:e1"]}]
    machine.must("sh", "-c", "ip netns add a; ip netns add b; ip netns add c")
    batch(machine, wanted)
    machine.must("sh", "-c", deed)
    complaint = batch(machine, wanted, code=2)
    command = complaint.split("delete the link (kokofast ")[1].split(")")[0]
    machine.must(*COMMAND, *command.split())
    batch(machine, wanted)


def test_a_macvlan_that_its_user_renamed_gets_no_second_one_beside_it(machine: Machine) -> None:
    machine.must("sh", "-c", "ip link add up0 type veth peer name up1; ip netns add a")
    wanted = [{"type": "macvlan", "endpoint": "a:m0", "parent": "up0"}]
    batch(machine, wanted)
    machine.must("sh", "-c", "ip -n a link set m0 down; ip -n a link set m0 name mine")
    assert "a:m0 of this link was renamed or moved: it is a:mine by now" in batch(machine, wanted, code=2)
    machine.must("sh", "-c", "ip -n a link set mine name m0")
    batch(machine, wanted)


def test_a_namespace_of_ours_in_which_a_process_lives(machine: Machine, counts: Counter[str]) -> None:
    """It loses its name and its links; what the process made in it stays, and so does its view."""
    machine.must("ip", "netns", "add", "a")
    before = settled(["", "a"], machine.prefix)
    wanted = [{"endpoints": ["a:e0", "b:e0"]}]
    batch(machine, wanted)
    script = "ip link add mine type bridge; echo ready; exec cat"
    with subprocess.Popen(
        [*machine.prefix, "ip", "netns", "exec", "b", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        notes = machine.run(*COMMAND, "destroy", "--all").stderr
        assert "namespace b has lost its name, but lives on" in notes
        until(lambda: machine.dump(["", "a"]) == before, "everything is as before")
        assert machine.names() == ["a"]
        (found,) = machine.must("pidof", "cat").split()[:1]
        living = machine.must("nsenter", f"--net=/proc/{found}/ns/net", "ip", "-br", "link")
        assert "mine" in living
        assert "e0@" not in living  # a MAC address may have "e0"
        # A new lab of that name has nothing to do with it.
        batch(machine, wanted)
        machine.must(*COMMAND, "destroy", "--name", LAB, "--quiet")
        process.stdin.close()
    counts["strangers compared"] += size(before)


def with_one_more(link: dict[str, Any], links: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    at = chance.randrange(len(links) + 1)
    return [*links[:at], link, *links[at:]]
