"""A topology that changes: links set, added and removed while it is up. Each change is all or nothing."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from kokofast.ends import ENDS
from kokofast.kinds import KINDS
from kokofast.topology.build import LinkBuilder, check_mirrors
from kokofast.topology.checks import check_links
from kokofast.topology.diagnose import fits, options_of_all_kinds
from kokofast.topology.document import describe
from kokofast.topology.locations import Origins
from kokofast.topology.model import CALLER, End, Link, Node, Topology
from kokofast.topology.nodes import identity
from kokofast.topology.problems import Problem, TopologyError, step, unknown
from kokofast.topology.routes import check_routes
from kokofast.topology.rules import INVALID, Rule
from kokofast.topology.shapes import PROPERTY_KEYS, shape
from kokofast.topology.values import NODE_NAME_BYTES, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kokofast.topology.locations import At
    from kokofast.topology.nodes import Identity

    Place = tuple[Identity, str]
    Key = tuple[Place, ...]

CHANGES = ("set", "add", "remove")
NAMING = ("endpoints", "endpoint", "select")
# What an existing interface keeps.
FIXED = ("queues", "mirror")
# What batch leaves as it is where the file does not give it: these, and properties of ends that do not leave with it.
KEPT = ("mac", "mtu", "txqlen", "dad")
PARSED_MAX = 50_000
PATTERNS_MAX = 1000

_PROPERTY_OF = {field.name: name for name, found in ENDS.items() for field in found.all_fields()}
_NO_DEFAULT = End("", "")


class Delta:
    """What a change does: for each link that it touches what was there, and what is to be there (None: nothing).

    nodes are those that it adds, fields those of links that stay which it changes; None: any.
    """

    __slots__ = ("fields", "links", "nodes", "places")

    def __init__(self) -> None:
        self.fields: set[str] | None = set()
        self.links: dict[Key, tuple[Link | None, Link | None]] = {}
        self.nodes: dict[str, Node] = {}
        self.places: dict[Key, str] = {}  # of removed links: where that is said

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


class Fields:
    """What an entry sets at ends.

    Attributes:
        values: The fields of End.
        properties: Properties of ends, each with the field in its value, or None when the value is all of it. None as a
            value leaves the field or the property out.
        origins: Where each field is from.
        names: The fields of End and the properties.
    """

    __slots__ = ("names", "origins", "properties", "values")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.values: dict[str, object] = {}
        self.properties: list[tuple[str, str | None, Any]] = []
        self.origins: dict[str, tuple[At, str]] = {}

    def set(self, key: str, value: Any, origin: tuple[At, str]) -> None:
        """Add a field of the file; None is its default."""
        self.origins[key] = origin
        if key in PROPERTY_KEYS:
            name = _PROPERTY_OF[key]
            self.properties.append((name, key if ENDS[name].fields else None, value))
            self.names.add(name)
        else:
            self.values[key] = getattr(_NO_DEFAULT, key) if value is None else value
            self.names.add(key)


def is_kept(key: str) -> bool:
    """Return whether a link without a parent keeps a field of its ends that the file does not give."""
    return key in KEPT or (key in PROPERTY_KEYS and not ENDS[_PROPERTY_OF[key]].leaves)


def _has_parent(link: Link) -> bool:
    """Return whether the mtu of a link follows that of a parent where the file gives none."""
    return link.options.get("parent") is not None


def _differing(before: Link, after: Link) -> set[str] | None:
    """Return the fields in which the ends differ; None when the links are not the same."""
    if not is_same_link(before, after):
        return None
    found: set[str] = set()
    for one, other in zip(before.ends, after.ends, strict=True):
        found.update(name for name in _COMPARED if getattr(one, name) != getattr(other, name))
        keys = one.properties.keys() | other.properties.keys()
        found.update(key for key in keys if one.properties.get(key) != other.properties.get(key))
    return found


_COMPARED = ("addresses", "mac", "mtu", "txqlen", "queues", "up", "dad", "cost", "mirror")


def is_same_link(before: Link, after: Link) -> bool:
    """Return whether one can become the other by changing its ends."""
    return before.kind == after.kind and before.options == after.options


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
            self._put(self.key_of(link), link)
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

    @property
    def routing(self) -> object:
        """Return the routing of the whole topology; None for none."""
        return self._base.routing

    def key_of(self, link: Link) -> Key:
        """Return what identifies a link: its ends, in no order."""
        places = [(self._identities[end.node], end.ifname) for end in link.ends]
        return tuple(sorted(places, key=repr) if len(places) > 1 else places)

    def change(self, changes: Mapping[str, object], at: At) -> Delta:
        """Make the change and return what it does. Raises TopologyError with all its problems, and changes nothing.

        changes has "set", "add" and "remove"; at() returns the place of a path in it. Removals come first.
        """
        change = _Change(self, at)
        try:
            change.make(changes)
        except BaseException:  # also what is no problem of the change: a program may go on after a TypeError
            self.undo(change.delta)
            raise
        change.delta.settle()
        return change.delta

    def undo(self, delta: Delta) -> None:
        """Take a change back that nothing followed."""
        for key, (_, after) in delta.links.items():
            if after is not None:
                self._drop(key)
        for key, (before, _) in delta.links.items():
            if before is not None:
                self._put(key, before)
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
                self._drop(key)
                delta.note(key, link, None, place)
        for key, link in wanted.items():
            before = self.links.get(key)
            if before is not link:
                delta.note(key, before, link, fields=_differing(before, link) if before is not None else None)
        self.links, self._taken, self._pairs = {}, {}, {}
        for key, link in wanted.items():
            self._put(key, link)
        return delta

    def _put(self, key: Key, link: Link) -> None:
        self.links[key] = link
        for place in key:
            self._taken[place] = key
        if len(key) == 2:
            self._pairs.setdefault((key[0][0], key[1][0]), {})[key] = None

    def _drop(self, key: Key) -> None:
        del self.links[key]
        for place in key:
            if self._taken.get(place) == key:
                del self._taken[place]
        if len(key) == 2:
            self._pairs[key[0][0], key[1][0]].pop(key, None)

    # For _Change

    def builder(self) -> LinkBuilder:
        """Return what builds added links."""
        if self._builder is None:
            self._builder = LinkBuilder(self._base.part(self.nodes, ()))
        return self._builder

    def at_end(self, node: str, ifname: str) -> Key | None:
        """Return the link with an interface."""
        found = self._identities.get(node)
        return None if found is None else self._taken.get((found, ifname))

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

    def parse(self, rule: Rule, value: object, report: Callable[[str, str], None]) -> Any:
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
        """Return the identity of each node, and of the caller's namespace."""
        return {CALLER: identity(Node(CALLER, "host", "")), **self._identities}

    def taken_by(self, link: Link) -> Key | None:
        """Return another link that has an interface of this one."""
        return next((self._taken[place] for place in self.key_of(link) if place in self._taken), None)


class _Change:
    """One change in the making: it is made step by step, and taken back when there is a problem."""

    def __init__(self, live: LiveTopology, at: At) -> None:
        self.live = live
        self.at = at
        self.delta = Delta()
        self.problems: list[Problem] = []

    def make(self, changes: Mapping[str, object]) -> None:
        """Make the whole change. Raises TopologyError."""
        for key in changes:
            if key not in CHANGES:
                self.report(self.at(str(key)), unknown("key", str(key), CHANGES))
        for name, act in (("remove", self.remove), ("set", self.set), ("add", self.add)):
            entries = changes.get(name, [])
            if not isinstance(entries, (list, tuple)):
                self.report(self.at(name), f"must be a list, not {describe(entries)}")
                continue
            for number, entry in enumerate(entries):
                act(entry, f"{name}[{number}]")
        if not self.problems:
            self.check()
        if self.problems:
            raise TopologyError(self.problems)

    def report(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message))

    def _report_below(self, path: str, below: str, message: str) -> None:
        self.report(self.at(path + below), message)

    def remove(self, entry: object, path: str) -> None:
        """Remove the links that an entry names."""
        if isinstance(entry, list):
            entry = {"endpoints": entry}
        if not isinstance(entry, dict):
            self.report(self.at(path), f"must be an object that names links, not {describe(entry)}")
            return
        found = self._named(entry, path)
        for key in entry:
            if key not in NAMING:
                self.report(self.at(path + step(str(key))), unknown("key", str(key), NAMING))
        for key in dict.fromkeys(key for key, _ in found):
            link = self.live.links[key]
            self.live._drop(key)
            self.delta.note(key, link, None, self.at(path))

    def add(self, entry: object, path: str) -> None:
        """Add a link, as the file has them."""
        if not _has_text_keys(entry):  # as in a file
            self.report(self.at(path), "has a key that is no text")
            return
        builder = self.live.builder()
        link = builder.build(entry, lambda below: self.at(join(path, below)), self.problems)
        for name, node in builder.nodes.table.items() if len(builder.nodes.table) > len(self.live.nodes) else ():
            if name not in self.live.nodes:
                self.live.add_node(node)
                self.delta.nodes[name] = node
        if link is None:
            return
        other = self.live.taken_by(link)
        if other is not None:
            title = self.live.links[other].title()
            self.report(self.at(path), f"{link.title()}: an interface of it is already that of the link {title}")
            return
        key = self.live.key_of(link)
        self.live._put(key, link)
        self.delta.note(key, None, link)

    def set(self, entry: object, path: str) -> None:
        """Set fields of the links or ends that an entry names."""
        if not isinstance(entry, dict):
            self.report(self.at(path), f"must be an object, not {describe(entry)}")
            return
        found = self._named(entry, path)
        given = [key for key in entry if key not in NAMING]
        if not given:
            self.report(self.at(path), "sets nothing: give a field, such as rate")
        chosen: dict[Key, list[int]] = {}
        for key, position in found:
            chosen.setdefault(key, []).append(position)
        fields: dict[tuple[str, bool], Fields | None] = {}
        for key, positions in chosen.items():
            link = self.live.links[key]
            alike = link.kind, _has_parent(link)
            if alike not in fields:
                fields[alike] = self._fields(link, entry, given, path)
            values = fields[alike]
            if values is None:
                return
            place = self.at(path)
            ends = tuple(
                _set(end, values, place) if position in positions else end for position, end in enumerate(link.ends)
            )
            after = link.with_ends(ends, place)
            self.live.links[key] = after
            self.delta.note(key, link, after, fields=values.names)

    def _fields(self, link: Link, entry: Mapping[str, object], given: Sequence[str], path: str) -> Fields | None:
        """Return the values of an entry's fields for links like this one; None after reporting problems."""
        rules = shape(KINDS[link.kind]).shared
        before = len(self.problems)
        fields = Fields()
        for key in given:
            where = path + step(str(key))
            if key in FIXED or (key not in rules and key in options_of_all_kinds() | {"type"}):
                self.report(self.at(where), f"{key} cannot be set later: remove the link, and add it")
            elif key not in rules:
                self.report(self.at(where), unknown("key", str(key), [name for name in rules if name not in FIXED]))
            elif entry[key] is None and is_kept(key) and not (key == "mtu" and _has_parent(link)):
                self.report(self.at(where), f"null leaves {key} as it is: give the value that it is to have")
            elif entry[key] is None:
                fields.set(key, None, (self.at, where))
            else:
                report = partial(self._report_below, where)
                fields.set(key, self.live.parse(rules[key], entry[key], report), (self.at, where))
        return fields if len(self.problems) == before else None

    def _named(self, entry: Mapping[str, object], path: str) -> list[tuple[Key, int]]:
        """Return the ends (link, position) that an entry names, or report why there are none."""
        names = [name for name in NAMING if name in entry]
        if len(names) != 1:
            has = " and ".join(names) or "none"
            self.report(self.at(path), f"needs exactly one of {', '.join(NAMING)}; this one has {has}")
            return []
        (name,) = names
        where, value = path + step(name), entry[name]
        if name == "select":
            return self._selected(value, where)
        texts = value if name == "endpoints" else [value]
        if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
            what = 'a list of "node:interface"' if name == "endpoints" else '"node:interface"'
            self.report(self.at(where), f"must be {what}, not {describe(value)}")
            return []
        if name == "endpoints" and len(texts) == 2 and not any(":" in text for text in texts):
            return self._between(texts[0], texts[1], where)
        ends = [self.live.split(text) for text in texts]
        keys = [self.live.at_end(*end) for end in ends]
        if not ends or None in keys or len(set(keys)) > 1:
            titles = "--".join(map(str, texts))
            self.report(self.at(where), f"there is no link {quote(titles)} at this time")
            return []
        key = keys[0]
        assert key is not None
        link = self.live.links[key]
        if name == "endpoints":
            if len(ends) != len(link.ends) or len(set(ends)) != len(ends):
                self.report(self.at(where), f"the link is {quote(link.title())}: name all its ends, or one by endpoint")
                return []
            return [(key, position) for position in range(len(link.ends))]
        place = self.live._identities[ends[0][0]], ends[0][1]
        position = next(n for n, end in enumerate(link.ends) if (self.live._identities[end.node], end.ifname) == place)
        return [(key, position)]

    def _between(self, one: str, other: str, where: str) -> list[tuple[Key, int]]:
        found = self.live.between(one, other)
        if len(found) != 1:
            title = f"{quote(one)} and {quote(other)}"
            what = f"there are {len(found)} links between {title}: name the interfaces" if found else ""
            self.report(self.at(where), what or f"there is no link between {title} at this time")
            return []
        return [(found[0], 0), (found[0], 1)]

    def _selected(self, value: object, where: str) -> list[tuple[Key, int]]:
        if not isinstance(value, str):
            self.report(self.at(where), f'must be a pattern such as "a:*", not {describe(value)}')
            return []
        found = self.live.matching(value)
        if not found:
            self.report(self.at(where), f"no end matches {quote(value)} at this time")
        return found

    def _report_here(self, place: str, message: str) -> None:
        """Report what is wrong by now, also if what is to blame is elsewhere."""
        root = self.at("").strip()
        if place.startswith(root):
            self.report(place, message)
        else:
            self.report(root, f"{place}: {message}")

    def check(self) -> None:
        """Check the links against each other, as load() does."""
        live = self.live
        links = [after for _, after in self.delta.links.values() if after is not None]
        identities = live.identities()
        if any(KINDS[link.kind].rivalry is not None for link in links):
            links = list(live.links.values())
        check_links(links, identities, self._report_here)
        if any(end.mirror is not None for link in links for end in link.ends):
            self.problems += check_mirrors(list(live.links.values()), identities)
        if any(node.routes for node in live.nodes.values()):
            check_routes(live.nodes.values(), list(live.links.values()), identities, self._report_here)


def _has_text_keys(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and _has_text_keys(item) for key, item in value.items())
    return all(map(_has_text_keys, value)) if isinstance(value, (list, tuple)) else True


def join(path: str, below: str) -> str:
    """Return the path of what is below a path."""
    return path + ("" if not below or below[0] == "[" else ".") + below


def _set(end: End, fields: Fields, place: str) -> End:
    """Return the end with other values; place is where that is said."""
    found = end.places._found if isinstance(end.places, Origins) else {}
    values: dict[str, object] = {"place": place, "places": Origins({**found, **fields.origins}), **fields.values}
    if fields.properties:
        properties = dict(end.properties)
        for name, key, value in fields.properties:
            if key is not None:
                before: Any = properties.get(name, {})
                rest = {one: other for one, other in before.items() if one != key}
                value = rest or None if value is None else {**rest, key: value}
            if value is None:
                properties.pop(name, None)
            else:
                properties[name] = value
        values["properties"] = properties
    return end.with_values(values)
