"""verify: check whether links carry, and print the answer."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, INVALID, OK, STDIN, CommandError, check_lab, load_file, need_capabilities
from kokofast.cli.output import count, print_error, print_errors, print_json, print_line, print_table, sentence_of
from kokofast.cli.progress import progress_shown
from kokofast.cli.signals import HeldSignals, end_at_next_signal

if TYPE_CHECKING:
    import argparse

    from kokofast.engine.wires import Wires
    from kokofast.topology.model import Topology
    from kokofast.verification.ports import CheckedLink

ORDER = ("ok", "unchecked", "failed")  # what fails is next to the summary, at the end


def verify(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    options.file = options.source
    topology = load_file(options) if options.source is not None and is_file(options.source) else None
    lab = None if topology is not None else check_lab(options.source)
    if topology is None and (options.name or options.importer or options.runtime):
        raise CommandError(INVALID, "--name, --from and --runtime go with a FILE")
    need_capabilities(sends_only=True)
    found = _carry_out(topology if topology is not None else lab, options)
    print_errors(found.errors)
    for note in found.notes:
        print_error(f"kokofast: {note}")
    for title, why in found.unseen.items():
        print_error(f"kokofast: {title}: the namespace cannot be looked into: {why.strerror or why}")
    if topology is None and lab is not None and not found.wires:
        raise CommandError(FAILED, f"no link of the lab {lab} is there; 'kokofast inspect' shows all labs")
    failed = bool(found.errors or found.unseen or any(wire.state == "failed" for wire in found.wires))
    if options.format == "json":
        print_json(as_dict(found, ok=not failed))
    else:
        _print_table(found, quiet=options.quiet)
    return FAILED if failed else OK


def is_file(text: str) -> bool:
    """Return whether an argument names a file, not a lab."""
    if text == STDIN or "/" in text or os.path.isfile(text):
        return True
    if "." not in text:
        return False
    from kokofast.topology.loader import EXTENSIONS

    return text.rpartition(".")[2].lower() in EXTENSIONS


def _carry_out(source: Topology | str | None, options: argparse.Namespace) -> Wires:
    from kokofast.drivers import Stopped
    from kokofast.drivers.inline import InlineDriver, drive
    from kokofast.engine.verify import verify as run
    from kokofast.host.kernel import kernel_for
    from kokofast.host.namespaces import count_named
    from kokofast.topology.collector import collector_paused

    try:
        with (
            closing(kernel_for(count_named())) as kernel,
            HeldSignals() as signals,
            progress_shown(options.quiet or options.format == "json", lambda: 0) as progress,
        ):
            job = run(
                source,
                InlineDriver(signals),
                kernel,
                patience=options.timeout,
                runtime_timeout=options.runtime_timeout,
                progress=progress,
            )
            with collector_paused():  # it would look at each interface again and again
                found = drive(job)
    except Stopped:
        raise CommandError(FAILED, f"interrupted by {signals.name}") from None
    except OSError as error:
        raise CommandError(FAILED, sentence_of(error)) from error
    end_at_next_signal()
    return found


def as_dict(found: Wires, *, ok: bool) -> dict[str, object]:
    """Return the JSON object; ``kokofast schema verify``."""
    answer: dict[str, object] = {"ok": ok, "links": [link.as_dict() for link in found.wires]}
    answer["errors"] = [error.as_dict() for error in found.errors]
    return answer | ({"notes": found.notes} if found.notes else {})


def _print_table(found: Wires, *, quiet: bool) -> None:
    wires = sorted(found.wires, key=lambda wire: ORDER.index(wire.state))
    rows = [
        (wire.lab or "?", wire.kind, wire.title, wire.state, "; ".join([*_messages(wire), *wire.notes]))
        for wire in wires
        if wire.state == "failed" or not quiet
    ]
    if rows:
        print_table(("LAB", "TYPE", "LINK", "STATE", "DETAILS"), rows)
    if not quiet:
        counts = {state: sum(wire.state == state for wire in wires) for state in ORDER}
        words = {"ok": "ok", "unchecked": "not checked", "failed": "failed"}
        told = [f"{number} {words[state]}" for state, number in counts.items() if number]
        print_line(f"{count(len(wires), 'link')}{': ' if told else ''}{', '.join(told)}")


def _messages(wire: CheckedLink) -> list[str]:
    return [one.message for one in wire.problems]
