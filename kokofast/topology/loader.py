"""load(): the bytes of a file -> Topology, or all its problems."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from kokofast.topology.build import build
from kokofast.topology.document import LINKS_MAX, Document, describe, refuse_too_many
from kokofast.topology.model import Topology
from kokofast.topology.problems import Problem, Problems, TopologyError
from kokofast.topology.read_json import looks_like_lines, read_json, read_json_lines
from kokofast.topology.values import check_lab_name, quote

FORMATS = ("json", "jsonl", "yaml", "csv")
EXTENSIONS = {
    "json": "json",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "yaml": "yaml",
    "yml": "yaml",
    "csv": "csv",
}
STDIN = "-"
TEXT = ""  # the name of what is no file
FILE_BYTES_MAX = 64 << 20  # reading it may take some twenty times as much memory


def load(
    data: bytes,
    *,
    filename: str,
    format: str | None = None,
    name: str | None = None,
    create: bool = False,
    name_option: str = "--name",
) -> Topology:
    """Parse a topology.

    Args:
        data: The bytes of the file.
        filename: For places and the lab's name; "-" for standard input, "" for a text that gives the lab no name.
        format: One of FORMATS; None chooses by the file's extension or content.
        name: The lab's name in place of the file's.
        create: Make missing namespaces, unless a node says no.
        name_option: The caller's word for name, for messages.

    Raises:
        TopologyError: With all problems of the file.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"unknown format {format!r}")
    title = quote(filename)[1:-1] if not filename.isprintable() else filename
    title = {STDIN: "stdin", TEXT: "text"}.get(filename, title)
    problems: list[Problem] = Problems()
    with collector_paused():
        if len(data) > FILE_BYTES_MAX:
            raise TopologyError([Problem(title, f"is larger than {FILE_BYTES_MAX >> 20} MiB")])
        text = _decode(data, title)
        if text.lstrip()[0] not in "{[" or "<<<<<<< " in text:
            from kokofast.topology import foreign

            if (line := foreign.conflict_in(text)) is not None:
                message = "a conflict marker of git (<<<<<<<): the two versions were not merged yet"
                raise TopologyError([Problem(f"{title}:{line}", message)])
            if (other := foreign.text_of(text)) is not None:
                raise TopologyError([Problem(title, foreign.refusal(other))])
        document = _read(text, format or _guess(text, filename), title, problems)
        if len(document.links) > LINKS_MAX:
            raise refuse_too_many(title)
        lab = lab_name(document, filename, title, name, name_option, problems)
        return build(document, lab, create, problems)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector, which would find nothing, and take as long as all the rest."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _decode(data: bytes, title: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: byte 0x{data[error.start]:02x}"
        raise TopologyError([Problem(f"{title}:{line}", message)]) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TopologyError([Problem(f"{title}:{line}", "not text: there is a NUL byte in it")])
    if not text or text.isspace():
        raise TopologyError([Problem(title, "the file is empty")])
    return text


def _guess(text: str, filename: str) -> str:
    """Guess the format by the extension, else by the content (standard input, pipes)."""
    base = filename.rpartition("/")[2]
    extension = base.rpartition(".")[2].lower() if "." in base else ""
    if extension in EXTENSIONS:
        return EXTENSIONS[extension]
    start = text.lstrip()
    if start[0] in "{[":
        return "jsonl" if looks_like_lines(text) else "json"
    return "csv" if "a_node" in start.partition("\n")[0].lower() else "yaml"


def _read(text: str, format: str, title: str, problems: list[Problem]) -> Document:
    if format == "json":
        return read_json(text, title, problems)
    if format == "jsonl":
        return read_json_lines(text, title, problems)
    if format == "csv":
        from kokofast.topology.read_csv import read_csv

        return read_csv(text, title, problems)
    from kokofast.topology.read_yaml import read_yaml

    return read_yaml(text, title, problems)


def lab_name(
    document: Document, filename: str, title: str, name: str | None, name_option: str, problems: list[Problem]
) -> str:
    """Return the lab's name: the given one, the one in the file, or the file's stem; "" after reporting a problem."""
    found, place, cure = name, name_option, ""
    if name is None and document.name_given:
        if not isinstance(document.name, str):
            problems.append(Problem(f"{document.root}name", f"must be text, not {describe(document.name)}"))
            return ""
        found, place = document.name, f"{document.root}name"
    if found is None and filename == TEXT:
        problems.append(Problem(title, f"the lab has no name; give one with {name_option}"))
        return ""
    if found is None:
        base = filename.rpartition("/")[2]
        found, place = "stdin" if filename == STDIN else base.rpartition(".")[0] or base, title
        cure = f"; give another one with {name_option}"
    try:
        return check_lab_name(found)
    except ValueError as error:
        problems.append(Problem(place, f"{error}{cure}"))
        return ""
