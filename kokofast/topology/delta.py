"""What a change of a live topology does to its links."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.topology.model import Link, Node
    from kokofast.topology.nodes import Identity

    Place = tuple[Identity, str]
    Key = tuple[Place, ...]

_COMPARED = ("addresses", "mac", "mtu", "txqlen", "queues", "up", "dad", "cost", "mirror")


class Delta:
    """What a change does: for each link that it touches what was there, and what is to be there (None: nothing).

    Attributes:
        links: (before, after) of each link.
        nodes: Those that it adds.
        fields: Those of links that stay which it changes; None: any.
        places: Of removed links: the place in the change that removes them.
    """

    __slots__ = ("fields", "links", "nodes", "places")

    def __init__(self) -> None:
        self.links: dict[Key, tuple[Link | None, Link | None]] = {}
        self.nodes: dict[str, Node] = {}
        self.fields: set[str] | None = set()
        self.places: dict[Key, str] = {}

    def note(
        self, key: Key, before: Link | None, after: Link | None, place: str = "", fields: Iterable[str] | None = None
    ) -> None:
        """Add what becomes of a link. fields are those that differ; None: any."""
        first = self.links[key][0] if key in self.links else before
        self.links[key] = first, after
        if fields is None:
            self.fields = None
        elif self.fields is not None:
            self.fields.update(fields)
        if after is None:
            self.places[key] = place

    def follow(self, later: Delta) -> None:
        """Add a change that comes after this one."""
        for key, (before, after) in later.links.items():
            self.note(key, before, after, later.places.get(key, ""), later.fields)
        self.nodes.update(later.nodes)

    def settle(self) -> None:
        """Forget links that are as they were."""
        same = [key for key, (before, after) in self.links.items() if before is after]
        for key in same:
            del self.links[key]

    def only_sets(self, names: frozenset[str]) -> bool:
        """Return whether all it does is to change these properties of ends that stay."""
        return self.fields is not None and self.fields <= names


def is_same_link(before: Link, after: Link) -> bool:
    """Return whether one can become the other by changing its ends."""
    return before.kind == after.kind and before.options == after.options


def differing(before: Link, after: Link) -> set[str] | None:
    """Return the fields in which the ends differ; None if the links are not the same."""
    if not is_same_link(before, after):
        return None
    found: set[str] = set()
    for one, other in zip(before.ends, after.ends, strict=True):
        found.update(name for name in _COMPARED if getattr(one, name) != getattr(other, name))
        keys = one.properties.keys() | other.properties.keys()
        found.update(key for key in keys if one.properties.get(key) != other.properties.get(key))
    return found
