"""Every target runs over its seeds and their simplest mutations, without atheris: a target cannot rot unseen."""

from __future__ import annotations

import os
import random
from types import ModuleType
from typing import Any

import pytest

from tests.fuzz import topology, wire

MUTATIONS = 20


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The input with a byte changed, a part taken away, or a part said twice."""
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    stop = min(stop, start + 64)
    return chance.choice(
        (
            data[:start] + bytes((chance.randrange(256),)) + data[start + 1 :],
            data[:start] + data[stop:],
            data[:stop] + data[start:],
            data[:start] + bytes(stop - start) + data[stop:],
        )
    )


def run_noted(target: Any, data: bytes) -> None:
    """Run a target; an error that it raises has the input."""
    try:
        target.run_one(data)
    except BaseException as error:
        error.add_note(f"the input: {data!r}")
        raise


@pytest.mark.parametrize("target", [wire, topology], ids=lambda target: target.__name__.rpartition(".")[2])
def test_seeds_and_mutations(target: ModuleType) -> None:
    seed = int(os.environ.get("KOKOFAST_SEED") or random.randrange(1 << 32))
    print(f"KOKOFAST_SEED={seed}")
    chance = random.Random(seed)
    for data in target.SEEDS:
        target.run_one(data)
        for _ in range(MUTATIONS):
            run_noted(target, mutated(data, chance))


def test_a_target_sees_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "load", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        topology.run_one(topology.SEEDS[0])
    monkeypatch.setattr(wire, "unpack", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        wire.run_one(wire.SEEDS[0])
