"""A topology that changes while its lab is up: its links and nodes by now. change.py makes the changes."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Any

import msgspec

from kokofast.topology.build import LinkBuilder
from kokofast.topology.delta import Delta, differing
from kokofast.topology.diagnose import fits
from kokofast.topology.model import CALLER, Node, Topology
from kokofast.topology.nodes import CALLERS, identity
from kokofast.topology.rules import INVALID
from kokofast.topology.values import NODE_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kokofast.topology.delta import Key, Place
    from kokofast.topology.model import Link
    from kokofast.topology.nodes import Identity
    from kokofast.topology.rules import Report, Rule

PARSED_MAX = 50_000
PATTERNS_MAX = 1000


class LiveTopology:
    """The links and nodes of a lab as they are by now."""

    def __init__(self, topology: Topology) -> None:
        self._base = topology
        self.name = topology.name
        self.nodes: dict[str, Node] = dict(topology.nodes)
        self._identities: dict[str, Identity] = {name: identity(node) for name, node in self.nodes.items()}
        self.links: dict[Key, Link] = {}
        self._taken: dict[Place, Key] = {}
        self._pairs: dict[tuple[Identity | None, ...], dict[Key, None]] = {}  # the links between two namespaces
        for link in topology.links:
            self.put(self.key_of(link), link)
        self._builder: LinkBuilder | None = None
        self._parsed: dict[tuple[int, str, object], Any] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}

    def whole(self) -> Topology:
        """Return the topology of all links."""
        return self._base.part(dict(self.nodes), tuple(self.links.values()))

    def part(self, nodes: Mapping[str, Node], links: Iterable[Link]) -> Topology:
        """Return the lab with only these nodes and links, and no routing."""
        part = Topology(self.name, nodes, tuple(links))
        part.in_order = list
        return part

    def key_of(self, link: Link) -> Key:
        """Return what identifies a link: its ends, in no order."""
        places = [(self._identities[end.node], end.ifname) for end in link.ends]
        return tuple(sorted(places, key=repr) if len(places) > 1 else places)

    def undo(self, delta: Delta) -> None:
        """Take a change back that nothing followed."""
        for key, (_, after) in delta.links.items():
            if after is not None:
                self.drop(key)
        for key, (before, _) in delta.links.items():
            if before is not None:
                self.put(key, before)
        for name in delta.nodes:
            del self.nodes[name], self._identities[name]
        if delta.nodes:
            self._builder = None  # it knows these nodes

    def difference(self, topology: Topology, place: str) -> Delta:
        """Become this topology, of the same nodes and others; return what that does."""
        delta = Delta()
        for name, node in topology.nodes.items():
            if name not in self.nodes:
                self.add_node(node)
                delta.nodes[name] = node
        wanted = {self.key_of(link): link for link in topology.links}
        for key, link in list(self.links.items()):
            if key not in wanted:
                self.drop(key)
                delta.note(key, link, None, place)
        for key, link in wanted.items():
            before = self.links.get(key)
            if before is not link:
                delta.note(key, before, link, fields=differing(before, link) if before is not None else None)
        self.links, self._taken, self._pairs = {}, {}, {}
        for key, link in wanted.items():
            self.put(key, link)
        return delta

    def put(self, key: Key, link: Link) -> None:
        """Add a link."""
        self.links[key] = link
        for place in key:
            self._taken[place] = key
        if len(key) == 2:
            self._pairs.setdefault((key[0][0], key[1][0]), {})[key] = None

    def drop(self, key: Key) -> None:
        """Remove a link."""
        del self.links[key]
        for place in key:
            if self._taken.get(place) == key:
                del self._taken[place]
        if len(key) == 2:
            self._pairs[key[0][0], key[1][0]].pop(key, None)

    def builder(self) -> LinkBuilder:
        """Return what builds added links."""
        if self._builder is None:
            self._builder = LinkBuilder(self._base.part(self.nodes, ()))
        return self._builder

    def at_end(self, node: str, ifname: str) -> tuple[Key, int] | None:
        """Return the end (link, position) that is this interface; None if there is none."""
        namespace = self._identities.get(node)
        key = None if namespace is None else self._taken.get((namespace, ifname))
        if key is None:
            return None
        ends = enumerate(self.links[key].ends)
        return key, next(n for n, end in ends if (self._identities[end.node], end.ifname) == (namespace, ifname))

    def split(self, text: str) -> tuple[str, str]:
        """Return node and interface of ``node:interface``; the file may have addresses behind it."""
        node, _, ifname = text.rpartition(":")
        if node in self._identities:
            return node, ifname
        # As in the file: the longest node name with a colon in it, else up to the first colon.
        head = text[: NODE_NAME_BYTES + 1].rpartition(":")[0]
        while ":" in head and head not in self._identities:
            head = head.rpartition(":")[0]
        return head, text[len(head) + 1 :].partition(":")[0]

    def between(self, one: str, other: str) -> list[Key]:
        """Return the links between two nodes."""
        pair = tuple(sorted((self._identities.get(one), self._identities.get(other)), key=repr))
        return list(self._pairs.get(pair, ()))

    def matching(self, pattern: str) -> list[tuple[Key, int]]:
        """Return the ends (link, position) whose ``node:interface`` matches a pattern of the shell."""
        found = self._patterns.get(pattern)
        if found is None:
            if len(self._patterns) >= PATTERNS_MAX:
                self._patterns.clear()
            found = self._patterns[pattern] = re.compile(translate(pattern))
        return [
            (key, position)
            for key, link in self.links.items()
            for position, end in enumerate(link.ends)
            if found.match(f"{end.node}:{end.ifname}")
        ]

    def parse(self, rule: Rule, value: object, report: Report) -> Any:
        """Return a value of a field, INVALID after reporting why it is none."""
        key = (id(rule), type(value).__name__, value) if isinstance(value, (str, int)) else None
        if key is not None and key in self._parsed:
            return self._parsed[key]
        if not fits(value, rule, "", report):
            return INVALID
        found = msgspec.convert(value, rule.annotation)
        if rule.parse is not None:
            found = rule.parse(found, report)
        if key is not None and found is not INVALID:
            if len(self._parsed) >= PARSED_MAX:
                self._parsed.clear()
            self._parsed[key] = found
        return found

    def add_node(self, node: Node) -> None:
        """Add a node of a new link."""
        self.nodes[node.name] = node
        self._identities[node.name] = identity(node)

    def identities(self) -> dict[str, Identity]:
        """Return the identity of each node, and of the caller's namespace; of a lab on many hosts of each of those."""
        own: dict[str, Identity] = {}
        if self._base.hosts:
            from kokofast.topology.hosts import own_names, own_namespaces

            own = own_namespaces(own_names(self._base.hosts, self.nodes))
        return {CALLER: CALLERS, **own, **self._identities}

    def taken_by(self, link: Link) -> Key | None:
        """Return another link that has an interface of this one."""
        return next((self._taken[place] for place in self.key_of(link) if place in self._taken), None)
