"""veth: two ends, one request. Source: drivers/net/veth.c veth_newlink(), include/uapi/linux/veth.h."""

from __future__ import annotations

from kokofast.kinds.kind import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.topology.model import Link


def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
    """The first end is the message itself, the second travels inside it as VETH_INFO_PEER."""
    first, second = ends
    return {**first, "linkinfo": {"kind": "veth", "data": {"peer": second}}}


# ETH_MIN_MTU, ETH_MAX_MTU: veth_setup() leaves the bounds of ether_setup() and raises max_mtu to ETH_MAX_MTU.
KIND = Kind("veth", ends=2, fields=(), mtu=(68, 65535), create=create, random_mac=True)
