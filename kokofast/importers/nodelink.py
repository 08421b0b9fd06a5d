"""Read node-link JSON, as networkx and d3 have it, and the NetworkGraph of NetJSON (netjson.org)."""

from __future__ import annotations

from collections.abc import Callable

from kokofast.importers.attributes import text_of
from kokofast.importers.graph import Graph
from kokofast.importers.importer import Imported, Importer, Options, Source
from kokofast.topology.document import describe
from kokofast.topology.problems import Problem, TopologyError

EDGES = ("links", "edges")


def edges_key(tree: object) -> str | None:
    """Return the key of the edges of node-link JSON; None for any other value."""
    if not isinstance(tree, dict):
        return None
    for key in EDGES:
        edges = tree.get(key)
        first = edges[0] if isinstance(edges, list) and edges else None
        if isinstance(first, dict) and "source" in first and "target" in first:
            return key
    return None


def recognise(source: Source) -> bool:
    """Whether its first edge has a source and a target."""
    return edges_key(source.tree) is not None


def read(source: Source, options: Options) -> Imported:
    """Make a topology of the graph."""
    if edges_key(source.tree) is None:
        words = "must be an object whose 'links' or 'edges' have a source and a target"
        raise TopologyError([Problem("$" if source.tree is not None else source.title, words)])
    return read_node_link(source.tree, source.title, str).imported(options)


def read_node_link(tree: object, title: str, place: Callable[[str], str]) -> Graph:
    """Return the graph of a tree that has edges_key(). place() turns a path in it into the place in the file."""
    key = edges_key(tree)
    assert isinstance(tree, dict)
    nodes = tree.get("nodes")
    graph = Graph(title, has_nodes=isinstance(nodes, list))
    graph.directed = tree.get("directed") is True
    order = _add_nodes(graph, nodes if isinstance(nodes, list) else [], place)
    ids = set(order)
    for number, edge in enumerate(tree[key]):

        def at(number: int = number) -> str:
            return place(f"$.{key}[{number}]")

        if not isinstance(edge, dict) or "source" not in edge or "target" not in edge:
            graph.problems.append(Problem(at(), f"must have a source and a target, not be {describe(edge)}"))
            continue
        ends = [_end(edge[end], ids, order) for end in ("source", "target")]
        if ends[0] is None or ends[1] is None:
            bad = edge["source" if ends[0] is None else "target"]
            graph.problems.append(Problem(at(), f"{describe(bad)} is neither the id of a node nor its index"))
            continue
        graph.add_edge(ends[0], ends[1], _attributes(edge, ("source", "target")), at)
    return graph


def _add_nodes(graph: Graph, nodes: list[object], place: Callable[[str], str]) -> list[str]:
    """Add the nodes, and return their keys by index. d3's may have a name only, and networkx's ids are of any type."""
    ids: list[str] = []
    for number, node in enumerate(nodes):

        def at(number: int = number) -> str:
            return place(f"$.nodes[{number}]")

        attributes = _attributes(node, ()) if isinstance(node, dict) else {"id": node}
        key = next((attributes[name] for name in ("id", "name", "label") if name in attributes), str(number))
        if isinstance(key, (dict, list)) or key is None:
            graph.problems.append(Problem(at(), f"the id of a node must be text or a number, not {describe(key)}"))
            key = str(number)
        ids.append(text_of(key))
        graph.add_node(ids[-1], attributes, at)
    return ids


def _end(value: object, ids: set[str], order: list[str]) -> str | None:
    """Return the key of an edge's node: its id, its index, or as d3 leaves it the node itself."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("id", "name", "index") if name in value), None)
    if value is None or isinstance(value, (dict, list, bool)):
        return None
    if isinstance(value, int) and str(value) not in ids and 0 <= value < len(order):
        return order[value]
    return text_of(value)


def _attributes(found: dict[str, object], but: tuple[str, ...]) -> dict[str, object]:
    """Return the attributes of a node or an edge; NetJSON has more of them in 'properties'."""
    inner = found.get("properties")
    more = inner if isinstance(inner, dict) else {}
    return {**more, **{key: value for key, value in found.items() if key not in but and key != "properties"}}


TITLE = "node-link JSON, as networkx, d3 and NetJSON have it"
IMPORTER = Importer("nodelink", TITLE, recognise, read, has_positions=True)
