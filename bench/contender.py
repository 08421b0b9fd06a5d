"""What every contender implements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.links import Link
from bench.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent
UP, CHANGE, UNCHANGED, DESTROY = PHASES = ("up", "change", "unchanged", "destroy")
OURS, FLOOR = "kokofast", "floor"
# Existing namespaces and nothing but veth.
VETH = frozenset({"chain", "star", "bundle", "mesh", "docker", "single"})


class Contender:
    """A program to measure. It gives one command for each phase, and writes its files before the clock starts."""

    name: str
    scenarios: frozenset[str] = VETH
    phases: Sequence[str] = PHASES  # those it has a time of its own for
    queues: int | None = 1  # an end's queue pairs; None: it cannot choose
    remark: ClassVar[str] = ""  # what a reader of its figures must know
    makes_links: ClassVar[bool] = True
    # ms a link, up and destroyed, on the machine of bench/README.md: only to leave out what would take too long
    estimate: float = 0.0

    def missing(self) -> str | None:
        """Return what is missing on this machine and how to get it; None when nothing is."""
        return None

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        """Return the command that creates the links. Files go into the directory."""
        raise NotImplementedError

    def change(self, scenario: Scenario, directory: Path) -> list[str] | None:
        """Return the command that changes what the scenario changes; None when there is none."""
        return None

    def unchanged(self, scenario: Scenario, directory: Path) -> list[str] | None:
        """Return the command that finds the links there and changes nothing; None when there is none."""
        return None

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        """Return the command that deletes the links."""
        raise NotImplementedError

    def stages(self, phase: str, output: str) -> dict[str, float]:
        """Return the seconds of each stage by the contender's own account; empty without one.

        Args:
            phase: One of PHASES.
            output: What the command wrote to standard output.

        Raises:
            ValueError: By its own account the command did not do its part.
        """
        return {}

    def tidy(self, scenario: Scenario) -> None:
        """Remove what it leaves outside of the scenario's namespaces."""

    def too_slow(self, scenario: Scenario, patience: float, measured: float | None = None) -> str | None:
        """Explain why one run would take too long; None when it would not.

        Args:
            scenario: What to run.
            patience: The most that a run may take, in seconds.
            measured: Milliseconds a link in an earlier run; None: take the estimate.
        """
        seconds = (self.estimate if measured is None else measured) * scenario.size / 1000
        if seconds > patience:
            return f"left out: one run would take about {seconds:.0f} s (--patience {patience:g})"
        return None


def write(file: Path, lines: list[str]) -> str:
    """Write lines to a file, and return its path."""
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def plain(links: list[Link]) -> list[str]:
    """Return lines ``NAMESPACE INTERFACE ADDRESS`` of both ends, a veth link a line, for small programs."""
    lines = []
    for a, b, *_ in links:
        assert b is not None
        lines.append(f"{a.namespace} {a.interface} {a.address}/31 {b.namespace} {b.interface} {b.address}/31")
    return lines
