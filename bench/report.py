"""Turn measurements into medians, ratios, a Markdown table and JSON. Nothing here measures."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import resource
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contender import FLOOR, PHASES
from bench.measure import Measurement
from bench.scenario import SCENARIOS

GROWTH_FROM, GROWTH_POINTS = 1_000, 3  # below, the start of a process counts for more than the links


@dataclass
class Results:
    """Everything that one run of the program found out."""

    machine: dict[str, Any]
    measurements: dict[tuple[str, int, str, str], list[Measurement]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # who did not take part, or failed, and why
    failed: bool = False

    def add(self, scenario: str, size: int, phase: str, contender: str, measurement: Measurement) -> None:
        """Add a measurement."""
        self.measurements.setdefault((scenario, size, phase, contender), []).append(measurement)

    def median(self, scenario: str, size: int, phase: str, contender: str) -> float | None:
        """Return the median in seconds; None when it was not measured."""
        taken = self.measurements.get((scenario, size, phase, contender))
        return statistics.median(one.seconds for one in taken) if taken else None

    def note(self, text: str) -> None:
        """Add a remark for the reader, once."""
        if text not in self.notes:
            self.notes.append(text)

    def fail(self, text: str) -> None:
        """Add the failure of a contender."""
        self.failed = True
        self.notes.append(text)


@dataclass(frozen=True)
class Row:
    """One line of the table: a contender in a phase of a scenario of one size. Times are in seconds.

    ``stages`` has the medians of the contender's own account, and under REST the remainder of its time.
    """

    scenario: str
    links: int
    phase: str
    contender: str
    runs: int
    median: float
    low: float
    high: float
    ms_per_link: float
    times_floor: float | None
    cpu_median: float
    peak_kib: int
    peak_is_bound: bool
    stages: dict[str, float]  # medians of the contender's own account; "start and end": the rest of its time


REST = "start and end"


def rows(results: Results) -> list[Row]:
    """Return a row for each scenario, size, phase and contender, sorted."""
    table = []
    for key, taken in results.measurements.items():
        scenario, size, phase, contender = key
        median = statistics.median(one.seconds for one in taken)
        floor = results.median(scenario, size, phase, FLOOR)
        highest = max(taken, key=lambda one: one.peak_kib)
        table.append(
            Row(
                scenario,
                size,
                phase,
                contender,
                runs=len(taken),
                median=median,
                low=min(one.seconds for one in taken),
                high=max(one.seconds for one in taken),
                ms_per_link=median * 1000 / size,
                times_floor=None if floor is None else median / floor,
                cpu_median=statistics.median(one.cpu_seconds for one in taken),
                peak_kib=highest.peak_kib,
                peak_is_bound=highest.peak_is_bound,
                stages=stages(taken),
            )
        )
    order = list(SCENARIOS)
    return sorted(table, key=lambda row: (order.index(row.scenario), row.links, PHASES.index(row.phase), row.median))


def stages(taken: list[Measurement]) -> dict[str, float]:
    """Return the median seconds of each stage, and of the remainder; empty when the contender has no account."""
    names = {name: None for one in taken for name in one.stages}
    if not names:
        return {}
    found = {name: statistics.median(one.stages.get(name, 0.0) for one in taken) for name in names}
    return {**found, REST: statistics.median(one.seconds - sum(one.stages.values()) for one in taken)}


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return k of seconds = c * size ** k, by least squares on the logarithms."""
    x, y = [math.log(one) for one in sizes], [math.log(one) for one in seconds]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - middle_x) ** 2 for one in x)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / spread


def by_contender(table: Iterable[Row]) -> dict[tuple[str, str], dict[str, list[Row]]]:
    """Group the rows: (scenario, phase) -> contender -> its rows, in their order."""
    found: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in table:
        found.setdefault((row.scenario, row.phase), {}).setdefault(row.contender, []).append(row)
    return found


def growth(results: Results) -> Iterator[str]:
    """Yield a line for each scenario and phase that was measured at three sizes or more, from GROWTH_FROM links."""
    large = [row for row in rows(results) if row.links >= GROWTH_FROM]
    for (scenario, phase), contenders in by_contender(large).items():
        found = [
            f"{name} {exponent([row.links for row in taken], [row.median for row in taken]):.3f} "
            f"({taken[0].links:,}..{taken[-1].links:,})"
            for name, taken in contenders.items()
            if len(taken) >= GROWTH_POINTS
        ]
        if found:
            yield f"growth exponent, {scenario} {phase}: {', '.join(found)}"


def by_size(results: Results) -> Iterator[str]:
    """Yield a table for each scenario and phase that was measured at two sizes or more, a line for each contender.

    They are sorted by their time at the largest size; those that were left out there come last.
    """
    for (scenario, phase), contenders in by_contender(rows(results)).items():
        sizes = sorted({row.links for taken in contenders.values() for row in taken})
        if len(sizes) < 2:
            continue
        lines = [
            f"| {scenario}, {phase}: seconds | {' | '.join(f'{size:,} links' for size in sizes)} |",
            f"|---|{'--:|' * len(sizes)}",
        ]
        for name, taken in sorted(contenders.items(), key=lambda one: (-one[1][-1].links, one[1][-1].median)):
            medians = {row.links: seconds(row.median) for row in taken}
            lines.append(f"| {name} | {' | '.join(medians.get(size, '-') for size in sizes)} |")
        yield "\n".join(lines)


def seconds(value: float) -> str:
    """Return a number with three significant digits: 0.0123, 12.3, 1234."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def mib(kib: int, is_bound: bool) -> str:
    """Return a peak of memory in MiB, with its sign where it is only a bound."""
    return f"{'≤ ' if is_bound else ''}{kib / 1024:.0f}"


def markdown(results: Results) -> str:
    """Return the whole report in Markdown."""
    lines = [
        describe(results.machine),
        "",
        "Whole process, median (lowest..highest) of the runs, taken in turns on fresh namespaces.",
        "",
        f"| scenario | links | phase | contender | runs | s | ms a link | x {FLOOR} | CPU s | peak MiB |",
        "|---|--:|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows(results):
        times = "-" if row.times_floor is None else f"{row.times_floor:.2f}"
        lines.append(
            f"| {row.scenario} | {row.links} | {row.phase} | {row.contender} | {row.runs} "
            f"| {row.median:.3f} ({row.low:.3f}..{row.high:.3f}) | {row.ms_per_link:.3f} | {times} "
            f"| {row.cpu_median:.2f} | {mib(row.peak_kib, row.peak_is_bound)} |"
        )
    remarks = [*growth(results), *results.notes]
    lines += ["", *(f"- {one}" for one in remarks)] if remarks else []
    for table in by_size(results):
        lines += ["", table]
    return "\n".join(lines)


def describe(machine: dict[str, Any]) -> str:
    """Return the machine in one sentence."""
    return (
        f"{machine['processor']}, {machine['processors']} processors, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}, {machine['ip']}; "
        f"load {machine['load_before']:.1f} before, {machine['load_after']:.1f} after (waiting threads count too)."
    )


def as_json(
    results: Results,
    figures: Sequence[Mapping[str, Any]] = (),
    scale: Sequence[Mapping[str, Any]] = (),
    live: Sequence[Mapping[str, Any]] = (),
    hosts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the rows of the table, the figures, what is beside them, and every measurement, for programs."""
    return {
        "machine": results.machine,
        "rows": [dataclasses.asdict(row) for row in rows(results)],
        "growth": list(growth(results)),
        "figures": figures,
        "scale": scale,
        "live": live,
        "hosts": hosts,
        "measurements": [
            {"scenario": scenario, "links": size, "phase": phase, "contender": contender, **dataclasses.asdict(one)}
            for (scenario, size, phase, contender), taken in results.measurements.items()
            for one in taken
        ],
        "notes": results.notes,
        "failed": results.failed,
    }


def describe_machine() -> dict[str, Any]:
    """Find out what a reader must know of the machine. Memory is in GiB, rounded."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    kibibytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    ip = shutil.which("ip")
    version = subprocess.run([ip, "-V"], capture_output=True, text=True, check=False).stdout.split() if ip else []
    return {
        "processor": processor,
        "processors": os.cpu_count(),
        "memory_gib": round(kibibytes / (1 << 20)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "ip": next((word for word in version if word.startswith("iproute2")), "no iproute2").rstrip(","),
        # Other work on the machine spoils every figure: a reader must be able to see it.
        "load_before": os.getloadavg()[0],
        "load_after": os.getloadavg()[0],
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(errors="replace").splitlines()
