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

# The registered properties: name, which is also that of the module, and the attribute of RTM_NEWLINK that shows it, or
# that it exists (ops.dumps then looks closer).
ATTRIBUTES = {
    "master": "master",
    "altnames": "prop_list",
    "impairments": "qdisc",
    "link_local": "af_spec",
    "remote": "fdb",  # which RTM_NEWLINK does not show
    "offload": "wanted",  # which RTM_NEWLINK does not show, either
    "lacp": "protinfo",  # made by ops.dumps from what a port of a bridge shows
}

# Those that are read only where the file has them: showing them takes the kernel as long as all else of an interface,
# or longer. inspect in JSON reads those of INSPECTED.
CLOSER = frozenset(("link_local", "offload"))
INSPECTED = frozenset(("link_local",))


# Those whose setting an interface's attribute holds as it is: it is known after a change without another look, and the
# kernel refuses the change on an interface that is not the one that was seen.
IN_PLACE = frozenset(("impairments",))

ENDS: Registry[Property] = Registry("kokofast.ends", "PROPERTY", ATTRIBUTES)


def fields(kind: str) -> Iterator[Field]:
    """Yield the fields of all properties that an end of a link kind may have, but for those of the kind itself."""
    for found in ENDS.values():
        if not found.is_of_kind and kind in (found.kinds or (kind,)):
            yield from found.all_fields()


def properties_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each property of which the fields of an end have something."""
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
