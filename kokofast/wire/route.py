"""RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE: the routing tables.

Source: struct rtmsg, struct rtnexthop and enum rtattr_type_t in include/uapi/linux/rtnetlink.h; rtm_ipv6_policy and
ip6_route_multipath_add() in net/ipv6/route.c, rtm_ipv4_policy in net/ipv4/fib_frontend.c, fib_get_nhs() in
net/ipv4/fib_semantics.c.
"""

from __future__ import annotations

from kokofast.wire.attributes import BYTES, NLATTR, U32, Attr, DecodeError, Header, Table, encode
from kokofast.wire.decode import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.wire.attributes import Buffer

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26

RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255

RTPROT_KERNEL = 2
# "K", which marks our routes as it marks our addresses (IFA_PROTO). rtnetlink.h and iproute2's rt_protos give this
# number to no other program.
RTPROT_KOKOFAST = 0x4B

RTN_UNICAST = 1

RTMSG = Header("rtmsg", "BBBBBBBBI", "family dst_len src_len tos table protocol scope type flags")

ROUTE = Table(
    "route",
    {
        "dst": Attr(1, BYTES),
        "src": Attr(2, BYTES),
        "iif": Attr(3, U32),
        "oif": Attr(4, U32),
        "gateway": Attr(5, BYTES),
        "priority": Attr(6, U32),
        "prefsrc": Attr(7, BYTES),
        "metrics": Attr(8, BYTES),
        "multipath": Attr(9, BYTES),
        "cacheinfo": Attr(12, BYTES),
        "table": Attr(15, U32),
        "nh_id": Attr(30, U32),
    },
)

RTNEXTHOP = Header("rtnexthop", "HBBi", "len flags hops ifindex")
NEXTHOP = Table("next hop", {"gateway": Attr(5, BYTES)})


def pack_goal(packed: bytes) -> bytes:
    """Encode RTA_DST as attributes.encode() does, but faster: each route has one."""
    return NLATTR.pack(NLATTR.size + len(packed), ROUTE.rows["dst"].type) + packed


def pack_hops(hops: Iterable[tuple[int, bytes]]) -> bytes:
    """Encode RTA_MULTIPATH: the next hops of a route, all of the same weight.

    Args:
        hops: (ifindex, gateway) of each; a hop without a gateway has an empty one.
    """
    parts: list[bytes] = []
    for ifindex, gateway in hops:
        attributes = encode(NEXTHOP, {"gateway": gateway} if gateway else {})
        parts += (RTNEXTHOP.pack({"len": RTNEXTHOP.size + len(attributes), "ifindex": ifindex}), attributes)
    return b"".join(parts)


def unpack_hops(data: Buffer) -> list[tuple[int, bytes]]:
    """Decode RTA_MULTIPATH to a list of (ifindex, gateway); a hop without a gateway has an empty one.

    Raises:
        DecodeError: The bytes are no list of next hops.
    """
    view = memoryview(data)
    found: list[tuple[int, bytes]] = []
    while view:
        header = RTNEXTHOP.unpack(view)
        length = header["len"]
        if not RTNEXTHOP.size <= length <= len(view):
            raise DecodeError(f"a next hop says {length} of {len(view)} bytes")
        attributes = decode(NEXTHOP, view[RTNEXTHOP.size : length])
        found.append((header["ifindex"], attributes.get("gateway", b"")))
        view = view[(length + 3) & ~3 :]
    return found
