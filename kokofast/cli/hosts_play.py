"""hosts play: a timeline on the hosts of a lab, which begin together."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kokofast.cli.command import FAILED, INVALID, OK, PARTIAL, STDIN, CommandError
from kokofast.cli.hosts_player import Caught, find, inventory_of
from kokofast.cli.hosts_run import Run
from kokofast.cli.output import WRITING, OutputError, lose_output, print_error, print_line
from kokofast.cli.results import count, counts_of, print_errors, print_json
from kokofast.cli.split import read, split_timeline, write
from kokofast.cli.timelines import is_stored
from kokofast.engine.result import Failure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from kokofast.hosts.ansible import Answer
    from kokofast.hosts.outcome import Outcomes
    from kokofast.hosts.playing import Plays
    from kokofast.timeline.epoch import Epoch
    from kokofast.topology.model import Topology

PAUSE = 5.0  # seconds between two rounds, in each of which all hosts are asked
LEASE_LEAST = 15.0  # seconds: three pauses
LOOK = 0.1  # for signals
LEAD_LEAST = 4.0  # seconds
CODES = {"played": OK, "partial": PARTIAL}
STOPPED = "the epochs that had begun are done or taken back, and each host is as its last epoch left it"


def play(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from kokofast.hosts.ansible import Play
    from kokofast.hosts.outcome import Outcomes
    from kokofast.hosts.places import TimelinePlaces
    from kokofast.hosts.playing import Plays

    began = time.perf_counter()
    if options.timeline == STDIN or (os.path.exists(options.timeline) and not is_stored(options.timeline)):
        raise CommandError(INVALID, "TIMELINE has to be a file or a folder: all of it is checked before, and split")
    if options.lease < LEASE_LEAST:
        words = f"--lease {options.lease:g} is too short, give {LEASE_LEAST:g} or more"
        raise CommandError(INVALID, f"{words}: hosts are asked every {PAUSE:g} s, which takes some seconds")
    whole, places = read(options), TimelinePlaces()
    timelines = split_timeline(whole, options, _Until(options.until, places.note))
    topology = whole.topology
    with tempfile.TemporaryDirectory(prefix="kokofast-") as name:
        folder = Path(name)
        options.output = str(folder / "parts")
        write(whole, timelines, options)
        outcomes = Outcomes(topology.hosts, options.patience)
        run = Run(options, outcomes, began)
        run.end_stage("split")
        variables = {
            "kokofast_lab": topology.name,
            "kokofast_parts": options.output,
            "kokofast_prune": True,  # as play
            "kokofast_confirm_within": options.patience,
        }
        flags = ("--check", "--diff") if options.dry_run else ()
        with Caught() as caught:
            run.play(Play("deploy", folder, inventory_of(topology), variables, flags))
            for error in outcomes.errors():
                error.relocate(find(error, whole))
            if run.signals or outcomes.status() not in ("applied", "unchanged", "planned"):
                return run.finish(topology.name, f"'kokofast confirm {topology.name} --revert' takes back on a host")
            plays = Plays(topology.hosts, options.lease, places)
            theatre = _Theatre(topology, options, plays, caught, folder, run)
            if theatre.begin(flags):
                theatre.follow()
            if not options.dry_run:
                theatre.end()
    return _finish(topology.name, options, outcomes, plays, run, caught.names)


class _Until:
    """Notes the lines of hosts. The first epoch must not come after the end. Raises CommandError."""

    def __init__(self, until: float | None, note: Callable[[str, str, Mapping[str, list[str]]], object]) -> None:
        self._until = until
        self._note = note

    def __call__(self, host: str, epoch: Epoch, places: Mapping[str, list[str]]) -> None:
        if self._until is not None and epoch.at is not None and epoch.at > self._until:
            raise CommandError(INVALID, "--until ends before the first epoch: nothing would be played")
        self._until = None
        self._note(host, epoch.place, places)


class _Theatre:
    """The hosts while they play. Each round is a playbook, so that no task lasts as long as the timeline."""

    def __init__(
        self, topology: Topology, options: argparse.Namespace, plays: Plays, caught: Caught, folder: Path, run: Run
    ) -> None:
        self._topology = topology
        self._options = options
        self._plays = plays
        self._caught = caught
        self._folder = folder
        self._run = run
        self._job = secrets.token_hex(16)
        self._is_told_to_end = False

    def begin(self, flags: tuple[str, ...]) -> bool:
        """Measure the clocks and begin; return whether all hosts have begun."""
        options = self._options
        lead = options.lead
        if lead is None:
            lead = LEAD_LEAST + 2 * self._run.seconds().get("check", 0.0) + self._run.seconds()["split"]
        variables = {
            "kokofast_parts": options.output,
            "kokofast_lead": lead,
            "kokofast_lease": options.lease,
            "kokofast_arguments": _arguments(options),
        }
        self._round("play", variables, flags)
        self._run.end_stage("begin")
        if options.format != "json" and not options.quiet and not self._plays.errors():
            self._tell_clocks(lead)
        return self._plays.have_begun() and not self._plays.errors()

    def _tell_clocks(self, lead: float) -> None:
        for one in self._plays.hosts.values():
            if one.clocks:
                print_line(f"{one.host}: its clock is {one.clocks[0].text()}")
        apart = self._plays.apart(0)
        if apart is not None:
            words = f"clocks at most {apart:.3f} s apart; all hosts begin within {self._plays.within():.3f} s"
            when = "" if self._options.dry_run else f", {lead:.0f} s after they were told"
            print_line(f"{self._topology.name}: {words}{when}")
        with WRITING:
            sys.stdout.flush()

    def follow(self) -> None:
        """Ask the hosts again and again, until all have ended; or until one has failed and all are to end."""
        goes_on = self._options.on_error == "continue"
        while self._plays.playing() and (goes_on or not self._plays.errors()):
            deadline = time.monotonic() + PAUSE
            while time.monotonic() < deadline:
                if self._caught.names:
                    return
                time.sleep(LOOK)
            self._round("play_on", {})
        self._run.end_stage("play")

    def end(self) -> None:
        """End it where it has not ended, and measure the clocks again. A second signal ends this."""
        self._is_told_to_end = True
        before = len(self._caught.names)
        self._round("play_end", {}, is_cancelled=lambda: len(self._caught.names) > max(before, 1))
        self._run.end_stage("end")

    def _round(
        self,
        playbook: str,
        variables: Mapping[str, Any],
        flags: tuple[str, ...] = (),
        is_cancelled: Callable[[], bool] | None = None,
    ) -> None:
        from kokofast.hosts.ansible import AnsibleError, Play
        from kokofast.hosts.ansible import play as play_book

        offsets = {one.host: one.offset for one in self._plays.hosts.values()}
        variables = {"kokofast_job": self._job, "kokofast_offsets": offsets, **variables}

        def take(answer: Answer) -> None:
            host = self._plays.hosts[answer.host]
            host.take(answer, time.monotonic(), is_told_to_end=self._is_told_to_end)

        # Ansible's files of each round are removed: there may be thousands.
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            this = Play(playbook, Path(name), inventory_of(self._topology), variables, flags)
            try:
                play_book(this, lambda _: None, take, is_cancelled or (lambda: bool(self._caught.names)))
            except AnsibleError as error:
                if not any(one.status == "playing" for one in self._plays.hosts.values()):
                    raise CommandError(FAILED, str(error)) from None
                print_error(f"kokofast: {error}")


def _arguments(options: argparse.Namespace) -> list[str]:
    """Return the options of play, for each host."""
    found = [f"--speed={_plain(options.speed)}", f"--from={_plain(options.start)}", f"--late={options.late}"]
    found += [f"--on-error={options.on_error}", "--quiet"]
    found += [f"--until={_plain(options.until)}"] if options.until is not None else []
    return [*found, *(f"--{name}" for name in ("loop", "destroy") if getattr(options, name))]


def _plain(number: float) -> str:
    """Return a number that an option had, whole, in as few characters: options take 9, and no exponent."""
    return f"{number:.8f}".strip("0").rstrip(".") or "0"


def _finish(
    lab: str,
    options: argparse.Namespace,
    outcomes: Outcomes,
    plays: Plays,
    run: Run,
    signals: Sequence[str],
) -> int:
    """Print what came of it; return the exit code."""
    is_plan = options.dry_run and not plays.errors()
    status = outcomes.status() if is_plan else plays.status()
    failures = [error.as_failure() for error in plays.errors()]
    errors = [error.as_dict() for error in plays.errors()]
    if signals:
        left = plays.going_on()
        rest = f"{', '.join(left)}: ends by itself within {options.lease:g} s" if left else STOPPED
        failures.append(Failure("", f"interrupted by {signals[0]}; {rest}"))
        errors.append(failures[-1].as_dict())
    print_errors(failures)
    try:
        if options.format == "json":
            print_json(_as_dict(lab, status, outcomes, plays, errors, run.seconds()))
        elif not options.quiet:
            _print_as_text(lab, status, outcomes, plays, run.seconds(), is_plan=is_plan)
        with WRITING:
            sys.stdout.flush()
    except OutputError as lost:
        lose_output(f"{lab}: {status}, but the result cannot be written", lost.error)
        return PARTIAL
    return FAILED if signals else OK if is_plan else CODES.get(status, FAILED)


def _print_as_text(
    lab: str, status: str, outcomes: Outcomes, plays: Plays, seconds: Mapping[str, float], *, is_plan: bool
) -> None:
    if is_plan:
        for outcome in outcomes.hosts.values():
            counts = counts_of(outcome.result.get("links", {}), outcome.result.get("namespaces", {}), is_plan=True)
            print_line(f"{outcome.host}: {', '.join([outcome.status, *counts])}")
    for one in plays.hosts.values() if not is_plan else ():
        words: list[str] = [one.status]
        if one.summary:
            refused, missed = (one.summary[name] for name in ("refused", "missed"))
            words += [count(one.summary["epochs"], "epoch"), count(one.summary["changes"], "change")]
            words += [f"{refused} refused", f"{missed} missed"]
            words.append(f"at most {one.summary['lateness']['worst'] * 1000:.1f} ms late")
        if len(one.clocks) > 1:
            words.append(f"its clock is now {one.clocks[1].text()}")
        print_line(f"{one.host}: {', '.join(words)}")
    apart = plays.apart(1)
    words = [status, count(len(plays.hosts), "host")]
    words += [f"clocks now at most {apart:.3f} s apart"] if apart is not None else []
    print_line(f"{lab}: {', '.join(words)}, in {seconds['total']:.2f} s")


def _as_dict(
    lab: str,
    status: str,
    outcomes: Outcomes,
    plays: Plays,
    errors: list[dict[str, object]],
    seconds: Mapping[str, float],
) -> dict[str, object]:
    """Return the JSON object; ``kokofast schema hosts``."""
    hosts = {name: {**outcomes.hosts[name].as_dict(), "play": one.as_dict()} for name, one in plays.hosts.items()}
    apart = {
        name: round(value, 6) for time, name in enumerate(("begin", "end")) if (value := plays.apart(time)) is not None
    }
    return {
        "lab": lab,
        "status": status,
        "hosts": hosts,
        "clocks": {"apart": apart, "within": round(plays.within(), 6)},
        "errors": errors,
        "seconds": seconds,
    }
