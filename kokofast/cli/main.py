"""argv -> command -> exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from kokofast.cli.output import (
    clean,
    complain,
    complain_of,
    lose_output,
    print_json,
    print_result,
    say,
    summary,
    with_streams,
)
from kokofast.cli.parser import build_parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Sequence
    from typing import IO

    from kokofast.engine.result import Failure, Progress, Result
    from kokofast.engine.trace import Trace
    from kokofast.topology.model import Topology
    from kokofast.topology.problems import Problem

OK, FAILED, INVALID, PARTIAL, CHANGES = 0, 1, 2, 3, 4
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # of the sandbox's command, as a shell says it
STDIN = "-"


class CommandError(Exception):
    """The command ends here: an exit code, and what to tell the user."""

    def __init__(self, code: int, *errors: str | Problem) -> None:
        super().__init__(*errors)
        self.code = code
        self.errors = errors


def run(argv: Sequence[str]) -> int:
    """Runs a command line and returns the exit code. Prints errors; never raises for the user's doing."""
    return with_streams(lambda: _run(argv))


def _run(argv: Sequence[str]) -> int:
    arguments, command = _split_command(argv)
    options = build_parser().parse_args(arguments)
    options.exec = command
    try:
        if options.command == "destroy" and options.all + (options.file is not None or options.name is not None) != 1:
            raise CommandError(INVALID, "destroy takes either a FILE, --name LAB or both, or --all")
        if command is not None and not getattr(options, "sandbox", False):
            raise CommandError(INVALID, "a command after -- is for batch --sandbox")
        if getattr(options, "exit_code", False) and not options.dry_run:
            raise CommandError(INVALID, "--exit-code goes with --dry-run")
        if command is not None and (not command or options.dry_run):
            raise CommandError(INVALID, "-- needs a command behind it, and links to be made (no --dry-run) before it")
        return _COMMANDS[options.command](options)
    except CommandError as error:
        _tell(error, options)
        return error.code
    except KeyboardInterrupt:
        _tell(CommandError(FAILED, "interrupted"), options)
        return FAILED


def _tell(error: CommandError, options: argparse.Namespace) -> None:
    from kokofast.engine.result import Result

    errors = _failures(error)
    complain_of(errors, fold=options.command in _WITH_RESULT)
    # Whoever asked a command that has a result for JSON parses what comes. Other codes are of the sandbox's command,
    # behind the result.
    status = {FAILED: "rolled_back", INVALID: "invalid", PARTIAL: "partial"}.get(error.code)
    if status is not None and options.command in _WITH_RESULT and options.format == "json":
        links, namespaces = _WITH_RESULT[options.command]
        result = Result("", status)
        result.links, result.namespaces, result.errors = dict(links), dict(namespaces), errors
        print_json(result.as_dict())


def _failures(error: CommandError) -> list[Failure]:
    from kokofast.engine.result import Failure

    return [Failure("", one) if isinstance(one, str) else Failure(one.place, one.message) for one in error.errors]


def _split_command(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    arguments = list(argv)
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _load(options: argparse.Namespace, *, create: bool = False, keep_problems: list[Problem] | None = None) -> Topology:
    """The topology of the file. With keep_problems a file that has some gives what is left of it, and adds them."""
    from kokofast.host.files import read_file
    from kokofast.topology import FILE_BYTES_MAX, Problem, TopologyError, load

    try:
        data = read_file(None if options.file == STDIN else options.file, FILE_BYTES_MAX)
        return load(data, filename=options.file, name=getattr(options, "name", None), create=create)
    except OSError as error:
        raise CommandError(INVALID, Problem(clean(options.file), error.strerror or str(error))) from None
    except MemoryError:
        raise CommandError(INVALID, Problem(clean(options.file), "there is not memory enough to read it")) from None
    except TopologyError as error:
        if keep_problems is not None and error.topology is not None:
            keep_problems += error.problems
            return error.topology
        raise CommandError(INVALID, *error.problems) from None


def _need_capabilities(*, looks_only: bool = False) -> None:
    from kokofast.host.limits import TO_LOOK, TO_WIRE, missing_capabilities

    missing = missing_capabilities(TO_LOOK if looks_only else TO_WIRE)
    if missing:
        raise CommandError(
            FAILED,
            f"this needs root, or {' and '.join(missing)}: run it with sudo; "
            "'kokofast batch FILE --sandbox' works without, in namespaces of its own",
        )


def _with_signals(
    job: Callable[[Progress | None], Awaitable[object]], quiet: bool, *, still: str = "", rest: str = ""
) -> signal.Signals | None:
    """Runs job under trio; returns the signal that cancelled it, None when it came to its end.

    A second signal only has the user told what goes on still, for what was begun is brought to an end. A third one ends
    the process at once; rest says what to do then.
    """
    import trio

    from kokofast.cli.output import progress_bar

    caught: list[signal.Signals] = []
    # One that we were started with ignored (nohup, a shell's background job) is not for us.
    heeded = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler):
        # When we listen no more the work is done, and what __main__ says of a Ctrl-C, "interrupted", exit 1, a lie.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    progress, bar = (None, None) if quiet else progress_bar()

    async def watch(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*heeded) as signals:
            task_status.started()
            async for number in signals:
                caught.append(signal.Signals(number))
                scope.cancel()
                if still and len(caught) == 2:
                    complain(f"kokofast: {still}; one more signal ends this at once, and {rest}")
                elif still and len(caught) > 2:
                    complain(f"kokofast: ended by {caught[-1].name} before its time: {rest}")
                    os._exit(PARTIAL)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            work = trio.CancelScope()
            if heeded:
                await nursery.start(lambda task_status: watch(work, task_status))
            with work:
                await job(progress)
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        raise _explain(group) from group
    finally:
        if bar is not None:
            with contextlib.suppress(OSError):  # the terminal is closed
                bar.close()  # type: ignore[attr-defined]
    return caught[0] if caught else None


def _explain(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to raise instead of a group from under trio: a sentence where the machine is to blame."""
    from kokofast.wire.message import KernelError

    if group.split(KeyboardInterrupt)[1] is None:
        return KeyboardInterrupt()
    blamed, rest = group.split((OSError, KernelError))
    if blamed is None or rest is not None:
        return group
    sentences: dict[str, None] = {}
    waiting: list[BaseException] = [blamed]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            sentences[str(error)] = None
    return CommandError(FAILED, *sentences)


def _batch(options: argparse.Namespace) -> int:
    from kokofast.host.limits import TO_LOOK, missing_capabilities

    problems: list[Problem] = []
    # What the kernel has to object to a bad file is shown together with the rest, where we can look.
    can_look = not options.sandbox and not missing_capabilities(TO_LOOK)
    began = time.perf_counter()
    topology = _load(options, create=options.create or options.sandbox, keep_problems=problems if can_look else None)
    read = time.perf_counter() - began
    trace, trace_file = _open_trace(options)
    if options.sandbox:
        from kokofast.host.sandbox import SandboxError, enter

        _refuse_outsiders(topology)
        try:
            enter()
        except SandboxError as error:
            raise CommandError(FAILED, str(error)) from None
    else:
        _need_capabilities(looks_only=options.dry_run or bool(problems))
    from kokofast.engine.apply import apply
    from kokofast.engine.result import ROLLED_BACK, UNCHANGED, Failure, Result

    result = Result(topology.name, UNCHANGED)
    result.seconds["read"] = read
    result.links, result.namespaces = (dict(counts) for counts in _WITH_RESULT["batch"])

    async def job(progress: Progress | None) -> None:
        await apply(
            topology,
            keep_going=options.keep_going,
            dry_run=options.dry_run,
            jobs=options.jobs,
            exclusive=not options.sandbox,
            runtime_timeout=options.runtime_timeout,
            progress=progress,
            result=result,
            problems=problems,
            trace=trace,
        )

    caught = None
    try:
        caught = _with_signals(
            job,
            options.quiet or options.format == "json",
            still="still ending what has begun and taking back what was made",
            rest=f"'kokofast destroy --name {topology.name}' removes what is left",
        )
    except CommandError as error:  # the machine failed us in the midst: what became of the run is told all the same
        result.errors += _failures(error)
        if result.status == UNCHANGED:
            result.status = ROLLED_BACK
    if caught is not None and result.status != "applied":
        if result.status == UNCHANGED:  # before there was a plan: that all is as the file wants it is not known
            result.status = ROLLED_BACK
        rest = "what is left is listed below" if result.left else "what was made has been taken back"
        result.errors.append(Failure("", f"interrupted by {caught.name}; {rest}"))
    code = _print(result, options, _exit_code(result, options, interrupted=caught is not None))
    if trace is not None and trace_file is not None and not _write_trace(trace, trace_file, options.trace):
        code = code or PARTIAL
    return _run_inside(options.exec) if code == OK and options.exec else code


def _open_trace(options: argparse.Namespace) -> tuple[Trace | None, IO[str] | None]:
    if options.trace is None:
        return None, None
    from kokofast.engine.trace import Trace
    from kokofast.host.files import open_to_write
    from kokofast.topology import Problem

    try:  # before anything is touched: a run whose trace is lost would have to be made again
        return Trace(), open_to_write(options.trace, other_than=None if options.file == STDIN else options.file)
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


def _print(result: Result, options: argparse.Namespace, code: int) -> int:
    """Prints the result and returns the exit code. When it cannot be written, what was done stands all the same: that
    is no failure that was taken back."""
    try:
        print_result(result, options.format, options.quiet)
        sys.stdout.flush()
    except OSError as error:
        if result.status in ("applied", "partial", "destroyed") and not getattr(options, "sandbox", False):
            lose_output(f"what was done stays ({summary(result)}), but the result cannot be written", error)
            return PARTIAL
        lose_output("the result cannot be written", error)
        return code if code in (INVALID, PARTIAL) else FAILED
    return code


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


def _exit_code(result: Result, options: argparse.Namespace, *, interrupted: bool) -> int:
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


def _destroy(options: argparse.Namespace) -> int:
    topology = _load(options) if options.file is not None else None
    _need_capabilities()
    from kokofast.engine.destroy import destroy
    from kokofast.engine.result import Failure

    lab = topology.name if topology is not None else _check_lab(options.name)
    found: list[Result] = []

    async def job(progress: Progress | None) -> None:
        found.append(await destroy(lab, topology=topology, jobs=options.jobs, progress=progress))

    again = "run destroy again to remove the rest"
    silent = options.quiet or options.format == "json"
    try:
        caught = _with_signals(job, silent, still="still ending the deletions that have begun", rest=again)
    except CommandError as error:
        raise CommandError(PARTIAL, *error.errors) from error
    if not found:
        name = caught.name if caught is not None else "a signal"
        raise CommandError(PARTIAL, f"interrupted by {name}; {again}")
    result = found[0]
    result.errors = [Failure(clean(error.source), error.message, error.errno) for error in result.errors]
    return _print(result, options, PARTIAL if result.errors else OK)


def _check_lab(name: str | None) -> str | None:
    from kokofast.topology.values import check_lab_name

    try:
        return None if name is None else check_lab_name(name)
    except ValueError as error:
        raise CommandError(INVALID, str(error)) from None


def _inspect(options: argparse.Namespace) -> int:
    _check_lab(options.lab)
    _need_capabilities(looks_only=True)
    from kokofast.cli.output import print_links
    from kokofast.engine.destroy import SeenLink, inspect

    found: list[SeenLink] = []

    async def job(_: Progress | None) -> None:
        found.extend(await inspect(options.lab))

    if _with_signals(job, True) is not None:
        raise CommandError(FAILED, "interrupted")
    if options.format == "json":
        print_json([link.as_dict() for link in found])
    else:
        print_links(found)
    return OK


def _validate(options: argparse.Namespace) -> int:
    _load(options)
    return OK


def _schema(_: argparse.Namespace) -> int:
    from kokofast.topology import schema

    print_json(schema())
    return OK


def _generate(options: argparse.Namespace) -> int:
    from kokofast.topology import dump_csv, dump_json, generate_chain

    try:
        chain = generate_chain(options.links, options.subnet)
    except ValueError as error:
        raise CommandError(INVALID, str(error)) from None
    for part in dump_csv(chain) if options.format == "csv" else dump_json(chain):
        sys.stdout.write(part + "\n")
    return OK


# The commands that print a result, and what it counts (links, namespaces) when nothing was touched.
_WITH_RESULT: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "batch": ({"total": 0, "created": 0, "updated": 0, "unchanged": 0, "failed": 0}, {"created": 0}),
    "destroy": ({"removed": 0, "failed": 0}, {"removed": 0, "failed": 0}),
}

_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "batch": _batch,
    "destroy": _destroy,
    "inspect": _inspect,
    "validate": _validate,
    "schema": _schema,
    "generate": _generate,
}

__all__ = ["run", "say"]
