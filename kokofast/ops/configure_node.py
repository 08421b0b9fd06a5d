"""Set the loopback and the routes of a node's namespace, and remove what a lab has set there."""

from __future__ import annotations

import errno

from kokofast.host.kernel import LOOPBACK_IFINDEX
from kokofast.ops.dumps import ADDRESS_PROTOCOL
from kokofast.ops.journal import ENDED, undo_on_nodes
from kokofast.ops.routers import marked_addresses
from kokofast.plan.node_change import NodeChange
from kokofast.plan.nodes import ROUTING, name_of
from kokofast.plan.operations import IfRef
from kokofast.plan.ownership import LOOPBACK, address_mark, node_mark
from kokofast.plan.shortest_paths import DEFAULT_METRIC
from kokofast.topology.problems import Problem
from kokofast.topology.routes import text_of
from kokofast.wire.addr import AF_INET, AF_INET6, IFA_F_NODAD, RT_SCOPE_LINK, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.attributes import encode
from kokofast.wire.link import IFF_UP, RTM_DELLINKPROP, RTM_NEWLINKPROP, RTM_SETLINK
from kokofast.wire.message import NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, KernelError, Request, words_of
from kokofast.wire.route import (
    ROUTE,
    RT_TABLE_MAIN,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTMSG,
    RTN_UNICAST,
    RTPROT_KOKOFAST,
    pack_goal,
    pack_hops,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kokofast.ops.executor import Executor, OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.operations import ConfigureNode
    from kokofast.plan.plan import Plan
    from kokofast.plan.shortest_paths import Goal, Hop, Routes
    from kokofast.plan.step import FieldChange, Step
    from kokofast.topology.model import Address

SHOWN = 3  # changed routes of a node that a dry run lists; of more it shows the number

# Refusals that mean that the work is done already. (ENODEV: the interface of a route is gone, and the route with it.)
_DONE = {
    RTM_NEWLINKPROP: (errno.EEXIST,),
    RTM_DELLINKPROP: (errno.EINVAL, errno.ENOENT),
    RTM_DELADDR: (errno.EADDRNOTAVAIL,),
    RTM_DELROUTE: (errno.ESRCH, errno.ENODEV),
}
# In an undo also: what should be restored was never removed, or others have made it again.
_DONE_BACK = {**_DONE, RTM_NEWROUTE: (errno.EEXIST,), RTM_NEWADDR: (errno.EEXIST,)}


def execute(executor: Executor, operations: Sequence[ConfigureNode]) -> list[OperationError | None]:
    """Set the nodes, each by one send; return the first refusal of each."""
    return [_set(executor, item.ns, item.change, item.lab) for item in operations]


def _set(
    executor: Executor, ns: int, change: NodeChange, lab: str, done: Mapping[int, tuple[int, ...]] = _DONE
) -> OperationError | None:
    handle = executor.handle(ns)
    try:
        with executor.kernel.using([handle]):
            indexes: dict[str, int] = {}
            for ifname in sorted(_interfaces_of(change)):
                if (replaced := executor.replaced(handle, IfRef(ns, ifname), ours=True)) is not None:
                    return replaced
                indexes[ifname] = executor.indexes.of(IfRef(ns, ifname))
            gone = marked_addresses(executor.kernel, handle, lab).intersection(change.remove) if change.remove else ()
            # Set the mark before what it marks, and remove it after that.
            for requests in (
                _mark(lab, change, True),
                list(_body(change, lab, indexes, gone)),
                _mark(lab, change, False),
            ):
                answers = executor.kernel.send(handle, requests) if requests else ()
                refusal = _first_refusal(requests, answers, done)
                if refusal is not None:
                    return refusal
    except (KernelError, OSError) as error:
        return error
    return None


def _interfaces_of(change: NodeChange) -> set[str]:
    hops = {hops for routes in (change.add_routes, change.remove_routes) for hops in routes.values()}
    return {ifname for several in hops for ifname, _ in several}


def _first_refusal(
    requests: Sequence[Request], answers: Sequence[KernelError | None], done: Mapping[int, tuple[int, ...]]
) -> KernelError | None:
    for request, answer in zip(requests, answers, strict=True):
        if answer is not None and answer.errno not in done.get(request.type, ()):
            answer.request = request
            return answer
    return None


def _mark(lab: str, change: NodeChange, comes: bool) -> list[Request]:
    """Return the request that sets the mark (comes) or removes it, if the change includes that."""
    if change.mark is not comes:
        return []
    type, flags = (RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL) if comes else (RTM_DELLINKPROP, 0)
    return [Request(type, {"index": LOOPBACK_IFINDEX}, {"prop_list": {"alt_ifname": [node_mark(lab)]}}, flags)]


def _body(change: NodeChange, lab: str, indexes: Mapping[str, int], gone: Collection[Address]) -> Iterator[Request]:
    """Yield the requests of a change, except those for the mark.

    Args:
        change: What is to be done.
        lab: Whose mark addresses get.
        indexes: The ifindex of each interface, by its name.
        gone: The addresses to remove: those that still have the mark.
    """
    if change.up is not None:
        flags = IFF_UP if change.up else 0
        yield Request(RTM_SETLINK, {"index": LOOPBACK_IFINDEX, "flags": flags, "change": IFF_UP})
    written: dict[object, bytes] = {}
    for goal, hops in change.remove_routes.items():
        yield _route(RTM_DELROUTE, goal, hops, indexes, written, 0)
    for address in gone:
        yield _address(RTM_DELADDR, address, {"address": address.packed}, 0)
    for address in change.add:
        attributes: dict[str, object] = {"proto": ADDRESS_PROTOCOL, "rt_priority": address_mark(lab)}
        if address.family == AF_INET6:
            attributes["flags"] = IFA_F_NODAD
        yield _address(RTM_NEWADDR, address, attributes, NLM_F_CREATE | NLM_F_EXCL)
    for goal, hops in change.add_routes.items():
        # The kernel's routes to networks have the metric 0 of ours with IPv4, another one with IPv6.
        is_behind = goal in change.behind and goal[0] == AF_INET
        flags = NLM_F_CREATE | (NLM_F_APPEND if is_behind else NLM_F_EXCL)
        yield _route(RTM_NEWROUTE, goal, hops, indexes, written, flags)


def _address(type: int, address: Address, attributes: dict[str, object], flags: int) -> Request:
    header = {"family": address.family, "prefixlen": address.prefixlen, "index": LOOPBACK_IFINDEX}
    return Request(type, header, {"local": address.packed, **attributes}, flags)


def _route(
    type: int,
    goal: Goal,
    hops: tuple[Hop, ...],
    indexes: Mapping[str, int],
    written: dict[object, bytes],
    flags: int,
) -> Request:
    """Return an encoded request. The routes of a node share a few next hops: encode each of these once.

    Args:
        type: RTM_NEWROUTE or RTM_DELROUTE.
        goal: Where the route leads.
        hops: By which hops.
        indexes: The ifindex of each interface, by its name.
        written: Bytes of the routes before.
        flags: Of the request.
    """
    family, packed, prefixlen, metric = goal
    header = {
        "family": family,
        "dst_len": prefixlen,
        "table": RT_TABLE_MAIN,
        "protocol": RTPROT_KOKOFAST,
        "type": RTN_UNICAST,
    }
    attributes: dict[str, object] = {}
    if len(hops) > 1:
        attributes["multipath"] = pack_hops([(indexes[ifname], gateway) for ifname, gateway in hops])
    else:
        ((ifname, gateway),) = hops
        attributes["oif"] = indexes[ifname]
        if gateway:
            attributes["gateway"] = gateway
        elif family == AF_INET:  # fib_check_nh() requires it for networks on the link
            header["scope"] = RT_SCOPE_LINK
    if metric:
        attributes["priority"] = metric
    way, start = (hops, metric), (family, prefixlen, not attributes.keys() & {"gateway", "multipath"})
    if way not in written:
        written[way] = encode(ROUTE, attributes)
    if start not in written:
        written[start] = RTMSG.pack(header)
    request = Request(type, header, {"dst": packed, **attributes} if prefixlen else attributes, flags)
    request.body = written[start] + written[way] + (pack_goal(packed) if prefixlen else b"")
    return request


def undo(applied: Applied, numbers: Sequence[int]) -> list[str]:
    """Set nodes back to what they were."""
    return undo_on_nodes(applied, numbers, set_back)


def set_back(executor: Executor, operation: ConfigureNode) -> OperationError | None:
    """Undo an operation."""
    refusal = _set(executor, operation.ns, operation.change.reversed(), operation.lab, _DONE_BACK)
    if isinstance(refusal, KernelError):
        return refusal
    return None if refusal is not None and refusal.errno in ENDED else refusal


def locate(applied: Applied, operation: ConfigureNode, refusal: OperationError, obstacle: tuple[str, str]) -> Problem:
    """Blame an address or a route of the node, or the routing of the lab."""
    nodes = [node for name, node in applied.topology.nodes.items() if operation.node == name]
    place, text = nodes[0].place, words_of(refusal)
    request = refusal.request if isinstance(refusal, KernelError) else None
    if request is not None and request.type in (RTM_NEWADDR, RTM_DELADDR):
        packed, length = request.attributes["local"], request.header["prefixlen"]
        for number, address in enumerate(nodes[0].addresses):
            if (address.packed, address.prefixlen) == (packed, length):
                place = f"{place}.addresses[{number}]"
        text = f"{LOOPBACK}: {text}"
    elif request is not None and request.type in (RTM_NEWROUTE, RTM_DELROUTE):
        goal = _goal_of(request)
        place = ROUTING
        for number, route in enumerate(nodes[0].routes):
            metric = route.metric or DEFAULT_METRIC[route.goal.family]
            if (*route.goal.key(), metric) == goal:
                place = f"{nodes[0].place}.routes[{number}]"
        text = f"the route to {name_of(goal)}: {text}"
        if refusal.errno == errno.EEXIST:
            text = f"there is a route to {name_of(goal)} already that is not ours; remove it first (ip route delete)"
    return Problem(place, f"{operation.node}: {text}")


def _goal_of(request: Request) -> Goal:
    family, prefixlen = request.header["family"], request.header["dst_len"]
    packed = request.attributes.get("dst", bytes(4 if family == AF_INET else 16))
    metric = request.attributes.get("priority", 0)
    return family, packed, prefixlen, metric  # type: ignore[return-value]


def describe(plan: Plan, operation: ConfigureNode) -> Step | None:
    """Show addresses and routes, or how many routes if there are many."""
    from kokofast.plan.step import Step

    changes = tuple(_changes(operation.change))
    source = plan.topology.nodes[operation.node].place
    return Step("update", "node", name=operation.node, source=source, changes=changes) if changes else None


def _changes(change: NodeChange) -> Iterator[FieldChange]:
    for address in change.remove:
        yield "addresses", f"{text_of(address.packed, address.prefixlen, whole=True)}", None
    for address in change.add:
        yield "addresses", None, f"{text_of(address.packed, address.prefixlen, whole=True)}"
    gone, come = change.remove_routes, change.add_routes
    if len(gone.keys() | come.keys()) > SHOWN:
        yield "routes", len(gone) or None, len(come) or None
        return
    for goal in dict.fromkeys((*gone, *come)):
        yield "routes", _route_as_dict(goal, gone), _route_as_dict(goal, come)


def _route_as_dict(goal: Goal, routes: Routes) -> dict[str, object] | None:
    if goal not in routes:
        return None
    hops = [{"via": text_of(via, 128), "dev": ifname} if via else {"dev": ifname} for ifname, via in routes[goal]]
    metric = {"metric": goal[3]} if goal[3] != DEFAULT_METRIC[goal[0]] else {}
    return {"to": name_of(goal), "hops": hops, **metric}


def remove_all(executor: Executor, ns: int, lab: str) -> OperationError | None:
    """Remove the addresses and the mark of a lab. Its routes end with its links.

    Its sysctls stay: their former values are not known.
    """
    handle = executor.handle(ns)
    try:
        with executor.kernel.using([handle]):
            found = marked_addresses(executor.kernel, handle, lab)
    except (KernelError, OSError) as error:
        return error
    return _set(executor, ns, NodeChange(mark=False, remove=found), lab)
