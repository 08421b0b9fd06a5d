"""Make the plan: topology + situation -> operations, their order, or problems."""

from __future__ import annotations

from kokofast.ends import ENDS
from kokofast.plan.link_operations import LinkOperations
from kokofast.plan.operations import IfRef, MakeNamespace
from kokofast.plan.ownership import LOOPBACK, alias_of, group_of, namespace_alias
from kokofast.plan.plan import CREATE, UNCHANGED, Plan, sets_nodes
from kokofast.plan.planned_state import Prospect
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.plan.existing import Existing
    from kokofast.plan.plan import Situation
    from kokofast.topology.model import End, Link, Topology

CYCLE_SHOWN = 8  # links of a cycle that a message names


def make_plan(topology: Topology, situation: Situation) -> Plan:
    """Make the plan. With problems it has all of them and no operations."""
    plan = Plan(topology)
    freed: dict[tuple[int, str], int] = {}
    for aside in situation.leaving:
        freed.update(dict.fromkeys([(aside.ns, name) for name in aside.names], plan.add(aside)))
    made = _plan_namespaces(plan, topology, situation)
    plan.actions = [UNCHANGED] * len(topology.links)
    nodes = None
    if situation.routers or sets_nodes(topology):
        from kokofast.plan.nodes import NodePlanner  # needed for routes, addresses and sysctls of nodes only

        nodes = NodePlanner(plan, topology, situation, made)
        nodes.add_first()
    has_mirrors = _has_mirrors(topology, situation)
    caps: Mapping[tuple[int, str], int] = {}
    if has_mirrors:
        from kokofast.plan.mirrors import mtu_caps, plan_mirrors

        caps = mtu_caps(topology.links, situation)
    prospect = Prospect(situation)
    operations = LinkOperations(plan, topology, situation, prospect, made, freed, caps)
    _LinkPlanner(plan, topology, situation, prospect, operations).plan_links()
    operations.bring_up_bridges()
    operations.note_by_route()
    if has_mirrors:
        plan_mirrors(plan, prospect, topology)
    if nodes is not None:
        nodes.add(prospect)
    plan.last = plan.final = len(plan.operations)
    if has_mirrors or operations.last or operations.final:
        from kokofast.plan.last_stages import add_last  # a new lab without mirrors has none

        add_last(plan, situation, prospect, operations.last, operations.final)
    if plan.problems:
        plan.rest, plan.operations, plan.after = plan.operations, [], []
    return plan


def _has_mirrors(topology: Topology, situation: Situation) -> bool:
    """Return whether the file has a mirror, or one of ours exists."""
    return any(end.mirror is not None for link in topology.links for end in link.ends) or any(
        namespace is not None and namespace.mirrors for namespace in situation.observed
    )


def _plan_namespaces(plan: Plan, topology: Topology, situation: Situation) -> dict[int, int]:
    made: dict[int, int] = {}
    alias = namespace_alias(topology.name)
    for name, node in topology.nodes.items():
        ns = situation.places[name]
        # Several nodes may lead to one namespace, such as by its path.
        if situation.observed[ns] is None and ns not in made and node.create:
            made[ns] = plan.add(MakeNamespace(ns, node.target, alias))
    return made


class _LinkPlanner:
    """Decides for each link whether it is created, changed or a problem."""

    def __init__(
        self, plan: Plan, topology: Topology, situation: Situation, prospect: Prospect, operations: LinkOperations
    ) -> None:
        self.plan = plan
        self.topology = topology
        self.links = topology.links
        self.situation = situation
        self.prospect = prospect
        self.operations = operations
        self.taken: dict[tuple[int, str], End] = {}
        # The interfaces of links without a parent: their children get no error of their own.
        self.unmade: set[tuple[int, str]] = set()
        self.existing: Existing | None = None  # see _existing()
        group = group_of(topology.name)
        self.is_lab_there = any(
            interface.group == group
            for namespace in situation.observed
            if namespace is not None
            for interface in namespace.interfaces.values()
        )

    def plan_links(self) -> None:
        """Add the operations of all links, or problems."""
        order: Sequence[int] = range(len(self.links))
        cycles: list[list[int]] = []
        has_properties = any(end.properties for link in self.links for end in link.ends)
        if has_properties:
            self.operations.properties().check_loops(self._problem)
        if has_properties or any(link.parent is not None for link in self.links):
            from kokofast.plan.order import parents_first  # not needed for plain links

            order, cycles = parents_first(self.links, self.situation.places)
        for number in order:
            link = self.links[number]
            parent = self.situation.parent_of(link)
            if parent is None or self.prospect.exists(parent):
                self._plan_link(number, link, parent)
            else:
                self._report_missing(link, parent)
        for cycle in cycles:
            self._report_cycle([self.links[number] for number in cycle])

    def _report_missing(self, link: Link, parent: IfRef) -> None:
        """Add the problem that the parent of a link does not exist."""
        if (parent.ns, parent.ifname) not in self.unmade:
            node, _, _ = str(link.options["parent"]).rpartition(":")
            where = f"in {node}" if node else "in this namespace"
            name = self.prospect.altnames(parent.ns).get(parent.ifname)
            hint = f"; it is another name (altname) of {name}, use that" if name else ""
            self._problem(link.where("parent"), f"parent interface {parent.ifname} not found {where}{hint}")
        self.unmade.update((self.situation.places[end.node], end.ifname) for end in link.ends)

    def _report_cycle(self, cycle: Sequence[Link]) -> None:
        """Add the problem that each of these links needs the next one."""
        titles = [link.title() for link in cycle]
        more = [] if len(titles) <= CYCLE_SHOWN else [f"{len(titles) - CYCLE_SHOWN:,} more"]
        chain = " -> ".join([*titles[:CYCLE_SHOWN], *more, titles[0]])
        what = "parent" if all(link.parent for link in cycle) else "master"
        self._problem(self._where_needed(cycle[0], cycle[1 % len(cycle)]), f"{what} cycle: {chain}")

    def _where_needed(self, link: Link, maker: Link) -> str:
        """Return the place of the field by which a link needs an interface of another one."""
        made = {(self.situation.places[end.node], end.ifname) for end in maker.ends}
        for end in link.ends:
            for name, value in end.properties.items():
                if any((self.situation.places[end.node], ifname) in made for ifname in ENDS[name].needs(value)):
                    return end.where(name)
        return link.where("parent")

    def _plan_link(self, number: int, link: Link, parent: IfRef | None) -> None:
        """Add the operations of one link, or its problems."""
        places = [self.situation.places[end.node] for end in link.ends]
        references = tuple(IfRef(ns, end.ifname) for ns, end in zip(places, link.ends, strict=True))
        self._check_taken(link, places)
        self._check_fields(link, parent)
        present = [found for reference in references if (found := self.situation.find(reference)) is not None]
        if not present and not self.is_lab_there:
            self._create(number, link, references, parent, alias_of(self.topology.name, link))
            return
        existing = self._existing()
        there = existing.find(number, link, references, present, parent)
        if existing.is_apart(there):
            return
        if not present:
            self._create(number, link, references, parent, there.alias)
        else:
            existing.plan_changes(self.operations, there)

    def _existing(self) -> Existing:
        if self.existing is None:
            from kokofast.plan.existing import Existing  # not needed for a new lab

            self.existing = Existing(self.plan, self.topology, self.situation)
        return self.existing

    def _create(self, number: int, link: Link, references: tuple[IfRef, ...], parent: IfRef | None, alias: str) -> None:
        """Add the operations that create a link, and what would prevent it as problems."""
        self.plan.actions[number] = CREATE
        self._check_names(link, references)
        carrier = None if parent is None else self.situation.find(parent)
        if parent is not None and carrier is not None:
            from kokofast.plan.parents import obstacle  # needed for links with parents only

            reason = obstacle(link, carrier, self.prospect.children(parent.ns))
            if reason is not None:
                field, words, other = reason
                self._problem(link.where(field), words)
                if other is not None:
                    self._existing().add_leaving(number, link, link.where(field), other)
        self.operations.create(number, link, references, parent, alias)

    def _check_taken(self, link: Link, places: list[int]) -> None:
        # Two nodes may lead to one namespace, which the file alone does not show.
        for ns, end in zip(places, link.ends, strict=True):
            if end.ifname == LOOPBACK and self.situation.observed[ns] is None:
                self._problem(end.where("ifname"), f"every namespace has a {LOOPBACK} of its own")
            other = self.taken.setdefault((ns, end.ifname), end)
            if other is not end:
                self._problem(
                    end.where("ifname"),
                    f"interface {end.ifname} of node {end.node} is already used by {other.where('ifname')}"
                    + (f" (node {other.node} is the same namespace)" if other.node != end.node else ""),
                )

    def _check_names(self, link: Link, references: Sequence[IfRef]) -> None:
        for reference, end in zip(references, link.ends, strict=True):
            if self.situation.observed[reference.ns] is None:
                continue
            if name := self.prospect.altnames(reference.ns).get(end.ifname):
                self._problem(
                    end.where("ifname"), f"{end.ifname} is another name (altname) of the interface {name} in {end.node}"
                )

    def _check_fields(self, link: Link, parent: IfRef | None) -> None:
        room = self.prospect.mtu_on(link, parent)
        for end in link.ends:
            if end.mtu is not None and parent is not None and room is not None and end.mtu > room:
                self._problem(
                    end.where("mtu"),
                    f"mtu {end.mtu} does not fit on {parent.ifname}: its mtu is {self.prospect.mtu_of(parent)}, "
                    f"which leaves {room}",
                )

    def _problem(self, place: str, message: str) -> None:
        self.plan.problems.append(Problem(place, message))
