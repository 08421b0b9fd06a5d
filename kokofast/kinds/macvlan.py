"""macvlan: a further MAC address on the parent interface. Source: drivers/net/macvlan.c."""

from __future__ import annotations

import errno

from kokofast.kinds.fields import Field
from kokofast.kinds.kind import ETHERNET_MTU, PARENT, Between, Kind, Rivalry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.kinds.kind import Meeting
    from kokofast.topology.model import Link

# enum macvlan_mode in include/uapi/linux/if_link.h
MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}
KERNEL_DEFAULT = "default"  # koko's word: it says nothing, and the kernel takes vepa (macvlan_common_newlink())

FIELDS = (
    Field("parent", "interface", "the interface that is shared (node:interface for another node's)", required=True),
    Field(
        "mode",
        "choice",
        "who may talk to whom; bridge unless given, the word default is the kernel's own choice (vepa)",
        choices=(*MODES, KERNEL_DEFAULT),
        default="bridge",
    ),
)


def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
    """Return the attributes of one interface. The kernel looks for IFLA_LINK in the sender's namespace."""
    mode = str(link.options["mode"])
    data = {"mode": MODES["vepa" if mode == KERNEL_DEFAULT else mode]}
    return {**ends[0], "link": parent, "linkinfo": {"kind": "macvlan", "data": data}}


def own_mac(options: Mapping[str, object]) -> bool:
    """Return whether it has its own MAC address.

    In passthru mode it shares its parent's: macvlan_open(), macvlan_set_mac_address().
    """
    return options.get("mode") != "passthru"


def reaches_siblings(data: Mapping[str, object]) -> bool:
    """Return whether its packets reach others on the parent: in bridge mode (macvlan_queue_xmit())."""
    return data.get("mode") == MODES["bridge"]


def alone(data: Mapping[str, object]) -> bool:
    """Return whether it tolerates no other on its parent: in passthru mode (macvlan_common_newlink())."""
    return data.get("mode") == MODES["passthru"]


def cause(link: Link, code: int) -> str:
    """Explain errors of macvlan_port_create() and macvlan_common_newlink(), which give no reason."""
    return {
        errno.EBUSY: "the parent is a port of a bridge, bond or the like, or has ipvlans on it, maybe in another "
        "namespace",
        errno.EINVAL: "a macvlan with mode passthru needs the parent for itself: this macvlan or an existing one, "
        "maybe in another namespace, has that mode; or the parent is no Ethernet interface",
    }.get(code, "")


def meeting(fields: Mapping[str, object]) -> Meeting | None:
    """Those in bridge mode on one parent hand frames to each other: macvlan_queue_xmit()."""
    return ((fields["parent"],), None) if fields.get("mode") == "bridge" and fields.get("parent") else None


def limit(link: Link, code: int) -> str:
    """Explain EADDRINUSE of macvlan_open()."""
    if code != errno.EADDRINUSE:
        return ""
    return "its MAC address is that of its parent, or of another macvlan on it, maybe in another namespace"


def sort(link: Link) -> tuple[str, str, str | None]:
    """Keep one in passthru mode apart from all others: macvlan_common_newlink().

    ipvlan uses the same receive handler of the parent.
    """
    return PARENT, "receiver", "macvlan" if own_mac(link.options) else None


RIVALRY = Rivalry("mode", "a parent has one macvlan with mode passthru, or any number without, and no ipvlan", sort)
KIND = Kind(
    "macvlan",
    ends=1,
    fields=FIELDS,
    mtu=ETHERNET_MTU,
    create=create,
    rivalry=RIVALRY,
    own_mac=own_mac,
    shares_parent=True,
    reaches_siblings=reaches_siblings,
    meeting=meeting,
    alone=alone,
    cause=cause,
    limit=limit,
    numbers={"mode": MODES},
    # passthru is for one link alone, source for a list of addresses that the file cannot give.
    between=Between(own=("mode",), choices={"mode": ("bridge", "private", "vepa")}),
)
