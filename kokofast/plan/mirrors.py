"""Plan the mirrors of all ends, after the links: then all future interfaces are known."""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.kinds.kind import IPV6_MIN_MTU
from kokofast.plan.diff import are_peers
from kokofast.plan.operations import AddMirror, IfRef, RemoveMirror
from kokofast.plan.ownership import cookie_of, lab_of
from kokofast.plan.plan import UNCHANGED, UPDATE
from kokofast.topology.model import AF_INET6
from kokofast.topology.problems import Problem
from kokofast.topology.values import is_link_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from kokofast.plan.plan import Plan, Situation
    from kokofast.plan.planned_state import PlannedEnd, Prospect
    from kokofast.topology.model import Link, Topology


def plan_mirrors(plan: Plan, prospect: Prospect, topology: Topology) -> None:
    """Add the operations to the plan, or problems."""
    is_wanted = any(end.mirror is not None for link in topology.links for end in link.ends)
    for end in prospect.ends:
        _plan_mirror(plan, prospect, topology, end)
    if is_wanted:
        _note_losses(plan, prospect)
        plan.problems += _loops(prospect, topology)


def _loops(prospect: Prospect, topology: Topology) -> list[Problem]:
    """Return the loops that the mirrors of the file form with each other and with existing mirrors."""
    situation = prospect.situation
    titles: dict[Hashable, str] = {ns: name for name, ns in reversed(list(situation.places.items()))}
    from kokofast.topology.copies import Flows, add_links, addresses_of  # needed for mirrors only

    flows = Flows(titles)
    add_links(flows, topology.links, situation.places)
    addresses = addresses_of(topology.links, situation.places)
    # The file says what these links will be.
    known = {(situation.places[end.node], end.ifname) for link in topology.links for end in link.ends}
    cookies = {cookie_of(topology.name, planned.alias)[:-1] for planned in prospect.ends}
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
                flows.has_parent(place, (ns, names[below]), interface.kind, interface.data)
        for mirror in namespace.mirrors if namespace is not None else ():
            if mirror.cookie[:-1] not in cookies and mirror.target in names:
                flows.copies((ns, mirror.ifname), mirror.direction, (ns, names[mirror.target]), None)
    for ends in peers.values():
        if len(ends) == 2:  # of more than two the pairs are not known
            flows.joins(*ends)
    return flows.loops(addresses)


def mtu_caps(links: Iterable[Link], situation: Situation) -> dict[tuple[int, str], int]:
    """Return, by (namespace, interface), the smallest MTU of the existing tunnels that the interface is copied into.

    A mirror has lowered the interface to it: the MTU in the file must not raise it again.
    """
    caps: dict[tuple[int, str], int] = {}
    for link in links:
        if KINDS[link.kind].ends != 1 or not KINDS[link.kind].overhead(link):
            continue
        for end in link.ends:
            tunnel = situation.find(IfRef(situation.places[end.node], end.ifname))
            if end.mirror is not None and tunnel is not None:
                place = situation.places[end.node], end.mirror.source
                if place == _carrier(link, situation):
                    continue
                cap = end.mtu if end.mtu is not None else tunnel.mtu
                caps[place] = min(cap, caps.get(place, cap))
    for link in links if caps else ():
        if len(link.ends) == 2:  # both ends are lowered together
            both = [(situation.places[end.node], end.ifname) for end in link.ends]
            found = [caps[place] for place in both if place in caps]
            caps.update(dict.fromkeys(both, min(found)) if found else {})
    return caps


def _carrier(link: Link, situation: Situation) -> tuple[int, str] | None:
    """Return (namespace, interface) of the link's parent."""
    parent = link.parent
    return None if parent is None else (situation.places[parent[0]], parent[1])


def _plan_mirror(plan: Plan, prospect: Prospect, topology: Topology, planned: PlannedEnd) -> None:
    lab = topology.name
    end, target = planned.link.ends[planned.position], planned.reference
    observed = prospect.situation.observed[target.ns]
    if end.mirror is None and (planned.interface is None or observed is None or not observed.mirrors):
        return
    cookie = cookie_of(lab, planned.alias)
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
            name = prospect.altnames(target.ns).get(ifname)
            hint = f"; it is another name (altname) of {name}, use that" if name else ""
            plan.problems.append(Problem(place, f"there is no interface {ifname} in {end.node} to mirror{hint}"))
        else:
            missing = directions.difference(have.get(ifname, ()))
            mtu = _lowered_mtu(plan, prospect, planned, source)
            _lower_other_end(plan, prospect, topology, planned, source, is_lowered=mtu is not None)
            if mtu is not None and (wider := _wider(topology, prospect, source, mtu[0])):
                plan.problems.append(
                    Problem(
                        place,
                        f"{ifname} would be lowered to an mtu of {mtu[0]}, so that its packets fit into {end.ifname}, "
                        f"but {wider}, whose parent it is, needs more: lower the mtu of that link",
                    )
                )
            add = AddMirror(planned.number, planned.position, target, source, missing, cookie, mtu)
            after = *prospect.ready((target, source)), *removed
            if mtu is not None:  # lowers the children of the source, too, which undo does not raise again
                prospect.mirrors_last.append((add, after))
            elif missing:
                plan.add(add, after)
            else:
                continue
            _note_update(plan, planned.number)


def _wider(topology: Topology, prospect: Prospect, source: IfRef, cap: int) -> str:
    """Return the title of a link in the file whose MTU needs more than cap on this parent; "" if there is none."""
    if prospect.widest is None:  # by parent, the largest MTU needed and its link
        prospect.widest = {}
        for link in topology.links:
            parent, mtu = link.parent, link.ends[0].mtu
            if parent is not None and mtu is not None:
                place = prospect.situation.places[parent[0]], parent[1]
                needed = mtu + KINDS[link.kind].overhead(link)
                if place not in prospect.widest or needed > prospect.widest[place][0]:
                    prospect.widest[place] = needed, link
    needed, widest = prospect.widest.get((source.ns, source.ifname), (0, None))
    return widest.title() if widest is not None and needed > cap else ""


def _lower_other_end(
    plan: Plan, prospect: Prospect, topology: Topology, planned: PlannedEnd, source: IfRef, *, is_lowered: bool
) -> None:
    """Lower the other end of the mirrored link, too: the kernel drops packets larger than the receiving end's MTU.

    If that link is not in the file, add a note or a problem.
    """
    cap = prospect.cap_of(source)
    tunnel = planned.link.ends[planned.position]
    peer = prospect.other_end(source)
    if peer is None:
        if is_lowered:
            _tell_of_other_end(plan, prospect, topology, planned, source)
        return
    if cap is None and KINDS[planned.link.kind].overhead(planned.link):  # older versions lowered one end only
        cap = _cap_beside(prospect, planned, source)
    mtu = prospect.mtu_of(peer.reference)
    if cap is None or mtu is None or mtu <= cap:
        return
    end = peer.link.ends[peer.position]
    plan.notes.append(
        f"the mtu of {end.node}:{end.ifname}, the other end of {tunnel.node}:{source.ifname}, is lowered from {mtu} to "
        f"{cap} as well"
    )
    if other := _wider(topology, prospect, peer.reference, cap):
        message = f"{end.node}:{end.ifname} would be lowered to an mtu of {cap} with its other end, but {other}, whose"
        plan.problems.append(
            Problem(tunnel.where("mirror"), f"{message} parent it is, needs more: lower the mtu of that link")
        )
    have = peer.interface.addresses if peer.interface is not None else ()
    if cap < IPV6_MIN_MTU <= mtu and any(
        one.family == AF_INET6 and not is_link_local(one) for one in (*end.addresses, *have)
    ):
        message = f"{end.node}:{end.ifname} would be lowered to an mtu of {cap} with its other end, and has IPv6"
        plan.problems.append(
            Problem(tunnel.where("mirror"), f"{message} addresses, which need {IPV6_MIN_MTU}; give the tunnel as much")
        )
    prospect.lowers(peer.reference, cap)
    prospect.lowered_peers[peer.reference.ns, peer.reference.ifname] = peer
    _note_update(plan, peer.number)


def _cap_beside(prospect: Prospect, planned: PlannedEnd, source: IfRef) -> int | None:
    """Return the MTU of the tunnel that an interface is copied into, if the interface has that MTU; else None."""
    cap, mirrored = prospect.mtu_of(planned.reference), prospect.mtu_of(source)
    if _carrier(planned.link, prospect.situation) == (source.ns, source.ifname):
        return None
    return cap if cap is not None and mirrored == cap else None


def _tell_of_other_end(plan: Plan, prospect: Prospect, topology: Topology, planned: PlannedEnd, source: IfRef) -> None:
    """Report an end to be lowered whose link is not in this file.

    That is a problem for the link of a lab, to be lowered by its own file, and a note for a stranger's.
    """
    situation = prospect.situation
    interface, namespace = situation.find(source), situation.observed[source.ns]
    if interface is None or namespace is None or KINDS.get(interface.kind) is None or KINDS[interface.kind].ends != 2:
        return
    cap = prospect.cap_of(source)
    end = planned.link.ends[planned.position]
    title = f"{end.node}:{source.ifname}"
    lab = lab_of(interface, namespace, situation.boot, topology.name)
    if lab is not None:
        plan.problems.append(
            Problem(
                end.where("mirror"),
                f"{title} would be lowered to an mtu of {cap}, so that its packets fit into {end.ifname}, and its "
                f"other end is not in this file: give that link ({interface.alias or lab}) an mtu of {cap} first",
            )
        )
        return
    titles = {ns: name for name, ns in reversed(list(situation.places.items()))}
    found = [
        f"{titles[ns]}:{item.ifname}" if titles[ns] else item.ifname
        for ns, other in enumerate(situation.observed)
        for item in (other.interfaces.values() if other is not None else ())
        if item.kind == interface.kind
        and are_peers((item, interface))
        and (ns == source.ns) == (item.peer_nsid is None)
    ]
    name = found[0] if len(found) == 1 else f"the interface with number {interface.peer} of its namespace"
    plan.notes.append(
        f"the other end of {title}, {name}, is not ours and keeps its mtu: what it sends that is larger than {cap} "
        f"bytes is lost until that is lowered too (ip link set ... mtu {cap})"
    )


def _note_losses(plan: Plan, prospect: Prospect) -> None:
    """Note which copies will be lost, as they are larger than the MTU of their target."""
    for planned in prospect.ends:
        end, target = planned.link.ends[planned.position], planned.reference
        if end.mirror is None or KINDS[planned.link.kind].overhead(planned.link):
            continue
        source, peer = IfRef(target.ns, end.mirror.source), prospect.other_end(target)
        there = [target, *([peer.reference] if peer is not None else [])]
        widths = [width for one in there if (width := prospect.width_of(one)) is not None]
        width = prospect.width_of(source)
        if widths and width is not None and width > min(widths):
            plan.notes.append(
                f"copies of {end.node}:{source.ifname} that are larger than {min(widths)} bytes are lost on their way "
                f"to {end.node}:{end.ifname}: it has an mtu of {width}, give this link as much"
            )


def _mirrors_of(prospect: Prospect, planned: PlannedEnd, cookie: bytes) -> dict[str, set[str]]:
    """Return, by source, the directions of the mirrors that the end has already."""
    have: dict[str, set[str]] = {}
    observed = prospect.situation.observed[planned.reference.ns]
    if observed is not None and planned.interface is not None:
        for mirror in observed.mirrors_of(cookie):
            if mirror.target == planned.interface.ifindex:
                have.setdefault(mirror.ifname, set()).add(mirror.direction)
    return have


def _note_update(plan: Plan, number: int) -> None:
    if plan.actions[number] == UNCHANGED:
        plan.actions[number] = UPDATE


def _lowered_mtu(plan: Plan, prospect: Prospect, planned: PlannedEnd, source: IfRef) -> tuple[int, int] | None:
    # As koko does: packets must fit into the tunnel that they are copied into, or the copies are lost.
    if not KINDS[planned.link.kind].overhead(planned.link):
        return None
    if _carrier(planned.link, prospect.situation) == (source.ns, source.ifname):
        return None  # lowering the parent would lower the tunnel; copies are sent in fragments instead
    mtu, cap = prospect.mtu_of(source), prospect.mtu_of(planned.reference)
    if mtu is None or cap is None or mtu <= cap:
        return None
    end = planned.link.ends[planned.position]
    title = f"{end.node}:{source.ifname}"
    # With several tunnels the smallest MTU counts (ops.mirror).
    plan.notes.append(f"the mtu of {title} is lowered from {mtu} to {cap}, so that its packets fit into {end.ifname}")
    prospect.lowers(source, cap)
    return cap, prospect.mtu_at_first(source) or mtu
