"""The line of progress: when it is drawn, what it says, and that nothing of it stays."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from kokofast.cli import output, progress, status_line
from kokofast.cli.command import read_file_by
from kokofast.cli.progress import Bar, State
from kokofast.cli.status_line import LINE, fit
from kokofast.topology.model import Topology
from tests.terminals import open_terminal, read_until, resize, screen

END = b"\0"  # the kernel passes on what is written a moment later


class Terminal:
    """A pseudo-terminal as standard error, and a clock that a test sets."""

    def __init__(self) -> None:
        self.ours, theirs = open_terminal()
        self.file = os.fdopen(theirs, "w", encoding="utf-8")
        self.streams = SimpleNamespace(stderr=self.file, stdout=self.file)
        self.now = 1000.0
        self.written = b""

    def read(self) -> bytes:
        """What was written since the last call."""
        os.write(self.file.fileno(), END)
        found = read_until(self.ours, END).replace(END, b"")
        self.written += found
        return found

    def lines(self) -> list[str]:
        """What is seen by now."""
        self.read()
        return screen(self.written)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    made = Terminal()
    # Not of sys: pytest sets its streams anew between a fixture and the test.
    for module in (progress, status_line, output):
        monkeypatch.setattr(module, "sys", made.streams)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("KOKOFAST_DEBUG", raising=False)
    yield made
    LINE.render = None
    os.close(made.ours)
    made.file.close()


@pytest.mark.parametrize(("size", "quiet"), [(1 << 20, False), (1 << 20, True), (1000, False)])
def test_a_large_file_has_a_line_while_it_is_read(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, quiet: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "links.json").write_bytes(b" " * size)
    seen: list[str] = []

    def read(data: bytes) -> Topology:
        seen.extend(terminal.lines())
        return Topology("lab", {}, ())

    read_file_by(argparse.Namespace(file="links.json", quiet=quiet), read)
    assert seen == ["reading links.json, 1 MiB" if size > 1000 and not quiet else ""]
    assert terminal.lines() == [""]


def test_a_short_run_shows_nothing_and_imports_no_tqdm(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace())
    with Bar(False, {}) as show:
        assert show is not None
        for done in range(100):
            terminal.now += 0.0099
            show("apply", done, 100)
    assert terminal.read() == b""


def test_a_bar_has_the_stage_links_and_rate(terminal: Terminal) -> None:
    with Bar(False, {"apply": lambda: 5000}) as show:
        assert show is not None
        show("survey", 1, 2)
        terminal.now += 1
        show("survey", 2, 2)
        (line,) = terminal.lines()
        assert line.startswith("survey: 100%|")
        assert line.endswith("| 2 of 2 namespaces, 2/s")
        show("plan", 0, 1)
        assert terminal.lines() == ["plan"]
        show("apply", 0, 10000)
        terminal.now += 2
        show("apply", 4000, 10000)
        (line,) = terminal.lines()
        assert line.startswith("apply:  40%|")
        assert line.endswith("| 2,000 of 5,000 links, 1,000/s")
        assert len(line) == 99
        show("rollback", 1, 4)
        (line,) = terminal.lines()
        assert line.startswith("rollback:  25%|")
        assert line.endswith("| 1 of 4 steps")
    assert terminal.lines() == [""]


def test_a_stage_that_comes_again_begins_anew(terminal: Terminal) -> None:
    with Bar(False, {}) as show:
        assert show is not None
        terminal.now += 2
        show("delete", 7, 8)
        terminal.now += 2
        show("delete", 4, 8)
        assert terminal.lines()[-1].endswith("| 4 of 8 steps, 2/s")


def test_a_bar_is_drawn_ten_times_a_second_at_most(terminal: Terminal) -> None:
    with Bar(False, {"apply": lambda: 10_000}) as show:
        assert show is not None
        for done in range(10_000):
            terminal.now += 0.0003
            show("apply", done, 10_000)
        assert 15 <= terminal.read().count(b"\r") <= 21


@pytest.mark.parametrize("columns", [1, 5, 20, 40, 100, 200])
def test_the_width_of_the_terminal_is_obeyed(terminal: Terminal, columns: int) -> None:
    with Bar(False, {"apply": lambda: 5000}) as show, State(False) as state:
        assert show is not None
        terminal.now += 2
        show("apply", 2000, 5000)
        resize(terminal.ours, columns)
        terminal.now += 2
        terminal.read()
        show("apply", 3000, 5000)
        assert len(screen(terminal.read())[0]) <= max(columns - 1, 1)
        state.show("at 3.0 of 60.0 s, next at 4.0 s: 120 epochs, 1,000 changes, 2 ms late, 0 missed")
        assert len(screen(terminal.read())[0]) <= max(columns - 1, 1)


def test_a_terminal_without_a_size_is_taken_for_80_columns(terminal: Terminal) -> None:
    resize(terminal.ours, 0)
    with Bar(False, {}) as show:
        assert show is not None
        terminal.now += 2
        show("delete", 2, 5)
        assert len(terminal.lines()[0]) == 79


def test_messages_are_on_lines_of_their_own(terminal: Terminal) -> None:
    with Bar(False, {}) as show:
        assert show is not None
        terminal.now += 2
        show("delete", 2, 5)
        output.print_error("kokofast: another run is at work")
        message, line = terminal.lines()
        assert message == "kokofast: another run is at work"
        assert line.startswith("delete:  40%|")
    assert terminal.lines() == ["kokofast: another run is at work", ""]


def test_messages_of_other_threads_are_on_lines_of_their_own(terminal: Terminal) -> None:
    def speak(number: int) -> None:
        for turn in range(50):
            output.print_error(f"kokofast: {number} {turn}")

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(3)]
    with Bar(False, {}) as show:
        assert show is not None
        for thread in threads:
            thread.start()
        done = 0
        while any(thread.is_alive() for thread in threads):
            done += 1
            terminal.now += 2
            show("delete", done, 1_000_000)
            terminal.read()
    *messages, last = terminal.lines()
    assert sorted(messages) == sorted(f"kokofast: {number} {turn}" for number in range(3) for turn in range(50))
    assert last == ""


def test_a_message_does_not_wait_for_a_thread_that_is_stuck(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_line, "PATIENCE", 0.01)
    with LINE.lock:
        output.print_error("kokofast: aborted")
    assert terminal.lines() == ["kokofast: aborted", ""]


def test_output_that_others_may_keep_waiting_keeps_no_message_waiting(terminal: Terminal) -> None:
    with output.WRITING:
        assert not LINE.lock.locked()


def test_nothing_is_drawn_after_the_last_message(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LINE, "_is_over", False)
    with Bar(False, {}) as show:
        assert show is not None
        terminal.now += 2
        show("delete", 2, 5)
        LINE.close(for_good=True)
        output.print_error("kokofast: aborted by SIGTERM")
        terminal.now += 2
        show("delete", 3, 5)
        assert terminal.lines() == ["kokofast: aborted by SIGTERM", ""]


@pytest.mark.parametrize(
    ("variable", "value"), [("TERM", "dumb"), ("TERM", None), ("KOKOFAST_DEBUG", "wire"), (None, "silent")]
)
def test_where_no_line_can_be_there_is_none(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, variable: str | None, value: str | None
) -> None:
    if variable is not None and value is not None:
        monkeypatch.setenv(variable, value)
    elif variable is not None:
        monkeypatch.delenv(variable)
    silent = value == "silent"
    with Bar(silent, {}) as show, State(silent) as state:
        assert show is None
        state.show("at 1.0 s")
        output.print_error("kokofast: interrupted")
    assert terminal.read() == b"kokofast: interrupted\r\n"


def test_in_the_background_nothing_is_drawn(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    with Bar(False, {}) as show:
        assert show is not None
        terminal.now += 2
        show("delete", 2, 5)
        output.print_error("kokofast: note")
    assert terminal.read() == b"kokofast: note\r\n"


def close_terminal(terminal: Terminal, _: pytest.MonkeyPatch) -> None:
    spare, other = os.pipe()
    os.close(other)
    os.dup2(spare, terminal.ours)
    os.close(spare)


def lose_tqdm(_: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)


@pytest.mark.parametrize("fault", [close_terminal, lose_tqdm])
def test_a_line_that_cannot_be_drawn_stops_nothing(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Terminal, pytest.MonkeyPatch], None]
) -> None:
    with Bar(False, {}) as show, State(False) as state:
        assert show is not None
        fault(terminal, monkeypatch)
        for done in range(5):
            terminal.now += 2
            show("delete", done, 5)
            assert LINE.render is None
        state.show("at 1.0 s")


def test_a_state_is_drawn_at_once_and_then_with_the_next_message(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State(False) as state:
        state.show("at 1.0 s")
        assert terminal.lines() == ["at 1.0 s"]
        state.show("at 2.0 s")
        assert not state.is_due()
        assert terminal.read() == b""
        output.print_line('{"at": 2.0}')
        assert terminal.lines() == ['{"at": 2.0}', "at 2.0 s"]
        terminal.now += 1
        state.show("at 3.0 s")
    assert terminal.lines() == ['{"at": 2.0}', ""]
    terminal.now += 1
    state.show("ended")
    assert terminal.lines() == ['{"at": 2.0}', ""]


def test_a_program_that_reads_our_output_prints_without_a_state(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as file:
        terminal.streams.stdout = file
        with State(False) as state:
            state.show("at 1.0 s")
    assert terminal.read() == b""


def test_a_state_beside_a_file(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open(tmp_path / "log", "w+", encoding="utf-8") as file:
        terminal.streams.stdout = file
        with State(False) as state:
            state.show("at 1.0 s")
            output.print_line("{}")
            assert terminal.lines() == ["at 1.0 s"]
        file.seek(0)
        assert file.read() == "{}\n"


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("abc", 0, ""),
        ("é", 2, "é"),
        ("日本", 3, "日"),
        ("a日本", 3, "a日"),
        ("日", 1, ""),
    ],
)
def test_a_text_is_cut_to_the_width(text: str, columns: int, shown: str) -> None:
    assert fit(text, columns) == shown
