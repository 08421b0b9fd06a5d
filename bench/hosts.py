"""A lab on many hosts: what each step of a deployment by Ansible takes, beside kokofast alone on one host.

The hosts are simulated on this machine, and share its processors. Each has a chain of namespaces; as many of its links
as INSIDE stay on it, BETWEEN more lead to the next host. No time counts before the end state was verified: the number
of links on each host, a ping over links between hosts, and `hosts verify` of all links; that a change of one link
changes nothing else on any host; and that nothing is left in the end. With the most hosts three failures of one host
follow.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.host_failures import failures
from bench.host_lab import SECONDS, HostLab, check_change, check_same, with_one_change
from bench.links import WrongState
from bench.measure import ContenderFailed
from bench.report import Results, describe
from bench.runner import say
from bench.underlay import Underlay

SIZES = (2, 5, 10)  # hosts
INSIDE, BETWEEN = 900, 100  # links of each host
STEPS = ("split", "start", "check", "wire", "wait", "keep")  # as hosts deploy tells them
AFTER = ("again", "change", "verify", "destroy")


class Line(NamedTuple):
    """What one size took, in seconds. ``alone`` is ``kokofast batch`` with all links on one host, ``links`` of them."""

    hosts: int
    links: int
    between: int
    steps: dict[str, float]
    deploy: float
    after: dict[str, float]
    alone: float
    load_before: float


def measure(results: Results, directory: Path, divide: int) -> Iterator[Line]:
    """Yield the line of each size; sizes are divided by divide."""
    for count in SIZES:
        inside, between = max(1, INSIDE // divide), max(1, BETWEEN // divide)
        try:
            yield _measure(count, inside, between, directory, results)
        except (ContenderFailed, WrongState) as error:
            results.fail(f"{count} hosts: {error}")


def _measure(count: int, inside: int, between: int, directory: Path, results: Results) -> Line:
    load = Path("/proc/loadavg").read_text().split()[0]
    with Underlay(count) as underlay:
        lab = HostLab(underlay, directory, inside, between)
        links = len(lab.whole["links"])
        say(f"{count} hosts, {links:,} links")
        before = lab.pictures()
        deployed = lab.run("deploy")
        lab.verify()
        verify = lab.run("verify").seconds
        again = lab.run("deploy").seconds
        change = _change(lab)
        destroy = lab.run("destroy").seconds
        check_same(before, lab.pictures(), "destroy leaves something")
        if count == SIZES[-1]:
            for one in failures(lab):
                results.note(f"{count} hosts, {links:,} links: {one}")
    alone = _alone(lab.whole, directory)
    steps = {step: deployed.found["seconds"].get(step, 0.0) for step in STEPS}
    after = dict(zip(AFTER, (again, change, verify, destroy), strict=True))
    return Line(count, links, between * count, steps, deployed.seconds, after, alone, float(load))


def _change(lab: HostLab) -> float:
    """Return how long it takes to change one link of a host. Raises WrongState if anything else has changed."""
    number, before = lab.link_in_the_middle, lab.pictures()
    ran = lab.run("deploy", with_one_change(lab.whole, number))
    title = " -- ".join(lab.whole["links"][number])
    check_change(title, lab.host_in_the_middle.name, ran.found, before, lab.pictures())
    return ran.seconds


def _alone(whole: dict[str, Any], directory: Path) -> float:
    """Return how long kokofast alone takes for all links on one host."""
    file = directory / "alone.json"
    file.write_text(json.dumps({key: value for key, value in whole.items() if key not in ("hosts", "nodes")}))
    with Underlay(1) as underlay:
        (host,) = underlay.hosts.values()
        began = time.perf_counter()
        _run(host.command(str(host.command_file), "batch", str(file), "--quiet"))
        return time.perf_counter() - began


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise ContenderFailed(
            f"{shlex.join(command)}: exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


def report(results: Results, lines: Sequence[Line]) -> str:
    """Return the report in Markdown."""
    return "\n".join([describe(results.machine), "", markdown(lines), "", *(f"- {one}" for one in results.notes)])


def markdown(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    table = [
        f"| hosts | links | between hosts | {' | '.join((*STEPS, 'deploy', *AFTER))} | `batch` alone |",
        f"|{'--:|' * (len(STEPS) + len(AFTER) + 5)}",
    ]
    for one in lines:
        times = (*one.steps.values(), one.deploy, *one.after.values(), one.alone)
        cells = [f"{one.hosts}", f"{one.links:,}", f"{one.between:,}", *(f"{value:.1f} s" for value in times)]
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)
