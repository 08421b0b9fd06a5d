"""play where it meets errors outside of its epochs."""

from __future__ import annotations

import argparse
import json
import signal
from typing import Any

import pytest

from kokofast.cli import play as module
from kokofast.cli.play import _Play
from kokofast.cli.signals import HeldSignals
from kokofast.drivers import Stopped
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
