"""What a shape is: the sizes that it takes, how many links it has, and which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

# The two ends of a link: "node:interface", or "node" for the node's next interface, eth0, eth1, ...
Edge = tuple[str, str]


REQUIRED = -1


class Size(NamedTuple):
    """A size of a shape, an option of the command line and an argument of the library.

    Attributes:
        name: Without dashes.
        help: Of the option.
        lowest: What it is at least.
        default: REQUIRED if it must be given; None if it depends on the other sizes, as the help says.
    """

    name: str
    help: str
    lowest: int = 1
    default: int | None = REQUIRED


class Shape(NamedTuple):
    """A family of graphs.

    Attributes:
        summary: What it is, for --help.
        sizes: What it takes.
        count: Return how many links it has, from the sizes. Raises ValueError when they make no graph.
        edges: Yield its links, from the sizes. The same sizes give the same links, always.
    """

    summary: str
    sizes: tuple[Size, ...]
    count: Callable[..., int]
    edges: Callable[..., Iterator[Edge]]


NODES = Size("nodes", "how many nodes", 2)
SEED = Size("seed", "another number gives another graph", 0, 0)
