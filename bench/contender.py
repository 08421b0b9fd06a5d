"""What every contender tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.links import Link
from bench.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent
UP, UNCHANGED, DESTROY = PHASES = ("up", "unchanged", "destroy")
OURS, FLOOR = "kokofast", "floor"
# Existing namespaces and nothing but veth.
VETH = frozenset({"chain", "star", "bundle", "mesh", "docker", "single"})


class Contender:
    """Gives ONE command for a phase; files it needs are written before the clock runs."""

    name: str
    scenarios: frozenset[str] = VETH
    phases: Sequence[str] = PHASES  # those it has a time of its own for
    queues: int | None = 1  # an end's queue pairs; None: it cannot choose
    remark: ClassVar[str] = ""  # what a reader of its figures must know
    makes_links: ClassVar[bool] = True
    # ms a link, up and destroyed, on the machine of bench/README.md: only to leave out what would take too long
    estimate: float = 0.0

    def missing(self) -> str | None:
        """What is missing on this machine and how to get it, or None."""
        return None

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        raise NotImplementedError

    def unchanged(self, scenario: Scenario, directory: Path) -> list[str] | None:
        """The same again, with nothing to do; None: it cannot."""
        return None

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        raise NotImplementedError

    def stages(self, phase: str, output: str) -> dict[str, float]:
        """Seconds of each stage by its own account, when it gives one. ValueError: it did not do its part."""
        return {}

    def tidy(self, scenario: Scenario) -> None:
        """Removes what it leaves outside of the scenario's namespaces."""

    def too_slow(self, scenario: Scenario, patience: float, measured: float | None = None) -> str | None:
        """Why it would take longer than patience, in seconds, or None. measured: ms a link in a run before."""
        seconds = (self.estimate if measured is None else measured) * scenario.size / 1000
        if seconds > patience:
            return f"left out: one run would take about {seconds:.0f} s (--patience {patience:g})"
        return None


def write(file: Path, lines: list[str]) -> str:
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def plain(links: list[Link]) -> list[str]:
    """For small programs: ``NAMESPACE INTERFACE ADDRESS`` of both ends, a veth link a line."""
    lines = []
    for a, b, *_ in links:
        assert b is not None
        lines.append(f"{a.namespace} {a.interface} {a.address}/31 {b.namespace} {b.interface} {b.address}/31")
    return lines
