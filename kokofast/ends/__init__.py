"""End properties, a module each: a field of ends, how the kernel shows it, and how to set it. Pure.

addresses, mac, mtu, txqlen, queues, up, dad and mirror are not here, as they depend on each other: see plan.diff.
"""

from __future__ import annotations

from kokofast.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from kokofast.ends.property import Property
    from kokofast.kinds.fields import Field
    from kokofast.topology.model import End

# The registered properties. The name is that of the module. The attribute of RTM_NEWLINK shows the property, or only
# that it exists: then ops.dumps reads more.
ATTRIBUTES = {
    "master": "master",
    "altnames": "prop_list",
    "impairments": "qdisc",
    "link_local": "af_spec",
    "remote": "fdb",  # which RTM_NEWLINK does not show
    "offload": "wanted",  # which RTM_NEWLINK does not show, either
    "lacp": "protinfo",  # made by ops.dumps from what a port of a bridge shows
}

# Properties that are read only where the file has them: the kernel needs as long for one of them as for the rest of the
# interface, or longer. inspect reads link_local where the addresses leave it open.
CLOSER = frozenset(("link_local", "offload"))


# Properties whose setting is the attribute itself. So it is known after a change without another dump. The kernel
# refuses the change if the interface is not the one that was seen.
IN_PLACE = frozenset(("impairments",))

ENDS: Registry[Property] = Registry("kokofast.ends", "PROPERTY", ATTRIBUTES)


def fields(kind: str) -> Iterator[Field]:
    """Yield the fields of all properties that an end of a link kind may have, except those of the kind itself."""
    for found in ENDS.values():
        if not found.is_of_kind and kind in (found.kinds or (kind,)):
            yield from found.all_fields()


def properties_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each property that the fields of an end give."""
    properties: dict[str, Any] = {}
    for name, found in ENDS.items():
        if found.fields:
            given = {field.name: values[field.name] for field in found.fields if field.name in values}
            if given:
                properties[name] = given
        elif found.field.name in values:
            properties[name] = values[found.field.name]
    return properties


def present(name: str, more: Mapping[str, Any]) -> Any:
    """Return the setting of a property, given the attributes that an interface shows."""
    return ENDS[name].present(more.get(ATTRIBUTES[name]))


def names_of(end: End) -> Iterator[str]:
    """Yield the names that an end has in its namespace, including alternative names."""
    yield end.ifname
    for name, value in end.properties.items():
        yield from ENDS[name].names(value)
