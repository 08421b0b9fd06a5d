"""Read YAML into a Document.

By the events of PyYAML's parser, not its loader: so repeated keys are seen, aliases bounded, tags refused, and plain
scalars read by YAML 1.2. Uses libyaml when PyYAML was built with it.
"""

from __future__ import annotations

import re
from functools import partial

from kokofast.topology.document import (
    DEPTH_MAX,
    NUMBER_DIGITS,
    Document,
    Importing,
    InvalidNumber,
    RepeatedKeys,
    from_tree,
    report_repeated,
)
from kokofast.topology.positions import in_yaml
from kokofast.topology.problems import Problem, TopologyError

# In characters. The parser takes half a second for each MiB, without libyaml ten times as long.
YAML_BYTES_MAX = 16 << 20
YAML_BYTES_MAX_WITHOUT_LIBYAML = 2 << 20

# Values that aliases stand for, in the whole file: a few nested ones can stand for billions.
ALIASED_MAX = 1_000_000
MERGE = "<<"  # yaml.org/type/merge.html

STRING_TAG = "tag:yaml.org,2002:str"

# YAML 1.2.2, 10.3.2 (core schema): 12:34:56:10:20:30 is text, not a number of base 60, and so are "on" and "no".
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OTHER_NUMBER = re.compile(
    r"0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    re.ASCII,
)
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # libyaml's line breaks
# First characters of plain scalars that are no text: null, true, false, numbers.
_FIRST = frozenset("~nNtTfF+-.0123456789")


def read_yaml(text: str, filename: str, problems: list[Problem], importing: Importing | None = None) -> Document:
    """Read a file: a mapping, or a bare list of links. importing is asked about one that is not ours."""
    import yaml  # needed for YAML files only

    loader = getattr(yaml, "CSafeLoader", None)
    most = YAML_BYTES_MAX if loader is not None else YAML_BYTES_MAX_WITHOUT_LIBYAML
    if len(text) > most:
        without = "" if loader is not None else ", as PyYAML was built without libyaml"
        words = f"is larger than {most >> 20} MiB, the limit of YAML{without}; JSON may have 64 MiB, and is read faster"
        raise TopologyError([*problems, Problem(filename, words)])
    loader = loader or yaml.SafeLoader
    builder = _Builder(filename, yaml)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise TopologyError([*problems, _syntax_problem(filename, text, error)]) from None
    except _Refused as refused:
        raise TopologyError([*problems, refused.problem]) from None
    if builder.repeated:
        report_repeated(builder.tree, "$", ".", problems)
    return from_tree(builder.tree, problems, filename, partial(in_yaml, text), importing, builder.refused)


def _syntax_problem(filename: str, text: str, error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    place = f"{filename}:{mark.line + 1}:{mark.column + 1}" if mark is not None else filename
    if mark is not None:
        lines = _BREAK.split(text, mark.line + 1)
        line = lines[mark.line] if mark.line < len(lines) else ""  # the mark may be behind the last line
        indentation = line[: len(line) - len(line.lstrip())]
        tab = indentation.find("\t") if "\t" in indentation else mark.column if line[mark.column :][:1] == "\t" else -1
        if tab >= 0:
            place = f"{filename}:{mark.line + 1}:{tab + 1}"
            return Problem(place, "not YAML: there is a tab, which YAML does not allow here; indent by spaces")
    words = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    # The parser's message can hold a character of the file.
    return Problem(place, f"not YAML: {ascii(words)[1:-1]}")


class _Refused(Exception):
    """A feature of YAML that topology files may not use."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Collection:
    """A mapping or list that is being read."""

    __slots__ = ("anchor", "before", "items", "key", "mapping", "pairs")

    def __init__(self, mapping: bool, anchor: str | None, before: int) -> None:
        self.mapping = mapping
        self.anchor = anchor
        self.before = before
        self.items: list[object] = []
        self.pairs: list[tuple[str, object]] = []
        self.key: str | None = None


class _Builder:
    def __init__(self, filename: str, yaml: object) -> None:
        self.tree: object = None
        self.repeated = False
        self.refused: Problem | None = None  # the first alias
        self._anchors: dict[str, tuple[object, int]] = {}  # each with the number of values in it
        self._count = 0
        self._aliased = 0
        self._filename = filename
        self._open: list[_Collection] = []
        self._documents = 0
        self._handlers = {
            getattr(yaml, name): handler
            for name, handler in (
                ("ScalarEvent", self._scalar),
                ("MappingStartEvent", self._start_mapping),
                ("MappingEndEvent", self._end),
                ("SequenceStartEvent", self._start_list),
                ("SequenceEndEvent", self._end),
                ("AliasEvent", self._alias),
                ("DocumentStartEvent", self._document),
            )
        }

    def take(self, event: object) -> None:
        """Process an event of the parser."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _scalar(self, event: object) -> None:
        tag: str | None = event.tag  # type: ignore[attr-defined]
        text: str = event.value  # type: ignore[attr-defined]
        top = self._open[-1] if self._open else None
        self._check_plain_node(event, tag)
        if top is not None and top.mapping and top.key is None:
            top.key = text  # keys are text, as in JSON: a node may have the name 1 or on
            return
        plain = event.implicit[0] and tag is None  # type: ignore[attr-defined]
        value = resolve(text) if plain else text
        if event.anchor is not None:  # type: ignore[attr-defined]
            self._anchors[event.anchor] = value, 1  # type: ignore[attr-defined]
        self._add(value)

    def _start_mapping(self, event: object) -> None:
        self._start(event, mapping=True)

    def _start_list(self, event: object) -> None:
        self._start(event, mapping=False)

    def _start(self, event: object, *, mapping: bool) -> None:
        self._check_plain_node(event, event.tag)  # type: ignore[attr-defined]
        if self._open and self._open[-1].mapping and self._open[-1].key is None:
            raise self._refuse(event, "a key must be text, not a list or a mapping")
        if len(self._open) == DEPTH_MAX:
            raise self._refuse(event, f"nested more than {DEPTH_MAX} deep")
        self._open.append(_Collection(mapping, event.anchor, self._count))  # type: ignore[attr-defined]

    def _end(self, event: object) -> None:
        top = self._open.pop()
        value: object = top.items
        if top.mapping:
            value = found = dict(top.pairs)
            if len(found) != len(top.pairs):
                self.repeated = True
                value = RepeatedKeys(top.pairs)
            elif self.refused is not None and MERGE in found:
                value = _merged(found)
        if top.anchor is not None:
            self._anchors[top.anchor] = value, self._count - top.before + 1
        self._add(value)

    def _add(self, value: object) -> None:
        self._count += 1
        if not self._open:
            self.tree = value
            return
        top = self._open[-1]
        if not top.mapping:
            top.items.append(value)
        elif top.key is not None:
            top.pairs.append((top.key, value))
            top.key = None

    def _alias(self, event: object) -> None:
        words = "aliases are not supported; use 'defaults' for what links have in common"
        refused = self._refuse(event, words)
        value, size = self._anchors.get(event.anchor, (None, 0))  # type: ignore[attr-defined]
        self._aliased += size
        if not size or self._aliased > ALIASED_MAX or (self._open[-1].mapping and self._open[-1].key is None):
            raise refused  # it is in its own anchor, stands for too much, or is a key
        self.refused = self.refused or refused.problem
        self._count += size - 1
        self._add(value)

    def _document(self, event: object) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._refuse(event, "a second document in the file; there can be one")

    def _check_plain_node(self, event: object, tag: str | None) -> None:
        if tag not in (None, "!", STRING_TAG):
            raise self._refuse(event, "tags are not supported")

    def _refuse(self, event: object, message: str) -> _Refused:
        mark = event.start_mark  # type: ignore[attr-defined]
        return _Refused(Problem(f"{self._filename}:{mark.line + 1}:{mark.column + 1}", message))


def _merged(found: dict[str, object]) -> dict[str, object]:
    """Return a mapping with the keys of those that it merges; its own keys and the first of these count."""
    given = found.pop(MERGE)
    for other in given if isinstance(given, list) else [given]:
        if isinstance(other, dict):
            found = {**other, **found}
    return found


def resolve(text: str) -> object:
    """Return the value of a plain scalar."""
    if text and text[0] not in _FIRST:
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) <= NUMBER_DIGITS else InvalidNumber(text)
    return InvalidNumber(text) if _OTHER_NUMBER.fullmatch(text) else text
