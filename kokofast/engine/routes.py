"""IPv6 routes through the interfaces of a hub, which are in the way when all of those are deleted at once.

For each interface that goes the kernel walks all IPv6 routes of its namespace (rt6_sync_down_dev() in
net/ipv6/route.c), and each interface has three of its own. Taken away before, one by one as each is known, they cost a
few microseconds a piece: of 4,000 links in a star, 4.8 s of deletion become 2.7, of 1,000 nearly nothing is saved. IPv4
routes are found by their interface, and cost what they save.
"""

from __future__ import annotations

from kokofast.wire.addr import AF_INET6
from kokofast.wire.message import KernelError, Request
from kokofast.wire.route import RT_TABLE_LOCAL, RT_TABLE_MAIN, RTM_DELROUTE, RTM_GETROUTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.host.kernel import Handle, Kernel

MANY = 1000  # interfaces

# Also routes that change meanwhile: one that is missed costs a little, one that is gone is refused.
_ROUTES = Request(
    RTM_GETROUTE, {"family": AF_INET6}, only=frozenset(("dst", "oif", "priority")), believe=lambda *_: True
)


def routes_in_the_way(kernel: Kernel, handle: Handle, ifindexes: Sequence[int]) -> list[Request]:
    """The requests that delete the IPv6 routes through these interfaces, when they are many; none when the tables
    cannot be read, for nothing depends on it."""
    if len(ifindexes) < MANY:
        return []
    ours = frozenset(ifindexes)
    try:
        found = kernel.dump(handle, _ROUTES)
    except (KernelError, OSError):  # no IPv6
        return []
    return [
        # RTM_DELROUTE takes no flags; the others together tell this route from all others.
        Request(RTM_DELROUTE, {**message.header, "flags": 0}, message.attributes)
        for message in found
        if message.attributes.get("oif") in ours and message.header["table"] in (RT_TABLE_MAIN, RT_TABLE_LOCAL)
    ]
