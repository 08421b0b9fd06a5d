"""Generic netlink: the features of an interface, as in ``ethtool -k``, and the number of the family that has them.

Sources: include/uapi/linux/genetlink.h (struct genlmsghdr, CTRL_*), include/uapi/linux/ethtool_netlink.h
(ETHTOOL_A_*); net/ethtool/features.c, net/ethtool/bitset.c.
"""

from __future__ import annotations

from kokofast.wire.attributes import FLAG, NEST, STRING, U16, U32, Attr, Header, Table

NETLINK_GENERIC = 16
GENL_ID_CTRL = 16

# nlmsg_type in our requests. The kernel's numbers are those of rtnetlink as well, and that of the family ethtool
# differs from machine to machine: host.generic puts them in.
CTRL = 0xF0
ETHTOOL = 0xF1

CTRL_CMD_GETFAMILY = 3
ETHTOOL_MSG_FEATURES_GET = 11
ETHTOOL_MSG_FEATURES_SET = 12
ETHTOOL_FLAG_OMIT_REPLY = 2

GENLMSGHDR = Header("genlmsghdr", "BBxx", "cmd version")

FAMILY = Table("genl_ctrl", {"family_id": Attr(1, U16), "family_name": Attr(2, STRING)})

# Without NLA_F_NESTED the kernel refuses the nests of a request.
DEVICE = Table("ethtool_header", {"dev_index": Attr(1, U32), "dev_name": Attr(2, STRING), "flags": Attr(3, U32)})
BIT = Table("ethtool_bit", {"index": Attr(1, U32), "name": Attr(2, STRING), "value": Attr(3, FLAG)})
BITS = Table("ethtool_bits", {"bit": Attr(1, NEST, BIT, many=True, flagged=True)})
BITSET = Table(
    "ethtool_bitset",
    {"nomask": Attr(1, FLAG), "size": Attr(2, U32), "bits": Attr(3, NEST, BITS, flagged=True)},
)

FEATURES = Table(
    "ethtool_features",
    {
        "header": Attr(1, NEST, DEVICE, flagged=True),
        "hw": Attr(2, NEST, BITSET, flagged=True),
        "wanted": Attr(3, NEST, BITSET, flagged=True),
        "active": Attr(4, NEST, BITSET, flagged=True),
        "nochange": Attr(5, NEST, BITSET, flagged=True),
    },
)
