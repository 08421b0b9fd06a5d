"""The links of a file of containerlab, in the brief form and those with a type."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kokofast.importers.clab_nodes import HOST, Nodes
from kokofast.importers.clab_values import Values
from kokofast.topology.document import LINKS_MAX, describe, refuse_too_many
from kokofast.topology.problems import unknown

LINKS = "$.topology.links"
MTU = 9500
VXLAN_PORT = 14789
LOST_MGMT = "the link to the management network is left out"

Raw = Mapping[str, object]


class Links:
    """Reads links into the draft."""

    def __init__(self, values: Values, nodes: Nodes) -> None:
        self._values = values
        self._draft = values.draft
        self._nodes = nodes
        self._types: dict[str, Callable[[Raw, str], None]] = {
            "brief": self._brief,
            "veth": self._veth,
            "veth-stitch": self._veth,
            "host": self._host,
            "macvlan": self._macvlan,
            "vxlan": self._vxlan,
            "vxlan-stitch": self._vxlan,
            "dummy": self._dummy,
            "mgmt-net": self._mgmt_net,
        }

    def read(self, links: object) -> None:
        """Read all links."""
        raw_links = self._values.several(links, LINKS)
        if len(raw_links) > LINKS_MAX:
            raise refuse_too_many("")
        entries = [
            (self._values.mapping(raw, f"{LINKS}[{number}]"), f"{LINKS}[{number}]")
            for number, raw in enumerate(raw_links)
        ]
        for raw, place in entries:
            for node, interface, _ in self._pairs(raw, place, silent=True):
                self._nodes.take(node, interface)
        for raw, place in entries:
            if not raw:
                self._draft.refuse(place, "the link has no 'endpoints'")
                continue
            name = self._values.text(raw.get("type"), f"{place}.type").strip().lower() or "brief"
            if name in self._types:
                self._types[name](raw, place)
            else:
                self._draft.refuse(f"{place}.type", unknown("link type", name, self._types))

    def _pairs(self, raw: Raw, place: str, *, silent: bool = False) -> list[tuple[str, str, str]]:
        """Return node, interface and place of each endpoint that has both."""
        before = len(self._draft.problems)
        found = []
        given = raw["endpoints"] if "endpoints" in raw else [raw["endpoint"]] if "endpoint" in raw else None
        for number, entry in enumerate(given if isinstance(given, list) else []):
            where = f"{place}.endpoints[{number}]" if "endpoints" in raw else f"{place}.endpoint"
            pair = self._pair(entry, where)
            if pair is not None:
                found.append((*pair, where))
        if silent:
            del self._draft.problems[before:]
        return found

    def _pair(self, entry: object, place: str) -> tuple[str, str] | None:
        if isinstance(entry, dict):
            node = self._values.text(entry.get("node"), f"{place}.node")
            interface = self._values.text(entry.get("interface"), f"{place}.interface")
        elif isinstance(entry, str):
            before = len(self._draft.problems)
            text = self._values.text(entry, place)
            if len(self._draft.problems) > before:
                return None
            node, colon, interface = text.partition(":")
            if not colon:
                interface = ""
        else:
            self._draft.refuse(place, f"must be 'node:interface', not {describe(entry)}")
            return None
        if "{{" in node + interface:
            self._draft.refuse(place, "this is a template; give what containerlab makes of it")
        elif not node or not interface:
            self._draft.refuse(place, "needs a node and an interface: 'node:interface'")
        else:
            return node, interface
        return None

    def _add(self, link: dict[str, object], raw: Raw, place: str, ends: list[str]) -> None:
        fields = {"mtu": f"{place}.mtu"} if "mtu" in raw else {}
        mtu = self._values.number(raw.get("mtu"), f"{place}.mtu")
        if mtu not in (None, 0):
            link["mtu"] = mtu
        self._draft.add_link(link, place, ends, fields)

    # Types

    def _brief(self, raw: Raw, place: str) -> None:
        given = raw.get("endpoints")
        if not isinstance(given, list) or len(given) != 2:
            what = f"{len(given)}" if isinstance(given, list) else describe(given)
            self._draft.refuse(f"{place}.endpoints", f"a link has a list of 2 endpoints, not {what}")
            return
        pairs = self._pairs(raw, place)
        if len(pairs) != 2:
            return
        for (node, interface, _), other in ((pairs[0], pairs[1]), (pairs[1], pairs[0])):
            if node == "mgmt-net":
                self._draft.note(place, LOST_MGMT)
                return
            if node == "macvlan":
                self._one_end(other, {"type": "macvlan", "parent": interface}, raw, place)
                return
        self._join(pairs, raw, place)

    def _veth(self, raw: Raw, place: str) -> None:
        if raw.get("type") == "veth-stitch":
            self._draft.note(place, "a stitched link is made as a veth: the host has no interface to capture at")
        self._brief(raw, place)

    def _join(self, pairs: list[tuple[str, str, str]], raw: Raw, place: str) -> None:
        ends = [self._nodes.end(*pair) for pair in pairs]
        if any(self._nodes.is_ovs(node) for node, _, _ in pairs):
            self._draft.note(place, "a port of an Open vSwitch bridge is left out: add it by ovs-vsctl")
            return
        made: list[dict[str, object]] = [end for end in ends if end is not None]
        if len(made) < len(ends):
            return
        given = raw.get("endpoints")
        for number, end in enumerate(made):
            entry = given[number] if isinstance(given, list) and number < len(given) else raw.get("endpoint")
            self._add_details(end, entry, raw, number, pairs[number][2], place)
        link: dict[str, object] = {"endpoints": [_short(end) for end in made], "mtu": MTU}
        self._add(link, raw, place, [where for _, _, where in pairs])

    def _add_details(
        self, end: dict[str, object], entry: object, raw: Raw, number: int, where: str, place: str
    ) -> None:
        """Add MAC and addresses: those of the endpoint, or of lists that the link has for its endpoints."""
        addresses = []
        own = entry if isinstance(entry, dict) else {}
        if mac := self._values.text(own.get("mac"), f"{where}.mac"):
            end["mac"] = mac
        for key in ("ipv4", "ipv6"):
            of_link = self._values.several(raw.get(key), f"{place}.{key}")
            given = own.get(key) or (of_link[number] if number < len(of_link) else None)
            if address := self._values.text(given, f"{where}.{key}" if own.get(key) else f"{place}.{key}"):
                addresses.append(address)
        if addresses:
            end["addresses"] = addresses

    def _one_end(self, pair: tuple[str, str, str], link: dict[str, object], raw: Raw, place: str) -> None:
        node, interface, where = pair
        end = self._nodes.end(node, interface, where)
        if end is not None:
            self._add_details(end, raw.get("endpoint"), raw, 0, where, place)
            self._add({"endpoint": _short(end), **link}, raw, place, [where])

    def _single(self, raw: Raw, place: str) -> tuple[str, str, str] | None:
        """Return the only endpoint of a link, or None after a problem."""
        if "endpoint" not in raw:
            self._draft.refuse(place, "the link needs 'endpoint'")
            return None
        return next(iter(self._pairs({"endpoint": raw["endpoint"]}, place)), None)

    def _host_interface(self, raw: Raw, place: str) -> str:
        found = self._values.text(raw.get("host-interface"), f"{place}.host-interface")
        if not found:
            self._draft.refuse(place, "the link needs 'host-interface'")
        return found

    def _host(self, raw: Raw, place: str) -> None:
        pair, interface = self._single(raw, place), self._host_interface(raw, place)
        if pair is not None and interface:
            self._nodes.take(HOST, interface)
            self._join([pair, (HOST, interface, f"{place}.host-interface")], raw, place)

    def _macvlan(self, raw: Raw, place: str) -> None:
        pair, parent = self._single(raw, place), self._host_interface(raw, place)
        mode = self._values.text(raw.get("mode"), f"{place}.mode")
        if pair is not None and parent:
            # It has the MTU of its parent, as in containerlab.
            link: dict[str, object] = {"type": "macvlan", "parent": parent, **({"mode": mode} if mode else {})}
            self._one_end(pair, link, {key: value for key, value in raw.items() if key != "mtu"}, place)

    def _vxlan(self, raw: Raw, place: str) -> None:
        pair = self._single(raw, place)
        parent = self._values.text(raw.get("parent-interface"), f"{place}.parent-interface")
        if not parent:
            words = "needs 'parent-interface', the host's interface towards the remote: kokofast does not look for it"
            self._draft.refuse(place, words)
        if raw.get("type") == "vxlan-stitch":
            words = "a stitched vxlan is made as a vxlan of the node: its MTU is less, the host has no interface of it"
            self._draft.note(place, words)
        if raw.get("src-port"):
            self._draft.note(f"{place}.src-port", "the source port of a vxlan is left to the kernel")
        if pair is None or not parent:
            return
        link: dict[str, object] = {"type": "vxlan", "parent": parent}
        for ours, keys in (("remote", ("remote",)), ("vni", ("vni",)), ("port", ("dst-port", "udp-port"))):
            key = next((key for key in keys if raw.get(key) not in (None, 0)), keys[0])
            if raw.get(key) not in (None, 0):
                read = self._values.text if ours == "remote" else self._values.number
                link[ours] = read(raw[key], f"{place}.{key}")
        self._one_end(pair, {"port": VXLAN_PORT, **link}, raw, place)

    def _dummy(self, raw: Raw, place: str) -> None:
        pair = self._single(raw, place)
        if pair is not None:
            self._one_end(pair, {"type": "dummy"}, raw, place)

    def _mgmt_net(self, raw: Raw, place: str) -> None:
        self._draft.note(place, LOST_MGMT)


def _short(end: dict[str, object]) -> object:
    """Return an end in its short form, if it has nothing but names and addresses."""
    if end.keys() - {"node", "interface", "addresses"}:
        return end
    addresses = end.get("addresses")
    ending = f":{','.join(addresses)}" if isinstance(addresses, list) else ""
    return f"{end['node']}:{end['interface']}{ending}"
