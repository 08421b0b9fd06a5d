"""Constellations whose links all change: that players are measured by what they did. Times are no test's business."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import live
from bench.contender import ROOT
from bench.links import WrongState
from bench.live import Epoch, Grid, Line, Player, Rates, Tc, TcBatch
from bench.measure import ContenderFailed
from bench.plot import plot
from bench.report import Results, as_json
from tests.bench.conftest import PREFIX
from tests.conftest import namespaces

MACHINE = {
    **{"processor": "x", "processors": 2, "memory_gib": 1, "kernel": "6", "python": "3", "open_files": 9, "ip": "-"},
    **{"load_before": 0.0, "load_after": 0.0},
}
EPOCHS = [Epoch(1.0, 1.0, 1.5), Epoch(2.0, 2.25, 2.5), Epoch(3.0, 3.0, 3.25)]


@pytest.fixture
def grid(requires_root: None) -> Grid:
    return Grid(PREFIX, 3, 3)


def line(player: str, changed: int = 100, epochs: Sequence[Epoch] = EPOCHS) -> Line:
    return Line(5, 5, player, 100, changed, list(epochs), 1.0, 1024, peak_is_bound=False)


def test_a_grid_is_a_torus() -> None:
    links = list(Grid("n", 3, 4).links())
    assert len(links) == 24
    found = [(link.a.namespace, link.a.interface, link.ends[1].namespace, link.ends[1].interface) for link in links]
    assert found[:2] == [("n0", "eth0", "n1", "eth1"), ("n0", "eth2", "n4", "eth3")]
    assert found[-2:] == [("n11", "eth0", "n8", "eth1"), ("n11", "eth2", "n3", "eth3")]
    assert len({(node, end) for a, b, c, d in found for node, end in ((a, b), (c, d))}) == 48


def test_each_epoch_changes_every_end() -> None:
    grid = Grid("n", 3, 4)
    states = [grid.rates(number) for number in range(4)]
    assert sum(len(ends) for ends in states[0].values()) == 48
    for one, other in itertools.pairwise(states):
        assert not any(one[namespace][end] == rate for namespace, ends in other.items() for end, rate in ends.items())
    for change, link in zip(grid.timeline(2), grid.links(), strict=True):
        assert {states[2][end.namespace][end.interface] for end in link.ends} == {change["rate"]}


@pytest.mark.parametrize("player", live.PLAYERS, ids=lambda player: player.name)
def test_a_player_changes_all_rates(player: Player, grid: Grid, tmp_path: Path) -> None:
    assert player.missing() is None
    played = live.play(player, grid, tmp_path, most=2)
    assert len(played.epochs) == min(2, player.epochs)
    assert (played.ends, played.changed) == (36, 36)
    assert not [name for name in namespaces() if name.startswith(PREFIX)]


def test_a_sample_leaves_the_other_ends_alone(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tc, "sample", 5)
    assert live.play(Tc(), grid, tmp_path, most=1).changed == 5


class Saying(Player):
    """A player that changes nothing, and reports the figures that a test gives it."""

    name = "saying"

    def __init__(self, epochs: int) -> None:
        self.number = epochs

    def command(self, grid: Grid, epochs: Sequence[Rates], directory: Path) -> list[str]:
        lines = [json.dumps(epoch._asdict()) for epoch in EPOCHS[: self.number]]
        return [sys.executable, "-c", f"print({chr(10).join(lines)!r})"]


def test_one_that_changes_nothing_does_not_count(grid: Grid, tmp_path: Path) -> None:
    with pytest.raises(WrongState, match=r"eth\d has the rate \d+, should have \d+"):
        live.play(Saying(2), grid, tmp_path, most=2)


def test_one_that_leaves_out_epochs_does_not_count(grid: Grid, tmp_path: Path) -> None:
    with pytest.raises(ContenderFailed, match="played 1 epochs, should have played 2"):
        live.play(Saying(1), grid, tmp_path, most=2)


def test_a_failure_is_a_note(requires_root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PLAYERS", (Saying(3), Tc()))
    monkeypatch.setattr(live, "SHELLS", live.SHELLS[:1])
    results = Results({})
    (played,) = live.measure(PREFIX, results, tmp_path, divide=24)
    assert played.player == "tc"
    assert results.failed
    assert results.notes[0].startswith("saying, 18 links: FAILED: ")


def test_a_tc_that_fails_does_not_count(grid: Grid, tmp_path: Path) -> None:
    class Broken(TcBatch):
        def script(self, namespace: str, rates: Any) -> list[str]:
            return [*super().script(namespace, rates), f"tc -n {namespace} qdisc show dev missing"]

    with pytest.raises(ContenderFailed, match="missing"):
        live.play(Broken(), grid, tmp_path, most=1)


def test_the_table() -> None:
    results = Results(MACHINE)
    results.note("a remark")
    text = live.report(results, [line("kokofast"), line("tc", changed=10, epochs=EPOCHS[:1])]).splitlines()
    assert "| 25 | 100 | kokofast | 3 | 0.250 s | 0.500 s | 0.00100 s | 0.250 s | 1.0 | 1 MiB |" in text
    assert "| 25 | 10 of 100 | tc | 1 | 5.00 s | 5.00 s | - | - | 1.0 | 1 MiB |" in text
    assert text[-1] == "- a remark"


def test_the_figures() -> None:
    found = list(live.figures([line("kokofast"), line("tc"), line("kokofast")]))
    assert [(one.limit, one.measured, one.met) for one in found] == [
        (0.35, 0.5, False),
        (0.05, 0.25, False),
        (250.0, 1.048576, True),
        (1.0, 0.5, True),
        (250.0, 1.048576, True),
    ]


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentiles(percent: int, value: int) -> None:
    assert live.percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_the_picture(tmp_path: Path) -> None:
    lines = [line("kokofast")._asdict(), line("tc", changed=10, epochs=EPOCHS[:1])._asdict()]
    made = [plot(as_json(Results(MACHINE), live=lines), tmp_path / name) for name in ("one", "other")]
    assert made[0] == [tmp_path / "one" / "live-100.svg"]
    assert made[0][0].read_bytes() == made[1][0].read_bytes()
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", made[0][0].read_text())
    assert {"25 satellites, all 100 ends changed each second", "kokofast", "tc (of 10 ends)"} <= set(texts)


def test_one_command_measures_all_players(requires_root: None, tmp_path: Path) -> None:
    file = tmp_path / "live.json"
    options = ["--live", "--divide", "24", "--json", str(file), "--plots", str(tmp_path / "plots")]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert [(one["player"], one["ends"]) for one in found["live"]] == [
        *((player.name, 36) for player in live.PLAYERS),
        ("kokofast", 36),
    ]
    assert len(found["figures"]) == 5
    assert [one.name for one in (tmp_path / "plots").iterdir()] == ["live-36.svg"]
