"""Hosts for the tests of this folder, made once for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.underlay import Underlay


@pytest.fixture(scope="module")
def underlay(requires_root: None) -> Iterator[Underlay]:
    """Three hosts, and a controller that reaches them by SSH."""
    with Underlay(3) as made:
        yield made
