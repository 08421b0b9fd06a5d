"""The main routing table of a namespace of the fake kernel (net/ipv4/fib_*.c, net/ipv6/route.c, ip6_fib.c).

Routes of the kernel itself to the networks of addresses are not kept: they follow from the addresses.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from kokofast.wire.addr import AF_INET, AF_INET6, RT_SCOPE_LINK
from kokofast.wire.message import NLM_F_APPEND, NLM_F_EXCL, KernelError, Message
from kokofast.wire.route import (
    RT_TABLE_MAIN,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTPROT_KERNEL,
    pack_hops,
    unpack_hops,
)

if TYPE_CHECKING:
    from tests.engine.fake_links import FakeLink, FakeNamespace

UNIVERSE = 0
IPV6_METRIC = 256  # IP6_RT_PRIO_ADDRCONF
USER_METRIC = 1024  # IP6_RT_PRIO_USER
BYTES = {AF_INET: 4, AF_INET6: 16}
BITS = {AF_INET: 32, AF_INET6: 128}
NO_GATEWAY = "Nexthop has invalid gateway"


class Hop:
    """is_dead: its interface is down, or was, and the kernel has not heard yet that it is up."""

    def __init__(self, index: int, gateway: bytes = b"") -> None:
        self.index = index
        self.gateway = gateway
        self.is_dead = False

    def pair(self) -> tuple[int, bytes]:
        return self.index, self.gateway


class Goal(NamedTuple):
    """A network, and the priority of a route to it."""

    family: int
    length: int
    dst: bytes
    priority: int

    def has(self, packed: bytes) -> bool:
        spare = BITS[self.family] - self.length
        return int.from_bytes(packed, "big") >> spare == int.from_bytes(self.dst, "big") >> spare


class Route(NamedTuple):
    goal: Goal
    protocol: int
    scope: int
    hops: list[Hop]

    def is_over(self, index: int) -> bool:
        return any(hop.index == index for hop in self.hops)

    def state(self) -> tuple[object, ...]:
        return (*self.goal, self.protocol, self.scope, [hop.pair() for hop in self.hops])


class FakeRoutes:
    """The routes that were asked for, and the kernel's own.

    own has routes of the kernel's that do not follow from an address here, such as those of link-local ones.
    """

    def __init__(self, namespace: FakeNamespace) -> None:
        self._namespace = namespace
        self.asked: list[Route] = []
        self.own: list[Route] = []
        self._deleted: set[tuple[Goal, int]] = set()  # of the kernel's own

    def state(self) -> list[tuple[object, ...]]:
        return sorted(route.state() for route in [*self.asked, *self.own])

    def add_own(self, index: int) -> None:
        """The kernel's route to the link-local addresses of an interface."""
        self.own.append(_own(AF_INET6, 64, b"\xfe\x80" + bytes(14), IPV6_METRIC, index))

    # What is there

    def all(self) -> Iterator[Route]:
        yield from self.asked
        yield from self._kernels()

    def _kernels(self) -> Iterator[Route]:
        found = [route for link in self._namespace.links.values() for route in self._connected(link)]
        for route in [*found, *self.own]:
            if (route.goal, route.hops[0].index) not in self._deleted:
                yield route

    def _connected(self, link: FakeLink) -> Iterator[Route]:
        """fib_add_ifaddr(), addrconf_prefix_route()."""
        seen: set[Goal] = set()
        for (family, network, length), metric in link.addresses.networks() if link.up else ():
            goal = Goal(family, length, network, metric or (IPV6_METRIC if family == AF_INET6 else 0))
            is_local = family == AF_INET and (link.is_loopback or length == BITS[AF_INET])  # another table
            if goal not in seen and not is_local:
                seen.add(goal)
                yield _own(*goal, link.index)

    def show(self, asked: Mapping[str, Any]) -> Iterator[Message]:
        """inet_dump_fib(), inet6_dump_fib(), strictly checked: what is asked for is all that is shown."""
        for route in self.all():
            wanted = {"family": route.goal.family, "protocol": route.protocol, "table": RT_TABLE_MAIN}
            if all(asked.get(name, 0) in (0, value) for name, value in wanted.items()):
                yield _message(route)

    # RTM_NEWROUTE, RTM_DELROUTE

    def add(self, header: Mapping[str, Any], attributes: Mapping[str, Any], flags: int) -> None:
        """inet_rtm_newroute(), inet6_rtm_newroute()."""
        goal, hops = _goal(header, attributes, is_new=True), _hops(attributes)
        scope = header.get("scope", 0) if goal.family == AF_INET else UNIVERSE
        for number, hop in enumerate(hops):
            if goal.family == AF_INET:
                self._check_ipv4(hop, scope)
                continue
            self._check_ipv6(hop)
            if hop.pair() in [other.pair() for other in hops[:number]]:  # rt6_duplicate_nexthop()
                raise KernelError(errno.EEXIST)
        new = Route(goal, header["protocol"], scope, hops)
        same = [route for route in self.all() if route.goal == goal]
        if same and (flags & NLM_F_EXCL or new.state() in [route.state() for route in same]):
            raise KernelError(errno.EEXIST)
        is_behind = goal.family == AF_INET and flags & NLM_F_APPEND
        assert not same or is_behind, "no hop is appended to a route, and none is put in the place of another"
        self.asked.append(new)

    def _check_ipv4(self, hop: Hop, scope: int) -> None:
        """fib_check_nh_v4_gw(), fib_check_nh_nongw()."""
        link = self._namespace.links.get(hop.index)
        if not hop.gateway:
            if scope != RT_SCOPE_LINK:
                raise KernelError(errno.EINVAL, "Scope of a route without a gateway")  # the product never asks so
            if link is None or not link.has_ipv4:
                raise KernelError(errno.ENODEV)
            if not link.up:
                raise KernelError(errno.ENETDOWN, "Device for nexthop is not up")
            return
        # The local table comes first, with the addresses of the interface, also of one that is down, and its broadcast
        # addresses.
        if link is not None and hop.gateway in link.addresses.own(AF_INET):
            if not link.up:
                raise KernelError(errno.ENETDOWN)
            return
        if link is not None and link.up and hop.gateway in link.addresses.broadcasts():
            raise KernelError(errno.EINVAL, NO_GATEWAY)
        found = [route for route in self._over(hop) if route.scope >= RT_SCOPE_LINK]
        if not any(not one.is_dead for route in found for one in route.hops if one.index == hop.index):
            raise KernelError(errno.ENETUNREACH, NO_GATEWAY)

    def _check_ipv6(self, hop: Hop) -> None:
        """fib6_nh_init(), ip6_validate_gw()."""
        link = self._namespace.links.get(hop.index)
        if link is None or not link.has_ipv6:
            raise KernelError(errno.ENODEV)
        if hop.gateway:
            if any(hop.gateway in one.addresses.own(AF_INET6) for one in self._namespace.links.values()):
                raise KernelError(errno.EINVAL, "Gateway can not be a local address")
            over = self._over(hop)
            longest = max((route.goal.length for route in over), default=0)
            best = [route for route in over if route.goal.length == longest]
            first = min(best, key=lambda route: route.goal.priority, default=None)
            is_link_local = hop.gateway[:2] == b"\xfe\x80"
            if not is_link_local and (first is None or any(one.gateway for one in first.hops)):
                raise KernelError(errno.EHOSTUNREACH)
        if not self._namespace.is_ipv6_on(link):
            raise KernelError(errno.EACCES, "IPv6 is disabled on nexthop device")
        if not link.up:
            raise KernelError(errno.ENETDOWN, "Nexthop device is not up")

    def _over(self, hop: Hop) -> list[Route]:
        """The routes to the gateway of a hop over its interface."""
        family = AF_INET if len(hop.gateway) == BYTES[AF_INET] else AF_INET6
        return [
            route
            for route in self.all()
            if route.goal.family == family and route.goal.has(hop.gateway) and route.is_over(hop.index)
        ]

    def remove(self, header: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """inet_rtm_delroute(), inet6_rtm_delroute()."""
        goal, hops = _goal(header, attributes, is_new=False), _hops(attributes)
        if goal.family == AF_INET:
            self._remove_one(goal, header, lambda route: _matches(route.hops, hops))
            return
        missing = 0
        for hop in hops:  # ip6_route_multipath_del(): the others go all the same
            try:
                self._remove_one(goal, header, lambda route, hop=hop: _has(route, hop), hop)  # type: ignore[misc]
            except KernelError:
                missing += 1
        if missing:
            raise KernelError(errno.ESRCH)

    def _remove_one(
        self, goal: Goal, header: Mapping[str, Any], matches: Callable[[Route], bool], hop: Hop | None = None
    ) -> None:
        for route in sorted(self.all(), key=lambda one: one.goal.priority):
            if route.goal[:3] != goal[:3] or (goal.priority and route.goal.priority != goal.priority):
                continue
            if header.get("protocol", 0) not in (0, route.protocol):
                continue
            if goal.family == AF_INET and header.get("scope", 0) != route.scope:
                continue
            if matches(route):
                self._drop(route, hop)
                return
        raise KernelError(errno.ESRCH)

    def _drop(self, route: Route, hop: Hop | None) -> None:
        if route in self.own:
            self.own.remove(route)
        elif route not in self.asked:
            self._deleted.add((route.goal, route.hops[0].index))
        elif hop is not None and hop.gateway and len(route.hops) > 1:
            route.hops.remove(next(one for one in route.hops if one.pair() == hop.pair()))
        else:
            self.asked.remove(route)

    # What happens to interfaces

    def forget(self, index: int, family: int, *, is_gone: bool) -> None:
        """An interface is down for IPv4, or for IPv6; or it is not there any more for it.

        fib_sync_down_dev(), fib6_ifdown().
        """
        for route in [route for route in self.asked if route.goal.family == family and route.is_over(index)]:
            for hop in route.hops:
                hop.is_dead = hop.is_dead or hop.index == index
            if all(hop.is_dead for hop in route.hops) or (is_gone and family == AF_INET):
                self.asked.remove(route)
            elif is_gone:
                route.hops[:] = [hop for hop in route.hops if hop.index != index]
        self.own = [route for route in self.own if route.goal.family != family or not route.is_over(index)]
        self._deleted = {(goal, other) for goal, other in self._deleted if other != index or goal.family != family}

    def dead(self) -> set[int]:
        """The interfaces of dead hops."""
        return {hop.index for route in self.asked for hop in route.hops if hop.is_dead}

    def revive(self, index: int, family: int) -> None:
        """An interface carries packets again: fib_sync_up(), rt6_sync_up()."""
        for route in self.asked:
            for hop in route.hops if route.goal.family == family else ():
                hop.is_dead = hop.is_dead and hop.index != index


def _own(family: int, length: int, dst: bytes, priority: int, index: int) -> Route:
    scope = RT_SCOPE_LINK if family == AF_INET else UNIVERSE
    return Route(Goal(family, length, dst, priority), RTPROT_KERNEL, scope, [Hop(index)])


def _goal(header: Mapping[str, Any], attributes: Mapping[str, Any], *, is_new: bool) -> Goal:
    family = header["family"]
    priority, dst, length = (
        attributes.get("priority", 0),
        attributes.get("dst", bytes(BYTES[family])),
        header["dst_len"],
    )
    if family == AF_INET6 and is_new:
        priority = priority or USER_METRIC
    if family == AF_INET and int.from_bytes(dst, "big") & ((1 << (BITS[AF_INET] - length)) - 1):
        raise KernelError(errno.EINVAL, "Invalid prefix for given prefix length")
    return Goal(family, length, dst, priority)


def _hops(attributes: Mapping[str, Any]) -> list[Hop]:
    if "multipath" in attributes:
        return [Hop(*pair) for pair in unpack_hops(attributes["multipath"])]
    return [Hop(attributes["oif"], attributes.get("gateway", b""))]


def _matches(there: list[Hop], asked: list[Hop]) -> bool:
    """fib_nh_match(): one after the other; a single one is compared with the first."""
    if len(asked) == 1:
        return _like(there[0], asked[0])
    return len(asked) >= len(there) and all(map(_like, there, asked))


def _like(there: Hop, asked: Hop) -> bool:
    return there.index == asked.index and asked.gateway in (b"", there.gateway)


def _has(route: Route, asked: Hop) -> bool:
    return any(_like(hop, asked) for hop in route.hops)


def _message(route: Route) -> Message:
    goal = route.goal
    header = {
        **{"family": goal.family, "dst_len": goal.length, "src_len": 0, "tos": 0, "table": RT_TABLE_MAIN},
        **{"protocol": route.protocol, "scope": route.scope, "type": RTN_UNICAST, "flags": 0},
    }
    attributes: dict[Any, Any] = {"dst": goal.dst} if goal.length else {}
    if goal.priority:
        attributes["priority"] = goal.priority
    if len(route.hops) > 1:
        attributes["multipath"] = pack_hops([hop.pair() for hop in route.hops])
    else:
        attributes["oif"] = route.hops[0].index
        attributes |= {"gateway": route.hops[0].gateway} if route.hops[0].gateway else {}
    return Message(RTM_NEWROUTE, 0, 0, 0, header, attributes)
