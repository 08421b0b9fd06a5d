"""Find line and column of values in the text of a file with problems.

The text is read a second time. Python walks only to the places asked for; the rest is skipped in C.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from kokofast.topology.locations import below

Position = tuple[int, int]  # line and column, from 1

_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\n\r]*")


def in_json(text: str, wanted: Collection[str], root: str = "$", joint: str = ".") -> Mapping[str, Position]:
    """Return the positions of the places in wanted, which also has all that contain them.

    The position of a value is its key's; of a repeated key the last one's.
    """
    return _lines_and_columns(text, _JsonReader(text, wanted, joint, root).found)


class _JsonReader:
    """Reads text that is known to be JSON."""

    def __init__(self, text: str, wanted: Collection[str], joint: str, root: str) -> None:
        self.found: dict[str, int] = {}
        self._text = text
        self._wanted = wanted
        self._root = root
        self._joint = joint
        start = self._space(0)
        self.found[root] = start
        self._read(start, root)

    def _space(self, at: int) -> int:
        return _SPACE.match(self._text, at).end()  # type: ignore[union-attr]

    def _read(self, at: int, place: str) -> int:
        """Read the value at an offset, and return the offset of its end."""
        text = self._text
        kind = text[at]
        if kind not in "{[":
            return _DECODER.raw_decode(text, at)[1]
        at = self._space(at + 1)
        index = 0
        while text[at] not in "}]":
            start = at
            if kind == "{":
                key, end = _DECODER.raw_decode(text, at)
                child = below(place, key, self._root, self._joint)
                at = self._space(self._space(end) + 1)
            else:
                child = f"{place}[{index}]"
                index += 1
            if child in self._wanted:
                self.found[child] = start
                end = self._read(at, child)
            else:
                end = _DECODER.raw_decode(text, at)[1]
            at = self._space(end)
            if text[at] == ",":
                at = self._space(at + 1)
        return at + 1


def _lines_and_columns(text: str, offsets: Mapping[str, int]) -> dict[str, Position]:
    found: dict[str, Position] = {}
    line, seen = 1, 0
    for place, offset in sorted(offsets.items(), key=lambda item: item[1]):
        line += text.count("\n", seen, offset)
        seen = offset
        found[place] = line, offset - text.rfind("\n", 0, offset)
    return found


def in_yaml(text: str, wanted: Collection[str]) -> Mapping[str, Position]:
    """Do as in_json(), for YAML."""
    import yaml

    found: dict[str, Position] = {}
    open_: list[_Collection] = []
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionEndEvent):
            open_.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        start = event.start_mark
        mark, place = (start.line + 1, start.column + 1) if start is not None else (1, 1), "$"
        if open_:
            top = open_[-1]
            if top.is_mapping and top.key is None and isinstance(event, yaml.ScalarEvent):
                top.key, top.mark = event.value, mark
                continue
            mark = top.mark if top.is_mapping else mark
            place = top.next()
        place = place if place in wanted else ""
        if place:
            found[place] = mark
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append(_Collection(place, isinstance(event, yaml.MappingStartEvent)))
    return found


class _Collection:
    """A mapping or list of YAML; place is empty where nothing in it is wanted."""

    __slots__ = ("index", "is_mapping", "key", "mark", "place")

    def __init__(self, place: str, is_mapping: bool) -> None:
        self.place = place
        self.is_mapping = is_mapping
        self.index = -1
        self.key: str | None = None
        self.mark = (0, 0)

    def next(self) -> str:
        """Return the place of the next value, empty where it is not wanted."""
        self.index += 1
        key, self.key = self.key, None
        if not self.place:
            return ""
        return below(self.place, key or "", "$", ".") if self.is_mapping else f"{self.place}[{self.index}]"
