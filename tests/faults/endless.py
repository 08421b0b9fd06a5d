"""A test that does not end by itself. pytest collects it only if its file is named: test_streams.py ends such a run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from tests.kernel.conftest import Lab, batch

pytestmark = pytest.mark.usefixtures("requires_root")


def test_waiting_to_be_ended(lab: Lab, start: Callable[..., subprocess.Popen[str]]) -> None:
    lab.chain(20)
    batch(start, lab, "--create")
    start("sleep", "1000")
    time.sleep(1000)
