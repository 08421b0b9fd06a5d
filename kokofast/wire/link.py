"""RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK: the link tables.

Source: include/uapi/linux/if_link.h, rtnetlink.h (struct ifinfomsg), veth.h; policies ifla_policy and ifla_info_policy
in net/core/rtnetlink.c. The tables have what we send or read; decode() keeps other attributes as bytes.
"""

from __future__ import annotations

from kokofast.wire.attributes import BYTES, NEST, S32, STRING, U8, U32, Attr, Header, Table
from kokofast.wire.linkinfo import INFO_DATA, PORT

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWLINKPROP = 108
RTM_DELLINKPROP = 109

# All that have this header and the attributes of LINK.
TYPES = (RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RTM_NEWLINKPROP, RTM_DELLINKPROP)

AF_BRIDGE = 7  # of a message about a port of a bridge, or about an entry of a forwarding database
IFF_UP = 0x1
IFF_RUNNING = 0x40
IFF_LOWER_UP = 0x10000

# IFLA_EXT_MASK: leave the statistics, a third of each answer, out of a dump.
RTEXT_FILTER_SKIP_STATS = 1 << 3

IFINFOMSG = Header("ifinfomsg", "BxHiII", "family type index flags change")

# IFLA_PROP_LIST: the alternative names of an interface (Linux 5.5).
PROPERTIES = Table("properties", {"alt_ifname": Attr(53, STRING, many=True)})

# IFLA_AF_SPEC. enum in6_addr_gen_mode says how the kernel makes an interface's link-local address; conf is an array of
# int, one for each sysctl of the interface (enum in include/uapi/linux/ipv6.h).
ADDR_GEN_MODE_EUI64, ADDR_GEN_MODE_NONE = 0, 1
DEVCONF_DISABLE_IPV6 = 26
INET6 = Table("inet6", {"conf": Attr(2, BYTES), "addr_gen_mode": Attr(8, U8)})
AF_SPEC = Table("af_spec", {"inet6": Attr(10, NEST, INET6)})

LINKINFO = Table(
    "linkinfo",
    {
        "kind": Attr(1, STRING),
        "data": Attr(2, NEST, select="kind", tables=INFO_DATA),
        "slave_kind": Attr(4, STRING),
        "slave_data": Attr(5, BYTES),  # for a port of a bridge: the attributes of PORT, and many others
    },
)

LINK = Table(
    "link",
    {
        "address": Attr(1, BYTES),
        "broadcast": Attr(2, BYTES),
        "ifname": Attr(3, STRING),
        "mtu": Attr(4, U32),
        "link": Attr(5, U32),
        "qdisc": Attr(6, STRING),
        "master": Attr(10, U32),
        "protinfo": Attr(12, NEST, PORT, flagged=True),  # with AF_BRIDGE: br_setlink()
        "txqlen": Attr(13, U32),
        "operstate": Attr(16, U8),
        "linkmode": Attr(17, U8),
        "linkinfo": Attr(18, NEST, LINKINFO),
        "net_ns_pid": Attr(19, U32),
        "ifalias": Attr(20, STRING),
        "af_spec": Attr(26, NEST, AF_SPEC),
        "group": Attr(27, U32),
        "net_ns_fd": Attr(28, U32),
        "ext_mask": Attr(29, U32),
        "promiscuity": Attr(30, U32),
        "num_tx_queues": Attr(31, U32),
        "num_rx_queues": Attr(32, U32),
        "carrier": Attr(33, U8),
        "link_netnsid": Attr(37, S32),
        "new_netnsid": Attr(45, S32),
        "target_netnsid": Attr(46, S32),
        "new_ifindex": Attr(49, S32),
        "min_mtu": Attr(50, U32),
        "max_mtu": Attr(51, U32),
        "prop_list": Attr(52, NEST, PROPERTIES, flagged=True),
    },
)

# The other end is a whole link message, so this table is here and not with those of the other kinds.
VETH = Table("veth", {"peer": Attr(1, NEST, Table("peer", LINK.rows, header=IFINFOMSG))})

INFO_DATA["veth"] = VETH
