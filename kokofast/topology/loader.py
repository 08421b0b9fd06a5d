"""load(): the bytes of a file -> Topology, or everything that is wrong with it."""

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
# What a file of this size can make of the memory is some twenty times as much.
FILE_BYTES_MAX = 64 << 20


def load(
    data: bytes,
    *,
    filename: str,
    format: str | None = None,
    name: str | None = None,
    create: bool = False,
    name_option: str = "--name",
) -> Topology:
    """The topology in data.

    filename is what places and the lab's name come from, "-" for standard input; format one of FORMATS, by the
    file's extension when None; name overrides the lab's name; create makes missing namespaces unless a node says no.
    name_option is what the caller calls name.
    Raises TopologyError with all problems of the file.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"unknown format {format!r}")
    title = "stdin" if filename == STDIN else quote(filename)[1:-1] if not filename.isprintable() else filename
    problems: list[Problem] = Problems()
    with _collector_paused():
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
        lab = _lab_name(document, filename, title, name, name_option, problems)
        return build(document, lab, create, problems)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Many objects and no cycles: the collector would find nothing, and take as long as everything else together."""
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
    """The format by extension; by content for standard input, pipes and the like."""
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


def _lab_name(
    document: Document, filename: str, title: str, name: str | None, name_option: str, problems: list[Problem]
) -> str:
    """The name that was given, or the file's own name for the lab, or the file's stem."""
    found, place, cure = name, name_option, ""
    if name is None and document.name_given:
        if not isinstance(document.name, str):
            problems.append(Problem("$.name", f"must be text, not {describe(document.name)}"))
            return ""
        found, place = document.name, "$.name"
    if found is None:
        base = filename.rpartition("/")[2]
        found, place = "stdin" if filename == STDIN else base.rpartition(".")[0] or base, title
        cure = f"; give another one with {name_option}"
    try:
        return check_lab_name(found)
    except ValueError as error:
        problems.append(Problem(place, f"{error}{cure}"))
        return ""
