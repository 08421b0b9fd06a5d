"""verify: check whether links carry, and print the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, INVALID, OK, CommandError, is_silent, load_source, need_capabilities
from kokofast.cli.looking import look, print_unseen
from kokofast.cli.output import clean, print_line
from kokofast.cli.progress import Bar
from kokofast.cli.results import count, print_errors, print_json, print_table

if TYPE_CHECKING:
    import argparse

    from kokofast.engine.wires import Wires
    from kokofast.verification.crossing import Across
    from kokofast.verification.ports import CheckedLink

ORDER = ("ok", "unchecked", "failed")  # what fails is next to the summary, at the end


def verify(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from kokofast.engine.verify import verify as run

    source = load_source(options)
    across = _read_across(options.across) if options.across is not None else None
    need_capabilities(sends_only=True)
    with Bar(is_silent(options), {}) as progress:
        found = look(
            lambda driver, kernel: run(
                source,
                driver,
                kernel,
                patience=options.timeout,
                runtime_timeout=options.runtime_timeout,
                across=across,
                progress=progress,
            )
        )
    print_errors(found.errors)
    print_unseen(found.notes, found.unseen)
    if isinstance(source, str) and not found.wires:
        raise CommandError(FAILED, f"no link of the lab {source} is there; 'kokofast inspect' shows all labs")
    failed = bool(found.errors or found.unseen or any(wire.state == "failed" for wire in found.wires))
    if options.format == "json":
        print_json(as_dict(found, ok=not failed))
    else:
        _print_table(found, quiet=options.quiet)
    return FAILED if failed else OK


def _read_across(path: str) -> Across:
    from kokofast.host.files import read_file
    from kokofast.topology import FILE_BYTES_MAX
    from kokofast.verification.crossing import read_across

    where = f"--across {clean(path)}"
    try:
        return read_across(read_file(path, FILE_BYTES_MAX))
    except OSError as error:
        raise CommandError(INVALID, f"{where}: {error.strerror or error}") from None
    except ValueError as error:  # JSON, or UTF-8, or what it has
        raise CommandError(INVALID, f"{where}: {error}") from None


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
