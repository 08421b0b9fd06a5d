"""kokofast on two hosts: two guests with a cable between them. The Vagrant pair plays the same scenarios."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.vm.two_hosts import Host, Pair, RunScript, ScenarioFailed, play, quoted, table
from tests.vm.uml import Guest, two_guests

SECONDS = 240


def scripts_of(guest: Guest) -> RunScript:
    def run(script: str) -> subprocess.CompletedProcess[str]:
        return guest.run(["sh", "-c", script], timeout=SECONDS)

    return run


def host(guest: Guest, number: int) -> Host:
    kokofast = quoted([sys.executable, "-m", "kokofast"])
    return Host(guest.name, "vec0", f"10.66.0.{number}", f"fd66::{number}", kokofast, scripts_of(guest))


@pytest.mark.usefixtures("requires_guest")
def test_two_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    with two_guests() as (one, other):
        outcomes = list(play(Pair(host(one, 1), host(other, 2))))
    with capsys.disabled():
        print(f"\ntwo guests and a cable:\n{table(outcomes)}")
    failed = [outcome.name for outcome in outcomes if outcome.failure is not None]
    assert not failed, table(outcomes)


def test_a_step_that_fails_is_told_with_its_host_and_output() -> None:
    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)

    someone = Host("someone", "eth0", "10.66.0.1", "fd66::1", "kokofast", run)
    assert someone.run("echo yes") == "yes\n"
    with pytest.raises(ScenarioFailed, match=r"(?s)on someone, exit 3:.*said this"):
        someone.run("echo said this; exit 3")
