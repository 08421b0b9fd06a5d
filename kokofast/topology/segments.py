"""Segments: a link of type bridge with any number of ends becomes a bridge, and a veth for each end.

The bridges of a lab are in a namespace that the lab makes; or where the field ``bridge`` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.kinds import KINDS
from kokofast.topology.document import describe
from kokofast.topology.locations import join
from kokofast.topology.problems import Problem, unknown
from kokofast.topology.shapes import shape
from kokofast.topology.values import check_ifname

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.topology.document import Document
    from kokofast.topology.locations import Places

KIND = "bridge"
PORTS_MAX = 1023  # BR_MAX_PORTS in net/bridge/br_private.h; number 0 is no port
ENDS = "endpoints"
AT = "bridge"
BETWEEN = "between"
NAME_BYTES = 10  # of a bridge that the file names: its ports are NAMEp0 to NAMEp1022, 15 bytes
# Of the link's fields, those of the bridge. The others are those of the veths.
OF_BRIDGE = frozenset(("type", AT, *(field.name for field in KINDS[KIND].fields)))
BRIDGE = -1  # the position before that of the first end
OF_BOTH = frozenset(("mtu",))
OF_PORTS = frozenset(("lacp",))


def namespace_of(lab: str) -> str:
    """Return the name of the namespace with the bridges of a lab."""
    return f"{lab}-segments"


def node_of(lab: str, bridge: str, *, is_apart: bool) -> str:
    """Return the node of a bridge. On many hosts each is apart, as they need not be on the same one."""
    return f"{namespace_of(lab)}-{bridge}" if is_apart else namespace_of(lab)


def is_segment(raw: object, by_default: bool) -> bool:
    """Whether a link of the file is a segment. by_default: whether links without a type are of type bridge."""
    return isinstance(raw, dict) and ENDS in raw and (raw["type"] == KIND if "type" in raw else by_default)


def expand(document: Document, lab: str, problems: list[Problem]) -> list[str]:
    """Replace the segments of a document by the links that they consist of; return the nodes of their bridges."""
    by_default = isinstance(document.defaults, dict) and document.defaults.get("type") == KIND
    if not any(is_segment(raw, by_default) for raw in document.links):
        return []
    links: list[object] = []
    numbers: list[int] = []
    ends: list[int | None] = []  # of each link: which end of the segment, BRIDGE, or None for a link of the file
    count = 0
    is_apart = document.has_hosts()
    nodes: dict[str, None] = {}
    for index, raw in enumerate(document.links):
        if not isinstance(raw, dict) or not is_segment(raw, by_default):
            links.append(raw)
            numbers.append(index)
            ends.append(None)
            continue
        name = f"br{count}"
        node = node_of(lab, name, is_apart=is_apart)
        parts = list(_parts(raw, node, name, document.places, index, problems))
        count += 1
        if AT not in raw:
            nodes[node] = None
        links += parts
        numbers += [index] * len(parts)
        ends += range(BRIDGE, len(parts) + BRIDGE)
    _declare(document, nodes, namespace_of(lab), problems)
    document.links, document.places = links, _SegmentPlaces(document.places, numbers, ends)
    return list(nodes)


def _parts(
    raw: dict[str, object], node: str, name: str, places: Places, index: int, problems: list[Problem]
) -> Iterable[object]:
    """Yield the bridge of a segment, and a veth for each end; nothing after a problem."""
    given = raw[ENDS]
    if not isinstance(given, list):
        problems.append(Problem(places.at(index, ENDS), f"must be a list of endpoints, not {describe(given)}"))
        return
    if "endpoint" in raw:
        problems.append(Problem(places.at(index, "endpoint"), f"give '{ENDS}' alone: the bridge is at '{AT}'"))
        return
    if len(given) > PORTS_MAX:
        words = f"a bridge has at most {PORTS_MAX:,} ports, not {len(given):,}; connect two segments by a veth"
        problems.append(Problem(places.at(index, ENDS), words))
        return
    if AT in raw:
        try:
            node, name = _split(raw[AT])
        except ValueError as error:
            problems.append(Problem(places.at(index, AT), str(error)))
            return
    known = shape(KINDS["veth"]).shared.keys() | OF_BRIDGE | {ENDS, BETWEEN}
    if wrong := [key for key in raw if key not in known]:
        problems.extend(Problem(places.at(index, join("", key)), unknown("key", key, known)) for key in wrong)
        return
    bridge = {key: raw[key] for key in raw if key in OF_BRIDGE or key in OF_BOTH}
    bridge.pop(AT, None)
    yield bridge | {"type": KIND, "endpoint": {"node": node, "interface": name}}
    shared = {key: raw[key] for key in raw if key not in OF_BRIDGE and key not in OF_PORTS and key != ENDS}
    of_ports = {key: raw[key] for key in raw if key in OF_PORTS}
    for number, end in enumerate(given):
        port = {"node": node, "interface": f"{name}p{number}", "addresses": [], "master": name, **of_ports}
        if isinstance(end, dict) and "mtu" in end:
            port["mtu"] = end["mtu"]
        yield shared | {"type": "veth", ENDS: [end, port]}


def _split(bridge: object) -> tuple[str, str]:
    if not isinstance(bridge, str) or ":" not in bridge:
        raise ValueError(f"must be 'node:interface', where the bridge is to be, not {describe(bridge)}")
    node, _, ifname = bridge.rpartition(":")
    if len(check_ifname(ifname).encode()) > NAME_BYTES:
        words = f"the names of its ports begin with the bridge's name ({ifname}p0): give it at most {NAME_BYTES} bytes"
        raise ValueError(words)
    return node, ifname


def _declare(document: Document, names: Iterable[str], namespace: str, problems: list[Problem]) -> None:
    nodes = document.nodes if isinstance(document.nodes, dict) else {}
    made: dict[str, object] = {}
    for name in names:
        made[name] = {"netns": namespace, "create": True}
        if name in nodes:
            words = (
                f"the bridges of this lab's segments are in a namespace of that name: rename the node, or give '{AT}'"
            )
            problems.append(Problem(document.node_at(name, ""), words))
            return
    if made:
        document.nodes = {**nodes, **made}


class _SegmentPlaces:
    """The places of links that come from segments: those of the segment's own fields and ends."""

    def __init__(self, places: Places, numbers: list[int], ends: list[int | None]) -> None:
        self._places = places
        self._numbers = numbers
        self._ends = ends

    def link(self, index: int) -> str:
        """Return the place of the segment, or of one of its ends."""
        number, end = self._numbers[index], self._ends[index]
        if end is None or end == BRIDGE:
            return self._places.link(number)
        return self._places.at(number, f"{ENDS}[{end}]")

    def at(self, index: int, path: str) -> str:
        """Return the place of a value."""
        number, end = self._numbers[index], self._ends[index]
        if end is None:
            return self._places.at(number, path)
        if path == ("endpoint.node" if end == BRIDGE else f"{ENDS}[1].node"):  # that of the bridge
            return self._places.at(number, AT)
        if end == BRIDGE:  # its end is not in the file
            return self._places.link(number) if path.startswith("endpoint") else self._places.at(number, path)
        head, _, rest = path.partition("]")
        if not head.startswith(f"{ENDS}["):
            return self._places.at(number, path)
        is_in_file = head == f"{ENDS}[0" or rest == ".mtu"  # a port has its MTU from the end
        return self._places.at(number, f"{ENDS}[{end}]{rest if is_in_file else ''}")
