"""The contenders: kokofast, the floor, an interpreter that does nothing; the peers have modules of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from bench.contender import CHANGE, DESTROY, FLOOR, OURS, UNCHANGED, UP, VETH, Contender
from bench.peers.golang import Go
from bench.peers.iproute2 import Ip, IpBatch
from bench.peers.koko import Koko
from bench.peers.pyroute import Pyroute2
from bench.scenario import SCENARIOS, Containers, Scenario

FLOOR_SOURCE = Path(__file__).with_name("floor.c")
GROUP = 0x4B42  # any that the machine's own interfaces do not have; only the benchmark's namespaces are asked
UP_THREADS = 2
DESTROY_THREADS = 64
# Waiting, not work. 1,000 links, medians of 5 on a busy machine (spread up to threefold), 16 / 64 / 255 threads:
# 3.19 / 2.89 / 1.96 ms a link one by one, 1.43 / 1.14 / 0.72 by group. One by one stays at 64, what a tool can
# reasonably start; by group is to be the lowest we know.
DESTROY_THREADS_BY_GROUP = 255
# Each waits for an RCU grace period, and many wait for the same one: floor.c has the times.
UNMOUNT_THREADS = 16
# What users start; python -m imports runpy, which costs a tenth of a single link.
INSTALLED = Path(sys.executable).with_name("kokofast")
FEW_FILES = 1_024  # what an ordinary user may have open; two a namespace in use are wanted


class Kokofast(Contender):
    """kokofast itself, as a whole process.

    Args:
        open_files: The limit on open files; None: that of the machine.
    """

    name = OURS
    scenarios = frozenset(SCENARIOS)
    expected: ClassVar[dict[str, str]] = {
        **{UP: "applied", CHANGE: "applied", UNCHANGED: "unchanged", DESTROY: "destroyed"}
    }

    def __init__(self, open_files: int | None = None) -> None:
        """open_files: the limit on them; None: the machine's, which it raises its own to."""
        self.command = [str(INSTALLED)]
        if open_files:
            self.name = f"{self.name}-{open_files}"
            self.command = ["prlimit", f"--nofile={open_files}:{open_files}", *self.command]

    def missing(self) -> str | None:
        if not shutil.which(self.command[0]):
            return "no prlimit here (apt-get install util-linux)"
        return None if INSTALLED.exists() else "not installed beside this Python (pip install -e .)"

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        if scenario.name == "single":
            a, b = scenario.link(0).ends
            return [*self.command, *(word for end in (a, b) for word in ("-n", f"{_name(end)},{end.address}/31"))]
        file = self._file(scenario, directory)
        file.write_text(json.dumps(topology(scenario)))
        return self._again(scenario, file)

    def change(self, scenario: Scenario, directory: Path) -> list[str] | None:
        if not scenario.changes:
            return None
        file = self._file(scenario, directory)
        file.write_text(json.dumps(topology(scenario, changed=True)))
        return self._again(scenario, file)

    def unchanged(self, scenario: Scenario, directory: Path) -> list[str] | None:
        return None if scenario.name == "single" else self._again(scenario, self._file(scenario, directory))

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        if scenario.name == "single":
            return [*self.command, "-N", _name(scenario.link(0).a)]
        return [*self.command, "destroy", str(self._file(scenario, directory)), "--format", "json"]

    def stages(self, phase: str, output: str) -> dict[str, float]:
        if not output:
            return {}  # by koko's flags
        result = json.loads(output)
        if result["status"] != self.expected[phase]:
            raise ValueError(f"says {result['status']}, should say {self.expected[phase]}")
        return {stage: seconds for stage, seconds in result["seconds"].items() if stage != "total"}

    def tidy(self, scenario: Scenario) -> None:
        remove_locks(scenario.prefix)

    def _again(self, scenario: Scenario, file: Path) -> list[str]:
        create = ["--create"] if scenario.creates else []
        return [*self.command, "batch", str(file), "--format", "json", *create]

    def _file(self, scenario: Scenario, directory: Path) -> Path:
        return directory / f"{scenario.prefix}{scenario.name}.json"


def _name(end: Any) -> str:
    return f"{end.namespace},{end.interface}"


def remove_locks(prefix: str) -> None:
    """Remove the locks of labs with this prefix.

    kokofast leaves them where to remove one would be a race. Here nobody will use them.
    """
    for file in Path("/run/kokofast").glob(f"{prefix}*.lock"):
        file.unlink(missing_ok=True)


def topology(scenario: Scenario, *, changed: bool = False) -> dict[str, Any]:
    """Return the scenario as a topology file of kokofast, before or after its change."""
    links: list[dict[str, Any]] = []
    for link in scenario.links():
        ends: list[Any] = [f"{end.namespace}:{end.interface}:{end.address}/{end.prefixlen}" for end in link.ends]
        if link.mirror:
            ends[0] = {
                "node": link.a.namespace,
                "interface": link.a.interface,
                "addresses": [f"{link.a.address}/31"],
                "mirror": {"from": "lo", "direction": "both"},
            }
        if link.more is not None:
            links.append({"type": "bridge", "endpoints": ends})
        elif link.tunnel is None:
            links.append({"endpoints": ends})
        else:
            parent = f"{link.tunnel.namespace}:up0"
            links.append(
                {"type": "vxlan", "endpoint": ends[0], "parent": parent}
                | {"remote": link.tunnel.remote, "vni": link.tunnel.vni}
            )
    if isinstance(scenario, Containers):
        nodes = {name: {"docker": name, "socket": str(scenario.socket)} for name in scenario.namespaces()}
        return {"nodes": nodes, "links": links}
    return {**scenario.settings(changed), "links": links}


class Floor(Contender):
    """floor.c: the cheapest known requests. With a group it destroys by group, else link by link.

    Args:
        binary: The compiled floor.c; None: it could not be compiled.
        group: The interface group; 0: none.
        threads: How many create links.
        name: Another name, to compare it with itself.
    """

    scenarios = VETH | {"chain-create", "vxlan", "mirror"}

    def __init__(self, binary: Path | None, group: int = 0, threads: int = UP_THREADS, name: str = "") -> None:
        self.binary = binary
        self.name = name or (f"{FLOOR}-group" if group else FLOOR)
        self.group = group
        if group:  # otherwise it does as the other one
            self.phases = (DESTROY,)
            self.scenarios = Floor.scenarios - {"chain-create", "single"}
        self.threads = threads

    def missing(self) -> str | None:
        return (
            "no C compiler here (apt-get install gcc libc6-dev), or it failed on floor.c" if not self.binary else None
        )

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        return self._command("create" if scenario.creates else "up", scenario, self.threads)

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        if scenario.creates:
            return self._command("unmount", scenario, UNMOUNT_THREADS)
        return self._command("destroy", scenario, DESTROY_THREADS_BY_GROUP if self.group else DESTROY_THREADS)

    def _command(self, action: str, scenario: Scenario, threads: int) -> list[str]:
        shape = {"chain-create": "chain", "single": "chain", "docker": "mesh"}.get(scenario.name, scenario.name)
        nodes = getattr(scenario, "nodes", 2)
        return [str(self.binary), action, shape, scenario.prefix, str(scenario.size)] + [
            str(number) for number in (min(threads, scenario.size), self.group, nodes)
        ]


class PythonPass(Contender):
    """The interpreter's own start and end: no program in Python can be faster."""

    name = "python-pass"
    scenarios = frozenset({"single"})
    remark = "`python -c pass` of the same interpreter, makes nothing"
    makes_links: ClassVar[bool] = False

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        return [sys.executable, "-c", "pass"]

    destroy = up


def contenders(floor: Path | None = None, go: Path | None = None, koko: Path | None = None) -> dict[str, Contender]:
    """Return all contenders by name, present on this machine or not.

    Args:
        floor: The compiled floor.c.
        go: The compiled links.go.
        koko: The compiled koko; None: the one in the PATH.
    """
    every: list[Contender] = [
        Floor(floor),
        Floor(floor, group=GROUP),
        Kokofast(),
        Kokofast(FEW_FILES),
        Go(go, 1),
        Go(go, 8),
        Pyroute2(),
        IpBatch(),
        Ip(),
        Koko(1, koko),
        Koko(8, koko),
        PythonPass(),
    ]
    return {one.name: one for one in every}


def compile_floor(directory: Path) -> Path | None:
    """Compile floor.c into the directory; None when this machine cannot."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    binary = directory / "floor"
    done = subprocess.run([compiler, "-O2", "-pthread", "-o", str(binary), str(FLOOR_SOURCE)], check=False)
    return binary if done.returncode == 0 else None
