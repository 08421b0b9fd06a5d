"""koko, a process a link: what kokofast takes the place of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench.contender import Contender, write
from bench.links import End
from bench.peers.golang import GOPATH, build
from bench.scenario import Containers, Scenario

PACKAGE = "github.com/redhat-nfvpe/koko"
# koko has Docker's client under the name of its repository, Debian under that of its package.
DOCKER, DOCKER_OF_DEBIAN = "github.com/moby/moby", "github.com/docker/docker"


class Koko(Contender):
    """koko, a process for each link.

    Args:
        at_once: How many processes run at a time.
        binary: The compiled program; None: the one in the PATH.
    """

    queues = None
    remark = "cannot choose the number of queues: the kernel's default"

    def __init__(self, at_once: int, binary: Path | None = None) -> None:
        self.at_once = at_once
        self.program = str(binary or "koko")
        self.name = "koko" if at_once == 1 else f"koko-{at_once}"
        self.estimate = 79.0 if at_once == 1 else 53.0
        if at_once > 1:
            self.scenarios = Contender.scenarios - {"single"}

    def missing(self) -> str | None:
        if shutil.which(self.program):
            return None
        return "no koko in the PATH, and its sources are not in the GOPATH (bench/README.md says how to get them)"

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        lines = []
        for link in scenario.links():
            ends = [f"-{kind(scenario)} {name(end)},{end.address}/31" for end in link.ends]
            lines.append(" ".join(ends))
        return self._run(scenario, directory / "koko.up", lines)

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        lines = [f"-{kind(scenario).upper()} {name(link.a)}" for link in scenario.links()]
        return self._run(scenario, directory / "koko.destroy", lines)

    def _run(self, scenario: Scenario, file: Path, lines: list[str]) -> list[str]:
        host = []
        if isinstance(scenario, Containers):
            host = [f"DOCKER_HOST=unix://{scenario.socket}"]
        if len(lines) == 1:
            return ["env", *host, self.program, *lines[0].split()]
        return ["env", *host, "xargs", f"-P{self.at_once}", "-L1", "-a", write(file, lines), self.program]

    @staticmethod
    def compile(directory: Path) -> Path | None:
        """Compile koko from the sources in the GOPATH into the directory; None when this machine cannot.

        It fetches nothing.
        """
        gopath = [*map(Path, (os.environ.get("GOPATH") or str(Path.home() / "go")).split(os.pathsep)), GOPATH]
        source = next((path for one in gopath if (path := one / "src" / PACKAGE).is_dir()), None)
        if source is None:
            return None
        ours = directory / "gopath"
        copy = ours / "src" / PACKAGE
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".git", "*_test.go"))
        for file in copy.rglob("*.go"):
            file.write_text(file.read_text().replace(f'"{DOCKER}/', f'"{DOCKER_OF_DEBIAN}/'))
        return build(PACKAGE, directory / "koko", [ours, *gopath])


def kind(scenario: Scenario) -> str:
    """Return koko's letter for the nodes of a scenario."""
    return "d" if isinstance(scenario, Containers) else "n"


def name(end: End) -> str:
    """Return an end as koko wants it."""
    return f"{end.namespace},{end.interface}"
