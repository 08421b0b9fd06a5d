"""Line and column of every place in JSON and YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kokofast.cli.main import run
from kokofast.topology import TopologyError, load
from kokofast.topology.locations import below
from kokofast.topology.positions import in_json, in_yaml
from tests.steps import Steps

TREE = {
    "name": "lab",
    "nodes": {"a b": {"netns": "x", "create": True}, "c": {"host": True}},
    "defaults": {"mtu": 9000, "addresses": []},
    "links": [
        {"endpoints": ["c:x:2001:db8::1/64", {"node": "q\u00e9", "interface": "y", "addresses": ["10.0.0.1/8", "x"]}]},
        [],
        {},
        {"type": "vxlan", "mtu": -1.5e3, "up": False, "mirror": None, "": [[1], [[2]]]},
    ],
}


def places(tree: object, place: str = "$") -> list[tuple[str, object]]:
    """Every place with its value; a key's with the key."""
    found: list[tuple[str, object]] = [(place, tree)] if place == "$" else []
    if isinstance(tree, dict):
        for key, value in tree.items():
            child = below(place, key, "$", ".")
            found += [(child, key), *places(value, child)]
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            child = f"{place}[{index}]"
            found += [(child, value), *places(value, child)]
    return found


@pytest.mark.parametrize("indent", [None, 0, 3])
def test_every_place_in_json(indent: int | None) -> None:
    text = "\n \t" + json.dumps(TREE, indent=indent, ensure_ascii=False)
    lines = text.split("\n")
    wanted = {place for place, _ in places(TREE)}
    found = in_json(text, wanted)
    assert found.keys() == wanted
    for place, value in places(TREE):
        line, column = found[place]
        rest = lines[line - 1][column - 1 :]
        assert rest.startswith(
            json.dumps(value, ensure_ascii=False)
            if not isinstance(value, (list, dict))
            else "["
            if isinstance(value, list)
            else "{"
        )
    # Only what is asked for, and what that is below.
    assert in_json(text, {"$.links", "$.links[3]", "$.links[3].mtu"}).keys() == {
        "$",
        "$.links",
        "$.links[3]",
        "$.links[3].mtu",
    }


@pytest.mark.parametrize("style", [None, True, False])
def test_every_place_in_yaml(style: bool | None) -> None:
    text = "# a file\n" + yaml.safe_dump(TREE, default_flow_style=style, allow_unicode=True, sort_keys=False, width=40)
    lines = text.split("\n")
    wanted = {place for place, _ in places(TREE)}
    found = in_yaml(text, wanted)
    assert found.keys() == wanted
    for place, value in places(TREE):
        line, column = found[place]
        rest = lines[line - 1][column - 1 :]
        if isinstance(value, str) and value:
            assert rest.startswith((value, f"'{value}", f'"{value}', f"? {value}")), (place, rest)


FILES = {
    "lab.json": '{"links": [\n  {"endpoints": ["a:x", "b:x"]},\n  {"endpoints": ["c:x", "d:x"], "mtu": 5}\n]}\n',
    "lab.yaml": "links:\n- endpoints: [a:x, b:x]\n- endpoints: [c:x, d:x]\n  mtu: 5\n",
    "lab.jsonl": '{"endpoints": ["a:x", "b:x"]}\n{"endpoints": ["c:x", "d:x"], "mtu": 5}\n',
}


@pytest.mark.parametrize(("filename", "where"), [
    ("lab.json", "lab.json:3:33 $.links[1].mtu"),
    ("lab.yaml", "lab.yaml:4:3 $.links[1].mtu"),
    ("lab.jsonl", "lab.jsonl:2 mtu"),
])  # fmt: skip
def test_an_error_has_its_line_and_column(filename: str, where: str) -> None:
    with pytest.raises(TopologyError) as caught:
        load(FILES[filename].encode(), filename=filename)
    assert list(map(str, caught.value.problems)) == [f"{where}: must be a whole number from 68 to 65535, not 5"]


@pytest.mark.usefixtures("requires_root")
@pytest.mark.parametrize("filename", FILES)
def test_what_only_the_machine_tells_comes_in_the_order_of_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], filename: str
) -> None:
    """Missing namespaces among the errors of the file, declared ones where they are declared."""
    file = tmp_path / filename
    file.write_text(FILES[filename])
    assert run(["batch", str(file), "--dry-run", "--format", "json"]) == 2
    errors: list[dict[str, Any]] = json.loads(capfd.readouterr().out)["errors"]
    assert [error["message"].split(":")[0].removeprefix("node ") for error in errors] == [
        *("a", "b", "c", "d"),
        "must be a whole number from 68 to 65535, not 5",
    ]
    if filename != "lab.jsonl":
        assert errors[1]["position"] == f"{file}:2:{ {'lab.json': 25, 'lab.yaml': 20}[filename] }"


def test_many_problems_are_placed_in_linear_time() -> None:
    taken = []
    for count in (200, 400):
        text = json.dumps([{"endpoints": ["a:x", "b:x"], "mtu": 5}] * count, indent=0).encode()
        with Steps() as steps, pytest.raises(TopologyError):
            load(text, filename="l.json")
        taken.append(steps.count)
    assert taken[1] < 2.2 * taken[0]
