"""Read tables with a header that names two nodes: ``source,target,delay``."""

from __future__ import annotations

import csv
import io

from kokofast.importers.graph import Graph, at_line
from kokofast.importers.importer import Imported, Importer, Options, Source
from kokofast.topology.problems import Problem, TopologyError
from kokofast.topology.read_csv import DELIMITERS

ENDS = (
    ("source", "target"),
    ("src", "dst"),
    ("from", "to"),
    ("node1", "node2"),
    ("source", "destination"),
    ("u", "v"),
)


def recognise(source: Source) -> bool:
    """Whether the header names two nodes."""
    return not isinstance(source.tree, dict | list) and header_of(source.text) is not None


def read(source: Source, options: Options) -> Imported:
    """Make a topology of the table."""
    return read_table(source.text, source.title).imported(options)


def header_of(text: str) -> tuple[str, int, int] | None:
    """Return the delimiter of a table, and the columns of the two nodes; None if its header does not name them."""
    first = text.lstrip().partition("\n")[0]
    for delimiter in DELIMITERS:
        names = [cell.strip(' \r"').lower() for cell in first.split(delimiter)]
        for one, other in ENDS:
            if one in names and other in names:
                return delimiter, names.index(one), names.index(other)
    return None


def read_table(text: str, title: str) -> Graph:
    """Return the graph of a table whose header names two nodes."""
    found = header_of(text)
    if found is None:
        raise TopologyError([Problem(f"{title}:1", "the header has no columns such as 'source,target'")])
    delimiter, *ends = found
    graph = Graph(title, has_nodes=False)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    header: list[str] = []
    while True:
        at = at_line(title, rows.line_num + 1)
        try:
            cells = [cell.strip() for cell in next(rows)]
        except StopIteration:
            return graph
        except csv.Error as error:
            graph.problems.append(Problem(at(), f"not CSV: {error}"))
            return graph
        if not any(cells):
            continue
        if not header:
            header = cells
        elif len(cells) != len(header):
            graph.problems.append(Problem(at(), f"has {len(cells)} cells, the header has {len(header)}"))
        elif not cells[ends[0]] or not cells[ends[1]]:
            graph.problems.append(Problem(at(), "this edge needs two nodes"))
        else:
            rest = {
                name: cell for column, (name, cell) in enumerate(zip(header, cells, strict=True)) if column not in ends
            }
            graph.add_edge(cells[ends[0]], cells[ends[1]], rest, at)


IMPORTER = Importer("table", "a table of edges", recognise, read)
