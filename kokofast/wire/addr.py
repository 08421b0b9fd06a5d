"""RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR: the address table.

Source: include/uapi/linux/if_addr.h; ifa_ipv4_policy in net/ipv4/devinet.c, ifa_ipv6_policy in net/ipv6/addrconf.c.
"""

from __future__ import annotations

from kokofast.wire.attributes import BYTES, STRING, U32, Attr, Header, Table

RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22

AF_INET = 2
AF_INET6 = 10

IFA_F_NODAD = 0x02
IFA_F_TENTATIVE = 0x40
IFA_F_PERMANENT = 0x80

RT_SCOPE_LINK = 253

IFADDRMSG = Header("ifaddrmsg", "BBBBi", "family prefixlen flags scope index")

ADDR = Table(
    "addr",
    {
        "address": Attr(1, BYTES),
        "local": Attr(2, BYTES),
        "label": Attr(3, STRING),
        "broadcast": Attr(4, BYTES),
        "cacheinfo": Attr(6, BYTES),
        "flags": Attr(8, U32),
        "rt_priority": Attr(9, U32),
        "target_netnsid": Attr(10, U32),
        "proto": Attr(11, BYTES),
    },
)
