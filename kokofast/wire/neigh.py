"""RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH: the entries of forwarding databases.

Sources: include/uapi/linux/neighbour.h (struct ndmsg), rtnl_fdb_add() and rtnl_fdb_dump() in net/core/rtnetlink.c,
vxlan_fdb_add(), vxlan_fdb_delete() and vxlan_xmit() in drivers/net/vxlan/vxlan_core.c.
"""

from __future__ import annotations

from kokofast.wire.attributes import BYTES, U16_BE, U32, Attr, Header, Table

RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29
RTM_GETNEIGH = 30

NUD_PERMANENT = 0x80
NTF_SELF = 0x02  # that of the interface itself, not of the bridge that it is a port of

NDMSG = Header("ndmsg", "B3xiHBB", "family index state flags type")

NEIGH = Table(
    "neigh",
    {
        "dst": Attr(1, BYTES),
        "lladdr": Attr(2, BYTES),
        "port": Attr(6, U16_BE),
        "vni": Attr(7, U32),
        "ifindex": Attr(8, U32),
    },
)
