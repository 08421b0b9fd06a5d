"""graph: what it refuses, and the files that it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kokofast.cli.main import run
from tests import ROOT

FILE = '{"name": "two", "links": [["a", "b"], ["b", "c"]]}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.json").write_text(FILE)
    return tmp_path


def test_the_ending_is_the_format(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = {"svg": "<svg ", "html": "<!DOCTYPE html>", "htm": "<!DOCTYPE html>", "drawio": "<mxfile "}
    first |= {"dot": 'graph "two" {', "gv": 'graph "two" {', "mmd": "flowchart LR", "mermaid": "flowchart LR"}
    for ending, text in first.items():
        assert run(["graph", "two.json", "--no-state", "-o", f"x.{ending.upper()}"]) == 0
        assert (folder / f"x.{ending.upper()}").read_text().startswith(text)
    assert capfd.readouterr() == ("", "")


def test_without_a_file_it_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "two.json", "--no-state"]) == 0
    svg = capfd.readouterr().out
    assert svg.startswith("<svg ")
    assert run(["graph", "two.json", "--no-state", "-o", "-", "--format", "mmd", "--name", "other"]) == 0
    assert capfd.readouterr().out.startswith("flowchart LR\n")
    assert run(["graph", "two.json", "--no-state"]) == 0
    assert capfd.readouterr().out == svg


def test_files_of_other_programs_are_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", str(ROOT / "examples" / "fabric.clab.yml"), "--no-state", "--format", "mmd"]) == 0
    printed = capfd.readouterr()
    assert '["spine1"]' in printed.out
    assert "read as a topology of containerlab" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two", "--no-state"], "--no-state goes with a FILE, and two is the name of a lab"),
        (["two", "--name", "x"], "--runtime and --distance-delay go with a FILE, and two is the name of a lab"),
        (["two", "--distance-delay"], "--runtime and --distance-delay go with a FILE, and two is the name of a lab"),
        (["two.json", "--no-state", "-o", "x.png"], "-o x.png: give a file that ends in .svg, .html, .dot, .mmd, "),
        (["two.json", "--no-state", "-o", "two.json", "--format", "svg"], "-o two.json: is there already; --force "),
        (["two.json", "--no-state", "-o", "no/x.svg"], "-o no/x.svg: cannot be written: No such file or directory"),
        (["no.json"], "no.json: No such file or directory"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", *arguments]) == 2
    assert message in capfd.readouterr().err
    assert (folder / "two.json").read_text() == FILE
    assert sorted(path.name for path in folder.iterdir()) == ["two.json"]


@pytest.mark.parametrize(
    ("source", "otherwise"),
    [("two.json", "; --no-state draws the file without them"), ("two", "; 'batch FILE --sandbox'")],
)
def test_without_rights_it_says_what_needs_none(
    source: str, otherwise: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("kokofast.host.limits.missing_capabilities", lambda _: ["CAP_SYS_ADMIN"])
    assert run(["graph", source]) == 1
    assert otherwise in capfd.readouterr().err


def test_another_picture_is_written_over_the_old_one(folder: Path) -> None:
    (folder / "x.svg").write_text("old")
    assert run(["graph", "two.json", "--no-state", "-o", "x.svg", "--force"]) == 0
    assert (folder / "x.svg").read_text().endswith("</svg>\n")


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    assert run(["graph", "two.json", "--no-state"]) == 1
    assert capfd.readouterr() == (
        "",
        "kokofast: svg needs igraph: pip install 'kokofast[graph]'; the formats dot and mmd do without\n",
    )
    for format in ("dot", "mmd"):  # what shows these lays them out
        assert run(["graph", "two.json", "--no-state", "--format", format]) == 0


def test_what_mermaid_does_not_draw_by_default_is_said(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "many.json").write_text(json.dumps([[f"n{number}", f"n{number + 1}"] for number in range(501)]))
    assert run(["graph", "many.json", "--no-state", "-o", "x.mmd"]) == 0
    assert "at most 500 links unless its maxEdges is higher, and there are 501" in capfd.readouterr().err
    assert run(["graph", "many.json", "--no-state", "-o", "y.mmd", "-q"]) == 0
    assert capfd.readouterr().err == ""
