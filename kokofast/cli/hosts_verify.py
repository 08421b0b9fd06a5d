"""hosts verify: check whether the links of a lab carry, on all hosts and between them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kokofast.cli.command import FAILED, INVALID, OK, CommandError, check_lab, is_file
from kokofast.cli.hosts_player import Player, find, inventory_of
from kokofast.cli.output import WRITING, clean, print_line
from kokofast.cli.results import count, print_errors, print_json, print_table
from kokofast.cli.split import read, write
from kokofast.engine.result import Failure

if TYPE_CHECKING:
    import argparse

    from kokofast.hosts.checks import Checks, FailedLink
    from kokofast.splitting.split import Split
    from kokofast.topology.model import Topology

WORDS = {"ok": "ok", "unchecked": "not checked", "failed": "failed"}


def verify(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from kokofast.hosts.ansible import Play
    from kokofast.hosts.checks import Checks

    began = time.perf_counter()
    whole, lab = _read(options)
    hosts = whole.topology.hosts if whole is not None else {}
    with tempfile.TemporaryDirectory(prefix="kokofast-") as name:
        folder = Path(name)
        variables: dict[str, Any] = {"kokofast_lab": lab, "kokofast_timeout": options.timeout}
        if whole is not None:
            variables |= _write(whole, options, folder)
        inventory = inventory_of(whole.topology) if whole is not None else os.path.abspath(options.inventory)
        checks = Checks(hosts)
        player = Player(options, checks, began)
        player.end_stage("split")
        player.play(Play("verify", folder, inventory, variables, forks=len(hosts) or None))
    if whole is not None:
        for error in checks.errors():
            error.relocate(find(error, whole))
    return _Report(options, checks, player, whole.topology if whole is not None else None).print(lab)


def _read(options: argparse.Namespace) -> tuple[Split | None, str]:
    """Return the file, split, and the name of the lab. Raises CommandError."""
    has_file = is_file(options.source)
    if has_file != (options.inventory is None):
        raise CommandError(INVALID, "give a FILE, which has the hosts; or LAB, and with --inventory where it is")
    if has_file:
        options.file = options.source
        whole = read(options)
        return whole, whole.topology.name
    if not os.path.exists(options.inventory):
        raise CommandError(INVALID, f"--inventory {clean(options.inventory)}: No such file or directory")
    return None, check_lab(options.source) or ""


def _write(whole: Split, options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Write what each host gets; return the variables that say where it is."""
    from kokofast.splitting.across import across
    from kokofast.wire.probe import NONCE_BYTES

    options.output = str(folder / "parts")
    write(whole, {}, options)
    ends = folder / "across"
    ends.mkdir()
    for host, found in across(whole, os.urandom(NONCE_BYTES)).items():
        (ends / f"{host}.json").write_text(json.dumps(found), encoding="utf-8")
    return {"kokofast_parts": options.output, "kokofast_across": str(ends)}


class _Report:
    """What is printed of the checks."""

    def __init__(self, options: argparse.Namespace, checks: Checks, player: Player, topology: Topology | None) -> None:
        self._options = options
        self._checks = checks
        self._player = player
        self._links: list[FailedLink] = checks.failed(topology)

    def print(self, lab: str) -> int:
        """Print it; return the exit code."""
        checks, player = self._checks, self._player
        failures = [error.as_failure() for error in checks.errors()]
        errors = [error.as_dict() for error in checks.errors()]
        if player.signals:
            failures.append(Failure("", f"interrupted by {player.signals[0]}; nothing was changed"))
            errors.append(failures[-1].as_dict())
        ok = checks.ok() and not failures
        print_errors(failures)
        if self._options.format == "json":
            print_json(
                {
                    "lab": lab,
                    "ok": ok,
                    "hosts": {name: host.as_dict() for name, host in checks.hosts.items()},
                    "links": [link.as_dict() for link in self._links],
                    "errors": errors,
                    "seconds": player.seconds(),
                }
            )
        else:
            self._print_as_text(lab)
        with WRITING:
            sys.stdout.flush()
        return OK if ok else FAILED

    def _print_as_text(self, lab: str) -> None:
        rows = [
            (host, link.kind, link.title, link.position or link.source, message)
            for link in self._links
            for host, _, message in link.problems
        ]
        if rows:
            print_table(("HOST", "TYPE", "LINK", "PLACE", "DETAILS"), rows)
        if self._options.quiet:
            return
        for name, host in self._checks.hosts.items():
            counts = [f"{number:,} {WORDS[state]}" for state, number in host.counts.items() if number]
            links = count(sum(host.counts.values()), "link")
            told = f"{links}{': ' if counts else ''}{', '.join(counts)}" if host.counts else host.state
            print_line(f"{name}: {told}")
        hosts = count(len(self._checks.hosts), "host")
        state = "ok" if self._checks.ok() else f"{count(len(self._links), 'link')} failed" if self._links else "failed"
        print_line(f"{lab}: {state}, {hosts} in {self._player.seconds()['total']:.2f} s")
