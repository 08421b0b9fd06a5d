"""Build the ends of links: parse them, name them, and find those that are there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from kokofast.ends import properties_in
from kokofast.topology.given import Given
from kokofast.topology.locations import Origins, PlacesWithin
from kokofast.topology.model import End
from kokofast.topology.names import Names
from kokofast.topology.rules import INVALID, one, parse_addresses
from kokofast.topology.shapes import NODE_KINDS, PROPERTY_KEYS
from kokofast.topology.values import NODE_NAME_BYTES, check_ifname, quote

if TYPE_CHECKING:
    from kokofast.topology.locations import Places
    from kokofast.topology.nodes import Identity, Nodes
    from kokofast.topology.rules import Report
    from kokofast.topology.shapes import Shape

    # An end: the number of its link, its path in the link, whether it got its name by itself.
    Taken = tuple[int, str, bool]

check_end_name = one(check_ifname)


class EndBuilder:
    """Builds the ends of the links of a lab, one link after the other.

    Attributes:
        nodes: The nodes, to which those are added that ends name.
        places: The places of the links.
        taken: The end that has an interface.
    """

    def __init__(self, lab: str, nodes: Nodes, places: Places, report: Report) -> None:
        self.nodes = nodes
        self.places = places
        self.taken: dict[tuple[Identity, str], Taken] = {}
        self._names = Names(lab, self.taken)
        self._report = report
        # The ends of the present link that are taken already: place, title, and the end in taken.
        self._repeated: list[tuple[str, str, Taken]] = []

    def build(
        self, index: int, path: str, of_kind: Shape, record: Any, source: Mapping[str, Any], given: Given
    ) -> tuple[End, ...] | None:
        """Return the ends of a link: record is what msgspec made of source, path where in the link they are."""
        self._repeated.clear()
        if of_kind.kind.ends == 1:
            ends = [self._end(index, "endpoint", record.endpoint, source["endpoint"], of_kind, given)]
        else:
            ends = [
                self._end(index, f"{path}[{number}]", raw, source["endpoints"][number], of_kind, given)
                for number, raw in enumerate(record.endpoints)
            ]
        if self._repeated:  # further checks expect each end once
            self._report_repeated(index)
            return None
        return None if None in ends else tuple(end for end in ends if end is not None)

    def _report_repeated(self, index: int) -> None:
        """Report that ends of this link are there already."""
        others = {first[0] for _, _, first in self._repeated}
        if len(self._repeated) == 2 and len(others) == 1 and index not in others:
            title = "--".join(title for _, title, _ in self._repeated)
            self._report(
                self.places.link(index), f"the link {quote(title)} is there already at {self.places.link(*others)}"
            )
            return
        for place, title, (other, path, is_numbered) in self._repeated:
            cure = ", which has no name in the file and got this one; name it, or put this link before it"
            where = self.places.at(other, path)
            self._report(place, f"{quote(title)} is already the end at {where}{cure if is_numbered else ''}")

    def _end(
        self, index: int, path: str, record: Any, source: Iterable[str], of_kind: Shape, given: Given
    ) -> End | None:
        places = self.places
        place = places.at(index, path)
        if isinstance(record, str):
            return self._short_end(index, path, place, record, given)

        at = PlacesWithin(places, index, path)
        given = given.overridden(record, source, of_kind.end, at, self._report)
        # Rename them as in the model.
        node, ifname = given.values.pop("node"), given.values.pop("interface", None)
        if ifname is not None:
            given.origins["ifname"] = given.origins.pop("interface")
        elif record.interface is not UNSET:
            self.nodes.use(node, at("node"))
            return None
        return self._place_end(index, path, place, node, ifname, given)

    def _short_end(self, index: int, path: str, place: str, text: str, given: Given) -> End | None:
        """Parse ``node[:interface[:address,...]]``, split at the first two colons: IPv6 addresses have more."""
        node, colon, rest = text.partition(":")
        if self.nodes.colon_names:
            node, colon, rest = self._declared_head(text) or (node, colon, rest)
        if not colon:
            return self._place_end(index, path, place, node, None, given)
        ifname, colon, addresses = rest.partition(":")
        cure = "" if ifname else "; without the colon the end gets one by itself"
        good = check_end_name(ifname, lambda _, message: self._report(place, message + cure)) is not INVALID
        if colon:
            hint = f" (the node is '{node}')" if node in NODE_KINDS and node not in self.nodes.table else ""
            parsed = parse_addresses(addresses.split(","), lambda _, message: self._report(place, message + hint))
            origins = {key: origin for key, origin in given.origins.items() if key != "addresses"}
            given = Given({**given.values, "addresses": () if parsed is INVALID else parsed}, origins)
        end = self._place_end(index, path, place, node, ifname, given)
        return end if good else None

    def _declared_head(self, text: str) -> tuple[str, str, str] | None:
        """Return the longest declared node name with a colon in it that text starts with, the next colon, the rest."""
        if text in self.nodes.colon_names:
            return text, "", ""
        # No longer than a node's name can be: text may have many colons.
        head, colon, _ = text[: NODE_NAME_BYTES + 1].rpartition(":")
        while colon:
            if head in self.nodes.colon_names:
                return head, colon, text[len(head) + 1 :]
            head, colon, _ = head.rpartition(":")
        return None

    def _place_end(self, index: int, path: str, place: str, name: str, ifname: str | None, given: Given) -> End | None:
        """Return the end, with the next free name in its namespace if the file gives none."""
        places = Origins(given.origins) if given.origins else None
        if name not in self.nodes.table:
            node_place = places["node"] if places is not None and "node" in places else place
            if self.nodes.use(name, node_place) is None:
                return None
        identity = self.nodes.identity[name]
        taken = (index, path, ifname is None)
        ifname = self._names.next(identity) if ifname is None else ifname
        first = self.taken.setdefault((identity, ifname), taken)
        if first is not taken:
            self._repeated.append((place, f"{name}:{ifname}", first))
        values = given.values
        if not PROPERTY_KEYS.isdisjoint(values):
            properties = properties_in(values)
            others = {key: value for key, value in values.items() if key not in PROPERTY_KEYS}
            return End(name, ifname, properties=properties, place=place, places=places, **others)
        return End(name, ifname, place=place, places=places, **values)
