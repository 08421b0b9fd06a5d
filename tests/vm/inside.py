"""Runs a selection of tests in guests, with this interpreter and this checkout, and brings the outcomes out."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import ROOT
from tests.vm.uml import EXCHANGE, Guest, GuestError

RESULTS = "results.xml"
OUTCOMES = ("passed", "failed", "error", "xfailed", "skipped")


@dataclass(frozen=True)
class Outcome:
    test: str
    outcome: str  # one of OUTCOMES
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class GuestRun:
    kernel: str
    status: int  # pytest's
    outcomes: tuple[Outcome, ...]
    output: str
    seconds: float
    guests: int = 1

    @property
    def ran(self) -> int:
        return sum(one.outcome != "skipped" for one in self.outcomes)

    @property
    def passed(self) -> bool:
        """pytest was content, something ran, and the results that came out say the same."""
        return (
            self.status == 0 and self.ran > 0 and not any(one.outcome in ("failed", "error") for one in self.outcomes)
        )

    def summary(self) -> str:
        counts = Counter(one.outcome for one in self.outcomes)
        told = ", ".join(f"{counts[word]} {word}" for word in OUTCOMES if counts[word])
        where = "in the guest" if self.guests == 1 else f"in {self.guests} guests side by side"
        return f"Linux {self.kernel}: {self.ran} tests ran ({told or 'none at all'}) {where} in {self.seconds:.1f} s"


def merged(runs: Sequence[GuestRun]) -> GuestRun:
    """The runs of all shares as one. A share of few tests may be empty, as long as another is not."""
    counts = [len(run.outcomes) for run in runs]
    statuses = [run.status for run in runs if run.status != pytest.ExitCode.NO_TESTS_COLLECTED]
    status = max(statuses, key=abs, default=int(pytest.ExitCode.NO_TESTS_COLLECTED))
    output = "\n".join(run.output for run in runs)
    outcomes = tuple(outcome for run in runs for outcome in run.outcomes)
    if status == 0 and (max(counts) - min(counts) > 1 or len({one.test for one in outcomes}) < len(outcomes)):
        status, output = int(pytest.ExitCode.INTERNAL_ERROR), f"{output}\nnot each test once: shares of {counts}"
    seconds = max(run.seconds for run in runs)
    return GuestRun(runs[0].kernel, status, outcomes, output, seconds, len(runs))


def run_shares(guests: Sequence[Guest], selection: Sequence[str | Path], *, timeout: float) -> GuestRun:
    """pytest in each of these guests at the same time, each with its share of the tests."""
    pool = ThreadPoolExecutor(len(guests))
    try:
        jobs = [
            pool.submit(run_tests, guest, selection, timeout=timeout, share=f"{number}/{len(guests)}")
            for number, guest in enumerate(guests, 1)
        ]
        return merged([job.result() for job in jobs])
    finally:
        # Whoever is interrupted closes the guests next, which ends what still runs in them.
        pool.shutdown(wait=False, cancel_futures=True)


def run_tests(guest: Guest, selection: Sequence[str | Path], *, timeout: float, share: str = "1/1") -> GuestRun:
    """pytest in the guest. The selection is paths and other arguments of pytest, as they would be given here."""
    started = time.monotonic()
    kernel = guest.run(["uname", "-r"], timeout=60).stdout.strip()
    # Options that the outer run was given by the environment are not meant for the inner one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = guest.run(
        [
            *(sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)),
            *("-p", "tests.vm.marker", "-p", "no:cacheprovider", f"--junit-xml={EXCHANGE}/{RESULTS}", "-rfEs"),
            *map(str, selection),
        ],
        timeout=timeout,
        cwd=ROOT,
        env={**env, "KOKOFAST_GUEST": "1", "KOKOFAST_GUEST_SHARE": share},
    )
    results = guest.exchange / RESULTS
    output = done.stdout + done.stderr
    if not results.exists():
        raise GuestError(f"pytest in the guest ended with {done.returncode} and no results:\n{output}")
    outcomes = read_results(results.read_text(encoding="utf-8"))
    results.unlink()
    return GuestRun(kernel, done.returncode, outcomes, output, time.monotonic() - started)


def read_results(text: str) -> tuple[Outcome, ...]:
    """The outcome of each test of a JUnit XML file."""
    return tuple(_outcome(case) for case in ElementTree.fromstring(text).iter("testcase"))


def _outcome(case: ElementTree.Element) -> Outcome:
    test = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::")
    seconds = float(case.get("time", "0"))
    for tag, outcome in (("error", "error"), ("failure", "failed"), ("skipped", "skipped")):
        if (found := case.find(tag)) is not None:
            expected = found.get("type") == "pytest.xfail"
            return Outcome(test, "xfailed" if expected else outcome, seconds, found.get("message", ""))
    return Outcome(test, "passed", seconds)
