"""What the mirrors of the planned ends need, when all interfaces that there will be are known."""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.operations import AddMirror, IfRef, RemoveMirror
from kokofast.plan.ownership import alias_of, cookie_of
from kokofast.plan.plan import UNCHANGED, UPDATE
from kokofast.topology.copies import Flows, add_links, addresses_of
from kokofast.topology.model import parent_of
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from kokofast.plan.plan import Plan, Situation
    from kokofast.plan.prospect import PlannedEnd, Prospect
    from kokofast.topology.model import Link, Topology


def plan_mirrors(plan: Plan, prospect: Prospect, topology: Topology) -> None:
    """Adds the operations to the plan, or the problems."""
    for end in prospect.ends:
        _plan_mirror(plan, prospect, topology, end)
    if any(end.mirror is not None for link in topology.links for end in link.ends):
        plan.problems += _loops(prospect.situation, topology)


def _loops(situation: Situation, topology: Topology) -> list[Problem]:
    """The loops that the mirrors of the file make, with each other and with what is there."""
    titles: dict[Hashable, str] = {ns: name for name, ns in reversed(list(situation.places.items()))}
    flows = Flows(titles)
    add_links(flows, topology.links, situation.places)
    addresses = addresses_of(topology.links, situation.places)
    # Of these links the file tells what they will be.
    known = {(situation.places[end.node], end.ifname) for link in topology.links for end in link.ends}
    cookies = {cookie_of(topology.name, alias_of(topology.name, link))[:-1] for link in topology.links}
    peers: dict[tuple[object, ...], list[tuple[int, str]]] = {}
    for ns, namespace in enumerate(situation.observed):
        interfaces = namespace.interfaces.values() if namespace is not None else ()
        names = {interface.ifindex: interface.ifname for interface in interfaces}
        for interface in interfaces:
            for address in interface.addresses:
                addresses.setdefault(address.packed, set()).add(ns)
            place, kind = (ns, interface.ifname), KINDS.get(interface.kind)
            if place in known or kind is None:
                continue
            below = interface.peer or interface.data.get("link")
            if kind.ends == 2:
                key = interface.alias, *sorted((interface.ifindex, interface.peer))
                peers.setdefault(key, []).append(place)
            elif interface.peer_nsid is None and below in names:
                flows.stands_on(place, (ns, names[below]), interface.kind, interface.data)
        for mirror in namespace.mirrors if namespace is not None else ():
            if mirror.cookie[:-1] not in cookies and mirror.target in names:
                flows.copies((ns, mirror.ifname), mirror.direction, (ns, names[mirror.target]), None)
    for ends in peers.values():
        if len(ends) == 2:  # more than two, with the same numbers: whose is whose cannot be told
            flows.joins(*ends)
    return flows.loops(addresses)


def rooms_of_tunnels(links: Iterable[Link], situation: Situation) -> dict[tuple[int, str], int]:
    """(namespace, interface) -> the MTU of the narrowest tunnel that it is copied into, of the tunnels that are there:
    what the mirror has lowered the interface to must not be raised again because the file gives it an MTU."""
    rooms: dict[tuple[int, str], int] = {}
    for link in links:
        if KINDS[link.kind].ends != 1 or not KINDS[link.kind].overhead(link):
            continue
        for end in link.ends:
            tunnel = situation.find(IfRef(situation.places[end.node], end.ifname))
            if end.mirror is not None and tunnel is not None:
                place = situation.places[end.node], end.mirror.source
                room = end.mtu if end.mtu is not None else tunnel.mtu
                rooms[place] = min(room, rooms.get(place, room))
    return rooms


def _plan_mirror(plan: Plan, prospect: Prospect, topology: Topology, planned: PlannedEnd) -> None:
    lab = topology.name
    end, target = planned.link.ends[planned.position], planned.reference
    observed = prospect.situation.observed[target.ns]
    if end.mirror is None and (planned.interface is None or observed is None or not observed.mirrors):
        return
    cookie = cookie_of(lab, alias_of(lab, planned.link))
    have = _mirrors_of(prospect, planned, cookie)
    wanted: dict[str, frozenset[str]] = {} if end.mirror is None else {end.mirror.source: end.mirror.directions()}
    removed: list[int] = []
    for ifname, present in have.items():
        if surplus := frozenset(present).difference(wanted.get(ifname, ())):
            source = IfRef(target.ns, ifname)
            operation = RemoveMirror(planned.number, planned.position, target, source, surplus, cookie)
            removed.append(plan.add(operation, prospect.ready((target, source))))
            _note_update(plan, planned.number)
    for ifname, directions in wanted.items():
        source = IfRef(target.ns, ifname)
        place = end.where("mirror")
        if not prospect.exists(source):
            plan.problems.append(Problem(place, f"there is no interface {ifname} in {end.node} to mirror"))
        else:
            missing = directions.difference(have.get(ifname, ()))
            mtu = _lowered_mtu(plan, prospect, planned, source)
            if mtu is not None and (wider := _wider(topology, prospect, source, mtu[0])):
                plan.problems.append(
                    Problem(
                        place,
                        f"{ifname} would be lowered to an mtu of {mtu[0]}, so that its packets fit into {end.ifname}, "
                        f"and {wider}, which stands on it, is given more",
                    )
                )
            add = AddMirror(planned.number, planned.position, target, source, missing, cookie, mtu)
            after = *prospect.ready((target, source)), *removed
            if mtu is not None:  # what stands on the source is lowered with it, and would not be raised again
                prospect.mirrors_last.append((add, after))
            elif missing:
                plan.add(add, after)
            else:
                continue
            _note_update(plan, planned.number)


def _wider(topology: Topology, prospect: Prospect, source: IfRef, room: int) -> str:
    """A link of the file that stands on an interface and is given an MTU of more than this; empty for none."""
    places = prospect.situation.places
    for link in topology.links:
        parent = parent_of(link)
        if parent is not None and (places[parent[0]], parent[1]) == (source.ns, source.ifname):
            mtu = link.ends[0].mtu
            if mtu is not None and mtu > room - KINDS[link.kind].overhead(link):
                return link.title()
    return ""


def _mirrors_of(prospect: Prospect, planned: PlannedEnd, cookie: bytes) -> dict[str, set[str]]:
    """source -> directions of the mirrors that the end has already."""
    have: dict[str, set[str]] = {}
    observed = prospect.situation.observed[planned.reference.ns]
    if observed is not None and planned.interface is not None:
        for mirror in observed.mirrors:
            if mirror.belongs_to(cookie, mirror.ifname) and mirror.target == planned.interface.ifindex:
                have.setdefault(mirror.ifname, set()).add(mirror.direction)
    return have


def _note_update(plan: Plan, number: int) -> None:
    if plan.actions[number] == UNCHANGED:
        plan.actions[number] = UPDATE


def _lowered_mtu(plan: Plan, prospect: Prospect, planned: PlannedEnd, source: IfRef) -> tuple[int, int] | None:
    # koko's rule: what is copied into a tunnel must fit into it, or the copy is lost.
    if not KINDS[planned.link.kind].overhead(planned.link):
        return None
    parent = parent_of(planned.link)
    if parent is not None and (prospect.situation.places[parent[0]], parent[1]) == (source.ns, source.ifname):
        return None  # the tunnel would become narrower by as much: what comes in there is sent in fragments
    mtu, room = prospect.mtu_of(source), prospect.mtu_of(planned.reference)
    if mtu is None or room is None or mtu <= room:
        return None
    end = planned.link.ends[planned.position]
    title = f"{end.node}:{source.ifname}"
    # Of several tunnels the narrowest counts (engine.mirrors).
    plan.notes.append(f"the mtu of {title} is lowered from {mtu} to {room}, so that its packets fit into {end.ifname}")
    prospect.lowers(source, room)
    return room, prospect.mtu_at_first(source) or mtu
