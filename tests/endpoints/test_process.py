"""What /proc says of a process."""

from __future__ import annotations

import os
import subprocess
import sys

from kokofast.endpoints import process
from tests.endpoints.fakes import FakeProc


def test_the_start_time_is_field_22_whatever_the_name(proc: FakeProc) -> None:
    proc.add(7, "c1", started=4242)
    assert process.started(7) == 4242


def test_two_processes_are_told_apart() -> None:
    ticks = process.started(os.getpid())
    assert ticks is not None
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    assert 0 < ticks / os.sysconf("SC_CLK_TCK") <= uptime


def test_a_process_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert process.started(gone.pid) is None
    assert not process.bears(gone.pid, ["x"])


def test_a_process_bears_the_id_in_its_control_group_or_its_mounts(proc: FakeProc) -> None:
    proc.add(7, "abc")
    assert process.bears(7, ["xyz", "abc"])
    assert not process.bears(7, ["xyz"])
    assert not process.bears(7, ["", "xyz"])
    (proc.root / "7" / "mountinfo").write_text("1 2 8:1 /var/lib/docker/containers/xyz/hostname /etc/hostname rw\n")
    assert process.bears(7, ["xyz"])
