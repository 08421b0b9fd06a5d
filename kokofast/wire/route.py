"""RTM_GETROUTE, RTM_DELROUTE: the routing tables, as far as routes are taken away.

Source: struct rtmsg and enum rtattr_type_t in include/uapi/linux/rtnetlink.h; rtm_ipv6_policy in net/ipv6/route.c,
rtm_ipv4_policy in net/ipv4/fib_frontend.c.
"""

from __future__ import annotations

from kokofast.wire.attributes import BYTES, U32, Attr, Header, Table

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26

RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255

RTPROT_KERNEL = 2

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
