"""End properties: one module each declares a field of an end, how the kernel shows it, and how to set it. Pure.

addresses, mac, mtu, txqlen, queues, up, dad and mirror are not here: they depend on each other (plan.compare).
"""

from __future__ import annotations

from kokofast.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kokofast.ends.property import Property

# One line a property: this is where it is registered. Its name, which its module has too, with a PROPERTY; and the
# attribute of an RTM_NEWLINK message that shows it, and that sets it.
ATTRIBUTES = {
    "master": "master",
}


ENDS: Registry[Property] = Registry("kokofast.ends", "PROPERTY", ATTRIBUTES)


def present(name: str, more: Mapping[str, Any]) -> Any:
    """Return the setting of a property, given the attributes that an interface shows."""
    return ENDS[name].present(more.get(ATTRIBUTES[name]))
