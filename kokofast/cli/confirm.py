"""The command confirm: options -> exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.cli.batch import exit_code
from kokofast.cli.command import FAILED, INVALID, OK, PARTIAL, CommandError, check_lab, finish
from kokofast.cli.output import print_error, print_line
from kokofast.cli.results import print_json
from kokofast.cli.signals import HeldSignals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from typing import Any


def confirm(options: argparse.Namespace) -> int:
    """Tell the batch that waits what becomes of the lab, print its result, and return its exit code.

    With --revert that is 0 when all was taken back.
    """
    from kokofast.drivers import Stopped
    from kokofast.drivers.inline import InlineDriver, drive
    from kokofast.engine.confirmation import confirm as ask
    from kokofast.engine.confirmation import look
    from kokofast.engine.result import ROLLED_BACK
    from kokofast.host.lock import is_locked

    lab = check_lab(options.lab)
    assert lab is not None
    signals = HeldSignals()
    try:
        with signals:
            driver = InlineDriver(signals)
            if options.dry_run:
                event = drive(look(lab, driver))
            else:
                result = drive(ask(lab, driver, revert=options.revert))
    except ProcessLookupError as error:
        hint = "; one works on it: try again when it says that it waits" if is_locked(lab) else ""
        raise CommandError(INVALID, f"{error.strerror}{hint}") from None
    except PermissionError as error:
        raise CommandError(FAILED, f"{error.strerror}; run it as the user who runs the batch, root mostly") from None
    except ConnectionResetError as error:
        raise CommandError(PARTIAL, str(error.strerror)) from None
    except Stopped:
        word = "take all back" if options.revert else "keep all"
        told = "" if options.dry_run else f"; the batch was told to {word}, and goes on"
        raise CommandError(PARTIAL, f"interrupted by {signals.name}{told}") from None
    if options.dry_run:
        return _print_waiting(event, options)
    code = exit_code(result, options, interrupted=False)
    if options.revert and code == FAILED and result.status == ROLLED_BACK:
        if options.format != "json":
            result.errors = []  # as was asked
        code = OK
    elif options.revert and code == OK:
        print_error(f"kokofast: {lab}: all is kept: another 'kokofast confirm' was faster")
        code = FAILED
    return finish(result, options, code)


def _print_waiting(event: Mapping[str, Any], options: argparse.Namespace) -> int:
    if options.format == "json":
        print_json(event)
    elif not options.quiet:
        print_line(f"{event['lab']}: waits to be confirmed, for {event['seconds']:.1f} s more")
    return OK
