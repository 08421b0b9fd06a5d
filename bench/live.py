"""The links of a constellation change all at once, second after second: how long that takes, and how late it is.

A constellation is the +Grid of so many planes with so many satellites each. Every end has a rate (tbf), and each epoch
gives it another one. kokofast makes the links before the clock starts, for every player. A player gets all epochs in a
file, and prints when it began each one and when it was done. Afterwards the judge looks at the rate of every end.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from bench import judge, netns
from bench.contender import OURS, ROOT, write
from bench.contenders import INSTALLED, remove_locks, topology
from bench.figures import Figure
from bench.links import End, Link, WrongState
from bench.measure import ContenderFailed, run
from bench.report import Results, describe, mib, seconds
from bench.runner import say
from bench.scenario import Scenario

SHELLS = ((72, 22), (76, 58))  # Starlink's first shell; as many satellites as its five shells have, 4,408
EPOCHS = 60
STEP = 1.0

# What one end is to have: namespace -> interface -> rate.
Rates = Mapping[str, Mapping[str, str]]


class Grid(Scenario):
    """Each satellite is linked to the next one of its plane, and to that with its number in the next plane."""

    name = "live"

    def __init__(self, prefix: str, planes: int, per_plane: int) -> None:
        super().__init__(prefix, 2 * planes * per_plane)
        self.planes, self.per_plane = planes, per_plane

    def namespaces(self) -> list[str]:
        return [self._name(number) for number in range(self.planes * self.per_plane)]

    def link(self, number: int) -> Link:
        here, is_across = divmod(number, 2)
        plane, place = divmod(here, self.per_plane)
        if is_across:
            there = (plane + 1) % self.planes * self.per_plane + place
        else:
            there = plane * self.per_plane + (place + 1) % self.per_plane
        names = ("eth2", "eth3") if is_across else ("eth0", "eth1")
        return Link(
            End(self._name(here), names[0], self._address(number)),
            End(self._name(there), names[1], self._address(number, 1)),
        )

    def rates(self, epoch: int) -> dict[str, dict[str, str]]:
        """Return the rate of every end in an epoch; 0 is what it begins with."""
        return {
            namespace: {end: self._rate(number, epoch) for end, number in ends.items()}
            for namespace, ends in self._numbers.items()
        }

    def topology(self) -> dict[str, Any]:
        """Return it as a topology file of kokofast."""
        plain = topology(self)["links"]
        return {"links": [{**link, "rate": self._rate(number, 0)} for number, link in enumerate(plain)]}

    def timeline(self, epoch: int) -> list[dict[str, Any]]:
        """Return the rate of every link in an epoch, as a timeline of kokofast sets it."""
        return [
            {"endpoints": [f"{end.namespace}:{end.interface}" for end in link.ends], "rate": self._rate(number, epoch)}
            for number, link in enumerate(self.links())
        ]

    @cached_property
    def _numbers(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for number, link in enumerate(self.links()):
            for end in link.ends:
                found.setdefault(end.namespace, {})[end.interface] = number
        return found

    def _rate(self, number: int, epoch: int) -> str:
        return f"{10 + (number + 7 * epoch) % 90}mbit"


class Epoch(NamedTuple):
    """Seconds after the start: when an epoch was due, when the player began with it, and when it was done."""

    at: float
    begun: float
    done: float

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return self.done - self.begun

    @property
    def late(self) -> float:
        """Return how late it began."""
        return self.begun - self.at


class Player:
    """A program that plays epochs.

    Attributes:
        name: Its name.
        epochs: How many it plays at most. For one that is always late a few will do.
        sample: How many ends it changes in each; None: all.
    """

    name: ClassVar[str]
    epochs: ClassVar[int] = EPOCHS
    sample: ClassVar[int | None] = None

    def missing(self) -> str | None:
        """Return what is missing on this machine; None when nothing is."""
        return None

    def command(self, grid: Grid, epochs: Sequence[Rates], directory: Path) -> list[str]:
        """Return the command that plays. Files go into the directory; links.json is there."""
        raise NotImplementedError


class Kokofast(Player):
    """kokofast play."""

    name = OURS

    def command(self, grid: Grid, epochs: Sequence[Rates], directory: Path) -> list[str]:
        numbers = range(1, len(epochs) + 1)
        lines = [json.dumps({"at": number * STEP, "set": grid.timeline(number)}) for number in numbers]
        return [
            str(INSTALLED),
            "play",
            "--quiet",
            "--late",
            "all",
            str(directory / "links.json"),
            write(directory / "epochs.jsonl", lines),
        ]


class Tc(Player):
    """A process of tc for each end. An epoch of all would take half a minute."""

    name = "tc"
    epochs = 1
    sample: ClassVar[int | None] = 400

    def missing(self) -> str | None:
        return None if shutil.which("tc") else "no tc here (apt-get install iproute2)"

    def command(self, grid: Grid, epochs: Sequence[Rates], directory: Path) -> list[str]:
        lines = []
        for number, epoch in enumerate(epochs, start=1):
            script = [line for namespace, rates in epoch.items() for line in self.script(namespace, rates)]
            work = ["/bin/sh", "-e", write(directory / f"epoch{number}.sh", script)]
            lines.append(json.dumps({"at": number * STEP, "work": work}))
        return [sys.executable, "-m", "bench.peers.play_epochs", write(directory / "epochs", lines)]

    def script(self, namespace: str, rates: Mapping[str, str]) -> list[str]:
        """Return the commands of one namespace in one epoch."""
        return [f"tc -n {namespace} {line}" for line in _qdiscs(rates)]


class TcBatch(Tc):
    """A process of tc -batch for each namespace."""

    name = "tc-batch"
    epochs = 2
    sample = None

    def script(self, namespace: str, rates: Mapping[str, str]) -> list[str]:
        return [f"tc -n {namespace} -batch - <<.", *_qdiscs(rates), "."]


class Pyroute2(Player):
    """play_pyroute2.py."""

    name = "pyroute2"
    epochs = 3

    def missing(self) -> str | None:
        found = importlib.util.find_spec("pyroute2")
        return None if found else "no pyroute2 in this interpreter (pip install pyroute2)"

    def command(self, grid: Grid, epochs: Sequence[Rates], directory: Path) -> list[str]:
        lines = [json.dumps({"at": number * STEP, "work": epoch}) for number, epoch in enumerate(epochs, start=1)]
        return [sys.executable, "-m", "bench.peers.play_pyroute2", write(directory / "epochs", lines)]


def _qdiscs(rates: Mapping[str, str]) -> list[str]:
    return [f"qdisc replace dev {end} root tbf rate {rate} burst 128kb latency 50ms" for end, rate in rates.items()]


PLAYERS: tuple[Player, ...] = (Kokofast(), Pyroute2(), TcBatch(), Tc())
OTHERS_TOO = SHELLS[0]


class Line(NamedTuple):
    """How a player played."""

    planes: int
    per_plane: int
    player: str
    ends: int  # of the constellation
    changed: int  # of these, in each epoch
    epochs: list[Epoch]
    cpu_seconds: float
    peak_kib: int
    peak_is_bound: bool

    @property
    def seconds(self) -> list[float]:
        """Return how long each epoch took; of a sample, how long one of all ends would take."""
        return [epoch.seconds * self.ends / self.changed for epoch in self.epochs]

    @property
    def late(self) -> list[float]:
        """Return how late each epoch began."""
        return [epoch.late for epoch in self.epochs]


def measure(prefix: str, results: Results, directory: Path, divide: int = 1) -> Iterator[Line]:
    """Let everybody play, and yield how each did. Those that cannot, or do it wrong, go into the notes."""
    for planes, per_plane in SHELLS:
        grid = Grid(prefix, max(3, planes // divide), max(3, per_plane // divide))
        for player in PLAYERS if (planes, per_plane) == OTHERS_TOO else PLAYERS[:1]:
            if reason := player.missing():
                results.note(f"{player.name}: absent: {reason}")
                continue
            try:
                line = play(player, grid, directory, max(2, EPOCHS // divide))
            except (ContenderFailed, WrongState) as error:
                results.fail(f"{player.name}, {grid.size} links: FAILED: {error}")
                continue
            say(f"live {grid.size} links, {player.name}: {statistics.median(line.seconds):.3f} s an epoch")
            if line.changed < line.ends:
                results.note(f"{player.name}: measured with {line.changed} ends, and multiplied for {line.ends}")
            yield line


def play(player: Player, grid: Grid, directory: Path, most: int) -> Line:
    """Make the constellation, let somebody play, and verify the rates at the end."""
    state = grid.rates(0)
    epochs = [_sample(grid.rates(number), player.sample) for number in range(1, min(player.epochs, most) + 1)]
    found: list[Epoch] = []

    def account(output: str) -> dict[str, float]:
        printed = [json.loads(line) for line in output.splitlines()]
        found.extend(Epoch(one["at"], one["begun"], one["done"]) for one in printed if "begun" in one)
        if len(found) != len(epochs):
            raise ValueError(f"played {len(found)} epochs, should have played {len(epochs)}")
        return {}

    with grid.fresh():
        file = write(directory / "links.json", [json.dumps(grid.topology())])
        try:
            run([str(INSTALLED), "batch", "--quiet", file], ROOT)
            grid.verify_up()
            verify(state)
            taken = run(player.command(grid, epochs, directory), ROOT, account)
        finally:
            remove_locks("links")
        for epoch in epochs:
            for namespace, rates in epoch.items():
                state[namespace].update(rates)
        verify(state)
    changed = sum(len(rates) for rates in epochs[0].values())
    used = taken.cpu_seconds, taken.peak_kib, taken.peak_is_bound
    return Line(grid.planes, grid.per_plane, player.name, 2 * grid.size, changed, found, *used)


def verify(state: Rates) -> None:
    """Raise WrongState when an end has another rate."""
    inside = [
        (namespace, {end: int(rate.removesuffix("mbit")) * 10**6 // 8 for end, rate in rates.items()})
        for namespace, rates in state.items()
    ]
    netns.for_each(len(inside), lambda number: judge.check_rates(*inside[number]))


def _sample(epoch: Rates, most: int | None) -> dict[str, dict[str, str]]:
    ends = ((namespace, end, rate) for namespace, rates in epoch.items() for end, rate in rates.items())
    found: dict[str, dict[str, str]] = {}
    for namespace, end, rate in islice(ends, most):
        found.setdefault(namespace, {})[end] = rate
    return found


def figures(lines: Sequence[Line]) -> Iterator[Figure]:
    """Yield what kokofast is held to, for each constellation in the order of SHELLS."""
    ours = [line for line in lines if line.player == OURS]
    for line, limit in zip(ours, (0.35, 1.0), strict=False):
        text = f"{line.planes} x {line.per_plane} satellites, all {line.ends:,} ends changed"
        yield Figure(f"{text}: the longest epoch", limit, max(line.seconds), "s", f"{len(line.epochs)} epochs")
        if limit < STEP:
            late = percentile(line.late, 99)
            yield Figure(f"{text}: how late an epoch begins, p99", 0.05, late, "s", f"{len(line.epochs)} epochs")
        yield Figure(f"{text}: peak memory", 250.0, line.peak_kib * 1024 / 1e6, "MB", "resident")


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that so many percent of the values do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def report(results: Results, lines: Sequence[Line]) -> str:
    """Return the report in Markdown."""
    intro = "Seconds for the changes of one second. An epoch begins late when the one before took longer than a second."
    return "\n".join(
        [describe(results.machine), "", intro, "", markdown(lines), "", *(f"- {one}" for one in results.notes)]
    )


def markdown(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    table = [
        "| satellites | ends | player | epochs | an epoch | the longest | begins late: p50 | p99 | CPU s | peak |",
        "|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in lines:
        late = [f"{seconds(max(percentile(one.late, percent), 0.001))} s" for percent in (50, 99)]
        cells = [
            f"{one.planes * one.per_plane:,}",
            f"{one.changed:,} of {one.ends:,}" if one.changed < one.ends else f"{one.ends:,}",
            one.player,
            str(len(one.epochs)),
            f"{seconds(statistics.median(one.seconds))} s",
            f"{seconds(max(one.seconds))} s",
            *(late if len(one.epochs) > 1 else ["-", "-"]),
            f"{one.cpu_seconds:.1f}",
            f"{mib(one.peak_kib, one.peak_is_bound)} MiB",
        ]
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)
