"""What the parsers of commands have in common: types of values, and how a command is added."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeVar

    AnyParser = TypeVar("AnyParser", bound=argparse.ArgumentParser)


def whole(text: str, lowest: int = 0) -> int:
    """Parse a whole number."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < lowest:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from {lowest} to 999999999")
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    return whole(text, 1)


def number(text: str) -> float:
    """Parse a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number") from None


def _plain(text: str, what: str, *, zero: bool = False) -> float:
    # float() also takes 'nan', '1e9', '1_0' and the digits of other scripts.
    plain = text.isascii() and text.replace(".", "", 1).isdecimal() and len(text) <= 9
    if not plain or (float(text) == 0 and not zero):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not {what}")
    return float(text)


def seconds(text: str) -> float:
    """Parse a number of seconds above 0."""
    return _plain(text, "a number of seconds above 0")


def factor(text: str) -> float:
    """Parse a number above 0."""
    return _plain(text, "a number above 0")


def moment(text: str) -> float:
    """Parse a number of seconds from 0."""
    return _plain(text, "a number of seconds from 0", zero=True)


def add_command(commands: argparse._SubParsersAction[AnyParser], name: str, help: str) -> AnyParser:
    """Add a command. Its help becomes its description."""
    return commands.add_parser(name, help=help, description=help[:1].upper() + help[1:] + ".", allow_abbrev=False)
