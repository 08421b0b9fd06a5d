"""Which labels have room: the boxes of those that are shown do not overlap."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Box = tuple[float, float, float, float]  # left, top, right, bottom

CELL = 64.0
SIZE = 12  # of the letters of a name
PADDING = 14  # beside a name, both sides together
NAME_MAX = 24  # letters of a name that are shown
# Pixels between two neighbours in a picture of up to so many vertices.
SPACINGS = ((60, 120), (600, 84), (math.inf, 56))
WIDE = 0x1100  # from here on scripts whose letters are as wide as high


def width_of(text: str, size: float) -> float:
    """Return about how wide a text is in a font of this size. The font is not known: rather more than less."""
    return size * sum(1.05 if ord(char) >= WIDE else 0.62 for char in text)


def shortened(text: str, most: int = NAME_MAX) -> str:
    """Return a label of at most so many letters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def name_width(name: str) -> float:
    """Return how wide a vertex with this name is."""
    return width_of(shortened(name), SIZE) + PADDING


def spacing_of(count: int) -> int:
    """Return the pixels between two neighbours in a picture of so many vertices."""
    return next(pixels for most, pixels in SPACINGS if count <= most)


def around(x: float, y: float, width: float, height: float) -> Box:
    """Return the box with this middle."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


class Room:
    """The boxes that are taken, and the points that nothing may cover."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self._boxes: dict[tuple[int, int], list[Box]] = {}
        self._points: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for point in points:
            self._points.setdefault((int(point[0] // CELL), int(point[1] // CELL)), []).append(point)

    def take(self, box: Box, own: tuple[float, float] | None = None, *, covers: bool = False) -> bool:
        """Take the box if it is free; return whether it was. It may cover one point, own, or any if covers is set."""
        left, top, right, bottom = box
        cells = list(_cells(box))
        for cell in cells:
            for other in self._boxes.get(cell, ()):
                if other[0] < right and left < other[2] and other[1] < bottom and top < other[3]:
                    return False
            for point in () if covers else self._points.get(cell, ()):
                if left < point[0] < right and top < point[1] < bottom and point != own:
                    return False
        for cell in cells:
            self._boxes.setdefault(cell, []).append(box)
        return True


def _cells(box: Box) -> Iterator[tuple[int, int]]:
    left, top, right, bottom = (int(side // CELL) for side in box)
    return ((column, row) for column in range(left, right + 1) for row in range(top, bottom + 1))


def by_degree(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the vertices in the order in which they get their labels: those with many links first."""
    degrees = Counter(vertex for edge in edges for vertex in edge)
    return sorted(range(count), key=lambda vertex: (-degrees[vertex], vertex))
