"""From links to what is drawn: segments become LANs, links with one end lead to their parent, or to a far side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kokofast.ends import ENDS
from kokofast.graph.model import FAR, LAN, NODE, UNKNOWN, Details, Edge, Graph, Vertex
from kokofast.kinds import KINDS
from kokofast.topology.model import CALLER, Address, Link, Node, Topology
from kokofast.topology.nodes import CALLERS, HOST, identity
from kokofast.topology.segments import KIND as BRIDGE
from kokofast.topology.segments import namespace_of
from kokofast.topology.units import as_in_file
from kokofast.topology.values import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kokofast.topology.model import End

REMOTES_SHOWN = 3
UNSEEN = "?"  # the other end of a link that should have two


class Plug(NamedTuple):
    """An end of a cable: an interface of a node, and the bridge that it is a port of."""

    node: str
    ifname: str
    master: str = ""


class Cable(NamedTuple):
    """A link that is to be drawn, from a file or from the kernel.

    Attributes:
        kind: Its type.
        plugs: Its ends.
        details: What is known of it.
        parent: The node and the interface of its parent.
        remotes: The addresses that a tunnel leads to.
        state: One of STATES.
    """

    kind: str
    plugs: tuple[Plug, ...]
    details: Details = ()
    parent: tuple[str, str] | None = None
    remotes: tuple[str, ...] = ()
    state: str = UNKNOWN

    def key(self) -> frozenset[tuple[str, str]]:
        """Return its ends, in no order."""
        return frozenset((plug.node, plug.ifname) for plug in self.plugs)


def cable_of(link: Link) -> Cable:
    """Return the cable of a link of a file."""
    plugs = tuple(Plug(end.node, end.ifname, str(end.properties.get("master") or "")) for end in link.ends)
    options = {name: value for name, value in link.options.items() if value is not None and value is not False}
    remotes = options.get("remote", ())
    details = [(name, text_of(value)) for name, value in options.items()]
    details += [(f"{end.node}:{end.ifname}", ", ".join(_words_of(end)) or "-") for end in link.ends]
    far = tuple(map(text_of, remotes if isinstance(remotes, tuple) else (remotes,)))
    return Cable(link.kind, plugs, tuple(details), link.parent, far)


def _words_of(end: End) -> Iterator[str]:
    yield from (address.text for address in end.addresses)
    if end.mtu is not None:
        yield f"mtu {end.mtu}"
    if not end.up:
        yield "down"
    for name, value in end.properties.items():
        found = ENDS[name]
        if not found.is_of_kind:
            values = value if found.fields and isinstance(value, dict) else {found.all_fields()[0].name: value}
            known = [(field, values[field.name]) for field in found.all_fields() if field.name in values]
            yield from (f"{field.name} {text_of(as_in_file(field, one))}" for field, one in known)
    if end.mirror is not None:
        yield f"mirrors {end.mirror.source} {end.mirror.direction}"


def text_of(value: object) -> str:
    """Return a value of a file, or of the kernel, as text."""
    if isinstance(value, Address):
        return value.text
    if isinstance(value, list | tuple):
        return " ".join(map(text_of, value))
    if isinstance(value, dict):
        return " ".join(f"{name} {text_of(one)}" for name, one in value.items())
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def nodes_of(topology: Topology) -> dict[str, Details]:
    """Return the nodes of a file, with what is known of them."""
    return {name: _details_of(node) for name, node in topology.nodes.items()}


def _details_of(node: Node) -> Details:
    found = [(node.kind, node.target)] if node.target not in ("", node.name) else []
    if node.addresses:
        found.append(("addresses", text_of(node.addresses)))
    return tuple(found)


def graph_of_file(topology: Topology) -> Graph:
    """Return the graph of a file, without states."""
    return build(topology.name, nodes_of(topology), map(cable_of, topology.links), host=host_of(topology))


def host_of(topology: Topology) -> str:
    """Return the node that is the caller's namespace."""
    return next((node.name for node in topology.nodes.values() if identity(node) == CALLERS), CALLER)


def build(lab: str, nodes: Mapping[str, Details], cables: Iterable[Cable], *, host: str = CALLER) -> Graph:
    """Return the graph of these nodes and links.

    Args:
        lab: Their lab.
        nodes: The nodes, also those without links. The others that links name are added.
        cables: The links.
        host: The node that is the caller's namespace.
    """
    cables = list(cables)
    return _Builder(lab, nodes, cables, host).graph


def _printable(details: Details) -> Details:
    """Names of namespaces may be any bytes, which no format of a picture can hold."""
    return tuple((printable(what), printable(value)) for what, value in details)


class _Builder:
    def __init__(self, lab: str, nodes: Mapping[str, Details], cables: list[Cable], host: str) -> None:
        self.graph = Graph(lab)
        self._host = host
        self._numbers: dict[tuple[str, ...], int] = {}
        hidden = namespace_of(lab)
        # The namespace with the bridges of the lab's segments is none of the user's nodes.
        self._lans = {
            (plug.node, plug.ifname)
            for cable in cables
            for plug in cable.plugs
            if cable.kind == BRIDGE and plug.node == hidden
        }
        for name, details in nodes.items():
            if name != hidden:
                self._vertex((NODE, name), details=details)
        for cable in cables:
            self._add(cable)

    def _vertex(self, key: tuple[str, ...], details: Details = ()) -> int:
        """Return the number of the vertex with this shape and name."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.graph.vertices)
            self.graph.vertices.append(Vertex(printable(key[1]), key[0], "", _printable(details)))
        return number

    def _add(self, cable: Cable) -> None:
        first = cable.plugs[0]
        if (first.node, first.ifname) in self._lans:
            lan = self.graph.vertices[self._lan(first.node, first.ifname)]
            lan.state, lan.details = cable.state, _printable(cable.details)
            return
        near, name = self._at(first)
        if len(cable.plugs) == 1:
            far, label = self._far_side(cable, first)
        else:
            far, label = self._at(cable.plugs[1])
        labels = printable(name), printable(label)
        self.graph.edges.append(Edge(near, far, labels, cable.kind, cable.state, _printable(cable.details)))

    def _lan(self, node: str, bridge: str) -> int:
        return self._vertex((LAN, bridge, node))

    def _at(self, plug: Plug) -> tuple[int, str]:
        """Return where an end is drawn, and its label. The ports of a LAN have none: their names say nothing."""
        if (plug.node, plug.master) in self._lans:
            return self._lan(plug.node, plug.master), ""
        return self._vertex((NODE, plug.node)), plug.ifname

    def _far_side(self, cable: Cable, plug: Plug) -> tuple[int, str]:
        """Return what a link with one end leads to, and the label there."""
        if cable.remotes:
            more = "" if len(cable.remotes) <= REMOTES_SHOWN else f" +{len(cable.remotes) - REMOTES_SHOWN}"
            return self._vertex((FAR, f"{' '.join(cable.remotes[:REMOTES_SHOWN])}{more}")), ""
        if cable.parent is not None:
            node, ifname = cable.parent
            if (node or self._host) == CALLER:
                return self._vertex((FAR, f"{HOST}:{ifname}")), ""  # the file has no node for the caller's namespace
            return self._vertex((NODE, node or self._host)), ifname
        # Each has a far side of its own: they are not connected with each other.
        kind = KINDS.get(cable.kind)
        name = cable.kind if kind is not None and kind.ends == 1 else UNSEEN
        return self._vertex((FAR, name, plug.node, plug.ifname)), ""
