"""Choose the hosts of nodes: as much work on each, with few links between them, by METIS.

What has to be together is one vertex of its graph: nodes in one namespace, a node and those with parents in it, and
nodes with the same tag. The weight of a vertex is the number of its ends, which is what a host spends its time on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.topology.model import CALLER
from kokofast.topology.nodes import identity
from kokofast.topology.problems import Problem, TopologyError, unknown

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

    from kokofast.topology.model import Link, Node

SEED = 1  # so that each run places as the one before
OPTION = "--place"


class Placer:
    """Gives hosts to the nodes that have none: topology.document.Placing.

    Args:
        wish: How many of the hosts to use, which of them ("h1,h2"), or "" for all.
        tag: Keep nodes together that have the same value of this tag; "" for none.
    """

    def __init__(self, wish: str = "", tag: str = "") -> None:
        self._wish = wish
        self._tag = tag

    def __call__(
        self, nodes: Mapping[str, Node], links: Sequence[Link], apart: Collection[str], hosts: Collection[str]
    ) -> None:
        """Place the nodes. Raises TopologyError for a wish that cannot be met, ImportError without METIS."""
        chosen = self._chosen(list(hosts))
        if self._tag and not any(self._tag in node.tags for node in nodes.values()):
            tags = _tags(nodes.values())
            words = unknown("tag", self._tag, tags) if tags else "no node has 'tags'; give it to those to be together"
            raise TopologyError([Problem("--place-by", words)])
        groups = _Groups(nodes)
        groups.join(links, apart, self._tag)
        vertices = groups.vertices()
        names = list(dict.fromkeys(vertices.values()))
        if not names:
            return
        numbers = {name: number for number, name in enumerate(names)}
        vertex_of = {name: numbers[root] for name, root in vertices.items()}
        weights, edges = _graph(links, vertex_of, len(names))
        homes = {number: groups.hosts[root] for root, number in numbers.items() if root in groups.hosts}
        parts = _partition(weights, edges, len(chosen))
        host_of = _assign(parts, weights, homes, chosen)
        for name, vertex in vertex_of.items():
            node = nodes[name]
            if node.host is None:
                node.host = homes.get(vertex) or host_of[parts[vertex]]

    def _chosen(self, hosts: list[str]) -> list[str]:
        wish = self._wish
        if not wish:
            return hosts
        if wish.isascii() and wish.isdecimal() and wish not in hosts:
            if not 1 <= int(wish[:9]) <= len(hosts):
                words = f"there are {len(hosts):,} hosts; give a number from 1 to {len(hosts):,}, or their names"
                raise TopologyError([Problem(f"{OPTION} {wish[:9]}", words)])
            return hosts[: int(wish)]
        chosen = list(dict.fromkeys(wish.split(",")))
        wrong = [Problem(OPTION, unknown("host", name, hosts)) for name in chosen if name not in hosts]
        if wrong:
            raise TopologyError(wrong)
        return chosen


def _tags(nodes: Iterable[Node]) -> list[str]:
    return list(dict.fromkeys(tag for node in nodes for tag in node.tags))


class _Groups:
    """Nodes that have to be on one host: a forest, in which the root of each tree stands for all of it.

    hosts has the host of groups that are on one already, by their root.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._above: dict[str, str] = {}
        self.hosts: dict[str, str] = {name: node.host for name, node in nodes.items() if node.host is not None}

    def join(self, links: Iterable[Link], apart: Collection[str], tag: str) -> None:
        """Join what has to be together."""
        first: dict[Hashable, str] = {}
        for name, node in self._nodes.items():
            if name not in apart:
                self._join(first.setdefault(identity(node), name), name)
            if tag in node.tags:
                self._join(first.setdefault((tag, node.tags[tag]), name), name)
        for link in links:
            if link.parent is not None and link.parent[0] in self._nodes and link.parent[0] != CALLER:
                self._join(link.parent[0], link.ends[0].node)

    def vertices(self) -> dict[str, str]:
        """Return the root of each node's group."""
        return {name: self._root(name) for name in self._nodes}

    def _root(self, name: str) -> str:
        while name in self._above:
            above = self._above[name]
            if above in self._above:
                self._above[name] = self._above[above]
            name = above
        return name

    def _join(self, one: str, other: str) -> None:
        one, other = self._root(one), self._root(other)
        if one == other:
            return
        self._above[other] = one
        if other in self.hosts:
            self.hosts.setdefault(one, self.hosts.pop(other))


def _graph(links: Iterable[Link], vertex_of: Mapping[str, int], count: int) -> tuple[list[int], list[dict[int, int]]]:
    """Return the weight of each vertex, and the weights of its edges by their other vertex."""
    weights = [1] * count
    edges: list[dict[int, int]] = [{} for _ in range(count)]
    for link in links:
        ends = [vertex_of[end.node] for end in link.ends]
        for vertex in ends:
            weights[vertex] += 1
        if len(ends) == 2 and ends[0] != ends[1]:
            one, other = ends
            edges[one][other] = edges[one].get(other, 0) + 1
            edges[other][one] = edges[other].get(one, 0) + 1
    return weights, edges


def _partition(weights: Sequence[int], edges: Sequence[Mapping[int, int]], count: int) -> list[int]:
    """Return the number of each vertex's part.

    A vertex that is as heavy as a part should be is a part alone, as METIS wants parts to be alike.
    """
    parts = [0] * len(weights)
    rest, left = sum(weights), count
    heavy: list[int] = []
    for vertex in sorted(range(len(weights)), key=lambda vertex: -weights[vertex]):
        if left == 1 or weights[vertex] * left < rest:
            break
        left -= 1
        rest -= weights[vertex]
        parts[vertex] = left
        heavy.append(vertex)
    light = [vertex for vertex in range(len(weights)) if vertex not in heavy] if heavy else range(len(weights))
    if left > 1:
        for vertex, part in zip(light, _metis(light, weights, edges, left), strict=True):
            parts[vertex] = part
    return parts


def _metis(
    vertices: Sequence[int], weights: Sequence[int], edges: Sequence[Mapping[int, int]], count: int
) -> Sequence[int]:
    if len(vertices) <= count:
        return range(len(vertices))
    import pymetis  # only a lab that is to be placed needs it

    numbers = {vertex: number for number, vertex in enumerate(vertices)}
    starts = [0]
    others: list[int] = []
    costs: list[int] = []
    for vertex in vertices:
        for other, cost in edges[vertex].items():
            if other in numbers:
                others.append(numbers[other])
                costs.append(cost)
        starts.append(len(others))
    _, parts = pymetis.part_graph(
        count,
        adjacency=pymetis.CSRAdjacency(starts, others),
        vweights=[weights[vertex] for vertex in vertices],
        eweights=costs,
        recursive=True,
        options=pymetis.Options(seed=SEED),
    )
    found: list[int] = list(parts)
    return found


def _assign(
    parts: Sequence[int], weights: Sequence[int], homes: Mapping[int, str], hosts: Sequence[str]
) -> dict[int, str]:
    """Return the host of each part: the one that most of it is on already, else the next one of the list."""
    there: dict[tuple[int, str], int] = {}
    for vertex, host in homes.items():
        if host in hosts:
            key = parts[vertex], host
            there[key] = there.get(key, 0) + weights[vertex]
    found: dict[int, str] = {}
    for part, host in sorted(there, key=lambda key: (-there[key], key)):
        if part not in found and host not in found.values():
            found[part] = host
    free = iter([host for host in hosts if host not in found.values()])
    for part in dict.fromkeys(parts):  # in the order of the file
        if part not in found:
            found[part] = next(free)
    return found
