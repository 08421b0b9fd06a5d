"""Routes along shortest paths: found in the whole lab, and given to the nodes as routes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kokofast.plan.nodes import ROUTING, lans_of, name_of
from kokofast.plan.shortest_paths import DEFAULT_METRIC, ROUTES_MAX, Paths, TooManyRoutesError
from kokofast.topology.nodes import NAMED, identity
from kokofast.topology.problems import Problem
from kokofast.topology.routes import text_of
from kokofast.topology.sysctls import FORWARDING
from kokofast.topology.sysctls import name_of as name_of_sysctl

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from kokofast.plan.shortest_paths import Routes
    from kokofast.splitting.part import Part
    from kokofast.topology.model import Node, Topology

ROUTES = "routes"
SYSCTLS = "sysctls"


def add_routes(topology: Topology, parts: Mapping[str, Part], problems: list[Problem]) -> None:
    """Add the routes of the lab, and the sysctls that forward, to the nodes of the parts."""
    routing = topology.routing
    if routing is None:
        return
    numbers: dict[Hashable, int] = {}
    places = {name: numbers.setdefault(identity(node), len(numbers)) for name, node in topology.nodes.items()}
    nodes: dict[int, list[Node]] = {}
    for name, node in topology.nodes.items():
        nodes.setdefault(places[name], []).append(node)
    _, links = lans_of(topology, places)
    loopbacks = {ns: [one for node in those for one in node.addresses] for ns, those in nodes.items()}
    try:
        paths = Paths(links, loopbacks, multipath=routing.multipath)
    except TooManyRoutesError:
        words = f"there would be more than {ROUTES_MAX:,} routes, one from each node to each network; make the lab"
        problems.append(Problem(ROUTING, f"{words} smaller, or give the nodes routes of their own"))
        return
    for ns, those in nodes.items():
        routes, families = paths.routes.get(ns, {}), paths.forwards.get(ns, ())
        if not routes and not families:
            continue
        node = those[0]
        assert node.host is not None
        entries = parts[node.host].nodes
        raw: dict[str, Any] = {**entries.get(node.name, {NAMED: node.name})}
        entries[node.name] = raw
        if routes:
            raw[ROUTES] = [*raw.get(ROUTES, ()), *_entries(routes, those)]
        if sysctls := _forwarding(families, those):
            raw[SYSCTLS] = raw.get(SYSCTLS, {}) | sysctls


def _entries(routes: Routes, nodes: Iterable[Node]) -> Iterator[dict[str, object]]:
    """Yield the routes as a file has them, but for those to which the file has one of its own."""
    own = {
        (*route.goal.key(), route.metric or DEFAULT_METRIC[route.goal.family])
        for node in nodes
        for route in node.routes
    }
    for goal, hops in routes.items():
        if goal not in own:
            texts = [text_of(packed, len(packed) * 8) for _, packed in hops]
            one = {"via": texts[0], "dev": hops[0][0]} if len(texts) == 1 else {"via": texts}
            yield {"to": name_of(goal), **one}


def _forwarding(families: Iterable[int], nodes: Iterable[Node]) -> dict[str, int]:
    """Return the sysctls by which a node passes traffic on, but for those that the file sets."""
    given = {path for node in nodes for path in node.sysctls}
    return {name_of_sysctl(FORWARDING[family]): 1 for family in families if FORWARDING[family] not in given}
