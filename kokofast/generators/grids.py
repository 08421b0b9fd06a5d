"""Grid and torus: rows and columns. Row 2, column 3 is the node r2-3; both numbers begin with 0."""

from __future__ import annotations

from collections.abc import Iterator

from kokofast.generators.shape import Edge, Shape, Size


def _cells(rows: int, columns: int, *, closed: bool) -> Iterator[Edge]:
    """Yield the links of each node to the next one of its row and of its column; closed: the last to the first, too."""
    for row in range(rows):
        for column in range(columns):
            if closed or column + 1 < columns:
                yield f"r{row}-{column}", f"r{row}-{(column + 1) % columns}"
            if closed or row + 1 < rows:
                yield f"r{row}-{column}", f"r{(row + 1) % rows}-{column}"


def _check_grid(rows: int, columns: int) -> int:
    if rows * columns < 2:
        raise ValueError("a grid has at least 2 nodes: give more rows or columns than 1")
    return rows * (columns - 1) + (rows - 1) * columns


GRID = Shape(
    "rows and columns of nodes, each linked to its neighbours",
    (Size("rows", "how many rows"), Size("columns", "how many columns")),
    _check_grid,
    lambda rows, columns: _cells(rows, columns, closed=False),
)
TORUS = Shape(
    "a grid whose rows and columns are rings",
    (Size("rows", "how many rows", 3), Size("columns", "how many columns", 3)),
    lambda rows, columns: 2 * rows * columns,
    lambda rows, columns: _cells(rows, columns, closed=True),
)
