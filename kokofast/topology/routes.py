"""Routes that a file gives to its nodes, and the routing of the whole lab."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from kokofast.topology.model import AF_INET, Address, End, Link, Node, Route
from kokofast.topology.values import is_link_local, parse_ip_or_network, quote

DEFAULT = "default"
SHORTEST_PATH = "shortest-path"

# (place, message)
Report = Callable[[str, str], None]


def parse_goal(text: str) -> Address | None:
    """Parse where a route leads; None for ``default``, whose family is that of the neighbour."""
    if text == DEFAULT:
        return None
    goal = parse_ip_or_network(text)
    rest = len(goal.packed) * 8 - goal.prefixlen
    number = int.from_bytes(goal.packed) >> rest << rest
    if number != int.from_bytes(goal.packed):
        network = text_of(number.to_bytes(len(goal.packed)), goal.prefixlen)
        raise ValueError(f"{quote(text)} has bits set behind the prefix; its network is {network}")
    return goal


def parse_gateway(text: str) -> Address:
    """Parse the address of a neighbour."""
    if "/" in text:
        raise ValueError(f"{quote(text)} has a prefix length; a neighbour's address has none")
    gateway = parse_ip_or_network(text)
    if not any(gateway.packed):
        raise ValueError(f"{quote(text)} is no neighbour's address")
    return gateway


def make_route(values: Mapping[str, Any]) -> Route:
    """Make a route of these fields, each of which is right. Raises ValueError where they do not go together."""
    goal, given, dev, metric = (values[name] for name in ("to", "via", "dev", "metric"))
    via, *others = given if isinstance(given, tuple) else (given,)
    if others and dev is not None:
        raise ValueError("a route by several neighbours has no 'dev': each of them is on a network of the node")
    if any(one.family != via.family for one in others):
        raise ValueError("the neighbours are not all IPv4, nor all IPv6")
    if via is None and dev is None:
        raise ValueError("a route needs 'via', a neighbour's address, or 'dev', an interface")
    if goal is None:
        if via is None:
            raise ValueError("'default' without 'via' may be IPv4 or IPv6; write 'to' as 0.0.0.0/0 or ::/0")
        goal = Address(via.family, bytes(len(via.packed)), 0, DEFAULT)
    if via is not None and via.family != goal.family:
        raise ValueError(f"{quote(via.text)} is not of the family of {quote(goal.text)}")
    for one in (via, *others):
        if one is not None and is_link_local(one) and dev is None:
            raise ValueError(f"the link-local address {quote(one.text)} is on every link; say which by 'dev'")
    return Route(goal, via, dev, metric, tuple(others))


def text_of(packed: bytes, prefixlen: int, *, whole: bool = False) -> str:
    """Return ``10.0.0.0/8``; a single address without its length, unless whole is given."""
    from ipaddress import ip_address

    return f"{ip_address(packed)}" + (f"/{prefixlen}" if whole or prefixlen < len(packed) * 8 else "")


def has_in_network(own: Address, other: Address) -> bool:
    """Whether an interface with the first address reaches the second one without a router."""
    rest = len(own.packed) * 8 - own.prefixlen
    return own.family == other.family and not (int.from_bytes(own.packed) ^ int.from_bytes(other.packed)) >> rest


def end_of(route: Route, ends: Sequence[End]) -> End:
    """Return the end of the route's node that packets leave by. Raises ValueError when there is none."""
    chosen = [end for end in ends if route.dev in (None, end.ifname)]
    if not ends:
        raise ValueError("this node has no end of a link in the file, which a route needs")
    if not chosen:
        raise ValueError(f"{quote(route.dev)} is no end of this node in the file; name one of its ends")
    via = route.via
    if via is not None and not is_link_local(via):
        if any(via.packed == address.packed for end in ends for address in end.addresses):
            raise ValueError(f"{quote(via.text)} is an address of the node itself; give a neighbour's")
        reached = [end for end in chosen if any(has_in_network(address, via) for address in end.addresses)]
        if not reached:
            own = ", ".join(f"{end.ifname} {address.text}" for end in chosen for address in end.addresses)
            raise ValueError(f"{quote(via.text)} is in no network of the node's ends ({own or 'without addresses'})")
        chosen = reached
    up = [end for end in chosen if end.up]
    if not up:
        raise ValueError(f"{chosen[0].ifname} is not set up in the file; set it up, or leave the route out")
    return up[0]


def check_routes(
    nodes: Iterable[Node], links: Iterable[Link], namespaces: Mapping[str, Hashable], report: Report
) -> None:
    """Report routes that the kernel would refuse. namespaces tells nodes apart by where they lead."""
    given = [node for node in nodes if node.routes]
    if not given:
        return
    ends: dict[Hashable, list[End]] = {}
    for link in links:
        for end in link.ends:
            ends.setdefault(namespaces[end.node], []).append(end)
    first: dict[Hashable, str] = {}
    for node in given:
        namespace = namespaces[node.name]
        for index, route in enumerate(node.routes):
            place = f"{node.place}.routes[{index}]"
            try:
                for one in route.each():
                    end_of(one, ends.get(namespace, ()))
                _refuse_own_network(route, ends.get(namespace, ()))
            except ValueError as error:
                report(place, str(error))
            other = first.setdefault((namespace, route.goal.key(), route.metric or 0), place)
            if other is not place:
                report(
                    place, f"there is a route to {quote(route.goal.text)} already, with the same metric: see {other}"
                )


def _refuse_own_network(route: Route, ends: Iterable[End]) -> None:
    if route.goal.family != AF_INET or route.metric:  # IPv6 gives the networks of interfaces another metric
        return
    for end in ends:
        for address in end.addresses:
            if address.prefixlen == route.goal.prefixlen < 32 and has_in_network(address, route.goal):
                text = f"{quote(route.goal.text)} is the network of {end.ifname} itself"
                raise ValueError(f"{text}; leave the route out, or give it a metric")
