"""Where in the user's file is what a host calls wrong in its part."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from kokofast.topology.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.topology.model import Link, Topology

LINK = re.compile(r"\$\.links\[(\d+)\]")
EPOCH = re.compile(r"\S*timeline\.jsonl:(\d+)(?: (\w+)\[(\d+)\](.*))?\Z")
NODE = re.compile(r"\$\.nodes\.([\w-]+)")


class Location(NamedTuple):
    """A place of the user's file, file:line:column of it if that is known, and what is there: a link, or a node."""

    place: str
    position: str
    what: str


def locate(source: str, part: Mapping[str, Any], topology: Topology) -> Location | None:
    """Return the location of a place in the part of a host; None if the whole file has no such place."""
    found = _link(source, part, topology) or _node(source, topology)
    if found is None:
        return None
    place, what = found
    (problem,) = topology.in_order([Problem(place, "")])
    return Location(place, problem.position, what)


def _link(source: str, part: Mapping[str, Any], topology: Topology) -> tuple[str, str] | None:
    match = LINK.match(source)
    if match is None or int(match[1]) >= len(part["links"]):
        return None
    link = part["links"][int(match[1])]
    given = link if isinstance(link, list) else link["endpoints"] if "endpoints" in link else [link["endpoint"]]
    ends = set(map(_end, given))
    for one in topology.links:
        if ends & {(end.node, end.ifname) for end in one.ends}:
            return one.place, _title(one)
    return None


def _end(end: str | Mapping[str, Any]) -> tuple[str, str]:
    """Return the node and the interface of an end in a file."""
    if isinstance(end, str):
        node, ifname, *_ = end.split(":")
        return node, ifname
    return end["node"], end["interface"]


def _title(link: Link) -> str:
    return " -- ".join(f"{end.node}:{end.ifname}" for end in link.ends)


def _node(source: str, topology: Topology) -> tuple[str, str] | None:
    match = NODE.match(source)
    node = topology.nodes.get(match[1]) if match else None
    return None if node is None else (node.place, node.name)


class TimelinePlaces:
    """Where in the user's timeline are the lines and entries of the timelines of hosts."""

    def __init__(self) -> None:
        self._lines: dict[str, list[tuple[str, Mapping[str, list[str]]]]] = {}

    def note(self, host: str, place: str, places: Mapping[str, list[str]]) -> None:
        """Take the next line of a host: the place of its epoch, and for each list in it the places of its entries."""
        self._lines.setdefault(host, []).append((place, places))

    def locate(self, host: str, source: str) -> str | None:
        """Return the place of what a host calls ``.../timeline.jsonl:7 set[3].mtu``; None if it has none."""
        match = EPOCH.match(source)
        lines = self._lines.get(host, [])
        if match is None or not 0 < int(match[1]) <= len(lines):
            return None
        place, entries = lines[int(match[1]) - 1]
        if match[2] is None:
            return place
        found = entries.get(match[2], [])
        return f"{found[int(match[3])]}{match[4]}" if int(match[3]) < len(found) else place
