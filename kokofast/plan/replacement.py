"""What --replace deletes and makes again: links that batch cannot change in place, and what depends on them.

A plan is made as if these links were not there. They are deleted before its operations, and made again as they were
after a rollback.
"""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.node_change import Router
from kokofast.plan.observed import lower_of
from kokofast.plan.operations import IfRef
from kokofast.plan.ownership import ALIAS_PREFIX, lab_of
from kokofast.plan.plan import CREATE, REPLACE, Situation
from kokofast.plan.relations import Relations
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kokofast.plan.observed import Interface, MirrorFilter
    from kokofast.plan.plan import Conflict, Plan
    from kokofast.plan.step import FieldChange
    from kokofast.topology.model import Topology

    Place = tuple[int, str]  # namespace, interface


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
        relations: Of its interfaces.
        routers: The same of namespaces that are not in the file.
        without_link_local: (namespace, ifindex) of interfaces for which the kernel makes no link-local address.
        titles: Of namespaces that are not in the file.
        in_file: The links of the file, by their interfaces.
        seen: The ids of the objects that stand for what is deleted in the situation.
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
        self.relations = Relations(situation.observed, has_nsid)
        self.asides = {(aside.ns, aside.ifindex): aside for aside in situation.leaving}
        self._by_place: dict[Place, OldLink] = {}
        self.seen: set[int] = set()
        self.gone: dict[int, dict[int, str]] = {}
        self._groups: dict[int, set[int]] = {}  # links of the file that stay, or are taken back, together
        self._wheres: dict[int, str] = {}
        self.in_file = {
            (situation.places[end.node], end.ifname): number
            for number, link in enumerate(topology.links)
            for end in link.ends
        }

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
            ends = (*ends, *self.relations.peer_of(*ends[0]))
        else:
            parent = self.relations.parent_of(*ends[0])
        is_leaving = all((ns, item.ifindex) in self.situation.going for ns, item in ends)
        self.seen.update(id(item) for _, item in ends)
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
            for there, child in self.relations.children_of(ns, item):
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
