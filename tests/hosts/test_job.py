"""A command in the background with a lease, as the module play has it; without Ansible."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tests.kernel.conftest
from tests.hosts.ansible import ABOVE

NAME = "0123456789abcdef"
PATIENCE = 30.0
until = partial(tests.kernel.conftest.until, what="the hosts", patience=PATIENCE, pause=0.05)
# As play: it prints, and ends at SIGTERM with an epoch that is complete.
COMMAND = 'trap "echo last; exit 1" TERM; cat "$1"/given; echo told >&2; while :; do sleep 0.05; done'
LONG = 300.0
# The supervisor of a job is forked by a process that is then gone.
STARTER = """
import sys
sys.path.insert(0, {above!r})
from ansible_collections.kokofast.lab.plugins.module_utils.job import Job
Job({name!r}, ["given"], {folder!r}).start(lambda folder: [*{command!r}, folder], {{"given": "first\\n"}}, {lease})
"""


def module() -> Any:
    sys.path.insert(0, str(ABOVE))
    try:
        return importlib.import_module("ansible_collections.kokofast.lab.plugins.module_utils.job")
    finally:
        sys.path.remove(str(ABOVE))


def started(folder: Path, lease: float, command: str = COMMAND) -> Any:
    """Start a job; return it as another process sees it."""
    text = STARTER.format(
        above=str(ABOVE), name=NAME, folder=str(folder / "jobs"), command=["sh", "-c", command, "sh"], lease=lease
    )
    # Its pipes end with it: the supervisor has let go of them.
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return module().Job(NAME, ["given"], str(folder / "jobs"))


def is_gone(folder: Path) -> bool:
    return not os.listdir(folder / "jobs")


def test_it_goes_on_until_it_is_told_to_end(tmp_path: Path) -> None:
    job = started(tmp_path, LONG)
    until(lambda: job.look(0).lines)
    look = job.look(0)
    assert (look.lines, look.offset, look.code) == (["first"], 6, None)
    until(lambda: job.look(0).messages == "told\n")
    job.renew()
    job.stop()
    until(lambda: job.look(0).code is not None)
    assert job.look(look.offset)[:3] == (["last"], 11, 1)
    job.forget()
    assert is_gone(tmp_path)
    with pytest.raises(FileNotFoundError):
        job.look(0)
    with pytest.raises(FileNotFoundError):
        job.renew()


def test_without_renewal_it_ends_and_nothing_is_left(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    started(tmp_path, 1.0, f'trap "touch {witness}; exit 1" TERM; while :; do sleep 0.05; done')
    until(witness.exists)
    until(lambda: is_gone(tmp_path))


def test_renewals_keep_it(tmp_path: Path) -> None:
    job = started(tmp_path, 2.0)
    for _ in range(12):
        time.sleep(0.4)
        job.renew()
    assert job.look(0).code is None
    job.stop()
    until(lambda: job.look(0).code == 1)
    job.forget()


def test_when_what_watches_over_it_is_killed_it_ends_and_that_is_known(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    end = f"echo interrupted >&2; touch {witness}; exit 1"
    job = started(tmp_path, LONG, f'echo $PPID; trap "{end}" TERM; while :; do sleep 0.05; done')
    until(lambda: job.look(0).lines)
    look = job.look(0)
    assert look.code is None
    os.kill(int(look.lines[0]), signal.SIGKILL)
    until(witness.exists)
    until(lambda: job.look(0).code == module().KILLED)
    assert job.look(0).messages == "ended: its supervisor was killed\ninterrupted\n"
    job.forget()
    assert is_gone(tmp_path)


def test_a_command_that_is_not_there_has_an_exit_code(tmp_path: Path) -> None:
    job = started(tmp_path, LONG, "exit 7")
    until(lambda: job.look(0).code == 7)
    job.forget()


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    job = module().Job(NAME, ["given"], str(tmp_path / "jobs"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # a disk that is full
    try:
        with pytest.raises(OSError, match="File too large"):
            job.start(lambda _: ["true"], {"given": "x" * 10_000}, LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_gone(tmp_path)


def test_one_that_nobody_has_asked_for_says_why_it_ended(tmp_path: Path) -> None:
    job = started(tmp_path, 2.0, 'trap "echo interrupted >&2; exit 1" TERM; while :; do sleep 0.05; done')
    until(lambda: job.look(0).code == 1)
    assert job.look(0).messages == "ended: its lease of 2 s was not renewed; give a longer lease\ninterrupted\n"


@pytest.mark.parametrize("name", ["", "../x", "0123456", "0123456789ABCDEF", "0123456789abcdef/", "0123456789abcdef\n"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a job"):
        module().Job(name, (), str(tmp_path))


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    for make in (lambda path: path.symlink_to("/tmp"), lambda path: (path.mkdir(), path.chmod(0o777))):
        path = tmp_path / f"jobs{len(os.listdir(tmp_path))}"
        make(path)
        with pytest.raises(PermissionError, match="is not a folder of our own"):
            module().Job(NAME, (), str(path)).start(lambda _: ["true"], {}, LONG)
