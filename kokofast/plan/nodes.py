"""Plan addresses of the loopback, routes and sysctls of nodes."""

from __future__ import annotations

import contextlib

from kokofast.plan.node_change import NodeChange, Router, device_in
from kokofast.plan.operations import ConfigureNode, IfRef, SetSysctls
from kokofast.plan.ownership import LOOPBACK, is_marked
from kokofast.plan.shortest_paths import DEFAULT_METRIC, ROUTES_MAX, Paths, TooManyRoutesError, network_of
from kokofast.topology.model import AF_INET6
from kokofast.topology.problems import Problem
from kokofast.topology.routes import end_of, text_of
from kokofast.topology.sysctls import DISABLE_IPV6, FORWARDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kokofast.plan.plan import Plan, Situation
    from kokofast.plan.planned_state import Prospect
    from kokofast.plan.shortest_paths import Ends, Goal, Hop, Routes
    from kokofast.topology.model import End, Link, Node, Topology

ROUTING = "$.routing"


def sysctls_of(topology: Topology, places: Mapping[str, int]) -> dict[int, set[str]]:
    """Return which sysctls the plan may write in each namespace."""
    forwarding = set(FORWARDING.values()) if topology.routing is not None else set()
    found: dict[int, set[str]] = {}
    for name, node in topology.nodes.items():
        found.setdefault(places[name], set()).update(forwarding, node.sysctls)
    return found


class NodePlanner:
    """Plans the nodes of one plan: add_first() before the links, add() after them.

    made has, by namespace, the operation that its links wait for: the one that makes it, or after add_first() the one
    that sets its sysctls.
    """

    def __init__(self, plan: Plan, topology: Topology, situation: Situation, made: dict[int, int]) -> None:
        self.plan = plan
        self.topology = topology
        self.situation = situation
        self.made = made
        self.nodes: dict[int, list[Node]] = {}
        for name, node in topology.nodes.items():
            self.nodes.setdefault(situation.places[name], []).append(node)
        self.ends: dict[int, list[End]] = {}
        for link in topology.links:
            for end in link.ends:
                self.ends.setdefault(situation.places[end.node], []).append(end)
        self.paths = self._find_paths()

    def _find_paths(self) -> Paths:
        routing, places = self.topology.routing, self.situation.places
        if routing is None:
            return Paths((), {})
        first, links = lans_of(self.topology, places)
        loopbacks = {ns: [one for node in nodes for one in node.addresses] for ns, nodes in self.nodes.items()}
        try:
            paths = Paths(links, loopbacks, multipath=routing.multipath)
        except TooManyRoutesError:
            text = f"there would be more than {ROUTES_MAX:,} routes, one from each node to each network; make the lab"
            self.plan.problems.append(Problem(ROUTING, f"{text} smaller, or give the nodes routes of their own"))
            return Paths((), {})
        self._note_gaps(first, links, paths)
        return paths

    def _note_gaps(self, first: Sequence[Link], links: Sequence[Ends], paths: Paths) -> None:
        """Note links that carry no routes, and networks that are on several links."""
        lacking = [
            first[number]
            for number, ends in enumerate(links)
            if len(ends) > 1 and number not in paths.carries and all(end.up for _, end, _ in ends)
        ]
        if lacking:
            rest = len(lacking) - 1
            more = f", and {rest:,} more link{'s' * (rest > 1)}" if rest else ""
            self.plan.notes.append(
                f"no route leads over {lacking[0].title()}{more}: both ends need addresses of one network (subnet)"
            )
        for (_, packed, prefixlen, _), (one_of, other) in paths.shared.items():
            one, two = first[one_of], first[other]
            self.plan.notes.append(
                f"the network {text_of(packed, prefixlen)} is on several links, {one.title()} and {two.title()}; "
                "routes lead to the nearest of them"
            )
            break

    def add_first(self) -> None:
        """Add the sysctls that interfaces may depend on; links in those namespaces wait for them."""
        for ns, nodes in self.nodes.items():
            values = {path: value for path, value in self._sysctls(ns).items() if not self._is_of_end(ns, path)}
            self._check_ipv6(ns, nodes)
            wait = (self.made[ns],) if ns in self.made else ()
            number = self._add_sysctls(ns, nodes[0], values, wait)
            if number is not None:
                self.made[ns] = number

    def _check_ipv6(self, ns: int, nodes: Iterable[Node]) -> None:
        """Refuse to switch IPv6 off where addresses would be lost, which no rollback brings back."""
        seen = self._router(ns)
        for node in nodes if seen.ipv6 and seen.sysctls.get(DISABLE_IPV6[0]) == "0" else ():
            if node.ipv6 is False:
                text = (
                    f"{node.name} has IPv6 addresses ({', '.join(seen.ipv6)}), which would be lost; remove them first"
                )
                self.plan.problems.append(Problem(f"{node.place}.ipv6", text))

    def add(self, prospect: Prospect) -> None:
        """Add addresses, routes, and the sysctls of the links' ends."""
        for ns, nodes in self.nodes.items():
            wait = set(prospect.ready(IfRef(ns, end.ifname) for end in self.ends.get(ns, ())))
            wait.update((self.made[ns],) if ns in self.made else ())
            after = tuple(sorted(wait))
            values = {path: value for path, value in self._sysctls(ns).items() if self._is_of_end(ns, path)}
            self._add_sysctls(ns, nodes[0], values, after)
            change = self._change(ns, nodes)
            if change:
                self.plan.add(ConfigureNode(ns, nodes[0].name, self.topology.name, change), after)

    def _sysctls(self, ns: int) -> dict[str, str]:
        """Return the value of each path. Forwarding comes first, as it sets others."""
        values = {FORWARDING[family]: "1" for family in self.paths.forwards.get(ns, ())}
        for node in self.nodes[ns]:
            values |= node.sysctls
        return values

    def _is_of_end(self, ns: int, path: str) -> bool:
        """Whether a sysctl belongs to an interface of the file: that may have to be made first."""
        names = {end.ifname for end in self.ends.get(ns, ())}
        return not names.isdisjoint(path.split("/"))

    def _add_sysctls(self, ns: int, node: Node, values: Mapping[str, str], after: tuple[int, ...]) -> int | None:
        seen = self._router(ns).sysctls
        different = {path: value for path, value in values.items() if not _same(seen.get(path), value)}
        return self.plan.add(SetSysctls(ns, node.name, different, seen), after) if different else None

    def _router(self, ns: int) -> Router:
        return self.situation.routers.get(ns) or Router()

    def _change(self, ns: int, nodes: Iterable[Node]) -> NodeChange:
        seen = self._router(ns)
        routes, places = self._routes(ns, nodes)
        if routes:
            self.plan.routes[ns] = len(routes)
        add = {goal: hops for goal, hops in routes.items() if not _same_hops(seen.routes.get(goal), hops)}
        behind = add.keys() & seen.routes.keys()  # as they may be already
        if new := routes.keys() - seen.routes.keys():
            for goal in new & seen.strangers.keys():
                if self._is_leaving(ns, goal, seen.strangers[goal]):
                    behind.add(goal)
                else:
                    self._report_stranger(ns, goal, places.get(goal, ROUTING), seen.strangers[goal])
        wanted = {address: None for node in nodes for address in node.addresses}
        self._check_lengths(nodes, seen)
        loopback = self.situation.find(IfRef(ns, LOOPBACK))
        marked, is_ours = is_marked(self.situation.observed[ns], self.topology.name), bool(wanted or routes)
        return NodeChange(
            mark=is_ours if is_ours != marked else None,
            up=True if wanted and loopback is not None and not loopback.up else None,
            add=[address for address in wanted if address not in seen.addresses],
            remove=[address for address, ours in seen.addresses.items() if ours and address not in wanted],
            add_routes=add,
            remove_routes={goal: hops for goal, hops in seen.routes.items() if goal in add or goal not in routes},
            behind=behind,
        )

    def _is_leaving(self, ns: int, goal: Goal, words: str) -> bool:
        """Whether a route is the kernel's own to a network whose interface is deleted, or whose address is removed."""
        interface = self.situation.find(IfRef(ns, device_in(words)))
        if interface is None or not words.endswith(" proto kernel"):
            return False
        if (ns, interface.ifindex) in self.situation.going:
            return True
        end = next((end for end in self.ends.get(ns, ()) if end.ifname == interface.ifname), None)
        if end is None:
            return False
        stay = [address for address, ours in interface.addresses.items() if not ours]
        return all(network_of(one)[:3] != goal[:3] for one in (*stay, *interface.temporary, *end.addresses))

    def _routes(self, ns: int, nodes: Iterable[Node]) -> tuple[Routes, dict[Goal, str]]:
        """Return the routes of a namespace, those of the file first, and the places of these."""
        routes = dict(self.paths.routes.get(ns, {}))
        places: dict[Goal, str] = {}
        for node in nodes:
            for index, route in enumerate(node.routes):
                family, packed, prefixlen = route.goal.key()
                goal = family, packed, prefixlen, route.metric or DEFAULT_METRIC[family]
                hops: list[Hop] = []
                for one in route.each():
                    with contextlib.suppress(ValueError):  # its link was left out, because a node is missing
                        end = end_of(one, self.ends.get(ns, ()))
                        hops.append((end.ifname, one.via.packed if one.via is not None else b""))
                if not hops:
                    continue
                routes[goal] = tuple(hops)
                places[goal] = f"{node.place}.routes[{index}]"
        return routes, places

    def _report_stranger(self, ns: int, goal: Goal, place: str, words: str) -> None:
        name = self.nodes[ns][0].name
        cure = f"remove that, or give the node's routes to {name_of(goal)} another metric"
        if place == ROUTING:
            cure = "remove that"
        text = f"{name} already has a route to {name_of(goal)} ({words}), which is not ours; {cure}"
        self.plan.problems.append(Problem(place, text))

    def _check_lengths(self, nodes: Iterable[Node], seen: Router) -> None:
        lengths = {one.packed: (one, ours) for one, ours in seen.addresses.items() if one.family == AF_INET6}
        for node in nodes:
            for index, address in enumerate(node.addresses):
                other, ours = lengths.get(address.packed, (address, True))
                if other.prefixlen != address.prefixlen and not ours:
                    self.plan.problems.append(
                        Problem(
                            f"{node.place}.addresses[{index}]",
                            f"{node.name}:{LOOPBACK} has the address {address.text} already with the prefix length "
                            f"{other.prefixlen}; remove it first (ip address delete)",
                        )
                    )


def lans_of(topology: Topology, places: Mapping[str, int]) -> tuple[list[Link], list[Ends]]:
    """Return the ends that reach each other: those of a link, or of all links that are ports of one bridge.

    A port itself (an end with a master) has no routes. Each is returned with its first link.
    """
    firsts: list[Link] = []
    found: list[list[tuple[int, End, int]]] = []
    lans: dict[tuple[int, str], int] = {}  # a bridge -> the position of its LAN
    for link in topology.links:
        masters = [(places[end.node], str(end.properties["master"])) for end in link.ends if "master" in end.properties]
        ends = [(places[end.node], end, end.cost) for end in link.ends if "master" not in end.properties]
        bridges = masters or [(ns, end.ifname) for ns, end, _ in ends if len(link.ends) == 1]
        joined = sorted({lans[bridge] for bridge in bridges if bridge in lans})
        number = joined[0] if joined else len(found)
        if not joined:
            firsts.append(link)
            found.append([])
        found[number] += ends
        for other in joined[1:]:  # two bridges with a veth between them
            found[number] += found[other]
            found[other] = []
            lans = {bridge: number if at == other else at for bridge, at in lans.items()}
        lans.update(dict.fromkeys(bridges, number))
    return firsts, list(found)


def name_of(goal: Goal) -> str:
    """Return the network of a route as text."""
    _, packed, prefixlen, _ = goal
    return text_of(packed, prefixlen) if prefixlen else "default"


def _same(seen: str | None, value: str) -> bool:
    if seen is None:
        return False
    return [_number(part) for part in seen.split()] == [_number(part) for part in value.split()]


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.lstrip("-").isdigit() else text


def _same_hops(seen: tuple[tuple[str, bytes], ...] | None, hops: tuple[tuple[str, bytes], ...]) -> bool:
    return seen is not None and (seen == hops or sorted(seen) == sorted(hops))
