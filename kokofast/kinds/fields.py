"""How a link kind declares the fields it adds to a link in the user's file. Pure data, no import on purpose: the
topology room turns these into its decoder and the JSON Schema, koko's command line checks its options by them."""

from __future__ import annotations


class Field:
    """One field of a link kind.

    type is "int" (with minimum and maximum, both inclusive), "str", "bool", "choice" (one of choices), "ip" (an
    IPv4 or IPv6 address without prefix length), or "interface" (an interface name, ``node:interface`` for one
    elsewhere).
    A field without default is None when absent, or an error when required. The name is the key in JSON and the
    column in CSV.
    """

    __slots__ = ("choices", "default", "doc", "maximum", "minimum", "name", "required", "type")

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
    ) -> None:
        self.name = name
        self.type = type
        self.doc = doc
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices
        self.default = default
        self.required = required
