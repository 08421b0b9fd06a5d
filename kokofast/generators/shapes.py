"""The shapes by their names, in the order of --help. A new one is a line here, and its functions in a module."""

from __future__ import annotations

from kokofast.generators import fabrics, graphs, grids, lines
from kokofast.generators.shape import Shape

SHAPES: dict[str, Shape] = {
    "chain": lines.CHAIN,
    "ring": lines.RING,
    "star": lines.STAR,
    "tree": lines.TREE,
    "mesh": lines.MESH,
    "grid": grids.GRID,
    "torus": grids.TORUS,
    "leaf-spine": fabrics.LEAF_SPINE,
    "fat-tree": fabrics.FAT_TREE,
    "random": graphs.RANDOM,
    "scale-free": graphs.SCALE_FREE,
}
