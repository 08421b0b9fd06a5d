"""The command play: options -> exit code."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from kokofast.cli.command import (
    FAILED,
    INVALID,
    OK,
    PARTIAL,
    STDIN,
    CommandError,
    load_file,
    need_capabilities,
)
from kokofast.cli.output import WRITING, OutputError, clean, lose_output, print_error, sentence_of, wait_printer
from kokofast.cli.progress import Bar, State
from kokofast.cli.results import count, print_errors
from kokofast.cli.signals import HeldSignals, end_at_next_signal
from kokofast.cli.timelines import Check, Live, Stored, is_stored
from kokofast.engine.player import Played, Player
from kokofast.engine.result import APPLIED, UNCHANGED, Result
from kokofast.host.commands import Children
from kokofast.topology.problems import Problem

if TYPE_CHECKING:
    import argparse

    from kokofast.drivers import Driver
    from kokofast.engine.session import Session
    from kokofast.timeline.epoch import Command
    from kokofast.topology.model import Topology


PAUSE_SECONDS = 0.05  # between two looks for signals
# So long before --start-at the machine's clock, which may be set while we wait, is read for the last time. What is left
# is waited for by one that is never set: the first epoch is prepared meanwhile.
LAST_LOOK = 10.0
COUNTED = ("created", "updated", "removed")


def play(options: argparse.Namespace) -> int:
    """Play options.timeline on the lab of options.file, and return the exit code."""
    if options.timeline == STDIN == options.file:
        raise CommandError(INVALID, "FILE and TIMELINE cannot both be standard input")
    topology = load_file(options, create=options.create)
    is_live = options.timeline == STDIN and not options.dry_run
    check: Check | None = None
    if is_live and options.loop:
        raise CommandError(INVALID, "--loop is for a file or a folder: standard input cannot be read again")
    if is_live and options.start_at is not None:
        raise CommandError(INVALID, "--start-at is for a file or a folder: lines of standard input come when they come")
    if not is_live:
        if not options.dry_run and os.path.exists(options.timeline) and not is_stored(options.timeline):
            why = "can be read only once: write it to a file, or give - to play what is written to standard input"
            raise CommandError(INVALID, Problem(clean(options.timeline), why))
        check = Check(topology, options)
        if options.dry_run:
            for line in check.lines:
                print_json_line(line)
            return OK
        check.forget()
    if options.start_at is not None and (late := time.time() - options.start_at) > 0:
        raise CommandError(INVALID, f"--start-at was {late:.1f} s ago: give a moment that is to come, or leave it out")
    need_capabilities()
    return _Play(topology, options, check).run()


class _Play:
    """One run of the command. check is what is known of the timeline; None for standard input."""

    def __init__(self, topology: Topology, options: argparse.Namespace, check: Check | None) -> None:
        self._topology = topology
        self._options = options
        self._check = check
        self._result = Result(topology.name, UNCHANGED)
        self._children = Children()
        self._lateness: list[float] = []
        self._worst = 0.0  # how long an epoch took
        self._refused = self._missed = self._changes = 0
        self._round = 0
        self._is_partial = False
        self._is_up = False  # whether this run has brought the lab up
        self._before: Played | None = None
        self._state = State(options.quiet)

    def run(self) -> int:
        """Bring the lab up, play, and return the exit code."""
        from kokofast.drivers import Stopped
        from kokofast.drivers.inline import drive
        from kokofast.drivers.warmup import LoopError, WarmupDriver
        from kokofast.engine.session import Session
        from kokofast.host.kernel import kernel_for
        from kokofast.wire.message import KernelError

        options, result, name = self._options, self._result, self._topology.name
        signals = HeldSignals(
            still="still ending or taking back the epoch that has begun",
            rest=f"'kokofast destroy --name {name}' removes what is left",
        )
        code = OK
        try:
            with (
                closing(kernel_for(len(self._topology.nodes))) as kernel,
                signals,
                self._children,
            ):
                driver = WarmupDriver(signals)
                with Bar(options.quiet, {"apply": lambda: result.links.get("total", 0)}) as progress:
                    session = Session(
                        self._topology,
                        driver,
                        kernel,
                        runtime_timeout=options.runtime_timeout,
                        progress=progress,
                        result=result,
                        waits=wait_printer(name, options.quiet),
                    )
                    drive(session.__aenter__())
                try:
                    with self._state:
                        code = drive(self._play(session, driver))
                finally:
                    drive(session.__aexit__())
        except Stopped:
            print_error(f"kokofast: interrupted by {signals.name}; the lab is as the last epoch left it")
            code = FAILED
        except OutputError as lost:
            lose_output("the lab is as the last epoch left it, but the result cannot be written", lost.error)
            code = PARTIAL
        except (LoopError, OSError, KernelError, MemoryError, ImportError) as error:
            print_error(f"kokofast: {sentence_of(error)}")
            code = PARTIAL if result.status in (APPLIED, UNCHANGED) else FAILED
        if options.destroy and self._is_up:  # otherwise it is as another run has left it
            code = max(code, self._destroy())
        end_at_next_signal()
        return code

    async def _play(self, session: Session, driver: Driver) -> int:
        options, result = self._options, self._result
        for note in [] if options.quiet else result.notes:
            print_error(f"kokofast: {note}")
        if result.status not in (APPLIED, UNCHANGED):
            print_errors(result.errors, whole="")
            for line in result.left:
                print_error(f"kokofast: could not be taken back: {line}")
            return INVALID if result.status == "invalid" else PARTIAL if result.left else FAILED
        self._is_up = True
        # The collector stays off: with 8,816 links it takes longer than an epoch. See _report() for what needs it.
        gc.collect()
        gc.freeze()
        began = time.monotonic()
        well = True
        try:
            while True:
                source = Live(driver) if self._check is None else Stored(options.timeline, self._check.epochs)
                player = self._player(session, driver, source)
                start = self._next_start if self._round else await self._first_start(driver)
                began = began if self._round else start
                well = await player.play(start) and well
                if not options.loop or (not well and options.on_error == "stop"):
                    break
                assert isinstance(source, Stored)
                await self._begin_again(session, driver, source, start)
        finally:
            self._tell_summary(max(time.monotonic() - began, 0.0))
        if self._is_partial or (not well and options.on_error == "continue"):
            return PARTIAL
        return OK if well else FAILED

    async def _first_start(self, driver: Driver) -> float:
        """Wait until shortly before the timeline begins; return when that is, by time.monotonic()."""
        options = self._options
        if options.start_at is None:
            return time.monotonic()
        left: float = options.start_at - time.time()
        if left > 0 and not options.quiet:
            print_error(f"kokofast: {self._topology.name}: up; the timeline begins in {left:.1f} s")
        while left > LAST_LOOK:
            self._wait(options.start - left * options.speed, options.start)
            await driver.sleep(PAUSE_SECONDS)
            left = options.start_at - time.time()
        if left < 0:
            words = f"the lab was up {-left:.1f} s after --start-at; give a later moment, the lab stays up for it"
            raise OSError(errno.ETIME, words)
        return time.monotonic() + left

    def _player(self, session: Session, driver: Driver, source: Live | Stored) -> Player:
        options = self._options

        def run(command: Command) -> int:
            self._state.close()
            pid = session.start(command.node, command.arguments)
            self._children.add(pid, f"{command.place}: {' '.join(command.arguments)}")
            return pid

        return Player(
            session,
            driver,
            source,
            self._report,
            run,
            speed=options.speed,
            first=options.start,
            until=options.until,
            skips=options.late == "skip",
            goes_on=options.on_error == "continue",
            waiting=self._wait,
        )

    async def _begin_again(self, session: Session, driver: Driver, source: Stored, start: float) -> None:
        """Make the lab as the file has it, when a round is over: one step after its last epoch."""
        options = self._options
        end = options.until if options.until is not None else source.last + max(source.step, 1.0)
        self._next_start = start + max(end - options.start, 0.001) / options.speed
        self._children.end()
        gc.collect()
        prepared = await session.restore(self._topology, source.title)
        while (left := self._next_start - time.monotonic()) > 0:
            await driver.sleep(min(left, PAUSE_SECONDS))
        result = await session.carry_out(prepared)
        self._round += 1
        self._before = None
        if result.status not in (APPLIED, UNCHANGED):
            print_errors(result.errors, whole="")
            raise OSError(errno.EIO, "the lab could not be made again as the file has it, to begin the next round")

    def _report(self, played: Played) -> None:
        """Print what became of an epoch."""
        result = played.result
        changes = {name: number for name in COUNTED if (number := result.links.get(name, 0))}
        if not played.is_good:
            gc.collect()  # a refused epoch leaves reference cycles, and a play may take days
            self._refused += 1
            self._is_partial |= result.status == "partial"
            changes = {name: 0 for name in changes} if result.status != "partial" else changes
        self._changes += sum(changes.values())
        self._lateness.append(played.lateness)
        self._worst = max(self._worst, played.done - played.begun)
        self._missed += max(len(played.epochs) - 1, 0) if self._before is not None else 0
        if self._before is not None and self._before.begun >= played.due > self._before.due:
            self._missed += 1  # the one before began when this one was due
        self._before = played
        line: dict[str, object] = {
            "at": round(played.at, 6),
            "begun": round(played.begun, 6),
            "done": round(played.done, 6),
            "lateness": round(played.lateness, 6),
            "status": result.status,
            "changes": changes,
        }
        if self._options.loop:
            line["round"] = self._round
        if len(played.epochs) > 1:
            line["merged"] = len(played.epochs)
        if played.commands:
            line["run"] = [{"node": node, "pid": pid} for node, pid in played.commands]
        if result.errors:
            line["errors"] = [error.as_dict() for error in result.errors]
        if result.left:
            line["left"] = result.left
        self._show(played.at, None)
        print_json_line(line)
        print_errors(result.errors, whole="the JSON line has them all")
        self._tell_ended()

    def _tell_ended(self) -> None:
        """Say which commands have failed."""
        for title, code in self._children.ended():
            if code:
                print_error(f"kokofast: {clean(title)}: ended with {code}")

    def _wait(self, now: float, at: float) -> None:
        """Show the time while the next epoch is waited for."""
        if self._state.is_due():
            self._tell_ended()
            self._show(now, at)

    def _show(self, now: float, following: float | None) -> None:
        """Show the time of the timeline, and what was done so far."""
        if not self._state.is_shown or self._children:  # these write to the terminal, too
            return
        end = f" of {self._check.end:.1f}" if self._check is not None and self._check.end is not None else ""
        ahead = f", next at {following:.1f} s" if following is not None else ""
        late = self._lateness[-1] * 1000 if self._lateness else 0
        number, changes = count(len(self._lateness), "epoch"), count(self._changes, "change")
        done = f"{number}, {changes}, {late:.0f} ms late, {self._missed} missed"
        self._state.show(f"at {now:.1f}{end} s{ahead}: {done}")

    def _tell_summary(self, seconds: float) -> None:
        self._state.close()
        ordered = sorted(self._lateness)
        print_json_line(
            {
                "summary": {
                    "epochs": len(ordered),
                    "refused": self._refused,
                    "missed": self._missed,
                    "changes": self._changes,
                    "lateness": {
                        "p50": quantile(ordered, 0.5),
                        "p99": quantile(ordered, 0.99),
                        "worst": quantile(ordered, 1.0),
                    },
                    "longest": round(self._worst, 6),
                    "seconds": round(seconds, 6),
                }
            }
        )

    def _destroy(self) -> int:
        """Remove the lab, and return the exit code."""
        from kokofast.drivers import Stopped
        from kokofast.drivers.inline import drive
        from kokofast.drivers.warmup import LoopError, WarmupDriver
        from kokofast.engine.destroy import destroy
        from kokofast.host.kernel import kernel_for
        from kokofast.host.namespaces import count_named
        from kokofast.wire.message import KernelError

        rest = "run destroy to remove the rest"
        signals = HeldSignals("still ending the deletions that have begun", rest)
        name = self._topology.name
        waits = wait_printer(name, self._options.quiet)
        result = Result(name, UNCHANGED)
        bar = Bar(self._options.quiet, {"delete": lambda: result.links.get("total", 0)})
        try:
            with closing(kernel_for(count_named())) as kernel, signals, bar as progress:
                run = destroy(
                    name,
                    WarmupDriver(signals),
                    kernel,
                    topology=self._topology,
                    progress=progress,
                    result=result,
                    waits=waits,
                )
                drive(run)
        except Stopped:
            print_error(f"kokofast: interrupted by {signals.name}; {rest}")
            return PARTIAL
        except (LoopError, OSError, KernelError, MemoryError, ImportError) as error:
            print_error(f"kokofast: {sentence_of(error)}")
            return PARTIAL
        print_errors(result.errors, whole="")
        if not self._options.quiet and not result.errors:
            print_error(f"kokofast: {name}: destroyed")
        return PARTIAL if result.errors else OK


def quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed; 0 of none."""
    return round(ordered[max(math.ceil(len(ordered) * share) - 1, 0)], 6) if ordered else 0.0


def print_json_line(value: object) -> None:
    """Print a JSON line. Raises OutputError."""
    with WRITING:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()
