"""Killed by SIGKILL at random moments: the next batch completes what is missing, destroy leaves nothing.

A run is started with a FIFO for its file, so that the clock begins when it has loaded its code and opens that.
Moments are random fractions of the time that an undisturbed run takes from there.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from kokofast import load
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine.scene import scan
from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.host.namespaces import claimed, named
from kokofast.wire.message import KernelError, Request
from tests.conftest import ip, namespaces
from tests.faults.machine import Dump, differences, dump, seed, settled, size
from tests.kernel.conftest import COMMAND, Lab, stand_still, until
from tests.runs import apply, destroy

pytestmark = pytest.mark.usefixtures("requires_root")

Start = Callable[..., subprocess.Popen[str]]
Links = list[dict[str, Any]]
MIRRORED = 4


class Site:
    """A lab of every kind of object, beside and upon what strangers have; killed runs of it, and what they leave."""

    def __init__(self, lab: Lab, start: Start, counts: Counter[str], chance: random.Random) -> None:
        self.lab, self.start, self.counts, self.chance = lab, start, counts, chance
        self.homes = [lab.node("s0"), lab.node("s1")]
        self.made = [lab.new(f"c{number}") for number in range(12)]
        a, b = self.homes
        for home in self.homes:
            quiet = "echo 1 >/proc/sys/net/ipv6/conf/default/addr_gen_mode"
            subprocess.run(["nsenter", f"--net=/run/netns/{home}", "sh", "-c", quiet], check=True)
        lines = [f"link add up0 type veth peer name up0 netns {b}"]
        lines += [f"link add m{number} type veth peer name w{number}" for number in range(MIRRORED)]
        lines += [f"link set {name} up" for name in ("lo", "up0", *(f"m{number}" for number in range(MIRRORED)))]
        lines += ["address add 10.254.0.1/32 dev lo", "route add 203.0.113.0/24 dev up0"]
        subprocess.run(["ip", "-n", a, "-batch", "-"], input="\n".join(lines), text=True, check=True)
        ip(b, "link", "set", "up0", "up")
        ip(b, "link", "set", "lo", "up")
        self.before = settled(self.homes)
        self.files = [
            json.dumps(
                {
                    "name": lab.name,
                    "links": self.links(variant),
                    "nodes": self.nodes(variant),
                    "routing": {"mode": "shortest-path", "multipath": bool(variant)},
                }
            )
            for variant in (0, 1)
        ]
        self.fifo = Path(lab.file).with_name("fifo.json")
        os.mkfifo(self.fifo)
        self.seconds = {"batch": 1.0, "destroy": 1.0}

    def nodes(self, variant: int) -> dict[str, Any]:
        """Loopbacks, routes and sysctls of the two namespaces that stay, and of one that is made."""
        addresses = [f"10.255.0.{variant}", f"2001:db8:ff::{variant + 1}"]
        route = {"to": "198.51.100.0/24", "via": f"10.9.{variant}.9"}
        a, b = self.homes
        return {
            a: {"netns": a, "addresses": addresses},
            b: {"netns": b, "routes": [route], "sysctls": {"net.ipv4.ip_default_ttl": 70 + variant}},
            self.made[3]: {"netns": self.made[3], "addresses": addresses, "create": True},
        }

    def links(self, variant: int) -> Links:
        """The lab; in its second variant every link that can be changed in place has changed."""
        a, b = self.homes
        c = self.made
        found: Links = [
            {
                "endpoints": [
                    f"{one}:e1:10.{variant}.{n}.0/31,2001:db8:{variant}:{n}::1/64",
                    f"{other}:e0:10.{variant}.{n}.1/31",
                ],
                "mtu": 1400 + 50 * variant,
            }
            for n, (one, other) in enumerate(itertools.pairwise(c))
        ]
        found += [
            {
                "endpoints": [
                    {"node": a, "interface": f"k{n}", "mac": f"02:00:00:00:{variant:02x}:{n:02x}"},
                    f"{b}:k{n}:10.9.{n}.1/24",
                ],
                "txqlen": 70 + variant,
                "rate": f"{1 + variant}mbit",
            }
            for n in range(12)
        ]
        found += [
            {
                "endpoints": [
                    {
                        "node": a,
                        "interface": f"x{n}",
                        "mirror": {"from": f"m{n}", "direction": "both" if variant else "ingress"},
                    },
                    f"{c[n]}:x{n}",
                ]
            }
            for n in range(MIRRORED)
        ]
        for n in range(4):
            found += [
                {
                    "type": "vxlan",
                    "endpoint": f"{c[n]}:v{n}:10.8.{n}.{variant + 1}/24",
                    "parent": f"{a}:up0",
                    "remote": "192.0.2.9",
                    "vni": 100 + n,
                },
                {
                    "type": "macvlan",
                    "endpoint": {"node": c[n], "interface": f"p{n}", "up": not variant},
                    "parent": f"{b}:up0",
                },
            ]
        return found

    def begin(self, verb: str, variant: int) -> subprocess.Popen[str]:
        """Starts a run, and gives it its file when it asks for that."""
        more = ["--create"] if verb == "batch" else []
        command = [*COMMAND, verb, str(self.fifo), "--format", "json", *more]
        process = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        writers: list[int] = []

        def reads() -> bool:
            with contextlib.suppress(OSError):  # ENXIO: nobody reads yet
                writers.append(os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK))
            return bool(writers) or process.poll() is not None

        until(reads, "the run opens its file")
        assert writers, process.communicate()[1]
        os.set_blocking(writers[0], True)
        with open(writers[0], "w") as file:
            file.write(self.files[variant])
        return process

    def whole(self, verb: str, variant: int = 0) -> str:
        """An undisturbed run, which must go well: its status. Its time is the measure for the kills."""
        process = self.begin(verb, variant)
        began = time.monotonic()
        output, errors = process.communicate(timeout=60)
        self.seconds[verb] = time.monotonic() - began
        assert process.returncode == 0, errors
        found = json.loads(output)
        assert not found["errors"]
        return str(found["status"])

    def kill(self, verb: str, variant: int = 0) -> bool:
        """Kills a run at a random moment, or when it has begun to change something; False when it had ended before.
        In both cases it is stopped first, and looked at: all that is there must be ours at that instant too."""
        process = self.begin(verb, variant)
        moment = self.chance.random() * self.seconds[verb]
        if self.chance.random() < 0.25:
            names = namespaces()
            deadline = time.monotonic() + self.seconds[verb]
            while namespaces() == names and process.poll() is None and time.monotonic() < deadline:
                pass
        else:
            time.sleep(moment)  # the moment is what is random here
        running = stand_still(process)
        if running:
            self.check_ours()
        process.kill()
        process.communicate()
        if not running:
            assert process.returncode == 0
            return False
        assert process.returncode == -signal.SIGKILL
        self.counts["kills"] += 1
        return True

    def check_ours(self) -> None:
        """Every object that was not there before carries our mark, whatever a run is at."""
        scene = trio.run(self._scan)
        seen = {(scene.titles[item.ns], item.interface.ifname) for item in scene.interfaces}
        ours = {scene.titles[number] for number in scene.namespaces} | set(scene.claims)
        there = namespaces() & set(self.made)
        unmarked = [f"namespace {name}" for name in sorted(there - ours)]
        for number, namespace in enumerate(scene.survey.observed):
            title = scene.titles[number]
            if namespace is None or title not in (*self.homes, *self.made):
                continue
            strangers = {"lo", "up0"} | {f"{letter}{n}" for letter in "mw" for n in range(MIRRORED)}
            strangers = strangers if title in self.homes else {"lo"}
            unmarked += [
                f"{title}:{name}"
                for name in namespace.interfaces
                if name not in strangers and (title, name) not in seen
            ]
        self.counts["left over"] += len(unmarked)
        assert not unmarked

    async def _scan(self) -> Any:
        kernel = LinuxKernel(256)
        try:
            return await scan(kernel, TrioDriver(), lab=self.lab.name)
        finally:
            kernel.close()

    def state(self) -> Dump:
        """All of the lab in a form that does not depend on the order in which it was made."""
        return {
            (ns, what): sorted(_without_numbers(entries), key=json.dumps)
            for (ns, what), entries in settled([*self.homes, *self.made]).items()
            if what != "fdb"  # follows from the MAC addresses
        }

    def check_gone(self) -> None:
        left = sorted(namespaces() & set(self.made))
        self.counts["left over"] += len(left)
        assert not left, [(name, claimed(named(name))) for name in left]
        seen: list[Dump] = []

        def same() -> bool:
            seen.append(dump(self.homes))
            return seen[-1] == self.before

        try:
            until(same, "the strangers are as before", patience=5)
        except AssertionError as error:
            lines = differences(self.before, seen[-1])
            self.counts["left over"] += len(lines)
            raise AssertionError("\n".join([str(error), *lines])) from None
        self.counts["strangers compared"] += size(self.before)


# Numbers that the kernel gives in the order of creation; a macvlan's "link" is such a one, taken for a local interface.
# And the qdisc, which depends on whether the interface ever was up.
_NUMBERS = frozenset(("ifindex", "qdisc", "link_index", "link_netnsid", "link", "index", "fh", "key_ht", "order"))
_GIVEN_MACS = ("02:00:00:00:", "ff:ff:ff:ff:ff:ff")


def _without_numbers(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {key: _without_numbers(value) for key, value in shown.items() if key not in _NUMBERS}
    if isinstance(shown, list):
        return [_without_numbers(item) for item in shown if not _is_made_up(item)]
    # A MAC address that the file does not give is our mark, made from the ifindex.
    is_mac = isinstance(shown, str) and re.fullmatch("(..:){5}..", shown)
    return "chosen" if is_mac and not shown.startswith(_GIVEN_MACS) else shown


def _is_made_up(shown: Any) -> bool:
    """What the kernel makes by itself: link-local addresses, from the MAC address; noqueue, when it is up at last."""
    if not isinstance(shown, dict):
        return False
    return shown.get("kind") == "noqueue" or str(shown.get("local") or shown.get("dst")).startswith("fe80:")


@pytest.fixture
def site(lab: Lab, start: Start, counts: Counter[str]) -> Site:
    return Site(lab, start, counts, random.Random(seed()))


def test_killed_batches_are_completed(site: Site, counts: Counter[str], long: bool) -> None:
    """Each round: some killed batches, one after the other, of both variants; then whole ones. What is there then is
    what undisturbed runs make."""
    assert site.whole("batch") == "applied"
    states = [site.state()]
    assert site.whole("batch", 1) == "applied"
    states.append(site.state())
    assert site.whole("destroy") == "destroyed"
    site.check_gone()
    for _ in range(40 if long else 3):
        for _ in range(5):
            site.kill("batch", site.chance.randrange(2))
        variant = site.chance.randrange(2)
        site.whole("batch", variant)
        assert site.whole("batch", variant) == "unchanged"
        now = site.state()
        assert now == states[variant], "\n".join(differences(states[variant], now))
        counts["rounds"] += 1
    site.whole("destroy")
    site.check_gone()


def test_after_kills_destroy_leaves_nothing(site: Site, counts: Counter[str], long: bool) -> None:
    """Each round: a killed batch or two, then killed destroys, then a whole one."""
    site.whole("batch")
    site.whole("destroy")
    for _ in range(40 if long else 3):
        site.whole("batch") if site.chance.random() < 0.5 else None
        for _ in range(site.chance.randrange(1, 3)):
            site.kill("batch", site.chance.randrange(2))
        for _ in range(site.chance.randrange(1, 4)):
            site.kill("destroy")
        site.whole("destroy")
        site.check_gone()
        counts["rounds"] += 1


class Watching(LinuxKernel):
    """Looks after every send at what a kill -9 would leave there: no qdisc without a filter of ours that marks it."""

    def __init__(self, namespace: str) -> None:
        super().__init__(64)
        self.namespace = namespace
        self.looks = 0
        self.unmarked: list[str] = []
        self.seen = False

    def send(
        self, handle: Handle, requests: Sequence[Request], resolve: Any = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        answers = super().send(handle, requests, resolve, whole=whole)
        shown = dump([self.namespace])
        qdiscs = {entry["dev"] for entry in shown[self.namespace, "qdisc"] if entry["kind"] in ("clsact", "ingress")}
        filters = {entry["dev"] for entry in shown[self.namespace, "filter"] if "6b6f6b6f" in json.dumps(entry)}
        self.looks += 1
        self.unmarked += qdiscs - filters
        self.seen = self.seen or bool(qdiscs)
        return answers


async def test_a_qdisc_of_ours_is_marked_at_every_instant(lab: Lab, counts: Counter[str]) -> None:
    a = lab.node("a")
    for number in range(3):
        ip(a, "link", "add", f"m{number}", "type", "veth", "peer", "name", f"w{number}")
    lab.write(
        [
            {
                "endpoints": [
                    {"node": a, "interface": f"x{n}", "mirror": {"from": f"m{n}", "direction": way}},
                    f"{a}:y{n}",
                ]
            }
            for n, way in enumerate(("ingress", "egress", "both"))
        ]
    )
    kernel = Watching(a)
    topology = load(lab.file)
    try:
        assert (await apply(topology, kernel=kernel)).errors == []
        assert kernel.seen
        assert (await destroy(lab.name, topology=topology, kernel=kernel)).errors == []
    finally:
        kernel.close()
    assert kernel.looks > 8
    counts["left over"] += len(kernel.unmarked)
    assert not kernel.unmarked
    assert not [entry for entry in dump([a])[a, "qdisc"] if entry["kind"] == "clsact"]
