"""What IFLA_INFO_DATA holds, by IFLA_INFO_KIND: one table a link kind. Source: include/uapi/linux/if_link.h.

veth is in link.py: its data holds a whole link message.
"""

from __future__ import annotations

from kokofast.wire.attributes import BYTES, U8, U16, U16_BE, U32, Attr, Table

# vxlan_policy in drivers/net/vxlan/vxlan_core.c
VXLAN = Table(
    "vxlan",
    {
        "id": Attr(1, U32),
        "group": Attr(2, BYTES),
        "link": Attr(3, U32),
        "local": Attr(4, BYTES),
        "ttl": Attr(5, U8),
        "tos": Attr(6, U8),
        "learning": Attr(7, U8),
        "ageing": Attr(8, U32),
        "limit": Attr(9, U32),
        "port_range": Attr(10, BYTES),
        "port": Attr(15, U16_BE),
        "group6": Attr(16, BYTES),
        "local6": Attr(17, BYTES),
    },
)

# vlan_policy in net/8021q/vlan_netlink.c
VLAN = Table(
    "vlan",
    {
        "id": Attr(1, U16),
        "flags": Attr(2, BYTES),
        "protocol": Attr(5, U16_BE),
    },
)

# macvlan_policy in drivers/net/macvlan.c
MACVLAN = Table(
    "macvlan",
    {
        "mode": Attr(1, U32),
        "flags": Attr(2, U16),
    },
)

# ipvlan_nl_policy in drivers/net/ipvlan/ipvlan_main.c
IPVLAN = Table(
    "ipvlan",
    {
        "mode": Attr(1, U16),
        "flags": Attr(2, U16),
    },
)

# br_policy in net/bridge/br_netlink.c
BRIDGE = Table(
    "bridge",
    {
        "forward_delay": Attr(1, U32),
        "hello_time": Attr(2, U32),
        "max_age": Attr(3, U32),
        "ageing_time": Attr(4, U32),
        "stp_state": Attr(5, U32),
        "priority": Attr(6, U16),
        "vlan_filtering": Attr(7, U8),
        "group_fwd_mask": Attr(9, U16),
    },
)

# Kinds whose remotes may be entries of a forwarding database (wire.neigh), and what shows that one has its own instead.
WITH_REMOTES = ("vxlan",)
OWN_REMOTE = ("group", "group6")

# br_port_policy in net/bridge/br_netlink.c
PORT = Table("port", {"group_fwd_mask": Attr(31, U16)})

# One line a kind.
INFO_DATA: dict[str, Table] = {
    "vxlan": VXLAN,
    "vlan": VLAN,
    "macvlan": MACVLAN,
    "ipvlan": IPVLAN,
    "bridge": BRIDGE,
}
