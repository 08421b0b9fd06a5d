"""What a lab asks of the machine only when it is used: no request is refused for it, so it is said when it is made."""

from __future__ import annotations

from kokofast.host.limits import neighbours
from kokofast.topology.model import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.topology.model import Topology

ENDS_MOST = 2  # of a link of any kind


def crowded(topology: Topology, limit_of: Callable[[str], tuple[str, int] | None] = neighbours) -> list[str]:
    """A note for each family of which more ends have addresses than the machine keeps neighbours.

    An end in use has one neighbour at least, that at the other end. Those of the machine and of other labs come on top.
    """
    limits = {family: limit_of(f"ipv{version}") for family, version in ((AF_INET, 4), (AF_INET6, 6))}
    most = ENDS_MOST * len(topology.links)
    if all(limit is None or limit[1] >= most for limit in limits.values()):  # nearly always: nothing is counted
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
