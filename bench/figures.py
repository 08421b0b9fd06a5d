"""The figures that kokofast is held to: what must be measured for them, and each against its limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.contender import DESTROY, FLOOR, OURS, UNCHANGED, UP
from bench.report import Results, exponent
from bench.runner import Block

GROWTH = (1_000, 2_000, 5_000, 10_000)
HUGE = 50_000
SINGLE_RUNS = 3  # times the runs of the others: it is short
FEW_RUNS = 1  # of what takes minutes

BY_GROUP, GO, NOTHING = f"{FLOOR}-group", "go-8", "python-pass"
_BOTH, _UP = (UP, DESTROY), (UP,)

BLOCKS = (
    Block("single", 1, {NOTHING: _UP, OURS: _UP, FLOOR: _UP}, SINGLE_RUNS),
    Block("chain", 200, {FLOOR: _UP, OURS: _UP, GO: _UP}),
    Block("chain", 1_000, {FLOOR: _UP, OURS: _UP}),
    Block("chain", 2_000, {FLOOR: _BOTH, OURS: _BOTH, GO: _UP}),
    Block("chain", 5_000, {FLOOR: _UP, OURS: _UP, GO: _UP}),
    Block("chain", 10_000, {FLOOR: _UP, OURS: (UP, UNCHANGED), GO: _UP}),
    Block("chain-create", 2_000, {FLOOR: _BOTH, OURS: _BOTH}),
    Block("star", 2_000, {FLOOR: _BOTH, BY_GROUP: _BOTH, OURS: _BOTH}),
    *(Block(name, 10_000, {OURS: _UP}, runs=FEW_RUNS) for name in ("star", "star-no-link-local", "star-no-ipv6")),
    *(Block(name, HUGE, {OURS: _UP}, runs=FEW_RUNS) for name in ("chain-create", "mesh")),
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

    for size, limit in ((200, 1.6), (2_000, 1.05), (5_000, 0.95), (10_000, 0.95)):
        text = f"chain of {size:,} over existing namespaces, whole process, kokofast / Go with 8 goroutines"
        yield ratio(text, limit, "chain", size, GO)
    for size, limit in ((2_000, 1.4), (10_000, 1.2)):
        text = f"chain of {size:,} over existing namespaces, whole process, kokofast / C floor"
        yield ratio(text, limit, "chain", size, FLOOR)
    yield ratio("`unchanged` re-run of 10,000 links / first run", 0.25, "chain", 10_000, OURS, UNCHANGED, UP)
    text = "destroy of 2,000 links, namespaces stay, kokofast / C floor that deletes one by one with 64 threads"
    yield ratio(text, 0.7, "chain", 2_000, FLOOR, DESTROY)
    text = "destroy of 2,000 links with our own namespaces / C floor of unmounting them"
    yield ratio(text, 1.8, "chain-create", 2_000, FLOOR, DESTROY)
    yield one(results, "star of 2,000 links, destroy", 0.5, "star", max(1, 2_000 // divide), DESTROY, by_link=True)
    for scenario, words, limit in (
        ("star", "", 60.0),
        ("star-no-link-local", " with link_local false", 30.0),
        ("star-no-ipv6", " with ipv6 false", 12.0),
    ):
        yield one(results, f"star of 10,000 links{words}, namespaces there", limit, scenario, max(1, 10_000 // divide))
    yield growth(results, [max(1, size // divide) for size in GROWTH])
    yield memory(results, "peak memory, 10,000 links in a chain", 120.0, "chain", max(1, 10_000 // divide))
    yield from huge(results, divide)
    yield ratio("one link by koko's flags / `python -c pass` of the same interpreter", 2.2, "single", 1, NOTHING)


def huge(results: Results, divide: int = 1) -> Iterator[Figure]:
    """Yield the figures of tens of thousands of links."""
    for scenario, words in (("chain-create", "in a chain, with its namespaces"), ("mesh", "between 50 namespaces")):
        text = f"peak memory, {HUGE:,} links {words}"
        yield memory(results, text, 450.0, scenario, max(1, HUGE // divide))


def one(
    results: Results, text: str, limit: float, scenario: str, size: int, phase: str = UP, *, by_link: bool = False
) -> Figure:
    """Return a figure in seconds, or in milliseconds a link."""
    unit = "ms a link" if by_link else "s"
    seconds = results.median(scenario, size, phase, OURS)
    if seconds is None:
        return Figure(text, limit, None, unit, "not measured")
    return Figure(text, limit, seconds * 1000 / size if by_link else seconds, unit, f"{seconds:.3f} s")


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


def memory(results: Results, text: str, limit: float, scenario: str, size: int) -> Figure:
    """Return the figure of the peak of memory."""
    taken = [run for phase in (UP, UNCHANGED) for run in results.measurements.get((scenario, size, phase, OURS), [])]
    if not taken:
        return Figure(text, limit, None, "MB", "not measured")
    highest = max(taken, key=lambda run: run.peak_kib)
    detail = "or less: the benchmark itself is as large" if highest.peak_is_bound else "resident, of all its runs"
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
