"""The command watch: options -> exit code."""

from __future__ import annotations

import gc
import json
import signal
import sys
from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, INVALID, OK, PARTIAL, STDIN, CommandError, importing, load_file
from kokofast.cli.output import WRITING, lacking, print_line, sentence_of
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

    report = _reporter(options)
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
        with signals:
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


def _reporter(options: argparse.Namespace) -> Callable[[Event], None]:
    """Return what prints events: JSON lines, or lines for people on a terminal."""
    is_json = options.format == "json" or (options.format is None and not sys.stdout.isatty())

    def report(event: Event) -> None:
        if is_json:
            with WRITING:
                sys.stdout.write(json.dumps(event.as_dict()) + "\n")
        else:
            print_line(f"{event.time.astimezone():%H:%M:%S} {event}")
        with WRITING:
            sys.stdout.flush()

    return report
