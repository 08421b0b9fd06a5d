"""Little memory (RLIMIT_AS): a run ends, its exit code is true, and nothing is left without being told."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from tests.faults.machine import Machine

pytestmark = pytest.mark.usefixtures("requires_root")

LOWEST, HIGHEST = 60, 130  # megabytes: too little to import anything, and enough
LAB = "memory"


def test_little_memory_hangs_nobody_and_leaves_nothing_untold(
    machine: Machine, long: bool, counts: Counter[str]
) -> None:
    runs, count = (200, 300) if long else (5, 60)
    links = [{"endpoints": [f"m{i}:e1", f"m{i + 1}:e0"]} for i in range(count)]
    machine.must("sh", "-c", "cat > /run/memory.json", input=json.dumps({"name": LAB, "links": links}))
    command = [sys.executable, "-m", "kokofast"]
    for number in range(runs):
        size = (LOWEST << 20) + ((HIGHEST - LOWEST) << 20) * number // (runs - 1)
        # A hang is a TimeoutExpired of run().
        batch = ["batch", "/run/memory.json", "--create", "--jobs", "2"]  # --jobs: never without the event loop
        done = machine.run("prlimit", f"--as={size}", *command, *batch)
        names = [name for name in machine.names() if name.startswith("m")]
        counts["faults injected"] += 1
        told = f"{size >> 20} MB: exit {done.returncode}, {len(names)} left: {done.stderr}"
        assert done.returncode in (0, 1, 3), told
        assert "Traceback" not in done.stderr, told
        if done.returncode == 0:
            assert len(names) == count + 1, told
        elif done.returncode == 1:
            counts["left over"] += len(names)
            assert not names, told
        else:
            assert f"destroy --name {LAB}" in done.stderr or "could not be taken back" in done.stderr, told
        # Nobody has the lock still.
        machine.must(*command, "destroy", "--name", LAB)
        assert not [name for name in machine.names() if name.startswith("m")], told
