"""Changes of a live topology: links set, added and removed by the rules of the file. Each is all or nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kokofast.ends import ENDS
from kokofast.kinds import KINDS
from kokofast.topology.build import check_mirrors
from kokofast.topology.checks import check_links
from kokofast.topology.delta import Delta
from kokofast.topology.diagnose import options_of_all_kinds
from kokofast.topology.document import describe
from kokofast.topology.locations import Origins
from kokofast.topology.model import End, Link
from kokofast.topology.problems import Problem, TopologyError, step, unknown
from kokofast.topology.routes import check_routes
from kokofast.topology.shapes import PROPERTY_KEYS, shape
from kokofast.topology.values import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.topology.delta import Key
    from kokofast.topology.live import LiveTopology
    from kokofast.topology.locations import At

    # An end: its link, by what identifies it and as it is before the change, and its position.
    Named = tuple[Key, Link, int]

CHANGES = ("set", "add", "remove")
NAMING = ("endpoints", "endpoint", "select")
# What an existing interface keeps.
FIXED = ("queues", "mirror")
# What batch leaves as it is where the file does not give it: these, and properties of ends that do not leave with it.
KEPT = ("mac", "mtu", "txqlen", "dad")

_PROPERTY_OF = {field.name: name for name, found in ENDS.items() for field in found.all_fields()}
_NO_DEFAULT = End("", "")


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

    def set_at(self, end: End, place: str) -> End:
        """Return the end with the fields set; place is where that is said."""
        found = end.places.found if isinstance(end.places, Origins) else {}
        values: dict[str, object] = {"place": place, "places": Origins({**found, **self.origins}), **self.values}
        if self.properties:
            properties = dict(end.properties)
            for name, key, value in self.properties:
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


def is_kept(key: str) -> bool:
    """Return whether a link without a parent keeps a field of its ends that the file does not give."""
    return key in KEPT or (key in PROPERTY_KEYS and not ENDS[_PROPERTY_OF[key]].leaves)


def _has_text_keys(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and _has_text_keys(item) for key, item in value.items())
    return all(map(_has_text_keys, value)) if isinstance(value, (list, tuple)) else True


def _join(path: str, below: str) -> str:
    """Return the path of what is below a path."""
    return path + ("" if not below or below[0] == "[" else ".") + below


def _has_parent(link: Link) -> bool:
    """Return whether the mtu of a link follows that of a parent where the file gives none."""
    return link.options.get("parent") is not None


def make_change(
    live: LiveTopology, changes: Mapping[str, object], at: At, named: dict[str, list[Named]] | None = None
) -> Delta:
    """Make the changes and return what they do. Raises TopologyError with all problems, and changes nothing then.

    changes has "set", "add" and "remove"; at() returns the place of a path in it. Removals come first. named gets, for
    the path of each entry, the ends that it is about.
    """
    change = _Change(live, at, named)
    try:
        change.make(changes)
    except BaseException:  # also what is no problem of the change: a program may go on after a TypeError
        live.undo(change.delta)
        raise
    change.delta.settle()
    return change.delta


class _Change:
    """A change that is being made, entry by entry. With problems its delta is undone."""

    def __init__(self, live: LiveTopology, at: At, named: dict[str, list[Named]] | None) -> None:
        self.live = live
        self.at = at
        self.named = named
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
        self._note_named(path, found)
        for key in entry:
            if key not in NAMING:
                self.report(self.at(path + step(str(key))), unknown("key", str(key), NAMING))
        for key in dict.fromkeys(key for key, _ in found):
            link = self.live.links[key]
            self.live.drop(key)
            self.delta.note(key, link, None, self.at(path))

    def add(self, entry: object, path: str) -> None:
        """Add a link, as the file has them."""
        if not _has_text_keys(entry):  # as in a file
            self.report(self.at(path), "has a key that is no text")
            return
        builder = self.live.builder()
        at = self.at  # the link keeps it, and must not keep this change with the links before it
        link = builder.build(entry, lambda below: at(_join(path, below)), self.problems)
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
        self.live.put(key, link)
        self._note_named(path, [(key, position) for position in range(len(link.ends))])
        self.delta.note(key, None, link)

    def set(self, entry: object, path: str) -> None:
        """Set fields of the links or ends that an entry names."""
        if not isinstance(entry, dict):
            self.report(self.at(path), f"must be an object, not {describe(entry)}")
            return
        found = self._named(entry, path)
        self._note_named(path, found)
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
                values.set_at(end, place) if position in positions else end for position, end in enumerate(link.ends)
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

    def _note_named(self, path: str, found: Sequence[tuple[Key, int]]) -> None:
        if self.named is not None:
            self.named[path] = [(key, self.live.links[key], position) for key, position in found]

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
        found = [self.live.at_end(*self.live.split(text)) for text in texts]
        ends = [end for end in found if end is not None]
        if not ends or len(ends) != len(found) or len({key for key, _ in ends}) > 1:
            titles = "--".join(texts)
            self.report(self.at(where), f"there is no link {quote(titles)} at this time")
            return []
        link = self.live.links[ends[0][0]]
        if name == "endpoints" and not len(set(ends)) == len(ends) == len(link.ends):
            self.report(self.at(where), f"the link is {quote(link.title())}: name all its ends, or one by endpoint")
            return []
        return ends

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
        """Report a problem of the topology, of which the cause may be outside of the change."""
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
