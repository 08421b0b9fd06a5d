"""vlan: the packets of one VLAN id on the parent interface. Source: net/8021q/vlan_netlink.c, vlan_dev.c."""

from __future__ import annotations

import errno

from kokofast.kinds.fields import Field
from kokofast.kinds.kind import ETHERNET_MTU, PARENT, Between, Kind, Rivalry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.topology.model import Link

# ETH_P_8021Q, ETH_P_8021AD in include/uapi/linux/if_ether.h
PROTOCOLS = {"802.1Q": 0x8100, "802.1ad": 0x88A8}

FIELDS = (
    Field(
        "parent",
        "interface",
        "the interface whose packets carry the tag (node:interface for another node's)",
        required=True,
    ),
    # 4095 is reserved by the standard; vlan_validate() refuses it.
    Field("id", "int", "VLAN identifier", minimum=0, maximum=4094, required=True),
    Field(
        "protocol",
        "choice",
        "kind of tag; 802.1ad is the outer one of QinQ",
        choices=tuple(PROTOCOLS),
        default="802.1Q",
    ),
)


def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
    """Return the attributes of one interface. The kernel looks for IFLA_LINK in the sender's namespace."""
    data = {"id": link.options["id"], "protocol": PROTOCOLS[str(link.options["protocol"])]}
    return {**ends[0], "link": parent, "linkinfo": {"kind": "vlan", "data": data}}


def limit(link: Link, code: int) -> str:
    """Explain ENETDOWN of vlan_dev_open()."""
    return "its parent is down, set it up first" if code == errno.ENETDOWN else ""


def sort(link: Link) -> tuple[str, object, None]:
    """Keep equal ids of one protocol apart (vlan_check_real_dev())."""
    return PARENT, (link.options["protocol"], link.options["id"]), None


RIVALRY = Rivalry("id", "a parent has each vlan id once", sort)
KIND = Kind(
    "vlan",
    ends=1,
    fields=FIELDS,
    mtu=ETHERNET_MTU,
    create=create,
    rivalry=RIVALRY,
    module="8021q",
    tag=("id", "protocol"),
    limit=limit,
    numbers={"protocol": PROTOCOLS},
    between=Between(number="id", lowest=2, own=("protocol",)),  # 1 is what switches use by default
)
