"""What each format of a picture has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kokofast.graph.model import Graph

    Places = Sequence[tuple[float, float]]


class Format:
    """One format.

    Args:
        write: Yields the lines of a file, given the graph and the places of its vertices.
        has_places: Whether the format needs the places: without them it is drawn by the program that shows it.
        endings: Of file names, beside the name of the format.
        edges_max: How many links the programs that show it draw, by default; 0 for any number.
    """

    __slots__ = ("edges_max", "endings", "has_places", "write")

    def __init__(
        self,
        write: Callable[[Graph, Places], Iterator[str]],
        *,
        has_places: bool = True,
        endings: Sequence[str] = (),
        edges_max: int = 0,
    ) -> None:
        self.write = write
        self.has_places = has_places
        self.endings = endings
        self.edges_max = edges_max
