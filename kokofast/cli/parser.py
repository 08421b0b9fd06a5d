"""Commands and their options, by argparse."""

from __future__ import annotations

import argparse
import sys

from kokofast import __version__
from kokofast.cli.arguments import (
    FILE_HELP,
    Parser,
    add_command,
    add_importing,
    add_name,
    add_output,
    add_runtime_timeout,
    add_splitting,
    factor,
    instant,
    moment,
    positive,
    seconds,
)
from kokofast.graph import NAMES as PICTURES

EXIT_CODES = """\
exit codes: 0 done, or nothing to do
            1 failed; everything that this run made was taken back
            2 wrong usage, an invalid file, or one that does not fit this machine; nothing was touched
            3 partly done: links failed with --keep-going, something could not be taken back or removed,
              or the result or the trace could not be written
            4 with --dry-run --exit-code: there is something to change
            other codes are those of the sandbox's command; README.md has more on watch and play"""


class _Version(argparse.Action):
    """Prints the versions that a report of a bug needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version
        from os import uname
        from platform import python_version

        lines = [f"kokofast {__version__}", f"{uname().sysname} {uname().release} {uname().machine}"]
        lines.append(f"Python {python_version()}")
        for package in ("trio", "msgspec"):
            try:
                lines.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                lines.append(f"{package} is not installed")
        parser._print_message("\n".join(lines) + "\n", sys.stdout)
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    parser: argparse.ArgumentParser = Parser(
        prog="kokofast",
        description="Wires network namespaces and containers together, thousands of links at a time.",
        epilog=f"{EXIT_CODES}\n\nkoko's own command line (kokofast -d c1,link1 -n ns2,link2): see kokofast -h",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,  # its -h is koko's
    )
    parser.add_argument("--help", action="help", help="show this help message and exit (-h: koko's command line)")
    parser.add_argument("-v", "--version", action=_Version, nargs=0, help="show the versions of what runs, and exit")
    # Without prog argparse makes a formatter, which imports shutil and all its compressors.
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, prog=parser.prog)
    _add_batch(commands)
    add_command(
        commands, "confirm", "keep what a batch with --confirm-within has made of LAB, and waits for", _fill_confirm
    )
    _add_destroy(commands)
    _add_watch(commands)
    _add_inspect(commands)
    add_command(commands, "play", "bring FILE up, and change its links as TIMELINE says", _fill_play)
    _add_others(commands)
    add_command(commands, "generate", "print a topology of a shape, such as a ring or a fat-tree", _fill_generate)
    add_command(
        commands,
        "import",
        "print the links of a file of another program as JSON or YAML of kokofast; touch nothing",
        _fill_import,
    )
    add_command(
        commands,
        "doctor",
        "say what this machine lacks for FILE, or for any lab, and how to get it; exit 1 when something is missing",
        _fill_doctor,
    )
    add_command(
        commands,
        "verify",
        "send frames over the links, both ways, and say which links do not carry them; exit 1 if there are any",
        _fill_verify,
    )
    add_command(
        commands,
        "graph",
        "draw FILE with the states of its links, or what is there of LAB, as SVG, HTML, DOT, Mermaid or for draw.io",
        _fill_graph,
    )
    add_command(
        commands,
        "split",
        "write a file for each host of FILE, a lab that is on many: its nodes and links; touch nothing else",
        _fill_split,
    )
    add_command(
        commands, "hosts", "wire a file on many hosts by Ansible, on all or on none; verify and play it", _fill_hosts
    )
    _add_shell(commands)
    return parser


def _add_batch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    does = "make what FILE lists: create what is missing, set what differs, leave what is right"
    batch = add_command(commands, "batch", does)
    batch.add_argument("file", metavar="FILE", help=FILE_HELP)
    add_name(batch)
    add_importing(batch)
    batch.add_argument("--create", action="store_true", help="make network namespaces that are missing")
    batch.add_argument("--dry-run", action="store_true", help="show what would be done and touch nothing")
    batch.add_argument(
        "--prune",
        action="store_true",
        help="when all else has succeeded, remove links and namespaces of the lab that are not in FILE any more",
    )
    batch.add_argument(
        "--replace",
        action="store_true",
        help="delete links of the lab that cannot be changed in place, and make them again",
    )
    batch.add_argument(
        "--confirm-within",
        type=seconds,
        metavar="SECONDS",
        help="when all is made, wait so long for 'kokofast confirm LAB'; without it take everything back (exit 1)",
    )
    batch.add_argument("--exit-code", action="store_true", help="with --dry-run: exit 4 when there is something to do")
    batch.add_argument(
        "--keep-going",
        action="store_true",
        help="go on without links that the kernel refuses, or whose nodes are missing (exit 3)",
    )
    batch.add_argument("--jobs", type=positive, metavar="N", help="worker threads (default: chosen by measuring)")
    batch.add_argument("--trace", metavar="FILE", help="write a trace for chrome://tracing or ui.perfetto.dev")
    add_runtime_timeout(batch)
    batch.add_argument(
        "--sandbox",
        action="store_true",
        help="work without root, in new namespaces that end with the run; "
        "-- CMD... is run in them when the links are up, and its exit code returned",
    )
    add_output(batch)


def _fill_confirm(confirm: Parser) -> None:
    confirm.add_argument("lab", metavar="LAB", help="the lab of the batch that waits")
    confirm.add_argument("--revert", action="store_true", help="do not keep it: have the batch take everything back")
    confirm.add_argument("--dry-run", action="store_true", help="only say whether a batch waits, and how long it will")
    add_output(confirm)


def _add_destroy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    destroy = add_command(
        commands, "destroy", "remove exactly what carries our mark: links, and namespaces that we made"
    )
    destroy.add_argument("file", metavar="FILE", nargs="?", help=FILE_HELP)
    destroy.add_argument("--name", metavar="LAB", help="the lab to remove (with FILE: in place of the file's own name)")
    add_importing(destroy)
    destroy.add_argument("--all", action="store_true", help="remove every lab of this machine")
    destroy.add_argument(
        "--force",
        action="store_true",
        help="also delete links of other labs that are in a namespace of this lab, or on its links",
    )
    destroy.add_argument("--jobs", type=positive, metavar="N", help="worker threads (default: 64)")
    add_output(destroy)


def _add_watch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    does = "keep the links at what FILE says: after restarts of containers, changes by others, and edits of FILE"
    watch = add_command(commands, "watch", does)
    watch.add_argument("file", metavar="FILE", help=FILE_HELP)
    add_name(watch)
    add_importing(watch)
    watch.add_argument("--create", action="store_true", help="make network namespaces that are missing")
    watch.add_argument("--prune", action="store_true", help="also remove the lab's links that are not in FILE any more")
    watch.add_argument("--once", action="store_true", help="exit as soon as all is as FILE says; exit 3 if it is not")
    watch.add_argument(
        "--wait", type=seconds, metavar="SECONDS", help="with --once: how long to wait for nodes that are not there yet"
    )
    add_runtime_timeout(watch)
    watch.add_argument(
        "--format", choices=("text", "json"), help="how events are printed (default: text on a terminal, else json)"
    )


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = add_command(commands, "inspect", "show the links that are there, read from the kernel")
    inspect.add_argument("lab", metavar="LAB", nargs="?", help="only this lab")
    inspect.add_argument(
        "--format",
        choices=("table", "json", "labs"),
        default="table",
        help="how the links are printed; labs: only the names of the labs",
    )


def _fill_play(play: Parser) -> None:
    play.add_argument("file", metavar="FILE", help=FILE_HELP)
    play.add_argument(
        "timeline",
        metavar="TIMELINE",
        help="epochs as JSON lines, a folder of NetSatBench's epochs, or - for lines from standard input as they come",
    )
    add_name(play)
    play.add_argument("--create", action="store_true", help="make network namespaces that are missing")
    play.add_argument(
        "--start-at",
        type=instant,
        metavar="TIME",
        help="bring the lab up, then wait: the timeline begins at this moment of the machine's clock, in ISO 8601 with "
        "a zone or in seconds since the epoch",
    )
    play.add_argument("--dry-run", action="store_true", help="check the whole timeline, print it, and touch nothing")
    _add_playing(play)
    add_runtime_timeout(play)
    play.add_argument("-q", "--quiet", action="store_true", help="no notes and no progress on standard error")


def _add_playing(play: argparse.ArgumentParser) -> None:
    """Add the options that say how a timeline is played."""
    play.add_argument("--speed", type=factor, default=1.0, metavar="N", help="play N times as fast (1)")
    play.add_argument(
        "--from",
        dest="start",
        type=moment,
        default=0.0,
        metavar="SECONDS",
        help="begin at this time of the timeline; earlier epochs are done at once",
    )
    play.add_argument("--until", type=moment, metavar="SECONDS", help="end at this time of the timeline")
    play.add_argument("--loop", action="store_true", help="start again at the end, with the lab as FILE has it")
    play.add_argument(
        "--on-error",
        choices=("stop", "continue"),
        default="stop",
        help="what to do after an epoch that failed and was taken back (stop)",
    )
    play.add_argument(
        "--late",
        choices=("skip", "all"),
        default="skip",
        help="when play falls behind: skip to the newest state (the default), or do all epochs in order",
    )
    play.add_argument("--destroy", action="store_true", help="remove the lab at the end")


def _add_others(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    validate = add_command(commands, "validate", "print the errors of FILE, if there are any; touch nothing")
    validate.add_argument("file", metavar="FILE", help=FILE_HELP)
    validate.add_argument("--name", metavar="LAB", help="the lab's name")
    add_importing(validate)
    validate.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    schema = add_command(commands, "schema", "print the JSON Schema of a file that kokofast reads or prints")
    schema.add_argument(
        "of",
        metavar="KIND",
        nargs="?",
        choices=("file", "result", "waiting", "events", "timeline", "played", "doctor", "verify", "split", "hosts"),
        default="file",
        help="file: links.json (the default); result: what --format json prints; "
        "waiting: what batch --confirm-within prints before it; events: what watch prints; "
        "timeline: a line that play reads; played: a line that play prints; doctor, verify, split, hosts: what these "
        "print as JSON",
    )


def _fill_generate(generate: Parser) -> None:
    from kokofast.cli.shape_options import add_shapes

    add_shapes(generate)


def _fill_hosts(hosts: Parser) -> None:
    from kokofast.cli.hosts_options import add_actions

    actions = add_actions(hosts, FILE_HELP)
    for name in ("deploy", "play", "verify"):
        add_splitting(actions[name])
    for name, action in actions.items():
        if name != "play":  # its --from is a time
            add_importing(action)
        add_output(action)
    _add_playing(actions["play"])


def _fill_import(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a file of another program; - reads standard input")
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="write it to a new .json or .yaml file")
    parser.add_argument("--force", action="store_true", help="overwrite the file that -o names")
    parser.add_argument("--name", metavar="LAB", help="the lab's name")
    add_importing(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print what cannot be kept")


def _fill_doctor(doctor: Parser) -> None:
    doctor.add_argument("file", metavar="FILE", nargs="?", help=FILE_HELP)
    add_importing(doctor)
    doctor.add_argument("--create", action="store_true", help="as of batch: namespaces that are missing are to be made")
    doctor.add_argument("--sandbox", action="store_true", help="as of batch: all is to be done in a sandbox")
    doctor.add_argument("--format", choices=("table", "json"), default="table", help="how the answer is printed")


def _fill_verify(verify: Parser) -> None:
    what = "a file, whose links are compared with what is there, too; or the name of a lab (default: all labs)"
    verify.add_argument("source", metavar="FILE|LAB", nargs="?", help=what)
    verify.add_argument(
        "--name", metavar="LAB", help="with FILE: the lab's name (default: its name entry, or its stem)"
    )
    add_importing(verify)
    verify.add_argument(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for a frame at most (10); without delays, losses and rates it takes no waiting",
    )
    verify.add_argument(
        "--across",
        metavar="FILE",
        help="the links to other hosts, as 'hosts verify' gives it: frames are exchanged with those who verify there "
        "at the same time",
    )
    add_runtime_timeout(verify)
    add_output(verify)


def _fill_graph(graph: Parser) -> None:
    graph.add_argument("source", metavar="FILE|LAB", help="a file; or the name of a lab, to draw what is there of it")
    graph.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="-",
        help="write the picture to a new file, whose ending is the format: .svg, .html, .dot, .mmd or .drawio",
    )
    graph.add_argument("--force", action="store_true", help="overwrite the file that -o names")
    graph.add_argument("--format", choices=PICTURES, help="the format (default: by the ending of -o, else svg)")
    graph.add_argument("--no-state", action="store_true", help="draw FILE only: look at no kernel, which needs no root")
    graph.add_argument("--name", metavar="LAB", help="with FILE: the lab's name (default: its name entry, or its stem)")
    add_importing(graph)
    graph.add_argument("-q", "--quiet", action="store_true", help="print no notes")


def _fill_split(split: Parser) -> None:
    split.add_argument("file", metavar="FILE", help=FILE_HELP)
    split.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="the folder for the files, each HOST.json; made if missing"
    )
    add_name(split)
    split.add_argument(
        "--timeline",
        metavar="TIMELINE",
        help="also split a timeline of play: each host gets HOST.timeline.jsonl, for its own links",
    )
    split.add_argument("--create", action="store_true", help="each file says to make namespaces that are missing")
    add_splitting(split)
    add_importing(split)
    add_output(split)


def _add_shell(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    completion = add_command(commands, "completion", "print the script that completes this command line in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    add_command(commands, "man", "print the manual page, in roff")
