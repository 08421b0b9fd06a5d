"""A lab on simulated hosts, as the benchmark of many hosts makes, changes and looks at it."""

from __future__ import annotations

import copy
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.links import WrongState
from bench.measure import ContenderFailed
from bench.underlay import Host, Underlay

LAB = "bench-hosts"
PINGS = 3  # between each two hosts
SECONDS = 3600.0  # for a command
OTHER_MTU = 1400


class Ran(NamedTuple):
    """How a command ended: its exit code, what it printed as JSON, its messages, and the seconds that it took."""

    code: int
    found: dict[str, Any]
    messages: str
    seconds: float


def topology(hosts: Sequence[str], inside: int, between: int) -> dict[str, Any]:
    """Return the lab without what says where the hosts are."""
    links = []
    for number, host in enumerate(hosts):
        links += [[f"{host}n{link}:right", f"{host}n{link + 1}:left"] for link in range(inside)]
        after = hosts[(number + 1) % len(hosts)]
        for link in range(between):
            network = f"10.{number}.{link}"
            links.append([f"{host}n{link}:east:{network}.1/30", f"{after}n{link}:west:{network}.2/30"])
    nodes = {f"{host}n{link}": {"host": host} for host in hosts for link in range(inside + 1)}
    return {"name": LAB, "defaults": {"create": True}, "nodes": nodes, "links": links}


def with_one_change(whole: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a lab of which one link has another MTU."""
    changed = copy.deepcopy(dict(whole))
    changed["links"][number] = {"endpoints": changed["links"][number], "mtu": OTHER_MTU}
    return changed


class HostLab:
    """A lab on the hosts of an underlay: INSIDE links of each stay on it, BETWEEN more lead to the next one."""

    def __init__(self, underlay: Underlay, directory: Path, inside: int, between: int) -> None:
        self.hosts = underlay.hosts
        self.inside = inside
        self.between = between
        self.whole = {**topology(list(self.hosts), inside, between), "hosts": underlay.declared()}
        self._underlay = underlay
        self._file = directory / "hosts.json"

    @property
    def host_in_the_middle(self) -> Host:
        """The host that is changed, or that fails."""
        return list(self.hosts.values())[len(self.hosts) // 2]

    @property
    def link_in_the_middle(self) -> int:
        """The number of a link inside that host; it is the first one of its node n{inside // 2}."""
        return len(self.hosts) // 2 * (self.inside + self.between) + self.inside // 2

    def start(self, action: str, *options: str, whole: Mapping[str, Any] | None = None) -> Running:
        """Start `kokofast hosts` with this lab, or another one."""
        self._file.write_text(json.dumps(self.whole if whole is None else whole))
        kokofast = [sys.executable, "-m", "kokofast", "hosts", action, str(self._file), "--format=json", *options]
        folder = self._underlay.folder
        return Running(self._underlay.controller.command("env", f"ANSIBLE_HOME={folder}", *kokofast))

    def run(self, action: str, whole: Mapping[str, Any] | None = None) -> Ran:
        """Run `kokofast hosts`. Raises ContenderFailed unless it succeeds."""
        running = self.start(action, whole=whole)
        ran = running.end()
        if ran.code != 0:
            failed = ran.found.get("links", [])[:2]  # of verify
            raise ContenderFailed(f"{running}: exit {ran.code}: {ran.messages[-2000:]}{failed or ''}")
        return ran

    def pictures(self, *, but: Host | None = None) -> dict[str, str]:
        """Return all interfaces, addresses and named namespaces of each host but one, which may be changing."""
        return {name: host.state() for name, host in self.hosts.items() if host is not but}

    def verify(self) -> None:
        """Raise WrongState unless all links are there and a sample of those between hosts carries."""
        for number, host in enumerate(self.hosts.values()):
            found, wanted = len(json.loads(host.kokofast("inspect", LAB, "--format=json"))), self.inside
            wanted += 2 * self.between
            if found != wanted:
                raise WrongState(f"{found} links on {host.name}, not {wanted}")
            for link in range(0, self.between, max(1, self.between // PINGS)):
                ping(host, f"{host.name}n{link}", f"10.{number}.{link}.2")


class Running:
    """A command that runs."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._began = time.perf_counter()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __str__(self) -> str:
        return shlex.join(self._command)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def end(self) -> Ran:
        """Wait for its end. Raises ContenderFailed if it has printed no result."""
        out, messages = self._process.communicate(timeout=SECONDS)
        seconds = time.perf_counter() - self._began
        try:
            found = json.loads(out)
        except ValueError:
            raise ContenderFailed(f"{self}: exit {self._process.returncode}: {out[-2000:]}{messages[-2000:]}") from None
        return Ran(self._process.returncode, found, messages, seconds)


def ping(host: Host, namespace: str, address: str) -> None:
    """Send a packet. Raises WrongState when no answer comes."""
    try:
        host.run("ip", "netns", "exec", namespace, "ping", "-c", "1", "-w", "20", address)
    except AssertionError as error:
        raise WrongState(str(error)) from None


def check_same(before: Mapping[str, str], after: Mapping[str, str], when: str) -> None:
    """Raise WrongState unless all hosts look as before."""
    for host, picture in before.items():
        if after[host] != picture:
            raise WrongState(f"{when}: {host} is not as before: {'; '.join(differences(picture, after[host])[:4])}")


def differences(before: str, after: str) -> list[str]:
    """Return the lines that only one of two pictures has, and the namespace of each."""
    one, other = located(before), located(after)
    found = [("-", line) for line in sorted(one - other)] + [("+", line) for line in sorted(other - one)]
    return [f"{sign} {' '.join(line)}" for sign, line in found]


def located(picture: str) -> set[tuple[str, str]]:
    """Return the lines of a picture with their namespaces."""
    lines, namespace = set(), ""
    for line in picture.splitlines():
        if line.startswith("-- "):
            namespace = line
        lines.add((namespace, line))
    return lines


def check_change(
    link: str, host: str, ran: Mapping[str, Any], before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """Raise WrongState unless one link of one host has another MTU, and nothing else has changed.

    Args:
        link: Its title.
        host: The host of the link.
        ran: What the deployment printed.
        before: The picture of each host.
        after: The same, after the change.
    """
    for name, one in ran["hosts"].items():
        wanted = ("applied", 1) if name == host else ("unchanged", 0)
        links = one.get("links", {})
        touched = sum(links.get(key, 0) for key in ("created", "updated", "removed", "replaced", "failed"))
        if (one["status"], links.get("updated", 0)) != wanted or touched != wanted[1]:
            raise WrongState(f"the change of {link} on {host}: {name} is {one['status']}: {links}")
    check_same({**before, host: ""}, {**after, host: ""}, f"the change of {link} on {host}")
    found = differences(before[host], after[host])
    gone = [line[2:] for line in found if line.startswith("-")]
    new = [line[2:] for line in found if line.startswith("+")]
    if len(gone) != 2 or sorted(new) != sorted(line.replace("mtu 1500", f"mtu {OTHER_MTU}") for line in gone):
        raise WrongState(f"the change of {link} on {host} has changed: {'; '.join(found[:6])}")
