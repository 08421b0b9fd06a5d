"""The options of hosts deploy, destroy, play and verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.cli.arguments import add_command, seconds

if TYPE_CHECKING:
    import argparse

VERIFY_SECONDS = 10.0
LEASE = 60.0  # seconds that a host plays on without a word from us
CONFIRM_WITHIN = 120.0  # seconds from the first host's links to the confirmation


def add_actions(hosts: argparse.ArgumentParser, file_help: str) -> dict[str, argparse.ArgumentParser]:
    """Add what hosts does; return the parsers by name, for the options that other commands have, too."""
    actions = hosts.add_subparsers(dest="action", metavar="ACTION", required=True, prog=hosts.prog)
    deploy = add_command(actions, "deploy", "wire FILE on its hosts: on all of them, or on none")
    _add_deploy(deploy, file_help)
    destroy = add_command(actions, "destroy", "remove a lab from its hosts")
    _add_destroy(destroy)
    verify = add_command(actions, "verify", "check whether links carry, on all hosts and between them")
    _add_verify(verify)
    play = add_command(actions, "play", "wire FILE on its hosts, and change its links on all of them as TIMELINE says")
    found = {"deploy": deploy, "destroy": destroy, "play": play, "verify": verify}
    for action in found.values():
        action.add_argument("--name", metavar="LAB", help="the lab's name (default: that of FILE, or its stem)")
        action.set_defaults(timeline=None)
    _add_play(play, file_help)
    return found


def _add_deploy(deploy: argparse.ArgumentParser, file_help: str) -> None:
    deploy.add_argument("file", metavar="FILE", help=file_help)
    deploy.add_argument("--create", action="store_true", help="make network namespaces that are missing")
    deploy.add_argument("--dry-run", action="store_true", help="ask all hosts what would be done, and touch nothing")
    deploy.add_argument(
        "--prune",
        action="store_true",
        help="when all else has succeeded, remove links and namespaces of the lab that are not in FILE any more",
    )
    deploy.add_argument(
        "--replace",
        action="store_true",
        help="delete links of the lab that cannot be changed in place, and make them again",
    )
    deploy.add_argument("--exit-code", action="store_true", help="with --dry-run: exit 4 when there is something to do")
    _add_confirm_within(deploy)
    deploy.add_argument(
        "--install",
        metavar="FOLDER",
        help="first install kokofast on the hosts, from a folder of wheels (pip wheel -w FOLDER kokofast)",
    )


def _add_confirm_within(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--confirm-within",
        dest="patience",
        type=seconds,
        default=CONFIRM_WITHIN,
        metavar="SECONDS",
        help="after this time a host that hears nothing more takes all back by itself; the slowest host has to be "
        f"wired within it ({CONFIRM_WITHIN:g})",
    )


def _add_play(play: argparse.ArgumentParser, file_help: str) -> None:
    play.add_argument("file", metavar="FILE", help=file_help)
    play.add_argument("timeline", metavar="TIMELINE", help="epochs as JSON lines, or a folder of NetSatBench's epochs")
    play.add_argument("--create", action="store_true", help="make network namespaces that are missing")
    play.add_argument(
        "--dry-run",
        action="store_true",
        help="check the timeline, ask all hosts what would be wired, measure their clocks, and touch nothing",
    )
    _add_confirm_within(play)
    play.add_argument(
        "--lead",
        type=seconds,
        metavar="SECONDS",
        help="how long before its beginning the hosts get the timeline (default: by how long they took to check FILE)",
    )
    play.add_argument(
        "--lease",
        type=seconds,
        default=LEASE,
        metavar="SECONDS",
        help=f"after this time a host that hears nothing more ends by itself, and is given up ({LEASE:g})",
    )
    play.set_defaults(exit_code=False)


def _add_destroy(destroy: argparse.ArgumentParser) -> None:
    what = "a file, whose hosts are asked; or, with --inventory, the name of a lab"
    destroy.add_argument("source", metavar="FILE|LAB", help=what)
    destroy.set_defaults(create=False, place=None, place_by=None)
    destroy.add_argument("--hosts", metavar="FILE", help="a file with 'hosts', if FILE has none")
    _add_inventory(destroy)
    destroy.add_argument(
        "--force",
        action="store_true",
        help="also delete links of other labs that are in a namespace of this lab, or on its links",
    )


def _add_inventory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--inventory", metavar="INVENTORY", help="with LAB: the hosts, as an inventory of Ansible")


def _add_verify(verify: argparse.ArgumentParser) -> None:
    what = "a file, whose hosts are asked; or, with --inventory, the name of a lab, whose hosts are checked alone"
    verify.add_argument("source", metavar="FILE|LAB", help=what)
    verify.set_defaults(create=False)
    _add_inventory(verify)
    verify.add_argument(
        "--timeout",
        type=seconds,
        default=VERIFY_SECONDS,
        metavar="SECONDS",
        help=f"how long to wait for a frame at most ({VERIFY_SECONDS:g})",
    )
