"""doctor: look at the machine, and print what a lab lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, INVALID, OK, STDIN, CommandError, load_file
from kokofast.cli.output import print_line
from kokofast.cli.results import print_json
from kokofast.doctor.checks import diagnose
from kokofast.doctor.needs import Needs, needs_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from kokofast.doctor.facts import Finding


def doctor(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from kokofast.endpoints.errors import ResolveError
    from kokofast.engine.examine import examine

    topology = load_file(options, create=options.create) if options.file is not None else None
    needs = Needs(sandbox=options.sandbox)
    if topology is not None:
        needs = needs_of(topology, "the lab" if options.file == STDIN else options.file, sandbox=options.sandbox)
    try:
        findings = diagnose(examine(topology, sandbox=options.sandbox), needs)
    except ResolveError as error:
        raise CommandError(INVALID, str(error)) from None
    lacking = lacking_of(findings)
    if options.format == "json":
        print_json({"ok": not lacking, "findings": [_as_dict(finding) for finding in findings]})
    else:
        _print_table(findings)
        print_line(summary(findings, needs.title))
    return FAILED if lacking else OK


def lacking_of(findings: Sequence[Finding]) -> list[Finding]:
    """Return what is missing and needed."""
    return [finding for finding in findings if finding.needed and finding.state == "missing"]


def summary(findings: Sequence[Finding], title: str) -> str:
    """Return the last line; title is that of the file, "" for none."""
    if lacking := lacking_of(findings):
        return f"missing for {title or 'every lab'}: {', '.join(finding.check for finding in lacking)}"
    others = [finding.check for finding in findings if finding.state == "missing"]
    some = f"; labs that use {', '.join(others)} do not come up" if others and not title else ""
    return f"nothing that {title or 'every lab'} needs is missing{some}"


def _as_dict(finding: Finding) -> dict[str, object]:
    found: dict[str, object] = {"check": finding.check, "state": finding.state, "needed": finding.needed}
    return found | {"fact": finding.fact} | ({"cure": finding.cure} if finding.cure else {})


def _print_table(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    print_line(f"{'STATE':<7}  {'CHECK':<{width}}  FACT")
    for finding in findings:
        print_line(f"{finding.state:<7}  {finding.check:<{width}}  {finding.fact}")
        if finding.cure:
            print_line(f"{'':<7}  {'':<{width}}  -> {finding.cure}")
