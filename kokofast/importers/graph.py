"""A graph as files of other programs have it, and the topology that it becomes.

Each edge is a link of its own. Interfaces get their names as those of any link without them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping

from kokofast.importers.attributes import (
    COORDINATES,
    LABELS,
    SILENT,
    coordinates,
    delay_between,
    link_fields,
    lower_keys,
    text_of,
)
from kokofast.importers.importer import Imported, Options
from kokofast.importers.node_names import NodeNames
from kokofast.topology.document import LINKS_MAX, refuse_too_many
from kokofast.topology.problems import Problem, Problems, TopologyError
from kokofast.topology.values import quote

EXAMPLES = 3
NAMES_SHOWN = 12
KNOWN = 10_000

At = Callable[[], str]  # the place of a node or an edge in the user's file; computed when it is printed


class Graph:
    """The nodes and edges of a file, with their places.

    Args:
        title: The file, for messages.
        has_nodes: Whether each node of an edge must have been declared; otherwise an edge declares it.
    """

    def __init__(self, title: str, *, has_nodes: bool) -> None:
        self.title = title
        self.directed = False
        self.notes: list[str] = []
        self.problems: list[Problem] = Problems()
        self._has_nodes = has_nodes
        self._nodes: dict[str, tuple[dict[str, object], At]] = {}
        self._edges: list[tuple[str, str, Mapping[str, object], At]] = []
        self._dropped: dict[str, Counter[str]] = {"nodes": Counter(), "links": Counter()}

    def add_node(self, key: str, attributes: Mapping[str, object], at: At) -> None:
        """Add a node. A second one with its key is a problem."""
        if key in self._nodes:
            self.problems.append(Problem(at(), f"a second node with the id {quote(key)}; ids must differ"))
            return
        known = {*LABELS, *SILENT, *COORDINATES[0], *COORDINATES[1]}
        self._dropped["nodes"].update(name for name in attributes if name.lower() not in known)
        self._nodes[key] = lower_keys(attributes), at

    def add_edge(self, source: str, target: str, attributes: Mapping[str, object], at: At) -> None:
        """Add an edge, after all nodes if the file declares them."""
        if len(self._edges) == LINKS_MAX:
            raise refuse_too_many(self.title)
        unknown = [key for key in (source, target) if key not in self._nodes]
        if self._has_nodes and unknown:
            self.problems.append(Problem(at(), f"there is no node with the id {quote(unknown[0])}"))
            return
        for key in unknown:
            self._nodes.setdefault(key, ({}, at))
        self._edges.append((source, target, attributes, at))

    def imported(self, options: Options) -> Imported:
        """Return the topology.

        Raises:
            TopologyError: The file has problems, or no links.
        """
        if not self._edges and not self.problems:
            self.problems.append(Problem(self.title, "has no edges, so there is no link to make"))
        if options.runtime is not None:
            self.problems.append(Problem(self.title, f"has no containers: leave --runtime {options.runtime} out"))
        if self.problems:
            raise TopologyError(self.problems)
        names = self._names()
        links, places = _Links(self, names, options.distance_delay).make(self._edges)
        joined = {key for source, target, _, _ in self._edges if source != target for key in (source, target)}
        tree: dict[str, object] = {"defaults": {"create": True}, "links": links}
        if lonely := {name: {"netns": name} for key, name in names.items() if key not in joined}:
            tree["nodes"] = lonely
        for what, dropped in self._dropped.items():
            if dropped:
                shown = ", ".join(quote(name)[1:-1] for name in list(dropped)[:NAMES_SHOWN])
                more = f" and {len(dropped) - NAMES_SHOWN} others" if len(dropped) > NAMES_SHOWN else ""
                self.notes.append(f"attributes of {what} that are not kept: {shown}{more}")
        node_places = {name: self._nodes[key][1] for key, name in names.items()}
        notes = [Problem(self.title, note) for note in self.notes]
        return Imported(tree, notes, lambda path: _place(path, places, node_places, self.title))

    def drop(self, attributes: list[str]) -> None:
        """Note attributes of a link that are not kept."""
        self._dropped["links"].update(attributes)

    def coordinates(self, key: str) -> tuple[float, float] | None:
        """Return latitude and longitude of a node."""
        return coordinates(self._nodes[key][0])

    def _names(self) -> dict[str, str]:
        """Return the name of each node by its key."""
        found: dict[str, str] = {}
        changed: list[str] = []
        free = NodeNames()
        for key, (attributes, _) in self._nodes.items():
            label = next((text_of(attributes[name]) for name in LABELS if name in attributes), "")
            wanted = label or key
            # Where nodes have ids and labels, a number alone is no name.
            found[key] = free.name(label if self._has_nodes else key, key)
            if found[key] != wanted:
                changed.append(f"{quote(wanted)} is {found[key]}")
        if changed:
            more = ", ..." if len(changed) > EXAMPLES else ""
            self.notes.append(f"{_count(len(changed), 'node')} got other names: {', '.join(changed[:EXAMPLES])}{more}")
        return found


class _Links:
    """Makes links of edges."""

    def __init__(self, graph: Graph, names: Mapping[str, str], distance_delay: bool) -> None:
        self._graph = graph
        self._names = names
        self._distance_delay = distance_delay
        self._unplaced = 0
        # Thousands of edges have the same few attributes.
        self._known: dict[tuple[tuple[str, str], ...], tuple[dict[str, object], list[str]]] = {}

    def make(self, edges: list[tuple[str, str, Mapping[str, object], At]]) -> tuple[list[object], list[At]]:
        """Return the links, and their places."""
        links: list[object] = []
        places: list[At] = []
        single: dict[tuple[str, str], list[tuple[int, dict[str, object]]]] = {}
        loops = 0
        for source, target, attributes, at in edges:
            if source == target:
                loops += 1
                continue
            fields = self._fields(source, target, attributes)
            ends = [self._names[source], self._names[target]]
            back = single.get((target, source)) if self._graph.directed else None
            if back:
                number, forth = back.pop()
                links[number] = _both_ways(ends[::-1], forth, fields)
                continue
            if self._graph.directed:
                single.setdefault((source, target), []).append((len(links), fields))
            links.append({"endpoints": ends, **fields})
            places.append(at)
        notes = self._graph.notes
        if loops:
            notes.append(f"{_count(loops, 'edge')} from a node to itself: left out")
        if one_way := sum(map(len, single.values())):
            notes.append(f"{_count(one_way, 'edge')} in one direction only: a link carries both")
        if self._unplaced:
            notes.append(f"{_count(self._unplaced, 'link')} without a delay: a node has no latitude and longitude")
        return links, places

    def _fields(self, source: str, target: str, attributes: Mapping[str, object]) -> dict[str, object]:
        if not attributes and not self._distance_delay:
            return {}
        fields, dropped = self._fields_of(attributes)
        self._graph.drop(dropped)
        if self._distance_delay and "delay" not in fields:
            one, other = self._graph.coordinates(source), self._graph.coordinates(target)
            if one is not None and other is not None:
                fields["delay"] = delay_between(one, other)
            else:
                self._unplaced += 1
        return fields

    def _fields_of(self, attributes: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
        found = tuple((name, text_of(value)) for name, value in attributes.items() if value is not None)
        known = self._known.get(found)
        if known is None:
            known = link_fields(dict(found))
            if len(self._known) < KNOWN:
                self._known[found] = known
        return dict(known[0]), known[1]


def _both_ways(ends: list[str], forth: dict[str, object], back: dict[str, object]) -> dict[str, object]:
    """Return the link of two edges of a directed graph: what they have in common is the link's, the rest an end's."""
    if forth == back:
        return {"endpoints": ends, **forth}
    return {"endpoints": [{"node": ends[0], **forth}, {"node": ends[1], **back}]}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _place(path: str, links: list[At], nodes: Mapping[str, At], title: str) -> str:
    """Return the place in the user's file of a path such as $.links[3].mtu or $.nodes.r1."""
    if path.startswith("$.links["):
        return links[int(path[len("$.links[") :].partition("]")[0])]()
    name = path.removeprefix("$.nodes").lstrip(".[").strip("]'\"")
    return nodes[name]() if path.startswith("$.nodes") and name in nodes else title


class Lines:
    """Lines of offsets in a text."""

    def __init__(self, text: str, title: str) -> None:
        self._text = text
        self._title = title
        self._ends: list[int] = []

    def at(self, offset: int) -> At:
        """Return what computes ``file:line`` of an offset."""
        return lambda: f"{self._title}:{self._line(offset)}"

    def _line(self, offset: int) -> int:
        if not self._ends:
            self._ends = [found for found, char in enumerate(self._text) if char == "\n"] or [len(self._text)]
        return bisect_left(self._ends, offset) + 1


def at_line(title: str, line: int) -> At:
    """Return what computes the place of a line."""
    return lambda: f"{title}:{line}"
