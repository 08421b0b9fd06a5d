"""What the machine lacks is told as what it is, and the exit code says what became of the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.faults.machine import Machine

pytestmark = pytest.mark.usefixtures("requires_root")

KOKOFAST = (sys.executable, "-m", "kokofast")
# A chain of 7 namespaces.
CHAIN = [{"endpoints": [f"r{i}:e1", f"r{i + 1}:e0"]} for i in range(6)]


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    try:
        made.must("sh", "-c", "cat > /run/chain.json", input=json.dumps({"name": "words", "links": CHAIN}))
        yield made
    finally:
        made.close()


def batch(machine: Machine, before: str, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the result of a batch of the chain, after a shell's command in the same mount namespace."""
    command = [*KOKOFAST, "batch", "/run/chain.json", "--create", "--format", "json", *options]
    done = machine.run("sh", "-c", f'{before} && exec "$@"', "sh", *command)
    return done.returncode, json.loads(done.stdout)


def test_without_proc(machine: Machine) -> None:
    hidden = ["unshare", "--mount", "sh", "-c", 'while umount -l /proc 2>/dev/null; do :; done; exec "$@"', "sh"]
    for command in (["batch", "/run/chain.json"], ["destroy", "--all"], ["-n", "a,k0", "-n", "b,k0"]):
        done = machine.run(*hidden, *KOKOFAST, *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "kokofast: there is no /proc here; mount it: mount -t proc proc /proc\n"


def test_a_sandbox_whose_process_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "links.json"
    file.write_text(json.dumps(CHAIN))
    script = """
import os
def fork():
    raise BlockingIOError(11, "Resource temporarily unavailable")
os.fork = fork
from kokofast.__main__ import main
main()
"""
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", script, "batch", str(file), "--sandbox"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "kokofast: the sandbox cannot be made: Resource temporarily unavailable\n"


def test_a_read_only_directory_of_names(machine: Machine) -> None:
    read_only = "mount --bind /run/netns /run/netns && mount -o remount,ro,bind /run/netns"
    code, found = batch(machine, read_only)
    assert (code, found["status"], found["links"]["failed"], found["namespaces"]["failed"]) == (1, "rolled_back", 0, 7)
    assert found["errors"][0]["message"] == "namespace r0 cannot be made: /run/netns: Read-only file system"
    machine.must("umount", "/run/netns")
    assert batch(machine, "true")[1]["status"] == "applied"
    machine.must("mount", "-o", "remount,ro,bind", "/run/netns")
    done = machine.run(*KOKOFAST, "destroy", "--name", "words")
    assert done.returncode == 3
    assert "r0: the namespace cannot be removed: " in done.stderr
    assert "/run/netns is read-only" in done.stderr
    assert "CAP_DAC_OVERRIDE" not in done.stderr
    machine.must("mount", "-o", "remount,rw,bind", "/run/netns")
    machine.must(*KOKOFAST, "destroy", "--name", "words")


def test_a_full_disk_is_named(machine: Machine) -> None:
    full = "mount -t tmpfs -o nr_inodes=1 none /run/netns"
    code, found = batch(machine, full)
    assert (code, found["namespaces"]["failed"]) == (1, 7)
    assert "cannot be made: /run/netns: No space left on device" in found["errors"][0]["message"]


def test_root_without_capabilities_is_not_sent_to_sudo(machine: Machine) -> None:
    without = ["setpriv", "--bounding-set", "-net_admin"]
    for command in (["batch", "/run/chain.json"], ["-n", "a,k0", "-n", "b,k0"]):
        done = machine.run(*without, *KOKOFAST, *command)
        assert done.returncode == 1
        assert "this needs CAP_NET_ADMIN, which root does not have here" in done.stderr
        assert "--cap-add NET_ADMIN" in done.stderr
        assert "sudo" not in done.stderr
        assert "--sandbox" not in done.stderr


def test_names_that_nobody_else_sees_are_told(machine: Machine) -> None:
    # The machine's processes have a process namespace of their own, as a container's.
    _, found = batch(machine, "true")
    (note,) = found["notes"]
    assert "are seen from here only, and end with it" in note
    machine.must(*KOKOFAST, "destroy", "--name", "words")
    # A directory that was given to it from outside.
    _, found = batch(machine, "mkdir /run/outside && mount -t tmpfs none /run/netns")
    assert "notes" not in found
    machine.must(*KOKOFAST, "destroy", "--name", "words")
    machine.must("umount", "/run/netns")
    # What ``ip netns exec`` does.
    done = machine.run(
        *["unshare", "--mount", "--propagation", "slave", *KOKOFAST, "batch", "/run/chain.json", "--create"]
    )
    assert done.returncode == 0
    assert "are seen from here only, and end with it" in done.stdout + done.stderr


def test_names_that_are_not_ascii(machine: Machine) -> None:
    links = [{"endpoints": ["nü:e1", "nö:e0"]}]
    machine.must("sh", "-c", "cat > /run/ä.json", input=json.dumps({"name": "words", "links": links}))
    ascii_only = ["env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"]
    machine.must(*ascii_only, *KOKOFAST, "batch", "/run/ä.json", "--create")
    assert sorted(machine.names()) == ["nö", "nü"]
    machine.must(*ascii_only, *KOKOFAST, "-n", "nü,k0", "-n", "nö,k0")
    machine.must(*ascii_only, *KOKOFAST, "destroy", "/run/ä.json", "--force")
    assert machine.names() == []


def test_a_limit_on_namespaces_with_keep_going(tmp_path: Path) -> None:
    file = tmp_path / "links.json"
    file.write_text(json.dumps({"name": "words", "links": CHAIN}))
    # The namespace of unshare itself, an empty one to make links from, and four of the seven.
    script = 'mount -t tmpfs none /run && echo 6 > /proc/sys/user/max_net_namespaces && exec "$@"'
    command = [*KOKOFAST, "batch", str(file), "--create", "--keep-going", "--format", "json"]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "--net", "sh", "-c", script, "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["status"], found["namespaces"]["created"]) == (3, "partial", 4)
    assert (found["links"]["created"], found["links"]["failed"]) == (3, 3)


@pytest.mark.parametrize(("limit", "code"), [("100000:100000", 1), ("150000:150000", 0), ("100000:1000000", 0)])
def test_a_short_stack(limit: str, code: int) -> None:
    command = ["prlimit", f"--stack={limit}", *KOKOFAST, "validate", "examples/chain.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    said = "kokofast: the limit on the stack is 97 kB; raise it: ulimit -s 1024\n"
    assert (done.returncode, done.stderr) == (code, said if code else "")


def test_ctrl_c_while_the_first_modules_are_imported() -> None:
    script = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name in ("argparse", "kokofast.cli.main", "kokofast.koko.command", "resource"):
            os.kill(os.getpid(), 2)
sys.modules.pop("resource", None)
sys.meta_path.insert(0, Interrupt())
from kokofast.__main__ import main
main()
"""
    for arguments in (["validate", os.devnull], ["-v"]):
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (1, "kokofast: interrupted\n")
