"""An ifindex that was ours may be somebody else's by the time that a request names it, and so may a MAC address."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kokofast import load
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.engine.groundwork import plan_of, see_for
from kokofast.engine.result import UNCHANGED, Result
from kokofast.engine.survey import survey_nodes
from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.ops.dumps import observe
from kokofast.ops.executor import Executor
from kokofast.plan.operations import CreateLink
from kokofast.plan.ownership import group_of
from kokofast.plan.plan import nodes_of
from kokofast.topology.model import Topology
from kokofast.wire.link import RTM_DELLINK, RTM_NEWLINK
from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, KernelError, Message, Request
from tests.conftest import ip, links
from tests.faults.test_races import begin, end
from tests.kernel.conftest import COMMAND, Lab, ping, refused_by_the_kernel
from tests.runs import apply, destroy

pytestmark = pytest.mark.usefixtures("requires_root")

Start = Callable[..., subprocess.Popen[str]]


def kill_before_aliases(topology: Topology) -> None:
    """Leaves what a batch leaves that is killed when it has made its links, and set nothing yet."""
    with closing(LinuxKernel(64)) as kernel:
        result = Result(topology.name, UNCHANGED)
        survey = drive(survey_nodes(InlineDriver(), kernel, nodes_of(topology), see_for(topology), result))
        plan = plan_of(topology, survey, kernel)
        creations = [item for item in plan.operations if isinstance(item, CreateLink)]
        assert Executor(kernel, survey.handles, survey.observed).execute(creations) == [None] * len(creations)


def bundle(a: str, b: str, letter: str, count: int) -> list[dict[str, Any]]:
    return [{"endpoints": [f"{a}:{letter}{number}", f"{b}:{letter}{number}"]} for number in range(count)]


class Pairs:
    """Two labs in the same namespaces, two and two of which are joined. One was killed before its aliases, so nothing
    tells that two ends are one link: each is asked for, and the number of the second comes free with the first."""

    def __init__(self, lab: Lab, file: Path, size: int) -> None:
        self.lab = lab
        self.names = [lab.node(str(number)) for number in range(2 * size)]
        joined = list(zip(self.names[::2], self.names[1::2], strict=True))
        file.write_text(json.dumps({"name": f"{lab.name}-k", "links": [bundle(a, b, "k", 1)[0] for a, b in joined]}))
        self.killed = load(str(file))
        lab.write([bundle(a, b, "e", 1)[0] for a, b in joined])

    def check(self, counts: Counter[str]) -> None:
        """Of the one nothing is left, of the other all is there."""
        found = interfaces(self.names)
        counts["left over"] += len([ifname for _, ifname in found if ifname == "k0"])
        assert found == {(name, "e0") for name in self.names}
        assert self.lab.batch()["status"] == "unchanged"
        counts["rounds"] += 1


def test_destroy_of_a_killed_lab_beside_a_batch_of_another(
    lab: Lab, start: Start, counts: Counter[str], chance: random.Random, long: bool, tmp_path: Path
) -> None:
    pairs = Pairs(lab, tmp_path / "killed.json", 150 if long else 40)
    for _ in range(100 if long else 3):
        kill_before_aliases(pairs.killed)
        removing = begin(start, "destroy", "--name", pairs.killed.name)
        time.sleep(chance.random() / 5)
        making = begin(start, "batch", lab.file)
        removed, made = end(removing), end(making)
        counts["races"] += 1
        assert (removed[0], made[0]) == (0, 0), (removed, made)
        pairs.check(counts)
        lab.destroy()


async def test_a_batch_of_another_lab_in_the_midst_of_a_destroy(lab: Lab, counts: Counter[str], tmp_path: Path) -> None:
    pairs = Pairs(lab, tmp_path / "killed.json", 4)
    kill_before_aliases(pairs.killed)

    class Interrupted(LinuxKernel):
        deletions = 0

        def dump(self, handle: Handle, request: Request) -> list[Message]:
            self.meddle()
            return super().dump(handle, request)

        def send(self, handle: Handle, requests: Sequence[Request], *more: Any, **options: Any) -> Any:
            if requests[-1].type == RTM_DELLINK:
                self.meddle()
                self.deletions += 1
            return super().send(handle, requests, *more, **options)

        def meddle(self) -> None:
            if self.deletions == 1:
                self.deletions += 1
                assert lab.batch()["links"]["created"] == 4

    kernel = Interrupted(64)
    try:
        result = await destroy(pairs.killed.name, kernel=kernel, jobs=1)
    finally:
        kernel.close()
    assert (result.status, result.errors) == ("destroyed", [])
    assert kernel.deletions > 1
    pairs.check(counts)


def interfaces(names: Sequence[str]) -> set[tuple[str, str]]:
    """(namespace, interface) of all but the loopbacks."""
    kernel = LinuxKernel(64)
    try:
        found: set[tuple[str, str]] = set()
        for name, handle in zip(names, kernel.open_all([f"/run/netns/{name}" for name in names]), strict=True):
            assert isinstance(handle, Handle)
            with kernel.using([handle]):
                found |= {(name, ifname) for ifname in observe(kernel, handle).interfaces if ifname != "lo"}
        return found
    finally:
        kernel.close()


class Thief(LinuxKernel):
    """Before each exchange of a deletion someone else takes a link of ours away (its name begins with e), and two of
    their interfaces get the indexes of its ends. Only between the look at one interface and its deletion would that
    do harm. homes are joined two and two."""

    def __init__(self, homes: Sequence[str]) -> None:
        super().__init__(64)
        self.homes = homes
        self.stolen: set[tuple[str, str]] = set()
        self.steals = False
        self.turn = threading.Lock()
        self.others = LinuxKernel(64)
        self.handles: list[Handle] = []
        for item in self.others.open_all([f"/run/netns/{name}" for name in homes]):
            assert isinstance(item, Handle)
            self.handles.append(item)

    def close(self) -> None:
        super().close()
        self.others.close()

    def steal(self) -> None:
        with self.turn:
            ours: list[tuple[int, int]] = []
            for place, handle in enumerate(self.handles if self.steals else ()):
                with self.others.using([handle]):
                    seen = observe(self.others, handle).interfaces.values()
                mine = [item for item in seen if item.ifname.startswith("e")]
                if mine:
                    ours = [(place, mine[0].ifindex), (place ^ 1, mine[0].peer)]
            for place, index in ours:
                theirs = f"theirs{len(self.stolen)}"
                wanted = {"ifname": theirs, "linkinfo": {"kind": "bridge"}}
                take = Request(RTM_DELLINK, {"index": index})
                make = Request(RTM_NEWLINK, {"index": index}, wanted, NLM_F_CREATE | NLM_F_EXCL)
                with self.others.using([self.handles[place]]):
                    assert self.others.send(self.handles[place], [take, make])[1] is None
                self.stolen.add((self.homes[place], theirs))

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        self.steal()
        return super().dump(handle, request)

    def ask(self, handle: Handle, request: Request) -> list[Message]:
        self.steal()
        return super().ask(handle, request)

    def send(
        self, handle: Handle, requests: Sequence[Request], resolve: Any = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        if requests[-1].type == RTM_DELLINK and not requests[-1].header:
            self.steal()
        return super().send(handle, requests, resolve, whole=whole)


class Theft:
    """A lab in six namespaces, in one of which a stranger is in the lab's group if asked for; and its thief."""

    def __init__(self, lab: Lab, counts: Counter[str], stranger: bool) -> None:
        self.lab, self.counts = lab, counts
        self.homes = [lab.node(name) for name in "abcdef"]
        a, b, c, d, *_ = self.homes
        self.links = [*bundle(a, b, "e", 5), {"endpoints": [f"{c}:e9", f"{d}:e9"]}]
        self.strangers = {(a, "s0"), (a, "s1")} if stranger else set()
        if stranger:
            ip(a, "link", "add", "s0", "type", "veth", "peer", "name", "s1")
            ip(a, "link", "set", "s0", "group", str(group_of(lab.name)))

    def check(self, kernel: Thief) -> None:
        """Nothing of the lab is left, and nothing of anyone else's is lost."""
        found = interfaces(self.homes)
        self.counts["strangers compared"] += len(kernel.stolen)
        self.counts["left over"] += len([name for _, name in found if name.startswith("e")])
        assert kernel.stolen
        assert found == self.strangers | kernel.stolen
        for name, ifname in kernel.stolen:
            ip(name, "link", "delete", ifname)


@pytest.mark.parametrize("stranger", [False, True], ids=["alone", "beside a stranger in the group"])
async def test_a_strangers_interface_at_a_number_of_ours_when_destroyed(
    lab: Lab, counts: Counter[str], long: bool, stranger: bool
) -> None:
    theft = Theft(lab, counts, stranger)
    for _ in range(100 if long else 2):
        topology = load(lab.write(theft.links))
        assert (await apply(topology)).errors == []
        kernel = Thief(theft.homes)

        def look_done(stage: str, done: int, total: int, kernel: Thief = kernel) -> None:
            kernel.steals = stage == "survey" and done == total
            kernel.steal()

        try:
            result = await destroy(lab.name, topology=topology, kernel=kernel, jobs=1, progress=look_done)
        finally:
            kernel.close()
        assert (result.status, result.errors) == ("destroyed", [])
        theft.check(kernel)
        counts["rounds"] += 1


@pytest.mark.parametrize("stranger", [False, True], ids=["alone", "beside a stranger in the group"])
async def test_a_strangers_interface_at_a_number_of_ours_when_taken_back(
    lab: Lab, counts: Counter[str], long: bool, stranger: bool
) -> None:
    theft = Theft(lab, counts, stranger)
    refused = refused_by_the_kernel(theft.homes[4])  # the last link of all
    theft.strangers |= {(theft.homes[4], name) for name in ("narrow", "narrow-peer")}

    class Told(Result):
        def begin_rollback(self) -> None:
            super().begin_rollback()
            kernel.steals = True
            kernel.steal()

    for _ in range(100 if long else 2):
        kernel = Thief(theft.homes)
        told = Told(lab.name, UNCHANGED)
        try:
            result = await apply(load(lab.write([*theft.links, refused])), kernel=kernel, jobs=1, result=told)
        finally:
            kernel.close()
        assert result.status == "rolled_back", (result.errors, result.left)
        theft.check(kernel)
        counts["rounds"] += 1


async def test_a_strangers_interface_at_the_number_of_a_mirrored_one(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    ip(a, "link", "add", "up0", "index", "77", "type", "veth", "peer", "name", "up1")
    end = {"node": a, "interface": "e0", "mirror": {"from": "up0", "direction": "ingress"}}
    topology = load(lab.write([{"endpoints": [end, f"{b}:e0"]}]))
    swapped: list[str] = []

    def link_made(stage: str, done: int, total: int) -> None:
        if stage == "apply" and not swapped:
            ip(a, "link", "delete", "up0")
            ip(a, "link", "add", "theirs", "index", "77", "type", "bridge")
            swapped.append(tc(a))

    kernel = LinuxKernel(64)
    try:
        result = await apply(topology, kernel=kernel, jobs=1, progress=link_made)
    finally:
        kernel.close()
    assert result.status == "rolled_back"
    assert result.left == []
    assert swapped == [tc(a)]
    assert interfaces([a, b]) == {(a, "theirs")}


def tc(name: str) -> str:
    """The qdiscs of a namespace."""
    done = subprocess.run(["tc", "-n", name, "qdisc", "show"], capture_output=True, text=True, check=True)
    return done.stdout


def test_an_end_that_was_moved_away_and_the_next_one(lab: Lab) -> None:
    """What container scripts do: make a link, move its end into the container, make the next one."""
    host, switch = lab.node("host"), lab.node("switch")
    ip(switch, "link", "add", "br0", "up", "type", "bridge")
    containers = [lab.node(f"c{number}") for number in range(3)]
    for number, container in enumerate(containers):
        wanted = ["-n", f"{host},e0", "-n", f"{switch},p{number}"]
        done = subprocess.run([*COMMAND, *wanted], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        ip(switch, "link", "set", f"p{number}", "master", "br0")
        ip(host, "link", "set", "e0", "netns", container, "name", "eth0")
        ip(container, "address", "add", f"192.0.2.{number + 1}/24", "dev", "eth0")
        ip(container, "link", "set", "eth0", "up")
    macs = {links(container)["eth0"]["address"] for container in containers}
    assert len(macs) == len(containers)
    for number in range(1, len(containers)):
        ping(containers[0], f"192.0.2.{number + 1}")
