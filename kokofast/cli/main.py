"""The command line: argv -> command -> exit code."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from kokofast.cli.batch import batch
from kokofast.cli.command import (
    FAILED,
    INVALID,
    OK,
    PARTIAL,
    WITH_ANSWER,
    WITH_RESULT,
    CommandError,
    check_lab,
    failures_of,
    finish,
    is_silent,
    load_file,
    need_capabilities,
)
from kokofast.cli.output import WRITING, clean, print_error, print_line, sentence_of, wait_printer, with_streams
from kokofast.cli.parser import build_parser
from kokofast.cli.progress import Bar
from kokofast.cli.results import print_errors, print_json
from kokofast.cli.signals import HeldSignals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from kokofast.engine.result_types import Status


def run(argv: Sequence[str]) -> int:
    """Run a command line, print errors, and return the exit code."""
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
        for name in ("prune", "replace"):
            if getattr(options, name, False) and getattr(options, "sandbox", False):
                raise CommandError(INVALID, f"--{name} is for labs that stay: a --sandbox begins with nothing")
        if getattr(options, "confirm_within", None) is not None:
            _check_confirmation(options)
        if command is not None and (not command or options.dry_run):
            raise CommandError(INVALID, "-- needs a command behind it, and links to be made (no --dry-run) before it")
        return _COMMANDS[options.command](options)
    except CommandError as error:
        _tell(error, options)
        return error.code
    except (OSError, MemoryError, ImportError) as error:  # before the run began
        _tell(CommandError(FAILED, sentence_of(error)), options)
        return FAILED
    except KeyboardInterrupt:
        _tell(CommandError(FAILED, "interrupted"), options)
        return FAILED


def _check_confirmation(options: argparse.Namespace) -> None:
    """Raise CommandError for options that do not go with --confirm-within."""
    for name, why in (
        ("dry_run", "there is nothing to confirm"),
        ("keep_going", "either all is kept, or all is taken back"),
        ("sandbox", "it is for labs that stay: a --sandbox ends with the command in it"),
    ):
        if getattr(options, name):
            raise CommandError(INVALID, f"--confirm-within does not go with --{name.replace('_', '-')}: {why}")


def _tell(error: CommandError, options: argparse.Namespace) -> None:
    from kokofast.engine.result import Result

    errors = failures_of(error)
    if options.command == "play":
        print_errors(errors, whole="")
    else:
        print_errors(errors, fold=options.command in WITH_RESULT)
    # With --format json print a result for errors, too: a program parses it. Other codes come from the sandbox's
    # command, after the result.
    statuses: dict[int, Status] = {FAILED: "rolled_back", INVALID: "invalid", PARTIAL: "partial"}
    status = statuses.get(error.code)
    if status is not None and options.command in WITH_RESULT and options.format == "json":
        links, namespaces = WITH_RESULT[options.command]
        result = Result("", status)
        result.links, result.namespaces, result.errors = dict(links), dict(namespaces), errors
        print_json(result.as_dict())
    elif options.command in WITH_ANSWER and options.format == "json":
        told = [error.as_dict() for error in errors]
        print_json({"ok": False, WITH_ANSWER[options.command]: [], "errors": told})


def _split_command(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    arguments = list(argv)
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _confirm(options: argparse.Namespace) -> int:
    from kokofast.cli.confirm import confirm

    return confirm(options)


def _destroy(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    topology = load_file(options) if options.file is not None else None
    read = time.perf_counter() - start
    need_capabilities()
    from kokofast.drivers import Stopped
    from kokofast.drivers.inline import drive
    from kokofast.drivers.warmup import LoopError, WarmupDriver
    from kokofast.engine.destroy import destroy
    from kokofast.engine.result import UNCHANGED, Failure, Result
    from kokofast.host.kernel import kernel_for
    from kokofast.host.namespaces import count_named
    from kokofast.wire.message import KernelError

    lab = topology.name if topology is not None else check_lab(options.name)
    result = Result(lab or "", UNCHANGED)
    again = "run destroy again to remove the rest"
    signals = HeldSignals("still ending the deletions that have begun", again)
    links = {"delete": lambda: result.links.get("total", 0)}
    try:
        with (
            closing(kernel_for(count_named())) as kernel,
            signals,
            Bar(is_silent(options), links) as progress,
        ):
            run = destroy(
                lab,
                WarmupDriver(signals),
                kernel,
                topology=topology,
                force=options.force,
                jobs=options.jobs,
                progress=progress,
                result=result,
                waits=wait_printer(lab, options.quiet),
            )
            drive(run)
    except Stopped:
        raise CommandError(PARTIAL, f"interrupted by {signals.name}; {again}") from None
    except (LoopError, OSError, KernelError, MemoryError, ImportError) as error:
        raise CommandError(PARTIAL, sentence_of(error)) from error
    if topology is not None:
        result.seconds = {"read": read, **result.seconds}
    result.errors = [Failure(clean(error.source), error.message, error.errno) for error in result.errors]
    code = INVALID if result.status == "invalid" else PARTIAL if result.errors else OK
    return finish(result, options, code)


_NO_FILE = ": inspect takes the name of a lab, not a file"


def _inspect(options: argparse.Namespace) -> int:
    if options.lab is not None and "/" in options.lab:
        raise CommandError(INVALID, f"{clean(options.lab)}{_NO_FILE}")
    check_lab(options.lab)
    need_capabilities(looks_only=True)
    from kokofast.cli.looking import look, print_unseen
    from kokofast.cli.results import print_links, unlinked
    from kokofast.engine.inspect import see

    seen = look(lambda driver, kernel: see(options.lab, driver, kernel))
    found, namespaces, nodes = seen.links, seen.namespaces, seen.nodes
    if options.format == "json":
        bare = [
            {"lab": lab, "type": "namespace", "name": name, "endpoints": []}
            for name, lab in unlinked(found, namespaces).items()
        ]
        print_json([*(link.as_dict() for link in found), *bare, *(node.as_dict() for node in nodes)])
    elif options.format == "labs":
        labs = {*(link.lab for link in found), *namespaces.values(), *(node.lab for node in nodes)}
        for lab in sorted(labs):
            print_line(lab)
    elif options.lab is None or found or namespaces or nodes:
        print_links(found, namespaces, nodes)
    print_unseen(seen.notes, seen.unseen)
    if options.lab is not None and seen.is_empty():
        hint = _NO_FILE if os.path.isfile(options.lab) else ""
        print_error(f"kokofast: nothing of the lab {options.lab} is there{hint}; 'kokofast inspect' shows all labs")
        return FAILED
    return FAILED if seen.unseen else OK


def _validate(options: argparse.Namespace) -> int:
    load_file(options)
    return OK


def _schema(options: argparse.Namespace) -> int:
    if options.of == "result":
        from kokofast.cli.result_schema import schema
    elif options.of == "waiting":
        from kokofast.cli.result_schema import schema_of_waiting as schema
    elif options.of == "events":
        from kokofast.watching.events import schema
    elif options.of == "timeline":
        from kokofast.timeline.json_schema import schema
    elif options.of == "played":
        from kokofast.cli.result_schema import schema_of_played as schema
    elif options.of == "doctor":
        from kokofast.cli.result_schema import schema_of_doctor as schema
    elif options.of == "hosts":
        from kokofast.cli.result_schema import schema_of_hosts as schema
    elif options.of == "verify":
        from kokofast.cli.result_schema import schema_of_verify as schema
    elif options.of == "split":
        from kokofast.cli.result_schema import schema_of_split as schema
    else:
        from kokofast.topology import schema
    print_json(schema())
    return OK


def _generate(options: argparse.Namespace) -> int:
    from kokofast.cli.generate import lines

    try:
        made = lines(options)
    except ValueError as error:
        raise CommandError(INVALID, str(error)) from None
    with WRITING:
        for line in made:
            sys.stdout.write(line + "\n")
    return OK


def _doctor(options: argparse.Namespace) -> int:
    from kokofast.cli.doctor import doctor

    return doctor(options)


def _verify(options: argparse.Namespace) -> int:
    from kokofast.cli.verify import verify

    return verify(options)


def _graph(options: argparse.Namespace) -> int:
    from kokofast.cli.graph import graph

    return graph(options)


def _hosts(options: argparse.Namespace) -> int:
    from kokofast.cli.hosts import hosts

    return hosts(options)


def _completion(options: argparse.Namespace) -> int:
    from kokofast.cli.shell import completion

    _write(completion(options.shell))
    return OK


def _man(options: argparse.Namespace) -> int:
    from kokofast.cli.shell import manual

    _write(manual())
    return OK


def _write(text: str) -> None:
    with WRITING:
        sys.stdout.write(text + "\n")


def _import(options: argparse.Namespace) -> int:
    from kokofast.cli.import_file import import_file

    return import_file(options)


def _split(options: argparse.Namespace) -> int:
    from kokofast.cli.split import split

    return split(options)


def _play(options: argparse.Namespace) -> int:
    from kokofast.cli.play import play

    return play(options)


def _watch(options: argparse.Namespace) -> int:
    from kokofast.cli.watch import watch

    return watch(options)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "batch": batch,
    "confirm": _confirm,
    "destroy": _destroy,
    "watch": _watch,
    "inspect": _inspect,
    "play": _play,
    "split": _split,
    "validate": _validate,
    "schema": _schema,
    "generate": _generate,
    "import": _import,
    "doctor": _doctor,
    "verify": _verify,
    "graph": _graph,
    "hosts": _hosts,
    "completion": _completion,
    "man": _man,
}

__all__ = ["print_line", "run"]
