"""A playbook that deploys or destroys, and what is printed of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kokofast.cli.command import CHANGES, FAILED, INVALID, OK, PARTIAL
from kokofast.cli.hosts_player import Player
from kokofast.cli.output import WRITING, OutputError, lose_output, print_error, print_line
from kokofast.cli.results import count, counts_of, print_errors, print_json
from kokofast.engine.result import Failure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from kokofast.hosts.outcome import HostOutcome, Outcomes

CODES = {"invalid": INVALID, "rolled_back": FAILED, "partial": PARTIAL}


class Run(Player):
    """A playbook that changes hosts, and what is printed of it."""

    def __init__(self, options: argparse.Namespace, outcomes: Outcomes, began: float) -> None:
        super().__init__(options, outcomes, began)
        self._outcomes = outcomes

    def finish(self, lab: str, rest: str) -> int:
        """Print what came of it; return the exit code. rest is for the user after an interruption."""
        options, outcomes = self._options, self._outcomes
        status, errors = outcomes.status(), [error.as_dict() for error in outcomes.errors()]
        failures = [error.as_failure() for error in outcomes.errors()]
        if self.signals:
            status = status if status in ("partial", "applied", "destroyed") else "rolled_back"
            failures.append(Failure("", f"interrupted by {self.signals[0]}; {rest}"))
            errors.append(failures[-1].as_dict())
        print_errors(failures)
        for outcome in outcomes.hosts.values():
            for text in outcome.result.get("left", ()):
                print_error(f"kokofast: {outcome.host}: could not be taken back: {text}")
        try:
            if options.format == "json":
                print_as_json(lab, status, outcomes.hosts, errors, self.seconds())
            elif not options.quiet:
                self._print_as_text(lab, status)
            with WRITING:
                sys.stdout.flush()
        except OutputError as lost:
            stays = (
                f"what was done stays ({lab}: {status}), but " if status in ("applied", "partial", "destroyed") else ""
            )
            lose_output(f"{stays}the result cannot be written", lost.error)
            return PARTIAL if stays else CODES.get(status, FAILED)
        if getattr(options, "exit_code", False) and status == "planned":
            return CHANGES
        return CODES.get(status, FAILED if self.signals else OK)

    def _print_as_text(self, lab: str, status: str) -> None:
        found = self._outcomes.hosts.values()
        for outcome in found:
            for step in outcome.steps:
                print_line(f"{outcome.host}: {step}")
        for outcome in found:
            counts = counts_of(
                outcome.result.get("links", {}),
                outcome.result.get("namespaces", {}),
                is_plan=outcome.status == "planned",
            )
            print_line(f"{outcome.host}: {', '.join([outcome.status, *counts])}")
        print_line(f"{lab}: {status}, {count(len(found), 'host')} in {self.seconds()['total']:.2f} s")


def print_as_json(
    lab: str,
    status: str,
    outcomes: Mapping[str, HostOutcome],
    errors: Sequence[dict[str, object]],
    seconds: Mapping[str, float],
) -> None:
    """Print the JSON object; ``kokofast schema hosts``."""
    print_json(
        {
            "lab": lab,
            "status": status,
            "hosts": {name: outcome.as_dict() for name, outcome in outcomes.items()},
            "errors": list(errors),
            "seconds": dict(seconds),
        }
    )
