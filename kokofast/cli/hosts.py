"""hosts: a lab on many hosts, by Ansible."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kokofast.cli.command import INVALID, CommandError, check_lab, failures_of, is_file
from kokofast.cli.hosts_player import find, inventory_of
from kokofast.cli.hosts_run import Run, print_as_json
from kokofast.cli.output import clean
from kokofast.cli.split import read, read_whole, write

if TYPE_CHECKING:
    import argparse


def hosts(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    try:
        return _COMMANDS[options.action](options)
    except CommandError as error:
        if options.format == "json":  # for errors, too: a program parses it
            status = "invalid" if error.code == INVALID else "rolled_back"
            print_as_json("", status, {}, [failure.as_dict() for failure in failures_of(error)], {"total": 0.0})
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


def _play(options: argparse.Namespace) -> int:
    from kokofast.cli.hosts_play import play

    return play(options)


_COMMANDS = {"deploy": _deploy, "destroy": _destroy, "play": _play, "verify": _verify}
