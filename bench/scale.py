"""What a topology of tens of thousands of links takes, with its namespaces, and what a low limit on open files adds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contender import DESTROY, FLOOR, OURS, UNCHANGED, UP
from bench.contenders import FEW_FILES
from bench.figures import HUGE
from bench.report import Results, mib, rows, seconds
from bench.runner import Block

PHASES = (UP, UNCHANGED, DESTROY)
LIMITED = f"{OURS}-{FEW_FILES}"

BLOCKS = (
    Block("chain-create", 10_000, {FLOOR: (UP, DESTROY), OURS: PHASES, LIMITED: PHASES}),
    Block("star-create", 10_000, {OURS: PHASES}),
    Block("chain-star-create", 20_000, {OURS: PHASES, LIMITED: PHASES}),
)

HUGE_BLOCKS = tuple(Block(name, HUGE, {OURS: PHASES}) for name in ("chain-create", "mesh"))


class Line(NamedTuple):
    """All phases of one contender, in seconds; None: not measured. ``open_files`` is the limit."""

    scenario: str
    links: int
    contender: str
    open_files: int  # the limit
    up: float | None  # seconds; None: not measured
    unchanged: float | None
    destroy: float | None
    peak_kib: int  # the highest of the phases
    peak_is_bound: bool


def lines(results: Results) -> Iterator[Line]:
    """Yield all phases of each scenario, size and contender, in the order in which they were measured."""
    table = {(row.scenario, row.links, row.phase, row.contender): row for row in rows(results)}
    for scenario, links, contender in dict.fromkeys((a, b, d) for a, b, _, d in results.measurements):
        phases = {phase: row for phase in PHASES if (row := table.get((scenario, links, phase, contender)))}
        open_files = FEW_FILES if contender == LIMITED else results.machine["open_files"]
        up, unchanged, destroy = (phases[one].median if one in phases else None for one in PHASES)
        highest = max(phases.values(), key=lambda row: row.peak_kib)
        peak = highest.peak_kib, highest.peak_is_bound
        yield Line(scenario, links, contender, open_files, up, unchanged, destroy, *peak)


def markdown(found: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    table = [
        "| links | scenario | contender | open files | batch | batch again | destroy | peak memory |",
        "|--:|---|---|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        times = [f"{seconds(phase)} s" if phase is not None else "-" for phase in (one.up, one.unchanged, one.destroy)]
        peak = f"{mib(one.peak_kib, one.peak_is_bound)} MiB"
        cells = [f"{one.links:,}", one.scenario, one.contender, f"{one.open_files:,}", *times, peak]
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)
