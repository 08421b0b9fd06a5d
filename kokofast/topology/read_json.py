"""Read JSON and JSON lines into a Document.

By json, as msgspec does not report repeated keys. For 10,000 links that takes 5 to 30 ms, in place of 3 to 13 ms.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from kokofast.topology.document import (
    LINKS_MAX,
    NUMBER_DIGITS,
    Document,
    Importing,
    InvalidNumber,
    RepeatedKeys,
    from_tree,
    refuse_too_many,
    report_repeated,
)
from kokofast.topology.locations import LinePlaces
from kokofast.topology.order import in_line_order, in_tree_order
from kokofast.topology.problems import Problem, TopologyError

TOO_DEEP = "nested too deeply"  # json raised RecursionError; the format is 6 deep

_LIST_OF_TEXTS = re.compile(r'\s*\[\s*"')  # a link, ["a", "b"]: a list of links has no text in it


class Decoder:
    """json.loads() that keeps repeated keys, and the text of numbers that no field can hold."""

    def __init__(self) -> None:
        self.repeated = False
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=_integer,
            parse_float=InvalidNumber,
            parse_constant=InvalidNumber,
        )

    def decode(self, text: str) -> object:
        """Return the value. Raises JSONDecodeError, RecursionError."""
        return self._json.decode(text)

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        self.repeated = True
        return RepeatedKeys(pairs)


def _integer(text: str) -> int | InvalidNumber:
    return int(text) if len(text) <= NUMBER_DIGITS else InvalidNumber(text)


def read_json(text: str, filename: str, problems: list[Problem], importing: Importing | None = None) -> Document:
    """Read a file: an object, or a bare list of links. importing is asked about one that is not ours."""
    decoder = Decoder()
    try:
        tree = decoder.decode(text)
    except json.JSONDecodeError as error:
        message, at = explain(error)
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise TopologyError([*problems, Problem(f"{filename}:{line}:{column}", message)]) from None
    except RecursionError:
        raise TopologyError([*problems, Problem(filename, TOO_DEEP)]) from None
    if decoder.repeated:
        report_repeated(tree, "$", ".", problems)
    return from_tree(tree, problems, filename, lambda wanted: _positions(text, wanted), importing)


def read_json_lines(text: str, filename: str, problems: list[Problem]) -> Document:
    """Read a file with one link a line. Skip blank lines, and go on after lines that are not JSON."""
    decoder = Decoder()
    links: list[object] = []
    lines: list[int] = []
    for number, line in _lines(text):
        place = f"{filename}:{number}"
        try:
            link = decoder.decode(line)
        except json.JSONDecodeError as error:
            message, at = explain(error)
            problems.append(Problem(f"{place}:{at + 1}", message))
            continue
        except RecursionError:
            problems.append(Problem(place, TOO_DEEP))
            continue
        if decoder.repeated:
            report_repeated(link, place, " ", problems)
            decoder.repeated = False
        if len(links) == LINKS_MAX:
            raise refuse_too_many(filename)
        links.append(link)
        lines.append(number)
    document = Document(links, LinePlaces(filename, lines))

    def within(line: int, found: list[Problem]) -> list[Problem]:
        root = f"{filename}:{line}"
        index = bisect_left(lines, line)
        if index == len(lines) or lines[index] != line:
            return found
        source = text.split("\n", line)[line - 1]
        return in_tree_order(found, lambda wanted: _positions(source, wanted, root, " "))

    document.in_order = lambda found: in_line_order(found, filename, within)
    return document


def _positions(text: str, wanted: set[str], root: str = "$", joint: str = ".") -> Mapping[str, tuple[int, int]]:
    from kokofast.topology.positions import in_json  # needed for files with problems only

    return in_json(text, wanted, root, joint)


def looks_like_lines(text: str) -> bool:
    """Whether text that starts with ``{`` or ``[`` has one link a line, rather than one value over all lines."""
    if text.lstrip()[0] == "[" and not _LIST_OF_TEXTS.match(text):
        return False  # a list of links
    lines = _lines(text)
    _, first = next(lines)
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    if isinstance(value, list):
        return True
    is_link = isinstance(value, dict) and ("endpoints" in value or "endpoint" in value)
    return isinstance(value, dict) and (is_link or next(lines, None) is not None)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # splitlines() would also split at U+2028, which JSON allows in strings.
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line and not line.isspace())


def explain(error: json.JSONDecodeError) -> tuple[str, int]:
    """Return a sentence, and the offset of the error."""
    text = error.doc
    before = len(text[: error.pos].rstrip()) - 1
    here = error.pos + len(text[error.pos :]) - len(text[error.pos :].lstrip())
    # Before Python 3.13 the error is at what follows the comma, since then at the comma.
    comma = error.pos if text[error.pos : error.pos + 1] == "," else before
    follows = text[comma + 1 :].lstrip()[:1] if comma >= 0 and text[comma] == "," else ""
    if follows and follows in "]}":
        return f"not JSON: a comma too many before the '{follows}'", comma
    if text.startswith(("//", "/*", "#"), here):
        return "not JSON: there are no comments in JSON; YAML has them, behind a #", here
    # json's messages hold nothing of the file, so they are safe to print.
    return f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}", error.pos
