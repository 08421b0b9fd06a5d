"""IPv6 routes through the interfaces of a hub, which are in the way when all of those are deleted at once.

For each interface that goes the kernel walks all IPv6 routes of its namespace (rt6_sync_down_dev() in
net/ipv6/route.c), and each interface that is up has three or more that the kernel itself has made. Taken away before,
one by one as each is known, they cost a few microseconds a piece: of 4,000 links in a star, 4.8 s of deletion become
2.7, of 1,000 nearly nothing is saved. IPv4 routes are found by their interface, and cost what they save.
"""

from __future__ import annotations

from kokofast.wire.addr import AF_INET6
from kokofast.wire.message import KernelError, Request
from kokofast.wire.route import RT_TABLE_LOCAL, RT_TABLE_MAIN, RTM_DELROUTE, RTM_GETROUTE, RTPROT_KERNEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.wire.message import Message

MANY = 1000  # interfaces

_TABLES = (RT_TABLE_MAIN, RT_TABLE_LOCAL)
# Also routes that change meanwhile: one that is missed costs a little, one that is gone is refused.
_ROUTES = Request(
    RTM_GETROUTE,
    {"family": AF_INET6},
    only=frozenset(("dst", "gateway", "multipath", "nh_id", "oif", "priority")),
    believe=lambda *_: True,
)


def routes_in_the_way(kernel: Kernel, handle: Handle, ifindexes: Collection[int]) -> list[Request]:
    """Return the requests that delete the kernel's own IPv6 routes through these interfaces, when they are many.

    None when the tables cannot be read, for nothing depends on it.
    """
    if len(ifindexes) < MANY:
        return []
    try:
        found = kernel.dump(handle, _ROUTES)
    except (KernelError, OSError):
        return []
    # A request without gateway takes all next hops of the first route that it fits, and fits a nexthop object of any
    # interface (ip6_route_del()): what shares its prefix with such a route stays, and goes with the interface.
    shared = {_prefix(message) for message in found if not message.attributes.keys().isdisjoint(("multipath", "nh_id"))}
    ours = frozenset(ifindexes)
    chosen: dict[tuple[object, ...], Request] = {}
    for message in found:
        header, attributes = message.header, message.attributes
        if (
            attributes.get("oif") in ours
            and header["family"] == AF_INET6  # where there is no IPv6 the kernel tells of all families
            and header["table"] in _TABLES
            and header["protocol"] == RTPROT_KERNEL
            and header["src_len"] == 0
            and "gateway" not in attributes
            and (prefix := _prefix(message)) not in shared
        ):
            # Once: a dump that is disturbed begins again in the kernel, and tells many routes ten times.
            key = (*prefix, attributes["oif"], attributes.get("priority"))
            chosen[key] = Request(RTM_DELROUTE, {**header, "flags": 0}, attributes)
    return list(chosen.values())


def _prefix(message: Message) -> tuple[object, ...]:
    return message.header["table"], message.header["dst_len"], message.attributes.get("dst")
