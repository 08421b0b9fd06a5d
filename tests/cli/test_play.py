"""play where it meets errors outside of its epochs."""

from __future__ import annotations

import argparse
import json
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from kokofast.cli import play as module
from kokofast.cli.arguments import instant
from kokofast.cli.play import _Play
from kokofast.cli.signals import HeldSignals
from kokofast.drivers import Stopped
from kokofast.drivers.inline import drive
from kokofast.drivers.warmup import LoopError
from kokofast.engine import destroy
from kokofast.topology import load


class Terminated(HeldSignals):
    """A SIGTERM has come."""

    def __enter__(self) -> Terminated:
        self.caught.append(signal.SIGTERM)
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Stopped(), "interrupted by SIGTERM; run destroy to remove the rest"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (LoopError("the event loop broke down"), "the event loop broke down"),
    ],
)
def test_a_removal_that_breaks_off_is_said_and_partial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, words: str
) -> None:
    async def fail(*_: object, **__: Any) -> None:
        raise error

    monkeypatch.setattr(module, "HeldSignals", Terminated)
    monkeypatch.setattr(destroy, "destroy", fail)
    topology = load(json.dumps({"links": []}).encode(), filename="lab.json")
    assert _Play(topology, argparse.Namespace(quiet=False), None)._destroy() == 3
    assert capsys.readouterr().err == f"kokofast: {words}\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1769860800", 1769860800.0),
        ("1769860800.125", 1769860800.125),
        ("2026-01-31T12:00:00Z", 1769860800.0),
        ("2026-01-31T14:00:00.5+02:00", 1769860800.5),
    ],
)
def test_a_moment_is_seconds_or_a_date_with_a_zone(text: str, seconds: float) -> None:
    assert instant(text) == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-01-31T12:00:00", "has no zone: add Z for UTC"),
        ("tomorrow", "is not a moment such as 2026-01-31T12:00:00Z"),
        ("-1", "is not a moment"),
        ("nan", "is not a moment"),
        ("9" * 24, "is not a moment"),
        ("", "is not a moment"),
    ],
)
def test_what_is_no_moment_is_refused(text: str, words: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        instant(text)


class Clocks:
    """A machine's two clocks. One is set to another time when so many seconds have gone by."""

    def __init__(self, set_after: float, by: float) -> None:
        self.now = 0.0
        self._set_after = set_after
        self._by = by

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1000.0 + self.now + (self._by if self.now >= self._set_after else 0.0)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("set_after", "by", "start"),
    [
        (1e9, 0.0, 60.0),
        (20.0, 25.0, 35.0),  # the clock was 25 s slow
        (20.0, -5.0, 65.0),
        (55.0, 25.0, 60.0),  # within the last seconds
    ],
)
def test_it_starts_at_a_moment_of_the_machines_clock(
    monkeypatch: pytest.MonkeyPatch, set_after: float, by: float, start: float
) -> None:
    clocks = Clocks(set_after, by)
    monkeypatch.setattr(module, "time", clocks)
    found, waited = _first_start(clocks, 1060.0)
    assert found == pytest.approx(start)
    assert clocks.now <= start - module.LAST_LOOK + 0.1
    assert waited[0] == pytest.approx(-60.0)


def test_a_moment_that_is_over_when_the_lab_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(1e9, 0.0)
    monkeypatch.setattr(module, "time", clocks)
    with pytest.raises(OSError, match=r"the lab was up 2\.5 s after --start-at; give a later moment"):
        _first_start(clocks, 997.5)


def _first_start(clocks: Clocks, moment: float) -> tuple[float, list[float]]:
    topology = load(json.dumps({"links": []}).encode(), filename="lab.json")
    play = _Play(topology, argparse.Namespace(quiet=True, start_at=moment, start=0.0, speed=1.0), None)
    waited: list[float] = []
    play._wait = lambda now, at: waited.append(now)  # type: ignore[method-assign]
    driver: Any = SimpleNamespace(sleep=clocks.sleep)
    return drive(play._first_start(driver)), waited
