"""What a file needs of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kokofast.ends.shaping import shaper_for
from kokofast.kinds.kind import DEFAULT_MTU
from kokofast.topology.model import AF_INET, AF_INET6
from kokofast.topology.node_kinds import NODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kokofast.topology.model import End, Topology


@dataclass(frozen=True)
class Needs:
    """What a lab needs; by default what any lab does.

    Attributes:
        title: How messages name the file; "" without one.
        facilities: What the kernel must have, as keys of Facts.kernel.
        mirrors: Whether traffic is mirrored.
        sandbox: Whether all is to be done in a sandbox.
        processes: Whether namespaces are reached by processes.
        ends: Address family -> how many ends have addresses of it.
        not_in_sandbox: The nodes that a sandbox cannot have, if that is asked for.
    """

    title: str = ""
    facilities: frozenset[str] = frozenset(("veth",))
    mirrors: bool = False
    sandbox: bool = False
    processes: bool = False
    links: int = 0
    namespaces: int = 0
    ends: Mapping[str, int] | None = None
    not_in_sandbox: tuple[str, ...] = ()


def needs_of(topology: Topology, title: str, *, sandbox: bool = False) -> Needs:
    """Return what the file needs."""
    ends = [end for link in topology.links for end in link.ends]
    families = {"ipv4": AF_INET, "ipv6": AF_INET6}
    counts = {
        name: sum(any(address.family == family for address in end.addresses) for end in ends)
        for name, family in families.items()
    }
    facilities = {link.kind for link in topology.links}
    for end in ends:
        facilities.update(_of_end(end))
    addresses = (address for node in topology.nodes.values() for address in node.addresses)
    if counts["ipv6"] or any(address.family == AF_INET6 for address in addresses):
        facilities.add("ipv6")
    kinds = [NODES[node.kind] for node in topology.nodes.values()]
    return Needs(
        title=title,
        facilities=frozenset(facilities),
        mirrors=any(end.mirror is not None for end in ends),
        sandbox=sandbox,
        processes=any(kind.is_process or bool(kind.daemon) for kind in kinds),
        links=len(topology.links),
        namespaces=len(topology.nodes),
        ends=counts,
        not_in_sandbox=tuple(
            name for name, node in topology.nodes.items() if sandbox and not NODES[node.kind].in_sandbox
        ),
    )


def _of_end(end: End) -> Iterator[str]:
    impairments = end.properties.get("impairments")
    if isinstance(impairments, dict):
        shaper = shaper_for(impairments, end.mtu or DEFAULT_MTU)
        if shaper is not None:
            yield shaper.kind
    if "offload" in end.properties:
        yield "ethtool"
