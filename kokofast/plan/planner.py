"""Make the plan: topology + situation -> operations, their order, or problems."""

from __future__ import annotations

from kokofast.ends import ENDS
from kokofast.kinds import KINDS
from kokofast.plan.diff import (
    CURE,
    NO_LINK_LOCAL,
    are_peers,
    destructive_changes,
    difference,
    fixed_differences,
    is_up_to_date,
)
from kokofast.plan.left_over import names_of
from kokofast.plan.operations import (
    Change,
    ConfigureEnd,
    CreateLink,
    IfRef,
    MakeNamespace,
    MarkRef,
    NsRef,
)
from kokofast.plan.ownership import (
    ALIAS_PREFIX,
    BROADCAST,
    alias_of,
    group_of,
    lab_of,
    namespace_alias,
    number_of,
    own_link_local,
)
from kokofast.plan.plan import CREATE, UNCHANGED, UPDATE, Conflict, Plan, sets_nodes
from kokofast.plan.planned_state import PlannedEnd, Prospect
from kokofast.topology.model import AF_INET6, Link
from kokofast.topology.node_kinds import NODES
from kokofast.topology.problems import Problem
from kokofast.topology.values import is_link_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kokofast.kinds.kind import Kind
    from kokofast.plan.observed import Interface
    from kokofast.plan.operations import Setting
    from kokofast.plan.plan import Situation
    from kokofast.plan.properties import Properties
    from kokofast.plan.step import FieldChange
    from kokofast.topology.model import End, Node, Topology

LOOPBACK = "lo"
SHELL_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/:@+")
CYCLE_SHOWN = 8  # links of a cycle that a message names
DEFAULT_MTU = 1500  # ETH_DATA_LEN, what ether_setup() gives


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
    planner = _LinkPlanner(plan, topology, situation, made, freed)
    planner.plan_links()
    if _has_mirrors(topology, situation):
        from kokofast.plan.mirrors import plan_mirrors

        plan_mirrors(plan, planner.prospect, topology)
    if nodes is not None:
        nodes.add(planner.prospect)
    planner.plan_last()
    if plan.problems:
        plan.rest, plan.operations, plan.after = plan.operations, [], []
    return plan


def _has_mirrors(topology: Topology, situation: Situation) -> bool:
    """Whether the file has a mirror, or one of ours exists."""
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


def deletion(node: Node, ifname: str) -> str:
    """Return the command that deletes a link of ours by its end in a node; "" if a shell would need quotes."""
    letter = NODES[node.kind].letter.upper()
    if not letter or not SHELL_SAFE.issuperset(node.target + ifname):
        return ""
    return f"kokofast -{letter} {node.target + ',' if node.target else ''}{ifname}"


class _LinkPlanner:
    def __init__(
        self,
        plan: Plan,
        topology: Topology,
        situation: Situation,
        made: Mapping[int, int],
        freed: Mapping[tuple[int, str], int],
    ) -> None:
        self.plan = plan
        self.freed = freed
        self.topology = topology
        self.lab = topology.name
        self.links = topology.links
        self.situation = situation
        self.prospect = Prospect(situation)
        self.made = made
        self.group = group_of(self.lab)
        self.mark = self.group, number_of(self.lab)
        self.taken: dict[tuple[int, str], End] = {}
        # The interfaces of links without a parent: their children get no error of their own.
        self.unmade: set[tuple[int, str]] = set()
        self.last: list[ConfigureEnd] = []
        self.final: list[ConfigureEnd] = []
        # The parents of new links.
        self.carriers = {
            (situation.places[link.parent[0]], link.parent[1])
            for link in topology.links
            if link.parent is not None
            and situation.find(IfRef(situation.places[link.ends[0].node], link.ends[0].ifname)) is None
        }
        self.rooms: Mapping[tuple[int, str], int] = {}
        if _has_mirrors(topology, situation):
            from kokofast.plan.mirrors import mtu_caps

            self.rooms = mtu_caps(topology.links, situation)
        self.by_alias: dict[str, list[tuple[int, Interface]]] | None = None  # see _with_alias()
        self.nodes = topology.nodes
        self.titles: dict[int, str] | None = None  # see _title_of()
        self.properties: Properties | None = None
        # New bridges: what sets them up, and the operations before it.
        self.bridges: dict[tuple[int, str], tuple[ConfigureEnd, list[int]]] = {}
        self.by_route: list[
            tuple[Link, int]
        ] = []  # new tunnels without parent and mtu, and what their way has to carry

    def plan_links(self) -> None:
        """Add the operations of all links, or problems."""
        order: Sequence[int] = range(len(self.links))
        cycles: list[list[int]] = []
        if any(end.properties for link in self.links for end in link.ends):
            from kokofast.plan.properties import Properties  # few ends have some

            self.properties = Properties(self.topology, self.situation)
            self.properties.check_loops(self._problem)
        if self.properties is not None or any(link.parent is not None for link in self.links):
            from kokofast.plan.order import parents_first  # needed for links with parents only

            order, cycles = parents_first(self.links, self.situation.places)
        for number in order:
            link = self.links[number]
            parent = self._parent(link)
            if parent is None or self.prospect.exists(parent):
                self._plan_link(number, link, parent)
                continue
            if (parent.ns, parent.ifname) not in self.unmade:
                node, _, _ = str(link.options["parent"]).rpartition(":")
                where = f"in {node}" if node else "in this namespace"
                name = self.prospect.altnames(parent.ns).get(parent.ifname)
                hint = f"; it is another name (altname) of {name}, use that" if name else ""
                self._problem(link.where("parent"), f"parent interface {parent.ifname} not found {where}{hint}")
            self.unmade.update((self.situation.places[end.node], end.ifname) for end in link.ends)
        self._bring_up_bridges()
        if self.by_route:
            self._note_by_route()
        for cycle in cycles:
            titles = [self.links[number].title() for number in cycle]
            more = [] if len(titles) <= CYCLE_SHOWN else [f"{len(titles) - CYCLE_SHOWN:,} more"]
            chain = " -> ".join([*titles[:CYCLE_SHOWN], *more, titles[0]])
            first = self.links[cycle[0]]
            what = "parent" if all(self.links[number].parent for number in cycle) else "master"
            self._problem(self._where_needed(first, self.links[cycle[1 % len(cycle)]]), f"{what} cycle: {chain}")

    def _bring_up_bridges(self) -> None:
        """Set new bridges up when they have their ports.

        While a bridge is up, each port that joins it takes the kernel two to three times as long. For the same reason
        a port joins its bridge before the other end of its link is up.
        """
        for operation, after in self.bridges.values():
            self.plan.add(operation, tuple(after))

    def _note_by_route(self) -> None:
        link, needed = self.by_route[0]
        more = f", and of {len(self.by_route) - 1:,} more" if len(self.by_route) > 1 else ""
        self.plan.notes.append(
            f"the mtu of {link.title()}{more} is {DEFAULT_MTU}, as it has no parent: the way to its remote has to "
            f"carry packets of {needed} bytes; give mtu otherwise"
        )

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
        found = [self.situation.find(reference) for reference in references]
        present = [interface for interface in found if interface is not None]
        alias = self._alias_there(link, present)
        if self._is_apart(number, link, references, present, alias):
            return
        if not present:
            self.plan.actions[number] = CREATE
            self._check_names(link, places)
            carrier = None if parent is None else self.situation.find(parent)
            if parent is not None and carrier is not None:
                from kokofast.plan.parents import obstacle  # needed for links with parents only

                reason = obstacle(link, carrier, self.prospect.children(parent.ns))
                if reason is not None:
                    field, words, other = reason
                    self._problem(link.where(field), words)
                    self._add_leaving(number, link, link.where(field), other)
            self._create(number, link, references, parent, alias)
        elif self._is_this_link(number, link, references, present, parent, alias):
            self._update(number, link, references, present, parent, alias)

    def plan_last(self) -> None:
        """Add the operations that cannot be undone, after all that may fail."""
        self.plan.last = len(self.plan.operations)
        for mirror, after in self.prospect.mirrors_last:
            self.plan.add(mirror, after)
        for operation in self.last:
            self.plan.add(operation)
        self.plan.final = len(self.plan.operations)
        for peer in self.prospect.lowered_peers.values():
            lower = Change({"mtu": self.prospect.cap_of(peer.reference)})
            undo = Change({"mtu": peer.interface.mtu}) if peer.interface is not None else None
            self.plan.add(ConfigureEnd(peer.number, peer.position, peer.reference, lower, undo))
        if self.prospect.mirrors_last:
            self._follow_lowered_parents()
        for operation in self.final:
            change = operation.change
            room = self.prospect.cap_of(operation.interface)
            if room is not None and "mtu" in change.attributes:  # a mirror lowers it before
                mtu = min(room, change.attributes["mtu"])  # type: ignore[call-overload]
                change = Change(
                    {**change.attributes, "mtu": mtu}, change.up, change.add, change.remove, change.properties
                )
            self.plan.add(ConfigureEnd(operation.link, operation.end, operation.interface, change, operation.undo))

    def _follow_lowered_parents(self) -> None:
        """Lower the links that get their MTU from a parent which a mirror lowers."""
        for planned in self.prospect.ends:  # parents first
            parent = self._parent(planned.link)
            room = None if parent is None else self.prospect.cap_of(parent)
            before = self.prospect.mtu_of(planned.reference)
            if room is None or before is None or planned.link.ends[planned.position].mtu is not None:
                continue
            kind = KINDS[planned.link.kind]
            overhead = kind.overhead(planned.link)
            mtu = max(room - overhead, kind.mtu[0])
            if mtu < before:
                self.prospect.lowers(planned.reference, mtu)
                if not overhead:  # the kernel lowers it with its parent
                    continue
                undo = None if planned.interface is None else Change({"mtu": planned.interface.mtu})
                change = Change({"mtu": mtu})
                self.final.append(ConfigureEnd(planned.number, planned.position, planned.reference, change, undo))
                if self.plan.actions[planned.number] == UNCHANGED:
                    self.plan.actions[planned.number] = UPDATE

    def _parent(self, link: Link) -> IfRef | None:
        if link.parent is None:
            return None
        return IfRef(self.situation.places[link.parent[0]], link.parent[1])

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

    def _check_names(self, link: Link, places: list[int]) -> None:
        for ns, end in zip(places, link.ends, strict=True):
            if self.situation.observed[ns] is None:
                continue
            if name := self.prospect.altnames(ns).get(end.ifname):
                self._problem(
                    end.where("ifname"), f"{end.ifname} is another name (altname) of the interface {name} in {end.node}"
                )

    def _check_fields(self, link: Link, parent: IfRef | None) -> None:
        room = self._room(link, parent)
        for end in link.ends:
            if end.mtu is not None and parent is not None and room is not None and end.mtu > room:
                self._problem(
                    end.where("mtu"),
                    f"mtu {end.mtu} does not fit on {parent.ifname}: its mtu is {self.prospect.mtu_of(parent)}, "
                    f"which leaves {room}",
                )

    def _room(self, link: Link, parent: IfRef | None) -> int | None:
        """Return the largest MTU of the link on its parent, the kernel's default for it; None if not known."""
        mtu = self.prospect.mtu_of(parent) if parent is not None else None
        if mtu is None:
            return None
        kind = KINDS[link.kind]
        return min(max(mtu - kind.overhead(link), kind.mtu[0]), kind.mtu[1])

    def _is_apart(
        self, number: int, link: Link, references: Sequence[IfRef], present: Sequence[Interface], alias: str
    ) -> bool:
        """Whether an end of this existing link is not where the file has it; add a problem then."""
        if len(present) == len(references):
            return False
        strays = [(ns, item) for ns, item in self._with_alias(alias) if item not in present]
        if not strays and {interface.alias for interface in present} != {alias}:
            return False  # there is nothing yet, or another link
        if any(map(self._is_a_strangers, references)):
            return False
        missing = [
            end for reference, end in zip(references, link.ends, strict=True) if self.situation.find(reference) is None
        ]
        titles = " and ".join(f"{end.node}:{end.ifname}" for end in missing)
        found = " and ".join(f"{self._title_of(ns)}:{item.ifname}" for ns, item in strays)
        ends = [(reference.ns, reference.ifname) for reference in references if self.situation.find(reference)]
        there = [*ends, *((ns, item.ifname) for ns, item in strays)]
        at = there[0]
        changes = [("interface", found or None, titles)]
        self.plan.conflicts.append(Conflict(number, there, missing[0].where("ifname"), changes))
        self._problem(
            missing[0].where("ifname"),
            f"{titles} of this link was renamed or moved: "
            + (f"it is {found} by now; " if found else "it has left the namespaces of the file; ")
            + f"put it back, or delete the link ({self._deletion(*at)}) or the whole lab (kokofast destroy --name "
            f"{self.lab}), and run batch again, or run it with --replace",
        )
        return True

    def _alias_there(self, link: Link, present: Sequence[Interface]) -> str:
        """Return the link's alias. A link with its ends swapped in the file keeps its present alias."""
        alias = alias_of(self.lab, link)
        if any(interface.alias == alias for interface in present) or self._with_alias(alias) or not self.by_alias:
            return alias
        turned = alias_of(self.lab, Link(link.kind, link.ends[::-1]))
        return turned if self._with_alias(turned) else alias

    def _deletion(self, ns: int, ifname: str) -> str:
        """Return the command that deletes a link of ours by one of its ends."""
        nodes = (node for name, node in self.nodes.items() if self.situation.places.get(name) == ns)
        return next(filter(None, (deletion(node, ifname) for node in nodes)), f"ip link delete {ifname}")

    def _with_alias(self, alias: str) -> list[tuple[int, Interface]]:
        """Return (namespace, interface) of each interface of this lab with the alias."""
        if self.by_alias is None:
            self.by_alias = {}
            for ns, namespace in enumerate(self.situation.observed):
                for item in namespace.interfaces.values() if namespace is not None else ():
                    if item.group == self.group and item.alias:
                        self.by_alias.setdefault(item.alias, []).append((ns, item))
        return self.by_alias.get(alias, [])

    def _title_of(self, ns: int) -> str:
        if self.titles is None:
            self.titles = {number: name for name, number in reversed([*self.situation.places.items()])}
        return self.titles[ns] or "this namespace"

    def _is_this_link(
        self,
        number: int,
        link: Link,
        references: Sequence[IfRef],
        present: Sequence[Interface],
        parent: IfRef | None,
        alias: str,
    ) -> bool:
        """Whether the present interfaces are this link; otherwise add the problems."""
        is_named = all(interface.alias == alias and interface.group == self.group for interface in present)
        strangers = [
            (reference, end)
            for reference, end in (() if is_named else zip(references, link.ends, strict=True))
            if self._is_a_strangers(reference)
        ]
        for reference, end in strangers:
            other = self._lab_of(reference)
            whose = {None: "not ours", "": "of another lab"}.get(other, f"of the lab {other}")
            self._problem(end.where("ifname"), f"{end.node} already has an interface {end.ifname}, {whose}")
        if strangers:
            return False
        aliases = {interface.alias for interface in present}
        joined = len(references) == 1 or (len(present) == 2 and are_peers(present))
        if not joined or not aliases <= {alias, ""}:
            end, at = next(
                (end, (reference.ns, reference.ifname))
                for reference, end in zip(references, link.ends, strict=True)
                if self.situation.find(reference)
            )
            # If the two ends are of two links, name the other link.
            telling = sorted(filter(None, aliases), key=lambda text: (text == alias, text))
            now = telling[0] if telling else "a link without its alias yet"
            change = "link", (now.removeprefix(f"{ALIAS_PREFIX}{self.lab}:") if telling else None), link.title()
            self._conflict(number, link, references, end.where("ifname"), [change])
            self._problem(
                end.where("ifname"),
                f"{end.node}:{end.ifname} is there as part of another link of this lab ({now}); "
                f"delete that first ({self._deletion(*at)}, or the whole lab by kokofast destroy), "
                "give this one another name, or give --replace",
            )
            return False
        carrier = self.situation.find(parent) if parent is not None else None
        parent_index = None if parent is None else (carrier.ifindex if carrier is not None else -1)
        if carrier is not None and carrier.kind == link.kind and KINDS[link.kind].shares_parent:
            same = parent is not None and self._share_parent(references[0].ns, present[0], parent.ns, carrier)
            parent_index = carrier.peer if same else -1
        elif parent is not None and not self._is_parents_namespace(references[0].ns, parent.ns, present[0]):
            parent_index = -1
        fixed = list(fixed_differences(link, present, parent_index))
        self.plan.problems += [Problem(place, message) for place, message, _ in fixed]
        if fixed:
            changes = [
                (field, self._parent_of(references[0].ns, present[0]) if field == "parent" else before, after)
                for _, _, (field, before, after) in fixed
            ]
            self._conflict(number, link, references, fixed[0][0], changes)
        return not fixed

    def _add_leaving(self, number: int, link: Link, place: str, other: Interface | None) -> None:
        """Add a conflict with an interface that prevents a new link, if it leaves: with --replace it goes first."""
        for ns, observed in enumerate(self.situation.observed):
            found = observed.interfaces.get(other.ifname) if observed is not None and other is not None else None
            if found is other and found is not None and (ns, found.ifindex) in self.situation.going:
                change = "link", found.alias.removeprefix(f"{ALIAS_PREFIX}{self.lab}:"), link.title()
                self.plan.conflicts.append(Conflict(number, [(ns, found.ifname)], place, [change]))

    def _conflict(
        self, number: int, link: Link, references: Sequence[IfRef], place: str, changes: Sequence[FieldChange]
    ) -> None:
        there = [(reference.ns, reference.ifname) for reference in references if self.situation.find(reference)]
        self.plan.conflicts.append(Conflict(number, there, place, changes))

    def _parent_of(self, ns: int, interface: Interface) -> str | None:
        """Return the name of the parent if it is in the same namespace; None if that is not known."""
        observed = self.situation.observed[ns]
        if interface.peer_nsid is not None or observed is None:
            return None
        index = interface.data.get("link", interface.peer)
        names = (item.ifname for item in observed.interfaces.values() if item.ifindex == index)
        name = next(names, None)
        return None if name is None else f"{self._title_of(ns)}:{name}"

    def _is_parents_namespace(self, here: int, there: int, interface: Interface) -> bool:
        """Whether the interface's parent is in that namespace, as far as known. An ifindex is unique in one only."""
        if here == there:
            return interface.peer_nsid is None
        nsids = self.situation.nsids
        return (here, there) not in nsids or interface.peer_nsid == nsids[here, there] is not None

    def _share_parent(self, here: int, interface: Interface, there: int, carrier: Interface) -> bool:
        """Whether the parents of two interfaces may be in one namespace, as far as known."""
        if here == there:
            return interface.peer_nsid == carrier.peer_nsid
        nsids = self.situation.nsids
        if (here, there) not in nsids:
            return True
        is_there = interface.peer_nsid == nsids[here, there] is not None
        return is_there == (carrier.peer_nsid is None)

    def _is_a_strangers(self, reference: IfRef) -> bool:
        return self.situation.find(reference) is not None and self._lab_of(reference) != self.lab

    def _lab_of(self, reference: IfRef) -> str | None:
        interface = self.situation.find(reference)
        observed = self.situation.observed[reference.ns]
        if interface is None or observed is None:
            return None
        return lab_of(interface, observed, self.situation.boot, self.lab)

    def _create(self, number: int, link: Link, references: tuple[IfRef, ...], parent: IfRef | None, alias: str) -> None:
        kind = KINDS[link.kind]
        wait = {self.made[reference.ns] for reference in references if reference.ns in self.made}
        wait.update(() if parent is None else self.prospect.ready((parent,)))
        if self.freed:
            wait.update(self._freed_for(link, references))
        sender = None if parent is None else parent.ns
        if parent is None and (overhead := kind.overhead(link)):  # a tunnel is where its message is sent from
            sender = references[0].ns
            if link.ends[0].mtu is None:
                self.by_route.append((link, DEFAULT_MTU + overhead))
        operation = CreateLink(number, references, _creation, (link, references, parent, self.mark), sender)
        created = self.plan.add(operation, tuple(sorted(wait)))
        needs = [any(ENDS[name].needs(value) for name, value in end.properties.items()) for end in link.ends]
        port: tuple[int, ...] = ()  # what makes an end a port. The other ends wait: see _bring_up_bridges()
        for position in sorted(range(len(references)), key=lambda position: not needs[position]):
            reference, end = references[position], self._with_link_local(link.ends[position], alias)
            settings: dict[str, object] = {"ifalias": alias, **(NO_LINK_LOCAL if end.dad is False else {})}
            if not _is_marked_by_mac(end, kind.random_mac):
                settings["broadcast"] = BROADCAST
            if end.mtu is not None and kind.follows_ports:
                settings["mtu"] = end.mtu
            change = Change(settings, up=True if end.up else None, add=end.addresses)
            configured = ConfigureEnd(number, position, reference, change)
            after: tuple[int, ...] = (created, *port)
            place = reference.ns, reference.ifname
            if kind.follows_ports and end.up and place not in self.carriers:
                last = Change(up=True, add=end.addresses)
                self.bridges[place] = ConfigureEnd(number, position, reference, last), []
                change.up, change.add = None, ()
            mtu = end.mtu if end.mtu is not None else DEFAULT_MTU if parent is None else self._room(link, parent)
            if end.properties:
                change.properties = self._settings(link, end, reference, None, mtu)
                after = (created, *port, *self.prospect.ready(configured.requires))
                if end.txqlen == 0:  # a new qdisc makes it 1000
                    settings["txqlen"] = 0
            done = self.plan.add(configured, after)
            if needs[position]:
                port = (done,)
            for other in (reference, *configured.requires) if self.bridges else ():
                if (other.ns, other.ifname) in self.bridges:
                    self.bridges[other.ns, other.ifname][1].append(done)
            self.prospect.completes(done, reference)
            self.prospect.sets_mtu(reference, mtu)
            self.prospect.ends.append(PlannedEnd(number, position, link, reference, None, alias))

    def _freed_for(self, link: Link, references: Sequence[IfRef]) -> Iterator[int]:
        """Yield the operations that free names of the ends."""
        for reference, end in zip(references, link.ends, strict=True):
            for name in names_of(end):
                if (reference.ns, name) in self.freed:
                    yield self.freed[reference.ns, name]

    def _update(
        self,
        number: int,
        link: Link,
        references: Sequence[IfRef],
        present: Sequence[Interface],
        parent: IfRef | None,
        alias: str,
    ) -> None:
        wait = () if parent is None else self.prospect.ready((parent,))
        follows = self._room(link, parent)
        if self.freed:
            wait = *wait, *self._freed_for(link, references)
        for position, (reference, end, interface) in enumerate(zip(references, link.ends, present, strict=True)):
            given, end = end, self._with_link_local(end, alias, interface)
            if end.dad and end is not given:
                title = f"{end.node}:{end.ifname}"
                self._conflict(number, link, references, end.where("dad"), [("dad", False, True)])
                self._problem(
                    end.where("dad"),
                    f"{title} is there without duplicate address detection, which batch does not change back; {CURE}",
                )
            place = reference.ns, reference.ifname
            most, carries = self.rooms.get(place), place in self.carriers
            settings: tuple[Setting, ...] = ()
            if end.properties or interface.more:
                most_sent = end.mtu if end.mtu is not None else follows if follows is not None else interface.mtu
                settings = self._settings(link, end, reference, interface, most_sent)
            is_right = is_up_to_date(end, interface, alias, most, follows)
            if settings or not is_right:
                self.plan.actions[number] = UPDATE
                steps = (Change(), Change()), (Change(), Change()), (Change(), Change())
                if not is_right:
                    for where, message in destructive_changes(end, interface, most, follows):
                        self._problem(where, message)
                    found = difference(end, interface, alias, most=most, follows=follows, carries=carries)
                    steps = found.now, found.last, found.final
                if settings:
                    from kokofast.plan.properties import add_to_steps

                    add_to_steps(settings, steps, end, interface)
                now, last, final = (ConfigureEnd(number, position, reference, *step) for step in steps)
                self.last += [last] if last.change else []
                self.final += [final] if final.change else []
                if now.change:
                    after = (*wait, *self.prospect.ready(now.requires)) if settings else wait
                    self.prospect.completes(self.plan.add(now, after), reference)
            mtu = end.mtu if end.mtu is not None else follows
            if mtu is not None:
                mtu = mtu if most is None else min(mtu, most)
                self.prospect.sets_mtu(reference, mtu, at_first=max(mtu, interface.mtu) if not carries else mtu)
            self.prospect.ends.append(PlannedEnd(number, position, link, reference, interface, alias))

    def _settings(
        self, link: Link, end: End, reference: IfRef, interface: Interface | None, mtu: int | None
    ) -> tuple[Setting, ...]:
        """Return what has to be set by the modules of kokofast.ends; add problems."""
        if self.properties is None:
            from kokofast.plan.properties import Properties

            self.properties = Properties(self.topology, self.situation)
        settings, problems = self.properties.plan(link, end, reference, interface, mtu or DEFAULT_MTU)
        self.plan.problems += problems
        return settings

    def _with_link_local(self, end: End, alias: str, interface: Interface | None = None) -> End:
        """Return the end with a link-local address of ours if it has dad: false, which excludes the kernel's."""
        if end.dad is False:
            if any(is_link_local(one) for one in end.addresses if one.family == AF_INET6):
                return end
        elif interface is None or not any(
            ours and one.family == AF_INET6 and is_link_local(one) for one, ours in interface.addresses.items()
        ):
            return end
        own = own_link_local(self.situation.boot, alias, f"{end.node}:{end.ifname}")
        if end.dad is not False and (interface is None or own not in interface.addresses):
            return end
        return end.with_addresses((*end.addresses, own))

    def _problem(self, place: str, message: str) -> None:
        self.plan.problems.append(Problem(place, message))


def _creation(
    link: Link, references: Sequence[IfRef], parent: IfRef | None, mark: tuple[int, int]
) -> Mapping[str, object]:
    """Return the attributes of a link's creation; mark is the group and the number of its lab."""
    kind = KINDS[link.kind]
    ends = zip(references, link.ends, strict=True)
    return kind.create(link, tuple(attributes_of(kind, reference, end, mark) for reference, end in ends), parent)


def attributes_of(kind: Kind, reference: IfRef, end: End, mark: tuple[int, int]) -> dict[str, object]:
    """Return the attributes of an end in the request that makes it; mark is the group and the number of its lab."""
    group, number = mark
    attributes: dict[str, object] = {
        "header": {"index": reference},
        "ifname": end.ifname,
        "group": group,
        "net_ns_fd": NsRef(reference.ns),
    }
    by = "address" if _is_marked_by_mac(end, kind.random_mac) else "broadcast"
    attributes[by] = MarkRef(reference, group, number)
    if end.queues is not None:
        attributes["num_tx_queues"] = attributes["num_rx_queues"] = end.queues
    if end.mtu is not None:
        attributes["mtu"] = end.mtu
    if end.mac is not None:
        attributes["address"] = end.mac
    if end.txqlen is not None:
        attributes["txqlen"] = end.txqlen
    return attributes


def _is_marked_by_mac(end: End, random_mac: bool) -> bool:
    return end.mac is None and random_mac
