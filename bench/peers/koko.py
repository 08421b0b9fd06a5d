"""koko, a process a link: what kokofast takes the place of."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.contender import Contender, write
from bench.links import End
from bench.scenario import Containers, Scenario


class Koko(Contender):
    """koko, a process for each link.

    Args:
        at_once: How many processes run at a time.
    """

    queues = None
    remark = "cannot choose the number of queues: the kernel's default"

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.name = "koko" if at_once == 1 else f"koko-{at_once}"
        self.estimate = 79.0 if at_once == 1 else 53.0
        if at_once > 1:
            self.scenarios = Contender.scenarios - {"single"}

    def missing(self) -> str | None:
        return None if shutil.which("koko") else "no koko in the PATH (go install github.com/redhat-nfvpe/koko@latest)"

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
            return ["env", *host, "koko", *lines[0].split()]
        return ["env", *host, "xargs", f"-P{self.at_once}", "-L1", "-a", write(file, lines), "koko"]


def kind(scenario: Scenario) -> str:
    """Return koko's letter for the nodes of a scenario."""
    return "d" if isinstance(scenario, Containers) else "n"


def name(end: End) -> str:
    """Return an end as koko wants it."""
    return f"{end.namespace},{end.interface}"
