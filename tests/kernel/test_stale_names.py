"""Names in /run/netns that lead to no namespace: batch says what each is, and the command that it names cures it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import NETNS_DIRECTORY, NamespaceFactory, RunKokofast, links
from tests.kernel.conftest import Lab

pytestmark = pytest.mark.usefixtures("requires_root")

LEFTOVERS = {
    "link": "is a symbolic link that leads to no namespace",
    "loop": "is a symbolic link that leads to no namespace",
    "empty": "is an empty file and no namespace: an 'ip netns add' was killed",
    "claim": "but the lab 'kft-gone' has claimed its name: the run that was to make it was killed",
}


def leave(path: Path, what: str) -> None:
    if what in ("link", "loop"):
        path.symlink_to(path.name if what == "loop" else "/nowhere/at/all")
    else:
        path.write_text("kokofast:kft-gone:namespace" if what == "claim" else "")


@pytest.fixture
def stale(netns: NamespaceFactory) -> Iterator[Path]:
    """A name for what is left over."""
    netns()  # the directory is there
    path = NETNS_DIRECTORY / netns.reserve("stale name")
    yield path
    if not os.path.ismount(path):  # else it is the lab's by now, and goes with that
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("create", [["--create"], []], ids=["create", "plain"])
@pytest.mark.parametrize("what", LEFTOVERS)
def test_a_stale_name_is_told_and_the_command_cures_it(
    lab: Lab, stale: Path, kokofast: RunKokofast, what: str, create: list[str]
) -> None:
    leave(stale, what)
    lab.write([{"endpoints": [f"{stale.name}:e0", f"{lab.node('b')}:e0"]}])
    for more in (["--dry-run"], []):
        done = kokofast("batch", lab.file, *create, *more)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert LEFTOVERS[what] in line
        assert os.path.lexists(stale)
    command = re.search(r" with '(.*)'$", line)
    assert command is not None, line
    words = shlex.split(command[1])
    words[:1] = [sys.executable, "-m", "kokofast"] if words[0] == "kokofast" else words[:1]
    assert subprocess.run(words, check=False, capture_output=True).returncode == 0
    assert not os.path.lexists(stale)
    assert lab.batch("--create")["status"] == "applied"


def test_links_of_other_nodes_are_made_when_told_to_keep_going(lab: Lab, stale: Path, kokofast: RunKokofast) -> None:
    leave(stale, "link")
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{stale.name}:e0", f"{b}:e0"]}, {"endpoints": [f"{a}:e1", f"{b}:e1"]}])
    done = kokofast("batch", lab.file, "--create", "--keep-going")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert LEFTOVERS["link"] in line
    assert line.endswith("; links that need it: 1")
    assert set(links(a)) == set(links(b)) == {"e1"}


@pytest.mark.parametrize("what", LEFTOVERS)
def test_kokos_command_line_says_the_same(
    stale: Path, netns: NamespaceFactory, kokofast: RunKokofast, what: str
) -> None:
    leave(stale, what)
    done = kokofast("-n", f"{stale.name},e0", "-n", f"{netns()},e0")
    assert done.returncode == 2
    assert LEFTOVERS[what] in done.stderr


def test_a_claim_of_the_same_lab_is_taken_over(lab: Lab, stale: Path) -> None:
    stale.write_text(f"kokofast:{lab.name}:namespace")
    lab.write([{"endpoints": [f"{stale.name}:e0", f"{lab.node('b')}:e0"]}])
    assert lab.batch("--create")["namespaces"] == {"created": 1}
    assert os.path.ismount(stale)


def test_a_plain_file_is_no_ones_leftover(lab: Lab, stale: Path, kokofast: RunKokofast) -> None:
    stale.write_text("notes of mine")
    lab.write([{"endpoints": [f"{stale.name}:e0", f"{lab.node('b')}:e0"]}])
    done = kokofast("batch", lab.file, "--create")
    assert done.returncode == 2
    assert done.stderr.endswith("is not a network namespace\n")
    assert stale.read_text() == "notes of mine"
