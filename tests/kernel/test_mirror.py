"""Mirrors: what arrives at their far end, and that nothing of ours is left in the traffic control of an interface.

tests/engine/test_mirroring.py has which filters there are in all other cases, on a kernel in memory.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ip, ip_batch, ip_json, links
from tests.kernel.conftest import Lab, Start, Watch, kill_midway, ping, refused_by_the_kernel, run, state, until

pytestmark = pytest.mark.usefixtures("requires_root")

COUNT = 3
MIRRORS = 120  # of one interface: enough that a run with them can be killed
HOOKS = {"ingress": "ffff:fff2", "egress": "ffff:fff3"}


def tc(namespace: str, *arguments: str, input: str = "") -> str:
    done = run(["tc", "-n", namespace, *arguments], input=input)
    assert done.returncode == 0, f"tc {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def qdiscs(namespace: str, ifname: str) -> list[dict[str, Any]]:
    """The qdiscs of an interface, without the one that stands for having none."""
    found: list[dict[str, Any]] = json.loads(tc(namespace, "-j", "qdisc", "show", "dev", ifname) or "[]")
    return [one for one in found if one["kind"] != "noqueue"]


def filters(namespace: str, ifname: str) -> list[dict[str, Any]]:
    """Every filter of an interface that has an action, wherever it hangs."""
    found: list[dict[str, Any]] = []
    for qdisc in qdiscs(namespace, ifname):
        parents = HOOKS.values() if qdisc["handle"] == "ffff:" else [qdisc["handle"]]
        for parent in parents:
            shown = json.loads(tc(namespace, "-j", "filter", "show", "dev", ifname, "parent", parent) or "[]")
            found += [one | {"at": parent} for one in shown if one.get("options", {}).get("actions")]
    return found


def control(namespace: str) -> str:
    """All traffic control of a namespace, to be compared byte for byte."""
    shown = tc(namespace, "-d", "qdisc", "show")
    hooked = [one for one in json.loads(tc(namespace, "-j", "qdisc", "show") or "[]") if one["kind"] != "noqueue"]
    lines = [
        f"filter show dev {one['dev']} parent {parent}"
        for one in hooked
        for parent in (HOOKS.values() if one["handle"] == "ffff:" else [one["handle"]])
    ]
    return shown + (tc(namespace, "-d", "-batch", "-", input="".join(f"{line}\n" for line in lines)) if lines else "")


class Capture:
    """What arrives at an interface: lines of tests.kernel.capture."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def read_until(self, last: str) -> list[str]:
        """The lines before this one, which must come."""
        assert self.process.stdout is not None
        found: list[str] = []
        for line in self.process.stdout:
            if line.rstrip() == last:
                return found
            found.append(line.rstrip())
        raise AssertionError(f"the capture ended without {last}: {found}")


@pytest.fixture
def capture() -> Iterator[Callable[[str, str], Capture]]:
    """``capture(namespace, ifname)`` listens from now on."""
    running: list[subprocess.Popen[str]] = []

    def begin(namespace: str, ifname: str) -> Capture:
        # Without site: it starts in half the time.
        python = [sys.executable, "-I", "-S", str(Path(__file__).with_name("capture.py"))]
        command = ["nsenter", f"--net=/run/netns/{namespace}", *python, ifname]
        process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        return Capture(process)

    yield begin
    for process in running:
        process.communicate(timeout=60)


def echo(namespace: str, address: str, identifier: int, count: int = COUNT) -> None:
    """That many echo requests with this identifier, each answered: the traffic flows."""
    more = ["-c", str(count), "-i", "0.05", "-W", "5", "-e", str(identifier), address]
    done = run(["ip", "netns", "exec", namespace, "ping", *more])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f" {count} received" in done.stdout


class Tapped:
    """``r`` with the tapped eth0, 10.9.0.1, towards ``s``, 10.9.0.2; and ``w``, from where one watches."""

    def __init__(self, lab: Lab) -> None:
        self.r, self.s, self.w = lab.node("r"), lab.node("s"), lab.node("w")
        self.names = (self.r, self.s, self.w)
        ip(self.r, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.s)
        for namespace, address in ((self.r, "10.9.0.1/24"), (self.s, "10.9.0.2/24")):
            ip_batch(namespace, "link set eth0 addrgenmode none", f"address add {address} dev eth0", "link set eth0 up")
        for namespace in (self.r, self.s):
            until(
                lambda namespace=namespace: links(namespace)["eth0"]["operstate"] == "UP",  # type: ignore[misc]
                "it is up",
            )

    def row(self, direction: str | None, name: str = "tap", source: str = "eth0", **more: object) -> dict[str, object]:
        """A veth from r to w, of the same name at both ends, that mirrors."""
        end: dict[str, object] = {"node": self.r, "interface": name}
        if direction is not None:
            end["mirror"] = {"from": source, "direction": direction}
        return {"endpoints": [end, f"{self.w}:{name}"], **more}

    def state(self) -> str:
        return "\n".join([state(*self.names), *map(control, self.names)])

    def seen(self, capture: Capture, identifier: int) -> tuple[list[str], list[str]]:
        """What a capture sees of requests that go out, and of such that come in."""
        # From r: the requests leave by eth0, the replies come in. From s: the other way round. One packet at the end of
        # each kind, of which one at least is seen, in whatever direction.
        echo(self.r, "10.9.0.2", identifier)
        echo(self.s, "10.9.0.1", identifier + 1)
        echo(self.r, "10.9.0.2", identifier + 2, 1)
        before: list[str] = []
        assert capture.process.stdout is not None
        for line in capture.process.stdout:
            if line.split()[1] == str(identifier + 2):
                break
            before.append(line.rstrip())
        ours, theirs = f" {identifier} ", f" {identifier + 1} "
        assert all(ours in line or theirs in line for line in before), before
        return [line for line in before if ours in line], [line for line in before if theirs in line]


@pytest.fixture
def tapped(lab: Lab) -> Tapped:
    return Tapped(lab)


Listen = Callable[[str, str], Capture]


def packets(word: str, identifier: int) -> list[str]:
    return [f"{word} {identifier} {number}" for number in range(1, COUNT + 1)]


def both_ways(identifier: int) -> list[str]:
    pairs = zip(packets("request", identifier), packets("reply", identifier), strict=True)
    return [line for pair in pairs for line in pair]


def check_direction(tapped: Tapped, listening: Capture, direction: str, identifier: int) -> None:
    """The capture sees exactly the packets of this direction."""
    ours, theirs = tapped.seen(listening, identifier)
    if direction == "both":
        assert ours == both_ways(identifier)
        assert theirs == both_ways(identifier + 1)
    else:
        assert ours == packets("reply" if direction == "ingress" else "request", identifier)
        assert theirs == packets("request" if direction == "ingress" else "reply", identifier + 1)


@pytest.mark.parametrize("direction", ["ingress", "egress", "both"])
def test_exactly_the_packets_of_the_direction(lab: Lab, tapped: Tapped, capture: Listen, direction: str) -> None:
    lab.write([tapped.row(direction)])
    before = tapped.state()
    assert lab.batch()["links"]["created"] == 1
    check_direction(tapped, capture(tapped.w, "tap"), direction, 100)
    assert [one["kind"] for one in qdiscs(tapped.r, "eth0")] == ["clsact"]
    assert len(filters(tapped.r, "eth0")) == (2 if direction == "both" else 1)
    assert lab.batch()["status"] == "unchanged"
    lab.destroy()
    assert tapped.state() == before


@pytest.mark.guest
@pytest.mark.parametrize("direction", ["ingress", "egress", "both"])
def test_matchall_where_the_kernel_has_it(lab: Lab, tapped: Tapped, capture: Listen, direction: str) -> None:
    lab.write([tapped.row(direction)])
    before = tapped.state()
    lab.batch()
    assert {one["kind"] for one in filters(tapped.r, "eth0")} == {"matchall"}
    check_direction(tapped, capture(tapped.w, "tap"), direction, 100)
    lab.destroy()
    assert tapped.state() == before


@pytest.mark.guest
@pytest.mark.parametrize("direction", ["egress", "both", "ingress"])
@pytest.mark.parametrize("classifier", ["matchall", "u32"])
def test_without_clsact(
    lab: Lab, tapped: Tapped, capture: Listen, without: Callable[..., None], direction: str, classifier: str
) -> None:
    """clsact and ingress are one module, so without it there is no mirror of what comes in, and prio for the rest."""
    without("sch_ingress", *(["cls_matchall"] if classifier == "u32" else []))
    ip(tapped.r, "link", "set", "eth0", "txqueuelen", "500")
    lab.write([tapped.row(direction)])
    before = tapped.state()
    done = lab.kokofast("batch", lab.file)
    if direction != "egress":
        assert done.returncode == 1, done.stderr
        assert "$.links[0].endpoints[0].mirror" in done.stderr
        assert tapped.state() == before
        return
    assert done.returncode == 0, done.stderr
    assert [one["kind"] for one in qdiscs(tapped.r, "eth0")] == ["prio"]
    assert {one["kind"] for one in filters(tapped.r, "eth0")} == {classifier}
    check_direction(tapped, capture(tapped.w, "tap"), "egress", 100)
    assert lab.batch()["status"] == "unchanged"
    lab.write([tapped.row("egress"), tapped.row("egress", "tap2")])
    lab.batch()
    check_direction(tapped, capture(tapped.w, "tap2"), "egress", 200)
    check_direction(tapped, capture(tapped.w, "tap"), "egress", 300)
    lab.destroy()
    assert tapped.state() == before


@pytest.mark.guest
def test_without_clsact_a_root_qdisc_of_somebody_else_is_left_alone(
    lab: Lab, tapped: Tapped, without: Callable[..., None]
) -> None:
    without("sch_ingress")
    tc(tapped.r, "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "netem", "delay", "1ms")
    lab.write([tapped.row("egress")])
    before = tapped.state()
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 1
    assert "another root qdisc is there" in done.stderr
    assert tapped.state() == before


def test_two_mirrors_of_one_interface(lab: Lab, make_lab: Callable[[], Lab], tapped: Tapped, capture: Listen) -> None:
    other = make_lab()
    lab.write([tapped.row("both", "tap1")])
    other.write([tapped.row("both", "tap2")])
    before = tapped.state()
    lab.batch()
    first_alone = control(tapped.r)
    other.batch()
    first, second = capture(tapped.w, "tap1"), capture(tapped.w, "tap2")
    assert tapped.seen(first, 100) == (both_ways(100), both_ways(101))
    assert second.read_until("request 102 1") == both_ways(100) + both_ways(101)
    assert len(filters(tapped.r, "eth0")) == 4
    assert (lab.batch()["status"], other.batch()["status"]) == ("unchanged", "unchanged")

    other.destroy()
    assert control(tapped.r) == first_alone
    check_direction(tapped, capture(tapped.w, "tap1"), "both", 200)
    other.batch()
    lab.destroy()
    assert [one["kind"] for one in qdiscs(tapped.r, "eth0")] == ["clsact"]
    check_direction(tapped, capture(tapped.w, "tap2"), "both", 300)
    other.destroy()
    assert tapped.state() == before


@pytest.fixture
def make_lab(lab: Lab, tmp_path: Path) -> Iterator[Callable[[], Lab]]:
    """Another lab, destroyed at the end as well."""
    made: list[Lab] = []

    def make() -> Lab:
        folder = tmp_path / f"other{len(made)}"
        folder.mkdir()
        made.append(Lab(folder, lab.netns, lab.kokofast))
        return made[-1]

    yield make
    for one in made:
        one.destroy()


class TestFileChanges:
    def test_directions_come_and_go(self, lab: Lab, tapped: Tapped, capture: Listen) -> None:
        lab.write([tapped.row(None)])
        lab.batch()
        plain = control(tapped.r)
        for number, direction in enumerate(("ingress", "both", "egress", "ingress"), 1):
            lab.write([tapped.row(direction)])
            assert lab.batch()["links"]["updated"] == 1
            check_direction(tapped, capture(tapped.w, "tap"), direction, 100 * number)
            assert lab.batch()["status"] == "unchanged"
        lab.write([tapped.row(None)])
        dry = lab.kokofast("batch", lab.file, "--dry-run")
        assert f"- mirror ingress of {tapped.r}:eth0 to tap" in dry.stdout
        assert lab.batch()["links"]["updated"] == 1
        assert control(tapped.r) == plain
        assert lab.batch()["status"] == "unchanged"


class TestStrangers:
    def test_filters_of_the_user_stay_and_work(self, lab: Lab, tapped: Tapped, capture: Listen) -> None:
        ip(tapped.r, "link", "add", "own", "type", "veth", "peer", "name", "peer")
        for end in ("own", "peer"):
            ip(tapped.r, "link", "set", end, "addrgenmode", "none")
            ip(tapped.r, "link", "set", end, "up")
        tc(tapped.r, "qdisc", "add", "dev", "eth0", "clsact")
        nowhere = ["action", "mirred", "egress", "redirect", "dev", "lo"]
        for hook in ("ingress", "egress"):
            for priority in ("16", "17", "100"):
                match = ["protocol", "ip", "prio", priority, "u32", "match", "ip", "src", "203.0.113.0/24"]
                tc(tapped.r, "filter", "add", "dev", "eth0", hook, *match, *nowhere)
        # Behind ours: who wants a copy as well gets one.
        copy = ["protocol", "all", "prio", "60000", "u32", "match", "u32", "0", "0", "action", "mirred"]
        tc(tapped.r, "filter", "add", "dev", "eth0", "egress", *copy, "egress", "mirror", "dev", "own")
        until(lambda: links(tapped.r)["peer"]["operstate"] == "UP", "it is up")
        lab.write([tapped.row("both")])
        before = tapped.state()
        lab.batch()
        theirs = capture(tapped.r, "peer")
        check_direction(tapped, capture(tapped.w, "tap"), "both", 100)
        assert theirs.read_until("request 102 1") == packets("request", 100) + packets("reply", 101)
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert tapped.state() == before

    def test_an_ingress_qdisc_of_the_user_takes_the_ingress_mirror(
        self, lab: Lab, tapped: Tapped, capture: Listen
    ) -> None:
        tc(tapped.r, "qdisc", "add", "dev", "eth0", "ingress")
        lab.write([tapped.row("ingress")])
        before = tapped.state()
        lab.batch()
        check_direction(tapped, capture(tapped.w, "tap"), "ingress", 100)
        lab.destroy()
        assert tapped.state() == before

    @pytest.mark.guest
    def test_beside_a_prio_of_ours_the_ingress_qdisc_of_the_user_stays_his(self, lab: Lab, tapped: Tapped) -> None:
        tc(tapped.r, "qdisc", "add", "dev", "eth0", "ingress")
        before = tapped.state()
        lab.write([tapped.row("egress")])
        lab.batch()
        lab.write([tapped.row("egress"), tapped.row("both", "tap2")])
        lab.batch()
        assert {one["kind"] for one in qdiscs(tapped.r, "eth0")} == {"ingress", "prio"}
        lab.destroy()
        assert tapped.state() == before


class TestVxlan:
    @pytest.fixture
    def link(self, tapped: Tapped) -> dict[str, object]:
        """A tunnel from r to w by way of ``up0``, whose end in r mirrors eth0."""
        ip(tapped.r, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", tapped.w)
        for end, namespace in enumerate((tapped.r, tapped.w), 1):
            ip(namespace, "link", "set", "up0", "addrgenmode", "none")
            ip(namespace, "address", "add", f"192.0.2.{end}/28", "dev", "up0")
            ip(namespace, "link", "set", "up0", "up")
        mirror = {"from": "eth0", "direction": "both"}
        return {
            "type": "vxlan",
            "endpoint": {"node": tapped.r, "interface": "vx0", "mirror": mirror},
            "parent": f"{tapped.r}:up0",
            "remote": "192.0.2.2",
            "vni": 5,
        }

    def test_the_mtu_is_lowered_and_that_is_said(
        self, lab: Lab, tapped: Tapped, capture: Listen, link: dict[str, object]
    ) -> None:
        far = {"type": "vxlan", "endpoint": f"{tapped.w}:vx0", "parent": f"{tapped.w}:up0"}
        lab.write([link, {**far, "remote": "192.0.2.1", "vni": 5}])
        done = lab.kokofast("batch", lab.file)
        assert done.returncode == 0, done.stderr
        said = f"the mtu of {tapped.r}:eth0 is lowered from 1500 to 1450"
        assert said in done.stdout + done.stderr
        assert links(tapped.r)["eth0"]["mtu"] == 1450
        check_direction(tapped, capture(tapped.w, "vx0"), "both", 100)
        again = lab.batch()
        assert (again["status"], again.get("notes", [])) == ("unchanged", [])

    def test_the_mtu_comes_back_when_the_run_fails(self, lab: Lab, tapped: Tapped, link: dict[str, object]) -> None:
        bad = refused_by_the_kernel(tapped.s)
        before = tapped.state()
        for rows in ([link, bad], [bad, link]):
            lab.write(rows)
            done = lab.kokofast("batch", lab.file)
            assert done.returncode == 1, done.stderr
            assert tapped.state() == before


def test_a_source_that_a_later_row_makes(lab: Lab, capture: Listen) -> None:
    a, b, w = lab.new("a"), lab.new("b"), lab.new("w")
    tap = {"node": a, "interface": "tap", "mirror": {"from": "eth0", "direction": "egress"}}
    lab.write(
        [
            {"endpoints": [tap, f"{w}:tap"]},
            {"endpoints": [f"{a}:eth0:10.9.0.1/24", f"{b}:eth0:10.9.0.2/24"]},
        ]
    )
    lab.batch("--create")
    listening = capture(w, "tap")
    echo(a, "10.9.0.2", 100)
    echo(a, "10.9.0.2", 101, 1)
    assert listening.read_until("request 101 1") == packets("request", 100)
    assert lab.batch()["status"] == "unchanged"


def test_two_links_that_mirror_each_other(lab: Lab) -> None:
    """A patch: what comes in at one goes out at the other."""
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    ends = [
        {"node": a, "interface": name, "mirror": {"from": source, "direction": "ingress"}}
        for name, source in (("left", "right"), ("right", "left"))
    ]
    lab.write([{"endpoints": [ends[0], f"{b}:e0:10.0.0.1/24"]}, {"endpoints": [ends[1], f"{c}:e0:10.0.0.2/24"]}])
    lab.batch()
    ping(b, "10.0.0.2")
    assert lab.batch()["status"] == "unchanged"


def test_a_run_that_fails_takes_its_mirrors_back(lab: Lab, tapped: Tapped) -> None:
    lab.write([tapped.row("ingress", "tap1")])
    lab.batch()
    ip(tapped.r, "link", "set", "tap1", "addrgenmode", "none")
    for namespace in (tapped.r, tapped.w):
        ip(namespace, "address", "flush", "dev", "tap1", "scope", "link")
        until(
            lambda namespace=namespace: links(namespace)["tap1"]["operstate"] == "UP",  # type: ignore[misc]
            "it is up",
        )

    def look() -> str:
        # A filter that went and came back has another number of its action, which is the kernel's to give.
        return re.sub(r"\tindex \d+ ", "", tapped.state())

    bad = refused_by_the_kernel(tapped.s)
    before = look()
    for direction in ("both", "egress"):
        more = [tapped.row("both", f"more{number}") for number in range(4)]
        lab.write([tapped.row(direction, "tap1"), *more, bad])
        done = lab.kokofast("batch", lab.file)
        assert done.returncode == 1, done.stderr
        assert look() == before


def test_killed_and_destroyed(lab: Lab, tapped: Tapped, start: Start, watch: Callable[[str], Watch]) -> None:
    before = tapped.state()
    lab.write([tapped.row("both", f"tap{number}") for number in range(MIRRORS)])
    sight = watch(tapped.r)
    present = sight.count()
    # The mirrors come when all links are there. tc would be too slow to see the first ones.
    kill_midway(lab, start, lambda: sight.count() >= present + MIRRORS)
    lab.destroy()
    assert tapped.state() == before


def test_the_other_end_of_the_link_as_a_source(lab: Lab) -> None:
    a = lab.node("a")
    mirror = {"from": "l2", "direction": "egress"}
    lab.write([{"endpoints": [{"node": a, "interface": "l1", "mirror": mirror}, f"{a}:l2"]}])
    lab.batch()
    # No copy comes back: what passes is what IPv6 sends by itself.
    sent = ip_json(a, "-s", "link", "show", "l2")[0]["stats64"]["rx"]["packets"]
    assert sent < 1000


def test_a_loop_with_a_mirror_of_tc_that_is_there_already(lab: Lab, make_lab: Callable[[], Lab]) -> None:
    """Neither file alone shows it. Everything is down, so that code which lets it pass floods nothing."""
    a, b = lab.node("a"), lab.node("b")
    plain = [f"{a}:z0", f"{b}:z0"]
    lab.write([{"endpoints": plain, "up": False}])
    lab.batch()
    other = make_lab()
    other.write([{"endpoints": [f"{a}:y0", f"{b}:y0"], "up": False}])
    other.batch()
    tc(b, "qdisc", "add", "dev", "z0", "ingress")
    mirred = "protocol all u32 match u32 0 0 action mirred egress mirror dev y0"
    tc(b, "filter", "add", "dev", "z0", "parent", "ffff:", *mirred.split())
    closing = {"node": a, "interface": "z0", "mirror": {"from": "y0", "direction": "ingress"}}
    lab.write([{"endpoints": [closing, plain[1]], "up": False}])
    before = control(a)
    for more in ([], ["--dry-run"]):
        done = lab.kokofast("batch", lab.file, *more)
        assert done.returncode == 2, done.stderr
        assert f"{a}:y0 => {a}:z0 -> {b}:z0 => {b}:y0 -> {a}:y0" in done.stderr
        assert f"there already: {b}:z0 => {b}:y0" in done.stderr
    assert lab.kokofast("validate", lab.file).returncode == 0
    assert control(a) == before


def test_a_loop_of_one_file_is_refused_before_anything_is_touched(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write(
        [
            {"endpoints": [f"{a}:y0", {"node": b, "interface": "y0", "mirror": {"from": "x0"}}], "up": False},
            {"endpoints": [{"node": a, "interface": "x0", "mirror": {"from": "y0"}}, f"{b}:x0"], "up": False},
        ]
    )
    for command in (["validate"], ["batch", "--dry-run"], ["batch"]):
        done = lab.kokofast(command[0], lab.file, *command[1:])
        assert (done.returncode, links(a)) == (2, {})
        assert done.stderr.count("mirror loop") == 1, done.stderr


@pytest.mark.parametrize("there", ["one run", "the link first", "one end was lowered"])
def test_a_mirror_into_a_tunnel_leaves_the_link_that_it_watches_whole(lab: Lab, there: str) -> None:
    a, b = lab.node("a"), lab.node("b")
    watched = {"endpoints": [f"{a}:eth0:10.9.0.1/24", f"{b}:eth0:10.9.0.2/24"]}
    tunnel: dict[str, object] = {"type": "vxlan", "parent": f"{a}:up0", "remote": "192.0.2.2", "vni": 5}
    end = {"node": a, "interface": "vx0"}
    rows = [{"endpoints": [f"{a}:up0:192.0.2.1/24", f"{b}:up0"]}, watched]
    if there != "one run":
        lab.write(rows)
        lab.batch()
    lab.write([*rows, {**tunnel, "endpoint": {**end, "mirror": {"from": "eth0", "direction": "ingress"}}}])
    lab.batch()
    if there == "one end was lowered":
        ip(b, "link", "set", "eth0", "mtu", "1500")
        assert lab.batch()["status"] == "applied"
    assert (links(a)["eth0"]["mtu"], links(b)["eth0"]["mtu"]) == (1450, 1450)
    # As large as the sender's MTU lets it be; "do not fragment".
    for namespace, address in ((a, "10.9.0.2"), (b, "10.9.0.1")):
        done = run(["ip", "netns", "exec", namespace, "ping", "-c", "1", "-w", "5", "-M", "do", "-s", "1422", address])
        assert done.returncode == 0, done.stdout + done.stderr
    assert lab.batch()["status"] == "unchanged"
    lab.destroy()
