"""Read GraphML, also as yEd and the Internet Topology Zoo have it.

By expat of the standard library. Documents that declare entities are refused: a few lines of them can stand for
gigabytes. Nothing outside the file is ever read.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from kokofast.importers.graph import At, Graph
from kokofast.importers.importer import Imported, Importer, Options, Source
from kokofast.topology.problems import Problem, TopologyError
from kokofast.topology.values import quote

_BEGINNING = re.compile(
    r"\s*(?:<\?[^>]*>\s*|<!--(?:(?!-->).)*-->\s*|<!DOCTYPE\s[^>\[]*>\s*)*<(?:\w+:)?graphml\b", re.DOTALL
)
XML_DEPTH_MAX = 64
LEFT_OUT = {"hyperedge": "hyperedges, which join several nodes", "port": "ports of nodes"}


def recognise(source: Source) -> bool:
    """Whether its first element is <graphml>."""
    return source.text.lstrip()[:1] == "<" and _BEGINNING.match(source.text) is not None


def read(source: Source, options: Options) -> Imported:
    """Make a topology of the graph."""
    return read_graphml(source.text, source.title).imported(options)


def read_graphml(text: str, title: str) -> Graph:
    """Return the graph of a GraphML file. Raises TopologyError if it is none."""
    reader = _Reader(title)
    try:
        reader.parser.Parse(text.encode(errors="surrogatepass"), True)
    except expat.ExpatError as error:
        words = expat.errors.messages.get(error.code, "cannot be read")
        raise TopologyError([Problem(f"{title}:{error.lineno}", f"not XML: {words}")]) from None
    return reader.graph_of()


class _Item:
    """A node or an edge."""

    __slots__ = ("at", "attributes", "label", "names")

    def __init__(self, names: dict[str, str], at: At) -> None:
        self.names = names
        self.at = at
        self.attributes: dict[str, object] = {}
        self.label = ""


class _Reader:
    def __init__(self, title: str) -> None:
        self._title = title
        self._graph = Graph(title, has_nodes=True)
        self._keys: dict[str, tuple[str, str]] = {}  # id -> (for, name)
        self._defaults: dict[str, str] = {}
        self._stack: list[str] = []
        self._open: list[_Item] = []
        self._items: dict[str, list[_Item]] = {"node": [], "edge": []}
        self._data: str | None = None
        self._text: list[str] = []
        self._key = ""
        self._seen: set[str] = set()
        # The encoding of the declaration does not count: the text was decoded.
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text.append
        self.parser.EntityDeclHandler = self._entity

    def graph_of(self) -> Graph:
        """Return the graph, when the whole file was parsed."""
        graph = self._graph
        if "graph" not in self._seen:
            raise TopologyError([Problem(self._title, "not GraphML: there is no <graph> in <graphml>")])
        graph.notes += [f"{words}: left out" for tag, words in LEFT_OUT.items() if tag in self._seen]
        if "nested" in self._seen:
            graph.notes.append("graphs in nodes: their nodes and edges are taken as if they were outside")
        for item in self._items["node"]:
            name = item.names.get("id")
            if name is None:
                graph.problems.append(Problem(item.at(), "this node has no id"))
                continue
            attributes = self._with_defaults("node", item)
            if item.label and not any(key.lower() in ("label", "name") for key in attributes):
                attributes["label"] = item.label
            graph.add_node(name, attributes, item.at)
        for item in self._items["edge"]:
            ends = [item.names.get("source"), item.names.get("target")]
            if ends[0] is None or ends[1] is None:
                graph.problems.append(Problem(item.at(), "this edge needs a source and a target"))
            else:
                graph.add_edge(ends[0], ends[1], self._with_defaults("edge", item), item.at)
        return graph

    def _with_defaults(self, kind: str, item: _Item) -> dict[str, object]:
        found: dict[str, object] = {
            self._keys[key][1]: value for key, value in self._defaults.items() if self._keys[key][0] in (kind, "all")
        }
        return found | item.attributes

    def _start(self, tag: str, names: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        line = self.parser.CurrentLineNumber
        if not self._stack and tag != "graphml":
            raise self._refuse(f"not GraphML: it begins with <{quote(tag)[1:-1]}>")
        if len(self._stack) == XML_DEPTH_MAX:
            raise self._refuse(f"nested more than {XML_DEPTH_MAX} deep")
        if tag == "graph":
            self._seen |= {"graph", "nested"} if "graph" in self._stack else {"graph"}
            if "graph" not in self._stack:
                self._graph.directed = names.get("edgedefault") == "directed"
        elif self._data is None and tag in self._items and "graph" in self._stack:
            item = _Item(names, lambda: f"{self._title}:{line}")
            self._items[tag].append(item)
            self._open.append(item)
        elif tag == "key":
            self._key = names.get("id", "")
            self._keys[self._key] = names.get("for", "all"), names.get("attr.name") or self._key
        elif tag == "data":
            self._data = names.get("key", "")
        elif tag in LEFT_OUT:
            self._seen.add(tag)
        self._stack.append(tag)
        self._text.clear()

    def _end(self, tag: str) -> None:
        tag = self._stack.pop()
        text = "".join(self._text).strip()
        self._text.clear()
        if tag == "data":
            # A port may have data, too.
            if self._open and self._stack[-1] in self._items and text:
                name = self._keys.get(self._data or "", ("", self._data or ""))[1]
                self._open[-1].attributes[name] = text
            self._data = None
        elif tag == "NodeLabel" and self._open:  # yEd's, in <data>
            self._open[-1].label = self._open[-1].label or text
        elif tag == "default" and self._stack[-1] == "key" and text:
            self._defaults[self._key] = text
        elif self._data is None and tag in self._items and self._open:
            self._open.pop()

    def _entity(self, *_: object) -> None:
        raise self._refuse("declares an entity, which is not supported; write the characters themselves")

    def _refuse(self, message: str) -> TopologyError:
        return TopologyError([Problem(f"{self._title}:{self.parser.CurrentLineNumber}", message)])


IMPORTER = Importer("graphml", "a graph in GraphML", recognise, read, has_positions=True)
