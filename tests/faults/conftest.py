"""The fault suite counts what it did, and prints the counts at the end of the run.

``python3 tests/run.py tests/faults`` runs the short form, ``... tests/faults --long`` the long one.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.conftest import PREFIX, NamespaceFactory
from tests.faults.counts import COUNTS
from tests.faults.machine import Machine
from tests.faults.world import World
from tests.kernel.conftest import lab, start, watch  # noqa: F401


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for (--long): more moments, more errnos, more rounds; minutes instead of
    seconds."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def counts() -> Counter[str]:
    """What the suite did, by name: ``counts["kills"] += 1``. "left over" counts what should have gone and had not."""
    return COUNTS


@pytest.fixture
def chance() -> random.Random:
    """Each test begins with the seed: run alone it chooses the same."""
    seed = int(os.environ.get("KOKOFAST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"KOKOFAST_SEED={seed}")  # pytest shows it of a test that fails
    return random.Random(seed)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def world(netns: NamespaceFactory) -> Iterator[World]:
    made = World(netns, f"{PREFIX}faults")
    try:
        yield made
    finally:
        made.close()
