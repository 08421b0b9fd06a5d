"""A timeline on three hosts, by the command line: played together, and ended by failures, signals and deaths."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import tests.kernel.conftest
from bench.underlay import Host, Underlay
from kokofast.cli.result_schema import schema_of_hosts
from tests import ROOT
from tests.hosts.ansible import environment
from tests.hosts.clocks import ahead

LAB = "played"
NODES = 2  # of each host, in a chain; the last of a host is linked to the first of the next one
PATIENCE = 90.0
until = partial(tests.kernel.conftest.until, what="the hosts", patience=PATIENCE, pause=0.2)
LONG = 600.0  # seconds: no test waits for the end of such a timeline
AHEAD = 7
LEASE = 20.0


@pytest.fixture(scope="module")
def topology(underlay: Underlay) -> dict[str, Any]:
    """A ring."""
    hosts = list(underlay.hosts)
    chain = [f"{host}n{number}" for host in hosts for number in range(NODES)]
    links = [
        {"endpoints": [f"{left}:right:10.{number}.0.1/24", f"{right}:left:10.{number}.0.2/24"]}
        for number, (left, right) in enumerate(itertools.pairwise([*chain, chain[0]]))
    ]
    nodes = {name: {"netns": name, "host": name[:2]} for name in chain}
    return {
        "name": LAB,
        "hosts": underlay.declared(),
        "defaults": {"create": True},
        "nodes": nodes,
        "links": links,
    }


class Troupe:
    """The hosts, and the controller that has them play."""

    def __init__(self, underlay: Underlay, topology: dict[str, Any], folder: Path) -> None:
        self.underlay = underlay
        self.hosts = list(underlay.hosts.values())
        self._folder = folder
        (folder / "lab.json").write_text(json.dumps(topology))

    def start(self, epochs: list[dict[str, Any]], *options: str) -> subprocess.Popen[str]:
        """Start the command."""
        (self._folder / "t.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
        files = [str(self._folder / name) for name in ("lab.json", "t.jsonl")]
        command = [sys.executable, "-m", "kokofast", "hosts", "play", *files, "--format=json", *options]
        return subprocess.Popen(
            self.underlay.controller.command(*command),
            env=environment(self._folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
        """Return the exit code, the JSON object, and the messages."""
        out, messages = process.communicate(timeout=240)
        assert out, messages
        assert "Traceback" not in messages
        found = json.loads(out)
        jsonschema.validate(found, schema_of_hosts())
        return process.returncode, found, messages

    def play(self, epochs: list[dict[str, Any]], *options: str) -> tuple[int, dict[str, Any], str]:
        return self.end(self.start(epochs, *options))


@pytest.fixture
def troupe(underlay: Underlay, topology: dict[str, Any], tmp_path: Path) -> Iterator[Troupe]:
    """The troupe. After a test nothing plays, and nothing is left."""
    found = Troupe(underlay, topology, tmp_path)
    yield found
    until(lambda: not any(map(is_playing, found.hosts)))
    for host in found.hosts:
        host.set_command()
        host.kokofast("destroy", "--name", LAB)
        assert "n0" not in host.state()
    until(lambda: not any(map(jobs, found.hosts)))


def is_playing(host: Host) -> bool:
    return " play " in host.run("ps", "-eo", "args") and "-m kokofast play " in host.run("ps", "-eo", "args")


def jobs(host: Host) -> str:
    return host.run("sh", "-c", "ls /run/kokofast-jobs 2>/dev/null || true").strip()


def mtu(host: Host, node: str) -> int:
    """Return the MTU of the end that leads to the next host; 0 before it is there."""
    if node not in host.run("ls", "/run/netns"):
        return 0
    (found,) = json.loads(host.run("ip", "-json", "-n", node, "link", "show", "right"))
    return int(found["mtu"])


def change(number: int, mtu: int) -> dict[str, Any]:
    """An epoch's change of the end of a host that leads to the next one."""
    return {"set": [{"endpoint": f"h{number}n{NODES - 1}:right", "mtu": mtu}]}


def test_hosts_begin_together_though_a_clock_is_ahead(troupe: Troupe, tmp_path: Path) -> None:
    run = [
        {"node": f"h{number}n0", "command": ["cp", "/proc/self/stat", str(tmp_path / f"witness{number}")]}
        for number in (1, 2, 3)
    ]
    both = [one for number in (1, 2, 3) for one in change(number, 1305)["set"]]
    epochs = [{"at": 0, "set": both, "run": run}, {"at": 1, **change(2, 1309)}]
    with ahead(troupe.hosts[1], tmp_path, AHEAD):
        code, found, messages = troupe.play(epochs)
    assert (code, found["status"], found["errors"]) == (0, "played", []), messages
    for name, true in {"h1": 0.0, "h2": AHEAD, "h3": 0.0}.items():
        of_host = found["hosts"][name]["play"]
        for when in ("begin", "end"):
            clock = of_host["clock"][when]
            assert abs(clock["offset"] - true) <= clock["error"]
        assert (of_host["status"], of_host["code"], of_host["summary"]["epochs"]) == ("played", 0, 2)
    assert found["clocks"]["apart"]["begin"] == pytest.approx(AHEAD, abs=found["clocks"]["within"] + 1e-5)
    # By the clock of the files, which all share. A machine that is busy may be late, and says so.
    witnesses = [(tmp_path / f"witness{number}").stat().st_mtime for number in (1, 2, 3)]
    late = max(one["play"]["summary"]["lateness"]["worst"] for one in found["hosts"].values())
    longest = max(one["play"]["summary"]["longest"] for one in found["hosts"].values())
    assert max(witnesses) - min(witnesses) <= found["clocks"]["within"] + late + longest + 0.5
    assert [mtu(host, f"{host.name}n1") for host in troupe.hosts] == [1305, 1309, 1305]


def test_a_dry_run_checks_all_and_touches_nothing(troupe: Troupe) -> None:
    before = [host.state() for host in troupe.hosts]
    code, found, messages = troupe.play([{"at": 0, **change(1, 1305)}], "--dry-run")
    assert (code, found["status"]) == (0, "planned"), messages
    assert {one["play"]["status"] for one in found["hosts"].values()} == {"unasked"}
    assert "begin" in found["clocks"]["apart"]
    assert [host.state() for host in troupe.hosts] == before


@pytest.mark.parametrize(
    ("epochs", "options", "words"),
    [
        ([{"at": 0, **change(4, 1305)}], [], "t.jsonl:1 set[0].endpoint: "),
        ([{"at": 5, **change(1, 1305)}], ["--until=4"], "--until ends before the first epoch: nothing would be played"),
    ],
)
def test_a_timeline_that_is_wrong_is_refused_before_anything(
    troupe: Troupe, epochs: list[dict[str, Any]], options: list[str], words: str
) -> None:
    code, found, messages = troupe.play(epochs, *options)
    assert (code, found["status"]) == (2, "invalid"), messages
    assert words in messages


def test_a_host_that_refuses_an_epoch_stops_all_and_names_the_users_line(troupe: Troupe) -> None:
    host = troupe.hosts[1]
    add = {"endpoints": ["h2n0:new", "h2n1:taken"]}
    epochs: list[dict[str, Any]] = [
        {"at": 0, **change(1, 1305)},
        {"at": 1, **change(3, 1305)},
        {"at": 15, "set": change(1, 1307)["set"], "add": [{"endpoints": ["h1n0:x", "h1n1:x"]}, add]},
        {"at": LONG, **change(3, 1309)},
    ]
    process = troupe.start(epochs)
    until(lambda: is_playing(host))
    host.run("ip", "-n", "h2n1", "link", "add", "taken", "type", "bridge")
    code, found, messages = troupe.end(process)
    host.run("ip", "-n", "h2n1", "link", "delete", "taken")
    assert (code, found["status"]) == (1, "stopped"), messages
    assert "/t.jsonl:3 add[1].endpoints[1]: on h2: h2n1 already has an interface taken, not ours" in messages
    assert {name: one["play"]["status"] for name, one in found["hosts"].items()} == dict.fromkeys(
        ("h1", "h2", "h3"), "stopped"
    )
    assert [(error["host"]) for error in found["errors"]] == ["h2"]
    assert mtu(troupe.hosts[0], "h1n1") == 1307  # what the others had begun stays


def test_a_signal_ends_it_on_all_hosts(troupe: Troupe) -> None:
    process = troupe.start([{"at": 0, **change(1, 1305)}, {"at": LONG, **change(1, 1309)}])
    until(lambda: mtu(troupe.hosts[0], "h1n1") == 1305)
    troupe.underlay.controller.run("pkill", "-TERM", "--full", "kokofast hosts play")  # in its pid namespace
    code, found, messages = troupe.end(process)
    assert (code, found["status"]) == (1, "stopped"), messages
    assert "kokofast: interrupted by SIGTERM; the epochs that had begun are done or taken back" in messages
    assert {one["play"]["summary"]["epochs"] for one in found["hosts"].values()} == {1}
    assert not any(map(is_playing, troupe.hosts))


def test_without_the_controller_each_host_ends_by_itself(troupe: Troupe) -> None:
    process = troupe.start([{"at": 0, **change(1, 1305)}, {"at": LONG, **change(1, 1309)}], f"--lease={LEASE:g}")
    until(lambda: mtu(troupe.hosts[0], "h1n1") == 1305)
    # All processes of the controller but its first one.
    subprocess.run(troupe.underlay.controller.command("sh", "-c", "kill -KILL -1"), check=False)
    process.communicate(timeout=60)
    until(lambda: not any(map(is_playing, troupe.hosts)))
    assert mtu(troupe.hosts[0], "h1n1") == 1305  # as its last epoch left it


def test_a_host_that_is_lost_is_said_and_the_others_are_ended(troupe: Troupe) -> None:
    lost = troupe.hosts[1]
    process = troupe.start([{"at": 0, **change(1, 1305)}, {"at": LONG, **change(1, 1309)}], f"--lease={LEASE:g}")
    until(lambda: mtu(troupe.hosts[0], "h1n1") == 1305)
    lost.cut_off()
    code, found, messages = troupe.end(process)
    lost.listen()
    assert (code, found["status"]) == (3, "partial"), messages
    assert {name: one["play"]["status"] for name, one in found["hosts"].items()} == {
        "h1": "stopped",
        "h2": "unreachable",
        "h3": "stopped",
    }
    assert "kokofast: on h2: cannot be reached any more: " in messages
    assert not is_playing(troupe.hosts[0])
    until(lambda: not is_playing(lost))


def test_a_supervisor_that_is_killed_takes_its_play_with_it(troupe: Troupe) -> None:
    host = troupe.hosts[2]
    process = troupe.start([{"at": 0, **change(1, 1305)}, {"at": LONG, **change(1, 1309)}], f"--lease={LEASE:g}")
    until(lambda: is_playing(host))
    (pid,) = [line.split()[1] for line in host.run("ps", "-eo", "pid,ppid,args").splitlines() if " play " in line]
    host.run("kill", "-KILL", pid)
    until(lambda: not is_playing(host))
    code, found, messages = troupe.end(process)
    assert (code, found["hosts"]["h3"]["play"]["status"]) == (1, "failed"), messages
    assert "on h3: ended: its supervisor was killed" in messages
    assert found["hosts"]["h1"]["play"]["status"] == "stopped"


DOCUMENT = (ROOT / "docs" / "hosts.md").read_text("utf-8").partition("\n### Play\n")[2].partition("\n### ")[0]


def test_the_commands_shown(troupe: Troupe, topology: dict[str, Any], tmp_path: Path) -> None:
    hosts = dict(list(topology["hosts"].items())[:2])
    fabric = {
        "name": "fabric",
        "hosts": hosts,
        "defaults": {"create": True},
        "nodes": {"h1n0": {"host": "h1"}, "h2n0": {"host": "h2"}},
        "links": [["h1n0:right", "h2n0:left"]],
    }
    (tmp_path / "fabric.yaml").write_text(yaml.safe_dump(fabric))
    (tmp_path / "fabric.jsonl").write_text(json.dumps({"at": 0, "set": [{"endpoint": "h1n0:right", "mtu": 1300}]}))
    (script,) = re.findall(r"```console\n(.*?)```", DOCUMENT, re.DOTALL)
    done = subprocess.run(
        troupe.underlay.controller.command(
            "sh", "-exc", f"cd {tmp_path}\nPATH={Path(sys.executable).parent}:$PATH\n{script}"
        ),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    for host in troupe.hosts:
        host.kokofast("destroy", "--name", "fabric")
    assert done.returncode == 0, done.stderr
    (shown,) = re.findall(r"```text\n(.*?)```", DOCUMENT, re.DOTALL)
    planned, played = done.stdout.partition("fabric: planned, 2 hosts")[::2]
    assert "h1: planned, 1 link to create, 1 namespace to create\n" in planned
    assert without_numbers(played.partition("\n")[2]) == without_numbers(shown)


def without_numbers(text: str) -> str:
    return re.sub(
        r"changes?\b",
        "changes",
        re.sub(r"epochs?\b", "epochs", re.sub(r" [\d.]+ ", " N ", text.replace("behind", "ahead"))),
    )
