"""Fixtures that boot guests, and the lines of the summary that say how many tests ran where."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

import pytest

from tests.vm.inside import GuestRun
from tests.vm.marker import IN_GUEST, SELECTION, pytest_collection_modifyitems
from tests.vm.shares import Background
from tests.vm.uml import Guest, missing

__all__ = ["pytest_collection_modifyitems"]

# A guest does not boot guests.
collect_ignore_glob = ["test_*.py"] if IN_GUEST else []

GUEST_RUNS = pytest.StashKey[list[GuestRun]]()
BACKGROUND = pytest.StashKey[Background]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts what test_guest.py waits for: most tests before it wait for the kernel, and a guest needs a processor."""
    is_chosen = any(item.path.name == "test_guest.py" for item in session.items)
    if is_chosen and not session.config.option.collectonly and not missing():
        chosen = shlex.split(os.environ.get("KOKOFAST_GUEST_SELECTION", ""))
        session.config.stash[BACKGROUND] = Background(chosen or [*SELECTION, "-m", "guest or not native"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if BACKGROUND in session.config.stash:
        session.config.stash[BACKGROUND].close()


@pytest.fixture
def in_background(request: pytest.FixtureRequest) -> Background:
    """The guests that run beside the suite."""
    return request.config.stash[BACKGROUND]


@pytest.fixture(scope="session")
def requires_guest() -> None:
    """Skips where no guest can be booted. On CI that would be a silent hole: fails."""
    if lacking := missing():
        reason = f"needs the Debian packages {' '.join(lacking)}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI=true allows no skipping for lack of them", pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def guest(requires_guest: None) -> Iterator[Guest]:
    """The one guest that the tests share. What needs a guest to itself, or kills it, boots its own."""
    with Guest() as running:
        yield running


@pytest.fixture
def guest_runs(request: pytest.FixtureRequest) -> list[GuestRun]:
    """What ran in guests; the summary at the end of the session tells of it."""
    return request.config.stash.setdefault(GUEST_RUNS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for run in config.stash.get(GUEST_RUNS, []):
        terminalreporter.section("where the tests ran")
        for one in run.outcomes:
            if one.outcome != "passed" or config.get_verbosity() > 0:
                reason = f" - {one.reason.splitlines()[0]}" if one.reason else ""
                terminalreporter.write_line(f"{one.outcome.upper()} {one.test} ({one.seconds:.1f} s){reason}")
        natively = sum(len(terminalreporter.stats.get(word, [])) for word in ("passed", "failed", "xfailed"))
        terminalreporter.write_line(f"Linux {os.uname().release}: {natively} tests ran natively")
        terminalreporter.write_line(run.summary())
