"""generate: the shapes, and the lines that each prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kokofast.topology import dump_csv, dump_json, generate_chain
from kokofast.topology.document import LINKS_MAX

if TYPE_CHECKING:
    import argparse


def lines(options: argparse.Namespace) -> Iterator[str]:
    """Return what to print. Raises ValueError when the options make no sense."""
    return _SHAPES[options.shape](options)


def _check_size(links: int) -> None:
    if links > LINKS_MAX:
        raise ValueError(f"{links} links are more than a file may have, {LINKS_MAX}")


def _chain(options: argparse.Namespace) -> Iterator[str]:
    _check_size(options.links)
    chain = generate_chain(options.links, options.subnet)
    return dump_csv(chain) if options.format == "csv" else dump_json(chain)


def _walker(options: argparse.Namespace) -> Iterator[str]:
    from kokofast.topology.orbits import Constellation
    from kokofast.topology.walker import Walker, parse_station

    _check_size(2 * options.planes * options.satellites + len(options.ground))
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


_SHAPES: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {"chain": _chain, "walker": _walker}
