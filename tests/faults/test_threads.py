"""Where the control group allows few threads: what was begun is made whole or taken back all the same."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import COMMAND, Lab, refused_by_the_kernel, run, state

pytestmark = pytest.mark.usefixtures("requires_root")

ROOTS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))  # cgroup v1, v2
LINKS = 12

_numbers = itertools.count()


@pytest.fixture
def limited() -> Iterator[Callable[[int], list[str]]]:
    """``limited(6)`` is what stands before a command that may have no more threads than that, itself included."""
    root = next((root for root in ROOTS if root.is_dir()), ROOTS[-1])
    group = root / f"kft-{os.getpid()}-{next(_numbers)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")

    def limit(threads: int) -> list[str]:
        (group / "pids.max").write_text(str(threads))
        return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]

    try:
        if not (group / "pids.max").exists():
            pytest.skip("no pids controller in this machine's control groups")
        yield limit
    finally:
        group.rmdir()


@pytest.mark.parametrize("threads", [3, 4, 6, 10])
def test_a_run_that_fails_is_taken_back(
    lab: Lab, limited: Callable[[int], list[str]], counts: Counter[str], threads: int
) -> None:
    names = [lab.node(f"n{number}") for number in range(LINKS)]
    bad = refused_by_the_kernel(names[0])
    before = state(*names)
    ring = [{"endpoints": [f"{a}:e0", f"{b}:e1"]} for a, b in zip(names, [*names[1:], names[0]], strict=True)]
    lab.write([*ring, bad])
    for more in ([], ["--jobs", "4"]):
        done = run([*limited(threads), *COMMAND, "batch", lab.file, "--format", "json", *more])
        result = json.loads(done.stdout)
        assert (done.returncode, result["status"], result.get("left")) == (1, "rolled_back", None), done.stderr
        assert state(*names) == before
        counts["faults injected"] += 1
    lab.write(ring)
    done = run([*limited(threads), *COMMAND, "batch", lab.file, "--format", "json"])
    assert (done.returncode, json.loads(done.stdout)["links"]["created"]) == (0, LINKS), done.stderr
    done = run([*limited(threads), *COMMAND, "destroy", lab.file])
    assert done.returncode == 0, done.stderr
    assert state(*names) == before
    counts["faults injected"] += 2
