"""A ``kokofast watch`` of a test: its process, and its events as they come."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from kokofast.watching.events import schema

PATIENCE = 100.0
EVENTS = Draft202012Validator(schema())

Line = dict[str, Any]


class Watching:
    """A watch that runs, after some lines of Python. All its lines must be as the schema says."""

    def __init__(self, file: str | Path, *options: str, setup: str = "") -> None:
        program = ["-c", f"{setup}\nfrom kokofast.__main__ import main\nmain()"] if setup else ["-m", "kokofast"]
        self.process = subprocess.Popen(
            [sys.executable, *program, "watch", str(file), "--format", "json", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[Line] = []
        self.times: list[float] = []
        self._has_ended = False
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            with self._came:
                self.lines.append(json.loads(text))
                self.times.append(time.monotonic())
                self._came.notify_all()
        with self._came:
            self._has_ended = True
            self._came.notify_all()

    def until(self, event: str, *, since: int = 0, patience: float = PATIENCE, **fields: object) -> Line:
        """The first line of this event, with these fields, since a number of lines."""
        wanted = {"event": event, **fields}

        def found() -> Line | None:
            return next((line for line in self.lines[since:] if wanted.items() <= line.items()), None)

        with self._came:
            self._came.wait_for(lambda: found() or self._has_ended, patience)
            line = found()
        assert line is not None, f"no {wanted} among {self.lines[since:]}"
        return line

    def of(self, event: str) -> list[Line]:
        """The lines of an event."""
        return [line for line in self.lines if line["event"] == event]

    def end(self, number: int = signal.SIGINT) -> int:
        """Ends it by a signal; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for line in self.lines:
            EVENTS.validate(line)
        return code

    def close(self) -> None:
        """Reads what is left, once the process has ended."""
        self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def complaints(self) -> str:
        """What it wrote to standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


@contextmanager
def started(file: str | Path, *options: str, setup: str = "") -> Iterator[Watching]:
    """A watch; killed at the end of the block if it still runs."""
    watch = Watching(file, *options, setup=setup)
    try:
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()
        watch.close()


@contextmanager
def watching(file: str | Path, *options: str, setup: str = "") -> Iterator[Watching]:
    """A watch that has looked at everything once; ended with the block."""
    with started(file, *options, setup=setup) as watch:
        watch.until("watching")
        yield watch
        watch.end()
        assert watch.complaints() == ""


def within(seconds: float, condition: Callable[[], object], what: str) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.01)
