"""Topology + what was observed -> the operations that make the kernel match, and what each of them must wait for."""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.compare import are_peers, difference, fixed_differences
from kokofast.plan.operations import (
    AddMirror,
    Change,
    ConfigureEnd,
    CreateLink,
    IfRef,
    MakeNamespace,
    MarkRef,
    NsRef,
    RemoveMirror,
)
from kokofast.plan.ownership import BROADCAST, alias_of, cookie_of, group_of, lab_of, namespace_alias
from kokofast.topology.model import Node, Topology
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kokofast.kinds.kind import Kind
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import Operation
    from kokofast.topology.model import End, Link

LOOPBACK = "lo"
DEFAULT_MTU = 1500  # ETH_DATA_LEN, what ether_setup() gives

CREATE, UPDATE, UNCHANGED = "create", "update", "unchanged"

# The node that a parent interface without a node is in. No file can name it.
CALLER = ""


class Plan:
    """operations[i] may start when every operation in after[i] is done. actions says for each link of the topology
    what becomes of it: CREATE, UPDATE or UNCHANGED. With problems there are no operations. notes are for the user.
    Operations from number ``last`` on cannot be taken back as they were, and are for when the others are done."""

    __slots__ = ("actions", "after", "last", "notes", "operations", "problems")

    def __init__(self) -> None:
        self.last = 0
        self.operations: list[Operation] = []
        self.after: list[tuple[int, ...]] = []
        self.actions: list[str] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def add(self, operation: Operation, after: tuple[int, ...] = ()) -> int:
        self.operations.append(operation)
        self.after.append(after)
        return len(self.operations) - 1


class Situation:
    """What the planner decides on. places maps each node's name to the number of its namespace; observed has what is
    in it, None for one that is to be made; boot is the kernel's boot id (see ownership.first_broadcast)."""

    __slots__ = ("boot", "observed", "places")

    def __init__(self, places: Mapping[str, int], observed: Sequence[Namespace | None], boot: str) -> None:
        self.places = places
        self.observed = observed
        self.boot = boot


def parent_of(link: Link) -> tuple[str, str] | None:
    """(node, interface name) of the interface that a link stands on; None for kinds that stand on none."""
    parent = link.options.get("parent")
    if not isinstance(parent, str):
        return None
    node, _, ifname = parent.rpartition(":")
    return node or CALLER, ifname


def nodes_of(topology: Topology) -> dict[str, Node]:
    """All namespaces that a plan has to know: the nodes of the topology, and the caller's where a parent is there."""
    nodes = dict(topology.nodes)
    for link in topology.links:
        parent = parent_of(link)
        if parent is not None and parent[0] == CALLER:
            nodes[CALLER] = Node(CALLER, "host", "", place=link.where("parent"))
            break
    return nodes


def make_plan(topology: Topology, situation: Situation) -> Plan:
    """The whole plan, or all the problems that stand in its way."""
    plan = Plan()
    made = _plan_namespaces(plan, topology, situation)
    plan.actions = [UNCHANGED] * len(topology.links)
    planner = _LinkPlanner(plan, topology, situation, made)
    waiting = list(enumerate(topology.links))
    while waiting:
        # A link may stand on an interface that another link of the file makes: that one comes first.
        later = [(number, link) for number, link in waiting if not planner.plan_link(number, link)]
        if len(later) == len(waiting):
            planner.report_missing(link for _, link in later)
            break
        waiting = later
    planner.plan_mirrors()
    planner.plan_removals()
    if plan.problems:
        plan.operations.clear()
        plan.after.clear()
    return plan


def _plan_namespaces(plan: Plan, topology: Topology, situation: Situation) -> dict[int, int]:
    made: dict[int, int] = {}
    alias = namespace_alias(topology.name)
    for name, node in topology.nodes.items():
        ns = situation.places[name]
        if situation.observed[ns] is None and ns not in made:
            made[ns] = plan.add(MakeNamespace(ns, node.target, alias))
    return made


class _LinkPlanner:
    def __init__(self, plan: Plan, topology: Topology, situation: Situation, made: Mapping[int, int]) -> None:
        self.plan = plan
        self.lab = topology.name
        self.links = topology.links
        self.situation = situation
        self.made = made
        self.group = group_of(self.lab)
        self.taken: dict[tuple[int, str], End] = {}
        # The operation after which an interface of this plan is complete.
        self.ready: dict[tuple[int, str], int] = {}
        # The interfaces of links that are not planned yet, and the MTUs that those which are will have.
        self.coming = {(situation.places[end.node], end.ifname) for link in topology.links for end in link.ends}
        self.mtus: dict[tuple[int, str], int | None] = {}
        self.removals: list[ConfigureEnd] = []
        self.by_alias: dict[str, list[tuple[int, Interface]]] | None = None  # see _with_alias()
        # The ends that were planned: (number of the link, position of the end, link, interface, what there was).
        self.ends: list[tuple[int, int, Link, IfRef, Interface | None]] = []

    def plan_link(self, number: int, link: Link) -> bool:
        """Adds what one link needs, or its problems; False when its parent is not there (yet)."""
        parent = self._parent(link)
        places = [self.situation.places[end.node] for end in link.ends]
        own = {(ns, end.ifname) for ns, end in zip(places, link.ends, strict=True)}
        if parent is not None:
            place = parent.ns, parent.ifname
            if not self._exists(parent) or (place in self.coming and place not in own):
                return False
        self.coming -= own
        references = tuple(IfRef(ns, end.ifname) for ns, end in zip(places, link.ends, strict=True))
        self._check_taken(link, places)
        self._check_fields(link, parent)
        found = [self._find(reference) for reference in references]
        present = [interface for interface in found if interface is not None]
        alias = alias_of(self.lab, link)
        if self._is_apart(link, references, present, alias):
            return True
        if not present:
            self.plan.actions[number] = CREATE
            self._create(number, link, references, parent, alias)
        elif self._is_this_link(link, references, present, parent, alias):
            self._update(number, link, references, present, alias)
        return True

    def report_missing(self, links: Iterable[Link]) -> None:
        """Makes problems of links that need an interface which is nowhere."""
        for link in links:
            parent = parent_of(link)
            if parent is None:
                continue
            node, ifname = parent
            reference = IfRef(self.situation.places[node], ifname)
            if not self._exists(reference) and (reference.ns, ifname) not in self.coming:
                where = f"in {node}" if node else "in this namespace"
                self._problem(link.where("parent"), f"there is no interface {ifname} {where} to stand on")
            elif self._stands_on_itself(link):
                self._problem(link.where("parent"), "the link stands, by way of its parents, on itself")

    def _stands_on_itself(self, link: Link) -> bool:
        parents = {
            (self.situation.places[end.node], end.ifname): self._parent(other)
            for other in self.links
            for end in other.ends
        }
        start = (self.situation.places[link.ends[0].node], link.ends[0].ifname)
        parent = self._parent(link)
        for _ in self.links:
            if parent is None or (parent.ns, parent.ifname) == start:
                break
            parent = parents.get((parent.ns, parent.ifname))
        return parent is not None and (parent.ns, parent.ifname) == start

    def plan_removals(self) -> None:
        """Adds the removals of addresses, behind everything that they wait for."""
        self.plan.last = len(self.plan.operations)
        for operation in self.removals:
            self.plan.add(operation)

    def plan_mirrors(self) -> None:
        """Adds what the mirrors need, when all interfaces that there will be are known; or their problems."""
        for number, position, link, reference, interface in self.ends:
            self._plan_mirror(number, position, link, reference, interface)

    def _parent(self, link: Link) -> IfRef | None:
        parent = parent_of(link)
        return None if parent is None else IfRef(self.situation.places[parent[0]], parent[1])

    def _exists(self, reference: IfRef) -> bool:
        return self._find(reference) is not None or (reference.ns, reference.ifname) in self.ready

    def _find(self, reference: IfRef) -> Interface | None:
        observed = self.situation.observed[reference.ns]
        return observed.interfaces.get(reference.ifname) if observed is not None else None

    def _check_taken(self, link: Link, places: list[int]) -> None:
        # Two nodes may be one namespace; the file alone cannot show that.
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

    def _check_fields(self, link: Link, parent: IfRef | None) -> None:
        kind = KINDS[link.kind]
        room = self._room(link, parent)
        for end in link.ends:
            if end.mac is not None and not kind.own_mac:
                self._problem(end.where("mac"), f"a {kind.name} interface has its parent's MAC address; leave mac out")
            if end.mtu is not None and parent is not None and room is not None and end.mtu > room:
                self._problem(
                    end.where("mtu"),
                    f"mtu {end.mtu} does not fit on {parent.ifname}: its mtu is {room + kind.overhead(link)}, "
                    f"which leaves {room}",
                )

    def _room(self, link: Link, parent: IfRef | None) -> int | None:
        """The largest MTU that the link can have on its parent; None when nothing is known to limit it."""
        mtu = self._mtu_of(parent) if parent is not None else None
        return None if mtu is None else mtu - KINDS[link.kind].overhead(link)

    def _mtu_of(self, reference: IfRef) -> int | None:
        """The MTU that an interface will have once the plan is carried out, where that is known."""
        if (reference.ns, reference.ifname) in self.mtus:
            return self.mtus[reference.ns, reference.ifname]
        interface = self._find(reference)
        return interface.mtu if interface is not None else None

    def _is_apart(self, link: Link, references: Sequence[IfRef], present: Sequence[Interface], alias: str) -> bool:
        """Whether an end of this link, which is there, is not where the file has it; then says so."""
        if len(present) == len(references):
            return False
        strays = [(ns, item) for ns, item in self._with_alias(alias) if item not in present]
        if not strays and {interface.alias for interface in present} != {alias}:
            return False  # there is nothing yet, or what is there tells of another link
        if any(map(self._is_a_strangers, references)):
            return False
        missing = [end for reference, end in zip(references, link.ends, strict=True) if self._find(reference) is None]
        titles = " and ".join(f"{end.node}:{end.ifname}" for end in missing)
        found = " and ".join(f"{self._title_of(ns)}:{item.ifname}" for ns, item in strays)
        self._problem(
            missing[0].where("ifname"),
            f"{titles} of this link was renamed or moved: "
            + (f"it is {found} by now; " if found else "it has left the namespaces of the file; ")
            + "put it back, or delete the link (ip link delete) or the whole lab (kokofast destroy --name "
            f"{self.lab}), and run batch again",
        )
        return True

    def _with_alias(self, alias: str) -> list[tuple[int, Interface]]:
        """(namespace, interface) of each interface of this lab that has the alias."""
        if self.by_alias is None:
            self.by_alias = {}
            for ns, namespace in enumerate(self.situation.observed):
                for item in namespace.interfaces.values() if namespace is not None else ():
                    if item.group == self.group and item.alias:
                        self.by_alias.setdefault(item.alias, []).append((ns, item))
        return self.by_alias.get(alias, [])

    def _title_of(self, ns: int) -> str:
        names = [name for name, number in self.situation.places.items() if number == ns]
        return names[0] or "this namespace"

    def _is_this_link(
        self, link: Link, references: Sequence[IfRef], present: Sequence[Interface], parent: IfRef | None, alias: str
    ) -> bool:
        """Whether what is there is this link; else says what stands in the way."""
        strangers = [
            (reference, end)
            for reference, end in zip(references, link.ends, strict=True)
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
            end = next(end for reference, end in zip(references, link.ends, strict=True) if self._find(reference))
            # Where the ends tell of two links, the other one is the news.
            telling = sorted(filter(None, aliases), key=lambda text: (text == alias, text))
            now = telling[0] if telling else "a link without its alias yet"
            self._problem(
                end.where("ifname"),
                f"{end.node}:{end.ifname} is there as part of another link of this lab ({now}); "
                "delete that first (ip link delete, or the whole lab by kokofast destroy), "
                "or give this one another name",
            )
            return False
        carrier = self._find(parent) if parent is not None else None
        parent_index = None if parent is None else (carrier.ifindex if carrier is not None else 0)
        fixed = list(fixed_differences(link, present, parent_index))
        self.plan.problems += [Problem(place, message) for place, message in fixed]
        return not fixed

    def _is_a_strangers(self, reference: IfRef) -> bool:
        return self._find(reference) is not None and self._lab_of(reference) != self.lab

    def _lab_of(self, reference: IfRef) -> str | None:
        interface = self._find(reference)
        observed = self.situation.observed[reference.ns]
        if interface is None or observed is None:
            return None
        return lab_of(interface, observed, self.situation.boot, self.lab)

    def _create(self, number: int, link: Link, references: tuple[IfRef, ...], parent: IfRef | None, alias: str) -> None:
        kind = KINDS[link.kind]
        ends = zip(references, link.ends, strict=True)
        common = tuple(self._attributes(kind, reference, end) for reference, end in ends)
        wait = {self.made[reference.ns] for reference in references if reference.ns in self.made}
        if parent is not None and (parent.ns, parent.ifname) in self.ready:
            wait.add(self.ready[parent.ns, parent.ifname])
        attributes = kind.create(link, common, parent)
        sender = None if parent is None else parent.ns
        created = self.plan.add(CreateLink(number, references, attributes, sender), tuple(sorted(wait)))
        for position, (reference, end) in enumerate(zip(references, link.ends, strict=True)):
            settings: dict[str, object] = {"ifalias": alias}
            if "broadcast" in common[position]:
                settings["broadcast"] = BROADCAST
            change = Change(settings, up=True if end.up else None, add=end.addresses)
            done = self.plan.add(ConfigureEnd(number, position, reference, change), (created,))
            self.ready[reference.ns, reference.ifname] = done
            mtu = end.mtu if end.mtu is not None else DEFAULT_MTU if parent is None else self._room(link, parent)
            self.mtus[reference.ns, reference.ifname] = mtu
            self.ends.append((number, position, link, reference, None))

    def _update(
        self, number: int, link: Link, references: Sequence[IfRef], present: Sequence[Interface], alias: str
    ) -> None:
        parent = self._parent(link)
        wait = () if parent is None else self._ready((parent,))
        for position, (reference, end, interface) in enumerate(zip(references, link.ends, present, strict=True)):
            change, undo, last = difference(end, interface, alias)
            if last:
                self.plan.actions[number] = UPDATE
                self.removals.append(ConfigureEnd(number, position, reference, Change(remove=last), Change(add=last)))
            if change:
                self.plan.actions[number] = UPDATE
                done = self.plan.add(ConfigureEnd(number, position, reference, change, undo), wait)
                self.ready[reference.ns, reference.ifname] = done
            if end.mtu is not None:
                self.mtus[reference.ns, reference.ifname] = end.mtu
            self.ends.append((number, position, link, reference, interface))

    def _ready(self, references: Iterable[IfRef]) -> tuple[int, ...]:
        """The operations of this plan after which these interfaces are complete."""
        places = [(reference.ns, reference.ifname) for reference in references]
        return tuple(sorted({self.ready[place] for place in places if place in self.ready}))

    def _plan_mirror(
        self, number: int, position: int, link: Link, reference: IfRef, interface: Interface | None
    ) -> None:
        end = link.ends[position]
        observed = self.situation.observed[reference.ns]
        if end.mirror is None and (interface is None or observed is None or not observed.mirrors):
            return
        cookie = cookie_of(self.lab, alias_of(self.lab, link))
        have: dict[str, set[str]] = {}
        if observed is not None and interface is not None:
            for mirror in observed.mirrors:
                if mirror.belongs_to(cookie, mirror.ifname) and mirror.target == interface.ifindex:
                    have.setdefault(mirror.ifname, set()).add(mirror.direction)
        wanted: dict[str, frozenset[str]] = {} if end.mirror is None else {end.mirror.source: end.mirror.directions()}
        removed: list[int] = []
        for ifname, present in have.items():
            if surplus := frozenset(present).difference(wanted.get(ifname, ())):
                source = IfRef(reference.ns, ifname)
                operation = RemoveMirror(number, position, reference, source, surplus, cookie)
                removed.append(self.plan.add(operation, self._ready((reference, source))))
                self._is_updated(number)
        for ifname, directions in wanted.items():
            source = IfRef(reference.ns, ifname)
            if ifname == end.ifname:
                self._problem(end.where("mirror"), f"{ifname} is the copy's own target, not an interface to mirror")
            elif not self._exists(source):
                self._problem(end.where("mirror"), f"there is no interface {ifname} in {end.node} to mirror")
            elif missing := directions.difference(have.get(ifname, ())):
                mtu = self._lowered_mtu(link, end, reference, source)
                add = AddMirror(number, position, reference, source, missing, cookie, mtu)
                self.plan.add(add, (*self._ready((reference, source)), *removed))
                self._is_updated(number)

    def _is_updated(self, number: int) -> None:
        if self.plan.actions[number] == UNCHANGED:
            self.plan.actions[number] = UPDATE

    def _lowered_mtu(self, link: Link, end: End, target: IfRef, source: IfRef) -> tuple[int, int] | None:
        # koko's rule: what is copied into a tunnel must fit into it, or the copy is lost.
        if not KINDS[link.kind].overhead(link):
            return None
        mtu, room = self._mtu_of(source), self._mtu_of(target)
        if mtu is None or room is None or mtu <= room:
            return None
        self.plan.notes.append(
            f"the mtu of {end.node}:{source.ifname} is lowered from {mtu} to {room}, "
            f"so that its packets fit into {end.ifname}"
        )
        return room, mtu

    def _attributes(self, kind: Kind, reference: IfRef, end: End) -> dict[str, object]:
        attributes: dict[str, object] = {
            "header": {"index": reference},
            "ifname": end.ifname,
            "group": self.group,
            "net_ns_fd": NsRef(reference.ns),
        }
        if end.mac is None and kind.random_mac:
            attributes["address"] = MarkRef(reference, self.group, is_mac=True)
        else:
            attributes["broadcast"] = MarkRef(reference, self.group, is_mac=False)
        if end.queues is not None:
            attributes["num_tx_queues"] = attributes["num_rx_queues"] = end.queues
        if end.mtu is not None:
            attributes["mtu"] = end.mtu
        if end.mac is not None:
            attributes["address"] = end.mac
        if end.txqlen is not None:
            attributes["txqlen"] = end.txqlen
        return attributes

    def _problem(self, place: str, message: str) -> None:
        self.plan.problems.append(Problem(place, message))
