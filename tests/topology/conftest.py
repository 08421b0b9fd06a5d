"""Fixtures for the tests of the package topology."""

from __future__ import annotations

import pytest

from kokofast.kinds import KINDS


@pytest.fixture
def veth_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kind but veth: tables of exact words, which list what is known, do not change with every new kind."""
    for name in [name for name in KINDS if name != "veth"]:
        monkeypatch.delitem(KINDS, name)
