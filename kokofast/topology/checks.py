"""Check valid values against each other, by the file alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

from kokofast.ends import ENDS
from kokofast.kinds import KINDS
from kokofast.kinds.kind import IPV6_MIN_MTU, NAMESPACE
from kokofast.topology.model import AF_INET6, Link, Node
from kokofast.topology.node_kinds import NODES

Report = Callable[[str, str], None]


def check_for_sandbox(nodes: Iterable[Node], report: Report) -> None:
    """Report nodes that a sandbox cannot have. Containers, processes and namespace files belong to the machine."""
    inside = " and ".join(kind.name for kind in NODES.values() if kind.in_sandbox)
    for node in nodes:
        if not NODES[node.kind].in_sandbox:
            report(node.place, f"a {node.kind} node cannot be in a sandbox, only {inside}")


def check_links(links: Iterable[Link], namespaces: Mapping[str, Hashable], report: Report) -> None:
    """Report (place, sentence) of what the kernel would refuse, or could not work.

    namespaces has the identity of each node, and of CALLER.
    """
    first: dict[Hashable, tuple[Link, Hashable | None]] = {}
    for link in links:
        _check_ends(link, report)
        kind = KINDS[link.kind]
        if not kind.fields:
            continue
        if (wrong := kind.contradiction(link)) is not None:
            report(link.where(wrong[0]), wrong[1])
        if kind.rivalry is None:
            continue
        node, ifname = link.parent or (link.ends[0].node, "")
        scope, key, sort = kind.rivalry.of(link)
        home = namespaces.get(node)
        if home is None:  # on a host that is not chosen yet
            continue
        where: Hashable = (home, key) if scope == NAMESPACE else (home, ifname, key)
        other, others = first.setdefault(where, (link, sort))
        if other is link:
            continue
        if sort is None or sort != others:
            report(link.where(kind.rivalry.field), f"{kind.rivalry.rule}: see {other.title()} at {other.place}")


def check_ipv6(
    nodes: Iterable[Node], links: Iterable[Link], namespaces: Mapping[str, Hashable], report: Report
) -> None:
    """Report what needs IPv6 in a namespace where a node switches it off."""
    nodes = list(nodes)
    off = {namespaces[node.name]: node.name for node in nodes if node.ipv6 is False}
    for node in nodes if off else ():
        if namespaces[node.name] not in off:
            continue
        if node.ipv6:
            report(
                f"{node.place}.ipv6",
                f"the node {off[namespaces[node.name]]} is the same namespace, and has ipv6: false; give both the same",
            )
        for index, address in enumerate(node.addresses):
            if address.family == AF_INET6:
                report(
                    f"{node.place}.addresses[{index}]",
                    f"{node.name} has ipv6: false; leave out ipv6, or the address {address.text}",
                )
        for index, route in enumerate(node.routes):
            if route.goal.family == AF_INET6:
                words = f"{node.name} has ipv6: false; leave out ipv6, or the route to {route.goal.text}"
                report(f"{node.place}.routes[{index}]", words)
    for end in (end for link in links for end in link.ends) if off else ():
        if namespaces[end.node] not in off:
            continue
        node_is_off = f"the node {off[namespaces[end.node]]} has ipv6: false"
        for index, address in enumerate(end.addresses):
            if address.family == AF_INET6:
                report(
                    end.where(f"addresses[{index}]"), f"{node_is_off}; leave out ipv6, or the address {address.text}"
                )
        if end.dad is False:
            report(end.where("dad"), f"{node_is_off}, so there is no link-local address; leave dad out")
        if end.properties.get("link_local"):
            report(end.where("link_local"), f"{node_is_off}, so there is no link-local address; leave link_local out")


def _check_ends(link: Link, report: Report) -> None:
    told: set[str] = set()  # places that are of both ends
    for end in link.ends:
        for name, value in end.properties.items():
            wrong = ENDS[name].contradiction(end, value)
            if wrong is not None:
                place = end.where(wrong[0])
                if place not in told:
                    told.add(place)
                    report(place, wrong[1])
        if end.mtu is not None and end.mtu < IPV6_MIN_MTU:
            for address in end.addresses:
                if address.family == AF_INET6:
                    words = f"{end.mtu} is too small for the IPv6 address {address.text}, which needs {IPV6_MIN_MTU}"
                    report(end.where("mtu"), words)
                    break
    if len(link.ends) == 2:
        one, two = link.ends
        if not one.addresses or not two.addresses:
            return
        taken = {address.packed for address in one.addresses}
        for number, address in enumerate(two.addresses):
            if address.packed in taken:
                report(two.where(f"addresses[{number}]"), f"both ends of the link have the address {address.text}")
