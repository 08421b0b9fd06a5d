"""batch, from its options to its exit code."""

from __future__ import annotations

from contextlib import closing, nullcontext
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
    failures_of,
    finish,
    load_file,
    need_capabilities,
)
from kokofast.cli.output import clean, complain, sentence_of, tell_of_wait
from kokofast.cli.progress import progress_shown
from kokofast.cli.signals import HeldSignals, import_engine, listen_no_more, with_signals

if TYPE_CHECKING:
    import argparse
    import signal
    from typing import IO

    from kokofast.engine.result import Result
    from kokofast.engine.trace import Trace
    from kokofast.topology.model import Topology
    from kokofast.topology.problems import Problem

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # of the sandbox's command, as a shell says it


def batch(options: argparse.Namespace) -> int:
    """Makes the links of options.file and returns the exit code, the sandbox's command's where there is one."""
    from kokofast.engine.result import UNCHANGED, Result
    from kokofast.host.limits import TO_LOOK, missing_capabilities

    result = Result("", UNCHANGED)
    if options.trace is not None:
        from kokofast.engine.trace import Trace

        result.trace = Trace()
    problems: list[Problem] = []
    # What the kernel has to object to a bad file is shown together with the rest, where we can look.
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
    trace_file = _open_trace(options)  # where the user's paths are: before the sandbox
    if options.sandbox:
        _enter_sandbox()
    caught = _carry_out(topology, problems, result, options)
    if result.namespaces.get("created") and not options.sandbox and result.status in ("applied", "partial"):
        _note_private_names(result)
    code = finish(result, options, exit_code(result, options, interrupted=caught is not None))
    listen_no_more()
    if (
        result.trace is not None
        and trace_file is not None
        and not _write_trace(result.trace, trace_file, options.trace)
    ):
        code = code or PARTIAL
    return _run_inside(options.exec) if code == OK and options.exec else code


def _carry_out(
    topology: Topology, problems: list[Problem], result: Result, options: argparse.Namespace
) -> signal.Signals | None:
    """Fills result in; returns the signal that cancelled it."""
    from kokofast.engine.result import ROLLED_BACK, UNCHANGED, Failure
    from kokofast.wire.message import KernelError

    caught = None
    try:
        caught = _begin_and_end(topology, problems, result, options)
    except (CommandError, OSError, KernelError, MemoryError) as error:
        # The machine failed us in the midst: what became of the run is told all the same.
        result.errors += failures_of(error) if isinstance(error, CommandError) else [Failure("", sentence_of(error))]
        if result.status == UNCHANGED:
            result.status = ROLLED_BACK
    if caught is not None and result.status != "applied":
        if result.status == UNCHANGED:  # before there was a plan: that all is as the file wants it is not known
            result.status = ROLLED_BACK
        # Of a partial run whose rest is known, what works was to be kept.
        kept = "what failed has been taken back, the links that work stay"
        rest = kept if result.status == "partial" else "what was made has been taken back"
        rest = "what is left is listed below" if result.left else rest
        result.errors.append(Failure("", f"interrupted by {caught.name}; {rest}"))
    return caught


def _begin_and_end(
    topology: Topology, problems: list[Problem], result: Result, options: argparse.Namespace
) -> signal.Signals | None:
    """The run, without an event loop as far as that goes. Raises CommandError, OSError, KernelError."""
    from kokofast.engine.headstart import head_start
    from kokofast.host.kernel import kernel_for

    keep_going, jobs, dry_run = options.keep_going, options.jobs, options.dry_run
    exclusive = not options.sandbox

    def links() -> int:
        return result.links["total"] - result.links["unchanged"]

    with (
        closing(kernel_for(len(topology.nodes))) as kernel,
        HeldSignals(
            still="still ending what has begun and taking back what was made",
            rest=f"'kokofast destroy --name {topology.name}' removes what is left",
            then_tells=True,
        ) as signals,
        progress_shown(options.quiet or options.format == "json", links) as progress,
    ):
        kernel.waits = waits = tell_of_wait(topology.name, options.quiet)
        head = head_start(
            topology,
            result,
            kernel=kernel,
            exclusive=exclusive,
            keep_going=keep_going,
            dry_run=dry_run,
            progress=progress,
            problems=problems,
            stopped=signals.came,
        )

        async def job() -> None:
            from kokofast.engine.apply import apply, go_on

            if head is not None:
                await go_on(head, keep_going=keep_going, jobs=jobs, progress=progress)
                return
            await apply(
                topology,
                kernel=kernel,
                keep_going=keep_going,
                dry_run=dry_run,
                jobs=jobs,
                exclusive=exclusive,
                runtime_timeout=options.runtime_timeout,
                progress=progress,
                result=result,
                problems=problems,
                waits=waits,
            )

        with head if head is not None else nullcontext():
            if head is None:
                import_engine()
            elif head.is_to_do and head.is_short(jobs):
                if head.carry_out(progress=progress, stopped=signals.came):
                    return signals.caught[0] if signals.caught else None
                (import_engine if result.trace is None else result.trace.around("import", import_engine))()
            elif head.is_to_do:
                head.make_first_links(import_engine, jobs=jobs, progress=progress, stopped=signals.came)
            else:
                return None
            return with_signals(job, signals)


def _note_private_names(result: Result) -> None:
    from kokofast.host.namespaces import NETNS_DIR, names_are_private

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
    """A sandbox has no containers, processes and namespace files but its own; those of the machine must stay alone."""
    from kokofast.topology import Problem

    outside = [node for node in topology.nodes.values() if node.kind not in ("netns", "host")]
    if outside:
        raise CommandError(
            INVALID,
            *(
                Problem(node.place, f"a {node.kind} node cannot be in a sandbox, only netns and host")
                for node in outside
            ),
        )


def _open_trace(options: argparse.Namespace) -> IO[str] | None:
    if options.trace is None:
        return None
    from kokofast.host.files import open_to_write
    from kokofast.topology import Problem

    if options.trace == STDIN:
        raise CommandError(INVALID, Problem("--trace -", "give a file: standard output is for the result"))
    try:  # before anything is touched: a run whose trace is lost would have to be made again
        return open_to_write(options.trace, other_than=None if options.file == STDIN else options.file)
    except OSError as error:
        place = f"--trace {clean(options.trace)}"
        raise CommandError(INVALID, Problem(place, f"cannot be written: {error.strerror}")) from None


def _write_trace(trace: Trace, file: IO[str], path: str) -> bool:
    """Whether it could be written. What was done stays in any case, and its result is printed by now."""
    from kokofast.host.files import clear

    try:
        with file:
            clear(file)
            trace.write(file)
    except OSError as error:
        complain(f"kokofast: --trace {clean(path)}: cannot be written: {error.strerror}; what was done stays")
        return False
    return True


def exit_code(result: Result, options: argparse.Namespace, *, interrupted: bool) -> int:
    """What a run's result is to a shell."""
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
