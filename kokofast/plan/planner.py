"""Topology + what was observed -> the operations that make the kernel match, and what each of them must wait for."""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.operations import Change, ConfigureEnd, CreateLink, IfRef, MacRef, MakeNamespace, NsRef
from kokofast.plan.ownership import alias_of, group_of, lab_of, namespace_alias
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import Operation
    from kokofast.topology.model import Address, End, Link, Node, Topology

CREATE, UPDATE, UNCHANGED = "create", "update", "unchanged"


class Plan:
    """operations[i] may start when every operation in after[i] is done. actions says for each link of the topology
    what becomes of it: CREATE, UPDATE or UNCHANGED. With problems there are no operations."""

    __slots__ = ("actions", "after", "operations", "problems")

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.after: list[tuple[int, ...]] = []
        self.actions: list[str] = []
        self.problems: list[Problem] = []

    def add(self, operation: Operation, after: tuple[int, ...] = ()) -> int:
        self.operations.append(operation)
        self.after.append(after)
        return len(self.operations) - 1


class Situation:
    """What the planner decides on. places maps each node's name to the number of its namespace; observed has what is
    in it, None for one that is to be made; boot is the kernel's boot id (see ownership.first_mac)."""

    __slots__ = ("boot", "observed", "places")

    def __init__(self, places: Mapping[str, int], observed: Sequence[Namespace | None], boot: str) -> None:
        self.places = places
        self.observed = observed
        self.boot = boot


def make_plan(topology: Topology, situation: Situation) -> Plan:
    """The whole plan, or all the problems that stand in its way."""
    plan = Plan()
    made = _plan_namespaces(plan, topology, situation)
    planner = _LinkPlanner(plan, topology, situation, made)
    for number, link in enumerate(topology.links):
        planner.plan_link(number, link)
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
        self.nodes: Mapping[str, Node] = topology.nodes
        self.situation = situation
        self.made = made
        self.group = group_of(topology.name)
        self.taken: dict[tuple[int, str], End] = {}

    def plan_link(self, number: int, link: Link) -> None:
        """Adds what one link needs, or its problems."""
        places = [self.situation.places[end.node] for end in link.ends]
        self._check_taken(link, places)
        found = [self._find(ns, end) for ns, end in zip(places, link.ends, strict=True)]
        if not any(found):
            self.plan.actions.append(CREATE)
            self._create(number, link, places)
            return
        alias = alias_of(self.lab, link)
        if not self._is_this_link(link, places, found, alias):
            self.plan.actions.append(UNCHANGED)
            return
        changed = False
        for position, (ns, end, interface) in enumerate(zip(places, link.ends, found, strict=True)):
            assert interface is not None
            change, undo = self._difference(end, interface, alias)
            if change:
                changed = True
                self.plan.add(ConfigureEnd(number, position, IfRef(ns, end.ifname), change, undo))
        self.plan.actions.append(UPDATE if changed else UNCHANGED)

    def _check_taken(self, link: Link, places: list[int]) -> None:
        # Two nodes may be one namespace; the file alone cannot show that.
        for ns, end in zip(places, link.ends, strict=True):
            other = self.taken.setdefault((ns, end.ifname), end)
            if other is not end:
                self._problem(
                    end.where("interface"),
                    f"interface {end.ifname} of node {end.node} is already used by {other.where('interface')}"
                    + (f" (node {other.node} is the same namespace)" if other.node != end.node else ""),
                )

    def _find(self, ns: int, end: End) -> Interface | None:
        observed = self.situation.observed[ns]
        return observed.interfaces.get(end.ifname) if observed is not None else None

    def _is_this_link(self, link: Link, places: list[int], found: Sequence[Interface | None], alias: str) -> bool:
        """Whether what is there is this link; else says what stands in the way."""
        fine = True
        for ns, end, interface in zip(places, link.ends, found, strict=True):
            observed = self.situation.observed[ns]
            if interface is None or observed is None:
                continue
            if lab_of(interface, observed, self.situation.boot, self.lab) != self.lab:
                self._problem(end.where("interface"), f"{end.node} already has an interface {end.ifname}, not ours")
                fine = False
        if not fine:
            return False
        aliases = {interface.alias for interface in found if interface is not None}
        joined = len(found) == 1 or _are_peers(found)
        if None in found or not joined or not aliases <= {alias, ""}:
            place = next(end for end, interface in zip(link.ends, found, strict=True) if interface is not None)
            now = next((text for text in sorted(aliases) if text), "a link without its alias yet")
            self._problem(
                place.where("interface"),
                f"{place.node}:{place.ifname} is there as part of another link of this lab ({now}); "
                "destroy that first, or give this one another name",
            )
            return False
        return self._same_shape(link, found)

    def _same_shape(self, link: Link, found: Sequence[Interface | None]) -> bool:
        fine = True
        for end, interface in zip(link.ends, found, strict=True):
            assert interface is not None
            if interface.kind != link.kind:
                self._problem(link.where("type"), f"{end.node}:{end.ifname} is there as {interface.kind}; destroy it")
                fine = False
            elif end.queues is not None and interface.queues != end.queues:
                self._problem(
                    end.where("queues"),
                    f"{end.node}:{end.ifname} is there with {interface.queues} queues, which cannot be changed; "
                    "destroy the lab first",
                )
                fine = False
        return fine

    def _create(self, number: int, link: Link, places: list[int]) -> None:
        references = tuple(IfRef(ns, end.ifname) for ns, end in zip(places, link.ends, strict=True))
        common = tuple(self._attributes(reference, end) for reference, end in zip(references, link.ends, strict=True))
        wait = tuple(sorted({self.made[ns] for ns in places if ns in self.made}))
        attributes = KINDS[link.kind].create(link, common)
        created = self.plan.add(CreateLink(number, references, attributes), wait)
        alias = alias_of(self.lab, link)
        for position, (reference, end) in enumerate(zip(references, link.ends, strict=True)):
            first: dict[str, object] = {"ifalias": alias}
            if end.mac is not None:
                first["address"] = end.mac
            change = Change(first, up=True if end.up else None, add=end.addresses)
            self.plan.add(ConfigureEnd(number, position, reference, change), (created,))

    def _attributes(self, reference: IfRef, end: End) -> dict[str, object]:
        attributes: dict[str, object] = {
            "header": {"index": reference},
            "ifname": end.ifname,
            "group": self.group,
            "address": MacRef(reference, self.group),
            "net_ns_fd": NsRef(reference.ns),
        }
        if end.queues is not None:
            attributes["num_tx_queues"] = attributes["num_rx_queues"] = end.queues
        if end.mtu is not None:
            attributes["mtu"] = end.mtu
        if end.txqlen is not None:
            attributes["txqlen"] = end.txqlen
        return attributes

    def _difference(self, end: End, interface: Interface, alias: str) -> tuple[Change, Change]:
        wanted: dict[str, object] = {"ifalias": alias}
        have: dict[str, object] = {"ifalias": interface.alias}
        for name, value, now in (
            ("address", end.mac, interface.mac),
            ("mtu", end.mtu, interface.mtu),
            ("txqlen", end.txqlen, interface.txqlen),
        ):
            if value is not None:
                wanted[name], have[name] = value, now
        changed = {name: value for name, value in wanted.items() if value != have[name]}
        before = {name: have[name] for name in changed}
        up = end.up if end.up != interface.up else None
        add, remove = _address_difference(end.addresses, interface.addresses)
        change = Change(changed, up, add, remove)
        return change, Change(before, None if up is None else interface.up, remove, add)

    def _problem(self, place: str, message: str) -> None:
        self.plan.problems.append(Problem(place, message))


def _are_peers(found: Sequence[Interface | None]) -> bool:
    first, second = found
    return first is not None and second is not None and first.peer == second.ifindex and second.peer == first.ifindex


def _address_difference(
    wanted: tuple[Address, ...], have: Mapping[Address, bool]
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    # Only addresses that we set are taken away: others come from the user, a daemon or the kernel.
    add = tuple(address for address in wanted if address not in have)
    remove = tuple(address for address, ours in have.items() if ours and address not in wanted)
    return add, remove
