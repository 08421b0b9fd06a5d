"""tests/kernel but for what is `native`, and what only the guest's kernel has, on that kernel. What fails there fails
here.

Two guests share the tests, one for each of two processors. They run beside the rest of the suite from its start: see
conftest.py. KOKOFAST_GUEST_SELECTION=tests/kernel/test_batch.py, or other arguments of pytest, runs something else.
"""

from __future__ import annotations

import pickle

import pytest

from tests.vm.inside import GuestRun
from tests.vm.shares import SECONDS, Background


@pytest.mark.usefixtures("requires_guest")
def test_the_kernels_tests_pass_in_the_guest(in_background: Background, guest_runs: list[GuestRun]) -> None:
    code = in_background.process.wait(SECONDS + 100)
    assert code == 0, in_background.output.read_text()
    run: GuestRun = pickle.loads(in_background.result.read_bytes())
    guest_runs.append(run)
    if not run.passed:
        pytest.fail(f"{run.summary()}\n{run.output}", pytrace=False)
