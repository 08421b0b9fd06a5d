"""Variables of the environment in a text: $NAME, ${NAME}, ${NAME:-default}, ${NAME:=default} and others of sh(1)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(
    r"\$(?:(?P<bare>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<rule>:?[-=+])(?P<word>[^{}]*))?\})"
)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with the values of its variables. Raises ValueError for one that is not set."""

    def value(found: re.Match[str]) -> str:
        name, rule, word = found["bare"] or found["name"], found["rule"] or "", found["word"] or ""
        given = environment.get(name)
        is_set = given is not None and (given != "" or ":" not in rule)
        if rule.endswith("+"):
            return word if is_set else ""
        if is_set and given is not None:
            return given
        if not rule:
            raise ValueError(
                f"the variable {name} is not set in the environment; set it, or write ${{{name}:=DEFAULT}}"
            )
        # A default may be in quotes, as it is text of a YAML file.
        return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word

    return _VARIABLE.sub(value, text) if "$" in text else text
