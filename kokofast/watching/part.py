"""The part of a topology that a run has to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.plan.order import needs_of
from kokofast.topology.order import ancestors

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from kokofast.topology.model import Link, Topology
    from kokofast.topology.problems import Problem


class Parts:
    """Finds links of a topology that belong together."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._of_node: dict[str, list[int]] = {}
        self._places: dict[str, list[int]] = {}
        maker: dict[tuple[str, str], int] = {}
        for number, link in enumerate(topology.links):
            self._places.setdefault(link.place, []).append(number)
            for node in nodes_of_link(link):
                self._of_node.setdefault(node, []).append(number)
            for end in link.ends:
                maker[end.node, end.ifname] = number
        # A link with the links that it needs, and with those that need it.
        self._needs: dict[int, list[int]] = {}
        self._needed_by: dict[int, list[int]] = {}
        for number, link in enumerate(topology.links):
            mirrored = [(end.node, end.mirror.source) for end in link.ends if end.mirror is not None]
            for need in (*needs_of(link), *mirrored):
                other = maker.get(need)
                if other is not None and other != number:
                    self._needs.setdefault(number, []).append(other)
                    self._needed_by.setdefault(other, []).append(number)

    def links_of(self, nodes: Iterable[str]) -> list[Link]:
        """Return the links of these nodes."""
        return [self._topology.links[number] for node in nodes for number in self._of_node.get(node, ())]

    def of_nodes(self, nodes: Iterable[str], without: Set[int] = frozenset()) -> Topology:
        """Return the links of these nodes, with all that they need and that need them, except those in without."""
        chosen = list(dict.fromkeys(number for node in nodes for number in self._of_node.get(node, ())))
        seen = set(chosen)
        for number in chosen:  # grows in the loop
            for other in (*self._needs.get(number, ()), *self._needed_by.get(number, ())):
                if other not in seen:
                    seen.add(other)
                    chosen.append(other)
        left = sorted(seen - without)
        wanted = {node for number in left for node in nodes_of_link(self._topology.links[number])} | set(nodes)
        named = {name: node for name, node in self._topology.nodes.items() if name in wanted}
        return self._topology.part(named, tuple(self._topology.links[number] for number in left))

    def all(self, without: Set[int] = frozenset()) -> Topology:
        """Return the topology without some links."""
        links = tuple(link for number, link in enumerate(self._topology.links) if number not in without)
        return self._topology.part(self._topology.nodes, links) if without else self._topology

    def with_dependents(self, numbers: Iterable[int]) -> set[int]:
        """Return these links, and those that need them."""
        waiting = list(numbers)
        found = set(waiting)
        while waiting:
            more = [other for other in self._needed_by.get(waiting.pop(), ()) if other not in found]
            found.update(more)
            waiting += more
        return found

    def at(self, problem: Problem) -> list[int]:
        """Return the links that a problem is about, by its place."""
        return [number for place in ancestors(problem.place) for number in self._places.get(place, ())]


def nodes_of_link(link: Link) -> list[str]:
    """Return the nodes of a link's ends and of its parent."""
    parent = link.parent
    return list(dict.fromkeys([*(end.node for end in link.ends), *([] if parent is None else [parent[0]])]))
