"""Where the vertices of a graph are drawn. The only module that imports igraph.

Each connected part is laid out by itself, and the parts are put beside each other. A part begins as its distances show
it (pivot multidimensional scaling, Brandes and Pich 2006), and igraph moves its vertices to better places: from random
places a large grid would stay a tangle.
"""

from __future__ import annotations

import math
import random
from operator import mul
from statistics import median
from typing import TYPE_CHECKING, Any

from kokofast.graph.arrange import ASPECT, in_closed_rows, in_rows, with_leaves
from kokofast.graph.labels import name_width, spacing_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kokofast.graph.model import Graph

    Point = tuple[float, float]

SEED = 1
PIVOTS = 24
ROUNDS = 100  # of the power iteration
# Up to so many vertices; the time of the first grows with their cube, that of the second with their square.
SPRINGS_MAX = 300
FORCES_MAX = 1500
MARGIN = 1.0  # between two parts; two neighbours have a distance of about 1
HIGH = 0.32  # the height of the name of a vertex
LINK = 0.5  # the least that shows of a link between two names
GAP = 10  # pixels between two names
STRETCH_MAX = 2.0  # of a chain, for the sake of names
APART_ROUNDS = 30
EPSILON = 1e-6
RING_MAX = 60  # a ring of more vertices is drawn in rows


def places_of(graph: Graph) -> list[Point]:
    """Return the place of each vertex, from (0, 0) on: the same for the same graph.

    Raises:
        ImportError: igraph is not installed.
    """
    import igraph

    pairs = sorted({(min(edge[:2]), max(edge[:2])) for edge in graph.edges if edge.first != edge.second})
    spacing = spacing_of(len(graph.vertices))
    widths = [(name_width(vertex.name) + GAP) / spacing for vertex in graph.vertices]
    whole = igraph.Graph(len(graph.vertices), pairs)
    igraph.set_random_number_generator(random.Random(SEED))
    try:
        parts = [
            (members, _lay_out(whole.subgraph(members), [widths[vertex] for vertex in members]))
            for members in whole.connected_components()
        ]
    finally:
        igraph.set_random_number_generator(random)
    places: list[Point] = [(0.0, 0.0)] * len(graph.vertices)
    moves = _pack([_size(points) for _, points in parts])
    for (members, points), (x, y) in zip(parts, moves, strict=True):
        for vertex, (dx, dy) in zip(members, points, strict=True):
            places[vertex] = (x + dx, y + dy)
    return places


def _lay_out(part: Any, widths: Sequence[float]) -> list[Point]:
    """Return the places of a connected part, from (0, 0) on."""
    count = part.vcount()
    if max(part.degree(), default=0) <= 2 and (part.ecount() < count or count > RING_MAX):
        return _in_rows(part, max(widths))
    if count > FORCES_MAX:
        leaves = [vertex for vertex, degree in enumerate(part.degree()) if degree == 1]
        if 2 * len(leaves) >= count:
            return _around(part, set(leaves), widths)
    points = _scaled(part, _by_distances(part))
    drawn = random.Random(SEED)
    # Vertices with the same distances, such as the leaves of a star, are at the same place.
    points = [(x + drawn.uniform(-0.1, 0.1), y + drawn.uniform(-0.1, 0.1)) for x, y in points]
    if count <= SPRINGS_MAX:
        found = part.layout_kamada_kawai(seed=points)
    elif count <= FORCES_MAX:
        found = part.layout_fruchterman_reingold(seed=points, niter=300, start_temp=3, grid=False)
    else:
        found = part.layout_fruchterman_reingold(seed=points, niter=60, start_temp=1, grid=True)
    points = _scaled(part, [(x, y) for x, y in found])
    return _at_zero(_apart(part, points, widths)) if count <= SPRINGS_MAX else points


def _apart(part: Any, points: list[Point], widths: Sequence[float]) -> list[Point]:
    """Move vertices that are so close that their names would overlap, or that a link between them would not show."""
    linked = {(max(pair), min(pair)) for pair in part.get_edgelist()}
    xs, ys = ([point[axis] for point in points] for axis in range(2))
    for _ in range(APART_ROUNDS):
        moved = False
        for one in range(len(points)):
            for other in range(one):
                dx, dy = xs[one] - xs[other], ys[one] - ys[other]
                gap = LINK if (one, other) in linked else 0.0
                wide, high = (widths[one] + widths[other]) / 2 + gap, HIGH + gap
                if abs(dx) < wide and abs(dy) < high:
                    moved = True
                    # In the direction that needs less, relative to the size.
                    if abs(dx) / wide > abs(dy) / high:
                        step = math.copysign((wide - abs(dx)) / 2 + EPSILON, dx)
                        xs[one], xs[other] = xs[one] + step, xs[other] - step
                    else:
                        step = math.copysign((high - abs(dy)) / 2 + EPSILON, dy)
                        ys[one], ys[other] = ys[one] + step, ys[other] - step
        if not moved:
            break
    return list(zip(xs, ys, strict=True))


def _in_rows(part: Any, widest: float) -> list[Point]:
    """Return the places of a chain or a ring."""
    count, degrees = part.vcount(), part.degree()
    is_ring = part.ecount() == count
    order, _ = part.dfs(0 if is_ring else degrees.index(min(degrees)))
    found = in_closed_rows(count) if is_ring else in_rows(count, min(max(widest, 1.0), STRETCH_MAX))
    places: list[Point] = [(0.0, 0.0)] * count
    for vertex, place in zip(order, found, strict=True):
        places[vertex] = place
    return places


def _around(part: Any, leaves: set[int], widths: Sequence[float]) -> list[Point]:
    """Return the places of a part that is leaves for the most part: their distances tell little of them."""
    kept = [vertex for vertex in range(part.vcount()) if vertex not in leaves]
    points = _lay_out(part.subgraph(kept), [widths[vertex] for vertex in kept])
    neighbours = dict(enumerate(part.get_adjlist()))
    places = with_leaves(
        dict(zip(kept, points, strict=True)),
        {vertex: [other for other in neighbours[vertex] if other not in leaves] for vertex in kept},
        {vertex: found for vertex in kept if (found := [one for one in neighbours[vertex] if one in leaves])},
    )
    return _at_zero([places[vertex] for vertex in range(part.vcount())])


def _by_distances(part: Any) -> list[Point]:
    """Return places whose distances are like those in the graph, by the distances to some vertices far apart."""
    first = part.distances(source=[0])[0]
    rows: list[list[float]] = []
    nearest = [math.inf] * part.vcount()
    pivot = first.index(max(first))
    while len(rows) < PIVOTS and nearest[pivot]:
        rows.append(part.distances(source=[pivot])[0])
        nearest = list(map(min, nearest, rows[-1]))
        pivot = nearest.index(max(nearest))
    squares = [[one * one for one in row] for row in rows]
    of_vertices = [sum(column) / len(rows) for column in zip(*squares, strict=True)]
    whole = sum(of_vertices) / len(of_vertices)
    centred = []
    for row in squares:
        shift = whole - sum(row) / len(row)
        centred.append([-(one - mean + shift) / 2 for one, mean in zip(row, of_vertices, strict=True)])
    products = [[sum(map(mul, one, other)) for other in centred] for one in centred]
    x, y = (_project(centred, vector) for vector in _two_main_vectors(products))
    return list(zip(x, y, strict=True))


def _project(rows: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(map(mul, column, vector)) for column in zip(*rows, strict=True)]


def _two_main_vectors(matrix: list[list[float]]) -> Iterable[list[float]]:
    """Yield the eigenvectors of the two largest eigenvalues of a symmetric matrix, by power iteration."""
    for _ in range(2):
        vector = [1.0 + number * 0.37 % 1 for number in range(len(matrix))]
        length = 0.0
        for _ in range(ROUNDS):
            vector = [sum(map(mul, row, vector)) for row in matrix]
            length = math.hypot(*vector)
            vector = [one / length for one in vector] if length else vector
        yield vector
        matrix = [
            [one - length * a * b for one, b in zip(row, vector, strict=True)]
            for row, a in zip(matrix, vector, strict=True)
        ]


def _scaled(part: Any, points: list[Point]) -> list[Point]:
    """Move places to (0, 0), with edges of about the length 1 and room of 1 x 1 for each vertex."""
    points = _at_zero(points)
    count = len(points)
    width, height = _size(points)
    wide, narrow = max(width, height), min(width, height)
    edge = median(math.dist(points[one], points[other]) for one, other in part.get_edgelist())
    area = wide * max(narrow, wide / count)
    scale = max(1 / edge if edge else 0.0, math.sqrt(count / area) if area else 0.0) or 1.0
    return [(x * scale, y * scale) for x, y in points]


def _at_zero(points: list[Point]) -> list[Point]:
    left, top = min(x for x, _ in points), min(y for _, y in points)
    return [(x - left, y - top) for x, y in points]


def _size(points: Sequence[Point]) -> Point:
    return max(x for x, _ in points), max(y for _, y in points)


def _pack(sizes: Sequence[Point]) -> list[Point]:
    """Return where each of these rectangles begins: in rows, the highest ones first."""
    area = sum((width + MARGIN) * (height + MARGIN) for width, height in sizes)
    limit = max(math.sqrt(area * ASPECT), max((width for width, _ in sizes), default=0.0) + MARGIN)
    places: list[Point] = [(0.0, 0.0)] * len(sizes)
    x = y = row = 0.0
    for number in sorted(range(len(sizes)), key=lambda number: (-sizes[number][1], -sizes[number][0], number)):
        width, height = sizes[number]
        if x and x + width + MARGIN > limit:
            x, y, row = 0.0, y + row, 0.0
        places[number] = (x, y)
        x += width + MARGIN
        row = max(row, height + MARGIN)
    return places
