"""The figures that kokofast is held to: what must be measured for them, and each against its limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contender import DESTROY, FLOOR, OURS, UNCHANGED, UP
from bench.report import Results, exponent
from bench.runner import Block

GROWTH = (1_000, 2_000, 5_000, 10_000)
SINGLE_RUNS = 3  # times the runs of the others: it is short

BY_GROUP, GO, NOTHING = f"{FLOOR}-group", "go-8", "python-pass"
_BOTH, _UP = (UP, DESTROY), (UP,)

BLOCKS = (
    Block("single", 1, {NOTHING: _UP, OURS: _UP, FLOOR: _UP}, SINGLE_RUNS),
    Block("chain", 200, {FLOOR: _UP, OURS: _UP, GO: _UP}),
    Block("chain", 1_000, {FLOOR: _UP, OURS: _UP}),
    Block("chain", 2_000, {FLOOR: _BOTH, OURS: _BOTH, GO: _UP}),
    Block("chain", 5_000, {FLOOR: _UP, OURS: _UP}),
    Block("chain", 10_000, {FLOOR: _UP, OURS: (UP, UNCHANGED)}),
    Block("chain-create", 2_000, {FLOOR: _BOTH, OURS: _BOTH}),
    Block("star", 2_000, {FLOOR: _BOTH, BY_GROUP: _BOTH, OURS: _BOTH}),
)


class Figure(NamedTuple):
    """A number that kokofast is held to.

    Args:
        text: What it measures.
        limit: The most that it may be.
        measured: None: not measured.
        unit: "" for a ratio.
        detail: What the number was made of.
    """

    text: str
    limit: float
    measured: float | None
    unit: str  # "" for a ratio
    detail: str

    @property
    def met(self) -> bool:
        """Whether it was measured and is within the limit."""
        return self.measured is not None and self.measured <= self.limit


def figures(results: Results, divide: int = 1) -> Iterator[Figure]:
    """Yield every figure, measured or not.

    Args:
        results: The measurements.
        divide: By what the sizes were divided.
    """

    def ratio(
        text: str, limit: float, scenario: str, size: int, over: str, phase: str = UP, over_phase: str = ""
    ) -> Figure:
        size = max(1, size // divide)
        a = results.median(scenario, size, phase, OURS)
        b = results.median(scenario, size, over_phase or phase, over)
        if a is None or b is None:
            return Figure(text, limit, None, "", f"{OURS if a is None else over} was not measured")
        return Figure(text, limit, a / b, "", f"{a:.3f} s / {b:.3f} s")

    for size, limit in ((2_000, 1.35), (10_000, 1.15)):
        text = f"chain of {size:,} over existing namespaces, whole process, kokofast / C floor"
        yield ratio(text, limit, "chain", size, FLOOR)
    yield ratio("`unchanged` re-run of 10,000 links / first run", 0.35, "chain", 10_000, OURS, UNCHANGED, UP)
    text = "destroy of 2,000 links, namespaces stay, kokofast / C floor that deletes one by one with 64 threads"
    yield ratio(text, 0.7, "chain", 2_000, FLOOR, DESTROY)
    text = "destroy of 2,000 links with our own namespaces / C floor of unmounting them"
    yield ratio(text, 2.0, "chain-create", 2_000, FLOOR, DESTROY)
    yield star(results, max(1, 2_000 // divide))
    yield growth(results, [max(1, size // divide) for size in GROWTH])
    yield memory(results, max(1, 10_000 // divide))
    yield ratio("one link by koko's flags / `python -c pass` of the same interpreter", 2.5, "single", 1, NOTHING)
    for size, limit in ((200, 1.5), (2_000, 0.7)):
        text = f"bring-up of {size:,}, kokofast / Go in one process with 8 goroutines, whole process"
        yield ratio(text, limit, "chain", size, GO)


def star(results: Results, size: int) -> Figure:
    """Return the figure of a star, destroyed."""
    text, limit = "star of 2,000 links, destroy", 0.5
    seconds = results.median("star", size, DESTROY, OURS)
    if seconds is None:
        return Figure(text, limit, None, "ms a link", "not measured")
    return Figure(text, limit, seconds * 1000 / size, "ms a link", f"{seconds:.3f} s")


def growth(results: Results, sizes: Sequence[int]) -> Figure:
    """Return the difference of the two growth exponents: the kernel itself is not linear."""
    text = "growth exponent of a batch from 1,000 to 10,000 links in a chain, kokofast - C floor"
    found = []
    for contender in (OURS, FLOOR):
        medians = [results.median("chain", size, UP, contender) for size in sizes]
        known = [one for one in medians if one is not None]
        if len(known) < len(sizes):
            return Figure(text, 0.05, None, "", f"{contender} was not measured at every size")
        found.append(exponent(sizes, known))
    return Figure(text, 0.05, found[0] - found[1], "", f"{found[0]:.3f} - {found[1]:.3f}")


def memory(results: Results, size: int) -> Figure:
    """Return the figure of the peak of memory."""
    text, limit = "peak memory, 10,000 links", 150.0
    taken = [one for phase in (UP, UNCHANGED) for one in results.measurements.get(("chain", size, phase, OURS), [])]
    if not taken:
        return Figure(text, limit, None, "MB", "not measured")
    highest = max(taken, key=lambda one: one.peak_kib)
    detail = "or less: the benchmark itself is as large" if highest.peak_is_bound else "resident, first run and re-run"
    return Figure(text, limit, highest.peak_kib * 1024 / 1e6, "MB", detail)


def markdown(found: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| figure | at most | measured | | of |", "|---|--:|--:|---|---|"]
    for one in found:
        unit = f" {one.unit}" if one.unit else ""
        measured = "-" if one.measured is None else f"{one.measured:.3g}{unit}"
        verdict = "met" if one.met else "**missed**" if one.measured is not None else "**not measured**"
        lines.append(f"| {one.text} | {one.limit:g}{unit} | {measured} | {verdict} | {one.detail} |")
    return "\n".join(lines)
