"""Make names of nodes of any labels: letters, digits, '.', '_' and '-', unique, and the same in each run."""

from __future__ import annotations

import unicodedata

NAME_CHARACTERS = 60
# Labels that mean that there is no label.
NO_LABELS = frozenset(("", "None", "null", "?"))
# Letters that have no base letter in Unicode.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d"}
    | {"Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "\u0131": "i"}
)


class NodeNames:
    """The names that are taken."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}  # by what the name begins with: the first number that may be free

    def name(self, label: str, key: str) -> str:
        """Return a free name for a node. A label that is taken gets the node's key behind it."""
        plain = _plain(label) if label not in NO_LABELS else ""
        unique = _plain(key)
        name = plain or (unique if unique[:1].isalpha() else f"n{unique}")
        if name in self._taken and unique:
            name = f"{name}-{unique}"
        stem, number = name, self._next.get(name, 2)
        while name in self._taken:
            name = f"{stem}-{number}"
            number += 1
            self._next[stem] = number
        self._taken.add(name)
        return name


def _plain(text: str) -> str:
    text = text[: 2 * NAME_CHARACTERS]
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.translate(_LETTERS))
        text = "".join(char for char in text if not unicodedata.combining(char))
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else " " for char in text)
    return "-".join(kept.split())[:NAME_CHARACTERS].strip("-._")
