"""The values that a link or an end is given: its own, those of its link, and those of defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kokofast.topology.rules import INVALID

if TYPE_CHECKING:
    from kokofast.topology.locations import At
    from kokofast.topology.rules import Report, Rule


class Given:
    """The values at one level (defaults, link, endpoint), also inherited ones, with the origin of each."""

    __slots__ = ("origins", "values")

    def __init__(self, values: dict[str, Any], origins: dict[str, tuple[At, str]]) -> None:
        self.values = values
        self.origins = origins

    def take(self, rule: Rule, value: Any, at: At, report: Report) -> None:
        """Parse a value by its rule and set it, or report its problems."""
        key = rule.field.name
        if rule.parse is not None:
            value = rule.parse(value, lambda path, message: report(at(key + path), message))
            if value is INVALID:
                return
        self.values[key] = value
        self.origins[key] = (at, key)

    def overridden(self, record: Any, keys: Iterable[str], rules: Mapping[str, Rule], at: At, report: Report) -> Given:
        """Return the values, overridden by those of the record's keys that have a rule here."""
        given = Given(dict(self.values), dict(self.origins))
        for key in keys:
            rule = rules.get(key)
            if rule is not None:
                given.take(rule, getattr(record, key), at, report)
        return given
