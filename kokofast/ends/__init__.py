"""End properties, a module each: a field of ends, how the kernel shows it, and how to set it. Pure.

addresses, mac, mtu, txqlen, queues, up, dad and mirror are not here, as they depend on each other: see plan.compare.
"""

from __future__ import annotations

from kokofast.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kokofast.ends.property import Property

# The registered properties: name, which is also that of the module, and the attribute of RTM_NEWLINK that shows it.
ATTRIBUTES = {
    "master": "master",
    "altnames": "prop_list",
}


ENDS: Registry[Property] = Registry("kokofast.ends", "PROPERTY", ATTRIBUTES)


def present(name: str, more: Mapping[str, Any]) -> Any:
    """Return the setting of a property, given the attributes that an interface shows."""
    return ENDS[name].present(more.get(ATTRIBUTES[name]))
