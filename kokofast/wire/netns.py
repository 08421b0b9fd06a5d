"""RTM_GETNSID, RTM_DELNSID: the number by which one network namespace calls another, as in IFLA_LINK_NETNSID.

Source: include/uapi/linux/net_namespace.h; rtnl_net_getid() in net/core/net_namespace.c.
"""

from __future__ import annotations

import struct

from kokofast.wire.attributes import S32, U32, Attr, Header, Table

RTM_NEWNSID = 88
RTM_DELNSID = 89
RTM_GETNSID = 90

NETNSA_NSID_NOT_ASSIGNED = -1

# struct rtgenmsg is one byte; attributes begin at a multiple of four.
RTGENMSG = Header("rtgenmsg", "B3x", "family")

NSID = Table("nsid", {"nsid": Attr(1, S32), "pid": Attr(2, U32), "fd": Attr(3, U32)})

_NUMBERED = struct.Struct("=4xHHiHHI")
_ASKED = struct.Struct("=4xHHi")


def asked(nsid: int) -> bytes:
    """Encode the body of an RTM_GETNSID by number: as the tables would, but for thousands of namespaces."""
    return _ASKED.pack(8, 1, nsid)


def numbered(nsid: int, fd: int) -> bytes:
    """Encode the body of an RTM_NEWNSID: as the tables would, but for thousands of namespaces.

    Args:
        nsid: The number that the sender's namespace is to have for the other.
        fd: A descriptor of the other namespace.
    """
    return _NUMBERED.pack(8, 1, nsid, 8, 3, fd)
