"""The text of a picture: where its vertices are, if the format has places, and how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.graph import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.graph.model import Graph


def picture(graph: Graph, format: str) -> Iterator[str]:
    """Return the parts of a file in one of FORMATS.

    Raises:
        ImportError: The format has places, and the library that finds them is not installed. The text says so.
    """
    found = FORMATS[format]
    places: list[tuple[float, float]] = []
    if found.has_places:
        from kokofast.graph.layout import places_of

        try:
            places = places_of(graph)
        except ImportError:
            others = " and ".join(name for name, one in FORMATS.items() if not one.has_places)
            words = f"{format} needs igraph: pip install 'kokofast[graph]'; the formats {others} do without"
            raise ImportError(words) from None
    return found.write(graph, places)
