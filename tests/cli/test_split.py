"""split: the files of a lab's hosts."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import kokofast as library
from kokofast.cli.main import run
from kokofast.cli.result_schema import schema_of_split
from kokofast.topology import TopologyError, load

HOSTS = {"h1": {"address": "192.0.2.1", "parent": "eth0"}, "h2": {"address": "192.0.2.2", "parent": "eth0"}}
LAB: dict[str, Any] = {
    "name": "lab",
    "hosts": HOSTS,
    "nodes": {"a": {"host": "h1"}, "b": {"host": "h1"}, "c": {"host": "h2"}},
    "links": [["a:x", "b:x"], ["b:y", "c:y"]],
}
PART = """\
{
  "part": {"host": "h1", "lab": "lab"},
  "name": "lab",
  "nodes": {
    "a": {"netns": "a"},
    "b": {"netns": "b"}
  },
  "links": [
    ["a:x", "b:x"],
    {"type": "vxlan", "endpoint": "b:y", "parent": "eth0", "remote": "192.0.2.2", "vni": 4242, "mtu": 1450}
  ]
}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("lab.json").write_text(json.dumps({**LAB, "between": {"vni": 4242}}))
    return tmp_path


def written(name: str, tree: object) -> str:
    Path(name).write_text(json.dumps(tree))
    return name


def test_each_host_gets_a_file_and_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["split", "lab.json", "-o", "parts"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "HOST  NODES  LINKS INSIDE  BETWEEN  FILE",
        "h1    2      1             1        parts/h1.json",
        "h2    1      0             1        parts/h2.json",
        "2 links, of which 1 between 2 hosts",
    ]
    assert err == ""
    assert sorted(os.listdir("parts")) == ["h1.json", "h2.json"]
    assert Path("parts/h1.json").read_text() == PART
    assert load(Path("parts/h2.json").read_bytes(), filename="h2.json").name == "lab"
    assert run(["split", "lab.json", "-o", "parts", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_answer_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["split", "lab.json", "-o", "parts", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    Draft202012Validator(schema_of_split()).validate(found)
    assert found == {
        "lab": "lab",
        "hosts": {
            "h1": {"file": "parts/h1.json", "nodes": ["a", "b"], "links": 2, "between": 1},
            "h2": {"file": "parts/h2.json", "nodes": ["c"], "links": 1, "between": 1},
        },
        "between": [{"link": "b:y--c:y", "hosts": ["h1", "h2"], "type": "vxlan", "vni": 4242, "mtu": 1450}],
    }
    assert run(["schema", "split"]) == 0
    assert json.loads(capsys.readouterr().out) == schema_of_split()


def test_hosts_and_names_from_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    written("hosts.json", {"hosts": HOSTS})
    tree = {key: value for key, value in LAB.items() if key != "hosts"}
    written("bare.json", tree)
    assert run(["split", "bare.json", "--hosts", "hosts.json", "-o", "p", "--name", "other", "--create"]) == 0
    part = json.loads(Path("p/h2.json").read_text())
    assert (part["name"], part["defaults"]) == ("other", {"create": True})
    capsys.readouterr()
    for arguments, words in (
        (["bare.json"], "the file has no hosts"),
        (["bare.json", "--hosts", "none.json"], "none.json: No such file or directory"),
        (["bare.json", "--hosts", "bare.json"], "$.links: does not belong to a file of hosts"),
        (["-", "--hosts", "-"], "only one of FILE, --hosts and --timeline can be read from standard input"),
    ):
        assert run(["split", *arguments, "-o", "q"]) == 2
        assert words in capsys.readouterr().err.replace("'", "")
    assert not Path("q").exists()


def test_a_host_that_is_gone_loses_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["split", "lab.json", "-o", "parts", "-q"]) == 0
    mine = {"notes.json": "{}", "h9.json": PART, "h8.json": PART.replace('"lab": "lab"', '"lab": "other"'), "x.txt": ""}
    for name, text in mine.items():
        (Path("parts") / name).write_text(text)
    Path("elsewhere.json").write_text(PART.replace('"h1"', '"h7"', 1))
    os.symlink("../elsewhere.json", "parts/h7.json")
    os.mkfifo("parts/h6.json")
    alone = {**LAB, "hosts": {"h2": HOSTS["h2"]}, "nodes": {name: {"host": "h2"} for name in "abc"}}
    assert run(["split", written("alone.json", alone), "-o", "parts"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "kokofast: note: -o parts: h1.json is removed: the lab has no such part any more",
        *(
            f"kokofast: note: -o parts: {name} is no part of this lab, and is left as it is"
            for name in ("h6.json", "h7.json", "h8.json", "h9.json", "notes.json")
        ),
    ]
    assert sorted(os.listdir("parts")) == ["h2.json", "h6.json", "h7.json", *sorted(mine)]
    assert Path("elsewhere.json").exists()


@pytest.mark.parametrize("text", ["{}", PART.replace('"lab": "lab"', '"lab": "other"'), ""])
def test_no_file_of_others_is_overwritten(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkdir("parts")
    Path("parts/h2.json").write_text(text)
    assert run(["split", "lab.json", "-o", "parts"]) == 2
    words = "h2.json is there, and is no part of the lab lab; give another folder"
    assert capsys.readouterr().err == f"kokofast: -o parts: {words}\n"
    assert os.listdir("parts") == ["h2.json"]
    assert Path("parts/h2.json").read_text() == text


@pytest.mark.parametrize(
    ("where", "code", "words"),
    [("no/such", 2, "No such file"), ("lab.json", 2, "Not a directory"), ("/proc/x", 2, "No such file")],
)
def test_a_folder_that_cannot_be(where: str, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["split", "lab.json", "-o", where]) == code
    assert f"-o {where}: cannot be written: {words}" in capsys.readouterr().err


def test_more_hosts_than_files_may_be_open() -> None:
    number = 300
    hosts = {f"h{one}": {"address": f"10.0.{one >> 8}.{one & 255}", "parent": "eth0"} for one in range(1, number + 1)}
    nodes = {f"n{one}": {"host": f"h{one}"} for one in range(1, number + 1)}
    links = [[f"n{one}", f"n{one % number + 1}"] for one in range(1, number + 1)]
    written("many.json", {"name": "many", "hosts": hosts, "nodes": nodes, "links": links})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        for _ in range(2):
            assert run(["split", "many.json", "-o", "parts", "-q"]) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir("parts")) == number


def test_nothing_is_left_of_a_write_that_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["split", "lab.json", "-o", "parts", "-q"]) == 0
    before = {name: (Path("parts") / name).read_bytes() for name in os.listdir("parts")}
    written("lab.json", {**LAB, "between": {"vni": 7}})
    calls: list[int] = []

    def full(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(["split", "lab.json", "-o", "parts"]) == 1
    assert capsys.readouterr().err == "kokofast: -o parts: cannot be written: No space left on device\n"
    assert {name: (Path("parts") / name).read_bytes() for name in os.listdir("parts")} == before


@pytest.mark.parametrize(
    "command",
    [
        ["batch"],
        ["batch", "--dry-run"],
        ["destroy"],
        ["watch", "--once"],
        ["verify"],
        ["graph"],
        ["doctor"],
        ["play", "t.jsonl"],
    ],
    ids=" ".join,
)
def test_a_whole_lab_is_refused_where_a_part_is_meant(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command[0], "lab.json", *command[1:]]) == 2
    assert "the file is for 2 hosts: split it first (kokofast split lab.json -o DIR)" in capsys.readouterr().err


def test_a_whole_lab_is_valid_and_can_be_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "lab.json"]) == 0
    assert run(["graph", "lab.json", "--no-state", "--format", "dot"]) == 0
    assert '"b"' in capsys.readouterr().out


def test_the_library_refuses_a_whole_lab() -> None:
    topology = library.load("lab.json")
    for function in (library.sync.apply, library.sync.destroy, library.sync.verify):
        with pytest.raises(TopologyError, match="split it first"):
            function(topology)


def test_parents_of_a_whole_lab_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    tree = {**LAB, "links": [*LAB["links"], {"type": "vlan", "endpoint": "c:v", "parent": "eth0", "id": 5}]}
    assert run(["graph", written("v.json", tree), "--no-state", "--format", "mmd"]) == 0
    assert "eth0" in capsys.readouterr().out


def test_what_generate_prints_is_placed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    written("hosts.json", {"hosts": HOSTS})
    assert run(["generate", "torus", "--rows", "6", "--columns", "6"]) == 0
    Path("torus.json").write_text(capsys.readouterr().out)
    assert run(["split", "torus.json", "--hosts", "hosts.json", "--place", "-o", "parts"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("72 links, of which ")
    assert sum(len(load(Path(f"parts/{name}.json").read_bytes(), filename=name).nodes) for name in HOSTS) == 36
    assert run(["split", "torus.json", "--hosts", "hosts.json", "-o", "parts"]) == 2
    assert "r0-0, r0-1, r1-0, r0-2, r1-1 and 31 more have no host" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pymetis", None)
    assert run(["split", "torus.json", "--hosts", "hosts.json", "--place", "-o", "parts"]) == 1
    assert capsys.readouterr().err == "kokofast: --place needs METIS: pip install 'kokofast[hosts]'\n"


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.write(write, json.dumps(LAB).encode())
    os.close(write)
    before = os.dup(0)
    os.dup2(read, 0)
    try:
        assert run(["split", "-", "-o", "parts"]) == 0
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(read)
    assert sys.stdin is not None
    assert "2 links" in capsys.readouterr().out


TIMELINE = [
    {"at": 1, "set": [{"endpoints": ["b:y", "c:y"], "rate": "1mbit"}]},
    {"at": 2, "set": [{"endpoints": ["a:x", "b:x"], "rate": "1mbit"}], "run": {"node": "c", "command": ["true"]}},
    {"at": 3, "remove": [["a:x", "b:x"]]},
]


def timeline(*epochs: object) -> str:
    Path("t.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    return "t.jsonl"


def test_a_timeline_is_split_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["split", "lab.json", "-o", "parts", "--timeline", timeline(*TIMELINE)]
    assert run([*arguments, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    Draft202012Validator(schema_of_split()).validate(found)
    assert found["hosts"]["h2"]["timeline"] == "parts/h2.timeline.jsonl"
    assert Path("parts/h1.timeline.jsonl").read_text().splitlines() == [
        '{"at": 1.0, "set": [{"endpoint": "b:y", "rate": "1mbit"}]}',
        '{"at": 2.0, "set": [{"endpoints": ["a:x", "b:x"], "rate": "1mbit"}]}',
        '{"at": 3.0, "remove": [{"endpoints": ["a:x", "b:x"]}]}',
    ]
    assert Path("parts/h2.timeline.jsonl").read_text().splitlines() == [
        '{"at": 1.0, "set": [{"endpoint": "c:y", "rate": "1mbit"}]}',
        '{"at": 2.0, "run": [{"node": "c", "command": ["true"]}]}',
        '{"at": 3.0}',
    ]
    for host in HOSTS:
        assert run(["play", f"parts/{host}.json", f"parts/{host}.timeline.jsonl", "--dry-run"]) == 0
    assert run([*arguments, "-q"]) == 0  # over those of before
    capsys.readouterr()
    Path("parts/h3.timeline.jsonl").write_text("")
    assert run(["split", "lab.json", "-o", "parts"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "kokofast: note: -o parts: h1.timeline.jsonl is removed: the lab has no such part any more",
        "kokofast: note: -o parts: h2.timeline.jsonl is removed: the lab has no such part any more",
        "kokofast: note: -o parts: h3.timeline.jsonl is no part of this lab, and is left as it is",
    ]
    assert sorted(os.listdir("parts")) == ["h1.json", "h2.json", "h3.timeline.jsonl"]
    Path("parts/h1.timeline.jsonl").write_text("of the user")
    assert run(arguments) == 2
    assert "h1.timeline.jsonl is there, and is no part of the lab lab" in capsys.readouterr().err
    assert Path("parts/h1.timeline.jsonl").read_text() == "of the user"


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        ([], ["t.jsonl: there is no epoch in it"]),
        (
            [{"at": 1, "set": [{"endpoint": "q:x", "rate": "1mbit"}]}, {"at": 0}, {"at": 2, "remove": [["a", "c"]]}],
            [
                "t.jsonl:1 set[0].endpoint: there is no link 'q:x' at this time",
                "t.jsonl:2 at: is before that of the epoch before, t.jsonl:1",
                "t.jsonl:3 remove[0].endpoints: there is no link between 'a' and 'c' at this time",
            ],
        ),
    ],
)
def test_all_mistakes_of_a_timeline(epochs: list[object], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["split", "lab.json", "-o", "parts", "--timeline", timeline(*epochs)]) == 2
    assert capsys.readouterr().err.splitlines() == [f"kokofast: {line}" for line in words]
    assert not Path("parts").exists()
