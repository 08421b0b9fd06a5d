"""A lab on many hosts: what each step of a deployment by Ansible takes, beside kokofast alone on one host.

The hosts are simulated on this machine, and share its processors. Each has a chain of namespaces; as many of its links
as INSIDE stay on it, BETWEEN more lead to the next host. No time counts before the end state was verified: the number
of links on each host, and a ping over links between hosts.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.links import WrongState
from bench.measure import ContenderFailed
from bench.report import Results, describe
from bench.runner import say
from bench.underlay import Host, Underlay

SIZES = (2, 5, 10)  # hosts
INSIDE, BETWEEN = 900, 100  # links of each host
STEPS = ("split", "start", "check", "wire", "wait", "keep")  # as hosts deploy tells them
PINGS = 3  # between each two hosts
LAB = "bench-hosts"
SECONDS = 3600.0


class Line(NamedTuple):
    """What one size took, in seconds. ``alone`` is ``kokofast batch`` with all links on one host, ``links`` of them."""

    hosts: int
    links: int
    between: int
    steps: dict[str, float]
    deploy: float
    again: float
    destroy: float
    alone: float
    load_before: float


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


def measure(results: Results, directory: Path, divide: int) -> Iterator[Line]:
    """Yield the line of each size; sizes are divided by divide."""
    for count in SIZES:
        inside, between = max(1, INSIDE // divide), max(1, BETWEEN // divide)
        try:
            yield _measure(count, inside, between, directory)
        except (ContenderFailed, WrongState) as error:
            results.fail(f"{count} hosts: {error}")


def _measure(count: int, inside: int, between: int, directory: Path) -> Line:
    load = Path("/proc/loadavg").read_text().split()[0]
    with Underlay(count) as underlay:
        whole = topology(list(underlay.hosts), inside, between)
        file = directory / "hosts.json"
        file.write_text(json.dumps({**whole, "hosts": underlay.declared()}))
        say(f"{count} hosts, {len(whole['links']):,} links")
        deployed, deploy = _hosts(underlay, "deploy", file)
        _verify(underlay, inside, between)
        _, again = _hosts(underlay, "deploy", file)
        _, destroy = _hosts(underlay, "destroy", file)
    for node in whole["nodes"].values():
        del node["host"]
    file.write_text(json.dumps({**whole, "nodes": {}}))
    with Underlay(1) as underlay:
        (host,) = underlay.hosts.values()
        began = time.perf_counter()
        _run(host.command(str(host.command_file), "batch", str(file), "--quiet"))
        alone = time.perf_counter() - began
    links, steps = len(whole["links"]), {step: deployed["seconds"].get(step, 0.0) for step in STEPS}
    return Line(count, links, between * count, steps, deploy, again, destroy, alone, float(load))


def _hosts(underlay: Underlay, action: str, file: Path) -> tuple[dict[str, Any], float]:
    """Return what a command printed, and how long it took."""
    kokofast = [sys.executable, "-m", "kokofast", "hosts", action, str(file), "--format=json"]
    began = time.perf_counter()
    out = _run(underlay.controller.command("env", f"ANSIBLE_HOME={underlay.folder}", *kokofast))
    return json.loads(out), time.perf_counter() - began


def _verify(underlay: Underlay, inside: int, between: int) -> None:
    """Raise WrongState unless all links are there and a sample of those between hosts carries."""
    for number, host in enumerate(underlay.hosts.values()):
        found = len(json.loads(host.kokofast("inspect", LAB, "--format=json")))
        if found != inside + 2 * between:
            raise WrongState(f"{found} links on {host.name}, not {inside + 2 * between}")
        for link in range(0, between, max(1, between // PINGS)):
            _ping(host, f"{host.name}n{link}", f"10.{number}.{link}.2")


def _ping(host: Host, namespace: str, address: str) -> None:
    try:
        host.run("ip", "netns", "exec", namespace, "ping", "-c", "1", "-w", "20", address)
    except AssertionError as error:
        raise WrongState(str(error)) from None


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise ContenderFailed(
            f"{shlex.join(command)}: exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def report(results: Results, lines: Sequence[Line]) -> str:
    """Return the report in Markdown."""
    return "\n".join([describe(results.machine), "", markdown(lines), "", *(f"- {one}" for one in results.notes)])


def markdown(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    table = [
        f"| hosts | links | between hosts | {' | '.join(STEPS)} | deploy | again | destroy | `batch` alone |",
        f"|{'--:|' * (len(STEPS) + 7)}",
    ]
    for one in lines:
        times = (*one.steps.values(), one.deploy, one.again, one.destroy, one.alone)
        cells = [f"{one.hosts}", f"{one.links:,}", f"{one.between:,}", *(f"{value:.1f} s" for value in times)]
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)
