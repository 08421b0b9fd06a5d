"""The defaults of a file: which of them are valid, and what they give to links of each kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from kokofast.topology.diagnose import fits
from kokofast.topology.given import Given
from kokofast.topology.problems import step, unknown
from kokofast.topology.shapes import Shape, default_rules, shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kokofast.kinds.kind import Kind
    from kokofast.topology.rules import Rule


class Defaults:
    """The defaults of a file.

    Args:
        raw: The defaults as the file has them.
        place: Their place in the file.
        note: Called with the place and the message of each problem.

    ``values`` has those of them that some link kind can have.
    """

    def __init__(self, raw: object, place: str, note: Callable[[str, str], None]) -> None:
        self._place = place
        self._note = note
        self._of_kinds: dict[str, tuple[Shape, Given, Given]] = {}
        self.values = self._check(raw)

    def of_kind(self, kind: Kind) -> tuple[Shape, Given, Given]:
        """Return the shape of a kind's links, and the defaults of its ends and of its options."""
        found = self._of_kinds.get(kind.name)
        if found is None:
            of_kind = shape(kind)
            ends = self.given(of_kind.shared)
            options = self.given(of_kind.options)
            found = self._of_kinds[kind.name] = (of_kind, ends, options)
        return found

    def given(self, rules: Mapping[str, Rule]) -> Given:
        """Return the defaults that have one of these rules, and report those that do not fit it."""
        given = Given({}, {})
        for key, rule in rules.items():
            if key in self.values and fits(self.values[key], rule, f".{key}", partial(self._note_below, self._place)):
                value = msgspec.convert(self.values[key], rule.annotation)
                given.take(rule, value, f"{self._place}.{{}}".format, self._note)
        return given

    def _check(self, raw: object) -> dict[str, object]:
        """Return the defaults whose values some link kind can have, and report the others."""
        good: dict[str, object] = {}
        rules = default_rules() if raw else {}
        for key, value in raw.items() if isinstance(raw, dict) else ():
            place = f"{self._place}{step(key)}"
            if key not in rules:
                self._note(place, unknown("key", key, rules))
            elif any(fits(value, rule, "", lambda *_: None) for rule in rules[key]):
                good[key] = value
            else:  # report it by the rule of the first kind that has the key
                fits(value, rules[key][0], "", partial(self._note_below, place))
        return good

    def _note_below(self, place: str, path: str, message: str) -> None:
        self._note(place + path, message)
