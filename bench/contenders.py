"""Who competes. A contender gives, for either phase, ONE command; files it needs are written before the clock runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent
FLOOR_SOURCE = Path(__file__).with_name("floor.c")
UP_THREADS = 2
DESTROY_THREADS = 64
# Waiting, not work. 1,000 links, medians of 5 on a busy machine (spread up to threefold), 16 / 64 / 255 threads:
# 3.19 / 2.89 / 1.96 ms a link one by one, 1.43 / 1.14 / 0.72 by group. One by one stays at 64, what a tool can
# reasonably start; by group is to be the lowest we know.
DESTROY_THREADS_BY_GROUP = 255


class Contender(Protocol):
    @property
    def name(self) -> str: ...

    def absent(self, scenario: Scenario) -> str | None:
        """Why it does not take part, or None."""

    def up(self, scenario: Scenario, directory: Path) -> list[str]: ...
    def destroy(self, scenario: Scenario, directory: Path) -> list[str]: ...


@dataclass(frozen=True)
class Kokofast:
    name: str = "kokofast"

    def absent(self, scenario: Scenario) -> str | None:
        return None

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        links = [
            {"endpoints": [f"{end.namespace}:{end.interface}:{end.address}/31" for end in ends]}
            for ends in scenario.links()
        ]
        file = directory / f"{scenario.prefix}{scenario.name}.json"
        file.write_text(json.dumps({"links": links}))
        return [sys.executable, "-m", "kokofast", "batch", str(file), "--quiet"]

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        return [sys.executable, "-m", "kokofast", "destroy", str(directory / f"{scenario.prefix}{scenario.name}.json")]


@dataclass(frozen=True)
class Floor:
    """floor.c. With a group it destroys by group, in every second namespace; without, link by link."""

    binary: Path | None
    name: str = "floor"
    group: int = 0

    def absent(self, scenario: Scenario) -> str | None:
        if self.binary is None:
            return "no C compiler here, or it failed on floor.c"
        return None if scenario.name == "chain" else "floor.c knows the chain only"

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        return [str(self.binary), "up", scenario.prefix, str(scenario.size), str(UP_THREADS), str(self.group)]

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        threads = DESTROY_THREADS_BY_GROUP if self.group else DESTROY_THREADS
        return [str(self.binary), "destroy", scenario.prefix, str(scenario.size), str(threads), str(self.group)]


@dataclass(frozen=True)
class IpBatch:
    """One ``ip -batch`` makes all links in place, one ``ip -n NS -batch`` a namespace does the rest."""

    limit: int
    name: str = "ip-batch"

    def absent(self, scenario: Scenario) -> str | None:
        if shutil.which("ip") is None:
            return "no ip here"
        if scenario.size > self.limit:
            return f"left out above {self.limit} links (--ip-batch-max): it takes too long"
        return None

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        made: list[str] = []
        inside: dict[str, list[str]] = {}
        queues = "numtxqueues 1 numrxqueues 1"
        for a, b in scenario.links():
            made.append(
                f"link add {a.interface} netns {a.namespace} {queues} type veth "
                f"peer name {b.interface} netns {b.namespace} {queues}"
            )
            for end in (a, b):
                inside.setdefault(end.namespace, []).extend(
                    [f"link set {end.interface} up", f"address add {end.address}/31 dev {end.interface}"]
                )
        script = [f"ip -batch {_write(directory / 'links', made)}"]
        script += [f"ip -n {name} -batch {_write(directory / name, lines)}" for name, lines in inside.items()]
        return ["/bin/sh", "-e", _write(directory / "up.sh", script)]

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        script = [f"ip -n {a.namespace} link delete {a.interface}" for a, _ in scenario.links()]
        return ["/bin/sh", "-e", _write(directory / "destroy.sh", script)]


def _write(file: Path, lines: list[str]) -> str:
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def compile_floor(directory: Path) -> Path | None:
    """The compiled floor.c, None when this machine cannot compile it."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    binary = directory / "floor"
    done = subprocess.run([compiler, "-O2", "-pthread", "-o", str(binary), str(FLOOR_SOURCE)], check=False)
    return binary if done.returncode == 0 else None
