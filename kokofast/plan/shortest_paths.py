"""Routes along shortest paths: from every namespace of a lab to every network in it.

One Dijkstra a namespace, by heapq. Measured for 200 nodes and 245 links: 0.09 s, where rustworkx takes 0.02 s, igraph
0.01 s and networkx 0.12 s, and to import them 0.1 to 0.7 s. All pairs of 2,000 nodes, where those libraries are five
times as fast, are more routes than ROUTES_MAX.
"""

from __future__ import annotations

import heapq
from collections import Counter
from itertools import permutations

from kokofast.topology.model import AF_INET, AF_INET6
from kokofast.topology.values import is_link_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kokofast.topology.model import Address, End

    # The interface that a packet leaves by, and the neighbour's address that it is sent to; empty: none.
    Hop = tuple[str, bytes]
    # Where a route leads, of which a table has one route only: family, network, prefix length, metric.
    Goal = tuple[int, bytes, int, int]
    # The ends of a link: the namespace, the end, what it costs to send from there.
    Ends = Sequence[tuple[int, End, int]]
    # From a namespace (of a LAN a number below 0): where to, at what cost, by which hop.
    Edges = dict[int, list[tuple[int, int, Hop]]]
    # Of several hops the kernel chooses one for each flow.
    Routes = dict[Goal, tuple[Hop, ...]]

ROUTES_MAX = 1_000_000  # of a lab: some 500 bytes of the kernel's memory each, and 10 us
PAIR = 2
DEFAULT_METRIC = {AF_INET: 0, AF_INET6: 1024}  # what the kernel takes for a route without one (IP6_RT_PRIO_USER)


class TooManyRoutesError(ValueError):
    """More routes than ROUTES_MAX."""


def network_of(address: Address) -> Goal:
    """Return the network that an address is in by its prefix length."""
    family, packed, prefixlen = address.key()
    rest = len(packed) * 8 - prefixlen
    number = int.from_bytes(packed, "big") >> rest << rest
    return family, number.to_bytes(len(packed), "big"), prefixlen, DEFAULT_METRIC[family]


def gateway(end: End, other: End, family: int) -> bytes | None:
    """Return the first address of another end on the same link that this end reaches without a router."""
    for own in end.addresses:
        if own.family != family:
            continue
        shift = len(own.packed) * 8 - own.prefixlen
        network = int.from_bytes(own.packed, "big") >> shift
        for address in other.addresses:
            if (
                address.family == family
                and address.packed != own.packed
                and int.from_bytes(address.packed, "big") >> shift == network
            ):
                return address.packed
    return None


class Paths:
    """The routes of a lab, by the number of the namespace.

    Neighbours are the ends of one link, or of one LAN, that reach each other's address. A network that several
    namespaces are in is reached by the nearest of them. No route leads to a link-local network.

    Args:
        links: The ends of each link or LAN: the namespace, the end, and what it costs to send from there.
        loopbacks: The addresses that namespaces have on their loopback.
        multipath: Whether a route has all hops of equal cost, or the first of them.

    Raises:
        TooManyRoutesError: There are more than ROUTES_MAX.

    ``forwards``: the families of which a namespace has two interfaces or more, and a neighbour: it passes traffic on.
    ``carries``: the numbers of the links that routes may lead over.
    ``shared``: networks that are on several links, with the numbers of the first two.
    """

    def __init__(
        self, links: Iterable[Ends], loopbacks: Mapping[int, Sequence[Address]], *, multipath: bool = False
    ) -> None:
        self.routes: dict[int, Routes] = {}
        self.forwards: dict[int, list[int]] = {}
        self.shared: dict[Goal, tuple[int, int]] = {}
        self.carries: set[int] = set()
        self._multipath = multipath
        count = 0
        links = list(links)
        for family in (AF_INET, AF_INET6):
            edges, interfaces = self._edges(links, family)
            goals = list(self._goals(links, loopbacks, family).items()) if edges else []
            for ns in sorted(ns for ns in edges if ns >= 0):
                found = self._routes_from(ns, edges, goals)
                count += len(found)
                if count > ROUTES_MAX:
                    raise TooManyRoutesError
                self.routes.setdefault(ns, {}).update(found)
                if interfaces[ns] > 1:
                    self.forwards.setdefault(ns, []).append(family)

    def _edges(self, links: Iterable[Ends], family: int) -> tuple[Edges, Counter[int]]:
        """Return the edges of the graph, and how many interfaces with an address each namespace has.

        A LAN has a number below 0, so that there are as many edges as ends, not as many as pairs. To send into it costs
        what the end says, and out of it nothing.
        """
        edges: Edges = {}
        interfaces: Counter[int] = Counter()
        lans = 0
        for number, link in enumerate(links):
            usable = [(ns, end, cost) for ns, end, cost in link if end.up and _networks(end.addresses, family)]
            interfaces.update(ns for ns, _, _ in usable)
            if len(link) == PAIR:
                for (ns, end, cost), (there, other, _) in permutations(usable, PAIR):
                    if ns != there and (packed := gateway(end, other, family)) is not None:
                        edges.setdefault(ns, []).append((there, cost, (end.ifname, packed)))
                        self.carries.add(number)
                continue
            for members in _by_network(usable, family):
                lans += 1
                self.carries.add(number)
                for ns, end, cost, packed in members:
                    edges.setdefault(ns, []).append((-lans, cost, (end.ifname, b"")))
                    edges.setdefault(-lans, []).append((ns, 0, ("", packed)))
        return edges, interfaces

    def _goals(
        self,
        links: Iterable[Ends],
        loopbacks: Mapping[int, Sequence[Address]],
        family: int,
    ) -> dict[Goal, dict[int, None]]:
        """Return the networks, with the namespaces that are in each."""
        found: dict[Goal, dict[int, None]] = {}
        link_of: dict[Goal, int] = {}
        for number, link in enumerate(links):
            for ns, end, _ in link:
                for network in _networks(end.addresses, family) if end.up else ():
                    found.setdefault(network, {})[ns] = None
                    first = link_of.setdefault(network, number)
                    if first != number:
                        self.shared.setdefault(network, (first, number))
        for ns, addresses in loopbacks.items():
            for network in _networks(addresses, family):
                found.setdefault(network, {})[ns] = None
        return found

    def _routes_from(self, source: int, edges: Edges, goals: Iterable[tuple[Goal, Mapping[int, None]]]) -> Routes:
        distance, hops = self._reach(source, edges)
        found: Routes = {}
        for goal, members in goals:
            if source in members:
                continue
            nearest: list[int] = []
            least = -1
            for ns in members:
                far = distance.get(ns)
                if far is None or far > least >= 0:
                    continue
                if far != least:
                    nearest, least = [], far
                nearest.append(ns)
            if len(nearest) > 1 and self._multipath:
                found[goal] = tuple(dict.fromkeys(hop for ns in nearest for hop in hops[ns]))
            elif nearest:
                found[goal] = hops[nearest[0]]
        return found

    def _reach(self, source: int, edges: Edges) -> tuple[dict[int, int], dict[int, tuple[Hop, ...]]]:
        """Return how far each namespace is, and the first hops of the way there."""
        distance = {source: 0}
        hops: dict[int, tuple[Hop, ...]] = {source: ()}
        waiting = [(0, source)]
        done: set[int] = set()
        while waiting:
            far, here = heapq.heappop(waiting)  # of equal ones LANs first, which cost nothing more
            if here in done:
                continue
            done.add(here)
            for there, cost, hop in edges.get(here, ()):
                known = distance.get(there)
                to = far + cost
                if known is not None and (to > known or (to == known and not self._multipath)):
                    continue
                if here < 0:  # of the source's own LAN the hop is this member
                    first = tuple((ifname, packed or hop[1]) for ifname, packed in hops[here])
                else:
                    first = hops[here] or (hop,)
                if known == to:
                    hops[there] = tuple(dict.fromkeys(hops[there] + first))
                    continue
                distance[there], hops[there] = to, first
                heapq.heappush(waiting, (to, there))
        return distance, hops


def _networks(addresses: Iterable[Address], family: int) -> list[Goal]:
    return [
        network_of(address)
        for address in addresses
        if address.family == family and address.prefixlen and not is_link_local(address)
    ]


def _by_network(usable: Ends, family: int) -> list[list[tuple[int, End, int, bytes]]]:
    """Return the members of each network of a LAN that has several, each with its address there."""
    found: dict[Goal, list[tuple[int, End, int, bytes]]] = {}
    for ns, end, cost in usable:
        for address in end.addresses:
            for network in _networks((address,), family):
                found.setdefault(network, []).append((ns, end, cost, address.packed))
    return [members for members in found.values() if len({ns for ns, *_ in members}) > 1]
