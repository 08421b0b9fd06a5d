"""What --replace deletes and makes again: links that batch cannot change in place, and what depends on them.

A plan is made as if these links were not there. They are deleted before its operations, and made again as they were
after a rollback.
"""

from __future__ import annotations

from copy import copy

from kokofast.ends import ATTRIBUTES
from kokofast.kinds import KINDS
from kokofast.plan.node_change import Router, device_in
from kokofast.plan.observed import Namespace, lower_of
from kokofast.plan.operations import IfRef
from kokofast.plan.ownership import ALIAS_PREFIX, lab_of
from kokofast.plan.plan import CREATE, REPLACE, Situation
from kokofast.topology.model import AF_INET
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kokofast.plan.observed import Interface, MirrorFilter
    from kokofast.plan.plan import Conflict, Plan
    from kokofast.plan.shortest_paths import Goal, Hop, Routes
    from kokofast.plan.step import FieldChange
    from kokofast.topology.model import Topology

    Place = tuple[int, str]  # namespace, interface


# The attributes that a port loses with its bridge.
OF_PORTS = ("master", ATTRIBUTES["lacp"])


class OldLink:
    """An existing link that is replaced.

    Attributes:
        ends: Its interfaces with their namespaces.
        parent: Its parent interface, None for a kind without.
        link: The number of a link in the file that comes in its place, or in that of what is below it.
        depth: How many replaced links are below it.
        is_leaving: Whether it has left the file, and is only on a replaced link.
    """

    __slots__ = ("depth", "ends", "is_leaving", "link", "parent")

    def __init__(self, ends: tuple[tuple[int, Interface], ...], parent: IfRef | None, link: int) -> None:
        self.ends = ends
        self.parent = parent
        self.link = link
        self.depth = 0
        self.is_leaving = False


class Replacement:
    """All that is replaced.

    Attributes:
        old: The links that are deleted, parents before those on them.
        problems: Why they cannot be replaced: then nothing may be touched.
        changes: By the numbers of links in the file what differs.
        situation: What was there before.
        routers: The same of namespaces that are not in the file.
        without_link_local: (namespace, ifindex) of interfaces for which the kernel makes no link-local address.
        titles: Of namespaces that are not in the file.
        in_file: The links of the file, by their interfaces.
        gone: By namespace the numbers and names of what is deleted.
        asides: By (namespace, ifindex) what gives its name away.
    """

    def __init__(self, topology: Topology, situation: Situation, has_nsid: Callable[[int, int, int], bool]) -> None:
        self.topology = topology
        self.situation = situation
        self.old: list[OldLink] = []
        self.problems: list[Problem] = []
        self.changes: dict[int, list[FieldChange]] = {}
        self.routers: dict[int, Router] = {}
        self.without_link_local: set[tuple[int, int]] = set()
        self.titles: dict[int, str] = {number: name for name, number in reversed([*situation.places.items()])}
        self._has_nsid = has_nsid
        self.asides = {(aside.ns, aside.ifindex): aside for aside in situation.leaving}
        self._by_place: dict[Place, OldLink] = {}
        self._seen: set[int] = set()  # the ids of what is deleted, as the situation has it
        self.gone: dict[int, dict[int, str]] = {}
        self._groups: dict[int, set[int]] = {}  # links of the file that stay, or are taken back, together
        self._wheres: dict[int, str] = {}
        self.in_file = {
            (situation.places[end.node], end.ifname): number
            for number, link in enumerate(topology.links)
            for end in link.ends
        }
        self.index()

    def index(self) -> None:
        """Index the interfaces of all namespaces by their numbers, and by those of their peers, parents and masters."""
        self._by_index: dict[int, list[tuple[int, Interface]]] = {}
        self._by_lower: dict[int, list[tuple[int, Interface]]] = {}
        self._by_master: dict[Place | tuple[int, int], list[Interface]] = {}
        for ns, namespace in enumerate(self.situation.observed):
            for interface in namespace.interfaces.values() if namespace is not None else ():
                self._by_index.setdefault(interface.ifindex, []).append((ns, interface))
                self._by_lower.setdefault(lower_of(interface), []).append((ns, interface))
                if interface.master:
                    self._by_master.setdefault((ns, interface.master), []).append(interface)

    def add(self, conflicts: Iterable[Conflict]) -> None:
        """Add the links in the way, with all that is on them."""
        for conflict in conflicts:
            changes = self.changes.setdefault(conflict.link, [])
            changes += [change for change in conflict.changes if change not in changes]
            self._wheres.setdefault(conflict.link, conflict.place)
            for place in conflict.interfaces:
                self._add(place, conflict.link)

    def missing(self) -> tuple[set[int], set[int]]:
        """Return the numbers of peers and parents that were not found, and those of the replaced interfaces."""
        wanted = {
            lower_of(interface)
            for old in self.old
            for _, interface in old.ends
            if len(old.ends) < KINDS[interface.kind].ends or (is_stacked(interface) and old.parent is None)
        }
        return wanted, {interface.ifindex for old in self.old for _, interface in old.ends}

    def _add(self, place: Place, number: int) -> None:
        namespace = self.situation.observed[place[0]]
        interface = namespace.interfaces.get(place[1]) if namespace is not None else None
        if interface is not None and interface.ifindex in self.gone.get(place[0], ()):
            place = place[0], self.gone[place[0]][interface.ifindex]
        if place in self._by_place:
            self._join(self._by_place[place].link, number)
            return
        if interface is None:
            return
        ends: tuple[tuple[int, Interface], ...] = ((place[0], interface),)
        parent = None
        if KINDS[interface.kind].ends == 2:
            ends = (*ends, *self._peer_of(*ends[0]))
        else:
            parent = self._parent_of(*ends[0])
        is_leaving = all((ns, item.ifindex) in self.situation.going for ns, item in ends)
        self._seen.update(id(item) for _, item in ends)
        # What is deleted first need not give its name away.
        ends = tuple((ns, self._before(ns, item)) for ns, item in ends)
        old = OldLink(ends, parent, number)
        old.is_leaving = is_leaving
        self.old.append(old)
        for ns, item in ends:
            self._by_place[ns, item.ifname] = old
            self.gone.setdefault(ns, {})[item.ifindex] = item.ifname
            self._join(number, self.in_file.get((ns, item.ifname), number))
        for ns, item in ends:
            for there, child in self.children_of(ns, item):
                is_known = (there, child.ifname) in self.in_file or (there, child.ifindex) in self.situation.going
                if is_known and self.is_ours(there, child):
                    self._add((there, child.ifname), number)

    def _before(self, ns: int, interface: Interface) -> Interface:
        """Return the interface as it is, though the situation may have it by another name."""
        aside = self.asides.get((ns, interface.ifindex))
        return interface if aside is None else aside.interface

    def _join(self, one: int, other: int) -> None:
        """Put two links of the file into one group."""
        groups = (self._groups.setdefault(number, {number}) for number in (one, other))
        small, large = sorted(groups, key=len)
        if small is not large:
            large |= small
            self._groups.update(dict.fromkeys(small, large))

    def links_of(self, old: OldLink) -> set[int]:
        """Return the links of the file that stay, or are taken back, together with the replacement of a link."""
        return self._groups[old.link]

    def _peer_of(self, ns: int, interface: Interface) -> tuple[tuple[int, Interface], ...]:
        found = [
            (there, item)
            for there, item in self._by_index.get(interface.peer, ())
            if item.peer == interface.ifindex
            and item.kind == interface.kind
            and item is not interface
            and self._refers_to(ns, interface, there)
            and self._refers_to(there, item, ns)
        ]
        return (found[0],) if len(found) == 1 else ()

    def _parent_of(self, ns: int, interface: Interface) -> IfRef | None:
        found = [
            IfRef(there, item.ifname)
            for there, item in self._by_index.get(lower_of(interface), ())
            if self._refers_to(ns, interface, there)
        ]
        return found[0] if len(found) == 1 else None

    def children_of(self, ns: int, interface: Interface) -> list[tuple[int, Interface]]:
        """Return the interfaces that are on another one, and are deleted with it."""
        return [
            (there, item)
            for there, item in self._by_lower.get(interface.ifindex, ())
            if item.kind not in KINDS or KINDS[item.kind].ends == 1
            if item is not interface and self._refers_to(there, item, ns)
        ]

    def ports_of(self, ns: int, interface: Interface) -> list[Interface]:
        """Return the interfaces that have another one as their master."""
        return self._by_master.get((ns, interface.ifindex), [])

    def _refers_to(self, here: int, interface: Interface, there: int) -> bool:
        """Whether the peer or parent of an interface is in a namespace, as far as that is known."""
        if here == there or interface.peer_nsid is None:
            return here == there and interface.peer_nsid is None
        return self._has_nsid(here, there, interface.peer_nsid)

    def is_ours(self, ns: int, interface: Interface) -> bool:
        """Whether the interface is of this lab."""
        namespace, lab = self.situation.observed[ns], self.topology.name
        return namespace is not None and lab_of(interface, namespace, self.situation.boot, lab) == lab

    def places(self) -> set[Place]:
        """Return (namespace, interface) of all that is deleted, apart from links that have left the file."""
        return {place for place, old in self._by_place.items() if not old.is_leaving}

    def is_replaced(self, ns: int, ifname: str) -> bool:
        """Whether the interface is deleted."""
        return (ns, ifname) in self._by_place

    def title(self, ns: int, ifname: str) -> str:
        """Return node:interface."""
        node = self.titles.get(ns)
        return f"{node}:{ifname}" if node else ifname

    def where(self, old: OldLink) -> str:
        """Return the place in the file to blame."""
        numbers = (old.link, *sorted(self.links_of(old)))
        return next((self._wheres[number] for number in numbers if number in self._wheres), "")

    def report(self, old: OldLink, ns: int, interface: Interface, fact: str, cure: str) -> None:
        """Add a problem: this interface cannot be replaced."""
        title = self.title(ns, interface.ifname)
        self.problems.append(Problem(self.where(old), f"{title} is not replaced: {fact}; {cure}"))

    def finish(self) -> None:
        """Sort the links: parents before those on them. Call it when all are added."""
        for old in self.old:
            parent = self.situation.find(old.parent) if old.parent is not None else None
            if old.parent is not None and parent is not None:  # one that is replaced keeps its name
                name = self.gone.get(old.parent.ns, {}).get(parent.ifindex, parent.ifname)
                old.parent = IfRef(old.parent.ns, name)
        for old in self.old:
            old.depth = self._depth_of(old)
        self.old.sort(key=lambda old: old.depth)

    def _depth_of(self, old: OldLink) -> int:
        depth = 0
        while old.parent is not None and (old.parent.ns, old.parent.ifname) in self._by_place:
            old = self._by_place[old.parent.ns, old.parent.ifname]
            depth += 1
        return depth

    def indexes(self) -> dict[int, set[int]]:
        """Return, by namespace, the numbers of the replaced interfaces."""
        return {ns: set(gone) for ns, gone in self.gone.items()}

    def mirrors(self) -> Iterable[tuple[int, MirrorFilter]]:
        """Yield (namespace, filter) of the mirrors that are on a replaced interface, or copy to one."""
        for ns, indexes in self.gone.items():
            namespace = self.situation.observed[ns]
            for mirror in namespace.mirrors if namespace is not None else ():
                if mirror.target in indexes or (ns, mirror.ifname) in self._by_place:
                    yield ns, mirror

    def without(self) -> Situation:
        """Return what is in the namespaces without the replaced links."""
        before = self.situation
        observed = [self._namespace_without(ns, item) for ns, item in enumerate(before.observed)]
        after = Situation(before.places, observed, before.boot, before.nsids)
        after.elsewhere = {
            ns: [
                pair
                for pair in pairs
                if id(pair[1]) not in self._seen and lower_of(pair[1]) not in self.gone.get(ns, ())
            ]
            for ns, pairs in before.elsewhere.items()
        }
        after.leaving = [one for one in before.leaving if one.ifindex not in self.gone.get(one.ns, ())]
        after.going = before.going
        after.routers = {ns: self.router_without(ns, router) for ns, router in before.routers.items()}
        return after

    def _namespace_without(self, ns: int, namespace: Namespace | None) -> Namespace | None:
        indexes = self.gone.get(ns)
        if namespace is None or not indexes:
            return namespace
        there: dict[str, Interface] = {}
        for name, interface in namespace.interfaces.items():
            if interface.ifindex in indexes:
                continue
            if interface.master in indexes:
                interface = copy(interface)
                interface.more = {key: value for key, value in interface.more.items() if key not in OF_PORTS}
            there[name] = interface
        mirrors = tuple(
            one for one in namespace.mirrors if one.target not in indexes and (ns, one.ifname) not in self._by_place
        )
        return Namespace(namespace.identity, there, namespace.loopback_alias, mirrors)

    def router_without(self, ns: int, router: Router) -> Router:
        """Return the routes and sysctls of a namespace without the replaced interfaces."""
        names = set(self.gone.get(ns, {}).values())
        if not names:
            return router
        routes = {goal: hops for goal, old in router.routes.items() if (hops := _hops_left(goal, old, names))}
        sysctls = {path: value for path, value in router.sysctls.items() if names.isdisjoint(path.split("/"))}

        def read_strangers() -> Mapping[Goal, str]:
            # The kernel's own, and those of daemons: others are in the way.
            return {goal: words for goal, words in router.strangers.items() if device_in(words) not in names}

        found = Router(router.addresses, routes, read_strangers, sysctls)
        found.ipv6 = [name for name in router.ipv6 if name not in names]
        return found

    def lost_routes(self, ns: int) -> tuple[Routes, Routes]:
        """Return the routes of a namespace that are deleted or changed, and what is left of the changed ones."""
        router = self.routers.get(ns) or self.situation.routers.get(ns) or Router()
        left = self.router_without(ns, router).routes
        lost = {goal: hops for goal, hops in router.routes.items() if left.get(goal) != hops}
        return lost, {goal: left[goal] for goal in lost if goal in left}

    def lost_sysctls(self, ns: int) -> Mapping[str, str]:
        """Return the sysctls of replaced interfaces in a namespace, as far as the file has them."""
        router = self.situation.routers.get(ns) or Router()
        left = self.router_without(ns, router).sysctls
        return {path: value for path, value in router.sysctls.items() if path not in left}

    def settle(self, plan: Plan) -> None:
        """Add the replacement to the plan that was made without the links."""
        plan.problems += self.problems
        for number in self._groups:
            if plan.actions[number] == CREATE:
                plan.actions[number] = REPLACE
                plan.replaced[number] = self.changes.get(number, [])

    def together_with(self, failed: set[int]) -> set[int]:
        """Return the links of the file that are taken back with the failed ones."""
        return set[int]().union(*(self._groups[number] for number in failed if number in self._groups))

    def name_of(self, old: OldLink) -> str:
        """Return the title of a link."""
        title = old.ends[0][1].alias.removeprefix(f"{ALIAS_PREFIX}{self.topology.name}:")
        if title and not title.startswith("#"):
            return title
        return "--".join(self.title(ns, interface.ifname) for ns, interface in old.ends)


def is_stacked(interface: Interface) -> bool:
    """Whether it is on another interface, and no end of a pair."""
    return KINDS[interface.kind].ends == 1 and lower_of(interface) != 0


def _hops_left(goal: Goal, hops: tuple[Hop, ...], names: set[str]) -> tuple[Hop, ...]:
    left = tuple(hop for hop in hops if hop[0] not in names)
    # With one of its interfaces the kernel deletes all of an IPv4 route (fib_sync_down_dev()), of IPv6 that hop only.
    return left if left == hops or goal[0] != AF_INET else ()
