"""Print results and tables. Text from outside is escaped before it reaches the terminal."""

from __future__ import annotations

import io
import os
import sys

from kokofast.cli.progress import LINE, Hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kokofast.engine.inspect import SeenLink, SeenNode
    from kokofast.engine.result import Failure, Result

FOLDED = 5  # errors of one sort that are printed in full
DIGITS = frozenset("0123456789")


def clean(text: str) -> str:
    """Escape what a terminal might act on, and what is not UTF-8."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def sentence_of(error: BaseException) -> str:
    """Describe an error of the machine, without Python's errno."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def wait_printer(lab: str | None, quiet: bool) -> Callable[..., None] | None:
    """Return a function that prints what the run waits for; None with quiet.

    By default that is another run, which holds the lock of the lab (None: of any lab).
    """
    what = f"works on the lab {lab}, or on all labs" if lab else "is at work"
    default = f"another run {what}; waiting until it ends"
    return None if quiet else lambda text=default: print_error(f"kokofast: {text}")


def lacking(capabilities: Sequence[str]) -> str:
    """Say that these capabilities are missing, and how this user gets them."""
    names = " and ".join(capabilities)
    if os.geteuid() == 0:
        options = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in capabilities)
        return (
            f"this needs {names}, which root does not have here: a container gets it with {options}, and the system "
            "calls setns, unshare and mount from its seccomp and AppArmor profiles"
        )
    from shlex import quote

    program = quote(os.path.abspath(sys.argv[0]))
    command = f"{quote(sys.executable)} -m kokofast" if program.endswith("/__main__.py") else program
    # The full path: sudo looks for commands in its own secure_path only.
    return f"this needs root, or {names}: run it with sudo, as 'sudo {command} ...'"


class OutputError(Exception):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Writing:
    # Turns an OSError into OutputError. The block does nothing but write to standard output.
    def __init__(self) -> None:
        self._hidden: Hidden | None = None

    def __enter__(self) -> None:
        # Hide the line of progress. Without a line take no lock: other threads would wait for it while stdout blocks.
        self._hidden = Hidden() if LINE.render is not None else None
        if self._hidden is not None:
            self._hidden.__enter__()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._hidden is not None:
            self._hidden.__exit__()
        if isinstance(error, OSError):
            raise OutputError(error) from error


WRITING = _Writing()


def prepare_streams() -> None:
    """Make the standard streams writable, even when we were started with closed ones."""
    for fd in range(3):
        # Otherwise the next file or socket gets the number of a closed stream, and our output.
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def with_streams(job: Callable[[], int]) -> int:
    """Run a command that prints, and return its exit code; 1 when its data cannot be written."""
    prepare_streams()
    try:
        try:
            return job()
        finally:
            with WRITING:
                sys.stdout.flush()
    except OutputError as lost:
        if isinstance(lost.error, BrokenPipeError):  # the reader has ended, such as head
            _give_up(1)
        else:
            lose_output("the output cannot be written", lost.error)
        return 1
    except (OSError, MemoryError) as error:
        print_error(f"kokofast: {sentence_of(error)}")
        return 1
    except SystemError as error:
        from kokofast.host.threads import is_lost_exception  # rarely needed

        if not is_lost_exception(error):
            raise
        print_error(f"kokofast: {sentence_of(MemoryError())}")
        return 1


def lose_output(sentence: str, error: OSError) -> None:
    """Report that standard output cannot be written, and drop all further output."""
    where = _output_file()
    _give_up(1)
    print_error(f"kokofast: {where}{sentence}: {error.strerror}")


def _output_file() -> str:
    try:
        path = os.readlink("/proc/self/fd/1")
    except OSError:
        return ""
    return f"{path}: " if path.startswith("/") else ""


def _give_up(fd: int) -> None:
    # Otherwise Python fails to flush its buffers at exit, complains, and changes the exit code.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)


def print_line(text: str) -> None:
    """Print a line of data to standard output."""
    with WRITING:
        sys.stdout.write(clean(text) + "\n")


def print_error(text: str) -> None:
    """Print a line for the user to standard error. A closed stderr changes neither the run nor its exit code."""
    with Hidden():
        try:
            sys.stderr.write(clean(text) + "\n")
            sys.stderr.flush()
        except OSError:
            _give_up(2)


def print_errors(errors: Sequence[Failure], fold: bool = True, whole: str = "--format json lists them all") -> None:
    """Print errors to standard error.

    Many errors with the same message become one line. With fold, of many errors that differ only in names and numbers
    (2,000 missing namespaces) print FOLDED, and the number of the others; whole says where those are listed.
    """
    same: dict[str, list[Failure]] = {}
    for error in errors:
        same.setdefault(error.message, []).append(error)
    errors = [error for error in errors if len(same[error.message]) <= FOLDED + 1 or error is same[error.message][0]]
    kinds = [_constant_words(error.message) for error in errors]
    times: dict[tuple[str, ...], int] = {}
    for kind in kinds:
        times[kind] = times.get(kind, 0) + 1
    shown = dict.fromkeys(times, 0)
    for error, kind in zip(errors, kinds, strict=True):
        shown[kind] += 1
        if len(others := same[error.message]) > FOLDED + 1:
            print_error(
                f"kokofast: {error} (the same at {len(others) - 1:,} more places, the last is {others[-1].source})"
            )
        elif not fold or shown[kind] <= FOLDED or times[kind] <= FOLDED + 1:
            print_error(f"kokofast: {error}")
        elif shown[kind] == FOLDED + 1:
            print_error(f"kokofast: ... and {times[kind] - FOLDED:,} more like this{f'; {whole}' if whole else ''}")


def _constant_words(message: str) -> tuple[str, ...]:
    """Return the message without what differs between errors of one sort: quoted text, node names, words with digits.

    Linear in the length of the message: names may be long.
    """
    unquoted = "".join("".join(message.split("'")[::2]).split('"')[::2])
    words = unquoted.replace(":", " ").split()
    return tuple(
        word for before, word in zip(("", *words), words, strict=False) if before != "node" and DIGITS.isdisjoint(word)
    )


def count(number: int, noun: str) -> str:
    """Return ``1 link``, ``2 links``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_json(value: object) -> None:
    """Print a JSON document to standard output."""
    import json

    with WRITING:
        json.dump(value, sys.stdout, indent=2)
        sys.stdout.write("\n")


def print_result(result: Result, format: str, quiet: bool) -> None:
    """Print the result of batch or destroy: errors to standard error, the table or JSON object to standard output."""
    print_errors(result.errors)
    for line in result.left:
        print_error(f"kokofast: could not be taken back: {line}")
    if format == "json":
        print_json(result.as_dict())
        return
    if quiet:
        return
    for note in result.notes:
        print_error(f"kokofast: {note}")
    for step in result.planned:
        print_line(str(step))
    if result.status != "invalid":
        print_line(f"{summary(result)} in {sum(result.seconds.values()):.2f} s")


def summary(result: Result) -> str:
    """Return ``fabric1: applied, 2 links created``."""
    title = f"{result.lab}: " if result.lab else ""
    counts = counts_of(result.links, result.namespaces, is_plan=bool(result.planned))
    return f"{title}{', '.join([result.status, *counts])}"


def counts_of(links: Mapping[str, int], namespaces: Mapping[str, int], *, is_plan: bool) -> list[str]:
    """Return ``["2 links created", "1 namespace created"]``, of a plan ``["2 links to create", ...]``."""
    planned = {"created": "to create", "updated": "to update", "removed": "to remove", "replaced": "to replace"}
    done = planned if is_plan else {}
    return [
        f"{count(number, noun)} {done.get(what, what)}"
        for noun, counted in (("link", links), ("namespace", namespaces))
        for what, number in counted.items()
        if number and what != "total"
    ]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns."""
    cleaned = [tuple(clean(cell) for cell in row) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    with WRITING:
        for row in cleaned:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            sys.stdout.write(line.rstrip() + "\n")


def print_links(links: Sequence[SeenLink], namespaces: Mapping[str, str], nodes: Sequence[SeenNode] = ()) -> None:
    """Print the tables of inspect, and a line of counts. namespaces maps those that labs made to their labs."""
    from kokofast.engine.inspect import addresses_of

    rows = []
    for link in links:
        states = {end.state for end in link.ends}
        state = next(state for state in ("down", "lower-layer-down", "up") if state in states)
        mtu = "/".join(sorted({str(end.interface.mtu) for end in link.ends}))
        addresses = [" ".join(addresses_of(end.interface)) or "-" for end in link.ends]
        title = " -- ".join(map(str, link.ends))
        rows.append((link.lab or "?", link.kind, title, state, mtu, " -- ".join(addresses), _details(link)))
    if rows:
        width = 7 if any(row[-1] for row in rows) else 6
        header = ("LAB", "TYPE", "LINK", "STATE", "MTU", "ADDRESSES", "DETAILS")
        print_table(header[:width], [row[:width] for row in rows])
    bare = unlinked(links, namespaces)
    if bare:
        print_table(("LAB", "NAMESPACE WITHOUT LINKS"), [(lab, name) for name, lab in bare.items()])
    if nodes:
        rows_of_nodes = [
            (node.lab, node.namespace, " ".join(node.addresses) or "-", f"{node.routes}") for node in nodes
        ]
        print_table(("LAB", "NODE", "LOOPBACK", "ROUTES"), rows_of_nodes)
    labs = {link.lab for link in links} | set(namespaces.values()) | {node.lab for node in nodes}
    made = [count(len(namespaces), "namespace")] if namespaces else []
    print_line(", ".join([count(len(links), "link"), *made, count(len(labs), "lab")]))


def unlinked(links: Sequence[SeenLink], namespaces: Mapping[str, str]) -> dict[str, str]:
    """Return the namespaces without a link of the lab that made them."""
    linked = {(link.lab, end.namespace) for link in links for end in link.ends}
    return {name: lab for name, lab in namespaces.items() if (lab, name) not in linked}


def _text_of(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "?" if value is None else ("off", "on")[value] if isinstance(value, bool) else str(value)


def _details(link: SeenLink) -> str:
    """Return the fields of the link kind that differ from the kernel's defaults, and what the ends have.

    What is the same at both ends is shown once.
    """
    from kokofast.kinds import KINDS

    fields = {field.name: field for field in KINDS[link.kind].fields} if link.fields else {}
    shown = [
        f"{name} {_text_of(value)}"
        for name, value in link.fields.items()
        if (fields[name].default is not value if isinstance(value, bool) else fields[name].required or value != 0)
    ]
    of_ends = [" ".join(f"{name} {_text_of(value)}" for name, value in end.properties.items()) for end in link.ends]
    if len(set(of_ends)) == 1:
        shown += filter(None, of_ends[:1])
    else:
        shown += [f"{end} {text}" for end, text in zip(link.ends, of_ends, strict=True) if text]
    for end in link.ends:
        shown += [f"{end} mirrors {source} {direction}" for source, direction in end.mirrors]
    return ", ".join(shown)
