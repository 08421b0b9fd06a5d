"""What the marker ``guest`` means, and how several guests share the tests: hooks for pytest, native and in the guest.

Natively a marked test is deselected, and collecting one where the guest would not look for it is an error. In the
guest all of ``SELECTION`` runs, marked or not, and nothing is skipped: a test that skips itself fails.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from tests import ROOT

# What runs in the guest; those of these tests that are not marked run natively too.
SELECTION = (ROOT / "tests" / "vm" / "guest", ROOT / "tests" / "kernel")
IN_GUEST = os.environ.get("KOKOFAST_GUEST") == "1"
# "1/2": this guest runs the first, the third ... of the selected tests.
SHARE = os.environ.get("KOKOFAST_GUEST_SHARE", "1/1")
SHARED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if IN_GUEST:
        # This module is more than one plugin: a conftest imports this hook, and -p names it.
        if not config.stash.get(SHARED, False):
            config.stash[SHARED] = True
            number, shares = map(int, SHARE.split("/"))
            items[:] = items[number - 1 :: shares]
        return
    marked = [item for item in items if item.get_closest_marker("guest")]
    if lost := [item.nodeid for item in marked if not any(item.path.is_relative_to(path) for path in SELECTION)]:
        raise pytest.UsageError(f"marked `guest` outside tests/vm/guest and tests/kernel, would never run: {lost}")
    if marked:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in set(marked)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_GUEST and report.skipped and not hasattr(report, "wasxfail"):
        reason: Any = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped in the guest, where nothing may be missing: {reason[2] if reason else ''}"
    return report
