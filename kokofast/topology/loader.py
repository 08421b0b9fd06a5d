"""load(): the bytes of a file -> Topology, or all its problems."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kokofast.topology.build import build
from kokofast.topology.collector import collector_paused
from kokofast.topology.document import LINKS_MAX, NO_LINKS, Document, Locate, describe, refuse_too_many
from kokofast.topology.model import Hosts, Topology
from kokofast.topology.problems import Problem, Problems, TopologyError, unknown
from kokofast.topology.read_json import looks_like_lines, read_json, read_json_lines
from kokofast.topology.values import check_lab_name, quote

if TYPE_CHECKING:
    from kokofast.importers.importer import Options
    from kokofast.topology.document import Placing

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
# Written by git-merge(1) where two branches changed the same lines. No line of ours can start like this.
_CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)
FILE_BYTES_MAX = 64 << 20  # reading it may take some twenty times as much memory


def load(
    data: bytes,
    *,
    filename: str,
    format: str | None = None,
    name: str | None = None,
    create: bool = False,
    name_option: str = "--name",
    options: Options | None = None,
) -> Topology:
    """Parse a topology, also one of another program that kokofast.importers knows.

    Args:
        data: The bytes of the file.
        filename: For places and the lab's name; "-" for standard input, "" for a text that gives the lab no name.
        format: One of FORMATS, or the name of an importer; None chooses by the file's extension or content.
        name: The lab's name in place of the file's.
        create: Make missing namespaces, unless a node says no.
        name_option: The caller's word for name, for messages.
        options: For the importer of a file of another program.

    Raises:
        TopologyError: With all problems of the file.
        ValueError: The format is unknown.
    """
    return load_with_tree(
        data, filename=filename, format=format, name=name, create=create, name_option=name_option, options=options
    )[0]


def load_with_tree(
    data: bytes,
    *,
    filename: str,
    format: str | None = None,
    name: str | None = None,
    create: bool = False,
    name_option: str = "--name",
    options: Options | None = None,
) -> tuple[Topology, dict[str, object]]:
    """Do as load(), and also return the topology as a file of ours would have it."""
    with collector_paused():
        document, lab, problems = read_document(data, filename, format, name, name_option, options)
        tree = document.tree(lab)
        return build(document, lab, create, problems), tree


def load_to_split(
    data: bytes,
    *,
    filename: str,
    format: str | None = None,
    name: str | None = None,
    create: bool = False,
    options: Options | None = None,
    hosts: Hosts | None = None,
    placing: Placing | None = None,
) -> tuple[Topology, Document]:
    """Do as load(), and also return what the topology was built of.

    Args:
        data: The bytes of the file.
        filename: As of load(), as are format, name, create and options.
        format: See there.
        name: See there.
        create: See there.
        options: See there.
        hosts: The hosts of the lab, if the file does not have them.
        placing: Gives hosts to the nodes without one.
    """
    with collector_paused():
        document, lab, problems = read_document(data, filename, format, name, options=options)
        document.given_hosts, document.placing = hosts, placing
        return build(document, lab, create, problems), document


def load_hosts(data: bytes, *, filename: str) -> Hosts:
    """Read a file that has hosts, and between, alone. Raises TopologyError with all its problems."""
    from kokofast.topology.hosts import read_hosts

    title = {STDIN: "stdin"}.get(filename, quote(filename)[1:-1] if not filename.isprintable() else filename)
    text = _decode(data, title)
    problems: list[Problem] = Problems()
    format = _guess(text, filename)
    if format not in ("json", "yaml"):
        raise TopologyError([Problem(title, "hosts are in JSON or YAML")])
    document = _read(text, format, title, problems)
    for key in ("links", "nodes", "defaults", "routing", "part"):
        if getattr(document, key):
            problems.append(Problem(f"$.{key}", "does not belong to a file of hosts: it has 'hosts' and 'between'"))
    problems[:] = [problem for problem in problems if problem.message != NO_LINKS]
    if document.hosts is None:
        problems.append(Problem("$", "has no 'hosts'"))
    found = read_hosts(document, problems)
    if problems or found is None:
        raise TopologyError(document.in_order(problems))
    for host in found.hosts.values():
        host.place = f"{title} {host.place}"
    return Hosts(found.hosts, found.fields, lambda path: f"{title} {found.at(path)}")


def read_document(
    data: bytes,
    filename: str,
    format: str | None = None,
    name: str | None = None,
    name_option: str = "--name",
    options: Options | None = None,
) -> tuple[Document, str, list[Problem]]:
    """Read a file, and return its parts, the lab's name and the problems by now. See load()."""
    importer = importer_of(format)
    title = quote(filename)[1:-1] if not filename.isprintable() else filename
    title = {STDIN: "stdin", TEXT: "text"}.get(filename, title)
    problems: list[Problem] = Problems()
    with collector_paused():
        if len(data) > FILE_BYTES_MAX:
            raise TopologyError([Problem(title, f"is larger than {FILE_BYTES_MAX >> 20} MiB")])
        text = _decode(data, title)
        if "<<<<<<< " in text and (found := _CONFLICT.search(text)) is not None:
            message = "a conflict marker of git (<<<<<<<): the two versions were not merged yet"
            raise TopologyError([Problem(f"{title}:{text.count(chr(10), 0, found.start()) + 1}", message)])
        ours = _guess(text, filename) if format is None or importer is not None else format
        importing = _Importing(text, title, _extension(filename), problems, importer, options)
        document = (
            importing.read(ours) if format is None or importer is not None else _read(text, ours, title, problems)
        )
        if len(document.links) > LINKS_MAX:
            raise refuse_too_many(title)
        lab = lab_name(document, filename, title, name, name_option, problems)
        return document, lab, problems


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
    extension = _extension(filename)
    if extension in EXTENSIONS:
        return EXTENSIONS[extension]
    start = text.lstrip()
    if start[0] in "{[":
        return "jsonl" if looks_like_lines(text) else "json"
    return "csv" if "a_node" in start.partition("\n")[0].lower() else "yaml"


def _extension(filename: str) -> str:
    base = filename.rpartition("/")[2]
    return base.rpartition(".")[2].lower() if "." in base else ""


def importer_of(format: str | None) -> str | None:
    """Return the name of an importer; None for a format of ours. Raises ValueError for any other."""
    if format is None or format in FORMATS:
        return None
    from kokofast.importers import IMPORTERS

    if format not in IMPORTERS:
        raise ValueError(unknown("format", format, [*FORMATS, *IMPORTERS]))
    return format


class _Importing:
    """Reads a file that may be of another program. Importers are asked, and imported, only if it is not ours."""

    def __init__(
        self,
        text: str,
        title: str,
        extension: str,
        problems: list[Problem],
        importer: str | None,
        options: Options | None,
    ) -> None:
        self._text = text
        self._title = title
        self._extension = extension
        self._problems = problems
        self._importer = importer
        self._options = options
        self._was_asked = False
        self.is_forced = importer is not None

    def read(self, format: str) -> Document:
        """Read the file; format is what it is if it is ours."""
        failure = TopologyError([])
        if not self.is_forced or format in ("json", "yaml"):
            try:
                return _read(self._text, format, self._title, self._problems, self)
            except TopologyError as error:
                if self._was_asked:
                    raise
                failure = error
        document = self(None, None)
        if document is None:
            raise failure
        return document

    def __call__(self, tree: object, locate: Locate | None) -> Document | None:
        """Return what an importer makes of the file; None if none recognises it."""
        from kokofast.importers.importer import Source
        from kokofast.importers.take import take

        self._was_asked = True
        source = Source(self._title, self._text, tree if isinstance(tree, dict | list) else None, self._extension)
        problems: list[Problem] = Problems()
        document = take(source, self._options, problems, locate=locate, name=self._importer)
        if document is not None:
            self._problems[:] = problems
        return document


def _read(text: str, format: str, title: str, problems: list[Problem], importing: _Importing | None = None) -> Document:
    if format == "json":
        return read_json(text, title, problems, importing)
    if format == "jsonl":
        return read_json_lines(text, title, problems)
    if format == "csv":
        from kokofast.topology.read_csv import read_csv

        return read_csv(text, title, problems)
    from kokofast.topology.read_yaml import read_yaml

    return read_yaml(text, title, problems, importing)


def lab_name(
    document: Document, filename: str, title: str, name: str | None, name_option: str, problems: list[Problem]
) -> str:
    """Return the lab's name: the given one, the one in the file, or the file's stem; "" after reporting a problem."""
    found, place, cure = name, name_option, ""
    if name is None and document.name_given:
        if not isinstance(document.name, str):
            problems.append(Problem(f"{document.root}name", f"must be text, not {describe(document.name)}"))
            return ""
        found, place = document.name, document.name_place or f"{document.root}name"
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
