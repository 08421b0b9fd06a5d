"""play, killed at random moments: batch --prune then has the file's links and no other, destroy leaves nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.conftest import COMMAND, Lab, state

pytestmark = pytest.mark.usefixtures("requires_root")

Start = Callable[..., subprocess.Popen[str]]
STATIONS = 6
EPOCHS = 40


def test_killed_in_the_middle(lab: Lab, start: Start, counts: Counter[str], chance: random.Random, long: bool) -> None:
    """Handovers and rates, one epoch after the other."""
    grounds, sats = [[lab.node(f"{kind}{n}") for n in range(STATIONS)] for kind in ("g", "s")]

    def link(ground: int, step: int) -> dict[str, object]:
        sat = sats[(ground + step) % STATIONS]
        ends = [f"{grounds[ground]}:sky:10.0.{ground}.1/24", f"{sat}:g{ground}:10.0.{ground}.2/24"]
        return {"endpoints": ends, "rate": f"{step % 9 + 1}mbit"}

    def names(ground: int, step: int) -> list[str]:
        return [f"{grounds[ground]}:sky", f"{sats[(ground + step) % STATIONS]}:g{ground}"]

    before = state(*grounds, *sats)
    lab.write([link(ground, 0) for ground in range(STATIONS)])
    epochs = [
        {
            "at": 0,
            "remove": [names(ground, step) for ground in range(STATIONS)],
            "add": [link(ground, step + 1) for ground in range(STATIONS)],
        }
        for step in range(EPOCHS)
    ]
    timeline = Path(lab.file).with_name("t.jsonl")
    timeline.write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    for number in range(100 if long else 6):
        command = [*COMMAND, "play", lab.file, str(timeline), "--late", "all"]
        process = start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 6)):
            process.stdout.readline()
        try:
            process.wait(chance.random() * 0.1)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            counts["kills of play"] += 1
        if number % 2:
            lab.batch("--prune")
            assert lab.batch()["status"] == "unchanged"
            assert len(lab.inspect()) == STATIONS
        lab.destroy()
        assert lab.inspect() == []
        assert state(*grounds, *sats) == before
