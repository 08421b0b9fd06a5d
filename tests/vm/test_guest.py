"""All of tests/kernel, and what only the guest's kernel has, on that kernel. What fails there fails here.

Two guests share the tests, one for each of two processors. KOKOFAST_GUEST_SELECTION=tests/kernel/test_batch.py, or
other arguments of pytest, runs something else in them.
"""

from __future__ import annotations

import os
import shlex
from contextlib import ExitStack

import pytest

from tests.vm.inside import GuestRun, run_shares
from tests.vm.marker import SELECTION
from tests.vm.uml import Guest

GUESTS = 2
# Starting processes is slow in a guest, so this is some minutes of work; the limit is for a test that hangs.
SECONDS = 900


@pytest.mark.usefixtures("requires_guest")
def test_the_kernels_tests_pass_in_the_guest(guest_runs: list[GuestRun]) -> None:
    chosen = shlex.split(os.environ.get("KOKOFAST_GUEST_SELECTION", ""))
    with ExitStack() as stack:
        guests = [stack.enter_context(Guest(name=f"guest{number}")) for number in range(1, GUESTS + 1)]
        run = run_shares(guests, chosen or list(SELECTION), timeout=SECONDS)
    guest_runs.append(run)
    if not run.passed:
        pytest.fail(f"{run.summary()}\n{run.output}", pytrace=False)
