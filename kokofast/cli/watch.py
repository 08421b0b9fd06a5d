"""The command watch: options -> exit code."""

from __future__ import annotations

import gc
import json
import signal
import sys
from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, INVALID, OK, PARTIAL, STDIN, CommandError, importing, load_file
from kokofast.cli.output import WRITING, clean, lacking, print_line, sentence_of
from kokofast.cli.progress import State
from kokofast.cli.results import count
from kokofast.cli.signals import HeldSignals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from kokofast.topology.model import Topology
    from kokofast.watching.events import Event


class _Signals(HeldSignals):
    """The signals of batch, but SIGHUP has the file read again."""

    def __init__(self) -> None:
        super().__init__(
            still="still ending the run that has begun", rest="'kokofast batch' completes what may be half made"
        )
        self.reread: Callable[[], None] = lambda: None

    def on_signal(self, number: int) -> None:
        """Record a signal, or have the file read again."""
        if number == signal.SIGHUP:
            self.reread()
        else:
            super().on_signal(number)


def watch(options: argparse.Namespace) -> int:
    """Keep the lab of options.file, and return the exit code."""
    from kokofast.host.limits import TO_WATCH, missing_capabilities

    if options.wait is not None and not options.once:
        raise CommandError(INVALID, "--wait goes with --once")
    content: list[bytes] = []
    topology = load_file(options, create=options.create, keep_data=content)
    if missing := missing_capabilities(TO_WATCH):
        raise CommandError(FAILED, lacking(missing))
    gc.enable()  # unlike other commands it may run for months
    from kokofast.drivers import Stopped
    from kokofast.drivers.trio_run import run_until_stopped
    from kokofast.engine.keep import keep_lab
    from kokofast.watching.events import Event
    from kokofast.wire.message import KernelError

    summary = _Summary(topology)
    report = _reporter(options, summary)
    signals = _Signals()

    async def job() -> bool:
        return await keep_lab(
            topology,
            report,
            file=None if options.file == STDIN else options.file,
            read=_reader(options, content),
            prune=options.prune,
            once=(options.wait or 0.0) if options.once else None,
            runtime_timeout=options.runtime_timeout,
            rereads=lambda reread: setattr(signals, "reread", reread),
        )

    try:
        with signals, summary.state:
            summary.show()
            is_whole = run_until_stopped(signals, job)
    except Stopped:
        report(Event("ended", topology.name, {}))
        return PARTIAL if options.once else OK
    except (OSError, KernelError, MemoryError, ImportError) as error:
        raise CommandError(FAILED, sentence_of(error)) from error
    return OK if is_whole or not options.once else PARTIAL


def _reader(options: argparse.Namespace, before: list[bytes]) -> Callable[[], Topology | None]:
    """Return a function that reads the file again: see rereader(). before has its content so far."""
    from kokofast.engine.keep import rereader
    from kokofast.topology import load

    if options.file == STDIN:
        return lambda: None

    def load_again(data: bytes) -> Topology:
        return load(data, filename=options.file, name=options.name, create=options.create, **importing(options))

    return rereader(options.file, before[0], load_again)


class _Summary:
    """What a watch is about and has done so far, in a line."""

    def __init__(self, topology: Topology) -> None:
        self.state = State(silent=False)
        self._links, self._nodes = len(topology.links), len(topology.nodes)
        self._missing: set[str] = set()
        self._made: int | None = None  # None: the first run is not over
        self._lab = topology.name

    def add(self, event: Event) -> None:
        """Take note of an event, and show it."""
        fields = event.fields
        if event.event == "watching":
            self._made = 0
        elif event.event == "reloaded":
            self._links, self._nodes = fields["links"], fields["nodes"]
            self._missing.clear()
        elif event.event == "applied" and self._made is not None:
            self._made += fields["created"] + fields["updated"]
        elif event.event == "waiting":
            self._missing.add(fields["node"])
        elif event.event == "found":
            self._missing.discard(fields["node"])
        self.show(f"; last: {event.time.astimezone():%H:%M:%S} {event}")

    def show(self, last: str = "") -> None:
        """Show it. last says what was the last event."""
        what = f"{count(self._links, 'link')} of {count(self._nodes, 'node')}"
        missing = f", {len(self._missing):,} missing" if self._missing else ""
        done = f", {count(self._made, 'link')} made or changed since" if self._made is not None else ": making them"
        self.state.show(clean(f"{self._lab}: {what}{missing}{done}{last}"))


def _reporter(options: argparse.Namespace, summary: _Summary) -> Callable[[Event], None]:
    """Return what prints events: JSON lines, or lines for people on a terminal."""
    is_json = options.format == "json" or (options.format is None and not sys.stdout.isatty())

    def report(event: Event) -> None:
        summary.add(event)
        if is_json:
            with WRITING:
                sys.stdout.write(json.dumps(event.as_dict()) + "\n")
        else:
            print_line(f"{event.time.astimezone():%H:%M:%S} {event}")
        with WRITING:
            sys.stdout.flush()

    return report
