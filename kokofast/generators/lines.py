"""Chain, ring, star, tree and full mesh."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from kokofast.generators.shape import NODES, Edge, Shape, Size
from kokofast.topology.document import LINKS_MAX


def _line(links: int) -> Iterator[Edge]:
    """Yield the links of r0, r1, ...: each node has eth0 to the one before and eth1 to the next."""
    return ((f"r{number}:eth1", f"r{number + 1}:eth0") for number in range(links))


def _ring(nodes: int) -> Iterator[Edge]:
    yield from _line(nodes - 1)
    yield f"r{nodes - 1}:eth1", "r0:eth0"


def _star(spokes: int) -> Iterator[Edge]:
    return (("hub", f"spoke{number}") for number in range(1, spokes + 1))


def _tree_nodes(depth: int, fanout: int) -> int:
    # Level by level: the formula takes too long with a depth of a thousand million.
    nodes = level = 1
    for _ in range(depth):
        level *= fanout
        nodes += level
        if nodes > LINKS_MAX + 1:
            raise ValueError(f"this tree has more links than a file may have, {LINKS_MAX}")
    return nodes


def _tree(depth: int, fanout: int) -> Iterator[Edge]:
    """Yield the links from the root r0 downwards, level by level: eth0 of a child leads to its parent."""
    return ((f"r{(child - 1) // fanout}", f"r{child}") for child in range(1, _tree_nodes(depth, fanout)))


CHAIN = Shape(
    "namespaces r0, r1 and so on, each linked to the next",
    (Size("links", "how many links"),),
    lambda links: links,
    _line,
)
RING = Shape(
    "a chain whose last node is linked to the first one",
    (NODES._replace(lowest=3),),
    lambda nodes: nodes,
    _ring,
)
STAR = Shape(
    "the node hub, linked to spoke1, spoke2 and so on",
    (Size("spokes", "how many nodes around the hub"),),
    lambda spokes: spokes,
    _star,
)
TREE = Shape(
    "a tree with the root r0, each node linked to the same number of nodes below it",
    (Size("depth", "levels below the root"), Size("fanout", "nodes below each node", 1, 2)),
    lambda depth, fanout: _tree_nodes(depth, fanout) - 1,
    _tree,
)
MESH = Shape(
    "a full mesh: each node is linked to each other",
    (NODES,),
    lambda nodes: nodes * (nodes - 1) // 2,
    lambda nodes: combinations((f"r{number}" for number in range(nodes)), 2),
)
