"""Split a lab: each host gets the nodes on it and their links; a link between hosts becomes one on each of the two.

The parts are made of what the file has, in its own words. From the topology comes what the file leaves open: names,
addresses, routes. All of it is checked already.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kokofast.splitting.entries import Entries
from kokofast.splitting.joints import Joint, Numbering, joints_of
from kokofast.splitting.part import Part
from kokofast.splitting.routes import add_routes
from kokofast.topology.hosts import without_host
from kokofast.topology.nodes import HOST, NAMED
from kokofast.topology.problems import Problem, TopologyError
from kokofast.topology.segments import KIND as BRIDGE
from kokofast.topology.shapes import NODE_KINDS
from kokofast.topology.stacks import MASTER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kokofast.topology.document import Document
    from kokofast.topology.model import Link, Topology

    Bridge = tuple[str, str]  # its node, its interface


class Split:
    """A lab that was split.

    Attributes:
        topology: The whole.
        parts: By the name of the host.
        joints: The links between hosts, by their number in the topology.
        numbering: Has given them their numbers.
    """

    __slots__ = ("joints", "numbering", "parts", "topology")

    def __init__(
        self, topology: Topology, parts: Mapping[str, Part], joints: Mapping[int, Joint], numbering: Numbering
    ) -> None:
        self.topology = topology
        self.parts = parts
        self.joints = joints
        self.numbering = numbering


def split(topology: Topology, document: Document) -> Split:
    """Split a topology, given the document that it was built of. Raises TopologyError with all problems."""
    if not topology.hosts:
        words = "the file has no 'hosts': add them, or give a file that has them with --hosts"
        raise TopologyError([Problem("", words)])
    lost = without_host(topology)
    if lost is not None:
        raise TopologyError(document.in_order([lost]))
    problems: list[Problem] = []
    joints = joints_of(topology, problems)
    numbering = Numbering(topology)
    numbering.give(joints.values(), problems)
    entries = Entries(topology.defaults, problems)
    parts = {name: Part(name, topology.name, entries.top()) for name in topology.hosts}
    _add_nodes(topology, document, parts)
    _add_links(topology, document, parts, joints, entries)
    add_routes(topology, parts, problems)
    if problems:
        raise TopologyError(document.in_order(problems))
    return Split(topology, parts, joints, numbering)


def _add_nodes(topology: Topology, document: Document, parts: Mapping[str, Part]) -> None:
    """Give the declared nodes to their parts. The others need no declaration there either."""
    declared: Any = document.nodes if isinstance(document.nodes, dict) else {}
    for name, raw in declared.items():
        host = topology.nodes[name].host
        assert host is not None
        node = {key: value for key, value in raw.items() if key != HOST or not isinstance(value, str)}
        if NODE_KINDS.keys().isdisjoint(node):
            node = {NAMED: name, **node}
        parts[host].nodes[name] = node


def _add_links(
    topology: Topology, document: Document, parts: Mapping[str, Part], joints: Mapping[int, Joint], entries: Entries
) -> None:
    lans = _lans(topology.links, joints)
    places = document.places
    for number, link in enumerate(topology.links):
        mtu = min((lans[bridge] for bridge in _bridges_of(link) if bridge in lans), default=None) if lans else None
        joint = joints.get(number)
        if joint is None:
            host = topology.nodes[link.ends[0].node].host
            assert host is not None
            parts[host].links.append(entries.inside(document.links[number], link, mtu))
            continue
        for position, one in enumerate(joint.hosts):
            entry = entries.across(document.links[number], partial(places.at, number), link, position, joint, mtu)
            parts[one.name].links.append(entry)
            parts[one.name].between += 1


def _bridges_of(link: Link) -> Iterable[Bridge]:
    """Return the bridges that a link is a port of."""
    return [(end.node, str(end.properties[MASTER])) for end in link.ends if MASTER in end.properties]


def _lans(links: Iterable[Link], joints: Mapping[int, Joint]) -> dict[Bridge, int]:
    """Return the bridges of the file with ports on several hosts, and the MTU that all of these can have."""
    found: dict[Bridge, int] = {}
    for joint in joints.values():
        for bridge in _bridges_of(joint.link):
            found[bridge] = min(joint.mtu, found.get(bridge, joint.mtu))
    if not found:
        return found
    own = {(link.ends[0].node, link.ends[0].ifname) for link in links if link.kind == BRIDGE}
    return {bridge: mtu for bridge, mtu in found.items() if bridge in own}
