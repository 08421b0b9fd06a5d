"""Find mirror loops: copies that come back to be copied again.

The graph has two points for each interface: "out", what it sends, and "in", what it receives. Links carry frames from
point to point; a mirror copies what passes a point to its target's "out". What a tagged interface (a VLAN, a tunnel)
sends has its tag on the parent, and is received only by an interface with the same tag.
"""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from kokofast.topology.model import Link

    Place = tuple[Hashable, str]  # namespace, interface
    Point = tuple[Hashable, str, str]
    State = tuple[Point, Hashable]  # a point, and the tag of the frames that pass it

ANY = "any tag"
ALONE = "a tag that no other interface has"
LOOPS_MAX = 20  # that are reported


class Copy:
    """A mirror from a point to a target. where is its place in the file, None for one that exists already."""

    __slots__ = ("source", "target", "where")

    def __init__(self, source: Point, target: Point, where: str | None) -> None:
        self.source = source
        self.target = target
        self.where = where


class Flows:
    """The graph. titles maps namespaces to names for messages."""

    def __init__(self, titles: Mapping[Hashable, str]) -> None:
        self._titles = titles
        self._problems: list[Problem] = []
        self._copies: dict[Point, list[Copy]] = {}
        # point, the tag that passes or ANY -> (next point, the tag of frames there or ANY: the same)
        self._edges: dict[State, list[tuple[Point, Hashable]]] = {}
        self._children: dict[Place, list[Place]] = {}  # parent -> children that reach each other
        self._ports: dict[Place, list[Place]] = {}  # bridge -> ports
        self._tagged: dict[Hashable, list[tuple[Place, Place]]] = {}  # tag -> (interface, parent)
        self._remotes: list[tuple[Place, Hashable, bytes]] = []

    def copies(self, source: Place, direction: str, target: Place, where: str | None) -> None:
        """Add a mirror of one direction, "ingress" or "egress"."""
        if source == target and where is not None:  # others' mirrors are no problem of the file
            message = f"{source[1]} is the copy's own target, not an interface to mirror"
            self._problems.append(Problem(where, message))
            return
        way = "in" if direction == "ingress" else "out"
        self._copies.setdefault((*source, way), []).append(Copy((*source, way), (*target, "out"), where))

    def joins(self, first: Place, second: Place) -> None:
        """Add a link with two ends."""
        self._edge((*first, "out"), (*second, "in"))
        self._edge((*second, "out"), (*first, "in"))

    def has_port(self, bridge: Place, port: Place) -> None:
        """Add a port of a bridge, which passes what it receives on to the other ports."""
        self._edge((*port, "in"), (*bridge, "in"))
        self._edge((*bridge, "out"), (*port, "out"))
        self._ports.setdefault(bridge, []).append(port)

    def has_parent(
        self, place: Place, parent: Place, kind: str, data: Mapping[str, object], remotes: Iterable[bytes] = ()
    ) -> None:
        """Add an interface with a parent; data is the link kind's, remotes are the other ends of a tunnel."""
        of_kind = KINDS[kind]
        if not of_kind.tag:
            self._edge((*place, "out"), (*parent, "out"))
            self._edge((*parent, "in"), (*place, "in"), None)
            if of_kind.reaches_siblings(data):
                self._children.setdefault(parent, []).append(place)
            return
        tag = kind, *(data.get(name) for name in of_kind.tag)
        self._tagged.setdefault(tag, []).append((place, parent))
        self._remotes += [(place, tag, remote) for remote in remotes]

    def loops(self, addresses: Mapping[bytes, set[Hashable]]) -> list[Problem]:
        """Return a problem for each loop with a mirror of the file, at that mirror.

        addresses has the namespaces of each address.
        """
        self._finish(addresses)
        after = {state: list(self._after(state)) for state in self._states()}
        ring_of = _rings(after)
        states: dict[Point, list[State]] = {}
        for state in after:
            states.setdefault(state[0], []).append(state)
        problems = list(dict.fromkeys(self._problems))  # once for both directions
        told: set[tuple[Point, Point]] = set()
        for copy in [copy for copies in self._copies.values() for copy in copies if copy.where is not None]:
            for start in states[copy.source] if len(problems) < LOOPS_MAX else ():
                is_ringed = ring_of[start] == ring_of[copy.target, start[1]]
                if is_ringed and (copy.source, copy.target) not in told:
                    path = _path_back(after, start, copy.target)
                    steps = list(zip(path, [*path[1:], path[0]], strict=True))
                    told.update((here[0], there[0]) for here, there in steps)
                    problems.append(Problem(copy.where or "", self._tell([here[0] for here in path])))
        return problems

    def _edge(self, here: Point, there: Point, passes: Hashable = ANY, gives: Hashable = ANY) -> None:
        self._edges.setdefault((here, passes), []).append((there, gives))

    def _finish(self, addresses: Mapping[bytes, set[Hashable]]) -> None:
        """Add the edges that depend on all interfaces."""
        for parent, places in self._children.items():
            self._to_others(places, parent)
        for bridge, ports in self._ports.items():
            self._to_others(ports, (bridge, "ports"), "in", "out", gives=ANY)
        for tag, members in self._tagged.items():
            # Tags that only one interface has need not be told apart: that keeps the graph small.
            for place, parent in members:
                self._edge((*place, "out"), (*parent, "out"), gives=tag if len(members) > 1 else ALONE)
                if len(members) > 1:
                    self._edge((*parent, "in"), (*place, "in"), tag, None)
        groups: dict[Hashable, list[Place]] = {}
        for place, tag, remote in self._remotes:
            if remote in addresses:
                for other, parent in self._tagged[tag]:
                    if parent[0] in addresses[remote] and other != place:
                        self._edge((*place, "out"), (*other, "in"), gives=None)
            else:
                groups.setdefault((tag, remote), []).append(place)
        for (tag, remote), places in groups.items():  # type: ignore[misc]
            if remote[0] >> 4 == 0xE or remote[0] == 0xFF:  # a multicast group
                self._to_others(places, (tag, remote))

    def _to_others(
        self, places: Sequence[Place], hub: Hashable, enters: str = "out", leaves: str = "in", gives: Hashable = None
    ) -> None:
        """Connect each of these to each other one, with a linear number of edges."""
        for number, place in enumerate(places):
            for way, step in (("up", 1), ("down", -1)):
                here, beside = (hub, str(number), way), (hub, str(number + step), way)
                self._edge((*place, enters), beside)
                self._edge(here, (*place, leaves), gives=gives)
                self._edge(here, beside)

    def _after(self, state: State) -> Iterator[State]:
        point, tag = state
        for copy in self._copies.get(point, ()):
            yield copy.target, tag
        for passes in dict.fromkeys((ANY, tag)):
            for there, gives in self._edges.get((point, passes), ()):
                yield there, tag if gives == ANY else gives

    def _states(self) -> Iterable[State]:
        """Return all states that a copy can reach."""
        waiting: list[State] = [(point, None) for point in self._copies]
        seen = dict.fromkeys(waiting)
        while waiting:
            for state in self._after(waiting.pop()):
                if state not in seen:
                    seen[state] = None
                    waiting.append(state)
        return seen

    def _tell(self, path: Sequence[Point]) -> str:
        targets = {point: {copy.target: copy.where for copy in self._copies.get(point, ())} for point in path}
        text, there_already = "", []
        for here, there in zip(path, [*path[1:], path[0]], strict=True):
            if here[0] not in self._titles:  # a hub between siblings
                continue
            if there in targets[here]:
                text += f"{self._title(here)} => "
                if targets[here][there] is None:
                    there_already.append(f"{self._title(here)} => {self._title(there)}")
            elif here[:2] != there[:2]:
                text += f"{self._title(here)} -> "
        extra = f"; there already: {', '.join(there_already)}" if there_already else ""
        return (
            f"mirror loop: each frame would be copied again without end: {text}{self._title(path[0])} "
            f"(=> is a mirror, -> a link{extra})"
        )

    def _title(self, point: Point) -> str:
        node = self._titles[point[0]]
        return f"{node}:{point[1]}" if node else point[1]


def _rings(after: Mapping[State, Sequence[State]]) -> dict[State, int]:
    """Return the number of each state's strongly connected component (Kosaraju's algorithm)."""
    before: dict[State, list[State]] = {state: [] for state in after}
    for state, following in after.items():
        for one in following:
            before[one].append(state)
    left: list[State] = []  # in postorder
    seen: set[State] = set()
    for first in after:
        waiting = [] if first in seen else [(first, iter(after[first]))]
        seen.add(first)
        while waiting:
            state, rest = waiting[-1]
            for one in rest:
                if one not in seen:
                    seen.add(one)
                    waiting.append((one, iter(after[one])))
                    break
            else:
                left.append(state)
                waiting.pop()
    ring_of: dict[State, int] = {}
    for number, first in enumerate(reversed(left)):
        members = [] if first in ring_of else [first]
        ring_of.setdefault(first, number)
        while members:
            for one in before[members.pop()]:
                if one not in ring_of:
                    ring_of[one] = number
                    members.append(one)
    return ring_of


def _path_back(after: Mapping[State, Sequence[State]], start: State, first: Point) -> list[State]:
    """Return the shortest path from a state by a point back to the state; empty if there is none."""
    begin = first, start[1]
    came: dict[State, State] = {begin: start}
    waiting = [begin] if begin in after[start] else []
    for state in waiting:  # grows in the loop
        for one in after[state]:
            if one == start:
                path = [state]
                while path[-1] != start:
                    path.append(came[path[-1]])
                return path[::-1]
            if one not in came:
                came[one] = state
                waiting.append(one)
    return []


def add_links(flows: Flows, links: Iterable[Link], namespaces: Mapping[str, Hashable]) -> None:
    """Add the links of a file and their mirrors. namespaces has the namespace of each node."""
    links = list(links)
    bridges = {(namespaces[link.ends[0].node], link.ends[0].ifname) for link in links if link.kind == "bridge"}
    for link in links:
        places = [(namespaces[end.node], end.ifname) for end in link.ends]
        parent = link.parent
        if len(places) == 2:
            flows.joins(places[0], places[1])
        elif parent is not None:
            linkinfo = KINDS[link.kind].create(link, ({},), 0)["linkinfo"]
            given = link.options.get("remote")
            hosts = given if isinstance(given, tuple) else () if given is None else (given,)
            remotes = [host.packed for host in hosts]
            flows.has_parent(places[0], (namespaces[parent[0]], parent[1]), link.kind, linkinfo["data"], remotes)  # type: ignore[index]
        for end, place in zip(link.ends, places, strict=True):
            master = (place[0], end.properties.get("master"))
            if master in bridges:
                flows.has_port(master, place)
            if end.mirror is not None:
                for direction in sorted(end.mirror.directions()):
                    flows.copies((place[0], end.mirror.source), direction, place, end.where("mirror"))


def addresses_of(links: Iterable[Link], namespaces: Mapping[str, Hashable]) -> dict[bytes, set[Hashable]]:
    """Return the namespaces of each address in a file."""
    found: dict[bytes, set[Hashable]] = {}
    for link in links:
        for end in link.ends:
            for address in end.addresses:
                found.setdefault(address.packed, set()).add(namespaces[end.node])
    return found
