"""Link kinds: one module each declares the fields of a link, and turns them into netlink attributes. Pure."""

from __future__ import annotations

from kokofast.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.kinds.kind import Kind

# One word a kind: this is where a kind is registered. Its module has its name, and a KIND.
NAMES = ("veth", "vxlan", "vlan", "macvlan", "ipvlan", "dummy", "bridge")
KINDS: Registry[Kind] = Registry("kokofast.kinds", "KIND", NAMES)
