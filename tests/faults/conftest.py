"""The fault suite counts what it did, and prints the counts at the end of the run.

``python3 tests/run.py tests/faults`` runs the short form, ``... tests/faults --long`` the long one.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.counts import COUNTS
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
