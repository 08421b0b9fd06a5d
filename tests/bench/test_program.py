"""The program, its report and its figures."""

from __future__ import annotations

import argparse
import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as program
from bench import figures, labs, scale
from bench.contender import ROOT
from bench.contenders import contenders
from bench.measure import Measurement, run
from bench.plot import plot
from bench.report import Results, as_json, by_size, markdown, rows
from bench.runner import Runner
from bench.scenario import SCENARIOS
from tests.conftest import namespaces

MACHINE = {
    "processor": "x",
    "processors": 2,
    "memory_gib": 1,
    "kernel": "6",
    "python": "3",
    "open_files": 20_000,
    "ip": "-",
}


@pytest.fixture
def results() -> Results:
    return Results({**MACHINE, "load_before": 0.0, "load_after": 0.0})


def test_the_program_reports_every_contender(
    requires_root: None, floor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    options = ["--links", "3", "--repeat", "2", "--contenders", "floor,ip-batch", "--patience", "0.09"]
    assert program.main([*options, "--scenario", "chain,star", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [(row["scenario"], row["phase"], row["contender"], row["runs"]) for row in found["rows"]] == [
        ("chain", "up", "floor", 2),
        ("chain", "destroy", "floor", 2),
        ("star", "up", "floor", 2),
        ("star", "destroy", "floor", 2),
    ]
    assert found["notes"] == [
        "the floor works with 2 threads",
        "ip-batch, chain 3: left out: one run would take about 0 s (--patience 0.09)",
        "ip-batch, star 3: left out: one run would take about 0 s (--patience 0.09)",
    ]
    assert found["notes"][1] in capsys.readouterr().out


def test_the_figures_come_from_one_command(
    requires_root: None, floor: Path, go: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    options = ["--figures", "--divide", "1000", "--repeat", "1", "--floor-threads", "1"]
    assert program.main([*options, "--json", str(file), "--plots", str(tmp_path / "plots")]) == 0
    result = json.loads(file.read_text())
    assert "all sizes are divided by 1000: these are not the figures" in result["notes"]
    found = result["figures"]
    assert [one["limit"] for one in found] == [
        *(1.6, 1.05, 0.95, 0.95, 1.4, 1.2, 0.25, 0.7, 1.8, 0.5, 60.0, 30.0, 12.0, 0.05, 120.0, 450.0, 450.0, 2.2)
    ]
    assert all(one["measured"] is not None for one in found)
    assert capsys.readouterr().out.count("| met |") + sum(not one["met"] for one in found) == len(found)
    assert {one.name for one in (tmp_path / "plots").iterdir()} == {
        *("chain-up.svg", "chain-create-up.svg", "star-up.svg"),
        *("stages-up.svg", "stages-unchanged.svg", "stages-destroy.svg"),
    }


def test_the_scale_comes_from_one_command(
    requires_root: None, floor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    options = ["--scale", "--divide", "1000", "--plots", str(tmp_path / "plots")]
    assert program.main([*options, "--json", str(file)]) == 0
    found = json.loads(file.read_text())["scale"]
    assert [(one["scenario"], one["links"], one["contender"]) for one in found] == [
        ("chain-create", 10, "floor"),
        ("chain-create", 10, "kokofast"),
        ("chain-create", 10, "kokofast-1024"),
        ("star-create", 10, "kokofast"),
        ("chain-star-create", 20, "kokofast"),
        ("chain-star-create", 20, "kokofast-1024"),
    ]
    assert [one["open_files"] == 1_024 for one in found] == [False, False, True, False, False, True]
    assert all(one["up"] and one["destroy"] and one["peak_kib"] for one in found)
    assert [one["contender"] for one in found if one["unchanged"] is None] == ["floor"]
    printed = capsys.readouterr().out
    assert printed.endswith(scale.markdown([scale.Line(**one) for one in found]) + "\n")
    assert "all sizes are divided by 1000" in printed
    assert {one.name for one in (tmp_path / "plots").iterdir()} == {
        *("stages-up.svg", "stages-unchanged.svg", "stages-destroy.svg")
    }


def test_fifty_thousand_links_come_from_one_command(
    requires_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    assert program.main(["--huge", "--divide", "1000", "--floor-threads", "1", "--json", str(file)]) == 0
    document = json.loads(file.read_text())
    found = document["scale"]
    assert [(one["scenario"], one["links"], one["contender"]) for one in found] == [
        ("chain-create", 50, "kokofast"),
        ("mesh", 50, "kokofast"),
    ]
    assert all(one["up"] and one["unchanged"] and one["destroy"] and one["peak_kib"] for one in found)
    assert [(one["limit"], one["unit"], one["met"]) for one in document["figures"]] == [(450.0, "MB", True)] * 2
    assert capsys.readouterr().out.count("| met |") == 2


def test_the_figures_of_labs_come_from_one_command(
    requires_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    options = ["--labs", "--divide", "500", "--repeat", "2", "--floor-threads", "1"]
    assert program.main([*options, "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [one["limit"] for one in found["figures"]] == [1.25, 0.5, 1.0, 2.0, 2.0]
    assert all(one["measured"] for one in found["figures"])
    assert capsys.readouterr().out.count("| met |") == sum(one["met"] for one in found["figures"])
    assert [(row["scenario"], row["links"], row["phase"], row["runs"]) for row in found["rows"]] == [
        ("chain", 4, "up", 2),
        ("chain-rate", 4, "up", 2),
        ("mesh-rate", 10, "change", 2),
        ("routes", 3, "change", 2),
        ("routes", 3, "unchanged", 2),
        ("segment", 2, "up", 2),
        ("segment", 2, "destroy", 2),
        ("segments", 8, "up", 2),
        ("segments", 8, "destroy", 2),
    ]


def test_a_figure_of_labs_is_met_missed_or_not_measured(results: Results) -> None:
    for scenario, size, phase, seconds, stages in (
        ("chain", 2_000, "up", 1.0, {}),
        ("chain-rate", 2_000, "up", 1.2, {}),
        ("mesh-rate", 5_000, "change", 2.0, {"plan": 0.5, "apply": 0.6}),
        ("segment", 1_000, "up", 1.5, {}),
    ):
        results.add(scenario, size, phase, "kokofast", Measurement(seconds, 0, 0, False, stages))
    table = figures.markdown(list(labs.figures(results))).splitlines()[2:]
    assert table[0].endswith("| 1.25 | 1.2 | met | 1.200 s / 1.000 s |")
    assert table[1].endswith("| 0.5 s | 0.6 s | **missed** | apply 0.600 s; whole process 2.000 s |")
    assert table[2].endswith("| 1 s | - | **not measured** | not measured |")
    assert table[3].endswith("| 2 ms an end | 1.5 ms an end | met | 1.500 s |")


def test_a_line_of_the_scale_has_all_phases(results: Results) -> None:
    for phase, seconds, peak in (("up", 22.04, 107), ("unchanged", 4.0, 98), ("destroy", 0.0123, 90)):
        results.add("star-create", 10_000, phase, "kokofast-1024", Measurement(seconds, 0, peak * 1024, False))
    results.add("star-create", 10_000, "up", "kokofast", Measurement(1234.5, 0, 1024, True))
    assert scale.markdown(list(scale.lines(results))).splitlines()[2:] == [
        "| 10,000 | star-create | kokofast-1024 | 1,024 | 22.0 s | 4.00 s | 0.0123 s | 107 MiB |",
        "| 10,000 | star-create | kokofast | 20,000 | 1234 s | - | - | ≤ 1 MiB |",
    ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--contenders", "floor,fast"], "unknown contender fast; there are floor, floor-group, kokofast"),
        (["--scenario", "ring"], "unknown scenario ring; there are chain, chain-create"),
        (["--phase", "down"], "unknown phase down; there are up, change, unchanged, destroy"),
        (["--repeat", "0"], "must be at least 1"),
        (["--divide", "10"], "--divide goes with --figures, --scale, --huge, --labs, --live or --hosts"),
        (["--figures", "--scale"], "not allowed with argument --figures"),
        (["--labs", "--scale"], "not allowed with argument --labs"),
    ],
)
def test_what_it_does_not_know_it_names(capsys: pytest.CaptureFixture[str], options: list[str], complaint: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(options)
    assert complaint in capsys.readouterr().err


def commands(document: str) -> list[argparse.Namespace]:
    """Those of the program that a document shows, understood."""
    shown = re.findall(r"^python -m bench( .*)$", (ROOT / document).read_text(), re.MULTILINE)
    return [program.arguments(one.split(), list(contenders())) for one in shown]


@pytest.mark.parametrize(
    ("document", "number"), [("bench/README.md", 8), ("README.md", 1), ("docs/notes/performance.md", 1)]
)
def test_the_commands_of_a_document_are_understood(document: str, number: int) -> None:
    assert len(commands(document)) == number


def test_the_readme_shows_what_its_command_gives() -> None:
    text = (ROOT / "README.md").read_text()
    (options,) = commands("README.md")
    head = f"| {options.scenario[0]}, {options.phase[0]}: seconds | "
    (table,) = re.findall(rf"^{re.escape(head)}.*(?:\n\|.*)*", text, re.MULTILINE)
    assert table.startswith(head + " | ".join(f"{size:,} links" for size in options.links) + " |\n")
    assert set(re.findall(r"^\| (\S+) \|", table, re.MULTILINE)) == set(options.contenders)
    assert f"]({options.plots}/{options.scenario[0]}-{options.phase[0]}.svg)" in text
    assert f"patience of {options.patience:g} seconds" in " ".join(text.split())


def test_its_readme_describes_all_scenarios_and_contenders() -> None:
    text = (ROOT / "bench" / "README.md").read_text()
    described = re.findall(r"^\| (`.*?) \|", text[: text.index("## Figures")], re.MULTILINE)
    names = {name for cell in described for name in re.findall(r"`([^`]+)`", cell)}
    assert names == {*SCENARIOS, *contenders()}


def test_the_floor_tries_how_many_threads_are_best(
    requires_root: None, floor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "TRIAL_LINKS", 5)

    def pretend(self: Runner, *arguments: Any) -> None:
        real(self, *arguments)
        for (_, _, _, name), taken in self.results.measurements.items():
            taken[:] = [Measurement(abs(int(name) - 4) + 1.0, 0, 0, False)] * len(taken)

    real = Runner.in_turns
    monkeypatch.setattr(Runner, "in_turns", pretend)
    assert program.best_floor_threads(floor, tmp_path, "kfbt-trial-") == 4


def test_a_stopped_program_leaves_nothing(requires_root: None, floor: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "--links", "300", "--contenders", "floor"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        process.stderr.readline()  # the first run is done
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert not [name for name in namespaces() if name.startswith(f"kfb{process.pid}-")]


def test_the_memory_of_the_largest_of_a_tree_counts(tmp_path: Path) -> None:
    grow = f"{sys.executable} -c 'x = b\"1\" * (300 << 20)'"
    taken = run(["/bin/sh", "-c", f"{grow}; true"], tmp_path)
    assert taken.peak_kib > 300 << 10
    assert not taken.peak_is_bound


def test_the_table_has_medians_and_ratios(results: Results) -> None:
    for contender, times in (("floor", (1.0, 2.0, 9.0)), ("kokofast", (3.0, 3.0, 4.0))):
        for seconds in times:
            stages = {"plan": 1.0} if contender == "kokofast" else {}
            results.add("chain", 100, "up", contender, Measurement(seconds, 0.5, 2048, False, stages))
    floor, kokofast = rows(results)
    assert (floor.median, floor.low, floor.high, floor.times_floor) == (2.0, 1.0, 9.0, 1.0)
    assert (kokofast.times_floor, kokofast.ms_per_link) == (1.5, 30.0)
    assert (floor.stages, kokofast.stages) == ({}, {"plan": 1.0, "start and end": 2.0})
    assert (
        "| chain | 100 | up | kokofast | 3 | 3.000 (3.000..4.000) | 30.000 | 1.50 | 0.50 | 2 |"
        in markdown(results).splitlines()
    )


def test_a_figure_is_met_missed_or_not_measured(results: Results) -> None:
    for contender, seconds in (("floor", 1.0), ("kokofast", 1.3)):
        results.add("chain", 2_000, "up", contender, Measurement(seconds, 0, 0, False))
    for contender, seconds in (("floor", 1.0), ("kokofast", 1.3)):
        results.add("chain", 10_000, "up", contender, Measurement(seconds, 0, 160 * 1024, False))
    found = list(figures.figures(results))
    assert [one.met for one in found] == [False] * 4 + [True] + [False] * 13
    table = figures.markdown(found).splitlines()[2:]
    assert table[1].endswith("| 1.05 | - | **not measured** | go-8 was not measured |")
    assert table[4].endswith("| 1.4 | 1.3 | met | 1.300 s / 1.000 s |")
    assert table[5].endswith("| 1.2 | 1.3 | **missed** | 1.300 s / 1.000 s |")
    assert table[6].endswith("| 0.25 | - | **not measured** | kokofast was not measured |")
    assert table[10].endswith("| 60 s | - | **not measured** | not measured |")
    assert table[14].endswith("| 120 MB | 168 MB | **missed** | resident, of all its runs |")


def test_the_growth_is_the_difference_of_two_exponents(results: Results) -> None:
    for size in figures.GROWTH:
        results.add("chain", size, "up", "floor", Measurement(0.001 * size**1.25, 0, 0, False))
        results.add("chain", size, "up", "kokofast", Measurement(0.003 * size**1.125, 0, 0, False))
    found = figures.growth(results, figures.GROWTH)
    assert found.measured is not None
    assert math.isclose(found.measured, -0.125)
    assert found.met
    assert found.detail == "1.125 - 1.250"
    results.add("chain", 100, "up", "floor", Measurement(1.0, 0, 0, False))
    line = "growth exponent, chain up: floor 1.250 (1,000..10,000), kokofast 1.125 (1,000..10,000)"
    assert f"- {line}" in markdown(results).splitlines()
    assert as_json(results)["growth"] == [line]


def test_those_left_out_at_large_sizes_come_last(results: Results) -> None:
    for contender, times in (("ip", (0.5,)), ("kokofast", (0.3, 1.315)), ("floor", (0.08, 0.868))):
        for size, seconds in zip((200, 2_000), times, strict=False):
            results.add("chain", size, "up", contender, Measurement(seconds, 0, 0, False))
    results.add("chain", 200, "destroy", "floor", Measurement(1.0, 0, 0, False))
    (table,) = by_size(results)
    assert markdown(results).endswith("\n\n" + table)
    assert table.splitlines() == [
        "| chain, up: seconds | 200 links | 2,000 links |",
        "|---|--:|--:|",
        "| floor | 0.0800 | 0.868 |",
        "| kokofast | 0.300 | 1.31 |",
        "| ip | 0.500 | - |",
    ]


def test_the_same_result_gives_the_same_small_picture(results: Results, tmp_path: Path) -> None:
    for contender in contenders():
        for size in (200, 500, 1_000, 2_000, 5_000, 10_000):
            results.add("chain", size, "up", contender, Measurement(size / 1000, 0, 0, False, {"apply": 0.1}))
    made = [plot(as_json(results), tmp_path / name) for name in ("one", "other")]
    for one, other in zip(*made, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert len(one.read_bytes()) < 100_000
    (times,) = {*made[0]} - {tmp_path / "one" / "stages-up.svg"}
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", times.read_text())
    assert {"chain: up", "10,000", *contenders()} <= set(texts)


def test_a_result_can_be_plotted_later(results: Results, tmp_path: Path) -> None:
    for size in (10, 100):
        results.add("star", size, "destroy", "kokofast", Measurement(1.0, 0, 0, False))
    file = tmp_path / "result.json"
    file.write_text(json.dumps(as_json(results)))
    run([sys.executable, "-m", "bench.plot", str(file), str(tmp_path), "png"], ROOT)
    assert (tmp_path / "star-destroy.png").read_bytes().startswith(b"\x89PNG")
    assert plot(as_json(results), tmp_path / "again") == [tmp_path / "again" / "star-destroy.svg"]
