"""Single values of a file of containerlab: texts with variables, mappings, lists."""

from __future__ import annotations

from collections.abc import Mapping

from kokofast.importers.environment import expand
from kokofast.importers.importer import Draft
from kokofast.topology.document import InvalidNumber, describe

DIGITS = 9


class Values:
    """Reads values, and reports those of a wrong type to the draft."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.draft = Draft()
        self._environment = environment

    def text(self, value: object, place: str) -> str:
        """Return a text, also one of a number; empty for null and after a problem."""
        if value is None:
            return ""
        if isinstance(value, bool | dict | list):
            self.draft.refuse(place, f"must be text, not {describe(value)}")
            return ""
        text = value.text if isinstance(value, InvalidNumber) else str(value)
        try:
            return expand(text, self._environment)
        except ValueError as error:
            self.draft.refuse(place, str(error))
            return ""

    def number(self, value: object, place: str) -> object:
        """Return a whole number, also of a text; any other value is left to the ordinary checks."""
        if isinstance(value, str):
            value = self.text(value, place)
            return int(value) if value.isascii() and value.isdecimal() and len(value) <= DIGITS else value
        return value

    def mapping(self, value: object, place: str) -> Mapping[str, object]:
        """Return a mapping; an empty one for null and after a problem."""
        if isinstance(value, dict):
            return value
        if value is not None:
            self.draft.refuse(place, f"must be a mapping, not {describe(value)}")
        return {}

    def several(self, value: object, place: str) -> list[object]:
        """Return a list; an empty one for null and after a problem."""
        if isinstance(value, list):
            return value
        if value is not None:
            self.draft.refuse(place, f"must be a list, not {describe(value)}")
        return []
