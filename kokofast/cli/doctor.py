"""doctor: look at the machine, and print what a lab lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.cli.command import FAILED, INVALID, OK, STDIN, CommandError, load_file
from kokofast.cli.output import print_json, print_line
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
    lacking = [finding for finding in findings if finding.needed and finding.state == "missing"]
    if options.format == "json":
        print_json({"ok": not lacking, "findings": [_as_dict(finding) for finding in findings]})
    else:
        _print_table(findings)
        title = needs.title or "a lab"
        names = ", ".join(finding.check for finding in lacking)
        print_line(f"missing for {title}: {names}" if lacking else f"nothing that {title} needs is missing")
    return FAILED if lacking else OK


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
