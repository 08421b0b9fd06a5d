"""hosts deploy, hosts destroy: a lab on many hosts, by Ansible; and how a playbook is played for all of hosts."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kokofast.cli.command import (
    CHANGES,
    FAILED,
    INVALID,
    OK,
    PARTIAL,
    CommandError,
    check_lab,
    failures_of,
    is_file,
)
from kokofast.cli.hosts_player import Player, find, inventory_of
from kokofast.cli.output import (
    WRITING,
    OutputError,
    clean,
    count,
    counts_of,
    lose_output,
    print_error,
    print_errors,
    print_json,
    print_line,
)
from kokofast.cli.split import read, read_whole, write
from kokofast.engine.result import Failure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from kokofast.hosts.outcome import HostOutcome, Outcomes

CODES = {"invalid": INVALID, "rolled_back": FAILED, "partial": PARTIAL}


def hosts(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    try:
        return _COMMANDS[options.action](options)
    except CommandError as error:
        if options.format == "json":  # for errors, too: a program parses it
            status = "invalid" if error.code == INVALID else "rolled_back"
            _print_as_json("", status, {}, [failure.as_dict() for failure in failures_of(error)], {"total": 0.0})
        raise


def _deploy(options: argparse.Namespace) -> int:
    from kokofast.hosts.ansible import Play
    from kokofast.hosts.outcome import Outcomes

    began = time.perf_counter()
    if options.install is not None and options.dry_run:
        raise CommandError(INVALID, "--install changes hosts, and goes without --dry-run")
    if options.install is not None and not os.path.isdir(options.install):
        raise CommandError(INVALID, f"--install {clean(options.install)}: is no folder; pip wheel makes one")
    whole = read(options)
    topology = whole.topology
    with tempfile.TemporaryDirectory(prefix="kokofast-") as name:
        folder = Path(name)
        options.output = str(folder / "parts")
        write(whole, {}, options)
        outcomes = Outcomes(topology.hosts, options.patience)
        run = Run(options, outcomes, began)
        run.end_stage("split")
        variables = {
            "kokofast_lab": topology.name,
            "kokofast_parts": options.output,
            "kokofast_prune": options.prune,
            "kokofast_replace": options.replace,
            "kokofast_confirm_within": options.patience,
        }
        if options.install is not None:
            variables["kokofast_wheels"] = os.path.abspath(options.install)
        flags = ("--check", "--diff") if options.dry_run else ()
        run.play(Play("deploy", folder, inventory_of(topology), variables, flags))
        for error in outcomes.errors():
            error.relocate(find(error, whole))
    rest = (
        f"a host on which something was made takes it back within {options.patience:g} s; "
        f"'kokofast confirm {topology.name} --revert' there does it at once"
    )
    return run.finish(topology.name, rest)


def _destroy(options: argparse.Namespace) -> int:
    from kokofast.hosts.ansible import Play
    from kokofast.hosts.outcome import Outcomes

    began = time.perf_counter()
    topology = None
    if is_file(options.source):
        options.file = options.source
        topology = read_whole(options)
        lab = topology.name
    else:
        lab = check_lab(options.source) or ""
    if topology is not None and not topology.hosts:
        raise CommandError(INVALID, "the file has no 'hosts': give a file that has them with --hosts")
    if (topology is None) != (options.inventory is not None):
        raise CommandError(INVALID, "give a FILE, which has the hosts; or LAB, and with --inventory where it is")
    run = Run(options, Outcomes(topology.hosts if topology is not None else ()), began)
    if topology is None and not os.path.exists(options.inventory):
        raise CommandError(INVALID, f"--inventory {clean(options.inventory)}: No such file or directory")
    found = inventory_of(topology) if topology is not None else os.path.abspath(options.inventory)
    with tempfile.TemporaryDirectory(prefix="kokofast-") as name:
        variables = {"kokofast_lab": lab, "kokofast_force": options.force}
        run.play(Play("destroy", Path(name), found, variables))
    return run.finish(lab, "run destroy again to remove the rest")


def _verify(options: argparse.Namespace) -> int:
    from kokofast.cli.hosts_verify import verify

    return verify(options)


_COMMANDS = {"deploy": _deploy, "destroy": _destroy, "verify": _verify}


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
                _print_as_json(lab, status, outcomes.hosts, errors, self.seconds())
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


def _print_as_json(
    lab: str,
    status: str,
    outcomes: Mapping[str, HostOutcome],
    errors: Sequence[dict[str, object]],
    seconds: Mapping[str, float],
) -> None:
    print_json(
        {
            "lab": lab,
            "status": status,
            "hosts": {name: outcome.as_dict() for name, outcome in outcomes.items()},
            "errors": list(errors),
            "seconds": dict(seconds),
        }
    )
