"""The tests of the guest, run in one. Natively they are deselected; what fails there fails here, with its output.

The marked tests only: starting a process takes a second there. KOKOFAST_GUEST_SELECTION=tests/kernel, or other
arguments of pytest, runs more of the suite in it (a quarter of an hour for all of tests/kernel).
"""

from __future__ import annotations

import os
import shlex

import pytest

from tests.vm.inside import GuestRun, run_tests
from tests.vm.marker import SELECTION
from tests.vm.uml import Guest

# Starting processes is slow in a guest, so this is some minutes of work; the limit is for a test that hangs.
SECONDS = 900


def test_what_is_marked_for_the_guest_passes_there(guest: Guest, guest_runs: list[GuestRun]) -> None:
    chosen = shlex.split(os.environ.get("KOKOFAST_GUEST_SELECTION", ""))
    run = run_tests(guest, chosen or [*map(str, SELECTION), "-m", "guest"], timeout=SECONDS)
    guest_runs.append(run)
    if not run.passed:
        pytest.fail(f"{run.summary()}\n{run.output}", pytrace=False)
