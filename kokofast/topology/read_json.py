"""JSON and JSON lines -> Document.

The decoder is json's, not msgspec's: a key given twice must be seen, which only object_pairs_hook offers. On 10,000
links that costs 5 to 30 ms in all, against 3 to 13 ms.
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
    OddNumber,
    RepeatedKeys,
    from_tree,
    refuse_too_many,
    report_repeated,
)
from kokofast.topology.order import in_line_order, in_tree_order
from kokofast.topology.places import LinePlaces
from kokofast.topology.problems import Problem, TopologyError

# What json scans recursively ends in a RecursionError before it ends the stack; the format itself is 6 deep.
TOO_DEEP = "nested too deeply"

_LIST_OF_TEXTS = re.compile(r'\s*\[\s*"')  # a link, ["a", "b"]: a list of links has no text in it


class Decoder:
    """json.loads that keeps what loads would lose: repeated keys, and numbers that are none."""

    def __init__(self) -> None:
        self.repeated = False
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=_integer,
            parse_float=OddNumber,
            parse_constant=OddNumber,
        )

    def decode(self, text: str) -> object:
        """The value; JSONDecodeError or RecursionError when there is none."""
        return self._json.decode(text)

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        self.repeated = True
        return RepeatedKeys(pairs)


def _integer(text: str) -> int | OddNumber:
    return int(text) if len(text) <= NUMBER_DIGITS else OddNumber(text)


def read_json(text: str, filename: str, problems: list[Problem]) -> Document:
    """A whole file: an object, or a bare list of links."""
    decoder = Decoder()
    try:
        tree = decoder.decode(text)
    except json.JSONDecodeError as error:
        message, at = _explain(error)
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise TopologyError([*problems, Problem(f"{filename}:{line}:{column}", message)]) from None
    except RecursionError:
        raise TopologyError([*problems, Problem(filename, TOO_DEEP)]) from None
    if decoder.repeated:
        report_repeated(tree, "$", ".", problems)
    return from_tree(tree, problems, filename, lambda wanted: _positions(text, wanted))


def read_json_lines(text: str, filename: str, problems: list[Problem]) -> Document:
    """One link a line; blank lines are passed over. A line that is not JSON does not hide the next one's problems."""
    decoder = Decoder()
    links: list[object] = []
    lines: list[int] = []
    for number, line in _lines(text):
        place = f"{filename}:{number}"
        try:
            link = decoder.decode(line)
        except json.JSONDecodeError as error:
            message, at = _explain(error)
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
    from kokofast.topology.positions import in_json  # only a file with problems pays for it

    return in_json(text, wanted, root, joint)


def looks_like_lines(text: str) -> bool:
    """Whether text that starts with ``{`` or ``[`` is one link a line, rather than one value over the lines."""
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
    # Not splitlines(): it also splits at U+2028, which JSON lets stand inside a string.
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line and not line.isspace())


def _explain(error: json.JSONDecodeError) -> tuple[str, int]:
    """A sentence, and the offset that it is about."""
    text = error.doc
    before = len(text[: error.pos].rstrip()) - 1
    here = error.pos + len(text[error.pos :]) - len(text[error.pos :].lstrip())
    # Until Python 3.13 the error is about what follows the comma, from then on about the comma.
    comma = error.pos if text[error.pos : error.pos + 1] == "," else before
    follows = text[comma + 1 :].lstrip()[:1] if comma >= 0 and text[comma] == "," else ""
    if follows and follows in "]}":
        return f"not JSON: a comma too many before the '{follows}'", comma
    if text.startswith(("//", "/*", "#"), here):
        return "not JSON: there are no comments in JSON; YAML has them, behind a #", here
    # json's own words hold nothing of the file's, so they are safe to print.
    return f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}", error.pos
