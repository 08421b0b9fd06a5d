"""Lay out graphs of a known shape: chains and rings in rows, and leaves around the vertex that they are linked to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Point = tuple[float, float]

ASPECT = 1.4  # width to height
SECTOR = 0.7 * math.pi  # the directions away from the neighbours


def in_rows(count: int, stretch: float) -> list[Point]:
    """Return the places of a chain, in rows alternately to the right and to the left. stretch is a column's width."""
    width = max(math.ceil(math.sqrt(count * ASPECT / stretch)), min(count, 8))
    places = []
    for number in range(count):
        row, column = divmod(number, width)
        places.append((stretch * (width - 1 - column if row % 2 else column), float(row)))
    return places


def in_closed_rows(count: int) -> list[Point]:
    """Return the places of a long ring: rows like a chain's, and a column on the left that leads back to the first."""
    rows = 2 * math.ceil(math.sqrt(count / ASPECT) / 2)
    width = math.ceil(count / rows)
    lacking = width * rows - count
    # If there are more places than vertices, the last two rows are shorter on the right.
    ends = [width] * (rows - 2) + [width - lacking // 2, width - (lacking - lacking // 2)]
    places: list[Point] = [(0.0, 0.0)]
    for row, end in enumerate(ends):
        columns = range(1, end)
        places += [(float(column), float(row)) for column in (reversed(columns) if row % 2 else columns)]
    return places + [(0.0, float(row)) for row in range(rows - 1, 0, -1)]


def rings_of(leaves: int, sector: float) -> list[int]:
    """Return how many leaves are on each arc around their vertex; the arcs have the radii 1, 2, ..."""
    rings: list[int] = []
    while leaves:
        room = max(math.floor(sector * (len(rings) + 1)), 1)
        rings.append(min(room, leaves))
        leaves -= rings[-1]
    return rings


def with_leaves(
    core: Mapping[int, Point], neighbours: Mapping[int, Sequence[int]], leaves: Mapping[int, Sequence[int]]
) -> dict[int, Point]:
    """Add the leaves to a graph whose core is laid out: around their vertices, on the side away from its neighbours.

    Returns the places of all vertices.

    Args:
        core: The places of the core.
        neighbours: The neighbours in the core of each of its vertices.
        leaves: The leaves of each vertex of the core that has some.
    """
    alone = len(core) == 1
    sector = 2 * math.pi if alone else SECTOR
    rings = {vertex: rings_of(len(some), sector) for vertex, some in leaves.items()}
    reach = {vertex: len(rings.get(vertex, ())) for vertex in core}
    factor = max((1 + reach[one] + reach[other] for one in core for other in neighbours[one]), default=1)
    places = {vertex: (x * factor, y * factor) for vertex, (x, y) in core.items()}
    middle = [sum(place[axis] for place in places.values()) / len(places) for axis in range(2)]
    for vertex, some in leaves.items():
        x, y = places[vertex]
        away = [x - middle[0], y - middle[1]]
        for other in neighbours[vertex]:
            length = math.dist(places[vertex], places[other]) or 1.0
            away[0] += 1000 * (x - places[other][0]) / length
            away[1] += 1000 * (y - places[other][1]) / length
        direction = math.atan2(away[1], away[0])
        left = list(some)
        for number, many in enumerate(rings[vertex]):
            step = sector / many
            for at in range(many):
                angle = direction + (at + 0.5) * step - sector / 2
                places[left.pop()] = (x + (number + 1) * math.cos(angle), y + (number + 1) * math.sin(angle))
    return places
