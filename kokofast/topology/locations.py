"""Places in the user's file, as messages begin with: (number of the link, path in it) -> text.

They are computed on demand, from a path such as ``endpoints[0].mtu``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from kokofast.topology.problems import step

At = Callable[[str], str]  # path in a link or in defaults -> place


class Places(Protocol):
    """Where the links of a file are."""

    def link(self, index: int) -> str:
        """Return the place of a link."""

    def at(self, index: int, path: str) -> str:
        """Return the place of a value in a link; the path has keys and ``[index]``."""


class Origins(Mapping[str, str]):
    """Field -> place, computed on demand: most places of a file are never printed.

    found maps a field to (function from path to place, path). ``addresses`` also serves ``addresses[0]``.
    """

    __slots__ = ("found",)

    def __init__(self, found: Mapping[str, tuple[At, str]]) -> None:
        self.found = found

    def __getitem__(self, field: str) -> str:
        name, bracket, index = field.partition("[")
        at, path = self.found[name]
        return at(path + bracket + index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


class PlacesWithin:
    """The places of what is within a part of a link, by its path there.

    A topology keeps one for each end that is an object, and a closure would take six times the memory.
    """

    __slots__ = ("_index", "_path", "_places")

    def __init__(self, places: Places, index: int, path: str) -> None:
        self._places = places
        self._index = index
        self._path = path

    def __call__(self, path: str) -> str:
        """Return the place of what is at a path there."""
        return self._places.at(self._index, f"{self._path}.{path}")


class TreePlaces:
    """JSON and YAML: ``$.links[3].mtu``, or ``$[3].mtu`` in a bare list."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def link(self, index: int) -> str:
        """Return ``$.links[3]``."""
        return f"{self._prefix}[{index}]"

    def at(self, index: int, path: str) -> str:
        """Return ``$.links[3].mtu``."""
        return f"{self._prefix}[{index}]{'' if path[0] == '[' else '.'}{path}"


class LinePlaces:
    """JSON lines: ``links.jsonl:4 mtu``. lines has the line of each link."""

    def __init__(self, filename: str, lines: Sequence[int]) -> None:
        self._filename = filename
        self._lines = lines

    def link(self, index: int) -> str:
        """Return ``links.jsonl:4``."""
        return f"{self._filename}:{self._lines[index]}"

    def at(self, index: int, path: str) -> str:
        """Return ``links.jsonl:4 mtu``."""
        return f"{self._filename}:{self._lines[index]} {path}"


class ColumnPlaces:
    """CSV: ``links.csv:17 mtu``, line and column. The place of an end is its interface."""

    def __init__(self, filename: str, lines: Sequence[int]) -> None:
        self._filename = filename
        self._lines = lines

    def link(self, index: int) -> str:
        """Return ``links.csv:17``."""
        return f"{self._filename}:{self._lines[index]}"

    def at(self, index: int, path: str) -> str:
        """Return ``links.csv:17 mtu``."""
        return f"{self._filename}:{self._lines[index]} {column(path)}"


def column(path: str) -> str:
    """Return the CSV column of a path in a link."""
    head, _, field = path.partition(".")
    if not head.startswith("endpoint"):
        return path
    side = "b" if head == "endpoints[1]" else "a"
    part = {"node": "node", "addresses": "ip"}.get(field.partition("[")[0], "if")
    return f"{side}_{part}"


def below(place: str, key: str, root: str, joint: str) -> str:
    """Return the place of a key in the object at place. In a line of JSON it follows a blank: "l.jsonl:4 mtu"."""
    return place + joint + step(key).removeprefix(".") if place == root and joint != "." else place + step(key)


def join(path: str, key: str) -> str:
    """Return the path of a key in the object at path (empty: the link itself)."""
    return f"{path}{step(key)}" if path else step(key).removeprefix(".")
