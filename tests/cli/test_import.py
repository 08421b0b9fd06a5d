"""import, and the other commands with a file of another program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kokofast as library
from kokofast.cli.main import run
from kokofast.topology import dump_json, dump_yaml, load
from tests.importers.test_containerlab import ODD

LAB = "LAB_NAME=two\na[0]=X\nb[0]=X\nb[1]=Y\n"
TREE = (
    '{\n  "name": "two",\n  "nodes": {\n    "a": {"netns": "a", "create": true},\n'
    '    "b": {"netns": "b", "create": true}\n  },\n  "links": [\n    {"endpoints": ["a:eth0", "b:eth0"]},\n'
    '    {"type": "bridge", "endpoints": ["b:eth1"]}\n  ]\n}\n'
)
IN_YAML = """\
name: two
nodes:
  a: {netns: a, create: true}
  b: {netns: b, create: true}
links:
  - {endpoints: ['a:eth0', 'b:eth0']}
  - {type: bridge, endpoints: ['b:eth1']}
"""
STARTUP = (
    "kokofast: note: lab.conf: addresses and routes are in the .startup files of the devices, which are not read\n"
)
RECOGNISED = "kokofast: lab.conf: read as a lab.conf of Kathara or Netkit\n" + STARTUP


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.conf").write_text(LAB)
    (tmp_path / "odd.clab.yml").write_text(ODD)
    return tmp_path


def test_it_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "lab.conf"]) == 0
    assert capfd.readouterr() == (TREE, RECOGNISED)
    assert run(["import", "lab.conf", "-q", "--name", "other"]) == 0
    assert capfd.readouterr() == (TREE.replace("two", "other"), "")


def test_it_is_written_whole_and_not_over_another_file(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, expected in (("x.json", TREE), ("x.yaml", IN_YAML), ("x.yml", IN_YAML)):
        assert run(["import", "lab.conf", "-q", "-o", name]) == 0
        assert (folder / name).read_text() == expected
        assert run(["import", "lab.conf", "-q", "-o", name]) == 2
        assert capfd.readouterr() == ("", f"kokofast: -o {name}: is there already; --force overwrites it\n")
    (folder / "link.json").symlink_to("x.json")
    (folder / "x.json").write_text("old")
    assert run(["import", "lab.conf", "-q", "--force", "-o", "link.json"]) == 0
    assert (folder / "x.json").read_text() == TREE
    assert (folder / "link.json").is_symlink()
    assert sorted(os.listdir()) == ["lab.conf", "link.json", "odd.clab.yml", "x.json", "x.yaml", "x.yml"]


def test_a_file_that_cannot_be_written(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe.json")
    for arguments, code, words in [
        (["-o", "x.csv"], 2, "-o x.csv: give the name of a .json or .yaml file"),
        (["-o", "no/x.json"], 2, "-o no/x.json: cannot be written: No such file or directory"),
        (["-o", "lab.conf/x.json"], 2, "-o lab.conf/x.json: cannot be written: Not a directory"),
        (["-o", "pipe.json"], 2, "-o pipe.json: cannot be written: is not a regular file; without -o it is printed"),
    ]:
        assert run(["import", "lab.conf", "-q", *arguments]) == code
        assert capfd.readouterr() == ("", f"kokofast: {words}\n")
    assert sorted(os.listdir()) == ["lab.conf", "odd.clab.yml", "pipe.json"]


def test_the_file_that_is_read_is_not_overwritten(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "lab.json").write_text(TREE)
    assert run(["import", "lab.json", "--force", "-o", "lab.json"]) == 2
    words = "-o lab.json: cannot be written: it is the file that the links are read from"
    assert capfd.readouterr() == ("", f"kokofast: {words}\n")
    assert run(["graph", "lab.json", "--no-state", "--format", "dot", "--force", "-o", "lab.json"]) == 2
    assert capfd.readouterr() == ("", f"kokofast: {words}\n")
    assert (folder / "lab.json").read_text() == TREE


def test_names_in_notes_and_errors_are_readable(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "x.el").write_text("Zürich Wien\n")
    assert run(["import", "x.el"]) == 0
    assert "'Zürich' is Zurich" in capfd.readouterr().err
    (folder / "x.json").write_text('{"links": [["Zürich:ä/ä", "b"], ["\\u202ea", "b"]]}')
    assert run(["import", "x.json"]) == 2
    printed = capfd.readouterr().err
    assert "the interface name 'ä/ä' has a slash" in printed
    assert r"'\u202ea' has a control character" in printed


def test_a_list_of_edges_without_a_name_that_says_so(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "x.net").write_text("a b 10ms\nb c\n")
    assert run(["import", "x.net"]) == 2
    assert "; a list of edges is read with --from edges\n" in capfd.readouterr().err
    assert run(["import", "x.net", "--from", "edges"]) == 0


@pytest.mark.parametrize("dump", [dump_json, dump_yaml])
def test_what_is_written_is_read_as_the_same(folder: Path, capfd: pytest.CaptureFixture[str], dump: object) -> None:
    ending = "json" if dump is dump_json else "yaml"
    for file in ("odd.clab.yml", "lab.conf"):
        assert run(["import", file, "-q", "--force", "-o", f"x.{ending}"]) == 0
        one, other = (library.load(name) for name in (file, f"x.{ending}"))
        assert [repr(link) for link in one.links] == [repr(link) for link in other.links]
        assert {name: repr(node) for name, node in one.nodes.items()} == {n: repr(d) for n, d in other.nodes.items()}
        assert (one.name, other.notes, other.imported) == (other.name, (), "")
        assert one.notes


@pytest.mark.parametrize(
    "word", ["1", "0o7", "1e3", "~", "on", "null", "12:34", "a b", "#", "x" * 200, "'", '"', "é", "-", "?"]
)
def test_names_in_yaml_stay_texts(word: str) -> None:
    tree = {"name": "x", "nodes": {word: {"netns": word}}, "links": [{"endpoints": [{"node": word}, "b:x"]}]}
    topology = load("\n".join(dump_yaml(tree)).encode(), filename="x.yaml")
    assert list(topology.nodes) == [word, "b"]


def test_a_folder_is_not_a_file(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", ".", "--sandbox"]) == 2
    assert capfd.readouterr()[1] == "kokofast: .: Is a directory; give the file in it: ./lab.conf\n"
    (folder / "empty").mkdir()
    assert run(["import", "empty"]) == 2
    assert capfd.readouterr()[1] == "kokofast: empty: Is a directory; give a file\n"


def test_what_other_commands_say(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "lab.conf"]) == 0
    assert capfd.readouterr() == ("", RECOGNISED)
    assert run(["validate", "lab.conf", "-q"]) == 0
    assert run(["validate", "--from", "kathara", "lab.conf", "-q"]) == 0
    assert capfd.readouterr() == ("", "")
    assert run(["validate", "--from", "containerlab", "lab.conf"]) == 2
    assert capfd.readouterr()[1] == "kokofast: lab.conf: this is no mapping in YAML\n"
    Path("ours.yaml").write_text("[[a, b]]\n")
    assert run(["validate", "--runtime", "docker", "ours.yaml"]) == 2
    assert "--runtime is for files of other programs" in capfd.readouterr()[1]


def test_the_library_reads_them_too() -> None:
    topology = library.load("lab.conf")
    assert topology.imported == "a lab.conf of Kathara or Netkit"
    assert [str(note) for note in topology.notes] == [STARTUP.removeprefix("kokofast: note: ").rstrip()]
    assert library.load("odd.clab.yml", runtime="docker").nodes["xr"].kind == "docker"
    assert library.load("lab.conf", format="kathara").name == "two"
    with pytest.raises(ValueError, match="runtime is one of docker, podman, not 'lxc'"):
        library.load("lab.conf", runtime="lxc")


def test_importers_are_not_imported_for_files_of_ours() -> None:
    script = (
        "import sys; from kokofast.topology import load\n"
        "load(b'links: [[a, b]]', filename='x.yaml'); load(b'[[\"a\", \"b\"]]', filename='-')\n"
        "load(b'a_node,b_node\\na,b\\n', filename='-')\n"
        "assert not [name for name in sys.modules if name.startswith('kokofast.importers')]\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
