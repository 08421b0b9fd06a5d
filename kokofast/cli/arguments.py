"""What the parsers of commands share: their class, how to add a command, types of values, and options."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING, Any, NoReturn

from kokofast.cli.output import clean
from kokofast.importers import NAMES as IMPORTERS
from kokofast.importers import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FILE_HELP = "links as .json, .jsonl, .yaml or .csv, or a file of another program; - reads standard input"


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


def instant(text: str) -> float:
    """Parse a moment, in seconds since the epoch or in ISO 8601 with a zone; return it in seconds since the epoch."""
    from datetime import datetime

    plain = text.isascii() and text.replace(".", "", 1).isdecimal() and len(text) <= 24
    try:
        found = datetime.fromtimestamp(float(text)).astimezone() if plain else datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None:
        words = "is not a moment such as 2026-01-31T12:00:00Z, or in seconds since the epoch"
        raise argparse.ArgumentTypeError(f"{text[:40]!r} {words}")
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} has no zone: add Z for UTC, or one such as +02:00")
    return float(text) if plain else found.timestamp()


_Commands = argparse._SubParsersAction


def _any_formatter() -> argparse.HelpFormatter:
    # Without a width it imports shutil, and that all its compressors: 3 ms.
    return argparse.HelpFormatter("", width=80)


class Parser(argparse.ArgumentParser):
    """argparse with better errors.

    argparse prints control characters as they are. It reports missing arguments before unknown options, and those with
    the usage of the whole program.

    Attributes:
        fill: Adds the options when they are needed. Twelve options take a millisecond of every start.
    """

    fill: Callable[[Parser], None] | None = None
    _given: Sequence[str] = ()

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """Add an option as argparse does, which makes a formatter to check it: any width will do."""
        self._get_formatter = _any_formatter  # type: ignore[method-assign]
        try:
            return super().add_argument(*args, **kwargs)
        finally:
            del self._get_formatter

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but report what a command does not know with the usage of that command."""
        self._given = list(args) if args is not None else []
        self._fill()
        options, rest = super().parse_known_args(args, namespace)
        if rest:
            self._refuse(rest)
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return options, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from kokofast.topology.problems import unknown

            what = str(action.metavar).lower() if isinstance(action, _Commands) else "value"
            raise argparse.ArgumentError(action, unknown(what, str(value), action.choices))

    def error(self, message: str) -> NoReturn:
        """Exit with 2, the usage and the message. An unknown option, the likely cause, is reported instead."""
        if message.startswith("the following arguments are required"):
            self._refuse(self._given)
        if message.startswith("argument COMMAND"):  # perhaps the value of an unknown option
            self._refuse(list(itertools.takewhile(lambda text: text.startswith("-"), self._given)))
        super().error(clean(message))

    def _refuse(self, given: Sequence[str]) -> None:
        """Exit with an error when one of these options is unknown, or belongs behind the command."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        names = [text.partition("=")[0] for text in given if text.startswith("--")]
        mistyped = [name for name in names if name not in known]
        if mistyped:
            from kokofast.topology.problems import unknown

            early = [name for name in mistyped if name in self._options_of_commands()]
            told = [f"the option {name} goes behind the command" for name in early]
            super().error(clean("; ".join(told or [unknown("option", name, known) for name in mistyped])))

    def _options_of_commands(self) -> set[str]:
        parsers = [action.choices.values() for action in self._actions if isinstance(action, _Commands)]
        for parser in itertools.chain(*parsers):
            parser._fill()
        return {name for parser in itertools.chain(*parsers) for name in parser._option_string_actions}

    def _fill(self) -> None:
        if self.fill is not None:
            fill, self.fill = self.fill, None
            fill(self)


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help: str,
    fill: Callable[[Parser], None] | None = None,
) -> argparse.ArgumentParser:
    """Add a command. Its help becomes its description; fill adds its options when they are needed."""
    parser = commands.add_parser(name, help=help, description=help[:1].upper() + help[1:] + ".", allow_abbrev=False)
    if fill is not None:
        assert isinstance(parser, Parser)
        parser.fill = fill
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a result is printed."""
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how the result is printed")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors, and no progress")


def add_importing(parser: argparse.ArgumentParser) -> None:
    """Add the options for files of other programs."""
    parser.add_argument(
        "--from",
        dest="importer",
        choices=IMPORTERS,
        metavar="PROGRAM",
        help="whose file FILE is, if it is not recognised",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="the nodes of a file of another program are containers of this engine, not network namespaces",
    )
    parser.add_argument(
        "--distance-delay",
        action="store_true",
        help="give links of a graph the time that light takes in fibre between the nodes' latitudes and longitudes",
    )


def add_runtime_timeout(parser: argparse.ArgumentParser) -> None:
    """Add the option for the patience with container daemons."""
    parser.add_argument(
        "--runtime-timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long a docker, podman or CRI daemon may be silent (default: 10)",
    )


def add_splitting(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which host a node is on."""
    parser.add_argument("--hosts", metavar="FILE", help="a file with 'hosts' (and 'between'), if FILE has none")
    parser.add_argument(
        "--place",
        nargs="?",
        const="",
        metavar="N|NAMES",
        help="choose the hosts of nodes that have none: as much on each, few links between them; on N hosts, or on "
        "those named (h1,h2), else on all",
    )
    parser.add_argument(
        "--place-by", metavar="TAG", help="place so that nodes with the same value of this tag are on one host"
    )


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the option for the name of a lab from a file."""
    parser.add_argument("--name", metavar="LAB", help="the lab's name (default: the file's name entry, or its stem)")
