"""hosts verify: frames over the links of three hosts and between them, and what is said of links that do not carry."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench.underlay import Underlay
from kokofast.cli.main import run
from kokofast.cli.result_schema import schema_of_hosts
from tests.hosts.ansible import environment, says_unreachable

NAME = "checked"
INSIDE, FIRST, SECOND, PLAIN, LAN = range(5)
LINKS: list[Any] = [
    ["a1:in:10.0.0.1/30", "a2:in:10.0.0.2/30"],
    ["a1:ab:10.0.1.1/30", "b1:ba:10.0.1.2/30,2001:db8::2/64"],
    ["b1:bc:10.0.2.1/30,2001:db8:1::1/64", "c1:cb:10.0.2.2/30,2001:db8:1::2/64"],
    {"endpoints": ["c1:ca", "a2:ac"], "between": "macvlan"},
    {
        "type": "bridge",
        "endpoints": [f"{node}:lan:10.0.4.{at}/24" for at, node in enumerate(("a1", "a2", "b1", "c1"), 1)],
    },
]
NODES = {"a1": "h1", "a2": "h1", "b1": "h2", "c1": "h3"}


class Lab:
    """The lab, wired, and a file of it."""

    def __init__(self, underlay: Underlay, folder: Path) -> None:
        self.hosts = underlay.hosts
        self._underlay = underlay
        self._folder = folder
        self.file = folder / "checked.json"
        nodes = {node: {"host": host} for node, host in NODES.items()}
        top = {"name": NAME, "hosts": underlay.declared(), "defaults": {"create": True}, "nodes": nodes}
        self.file.write_text(json.dumps({**top, "links": LINKS}))

    def verify(self, *source: str, text: bool = False) -> tuple[int, Any, str]:
        """The exit code, what was printed, and the messages."""
        options = [*(source or [str(self.file)]), *([] if text else ["--format=json"])]
        done = subprocess.run(
            self._underlay.controller.command(sys.executable, "-m", "kokofast", "hosts", "verify", *options),
            env=environment(self._folder),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if text:
            return done.returncode, done.stdout, done.stderr
        found = json.loads(done.stdout)
        jsonschema.validate(found, schema_of_hosts())
        return done.returncode, found, done.stderr


@pytest.fixture(scope="module")
def parts(underlay: Underlay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The file of each host."""
    folder = tmp_path_factory.mktemp("checked")
    lab = Lab(underlay, folder)
    assert run(["split", str(lab.file), "-o", str(folder / "parts"), "-q"]) == 0
    yield {name: str(folder / "parts" / f"{name}.json") for name in underlay.hosts}
    for host in underlay.hosts.values():
        host.kokofast("destroy", "--name", NAME)


@pytest.fixture
def lab(underlay: Underlay, parts: dict[str, str], tmp_path: Path) -> Lab:
    """The lab, as its file says."""
    for name, host in underlay.hosts.items():
        host.kokofast("batch", parts[name], "--replace")
    return Lab(underlay, tmp_path)


def messages_of(found: Any) -> dict[str, list[tuple[str, str, str]]]:
    return {
        link["source"]: sorted((one["host"], one["check"], one["message"]) for one in link["problems"])
        for link in found["links"]
    }


def test_all_links_carry(lab: Lab) -> None:
    code, found, messages = lab.verify()
    assert (code, found["ok"], found["links"], found["errors"]) == (0, True, [], []), messages
    assert {name: one["links"] for name, one in found["hosts"].items()} == {
        "h1": {"ok": 8, "unchecked": 0, "failed": 0},
        "h2": {"ok": 3, "unchecked": 0, "failed": 0},
        "h3": {"ok": 3, "unchecked": 0, "failed": 0},
    }
    before = {name: host.state() for name, host in lab.hosts.items()}
    code, text, messages = lab.verify(text=True)
    assert {name: host.state() for name, host in lab.hosts.items()} == before
    assert text.splitlines()[:3] == ["h1: 8 links: 8 ok", "h2: 3 links: 3 ok", "h3: 3 links: 3 ok"], messages
    assert text.splitlines()[3].startswith("checked: ok, 3 hosts in ")


def test_what_fails_is_said_with_host_link_and_place(lab: Lab) -> None:
    lab.hosts["h1"].run("ip", "-n", "a1", "link", "set", "in", "down")
    lab.hosts["h2"].run("ip", "-n", "b1", "address", "delete", "10.0.2.1/30", "dev", "bc")
    code, found, messages = lab.verify(str(lab.file), "--timeout=4")
    told = messages_of(found)
    assert code == 1, messages
    assert told.keys() == {f"$.links[{INSIDE}]", f"$.links[{SECOND}]"}
    assert [one[:2] for one in told[f"$.links[{INSIDE}]"]] == [("h1", "down")]
    assert told[f"$.links[{SECOND}]"][1] == (
        "h3",
        "address",
        "b1:bc on h2 does not answer for 10.0.2.1 when c1:cb asks",
    )
    assert told[f"$.links[{SECOND}]"][0][:2] == ("h2", "different")
    assert found["links"][1]["link"] == "b1:bc -- c1:cb"
    assert found["links"][1]["position"].startswith(f"{lab.file}:1:")
    assert {name: one["state"] for name, one in found["hosts"].items()} == dict.fromkeys(("h1", "h2", "h3"), "failed")
    code, text, _ = lab.verify("--quiet", "--timeout=4", str(lab.file), text=True)
    header, *rows = text.splitlines()
    assert code == 1
    assert header.split() == ["HOST", "TYPE", "LINK", "PLACE", "DETAILS"]
    assert sorted(row.split()[0] for row in rows) == ["h1", "h2", "h3"]


def test_an_end_that_is_down_and_a_path_too_narrow(lab: Lab) -> None:
    lab.hosts["h2"].run("ip", "-n", "b1", "link", "set", "ba", "down")
    # What is too long for the parent of a vxlan is lost without a word.
    lab.hosts["h3"].run("ip", "link", "set", "eth0", "mtu", "1400")
    try:
        code, found, messages = lab.verify(str(lab.file), "--timeout=4")
    finally:
        lab.hosts["h3"].run("ip", "link", "set", "eth0", "mtu", "1500")
    told = messages_of(found)
    assert code == 1, messages
    assert [one[:2] for one in told[f"$.links[{FIRST}]"]] == [("h1", "carry"), ("h2", "down")]
    assert told[f"$.links[{FIRST}]"][0][2].startswith("frames from b1:ba on h2 do not arrive at a1:ab, within ")
    words = "frames of the MTU of b1:bc on h2 do not arrive at c1:cb, small ones do"
    assert ("h3", "mtu", words) in told[f"$.links[{SECOND}]"]


def test_a_host_that_cannot_be_reached(lab: Lab) -> None:
    lab.hosts["h3"].cut_off()
    try:
        code, found, messages = lab.verify()
    finally:
        lab.hosts["h3"].listen()
    assert code == 1
    assert {name: one["state"] for name, one in found["hosts"].items()} == {
        "h1": "failed",
        "h2": "failed",
        "h3": "unreachable",
    }
    assert [error["host"] for error in found["errors"]] == ["h3"]
    assert says_unreachable(messages, "h3", "10.99.0.3"), messages
    told = messages_of(found)
    assert told[f"$.links[{SECOND}]"][0][2].startswith("frames from c1:cb on h3 do not arrive at b1:bc, within ")
    assert f"$.links[{INSIDE}]" not in told
    assert f"$.links[{FIRST}]" not in told


def test_a_lab_without_its_file(lab: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.json"
    hosts = {
        name: {"ansible_host": one["address"], **one["vars"]}
        for name, one in json.loads(lab.file.read_text())["hosts"].items()
    }
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    code, found, messages = lab.verify(NAME, "--inventory", str(inventory))
    assert (code, found["ok"], found["links"]) == (0, True, []), messages
    assert found["hosts"]["h2"]["links"] == {"ok": 0, "unchecked": 3, "failed": 0}
    code, found, messages = lab.verify("none", "--inventory", str(inventory))
    assert (code, found["ok"]) == (1, False)
    assert messages.count("no link of the lab none is there") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{file}", "--inventory", "x"], "give a FILE, which has the hosts; or LAB"),
        (["lab"], "give a FILE, which has the hosts; or LAB"),
        (["lab", "--inventory", "none"], "--inventory none: No such file or directory"),
    ],
)
def test_what_cannot_be_meant(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.json"
    file.write_text("{}")
    assert run(["hosts", "verify", *(one.format(file=file) for one in arguments)]) == 2
    assert message in capsys.readouterr().err
