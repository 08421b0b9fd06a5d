"""Shared by the commands: exit codes, CommandError, reading the file, printing the result."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from kokofast.cli.output import WRITING, OutputError, clean, lacking, lose_output, print_error
from kokofast.cli.progress import Task
from kokofast.cli.results import print_result, summary

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from typing import Any

    from kokofast.engine.result import Failure, Result
    from kokofast.topology.model import Topology
    from kokofast.topology.problems import Problem

OK, FAILED, INVALID, PARTIAL, CHANGES = 0, 1, 2, 3, 4
STDIN = "-"
LARGE_FILE = 1 << 20  # bytes; a file of less is read in half a second

IN_SANDBOX = "'batch FILE --sandbox' works without them, in namespaces of its own"

# The commands that print a result, and the counts of links and namespaces when nothing was touched.
WITH_RESULT: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "batch": ({"total": 0, "created": 0, "updated": 0, "unchanged": 0, "failed": 0}, {"created": 0}),
    "destroy": ({"removed": 0, "failed": 0}, {"removed": 0, "failed": 0}),
    "confirm": ({"total": 0}, {}),
}
# The commands whose answer has "ok", and what else it lists.
WITH_ANSWER = {"verify": "links", "doctor": "findings"}


class CommandError(Exception):
    """Ends the command with an exit code and errors."""

    def __init__(self, code: int, *errors: str | Problem) -> None:
        super().__init__(*errors)
        self.code = code
        self.errors = errors


def failures_of(error: CommandError) -> list[Failure]:
    """Convert the errors to those of a Result."""
    from kokofast.engine.result import Failure, failure_of

    return [Failure("", one) if isinstance(one, str) else failure_of(one) for one in error.errors]


def load_file(
    options: argparse.Namespace,
    *,
    create: bool = False,
    keep_problems: list[Problem] | None = None,
    keep_data: list[bytes] | None = None,
) -> Topology:
    """Read the topology. With keep_problems append the problems to it, and return what is valid of the file.

    With keep_data append the content of the file to it.

    Raises CommandError.
    """

    def read(data: bytes) -> Topology:
        from kokofast.topology import load

        if keep_data is not None:
            keep_data.append(data)
        name = getattr(options, "name", None)
        topology = load(data, filename=options.file, name=name, create=create, **importing(options))
        check_imported(topology, options)
        _refuse_whole(topology, options)
        return topology

    return read_file_by(options, read, keep_problems)


def _refuse_whole(topology: Topology, options: argparse.Namespace) -> None:
    """Refuse a file for many hosts where a machine's own is needed. Raises CommandError."""
    if topology.hosts and options.command != "validate" and not getattr(options, "no_state", False):
        from kokofast.topology.hosts import unsplit

        problem = unsplit(topology, clean(options.file))
        if problem is not None:
            raise CommandError(INVALID, *topology.in_order([problem]))


def read_file_by(
    options: argparse.Namespace,
    read: Callable[[bytes], Topology],
    keep_problems: list[Problem] | None = None,
) -> Topology:
    """Return what read() makes of the bytes of options.file. Raises CommandError. See load_file()."""
    _import_msgspec()
    from kokofast.host.files import read_file
    from kokofast.topology import FILE_BYTES_MAX, Problem, TopologyError

    try:
        data = read_file(None if options.file == STDIN else options.file, FILE_BYTES_MAX)
        if len(data) < LARGE_FILE:
            return read(data)
        with Task(f"reading {_title(options)}, {len(data) >> 20} MiB", silent=is_silent(options)):
            return read(data)
    except OSError as error:
        sentence = error.strerror or str(error)
        if isinstance(error, FileNotFoundError):
            sentence += _instead_of(options.file, is_destroy=options.command == "destroy")
        elif isinstance(error, IsADirectoryError):
            sentence += _in_folder(options.file)
        raise CommandError(INVALID, Problem(clean(options.file), sentence)) from None
    except MemoryError:
        raise CommandError(INVALID, Problem(clean(options.file), "not enough memory to read it")) from None
    except TopologyError as error:
        if keep_problems is not None and error.topology is not None:
            keep_problems += error.problems
            return error.topology
        raise CommandError(INVALID, *error.problems) from None


def _import_msgspec() -> None:
    """Import msgspec without typing_extensions, which it can do without since Python 3.11: saves a start 10 ms.

    A library must not do this: another thread might import that module meanwhile.
    """
    if "typing_extensions" not in sys.modules:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment] # an import of it fails
        try:
            import msgspec  # noqa: F401
        finally:
            del sys.modules["typing_extensions"]


def _title(options: argparse.Namespace) -> str:
    return "stdin" if options.file == STDIN else clean(options.file)


def is_silent(options: argparse.Namespace) -> bool:
    """Return whether no line of progress is wanted."""
    return bool(getattr(options, "quiet", False)) or getattr(options, "format", None) == "json"


def importing(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of load() for a file of another program."""
    found: dict[str, Any] = {}
    if getattr(options, "importer", None) is not None:
        found["format"] = options.importer
    runtime, distance_delay = getattr(options, "runtime", None), getattr(options, "distance_delay", False)
    if runtime is not None or distance_delay:
        from kokofast.importers.importer import Options

        found["options"] = Options(runtime=runtime, environment=os.environ, distance_delay=distance_delay)
    return found


def check_imported(topology: Topology, options: argparse.Namespace) -> None:
    """Say what a file of another program was read as, and what of it could not be kept. Raises CommandError."""
    if not topology.imported:
        if getattr(options, "runtime", None) is not None:
            raise CommandError(
                INVALID, "--runtime is for files of other programs: in this file each node says what it is"
            )
        if getattr(options, "distance_delay", False):
            raise CommandError(INVALID, "--distance-delay is for graphs of other programs: write 'delay' in this file")
        return
    if options.command == "destroy" or getattr(options, "quiet", False):
        return
    print_error(f"kokofast: {_title(options)}: read as {topology.imported}")
    for note in topology.notes:
        print_error(f"kokofast: note: {note}")


def load_source(options: argparse.Namespace) -> Topology | str | None:
    """Return the topology of options.source if that is a file, else the name of a lab, or None. Raises CommandError."""
    options.file = options.source
    if options.source is not None and is_file(options.source):
        return load_file(options)
    lab = check_lab(options.source)
    if options.name or options.importer or options.runtime or options.distance_delay:
        lab_given = f", and {lab} is the name of a lab" if lab is not None else ""
        raise CommandError(INVALID, f"--name, --from, --runtime and --distance-delay go with a FILE{lab_given}")
    return lab


def is_file(text: str) -> bool:
    """Return whether an argument names a file, not a lab."""
    if text == STDIN or "/" in text or os.path.isfile(text):
        return True
    if "." not in text:
        return False
    from kokofast.topology.loader import EXTENSIONS

    return text.rpartition(".")[2].lower() in EXTENSIONS


def write_output(parts: Iterable[str], options: argparse.Namespace) -> None:
    """Write a text to the file that -o names, or to standard output. Raises CommandError."""
    path = options.output
    if path == STDIN:
        with WRITING:
            sys.stdout.writelines(parts)
        return
    from kokofast.host.files import write_whole

    try:
        source = None if options.file == STDIN else options.file
        write_whole(path, parts, overwrite=options.force, other_than=source)
    except FileExistsError:
        words = f"-o {clean(path)}: is there already; --force overwrites it"
        raise CommandError(INVALID, words) from None
    except OSError as error:
        is_usage = isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno == errno.EINVAL
        code = INVALID if is_usage else FAILED
        raise CommandError(
            code, f"-o {clean(path)}: cannot be written: {error.strerror or os.strerror(error.errno or 0)}"
        ) from None


def _in_folder(path: str) -> str:
    """Suggest the file of a folder that can be given in its place."""
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return ""
    endings = ("lab.conf", ".clab.yml", ".clab.yaml")
    found = [name for name in names if name.endswith(endings)]
    return f"; give the file in it: {clean(os.path.join(path, found[0]))}" if found else "; give a file"


def _instead_of(path: str, *, is_destroy: bool) -> str:
    """Suggest a file with a similar name, or a lab, in place of a missing file."""
    from difflib import get_close_matches

    from kokofast.topology.loader import EXTENSIONS

    folder, base = os.path.split(path)
    try:
        names = [name for name in os.listdir(folder or ".") if name.rpartition(".")[2].lower() in EXTENSIONS]
    except OSError:
        names = []
    stems = {name.rpartition(".")[0]: name for name in names}
    near = get_close_matches(base.rpartition(".")[0] or base, stems, n=1, cutoff=0.75)
    hint = f"; did you mean {clean(os.path.join(folder, stems[near[0]]))}?" if near else ""
    if not is_destroy or not _is_lab_name(path):
        return hint
    labs = _labs_there()
    lab = path if path in labs else next(iter(get_close_matches(path, labs, n=1)), path)
    what = "the lab of that name" if lab == path else f"the lab {lab}"
    return f"{hint}; to remove {what}: kokofast destroy --name {lab}"


def _labs_there() -> set[str]:
    """Return the names of all labs that we have the privileges to see."""
    from contextlib import closing

    from kokofast.drivers.inline import InlineDriver, drive
    from kokofast.engine.inspect import inspect
    from kokofast.host.kernel import kernel_for
    from kokofast.host.limits import TO_LOOK, missing_capabilities
    from kokofast.host.namespaces import count_named

    if missing_capabilities(TO_LOOK):
        return set()
    namespaces: dict[str, str] = {}
    try:
        with closing(kernel_for(count_named())) as kernel:
            links = drive(inspect(None, InlineDriver(), kernel, namespaces=namespaces))
    except OSError:
        return set()
    return {link.lab for link in links if link.lab} | set(namespaces.values())


def check_lab(name: str | None) -> str | None:
    """Return the name. Raises CommandError if it cannot be a lab's."""
    from kokofast.topology.values import check_lab_name

    try:
        return None if name is None else check_lab_name(name)
    except ValueError as error:
        raise CommandError(INVALID, str(error)) from None


def _is_lab_name(text: str) -> bool:
    from kokofast.topology.values import check_lab_name

    try:
        return bool(check_lab_name(text))
    except ValueError:
        return False


def need_capabilities(*, looks_only: bool = False, sends_only: bool = False, otherwise: str = IN_SANDBOX) -> None:
    """Raise CommandError when capabilities are missing; otherwise is what works without them."""
    from kokofast.host.limits import TO_LOOK, TO_SEND, TO_WIRE, missing_capabilities

    missing = missing_capabilities(TO_LOOK if looks_only else TO_SEND if sends_only else TO_WIRE)
    if missing:
        raise CommandError(FAILED, lacking(missing) + ("" if os.geteuid() == 0 else f"; {otherwise}"))


def finish(result: Result, options: argparse.Namespace, code: int) -> int:
    """Print the result and return the exit code.

    When a result cannot be printed, what was done stays: that is PARTIAL, not FAILED.
    """
    try:
        print_result(result, options.format, options.quiet)
        with WRITING:
            sys.stdout.flush()
    except OutputError as lost:
        error = lost.error
        if result.status in ("applied", "partial", "destroyed") and not getattr(options, "sandbox", False):
            lose_output(f"what was done stays ({summary(result)}), but the result cannot be written", error)
            return PARTIAL
        lose_output("the result cannot be written", error)
        return code if code in (INVALID, PARTIAL) else FAILED
    return code
