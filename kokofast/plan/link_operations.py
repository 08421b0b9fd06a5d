"""The operations that create a link. Those that change an existing one are in plan.link_update."""

from __future__ import annotations

from kokofast.ends import ENDS, names_of
from kokofast.kinds import KINDS
from kokofast.kinds.kind import DEFAULT_MTU
from kokofast.plan.operations import NO_LINK_LOCAL, Change, ConfigureEnd, CreateLink, IfRef, MarkRef, NsRef
from kokofast.plan.ownership import BROADCAST, group_of, number_of, own_link_local
from kokofast.plan.planned_state import PlannedEnd
from kokofast.topology.model import AF_INET6
from kokofast.topology.values import is_link_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kokofast.kinds.kind import Kind
    from kokofast.plan.observed import Interface
    from kokofast.plan.operations import Setting
    from kokofast.plan.plan import Plan, Situation
    from kokofast.plan.planned_state import Prospect
    from kokofast.plan.properties import Properties
    from kokofast.topology.model import End, Link, Topology


class LinkOperations:
    """Adds operations of links to a plan.

    Args:
        plan: The plan.
        topology: The topology of the plan.
        situation: What is there.
        prospect: What will be there; is updated.
        made: The operation that makes a namespace, by its number.
        freed: The operation that frees a name in a namespace.
        caps: The largest MTU of interfaces whose traffic is mirrored into tunnels.
    """

    def __init__(
        self,
        plan: Plan,
        topology: Topology,
        situation: Situation,
        prospect: Prospect,
        made: Mapping[int, int],
        freed: Mapping[tuple[int, str], int],
        caps: Mapping[tuple[int, str], int],
    ) -> None:
        self.plan = plan
        self.topology = topology
        self.situation = situation
        self.prospect = prospect
        self.made = made
        self.freed = freed
        self.caps = caps
        self.mark = group_of(topology.name), number_of(topology.name)
        self.last: list[ConfigureEnd] = []
        self.final: list[ConfigureEnd] = []
        self._properties: Properties | None = None  # see properties()
        # New bridges: what sets them up, and the operations before it.
        self.bridges: dict[tuple[int, str], tuple[ConfigureEnd, list[int]]] = {}
        # New tunnels without parent and mtu, and the size of packets that their way has to carry.
        self.by_route: list[tuple[Link, int]] = []
        # The parents of new links.
        self.carriers = {
            (situation.places[link.parent[0]], link.parent[1])
            for link in topology.links
            if link.parent is not None
            and situation.find(IfRef(situation.places[link.ends[0].node], link.ends[0].ifname)) is None
        }

    def create(self, number: int, link: Link, references: tuple[IfRef, ...], parent: IfRef | None, alias: str) -> None:
        """Add the operations that create a link."""
        kind = KINDS[link.kind]
        wait = {self.made[reference.ns] for reference in references if reference.ns in self.made}
        wait.update(() if parent is None else self.prospect.ready((parent,)))
        if self.freed:
            wait.update(self.freed_for(link, references))
        sender = None if parent is None else parent.ns
        if parent is None and (overhead := kind.overhead(link)):  # a tunnel is where its message is sent from
            sender = references[0].ns
            if link.ends[0].mtu is None:
                self.by_route.append((link, DEFAULT_MTU + overhead))
        operation = CreateLink(number, references, _creation, (link, references, parent, self.mark), sender)
        created = self.plan.add(operation, tuple(sorted(wait)))
        mtu = DEFAULT_MTU if parent is None else self.prospect.mtu_on(link, parent)
        after: tuple[int, ...] = (created,)
        needs = [any(ENDS[name].needs(value) for name, value in end.properties.items()) for end in link.ends]
        for position in sorted(range(len(references)), key=lambda position: not needs[position]):
            done = self._configure(number, position, link, references[position], alias, mtu, after)
            if needs[position]:  # it makes this end a port. The other end waits: see bring_up_bridges()
                after = created, done

    def _configure(
        self,
        number: int,
        position: int,
        link: Link,
        reference: IfRef,
        alias: str,
        mtu: int | None,
        after: tuple[int, ...],
    ) -> int:
        """Add the operation that configures a new end, and return its number.

        mtu is what the kernel gives the end, after are the operations to wait for.
        """
        kind, end = KINDS[link.kind], self.with_link_local(link.ends[position], alias)
        settings: dict[str, object] = {"ifalias": alias, **(NO_LINK_LOCAL if end.dad is False else {})}
        if not _is_marked_by_mac(end, kind.random_mac):
            settings["broadcast"] = BROADCAST
        if end.mtu is not None and kind.follows_ports:
            settings["mtu"] = end.mtu
        change = Change(settings, up=True if end.up else None, add=end.addresses)
        configured = ConfigureEnd(number, position, reference, change)
        place = reference.ns, reference.ifname
        if kind.follows_ports and end.up and place not in self.carriers:
            last = Change(up=True, add=end.addresses)
            self.bridges[place] = ConfigureEnd(number, position, reference, last), []
            change.up, change.add = None, ()
        mtu = end.mtu if end.mtu is not None else mtu
        if end.properties:
            change.properties = self.settings(link, end, reference, None, mtu)
            after = (*after, *self.prospect.ready(configured.requires))
            if end.txqlen == 0:  # a new qdisc makes it 1000
                settings["txqlen"] = 0
        done = self.plan.add(configured, after)
        for other in (reference, *configured.requires) if self.bridges else ():
            if (other.ns, other.ifname) in self.bridges:
                self.bridges[other.ns, other.ifname][1].append(done)
        self.prospect.completes(done, reference)
        self.prospect.sets_mtu(reference, mtu)
        self.prospect.ends.append(PlannedEnd(number, position, link, reference, None, alias))
        return done

    def freed_for(self, link: Link, references: Sequence[IfRef]) -> Iterator[int]:
        """Yield the operations that free names of the ends."""
        for reference, end in zip(references, link.ends, strict=True):
            for name in names_of(end):
                if (reference.ns, name) in self.freed:
                    yield self.freed[reference.ns, name]

    def bring_up_bridges(self) -> None:
        """Set new bridges up when they have their ports.

        While a bridge is up, each port that joins it takes the kernel two to three times as long. For the same reason
        a port joins its bridge before the other end of its link is up.
        """
        for operation, after in self.bridges.values():
            self.plan.add(operation, tuple(after))

    def properties(self) -> Properties:
        """Return what plans the properties of ends."""
        if self._properties is None:
            from kokofast.plan.properties import Properties  # few ends have any

            self._properties = Properties(self.topology, self.situation)
        return self._properties

    def settings(
        self, link: Link, end: End, reference: IfRef, interface: Interface | None, mtu: int | None
    ) -> tuple[Setting, ...]:
        """Return what has to be set by the modules of kokofast.ends; add problems."""
        settings, problems = self.properties().plan(link, end, reference, interface, mtu or DEFAULT_MTU)
        self.plan.problems += problems
        return settings

    def with_link_local(self, end: End, alias: str, interface: Interface | None = None) -> End:
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
        return end.with_values({"addresses": (*end.addresses, own)})

    def note_by_route(self) -> None:
        """Note the new tunnels whose MTU is a guess, as no parent limits it."""
        if not self.by_route:
            return
        link, needed = self.by_route[0]
        more = f", and of {len(self.by_route) - 1:,} more" if len(self.by_route) > 1 else ""
        self.plan.notes.append(
            f"the mtu of {link.title()}{more} is {DEFAULT_MTU}, as it has no parent: the way to its remote has to "
            f"carry packets of {needed} bytes; give mtu otherwise"
        )


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
