"""ipvlan: further IP addresses behind the parent's MAC address. Source: drivers/net/ipvlan/ipvlan_main.c."""

from __future__ import annotations

import errno

from kokofast.kinds.fields import Field
from kokofast.kinds.kind import ETHERNET_MTU, PARENT, Kind, Rivalry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.topology.model import Link

# enum ipvlan_mode in include/uapi/linux/if_link.h
MODES = {"l2": 0, "l3": 1, "l3s": 2}

FIELDS = (
    Field("parent", "interface", "the interface that is shared (node:interface for another node's)", required=True),
    Field(
        "mode", "choice", "l2: switched, l3: routed, l3s: routed through netfilter", choices=tuple(MODES), default="l2"
    ),
)


def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
    """Return the attributes of one interface. The kernel looks for IFLA_LINK in the sender's namespace."""
    data = {"mode": MODES[str(link.options["mode"])]}
    return {**ends[0], "link": parent, "linkinfo": {"kind": "ipvlan", "data": data}}


def cause(link: Link, code: int) -> str:
    """Explain EBUSY of ipvlan_port_create(); older kernels give no reason."""
    if code != errno.EBUSY:
        return ""
    return "the parent is a port of a bridge, bond or the like, or has macvlans on it, maybe in another namespace"


def sort(link: Link) -> tuple[str, str, object]:
    """Keep ipvlans of different modes apart: ipvlan_link_new() sets the mode of all on the parent.

    macvlan uses the same receive handler of the parent.
    """
    return PARENT, "receiver", ("ipvlan", link.options["mode"])


RIVALRY = Rivalry("mode", "the ipvlans of a parent have one mode, and no macvlan is beside them", sort)

# ipvlan_link_new() gives every interface its parent's MAC address, whatever was asked for.
KIND = Kind(
    "ipvlan",
    ends=1,
    fields=FIELDS,
    mtu=ETHERNET_MTU,
    create=create,
    rivalry=RIVALRY,
    own_mac=lambda _: False,
    shares_parent=True,
    reaches_siblings=lambda _: True,
    cause=cause,
    numbers={"mode": MODES},
)
