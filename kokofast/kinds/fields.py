"""How a link kind declares its fields. Pure data.

It imports nothing, because all read it: the topology package makes its decoder and the JSON Schema of it, and koko's
command line checks options by it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class Field:
    """One field of a link kind.

    Args:
        name: The key in JSON and YAML, and the column in CSV.
        type: "int", "str", "bool", "choice", "ip" (an IPv4 or IPv6 address without prefix length), "interface" (an
            interface name, ``node:interface`` for one in another namespace), or another one of topology.rules.TYPES.
        doc: One line for the JSON Schema.
        minimum: Of an int, inclusive.
        maximum: Of an int, inclusive.
        choices: Of a choice.
        default: What an absent field has; None without a default.
        required: Absent is an error.
        check: (value of the type) -> (path below it, sentence) for each thing that is wrong with it.
    """

    __slots__ = ("check", "choices", "default", "doc", "maximum", "minimum", "name", "required", "type")

    def __init__(
        self,
        name: str,
        type: str,
        doc: str,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        choices: tuple[str, ...] = (),
        default: int | str | bool | None = None,
        required: bool = False,
        check: Callable[[Any], Iterable[tuple[str, str]]] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.doc = doc
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices
        self.default = default
        self.required = required
        self.check = check
