"""Random graphs. A seed gives the same graph on every version of Python.

Only Random.random() is used: of all methods its numbers alone are promised to stay (the documentation of the module
random, "Notes on Reproducibility"). What else is used, sets and sorting, does not depend on the version: the elements
of a set are only counted and looked up, or sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from kokofast.generators.shape import NODES, SEED, Edge, Shape, Size

Draw = Callable[[int], int]  # a number from 0 to below this one
Pair = tuple[int, int]


def _drawing(seed: int) -> Draw:
    random = Random(seed).random
    return lambda below: int(random() * below)


def _named(pairs: list[Pair]) -> Iterator[Edge]:
    return ((f"r{a}", f"r{b}") for a, b in pairs)


def _spanning_tree(draw: Draw, nodes: int) -> set[Pair]:
    """Return a random tree of all nodes, each as likely as any other.

    A random walk enters each node for the first time by a link of the tree: D. Aldous, "The random walk construction
    of uniform spanning trees and uniform labelled trees", SIAM J. Discrete Math. 3 (1990).
    """
    tree: set[Pair] = set()
    here = draw(nodes)
    seen = {here}
    while len(seen) < nodes:
        there = draw(nodes)
        if there not in seen:
            seen.add(there)
            tree.add((min(here, there), max(here, there)))
        here = there
    return tree


def _add_pairs(draw: Draw, nodes: int, count: int, pairs: set[Pair], other: set[Pair]) -> None:
    """Add random pairs of nodes, which neither set has, to the first set, until it has count."""
    while len(pairs) < count:
        a, b = draw(nodes), draw(nodes)
        pair = (min(a, b), max(a, b))
        if a != b and pair not in other:
            pairs.add(pair)


def _random(nodes: int, links: int, seed: int) -> Iterator[Edge]:
    draw = _drawing(seed)
    tree = _spanning_tree(draw, nodes)
    most = _pairs(nodes)
    if links <= most // 2:
        _add_pairs(draw, nodes, links, tree, set())
        return _named(sorted(tree))
    # Of nearly all pairs draw those that are left out: it takes too long to hit the last free ones.
    without: set[Pair] = set()
    _add_pairs(draw, nodes, most - links, without, tree)
    return _named([(a, b) for a in range(nodes) for b in range(a + 1, nodes) if (a, b) not in without])


def _pairs(nodes: int) -> int:
    return nodes * (nodes - 1) // 2


def _count_random(nodes: int, links: int, seed: int) -> int:
    if not nodes - 1 <= links <= _pairs(nodes):
        raise ValueError(
            f"{nodes} nodes take from {nodes - 1} links, so that all are connected, to {_pairs(nodes)}, not {links}"
        )
    return links


def _scale_free(nodes: int, attach: int, seed: int) -> Iterator[Edge]:
    """Yield the links of a graph that grows from a star, each new node linked to nodes by their number of links.

    A.-L. Barabasi, R. Albert, "Emergence of scaling in random networks", Science 286 (1999).
    """
    draw = _drawing(seed)
    pairs = [(0, number) for number in range(1, attach + 1)]
    ends = [end for pair in pairs for end in pair]  # each node as often as it has links
    for number in range(attach + 1, nodes):
        chosen: set[int] = set()
        while len(chosen) < attach:
            chosen.add(ends[draw(len(ends))])
        for other in sorted(chosen):
            pairs.append((other, number))
            ends += (other, number)
    return _named(pairs)


def _count_scale_free(nodes: int, attach: int, seed: int) -> int:
    if attach >= nodes:
        raise ValueError(f"a new node cannot have {attach} links: attach must be less than the {nodes} nodes")
    return attach * (nodes - attach)


RANDOM = Shape(
    "a random graph in which each node reaches each other",
    (NODES, Size("links", "how many links"), SEED),
    _count_random,
    _random,
)
SCALE_FREE = Shape(
    "a random graph by Barabasi and Albert: few nodes have many links",
    (NODES, Size("attach", "links of each new node", 1, 2), SEED),
    _count_scale_free,
    _scale_free,
)
