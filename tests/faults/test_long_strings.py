"""Long strings in every field: what they cost is counted in steps of the interpreter, the same on every machine.

The interpreter does not see the steps of what is written in C, regular expressions above all: so no line that is
printed may grow with a string, and what makes the lines is given no longer ones.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kokofast.cli.results import print_errors
from kokofast.engine.result import Failure
from kokofast.topology import TopologyError, load
from kokofast.topology.problems import Problem
from kokofast.topology.read_csv import END_COLUMNS, LINK_COLUMNS
from kokofast.topology.values import PATH_BYTES
from tests.faults.test_bad_input import in_process, places_of
from tests.steps import Steps

LINE_MAX = PATH_BYTES + 1_000  # characters: a path is shown whole

# Text of which one part after the other may be tried.
UNITS = ("a", ":", "a:", "'", "/", "1", ".", "-", '"', "%", "\u4e2d", "1.", "e1", "[", "docker:", "\t")
# Text that is a list: each item is looked at.
LISTS = ("10.0.0.1/8,", ",", " ", ";")
PARTS = 7


def trees(name: str) -> Iterator[Any]:
    """Files with the name in each field."""
    yield from places_of(name)
    # Where a node is called "x:y", the short form is split in more than one way.
    colon = {"nodes": {"x:y": {"netns": "x"}}}
    yield colon | {"links": [{"endpoints": [f"x:y{name}", "b:x"]}]}
    yield colon | {"links": [{"endpoints": [f"x:y:e:{name}", "b:x"]}]}
    yield {"nodes": {name: {"netns": "x"}}, "links": [{"endpoints": [{"node": name, "interface": "x"}, "b:x"]}]}
    yield {"nodes": {name: {"netns": "missing"}}, "links": []}
    yield {"$schema": name, "links": []}
    yield {"links": name}
    yield name
    for kind in ("vxlan", "vlan", "macvlan", "ipvlan"):
        end = {"type": kind, "endpoint": "a:v", "remote": "192.0.2.1", "vni": 1, "id": 1}
        yield [end | {"parent": f"{name}:e"}]
        yield [end | {"parent": f"a:{name}"}]
        yield [end | {"local": name, "remote": name}]


def tables(name: str) -> Iterator[str]:
    """CSV files with the name in each cell."""
    row = {"a_node": "a", "a_if": "x", "b_node": "b", "b_if": "x"}
    for column in (*END_COLUMNS, *LINK_COLUMNS):
        text = io.StringIO()
        writer = csv.DictWriter(text, [*dict.fromkeys((*row, column))])
        writer.writeheader()
        writer.writerow(row | {column: name})
        yield text.getvalue()
    yield f"a_node,a_if,{name}\n"


def files(name: str) -> Iterator[tuple[str, str]]:
    """(extension, text) of every file with the name in it."""
    for tree in trees(name):
        yield "json", json.dumps(tree)
        if isinstance(tree, dict):
            yield "yaml", json.dumps(tree)
    yield "jsonl", json.dumps({"endpoints": [f"{name}:x", "b:x"]}) + "\n"
    yield "jsonl", name
    yield "yaml", f"- {name}\n"
    for table in tables(name):
        yield "csv", table


@pytest.mark.parametrize("unit", [*UNITS, *LISTS], ids=repr)
def test_a_string_of_twice_the_length(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, counts: Counter[str], long: bool, unit: str
) -> None:
    """It takes no more steps, a list no more than twice as many, and no longer lines."""
    length, growth = (500, 2.2) if unit in LISTS else (8_000 // len(unit), 1.05)
    length *= 10 if long else 1
    pairs = list(zip(files(unit * length), files(unit * 2 * length), strict=True))
    part = 1 if long else PARTS  # in the short form each has other files
    for short, double in pairs[[*UNITS, *LISTS].index(unit) % part :: part]:
        taken = []
        for extension, text in (short, short, double):  # the first one imports and remembers
            counts["bad inputs"] += 1
            problems: list[Problem] = []
            with Steps() as steps:
                try:
                    load(text.encode(), filename="links", format=extension)
                except TopologyError as error:
                    problems = error.problems
                print_errors([Failure(problem.place, problem.message) for problem in problems])
            check_lines(capfd.readouterr().err)
            taken.append(steps.count)
        assert taken[2] <= growth * taken[1] + 200, (text[:200], taken)
        if problems:
            continue
        # A long string that is right is in none of the lines that say what is wrong with the machine.
        file = tmp_path / f"links.{extension}"
        file.write_text(text)
        check_lines(in_process(capfd, "batch", str(file), "--dry-run").stderr)


def check_lines(errors: str) -> None:
    longest = max(errors.splitlines(), key=len, default="")
    assert len(longest) < LINE_MAX, (len(longest), longest[:200])


@pytest.mark.parametrize("unit", [*UNITS, *LISTS], ids=repr)
def test_errors_with_long_words_are_folded_in_linear_time(capfd: pytest.CaptureFixture[str], unit: str) -> None:
    """Also of a message that somebody else wrote: the kernel, or a container daemon."""
    taken = []
    for length in (1_000, 2_000):
        errors = [Failure("", f"node {unit * length}: no {unit * length}")] * 10
        with Steps() as steps:
            print_errors(errors)
        taken.append(steps.count)
    assert taken[1] <= 2.2 * taken[0]
    capfd.readouterr()


def test_no_regular_expression_sees_a_message() -> None:
    """What it would do, the steps above do not show."""
    source = Path(sys.modules[print_errors.__module__].__file__ or "").read_text()
    assert "import re\n" not in source
