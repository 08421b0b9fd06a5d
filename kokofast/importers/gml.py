"""Read GML (Graph Modelling Language), as the Internet Topology Zoo has it.

A reader of our own: networkx refuses 112 of the Zoo's 261 files, as labels are there more than once, and none tells
the lines of nodes and edges. The grammar is that of M. Himsolt, "GML: A portable Graph File Format" (1997): keys with
numbers, texts or lists of keys in brackets.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from kokofast.importers.graph import Graph, Lines
from kokofast.importers.importer import Imported, Importer, Options, Source
from kokofast.topology.document import DEPTH_MAX
from kokofast.topology.problems import Problem, TopologyError
from kokofast.topology.values import quote

_BEGINNING = re.compile(r"(?:\s|#[^\n]*\n|(?:Creator|comment|Version)[ \t]+[^\n\[]*\n)*graph\s*\[", re.IGNORECASE)
_TOKEN = re.compile(r'\s+|#[^\n]*|(?P<text>"[^"]*")|(?P<mark>[\[\]])|(?P<word>[^\s\[\]"#]+)')
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

Entries = list[tuple[str, object, int]]  # key, value, offset of the key


def recognise(source: Source) -> bool:
    """Whether it begins as GML, with the keys that programs write before the graph."""
    return _BEGINNING.match(source.text) is not None


def read(source: Source, options: Options) -> Imported:
    """Make a topology of the graph."""
    return read_gml(source.text, source.title).imported(options)


def read_gml(text: str, title: str) -> Graph:
    """Return the graph of a GML file. Raises TopologyError if it is none."""
    lines = Lines(text, title)
    tops = _parse(text, lines)
    found = [(value, offset) for key, value, offset in tops if key.lower() == "graph" and isinstance(value, list)]
    if not found:
        raise TopologyError([Problem(title, "not GML: there is no 'graph ['")])
    graph = Graph(title, has_nodes=True)
    if len(found) > 1:
        graph.problems.append(Problem(lines.at(found[1][1])(), "a second graph in the file; there can be one"))
    entries: Entries = found[0][0]
    graph.directed = any(key == "directed" and value == "1" for key, value, _ in entries)
    for key, value, offset in entries:
        if key == "node" and isinstance(value, list):
            node = _attributes(value)
            name = node.get("id")
            if name is None:
                graph.problems.append(Problem(lines.at(offset)(), "this node has no id"))
            else:
                graph.add_node(str(name), node, lines.at(offset))
    for key, value, offset in entries:
        if key == "edge" and isinstance(value, list):
            edge = _attributes(value)
            ends = [edge.pop("source", None), edge.pop("target", None)]
            if None in ends:
                graph.problems.append(Problem(lines.at(offset)(), "this edge needs a source and a target"))
            else:
                graph.add_edge(str(ends[0]), str(ends[1]), edge, lines.at(offset))
    return graph


def _attributes(entries: Entries) -> dict[str, object]:
    """Return the attributes of a node or an edge; of a list only that it is there."""
    return {key: "[...]" if isinstance(value, list) else value for key, value, _ in entries}


def _parse(text: str, lines: Lines) -> Entries:
    tops: Entries = []
    stack: list[Entries] = [tops]
    opened: list[int] = []
    key, key_at = "", 0
    for kind, token, at in _tokens(text, lines):
        if token == "]" and kind == "mark":
            if key or not opened:
                raise _refuse(lines, at, f"the key {quote(key)} has no value" if key else "a ']' without its '['")
            stack.pop()
            opened.pop()
        elif not key:
            if kind != "word" or not _KEY.fullmatch(token):
                raise _refuse(lines, at, f"a key is expected here, not {quote(token)}")
            key, key_at = token, at
        elif kind == "mark":
            if len(stack) > DEPTH_MAX:
                raise _refuse(lines, at, f"nested more than {DEPTH_MAX} deep")
            inner: Entries = []
            stack[-1].append((key, inner, key_at))
            stack.append(inner)
            opened.append(at)
            key = ""
        else:
            value = html.unescape(token[1:-1]) if kind == "text" else token
            stack[-1].append((key, value, key_at))
            key = ""
    if key or opened:
        raise _refuse(lines, opened[-1] if opened else key_at, "the file ends before this does")
    return tops


def _tokens(text: str, lines: Lines) -> Iterator[tuple[str, str, int]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:  # only a quotation mark has no other reading
            raise _refuse(lines, at, "a text without its closing quotation mark")
        if found.lastgroup:
            yield found.lastgroup, found[0], at
        at = found.end()


def _refuse(lines: Lines, offset: int, message: str) -> TopologyError:
    return TopologyError([Problem(lines.at(offset)(), f"not GML: {message}")])


IMPORTER = Importer("gml", "a graph in GML", recognise, read, has_positions=True)
