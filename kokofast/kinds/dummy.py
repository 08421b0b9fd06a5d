"""dummy: an interface without a peer or a parent; what is sent to it is dropped. Source: drivers/net/dummy.c."""

from __future__ import annotations

from kokofast.kinds.kind import ETHERNET_MTU, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.topology.model import Link


def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
    """Return the attributes of the one interface. dummy has no IFLA_INFO_DATA."""
    return {**ends[0], "linkinfo": {"kind": "dummy"}}


# dummy_setup() sets no limits to the MTU; below 68 there is no IPv4.
KIND = Kind("dummy", ends=1, fields=(), mtu=ETHERNET_MTU, create=create, random_mac=True)
