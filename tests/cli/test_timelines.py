"""Epochs from standard input, however they come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.cli.command import CommandError
from kokofast.cli.timelines import Live, Stored, Texts
from kokofast.drivers import Stop
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.timeline.epoch import Epoch


def epochs_of(pieces: Iterator[bytes]) -> list[object]:
    """What the pieces of a stream are read as: the time of each epoch, or its problem."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("select.select", lambda *_: ([0], [], []))
        patch.setattr("os.read", lambda *_: next(pieces, b""))
        source = Live(InlineDriver(Stop()))
        found: list[object] = []
        while (epoch := drive(source.next())) is not None:
            found.append(epoch.at if isinstance(epoch, Epoch) else str(epoch.problems[0]).partition(" ")[0])
    return found


@given(st.lists(st.integers(0, 99), max_size=6), st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_lines_are_the_same_in_any_pieces(times: list[int], sizes: list[int], ends: bool) -> None:
    times.sort()
    data = b"\n".join(json.dumps({"at": at}).encode() for at in times) + b"\n" * ends

    def pieces() -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = sizes[at % len(sizes)]
            yield data[at : at + size]
            at += size

    assert epochs_of(pieces()) == times


def test_empty_lines_count_and_say_nothing() -> None:
    assert epochs_of(iter([b'\n  \n{"at": 1}\n', b'\n{"at"'])) == [1, "stdin:5:6:"]


def test_a_source_says_whether_the_next_epoch_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [b'{"at": 1}\n\n{"at"', b": 2}", b"\n\n", b""]
    has_come = [True]
    monkeypatch.setattr("select.select", lambda *_: ([0] if has_come and has_come.pop() else [], [], []))
    monkeypatch.setattr("os.read", lambda *_: pieces.pop(0))
    source = Live(InlineDriver(Stop()))
    assert source.is_ready()
    assert getattr(drive(source.next()), "at", None) == 1
    for _ in range(2):  # the line after it has only begun; then all of it is there but its end
        assert not source.is_ready()
        has_come.append(True)
    assert source.is_ready()
    assert getattr(drive(source.next()), "at", None) == 2
    assert not source.is_ready()  # an empty line
    has_come.append(True)
    assert source.is_ready()
    assert drive(source.next()) is None


def write(file: Path, epochs: int) -> None:
    # Longer than what is read ahead.
    file.write_text("".join(json.dumps({"at": at}).ljust(300_000) + "\n" for at in range(epochs)))


def rest_of(source: Stored) -> list[object]:
    found: list[object] = []
    while (epoch := drive(source.next())) is not None:
        found.append(epoch.at if isinstance(epoch, Epoch) else str(epoch.problems[0]))
    return found


def test_a_timeline_that_is_removed_while_it_is_played_is_played_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    write(file, 3)
    source = Stored(str(file), 3)
    assert isinstance(drive(source.next()), Epoch)
    file.unlink()
    assert rest_of(source) == [1, 2]
    # But not a second time.
    assert rest_of(Stored(str(file), 3)) == [f"{file}: No such file or directory"]


def test_a_timeline_that_is_cut_short_while_it_is_played_is_no_success(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    write(file, 4)
    source = Stored(str(file), 4)
    assert isinstance(drive(source.next()), Epoch)
    os.truncate(file, 600_002)
    assert rest_of(source) == [1, f"{file}: it ends 2 epochs too early: it was changed since it was checked"]


def test_a_file_of_a_folder_that_is_removed_while_it_is_played_is_no_success(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.json").write_text(json.dumps({"at": number}))
    source = Stored(str(tmp_path), 3)
    assert isinstance(drive(source.next()), Epoch)
    (tmp_path / "1.json").unlink()
    assert rest_of(source) == [f"{tmp_path}/1.json: No such file or directory"]


def test_a_folder_with_a_fifo_does_not_wait_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.json")
    with pytest.raises(CommandError) as caught:
        list(Texts(str(tmp_path)))
    assert [str(error) for error in caught.value.errors] == [f"{tmp_path}/1.json: is not a regular file"]
