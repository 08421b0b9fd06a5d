"""RTM_*QDISC and RTM_*TFILTER: the traffic control tables.

Sources: include/uapi/linux/rtnetlink.h (struct tcmsg), pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h;
net/sched/sch_api.c, cls_api.c, cls_matchall.c, cls_u32.c, act_api.c, act_mirred.c, sch_ingress.c, sch_prio.c.
"""

from __future__ import annotations

import errno
import struct

from kokofast.wire.attributes import BYTES, NEST, STRING, U32, Attr, Header, Table
from kokofast.wire.qdiscs import NETEM, TBF

RTM_NEWQDISC = 36
RTM_DELQDISC = 37
RTM_GETQDISC = 38
RTM_NEWTFILTER = 44
RTM_DELTFILTER = 45
RTM_GETTFILTER = 46

TC_H_ROOT = 0xFFFFFFFF
TC_H_CLSACT = 0xFFFFFFF1  # also TC_H_INGRESS: where both qdiscs are attached
TC_H_MIN_INGRESS = 0xFFF2
TC_H_MIN_EGRESS = 0xFFF3
CLSACT_HANDLE = 0xFFFF0000

TC_ACT_UNSPEC = -1  # "continue" in tc(8): go on with the next filter, as if this one were not there
TCA_EGRESS_REDIR = 1
TCA_EGRESS_MIRROR = 2

ETH_P_ALL = 0x0003

# The kernel does not have the kind of a qdisc or classifier.
UNKNOWN_KIND = (errno.ENOENT, errno.EOPNOTSUPP)

TCMSG = Header("tcmsg", "B3xiIII", "family index handle parent info")

# struct tc_prio_qopt: int bands; __u8 priomap[16]. pfifo_fast's own map, on three bands.
PRIO_OPTIONS = struct.pack("=i16B", 3, 1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)

# struct tc_u32_sel with one tc_u32_key whose mask is 0: every packet matches. TC_U32_TERMINAL.
U32_MATCH_ALL = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + struct.pack("=IIii", 0, 0, 0, 0)

_MIRRED = struct.Struct("=IIiiiiI")  # index capab action refcnt bindcnt eaction ifindex
_TYPE_BE = struct.Struct("=H")

MIRRED = Table("mirred", {"parms": Attr(2, BYTES)})

ACTION = Table(
    "action",
    {
        "kind": Attr(1, STRING),
        "options": Attr(2, NEST, select="kind", tables={"mirred": MIRRED}),
        "cookie": Attr(6, BYTES),
    },
)

# An action's place in the chain is its attribute number; one is enough here.
ACTIONS = Table("actions", {"first": Attr(1, NEST, ACTION)})

MATCHALL = Table(
    "matchall",
    {
        "classid": Attr(1, U32),
        "act": Attr(2, NEST, ACTIONS),
        "flags": Attr(3, U32),
    },
)

U32_FILTER = Table(
    "u32",
    {
        "classid": Attr(1, U32),
        "hash": Attr(2, U32),
        "sel": Attr(5, BYTES),
        "act": Attr(7, NEST, ACTIONS),
    },
)

FILTER = Table(
    "filter",
    {
        "kind": Attr(1, STRING),
        "options": Attr(2, NEST, select="kind", tables={"matchall": MATCHALL, "u32": U32_FILTER}),
        "chain": Attr(11, U32),
    },
)

QDISC = Table(
    "qdisc",
    {
        "kind": Attr(1, STRING),
        "options": Attr(2, NEST, select="kind", tables={"netem": NETEM, "tbf": TBF}),
    },
)


def mirred(ifindex: object) -> bytes:
    """Encode a struct tc_mirred: copy each packet to the egress of an interface, and go on with the next filter.

    Args:
        ifindex: The interface.
    """
    return _MIRRED.pack(0, 0, TC_ACT_UNSPEC, 0, 0, TCA_EGRESS_MIRROR, ifindex)


def mirred_target(parms: bytes) -> int:
    """Return the ifindex to which a struct tc_mirred sends packets, copied or redirected.

    0 when the interface is gone, when packets go to an ingress, or when the bytes are too few.
    """
    if len(parms) < _MIRRED.size:
        return 0
    *_, action, ifindex = _MIRRED.unpack_from(parms)
    return int(ifindex) if action in (TCA_EGRESS_REDIR, TCA_EGRESS_MIRROR) else 0


def filter_info(priority: int) -> int:
    """Return tcm_info of a filter: its priority, and the protocol that it matches (all) in network order."""
    return priority << 16 | int.from_bytes(_TYPE_BE.pack(ETH_P_ALL), "big")


def priority_of(info: int) -> int:
    """Return the priority in a tcm_info."""
    return info >> 16
