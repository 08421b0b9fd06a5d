"""Link kinds: one module each declares the fields of a link, and turns them into netlink attributes. Pure."""

from __future__ import annotations

from kokofast.kinds import ipvlan, macvlan, veth, vlan, vxlan
from kokofast.kinds.kind import Kind

# One line a kind: this is where a kind is registered.
KINDS: dict[str, Kind] = {
    "veth": veth.KIND,
    "vxlan": vxlan.KIND,
    "vlan": vlan.KIND,
    "macvlan": macvlan.KIND,
    "ipvlan": ipvlan.KIND,
}
