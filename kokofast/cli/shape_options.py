"""The options of generate: a command for each shape."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from kokofast.cli.arguments import add_command, number, positive, seconds, whole
from kokofast.generators.shape import REQUIRED
from kokofast.generators.shapes import SHAPES
from kokofast.generators.wiring import DEFAULT_SUBNET
from kokofast.topology.write import WRITERS

if TYPE_CHECKING:
    from kokofast.generators.shape import Shape

NO_SUBNET = "none"
EXAMPLE = "kokofast generate leaf-spine --leaves 4 --spines 2 --hosts 2 | kokofast batch - --create"


def add_shapes(generate: argparse.ArgumentParser) -> None:
    """Add the shapes."""
    generate.epilog = f"example: {EXAMPLE}"
    shapes = generate.add_subparsers(dest="shape", metavar="SHAPE", required=True, prog=generate.prog)
    for name, shape in SHAPES.items():
        add_command(shapes, name, shape.summary, partial(_add_shape, shape))
    does = "a Walker constellation of satellites, and how it changes with time"
    add_command(shapes, "walker", does, _add_walker)


def _add_shape(shape: Shape, parser: argparse.ArgumentParser) -> None:
    for size in shape.sizes:
        default = f" ({size.default})" if size.default not in (REQUIRED, None) else ""
        parser.add_argument(
            f"--{size.name}",
            type=partial(_size, size.lowest),
            required=size.default == REQUIRED,
            metavar="N",
            help=f"{size.help}{default}",
        )
    add = parser.add_argument
    add("--prefix", default="", metavar="TEXT", help="begins the name of each node")
    add("--delay", metavar="TIME", help="the delay of each link, such as 10ms")
    add("--rate", metavar="RATE", help="the rate of each link, such as 1gbit")
    _add_subnet(parser)
    add("--format", choices=WRITERS, default="json", help="the format of the file (json)")


def _size(lowest: int, text: str) -> int:
    return whole(text, lowest)


def _subnet(text: str) -> str | None:
    return None if text == NO_SUBNET else text


def _add_subnet(shape: argparse.ArgumentParser) -> None:
    shape.add_argument(
        "--subnet",
        type=_subnet,
        metavar="NET",
        default=DEFAULT_SUBNET,
        help=f"addresses come from here ({DEFAULT_SUBNET}); {NO_SUBNET}: no addresses",
    )


def _add_walker(walker: argparse.ArgumentParser) -> None:
    add = walker.add_argument
    add("--planes", type=positive, required=True, metavar="P", help="orbital planes")
    add("--satellites", type=positive, required=True, metavar="N", help="satellites in each plane")
    add("--altitude", type=number, required=True, metavar="KM", help="kilometres above the equator")
    add("--inclination", type=number, required=True, metavar="DEGREES", help="of the planes, against the equator")
    add("--phasing", type=whole, default=0, metavar="F", help="the F of i:T/P/F, from 0 to P - 1 (0)")
    add("--pattern", choices=("delta", "star"), default="delta", help="planes spread over 360 or 180 degrees (delta)")
    add("--ground", action="append", default=[], metavar="NAME:LAT:LON", help="a ground station; may be repeated")
    add("--elevation", type=number, default=25.0, metavar="DEGREES", help="stations see what is higher than this (25)")
    add("--rate", metavar="RATE", help="the rate of each link, such as 1gbit")
    add("--timeline", type=seconds, metavar="SECONDS", help="print the changes within this time, not the topology")
    add("--step", type=seconds, metavar="SECONDS", help="with --timeline: the time between two changes (1)")
    _add_subnet(walker)
