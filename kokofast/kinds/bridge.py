"""bridge: a learning switch. Interfaces become its ports by their ``master``. Source: net/bridge/br_netlink.c."""

from __future__ import annotations

from kokofast.kinds.fields import Field
from kokofast.kinds.kind import ETHERNET_MTU, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.topology.model import Link

# A bridge keeps 01:80:c2:00:00:00 to 0f to itself, one bit each. It may pass on all but STP, pause and LACP frames
# (BR_GROUPFWD_RESTRICTED in net/bridge/br_private.h): LLDP (0e) and 802.1X (03) among them, as a wire does.
GROUPS = 0xFFFF
RESTRICTED = 0x0007

FIELDS = (
    Field("stp", "bool", "take part in the spanning tree protocol", default=False),
    Field(
        "group_fwd_mask",
        "int",
        "which link-local groups (01:80:c2:00:00:0X) are passed on, bit X each; by default all that the kernel allows",
        minimum=0,
        maximum=GROUPS,
        default=GROUPS & ~RESTRICTED,
    ),
)


def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
    """Return the attributes of the bridge itself."""
    data = {"stp_state": int(bool(link.options["stp"])), "group_fwd_mask": link.options["group_fwd_mask"]}
    end = dict(ends[0])
    if "mtu" in end:
        # The MTU follows the ports until it is changed (br_change_mtu()): differ by one, within the limits.
        end["mtu"] = int(end["mtu"]) ^ 1  # type: ignore[call-overload]
    return {**end, "linkinfo": {"kind": "bridge", "data": data}}


def contradiction(link: Link) -> tuple[str, str] | None:
    """Report groups that br_changelink() refuses."""
    mask = link.options["group_fwd_mask"]
    if not isinstance(mask, int) or not mask & RESTRICTED:
        return None
    words = f"a bridge has no mask for the groups 0, 1 and 2; give at most {mask & ~RESTRICTED:#x}"
    return "group_fwd_mask", words + ("; for LACP (2) there is lacp, of its ports" if mask & 4 else "")


KIND = Kind(
    "bridge",
    ends=1,
    fields=FIELDS,
    mtu=ETHERNET_MTU,
    create=create,
    contradiction=contradiction,
    random_mac=True,
    follows_ports=True,
    names={"stp_state": "stp"},
)
