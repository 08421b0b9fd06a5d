"""Find links of a lab that left its file. Only the namespaces of the file are searched."""

from __future__ import annotations

from kokofast.ends import names_of
from kokofast.plan.ownership import APART, group_of, lab_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kokofast.plan.observed import Interface, Namespace
    from kokofast.topology.model import Link, Topology


def places_in_file(topology: Topology, places: Mapping[str, int]) -> set[tuple[int, str]]:
    """Return (namespace, interface) of each end in the file."""
    return {(places[end.node], end.ifname) for link in topology.links for end in link.ends}


def names_in_file(links: Iterable[Link], places: Mapping[str, int]) -> set[tuple[int, str]]:
    """Return (namespace, name) of all names that the ends of links have."""
    return {(places[end.node], name) for link in links for end in link.ends for name in names_of(end)}


def ends_left_over(
    topology: Topology, places: Mapping[str, int], observed: Sequence[Namespace | None], boot: str
) -> list[tuple[int, Interface]]:
    """Return (namespace, interface) of the lab's ends in these namespaces that the file does not have."""
    group = group_of(topology.name)
    ours = [
        (number, namespace, interface)
        for number, namespace in enumerate(observed)
        if namespace is not None
        for interface in namespace.interfaces.values()
        if interface.group == group
    ]
    if not ours:
        return []
    in_file = places_in_file(topology, places)
    return [
        (number, interface)
        for number, namespace, interface in ours
        if (number, interface.ifname) not in in_file
        and lab_of(interface, namespace, boot, topology.name) == topology.name
    ]


def count_left_over(
    topology: Topology, places: Mapping[str, int], observed: Sequence[Namespace | None], boot: str
) -> int:
    """Count the links of ends_left_over()."""
    found = ends_left_over(topology, places, observed, boot)
    return len({interface.alias or (number, interface.ifindex) for number, interface in found})


def has_leaving(lab: str, observed: Sequence[Namespace | None]) -> bool:
    """Whether a killed run has left interfaces in the group of those that are being deleted."""
    group = group_of(lab) | APART
    return any(
        interface.group == group
        for namespace in observed
        if namespace is not None
        for interface in namespace.interfaces.values()
    )
