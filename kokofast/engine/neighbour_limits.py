"""Warn of the limit on neighbours: traffic reaches it, requests do not."""

from __future__ import annotations

from kokofast.host.limits import neighbours
from kokofast.topology.model import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.topology.model import Topology

ENDS_MOST = 2  # of a link of any kind


def crowded(topology: Topology, limit_of: Callable[[str], tuple[str, int] | None] = neighbours) -> list[str]:
    """Return a note for each address family with more ends than the machine keeps neighbours.

    An end in use has at least one neighbour, at the other end. The machine and other labs have more.
    """
    limits = {family: limit_of(f"ipv{version}") for family, version in ((AF_INET, 4), (AF_INET6, 6))}
    most = ENDS_MOST * len(topology.links)
    if all(limit is None or limit[1] >= most for limit in limits.values()):  # nearly always
        return []
    ends = dict.fromkeys(limits, 0)
    for link in topology.links:
        for end in link.ends:
            for family in {address.family for address in end.addresses}:
                ends[family] += 1
    return [
        f"{ends[family]:,} ends have {'IPv4' if family == AF_INET else 'IPv6'} addresses, and the machine keeps "
        f"{limit[1]:,} neighbours for all its namespaces together: while more are in use, packets are lost (in the "
        f"kernel's log: neighbor table overflow); raise it: sysctl -w {limit[0]}=NUMBER"
        for family, limit in limits.items()
        if limit is not None and ends[family] > limit[1]
    ]
