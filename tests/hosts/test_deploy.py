"""A lab on three hosts, by the command line: wired, changed, destroyed; and what three failures leave."""

from __future__ import annotations

import copy
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
from bench.host_failures import stranger
from bench.underlay import Host, Underlay
from kokofast import __version__
from kokofast.cli.result_schema import schema_of_hosts
from tests import ROOT
from tests.hosts.ansible import environment, says_unreachable

LAB = "three"
NODES = 6  # of each host, in a chain; the last of a host is linked to the first of the next one
CONFIRM_WITHIN = 60.0  # seconds: a deployment takes less, on a busy machine, too
SOON = 8.0  # where a host is to take all back by itself
SLOWLY = 'case "$*" in *--confirm-within*) sleep 2;; esac'
PATIENCE = 60.0
until = partial(tests.kernel.conftest.until, what="the hosts", patience=PATIENCE, pause=0.1)


def name(host: str, number: int) -> str:
    return f"{host}n{number}"


@pytest.fixture(scope="module")
def topology(underlay: Underlay) -> dict[str, Any]:
    """A ring of chains, one for each host."""
    hosts = list(underlay.hosts)
    links: list[dict[str, Any]] = []
    for index, host in enumerate(hosts):
        after = hosts[(index + 1) % len(hosts)]
        chain = [name(host, number) for number in range(NODES)] + [name(after, 0)]
        for number, (left, right) in enumerate(itertools.pairwise(chain)):
            network = f"10.{index}.{number}"
            links.append({"endpoints": [f"{left}:right:{network}.1/24", f"{right}:left:{network}.2/24"]})
    nodes = {
        name(host, number): {"netns": name(host, number), "host": host} for host in hosts for number in range(NODES)
    }
    return {
        "name": LAB,
        "hosts": underlay.declared(),
        "defaults": {"create": True},
        "nodes": nodes,
        "links": links,
    }


class Controller:
    """The controller, and what it runs."""

    def __init__(self, underlay: Underlay, folder: Path) -> None:
        self.underlay = underlay
        self._folder = folder

    def start(self, action: str, topology: dict[str, Any], *options: str) -> subprocess.Popen[str]:
        file = self._folder / "three.json"
        file.write_text(json.dumps(topology))
        command = [sys.executable, "-m", "kokofast", "hosts", action, str(file), "--format=json", *options]
        return subprocess.Popen(
            self.underlay.controller.command(*command),
            env=environment(self._folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deploy(self, topology: dict[str, Any], *options: str) -> tuple[int, dict[str, Any], str]:
        """The exit code, the JSON object, and the messages."""
        return self.end(self.start("deploy", topology, f"--confirm-within={CONFIRM_WITHIN:g}", *options))

    def end(self, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
        out, messages = process.communicate(timeout=240)
        assert out, messages
        found = json.loads(out)
        jsonschema.validate(found, schema_of_hosts())
        return process.returncode, found, messages

    def destroy(self, topology: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        return self.end(self.start("destroy", topology))


@pytest.fixture
def controller(underlay: Underlay, tmp_path: Path) -> Iterator[Controller]:
    """The controller. After a test the hosts are as they were before."""
    before = states(underlay)
    yield Controller(underlay, tmp_path)
    for host in underlay.hosts.values():
        host.set_command()
        host.kokofast("destroy", "--name", LAB)
    assert states(underlay) == before


def states(underlay: Underlay) -> dict[str, str]:
    return {host.name: host.state() for host in underlay.hosts.values()}


def is_wired(host: Host) -> bool:
    """Whether all links of a host are up, as seen while its batch waits."""
    # The name of a namespace is there before the namespace: then ip fails.
    last = f"ip -n {name(host.name, NODES - 1)} link show right >/dev/null && echo wired || true"
    return host.run("sh", "-c", f"ls /run/netns | wc -l; {last}").split() == [str(NODES), "wired"]


def ping(host: Host, node: str, address: str) -> None:
    host.run("ip", "netns", "exec", node, "ping", "-c", "1", "-w", "20", address)


def test_a_lab_is_wired_changed_and_destroyed(controller: Controller, topology: dict[str, Any]) -> None:
    before = states(controller.underlay)
    code, found, messages = controller.deploy(topology)
    assert (code, found["status"], found["errors"]) == (0, "applied", []), messages
    assert {host: one["status"] for host, one in found["hosts"].items()} == dict.fromkeys(("h1", "h2", "h3"), "applied")
    # From the last node of a host to the first of the next one, over the underlay.
    for index, host in enumerate(controller.underlay.hosts.values()):
        ping(host, name(host.name, NODES - 1), f"10.{index}.{NODES - 1}.2")
    wired = states(controller.underlay)

    changed = copy.deepcopy(topology)
    changed["links"][NODES + 2]["mtu"] = 1300  # of h2, inside
    code, found, messages = controller.deploy(changed)
    assert (code, found["status"]) == (0, "applied"), messages
    assert {host: one["status"] for host, one in found["hosts"].items()} == {
        "h1": "unchanged",
        "h2": "applied",
        "h3": "unchanged",
    }
    assert found["hosts"]["h2"]["links"]["updated"] == 1
    now = states(controller.underlay)
    assert [host for host in now if now[host] != wired[host]] == ["h2"]
    assert now["h2"].replace("mtu 1300", "mtu 1500") == wired["h2"]

    code, found, messages = controller.destroy(topology)
    assert (code, found["status"]) == (0, "destroyed"), messages
    assert states(controller.underlay) == before


def test_with_a_host_that_cannot_be_reached_nothing_is_touched(
    controller: Controller, topology: dict[str, Any]
) -> None:
    before = states(controller.underlay)
    controller.underlay.hosts["h2"].cut_off()
    try:
        code, found, messages = controller.deploy(topology)
    finally:
        controller.underlay.hosts["h2"].listen()
    assert (code, found["status"]) == (1, "rolled_back"), messages
    assert found["hosts"]["h2"]["status"] == "unreachable"
    assert says_unreachable(messages, "h2", "10.99.0.2"), messages
    assert states(controller.underlay) == before


def test_with_a_host_that_refuses_nothing_is_touched(controller: Controller, topology: dict[str, Any]) -> None:
    host = controller.underlay.hosts["h2"]
    with stranger(host, name("h2", 3), "left"):
        before = states(controller.underlay)
        code, found, messages = controller.deploy(topology)
        assert (code, found["status"]) == (2, "invalid"), messages
        assert states(controller.underlay) == before
    (error,) = found["errors"]
    link = NODES + 2
    assert (error["host"], error["source"]) == ("h2", f"$.links[{link}]")
    assert error["message"].startswith("h2n2:right -- h2n3:left: ")
    assert (
        f"three.json:1:{error['position'].rpartition(':')[2]} $.links[{link}]: on h2: h2n2:right -- h2n3:" in messages
    )


def test_a_host_that_fails_while_it_is_wired_takes_back_all(controller: Controller, topology: dict[str, Any]) -> None:
    before = states(controller.underlay)
    host, node = controller.underlay.hosts["h2"], name("h2", 3)
    # Between the check and the run somebody takes a name.
    take = f"ip netns add {node} && ip -n {node} link add left type bridge"
    host.set_command(f'case "$*" in *--confirm-within*) {take};; esac')
    code, found, messages = controller.deploy(topology)
    host.run("ip", "netns", "delete", node)
    assert code != 0, messages
    assert {name: one["status"] for name, one in found["hosts"].items() if name != "h2"} == {
        "h1": "rolled_back",
        "h3": "rolled_back",
    }
    (error,) = found["errors"]
    assert (error["host"], error["source"]) == ("h2", f"$.links[{NODES + 2}]")
    assert states(controller.underlay) == before


def test_a_host_that_is_lost_in_the_midst_takes_back_all(controller: Controller, topology: dict[str, Any]) -> None:
    before = states(controller.underlay)
    lost, slow = controller.underlay.hosts["h2"], controller.underlay.hosts["h3"]
    slow.set_command(SLOWLY)
    process = controller.start("deploy", topology, f"--confirm-within={SOON:g}")
    until(lambda: is_wired(lost))
    lost.cut_off()
    code, found, messages = controller.end(process)
    assert (code, found["status"]) == (1, "rolled_back"), messages
    assert "h2" in [error["host"] for error in found["errors"]]  # on a busy machine the time of another is over, too
    assert f"taken back within {SOON:g} s, by the host itself" in messages
    now = states(controller.underlay)
    assert [now[host] == before[host] for host in ("h1", "h3")] == [True, True]
    until(lambda: lost.is_as(before["h2"]))
    lost.listen()
    slow.set_command()
    code, found, messages = controller.deploy(topology)
    assert (code, found["status"]) == (0, "applied"), messages


def test_a_signal_ends_a_deployment(controller: Controller, topology: dict[str, Any]) -> None:
    before = states(controller.underlay)
    slow = controller.underlay.hosts["h2"]
    slow.set_command('case "$*" in *--dry-run*) touch /run/asked; sleep 5;; esac')
    process = controller.start("deploy", topology)
    until(lambda: "asked" in slow.run("ls", "/run"))
    controller.underlay.controller.run("pkill", "-TERM", "--full", "kokofast hosts deploy")  # in its pid namespace
    code, found, messages = controller.end(process)
    assert (code, found["status"]) == (1, "rolled_back"), messages
    assert found["hosts"]["h2"]["status"] == "unasked"
    assert (
        "kokofast: interrupted by SIGTERM; a host on which something was made takes it back within 120 s; " in messages
    )
    assert states(controller.underlay) == before


def test_without_the_controller_each_host_takes_back_all(controller: Controller, topology: dict[str, Any]) -> None:
    before = states(controller.underlay)
    controller.underlay.hosts["h3"].set_command(SLOWLY)
    process = controller.start("deploy", topology, f"--confirm-within={SOON:g}")
    until(lambda: is_wired(controller.underlay.hosts["h1"]))
    # All processes of the controller but its first one.
    subprocess.run(controller.underlay.controller.command("sh", "-c", "kill -KILL -1"), check=False)
    process.communicate(timeout=60)
    until(lambda: all(host.is_as(before[host.name]) for host in controller.underlay.hosts.values()))
    controller.underlay.hosts["h3"].set_command()
    code, found, messages = controller.deploy(topology)
    assert (code, found["status"]) == (0, "applied"), messages


DOCUMENT = (ROOT / "docs" / "hosts.md").read_text("utf-8").partition("\n## Deploy\n")[2]
TIME = re.compile(r" in \d+\.\d\d s$", re.MULTILINE)


def test_the_commands_shown(controller: Controller, tmp_path: Path) -> None:
    hosts = list(controller.underlay.hosts)
    chain = [f"r{number}" for number in range(6)]
    links = [list(pair) for pair in itertools.pairwise([*chain, chain[0]])]
    nodes = {name: {"host": hosts[number // 2]} for number, name in enumerate(chain)}
    top = {"hosts": controller.underlay.declared(), "defaults": {"create": True}, "nodes": nodes}
    (tmp_path / "fabric.yaml").write_text(yaml.safe_dump({**top, "links": links}))
    script, collection = re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL)
    bin = Path(sys.executable).parent
    done = subprocess.run(
        controller.underlay.controller.command("sh", "-exc", f"cd {tmp_path}\nPATH={bin}:$PATH\n{script}"),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = re.split(r"^fabric: .*\n", done.stdout, flags=re.MULTILINE)
    planned, applied, unchanged, verified, destroyed = parts[:5]
    assert "h1: + veth r0:eth0--r1:eth0" in planned
    assert planned.endswith("h3: planned, 3 links to create, 2 namespaces to create\n")
    (shown,) = re.findall(r"```text\n(h1: applied.*?)```", DOCUMENT, re.DOTALL)
    assert TIME.sub("", shown) in TIME.sub("", done.stdout)
    assert applied in shown
    assert unchanged == "".join(f"{host}: unchanged, 3 links unchanged\n" for host in hosts)
    assert verified == "".join(f"{host}: 3 links: 3 ok\n" for host in hosts)
    assert destroyed == "".join(f"{host}: destroyed, 3 links removed, 2 namespaces removed\n" for host in hosts)
    script = f"cd {tmp_path}\nPATH={bin}:$PATH\n{collection}ls collection\n"
    done = subprocess.run(["sh", "-ec", script], env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"\nkokofast-lab-{__version__}.tar.gz\n")
