"""The command batch: options -> exit code."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

from kokofast.cli.command import (
    CHANGES,
    FAILED,
    INVALID,
    OK,
    PARTIAL,
    STDIN,
    WITH_RESULT,
    CommandError,
    finish,
    is_silent,
    load_file,
    need_capabilities,
)
from kokofast.cli.output import WRITING, OutputError, clean, lose_output, print_error, sentence_of, wait_printer
from kokofast.cli.progress import Bar
from kokofast.cli.signals import HeldSignals, end_at_next_signal

if TYPE_CHECKING:
    import argparse
    from typing import IO

    from kokofast.engine.confirmation import Confirmation
    from kokofast.engine.result import Result
    from kokofast.engine.trace import Trace
    from kokofast.topology.model import Topology
    from kokofast.topology.problems import Problem

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # of the sandbox's command, as in a shell


def batch(options: argparse.Namespace) -> int:
    """Make the links of options.file and return the exit code, or that of the sandbox's command."""
    from kokofast.engine.result import UNCHANGED, Result
    from kokofast.host.limits import TO_LOOK, missing_capabilities

    result = Result("", UNCHANGED)
    if options.trace is not None:
        from kokofast.engine.trace import Trace

        result.trace = Trace()
    problems: list[Problem] = []
    # With privileges, also check a bad file against the machine, and show all problems at once.
    can_look = not options.sandbox and not missing_capabilities(TO_LOOK)
    with result.stage("read"):
        create = options.create or options.sandbox
        topology = load_file(options, create=create, keep_problems=problems if can_look else None)
    result.lab = topology.name
    result.links, result.namespaces = (dict(counts) for counts in WITH_RESULT["batch"])
    if options.sandbox:
        _refuse_outsiders(topology)
    else:
        need_capabilities(looks_only=options.dry_run or bool(problems))
    trace_file = _open_trace(options)  # before the sandbox, which has other mounts
    if options.sandbox:
        _enter_sandbox()
    confirmation = _confirmation(topology.name, options)
    try:
        interrupted = _carry_out(topology, problems, result, options, confirmation)
        if result.namespaces.get("created") and not options.sandbox and result.status in ("applied", "partial"):
            _note_private_names(result)
    finally:
        if confirmation is not None:
            confirmation.answer(result)
    code = finish(result, options, exit_code(result, options, interrupted=interrupted))
    end_at_next_signal()
    if (
        result.trace is not None
        and trace_file is not None
        and not _write_trace(result.trace, trace_file, options.trace)
    ):
        code = code or PARTIAL
    return _run_inside(options.exec) if code == OK and options.exec else code


def _confirmation(lab: str, options: argparse.Namespace) -> Confirmation | None:
    """Return the wait that --confirm-within asks for."""
    if options.confirm_within is None:
        return None
    from kokofast.engine.confirmation import Confirmation, plain, waiting

    def tell(seconds: float) -> None:
        if options.format == "json":
            import json

            with WRITING:  # one line, so that a program reads it while the batch waits
                sys.stdout.write(json.dumps(waiting(lab, seconds)) + "\n")
                sys.stdout.flush()
        elif not options.quiet:
            how = f"without 'kokofast confirm {lab}' within {plain(seconds)} s all is taken back"
            print_error(f"kokofast: {lab}: made, and not yet kept; {how}")

    return Confirmation(lab, options.confirm_within, tell)


def _carry_out(
    topology: Topology,
    problems: list[Problem],
    result: Result,
    options: argparse.Namespace,
    confirmation: Confirmation | None,
) -> bool:
    """Fill the result in; return whether a signal stopped the run."""
    from kokofast.drivers import Stopped
    from kokofast.drivers.warmup import LoopError
    from kokofast.engine.result import ROLLED_BACK, UNCHANGED, Failure
    from kokofast.wire.message import KernelError

    signals = HeldSignals(
        still="still ending what has begun and taking back what was made",
        rest=f"'kokofast destroy --name {topology.name}' removes what is left",
    )
    try:
        _run(topology, problems, result, options, signals, confirmation)
    except Stopped:
        _note_interruption(result, signals.name)
        return True
    except OutputError as lost:
        # The event was not written, so no one would confirm.
        result.errors.append(Failure("", f"the output cannot be written: {lost.error.strerror}"))
        lose_output("nothing was kept, as the line before the result cannot be written", lost.error)
    except (LoopError, OSError, KernelError, MemoryError, ImportError) as error:
        # The machine failed: still report what was done.
        result.errors.append(Failure("", sentence_of(error)))
        if result.status == UNCHANGED:
            result.status = ROLLED_BACK
    return False


def _run(
    topology: Topology,
    problems: list[Problem],
    result: Result,
    options: argparse.Namespace,
    signals: HeldSignals,
    confirmation: Confirmation | None,
) -> None:
    """Run apply() with a line of progress. Signals stop it."""
    from kokofast.drivers.inline import drive
    from kokofast.drivers.warmup import WarmupDriver
    from kokofast.engine.apply import apply
    from kokofast.host.kernel import kernel_for

    def links() -> int:
        return result.links["total"] - result.links["unchanged"]

    with (
        closing(kernel_for(len(topology.nodes))) as kernel,
        signals,
        Bar(is_silent(options), {"apply": links}) as progress,
    ):
        kernel.waits = waits = wait_printer(topology.name, options.quiet)
        driver = WarmupDriver(signals) if result.trace is None else WarmupDriver(signals, result.trace.around)
        run = apply(
            topology,
            driver,
            kernel,
            keep_going=options.keep_going,
            dry_run=options.dry_run,
            prune=options.prune,
            replace=options.replace,
            exclusive=not options.sandbox,
            jobs=options.jobs,
            runtime_timeout=options.runtime_timeout,
            progress=progress,
            result=result,
            problems=problems,
            waits=waits,
            confirmation=confirmation,
        )
        drive(run)


def _note_interruption(result: Result, name: str) -> None:
    from kokofast.engine.result import PARTIAL as STATUS_PARTIAL
    from kokofast.engine.result import ROLLED_BACK, UNCHANGED, Failure

    if result.status == UNCHANGED:  # there was no plan yet, so whether all is unchanged is not known
        result.status = ROLLED_BACK
    kept = "what failed has been taken back, the links that work stay"
    rest = kept if result.status == STATUS_PARTIAL else "what was made has been taken back"
    rest = "what is left is listed below" if result.left else rest
    result.errors.append(Failure("", f"interrupted by {name}; {rest}"))


def _note_private_names(result: Result) -> None:
    from kokofast.host.namespaces import NETNS_DIR
    from kokofast.host.netns_dir import names_are_private

    if names_are_private():
        result.notes.append(
            f"{NETNS_DIR} is not the machine's here ('ip netns exec', a container): the namespaces that were made are "
            "seen from here only, and end with it"
        )


def _enter_sandbox() -> None:
    from kokofast.host.sandbox import SandboxError, enter

    try:
        enter()
    except SandboxError as error:
        raise CommandError(FAILED, str(error)) from None


def _refuse_outsiders(topology: Topology) -> None:
    from kokofast.topology import Problem
    from kokofast.topology.checks import check_for_sandbox

    problems: list[Problem] = []
    check_for_sandbox(topology.nodes.values(), lambda place, text: problems.append(Problem(place, text)))
    if problems:
        raise CommandError(INVALID, *problems)


def _open_trace(options: argparse.Namespace) -> IO[str] | None:
    if options.trace is None:
        return None
    from kokofast.host.files import open_to_write
    from kokofast.topology import Problem

    if options.trace == STDIN:
        raise CommandError(INVALID, Problem("--trace -", "give a file: standard output is for the result"))
    try:  # before the run: without its trace it would have to be repeated
        return open_to_write(options.trace, other_than=None if options.file == STDIN else options.file)
    except OSError as error:
        place = f"--trace {clean(options.trace)}"
        raise CommandError(INVALID, Problem(place, f"cannot be written: {error.strerror}")) from None


def _write_trace(trace: Trace, file: IO[str], path: str) -> bool:
    """Write the trace; return False, with a message, if that fails. The result is printed already."""
    from kokofast.host.files import clear

    try:
        with file:
            clear(file)
            trace.write(file)
    except OSError as error:
        print_error(f"kokofast: --trace {clean(path)}: cannot be written: {error.strerror}; what was done stays")
        return False
    return True


def exit_code(result: Result, options: argparse.Namespace, *, interrupted: bool) -> int:
    """Return the exit code of a result."""
    if result.status == "invalid":
        return INVALID
    if result.status == "partial" or result.left:
        return PARTIAL
    if result.errors or (interrupted and result.status != "applied"):
        return FAILED
    if options.dry_run and options.exit_code and result.status == "planned":
        return CHANGES
    return OK


def _run_inside(command: list[str]) -> int:
    from kokofast.host.sandbox import run_command

    try:
        return run_command(command)
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        raise CommandError(code, f"{command[0]}: {error.strerror}") from None
