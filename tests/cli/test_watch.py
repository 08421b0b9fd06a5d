"""How the command watch reads its file again."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

import kokofast
from kokofast.cli.command import load_file
from kokofast.cli.watch import _reader
from kokofast.topology import TopologyError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.json"
    path.write_text(json.dumps({"links": [["a:e0", "b:e0"]]}))
    return path


def options_of(file: Path | str) -> argparse.Namespace:
    return argparse.Namespace(file=str(file), name="lab", create=False, command="watch")


@contextmanager
def stopped_after(seconds: int) -> Iterator[None]:
    """Break off what blocks."""

    def stop(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_file_that_has_not_changed_since_the_start_is_not_loaded_again(file: Path) -> None:
    content: list[bytes] = []
    load_file(options_of(file), keep_data=content)
    read = _reader(options_of(file), content)
    assert read() is None
    first = file.read_text()
    file.write_text(json.dumps({"links": [["a:e0", "b:e0"], ["a:e1", "b:e1"]]}))
    found = read()
    assert found is not None
    assert len(found.links) == 2
    assert read() is None
    file.write_text("{")
    for _ in range(2):
        with pytest.raises(TopologyError):
            read()
    file.write_text(first)
    found = read()
    assert found is not None
    assert len(found.links) == 1


def test_a_file_that_became_a_fifo_is_not_opened(file: Path) -> None:
    content: list[bytes] = []
    load_file(options_of(file), keep_data=content)
    read = _reader(options_of(file), content)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(OSError, match="is not a regular file"):
        read()


def read_of_library(file: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """What kokofast.watch() reads the file again with."""
    reads: list[Callable[[], object]] = []

    async def keep(*_: object, read: Callable[[], object], **__: object) -> bool:
        reads.append(read)
        return True

    monkeypatch.setattr("kokofast.engine.keep.keep_lab", keep)
    monkeypatch.setattr("kokofast.api.keeping.need", lambda *_: None)
    trio.run(partial(kokofast.watch, file, report=print))
    return reads[0]


def test_the_library_does_not_wait_for_the_writer_of_a_fifo(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_of_library(file, monkeypatch)
    file.unlink()
    os.mkfifo(file)
    with stopped_after(5), pytest.raises(OSError, match="is not a regular file"):
        read()


def test_the_library_loads_a_file_that_has_not_changed_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_of_library(file, monkeypatch)
    assert read() is None
    file.write_text(json.dumps({"links": []}))
    assert read() is not None
    assert read() is None


def test_standard_input_is_read_once() -> None:
    assert _reader(options_of("-"), [])() is None
