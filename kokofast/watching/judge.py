"""What the kernel's notifications mean for a lab: which of its nodes differ from the file now.

A judge may say that a node differs when it does not: the run that follows finds nothing to do, and makes no new
notification. It must not say the opposite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kokofast.plan.ownership import LOOPBACK, alias_of, node_mark
from kokofast.plan.plan import sets_nodes
from kokofast.wire import addr, groups, link, route, tc
from kokofast.wire.attributes import DecodeError
from kokofast.wire.message import NLM_F_REPLACE, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kokofast.topology.model import End, Topology

DELETED = "deleted"
TC_ROOTS = (tc.TC_H_ROOT, tc.TC_H_CLSACT)

_LINK_FIELDS = frozenset({"ifname", "ifalias", "mtu", "address", "txqlen", "master", "qdisc", "prop_list"})
_ADDRESS_FIELDS = frozenset({"address", "local"})
_ROUTE_FIELDS = frozenset({"oif"})
_LINKS = (link.RTM_NEWLINK, link.RTM_DELLINK)
_ADDRESSES = (addr.RTM_NEWADDR, addr.RTM_DELADDR)
_ROUTES = (route.RTM_NEWROUTE, route.RTM_DELROUTE)
_QUEUES = (tc.RTM_NEWQDISC, tc.RTM_DELQDISC)
_FILTERS = (tc.RTM_NEWTFILTER, tc.RTM_DELTFILTER)


class Change(NamedTuple):
    """Something that differs from the file now. ifname is empty if it concerns no single interface."""

    node: str
    ifname: str
    what: str


def groups_for(topology: Topology) -> tuple[int, ...]:
    """Return the multicast groups with the changes of what the topology sets."""
    found: tuple[int, ...] = groups.ALWAYS
    if any(end.properties or end.mirror is not None for one in topology.links for end in one.ends):
        found += groups.OF_QUEUES
    if sets_nodes(topology):
        found += groups.OF_ROUTES
    return found


class Judge:
    """Compares notifications with a topology.

    learn() says which nodes are in a namespace, by its nsid, and the numbers of its interfaces.
    """

    def __init__(self, topology: Topology) -> None:
        self._lab = topology.name
        self._wanted: dict[tuple[str, str], tuple[End, str]] = {}
        self._by_alias: dict[str, list[tuple[str, str]]] = {}
        for one in topology.links:
            alias = alias_of(topology.name, one)
            for end in one.ends:
                self._wanted[end.node, end.ifname] = end, alias
                self._by_alias.setdefault(alias, []).append((end.node, end.ifname))
        self._sets_nodes = sets_nodes(topology)
        self._loopbacks = {
            name: frozenset((one.packed, one.prefixlen) for one in node.addresses)
            for name, node in topology.nodes.items()
        }
        self._has_mirrors = any(end.mirror is not None for one in topology.links for end in one.ends)
        self._nodes: dict[int, tuple[str, ...]] = {}
        self._names: dict[int, dict[int, str]] = {}  # nsid -> ifindex -> interface
        self._shown: dict[tuple[str, str], object] = {}  # what was shown last of ends with properties

    def learn(self, nsid: int, nodes: Iterable[str], interfaces: Mapping[int, str]) -> None:
        """Take note of the nodes in a namespace, and of the names of its interfaces by number."""
        self._nodes[nsid] = tuple(nodes)
        if interfaces or nsid not in self._names:
            self._names[nsid] = dict(interfaces)

    def nodes_of(self, nsid: int) -> Sequence[str]:
        """Return the nodes in a namespace."""
        return self._nodes.get(nsid, ())

    def changes(self, kept: Iterable[tuple[int | None, int, int, bytes]]) -> list[Change]:
        """Return what differs from the file by notifications in the order in which they came."""
        verdicts: dict[object, list[Change]] = {}
        for nsid, type, flags, body in kept:
            try:
                self._judge(nsid, type, flags, body, verdicts)
            except DecodeError:  # the next look shows it
                for node in self.nodes_of(nsid) if nsid is not None else ():
                    verdicts[node] = [Change(node, "", "changed")]
        found = list(dict.fromkeys(change for changed in verdicts.values() for change in changed))
        # Addresses and qdiscs are deleted with their interface.
        gone = {(change.node, change.ifname) for change in found if change.what == DELETED}
        return [change for change in found if change.what == DELETED or (change.node, change.ifname) not in gone]

    def _judge(
        self, nsid: int | None, type: int, flags: int, body: bytes, verdicts: dict[object, list[Change]]
    ) -> None:
        if nsid is None:
            number = unpack(type, flags, 0, 0, body).attributes.get("nsid", -1)
            self._names.pop(number, None)
            verdicts["ended", number] = [Change(node, "", "namespace ended") for node in self._nodes.pop(number, ())]
            return
        nodes = self._nodes.get(nsid)
        if not nodes:
            return
        if type in _LINKS:
            self._judge_link(nsid, nodes, type, body, verdicts)
        elif type in _ADDRESSES:
            self._judge_address(nsid, nodes, type, body, verdicts)
        elif type in _ROUTES:
            header = unpack(type, flags, 0, 0, body, _ROUTE_FIELDS).header
            ours = header["protocol"] == route.RTPROT_KOKOFAST
            if ours if type == route.RTM_DELROUTE else not ours and flags & NLM_F_REPLACE:
                verdicts[nsid, "routes"] = [Change(node, "", "routes changed") for node in nodes]
        elif type in _QUEUES:
            header = unpack(type, flags, 0, 0, body, frozenset()).header
            ifname = self._names.get(nsid, {}).get(header["index"])
            if header["parent"] in TC_ROOTS:
                found = [node for node in nodes if self._has_queues(node, ifname)]
                verdicts[nsid, "queues", ifname] = [Change(node, ifname or "", "qdisc changed") for node in found]
        elif type in _FILTERS and self._has_mirrors and type == tc.RTM_DELTFILTER:
            verdicts[nsid, "filters"] = [Change(node, "", "filter deleted") for node in nodes]

    def _has_queues(self, node: str, ifname: str | None) -> bool:
        # The qdisc that a mirror needs may be on an interface that is not of the lab.
        if ifname is None or self._has_mirrors:
            return True
        return (node, ifname) in self._wanted and bool(self._wanted[node, ifname][0].properties)

    def _judge_link(
        self, nsid: int, nodes: Sequence[str], type: int, body: bytes, verdicts: dict[object, list[Change]]
    ) -> None:
        message = unpack(type, 0, 0, 0, body, _LINK_FIELDS)
        attributes, index = message.attributes, message.header["index"]
        ifname = attributes.get("ifname", "")
        if message.header["family"] == link.AF_BRIDGE:  # of a port, not of an interface
            if type == link.RTM_DELLINK:  # it left a bridge
                for node in nodes:
                    if (node, ifname) in self._wanted and self._wanted[node, ifname][0].properties:
                        verdicts[node, ifname, "port"] = [Change(node, ifname, "left its bridge")]
            return
        before = self._names[nsid].pop(index, ifname)
        if type != link.RTM_DELLINK:
            self._names[nsid][index] = ifname
        alias = attributes.get("ifalias", "")
        for node in nodes:
            key = node, ifname
            if before != ifname and (node, before) in self._wanted:  # it may have lost its alias since
                what = DELETED if type == link.RTM_DELLINK else f"renamed to {ifname}"
                verdicts[node, before] = [Change(node, before, what)]
            if key in self._wanted:
                differs = DELETED if type == link.RTM_DELLINK else self._difference(key, message.header, attributes)
                verdicts[key] = [Change(*key, differs)] if differs else []
            elif type == link.RTM_NEWLINK and alias in self._by_alias:
                renamed = [place for place in self._by_alias[alias] if place[0] == node]
                verdicts[node, "alias", alias] = [Change(*place, f"renamed to {ifname}") for place in renamed]
            if ifname == LOOPBACK and self._sets_nodes:
                marked = node_mark(self._lab) in attributes.get("prop_list", {}).get("alt_ifname", ())
                verdicts[key] = [] if marked and message.header["flags"] & link.IFF_UP else [Change(*key, "changed")]

    def _difference(
        self, key: tuple[str, str], header: Mapping[str, int], attributes: Mapping[str, object]
    ) -> str | None:
        end, alias = self._wanted[key]
        if bool(header["flags"] & link.IFF_UP) != end.up:
            return "set down" if end.up else "set up"
        if attributes.get("ifalias", "") != alias:
            return "another alias"
        for field, wanted, name in (
            ("mac", end.mac, "address"),
            ("mtu", end.mtu, "mtu"),
            ("txqlen", end.txqlen, "txqlen"),
        ):
            if wanted is not None and attributes.get(name) != wanted:
                return f"another {field}"
        if not end.properties:
            return None
        shown = attributes.get("master"), attributes.get("qdisc"), attributes.get("prop_list")
        before = self._shown.get(key)
        self._shown[key] = shown
        return None if shown == before else "changed"

    def _judge_address(
        self, nsid: int, nodes: Sequence[str], type: int, body: bytes, verdicts: dict[object, list[Change]]
    ) -> None:
        message = unpack(type, 0, 0, 0, body, _ADDRESS_FIELDS)
        ifname = self._names.get(nsid, {}).get(message.header["index"])
        packed = message.attributes.get("local", message.attributes.get("address", b""))
        address = packed, message.header["prefixlen"]
        for node in nodes:
            key = node, ifname or "", address
            is_gone = type == addr.RTM_DELADDR and self._wants(node, ifname, address)
            verdicts[key] = [Change(node, ifname or "", "address removed")] if is_gone else []

    def _wants(self, node: str, ifname: str | None, address: tuple[bytes, int]) -> bool:
        if ifname is None:
            return True
        if ifname == LOOPBACK and address in self._loopbacks.get(node, ()):
            return True
        wanted = self._wanted.get((node, ifname))
        return wanted is not None and any((one.packed, one.prefixlen) == address for one in wanted[0].addresses)
