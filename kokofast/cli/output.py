"""Printing: results, tables, progress. Nothing that came from outside reaches the terminal unescaped."""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kokofast.engine.destroy import SeenLink
    from kokofast.engine.result import Progress, Result


def clean(text: str) -> str:
    """The text with everything that a terminal might act on, and what is not UTF-8, written as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def prepare_streams() -> None:
    """Makes the standard streams fit to write to, whatever we were started with."""
    for fd in range(3):
        # One that is closed would become the number of the next file or socket that is opened.
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
    """Runs a command that prints, and returns its exit code; 1 when what it prints cannot be written."""
    prepare_streams()
    try:
        try:
            return job()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:
        # Whoever read our output has enough; what the command did stands, and Python must not complain at exit.
        give_up_streams()
        return 1
    except OSError as error:  # a full disk
        try:  # noqa: SIM105 - koko's command line does without contextlib
            complain(f"kokofast: the output cannot be written: {error.strerror}")
        except OSError:
            pass
        give_up_streams()
        return 1


def give_up_streams() -> None:
    """Lets nothing more be written, so that Python does not complain at exit of what it could not flush."""
    null = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(null, fd)
    os.close(null)


def say(text: str) -> None:
    """A line of data, on standard output."""
    sys.stdout.write(clean(text) + "\n")


def complain(text: str) -> None:
    """A line for the user, on standard error."""
    sys.stderr.write(clean(text) + "\n")


def count(number: int, noun: str) -> str:
    """``1 link``, ``2 links``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_json(value: object) -> None:
    """A JSON document, on standard output."""
    import json

    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_result(result: Result, format: str, quiet: bool) -> None:
    """The result of batch or destroy. Errors go to standard error, the table or the JSON object to standard output."""
    for error in result.errors:
        complain(f"kokofast: {error}")
    for line in result.left:
        complain(f"kokofast: could not be taken back: {line}")
    if format == "json":
        print_json(result.as_dict())
        return
    if quiet or result.status == "invalid":
        return
    for note in result.notes:
        say(note)
    counts = [f"{count(number, 'link')} {what}" for what, number in result.links.items() if number and what != "total"]
    counts += [f"{count(number, 'namespace')} {what}" for what, number in result.namespaces.items() if number]
    title = f"{result.lab}: " if result.lab else ""
    say(f"{title}{result.status}{''.join(f', {text}' for text in counts)} in {sum(result.seconds.values()):.2f} s")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as what is in them."""
    cleaned = [tuple(clean(cell) for cell in row) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    for row in cleaned:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def print_links(links: Sequence[SeenLink]) -> None:
    """The table of inspect, and a line that counts."""
    from kokofast.engine.destroy import addresses_of

    rows = []
    for link in links:
        ends = [f"{title}:{interface.ifname}" for title, interface in link.ends]
        addresses = [" ".join(addresses_of(interface)) or "-" for _, interface in link.ends]
        state = "up" if all(interface.up for _, interface in link.ends) else "down"
        mtu = "/".join(sorted({str(interface.mtu) for _, interface in link.ends}))
        rows.append((link.lab or "?", link.kind, " -- ".join(ends), state, mtu, " -- ".join(addresses)))
    if rows:
        print_table(("LAB", "TYPE", "LINK", "STATE", "MTU", "ADDRESSES"), rows)
    labs = len({link.lab for link in links})
    say(f"{count(len(links), 'link')}, {count(labs, 'lab')}")


def progress_bar() -> tuple[Progress | None, object]:
    """A callback that draws a bar on standard error, and the object to close; (None, None) when it is no terminal."""
    if not sys.stderr.isatty():
        return None, None
    from tqdm import tqdm

    bar: tqdm[object] = tqdm(unit="op", leave=False, file=sys.stderr, dynamic_ncols=True)

    def show(stage: str, done: int, total: int) -> None:
        if bar.desc != f"{stage}: ":
            bar.set_description(stage, refresh=False)
            bar.reset(total)
        bar.update(done - bar.n)

    return show, bar
