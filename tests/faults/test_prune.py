"""A batch with --prune that is killed, at any moment: what is in the file is not touched, and the next one ends it."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.conftest import links, namespaces
from tests.kernel.conftest import COMMAND, Lab

pytestmark = pytest.mark.usefixtures("requires_root")

ROUNDS, LONG_ROUNDS = 5, 60


def test_a_killed_prune_is_ended_by_the_next(
    lab: Lab, start: Callable[..., subprocess.Popen[str]], counts: Counter[str], chance: random.Random, long: bool
) -> None:
    a, b = lab.node("a"), lab.node("b")
    made = [lab.new(f"c{number}") for number in range(20)]
    stay = [{"endpoints": [f"{a}:s{number}", f"{b}:s{number}"]} for number in range(3)]
    go = [{"endpoints": [f"{a}:g{n}", f"{b if n < 10 else made[n]}:g{n}"]} for n in range(len(made))]

    def begin() -> subprocess.Popen[str]:
        lab.write([*stay, *go], defaults={"create": True})
        lab.batch()
        lab.write(stay)
        return start(*COMMAND, "batch", lab.file, "--prune", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    whole = begin()
    began = time.monotonic()
    assert whole.wait(timeout=60) == 0
    seconds = time.monotonic() - began
    numbers = {name: link["ifindex"] for name, link in links(a).items()}
    assert sorted(numbers) == ["s0", "s1", "s2"]
    for _ in range(LONG_ROUNDS if long else ROUNDS):
        process = begin()
        time.sleep(chance.uniform(0.3, 1.0) * seconds)  # the moment is what is random here
        process.kill()
        counts["kills"] += process.wait() == -signal.SIGKILL
        assert numbers.items() <= {name: link["ifindex"] for name, link in links(a).items()}.items()
        result = lab.batch("--prune")
        assert result["status"] in ("applied", "unchanged")
        left = namespaces() & set(made)
        counts["left over"] += len(left)
        assert not left
        assert {name: link["ifindex"] for name, link in links(a).items()} == numbers
        assert sorted(links(b)) == ["s0", "s1", "s2"]
