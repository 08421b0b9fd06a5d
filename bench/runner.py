"""Run contenders in turns, each time on fresh namespaces. A time counts only when the judge has seen the links."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.contender import CHANGE, DESTROY, PHASES, ROOT, UNCHANGED, UP, Contender
from bench.links import WrongState
from bench.measure import ContenderFailed, Measurement, run
from bench.report import Results
from bench.scenario import Scenario


class Block(NamedTuple):
    """Contenders that are measured in turns, with the phases that are measured of each.

    Args:
        scenario: Its name.
        links: Its size.
        phases: Of each contender.
        times_runs: So many times the runs of other blocks.
        runs: A number of runs, whatever was asked for; 0: as asked for. What takes minutes runs once.
    """

    scenario: str
    links: int
    phases: Mapping[str, Sequence[str]]
    times_runs: int = 1
    runs: int = 0


@dataclass
class Runner:
    """Run contenders and collect their measurements.

    Args:
        directory: For the files of contenders.
        results: Where the measurements go.
        repeat: How many runs each.
        patience: The most that one run may take, in seconds.
        quiet: Print no progress.
        measured: (scenario, contender) -> milliseconds a link, of the last size.
    """

    directory: Path  # for the files of contenders
    results: Results
    repeat: int = 5
    patience: float = 15.0  # seconds that one run of a contender may take
    quiet: bool = False
    measured: dict[tuple[str, str], float] = field(
        default_factory=dict
    )  # (scenario, contender) -> ms a link, last size

    def in_turns(
        self,
        scenario: Scenario,
        contenders: Sequence[Contender],
        phases: Mapping[str, Sequence[str]] | None = None,
        repeat: int = 0,
    ) -> None:
        """Run contenders round after round, so that a busy minute of the machine hits all of them alike.

        Args:
            scenario: What to run.
            contenders: Who runs. Those that are missing or too slow are left out, with a note.
            phases: What to measure of each; None: all.
            repeat: How many rounds; 0: as many as the runner has.
        """
        about = f"{scenario.name} {scenario.size}"
        if reason := scenario.absent():
            self.results.note(f"{scenario.name}: absent: {reason}")
            return
        taking_part = []
        for one in contenders:
            measured = self.measured.get((scenario.name, one.name))
            if reason := one.missing():
                self.results.note(f"{one.name}: absent: {reason}")
            elif scenario.name not in one.scenarios:
                self.results.note(f"{one.name} does not do {scenario.name}")
            elif reason := one.too_slow(scenario, self.patience, measured):
                self.results.note(f"{one.name}, {about}: {reason}")
            else:
                taking_part.append(one)
                if one.remark:
                    self.results.note(f"{one.name}: {one.remark}")
        if not taking_part:
            return
        with scenario.setting():
            for _ in range(repeat or self.repeat):
                for one in list(taking_part):
                    try:
                        self.once(scenario, one, PHASES if phases is None else phases[one.name])
                    except (ContenderFailed, WrongState) as error:
                        self.results.fail(f"{one.name}, {about}: FAILED: {error}")
                        taking_part.remove(one)
                        self._say(self.results.notes[-1])

    def once(self, scenario: Scenario, contender: Contender, phases: Sequence[str]) -> None:
        """Run up and, when asked for, the change, the same again and destroy."""
        try:
            with scenario.fresh():
                self._phases(scenario, contender, phases)
        finally:
            contender.tidy(scenario)

    def _phases(self, scenario: Scenario, contender: Contender, phases: Sequence[str]) -> None:
        whole, changed = 0.0, False
        for phase in PHASES:
            if phase == UP or (phase in phases and contender.makes_links):
                command = getattr(contender, phase)(scenario, self.directory)
                if command is not None:
                    changed = changed or phase == CHANGE
                    taken = self._measure(scenario, contender, phase, command, changed)
                    whole += taken.seconds if phase != UNCHANGED else 0.0
                    if phase in phases and phase in contender.phases:
                        self.results.add(scenario.name, scenario.size, phase, contender.name, taken)
                        self._say(f"{scenario.name} {scenario.size} {phase} {contender.name}: {taken.seconds:.3f} s")
        self.measured[scenario.name, contender.name] = whole * 1000 / scenario.size

    def _measure(
        self, scenario: Scenario, contender: Contender, phase: str, command: list[str], changed: bool
    ) -> Measurement:
        taken = run(command, ROOT, partial(contender.stages, phase))
        if not contender.makes_links:
            return taken
        if phase == DESTROY:
            scenario.verify_gone()
        elif changed:
            scenario.verify_changed()
        else:
            scenario.verify_up(contender.queues)
        return taken

    def _say(self, text: str) -> None:
        if not self.quiet:
            say(text)


def say(text: str) -> None:
    """Print a line to standard error: standard output has the result only."""
    print(text, file=sys.stderr, flush=True)
