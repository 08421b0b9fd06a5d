"""generate: the lines that each shape prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kokofast.generators.shapes import SHAPES
from kokofast.generators.wiring import check_links, generate_lazily
from kokofast.topology.write import WRITERS, dump_json

if TYPE_CHECKING:
    import argparse


def lines(options: argparse.Namespace) -> Iterator[str]:
    """Return what to print. Raises ValueError when the options make no sense."""
    return _walker(options) if options.shape == "walker" else _shape(options)


def _shape(options: argparse.Namespace) -> Iterator[str]:
    given = {size.name: getattr(options, size.name) for size in SHAPES[options.shape].sizes}
    topology = generate_lazily(
        options.shape,
        subnet=options.subnet,
        delay=options.delay,
        rate=options.rate,
        prefix=options.prefix,
        **{name: value for name, value in given.items() if value is not None},
    )
    return WRITERS[options.format](topology)


def _walker(options: argparse.Namespace) -> Iterator[str]:
    from kokofast.generators.orbits import Constellation
    from kokofast.generators.walker import Walker, parse_station

    check_links(2 * options.planes * options.satellites + len(options.ground))
    if options.step is not None and options.timeline is None:
        raise ValueError("--step goes with --timeline")
    walker = Walker(
        Constellation(
            options.planes,
            options.satellites,
            options.altitude,
            options.inclination,
            options.phasing,
            star=options.pattern == "star",
        ),
        [parse_station(text) for text in options.ground],
        elevation_min=options.elevation,
        rate=options.rate,
        subnet=options.subnet,
    )
    if options.timeline is None:
        return dump_json(walker.topology())
    return (json.dumps(epoch) for epoch in walker.timeline(options.timeline, options.step or 1.0))
