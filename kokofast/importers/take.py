"""take(): the document that an importer makes of a file that is not in our format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

from kokofast.importers import IMPORTERS
from kokofast.importers.importer import Imported, Importer, Options, Source
from kokofast.topology.document import Document, Locate, from_tree
from kokofast.topology.locations import TreePlaces
from kokofast.topology.order import in_line_order, in_tree_order
from kokofast.topology.problems import Problem, TopologyError

BEGINNING = 4096  # characters to search
# Formats without an importer: what a file starts with, after comments.
_UNREAD = (
    (re.compile(r"<[?!A-Za-z]"), "XML"),
    (re.compile(r"(strict\s+)?(di)?graph\b[^{\n]*\{"), "Graphviz (DOT)"),
    (re.compile(r"\*(vertices|network)\b", re.IGNORECASE), "Pajek"),
)
_COMMENT = re.compile(r"(\s|#[^\n]*(\n|$))*")


def take(
    source: Source,
    options: Options | None,
    problems: list[Problem],
    *,
    locate: Locate | None = None,
    name: str | None = None,
) -> Document | None:
    """Return the document of a file; None when no importer recognises it.

    Args:
        source: The file.
        options: For the importer; None takes the variables of this process.
        problems: Those of the file are appended.
        locate: Finds the positions of places in the text of a JSON or YAML file.
        name: The importer to use, for a file that may not be recognised.

    Raises:
        TopologyError: Nothing can be made of the file, or its format is known and not read.
    """
    locate = locate if source.tree is not None else None
    importer = IMPORTERS[name] if name is not None else _recognise(source)
    if importer is None:
        if (other := _unread(source)) is not None:
            words = f"this is {other}, which is not read; write links as in README.md, 'kokofast schema' has the whole "
            problem = Problem("$" if locate is not None else source.title, f"{words}format")
            raise TopologyError(_in_order(source.title, locate)([problem]))
        return None
    options = options or Options(environment=os.environ)
    if options.distance_delay and not importer.has_positions:
        words = f"this is {importer.title}, which has no latitudes and longitudes for --distance-delay"
        raise TopologyError([Problem("$" if locate is not None else source.title, words)])
    try:
        imported = importer.read(source, options)
    except TopologyError as error:
        raise TopologyError(_in_order(source.title, locate)(error.problems)) from None
    problems += imported.problems
    return _document(importer, imported, source.title, locate)


def _recognise(source: Source) -> Importer | None:
    return next((one for one in IMPORTERS.values() if one.recognise(source)), None)


def _document(importer: Importer, imported: Imported, title: str, locate: Locate | None) -> Document:
    place_of = imported.place_of
    document = from_tree(imported.tree, [], title, lambda _: {})
    document.places = _Places(place_of, title)
    at = document.node_at
    document.node_at = lambda name, path: place_of(at(name, path)) or title
    document.in_order = _in_order(title, locate)
    document.imported = importer.title
    document.name_place = place_of("$.name") or title
    document.notes = document.in_order(imported.notes)
    return document


def _in_order(title: str, locate: Locate | None) -> Callable[[Iterable[Problem]], list[Problem]]:
    def in_order(found: Iterable[Problem]) -> list[Problem]:
        if locate is not None:
            return in_tree_order(found, locate, title)
        return in_line_order(found, title, lambda _, of_line: of_line)

    return in_order


class _Places(TreePlaces):
    """Places in the user's file."""

    def __init__(self, place_of: Callable[[str], str], title: str) -> None:
        super().__init__("$.links")
        self._place_of = place_of
        self._title = title

    def link(self, index: int) -> str:
        """Return the place of a link."""
        return self._place_of(super().link(index)) or self._title

    def at(self, index: int, path: str) -> str:
        """Return the place of a value in a link."""
        return self._place_of(super().at(index, path)) or self._title


def _unread(source: Source) -> str | None:
    if isinstance(source.tree, dict | list):
        return None
    start = source.text[:BEGINNING]
    start = start[_COMMENT.match(start).end() :]  # type: ignore[union-attr]
    return next((name for pattern, name in _UNREAD if pattern.match(start)), None)
