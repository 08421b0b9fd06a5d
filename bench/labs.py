"""What the parts of a file beside links may take, in tens of thousands: rates, routes, and LANs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.contender import CHANGE, DESTROY, OURS, UNCHANGED, UP
from bench.figures import Figure
from bench.report import Results
from bench.runner import Block

ROUTERS = 202  # with 200 routes each

BLOCKS = (
    Block("chain", 2_000, {OURS: (UP,)}),
    Block("chain-rate", 2_000, {OURS: (UP,)}),
    Block("mesh-rate", 5_000, {OURS: (CHANGE,)}),
    Block("routes", ROUTERS, {OURS: (CHANGE, UNCHANGED)}),
    Block("segment", 1_000, {OURS: (UP, DESTROY)}),
    Block("segments", 4_000, {OURS: (UP, DESTROY)}),
)


def figures(results: Results) -> Iterator[Figure]:
    """Yield every figure, measured or not. The measurements tell the sizes, whatever they were divided by."""
    sizes = {block.scenario: block.links for block in BLOCKS}
    sizes |= {scenario: size for scenario, size, *_ in results.measurements}

    def of_stages(text: str, limit: float, scenario: str, *stages: str) -> Figure:
        taken = results.measurements.get((scenario, sizes[scenario], CHANGE, OURS))
        if not taken:
            return Figure(text, limit, None, "s", "not measured")
        parts = {name: statistics.median(one.stages.get(name, 0.0) for one in taken) for name in stages}
        detail = " + ".join(f"{name} {seconds:.3f} s" for name, seconds in parts.items())
        whole = statistics.median(one.seconds for one in taken)
        return Figure(text, limit, sum(parts.values()), "s", f"{detail}; whole process {whole:.3f} s")

    def of_ends(text: str, scenario: str) -> Figure:
        seconds = results.median(scenario, sizes[scenario], UP, OURS)
        if seconds is None:
            return Figure(text, 2.0, None, "ms an end", "not measured")
        return Figure(text, 2.0, seconds * 1000 / sizes[scenario], "ms an end", f"{seconds:.3f} s")

    text = "2,000 links with a rate at both ends / without, whole process"
    rate, plain = (results.median(name, sizes[name], UP, OURS) for name in ("chain-rate", "chain"))
    if rate is None or plain is None:
        yield Figure(text, 1.25, None, "", "not measured")
    else:
        yield Figure(text, 1.25, rate / plain, "", f"{rate:.3f} s / {plain:.3f} s")
    yield of_stages("10,000 root qdiscs changed in place", 0.5, "mesh-rate", "apply")
    yield of_stages("40,400 routes of 202 nodes", 1.0, "routes", "plan", "apply")
    yield of_ends("segment of 1,000 ends", "segment")
    yield of_ends("1,000 segments of 4 ends", "segments")
