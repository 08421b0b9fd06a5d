"""Read lists of edges: ``a b [delay [rate]]`` in lines, with blanks, tabs, commas or semicolons between."""

from __future__ import annotations

import re
from functools import lru_cache

from kokofast.importers.attributes import link_fields
from kokofast.importers.graph import Graph, at_line
from kokofast.importers.importer import Imported, Importer, Options, Source
from kokofast.topology.problems import Problem
from kokofast.topology.values import quote

EXTENSIONS = ("edges", "edgelist", "el", "txt", "tsv")
LINES = 20  # to look at
_COMMENT = re.compile(r"(^|\s)[#%].*")
_WANTED = {"delay": "a time such as 20ms, or a cost", "rate": "a rate such as 10mbit"}
_SEPARATOR = re.compile(r"\s*[,;\t]\s*|\s+")


def recognise(source: Source) -> bool:
    """Whether the extension is that of a list, and so are the first lines."""
    if source.extension not in EXTENSIONS or isinstance(source.tree, dict | list):
        return False
    lines = source.text.split("\n", LINES)[:LINES]
    return all(2 <= len(cells) <= 4 for line in lines if (cells := _cells(line)[0]) != [""])


def read(source: Source, options: Options) -> Imported:
    """Make a topology of the list."""
    return read_edges(source.text, source.title).imported(options)


def _cells(line: str) -> tuple[list[str], bool]:
    """Return the cells of a line, and whether it has attributes in braces, as networkx writes them."""
    line, brace, _ = _COMMENT.sub("", line).partition("{")
    return _SEPARATOR.split(line.strip().rstrip(",;")), bool(brace)


def read_edges(text: str, title: str) -> Graph:
    """Return the graph of a list of edges. A lone number behind the two nodes is a cost."""
    graph = Graph(title, has_nodes=False)
    for number, line in enumerate(text.split("\n"), 1):
        cells, brace = _cells(line)
        if cells == [""]:
            continue
        at = at_line(title, number)
        if not 2 <= len(cells) <= 4 or "" in cells[:2]:
            graph.problems.append(Problem(at(), f"{quote(line.strip())} is not an edge: a b [delay [rate]]"))
            continue
        attributes, wrong = _attributes_of(*cells[2:])
        if brace:
            attributes = {**attributes, "{...}": "{...}"}
        graph.problems += [Problem(at(), message) for message in wrong]
        graph.add_edge(cells[0], cells[1], attributes, at)
    return graph


@lru_cache(10_000)  # thousands of edges have the same few
def _attributes_of(*cells: str) -> tuple[dict[str, str], list[str]]:
    """Return the attributes of an edge, and what is wrong with them."""
    if len(cells) == 1 and "cost" in link_fields({"cost": cells[0]})[0]:
        return {"cost": cells[0]}, []
    attributes = {name: cell for name, cell in zip(("delay", "rate"), cells, strict=False) if cell}
    return attributes, [
        f"{quote(cell)} is not {_WANTED[name]}"
        for name, cell in attributes.items()
        if name not in link_fields({name: cell})[0]
    ]


IMPORTER = Importer("edges", "a list of edges", recognise, read)
