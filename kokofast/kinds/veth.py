"""veth: two ends, one request. Source: drivers/net/veth.c veth_newlink(), include/uapi/linux/veth.h."""

from __future__ import annotations

from kokofast.kinds.kind import ETHERNET_MTU, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.topology.model import Link


def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
    """Return the attributes of both ends. The second end is nested in the first one, as VETH_INFO_PEER."""
    first, second = ends
    return {**first, "linkinfo": {"kind": "veth", "data": {"peer": second}}}


# veth_setup() raises max_mtu to ETH_MAX_MTU; ether_setup() sets a smaller one.
KIND = Kind("veth", ends=2, fields=(), mtu=ETHERNET_MTU, create=create, random_mac=True)
