"""completion, man: what the shell and man(1) show, made from the parser."""

from __future__ import annotations

import argparse
import itertools
import os
from typing import TYPE_CHECKING, Any

from kokofast.cli.command import FAILED, CommandError
from kokofast.cli.parser import EXIT_CODES, build_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = "wires network namespaces and containers together"

# roff, see groff_man(7). A minus sign of an option is written \-.
SECTIONS = {
    "exit status": f".nf\n{EXIT_CODES.partition(': ')[2].replace('            ', '')}\n.fi",
    "files": r"""
.TP
.I /run/netns
Named network namespaces, as of ip\-netns(8).
.TP
.I /run/kokofast
A lock for each lab on which a run works, and a socket for each that waits to be confirmed.""",
    "environment": r"""
.TP
.B KOKOFAST_DEBUG
Where it is
.BR wire ,
each request to the kernel, and each answer, is printed to standard error.
.TP
.BR DOCKER_HOST ", " CONTAINER_HOST ", " CONTAINER_RUNTIME_ENDPOINT
The sockets of Docker, Podman and the CRI runtime, where a file does not name them.""",
    "examples": r"""
.TP
A chain of 2,000 links, made and removed:
.EX
kokofast generate chain \-\-links 2000 > c.json
kokofast batch c.json \-\-create
kokofast inspect chain
kokofast destroy c.json
.EE
.TP
The same without root, and a ping in it:
.EX
kokofast batch c.json \-\-sandbox \-\- ip netns exec r0 ping \-c 1 10.0.0.1
.EE
.TP
One link, by the command line of koko:
.EX
kokofast \-n ns1,link1,192.168.1.1/24 \-n ns2,link2,192.168.1.2/24
.EE""",
    "see also": r"""
.BR ip\-netns (8),
.BR ip\-link (8),
.BR network_namespaces (7),
.BR veth (4),
.BR capabilities (7)""",
}


# The names of the labs that are there: nothing without rights. Labs have plain names, which no shell expands.
LABS = "kokofast inspect --format labs 2>/dev/null"
FUNCTIONS = {
    "bash": f"""\
_kokofast_labs() {{ compgen -W "$({LABS})" -- "$1"; }}
_kokofast_sources() {{ _shtab_compgen_files "$1"; _kokofast_labs "$1"; }}""",
    "zsh": f"""\
_kokofast_labs() {{ compadd -- ${{(f)"$({LABS})"}} }}
_kokofast_sources() {{ _alternative 'files:file:_files' 'labs:lab:_kokofast_labs' }}""",
}
IN_FISH = f"({LABS})"
COMPLETE_LAB = {"bash": "_kokofast_labs", "zsh": "_kokofast_labs", "fish": IN_FISH}
COMPLETE_SOURCE = {
    "bash": "_kokofast_sources",
    "zsh": "_kokofast_sources",
    "fish": f"{IN_FISH} (__fish_complete_path (commandline -ct))",
}


def completion(shell: str) -> str:
    """Return the script that completes kokofast's command line in bash, zsh or fish. Raises CommandError."""
    try:
        import shtab
    except ImportError:
        raise _missing("completion", "shtab") from None
    if shell not in shtab.SUPPORTED_SHELLS:  # fish came with 1.9
        raise _missing("completion", "shtab in a newer version")
    parser = whole_parser()
    for action in _actions(parser):
        ways = {
            "FILE": shtab.FILE,
            "TIMELINE": shtab.FILE,
            "DIR": shtab.DIRECTORY,
            "LAB": COMPLETE_LAB,
            "FILE|LAB": COMPLETE_SOURCE,
        }
        if action.metavar in ways:
            action.complete = ways[action.metavar]  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell, preamble=FUNCTIONS.get(shell, ""))).rstrip("\n")


def manual() -> str:
    """Return the man page, in roff. Raises CommandError."""
    try:
        from argparse_manpage.manpage import Manpage
    except ImportError:
        raise _missing("man", "argparse-manpage") from None
    from kokofast import __version__

    os.environ["COLUMNS"] = "80"  # the same page on every terminal
    parser = whole_parser()
    parser.epilog = None  # a section of its own
    parser._positionals.title = "commands"
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                one.description = None  # the page has the same text as its help
    page: Any = Manpage(parser, format="single-commands-section")
    page.description = SHORT
    page.source, page.manual, page.date = f"kokofast {__version__}", "User Commands", ""
    for heading, text in SECTIONS.items():
        page.add_section(heading, ">", text.strip("\n"))
    return str(page).rstrip("\n")


def _missing(command: str, package: str) -> CommandError:
    return CommandError(FAILED, f"{command} needs {package}: pip install 'kokofast[shell]'")


def whole_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, with all options of all commands."""
    parser = build_parser()
    for _ in _actions(parser):
        pass
    return parser


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield each argument of a parser and of its commands. Add those that are added when they are needed only."""
    fill = getattr(parser, "_fill", None)
    if fill is not None:
        fill()
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            yield from itertools.chain.from_iterable(_actions(one) for one in action.choices.values())
