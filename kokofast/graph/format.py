"""The interface of a picture format to the rest of the package."""

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
        has_places: Whether a file has the places. If not, the program that shows it lays the graph out.
        endings: Endings of file names for this format, beside its own name.
        edges_max: How many links the programs for this format draw by default; 0 for any number.
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
