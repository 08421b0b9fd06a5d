"""Build the Topology of a Document: apply rules, inherit from defaults and links, collect all problems.

The fast path of a link is one msgspec.convert() and its ends; diagnose.py is used only after a refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from kokofast.kinds import KINDS
from kokofast.kinds.kind import Kind
from kokofast.topology.build_ends import EndBuilder
from kokofast.topology.checks import check_ipv6, check_links
from kokofast.topology.defaults import Defaults
from kokofast.topology.diagnose import fits, repair_link
from kokofast.topology.document import Document, describe
from kokofast.topology.given import Given
from kokofast.topology.locations import At, LinePlaces, Origins, Places
from kokofast.topology.model import AF_INET6, CALLER, End, Link, Routing, Topology
from kokofast.topology.nodes import CALLERS, Nodes
from kokofast.topology.problems import Problem, TopologyError, unknown
from kokofast.topology.routes import check_routes
from kokofast.topology.segments import expand as expand_segments
from kokofast.topology.shapes import (
    DEFAULT_KIND,
    ROUTING,
    SUBNET_RULES,
    Shape,
)
from kokofast.topology.stacks import find_loops, may_have_loops
from kokofast.topology.subnets import Subnet, give_addresses
from kokofast.topology.values import is_host_name

if TYPE_CHECKING:
    from kokofast.topology.model import Hosts


def build(document: Document, name: str, create: bool, problems: list[Problem]) -> Topology:
    """Return the topology. Raises TopologyError with problems and all that are found here."""
    topology: Topology | None = None
    segments = expand_segments(document, name, problems)
    try:
        topology = _Builder(document, name, create, problems).topology(segments)
    except TopologyError as error:  # there are too many
        raise TopologyError(document.in_order(error.problems)) from None
    topology.in_order = document.in_order
    topology.imported, topology.notes = document.imported, tuple(document.notes)
    given = document.defaults if isinstance(document.defaults, dict) else {}
    topology.defaults = {**given, "create": True} if create else given
    if problems:
        raise TopologyError(document.in_order(problems), topology)
    return topology


def check_mirrors(links: Sequence[Link], identities: Mapping[str, Hashable]) -> list[Problem]:
    """Return a problem for each loop of mirrors."""
    from kokofast.topology.copies import Flows, add_links, addresses_of  # needed for mirrors only

    flows = Flows({identities[name]: name for name in reversed(list(identities))})
    add_links(flows, links, identities)
    return list(flows.loops(addresses_of(links, identities)))


class LinkBuilder:
    """Builds links that are added to a topology later, by the same rules and defaults as those of its file.

    They have names, and no addresses by themselves: those of the file were chosen with all links at hand.
    """

    def __init__(self, topology: Topology) -> None:
        document = Document([], LinePlaces("", ()))
        document.defaults = {key: value for key, value in topology.defaults.items() if key not in SUBNET_RULES}
        document.given_hosts = topology.underlay
        self._builder = _Builder(document, topology.name, False, [])
        self.nodes = self._builder.nodes
        for node in topology.nodes.values():
            self.nodes.add(node)
        self.nodes.colon_names = {name for name in topology.nodes if ":" in name}

    def build(self, raw: object, at: At, problems: list[Problem]) -> Link | None:
        """Return the link of an entry; None after adding problems. Nodes that it needs are added to nodes."""
        builder, before = self._builder, len(problems)
        builder.begin([raw], _EntryPlaces(at), problems)
        keys = raw.keys() & SUBNET_RULES.keys() if isinstance(raw, dict) else ()
        problems += [Problem(at(key), "an added link gets no addresses by itself: give them") for key in sorted(keys)]
        link = builder.link(0, {key: raw[key] for key in raw if key not in keys} if isinstance(raw, dict) else raw)
        if any(is_numbered for _, _, is_numbered in builder.ends.taken.values()):
            problems.append(Problem(at(""), "an added link needs the names of its interfaces: node:interface"))
        builder.ends.taken.clear()
        return link if len(problems) == before else None


class _EntryPlaces:
    """The places of one link; at() returns that of a path in it."""

    def __init__(self, at: At) -> None:
        self._at = at

    def link(self, _: int) -> str:
        return self._at("")

    def at(self, _: int, path: str) -> str:
        return self._at(path)


class _Builder:
    """Builds a topology, or one link after the other."""

    def __init__(self, document: Document, name: str, create: bool, problems: list[Problem]) -> None:
        self._name = name
        self._places: Places = document.places
        self._root = document.root
        self._links = document.links
        self._routing_given = document.routing
        self._problems = problems
        self._defaults = Defaults(document.defaults, f"{self._root}defaults", self._note)
        self._placing = document.placing
        self._hosts: Hosts | None = None
        if document.has_hosts() or document.between is not None:
            from kokofast.topology.hosts import read_hosts  # most labs are on one machine

            self._hosts = read_hosts(document, problems)
        hosts: Collection[str] | None = self._hosts.hosts if self._hosts is not None else None
        if isinstance(document.hosts, dict):  # also those that are wrong: nodes are not to blame
            hosts = [name for name in document.hosts if is_host_name(name)]
        self.nodes = Nodes(document, create or self._defaults.values.get("create") is True, problems, hosts)
        self.ends = EndBuilder(name, self.nodes, self._places, self._note)
        self._default_subnets = self._defaults.given(SUBNET_RULES)
        self._subnets: dict[Link, Given] = {}  # of links with their own

    def begin(self, links: list[object], places: Places, problems: list[Problem]) -> None:
        """Take other links, with their places and problems."""
        self._links, self._places, self._problems = links, places, problems
        self.ends.places = places
        self.nodes.report_to(problems)

    def topology(self, segments: Sequence[str] = ()) -> Topology:
        """Return the topology; segments are the nodes of their bridges."""
        default_kind = KINDS.get(str(self._defaults.values.get("type", DEFAULT_KIND)))
        if default_kind is not None:
            self._defaults.of_kind(default_kind)  # reports invalid defaults even when no link uses them
        links = [link for index, raw in enumerate(self._links) if (link := self.link(index, raw)) is not None]
        self._give_addresses(links)
        identities = self._identities(links, segments)
        check_links(links, identities, self._note)
        check_ipv6(self.nodes.table.values(), links, identities, self._note)
        if may_have_loops(links):
            for end, sentence in find_loops(links, identities, {}):
                self._note(end.where("master"), sentence)
        if any(end.mirror is not None for link in links for end in link.ends):
            self._problems += check_mirrors(links, identities)
        if len(links) == len(self._links):  # otherwise a route may use an end that does not exist
            check_routes(self.nodes.table.values(), links, identities, self._note)
        topology = Topology(self._name, self.nodes.table, tuple(links), self._routing())
        if self._hosts is not None:
            self._add_hosts(topology, self._hosts)
        return topology

    def _identities(self, links: Sequence[Link], segments: Sequence[str]) -> dict[str, Hashable]:
        """Return the identity of each node, and of CALLER; on many hosts after each node has one."""
        if self._hosts is None:
            return {CALLER: CALLERS, **self.nodes.identity}
        from kokofast.topology.hosts import check_hosts, give_hosts, namespaces_on

        placing = None if self._problems else self._placing  # what is wrong is not placed
        give_hosts(self.nodes, links, self._hosts, segments, placing)
        identities = namespaces_on(self.nodes, links, self._hosts)
        check_hosts(self.nodes, links, self._hosts, self._note)
        return identities

    def _add_hosts(self, topology: Topology, given: Hosts) -> None:
        from kokofast.topology.hosts import between_of

        given.usual = between_of(given, None, given.at, lambda *_: None)
        topology.hosts, topology.underlay = given.hosts, given

    def _own_between(self, link: Link, raw: object, at: At) -> None:
        """Take what a link says of itself for the case that it is between hosts."""
        from kokofast.topology.hosts import between_of, parse_between

        def report(path: str, message: str) -> None:
            self._note(at(f"between{path}"), message)

        own = parse_between(raw, report)
        if self._hosts is None:
            report("", "is for links between hosts, and the file has no 'hosts'")
        elif own is not None:
            between = between_of(self._hosts, own, lambda path: at(f"between{path}"), report)
            if between is not None:
                self._hosts.own[link] = between

    def _routing(self) -> Routing | None:
        raw = self._routing_given
        if raw is None or not fits(raw, ROUTING, f"{self._root}routing", self._note):
            return None
        return Routing(isinstance(raw, dict) and raw.get("multipath") is True)

    def _give_addresses(self, links: list[Link]) -> None:
        """Give addresses of the subnets in defaults and links. Links with the same subnet share it."""
        if not self._default_subnets.values and not self._subnets:
            return
        shared: dict[tuple[int, int, int], Subnet] = {}
        table, identity = self.nodes.table, self.nodes.identity
        without = {identity[node.name] for node in table.values() if node.ipv6 is False}

        def subnets_of(link: Link) -> list[Subnet]:
            found = list(self._subnets.get(link, self._default_subnets).values.values())
            if without and any(identity[end.node] in without for end in link.ends):
                found = [one for one in found if one.family != AF_INET6]
            return [shared.setdefault((one.family, one.first, one.last), one) for one in found]

        give_addresses(links, subnets_of, self._note)

    # Links

    def link(self, index: int, raw: object) -> Link | None:
        """Return a link; None after reporting problems."""
        is_list = isinstance(raw, list)
        if is_list:
            raw = {"endpoints": raw}
        if not isinstance(raw, dict):
            words = f"a link must be an object, or a list of its endpoints, not {describe(raw)}"
            self._note(self._places.link(index), words)
            return None
        kind = self._kind(index, raw)
        if kind is None:
            return None
        of_kind, ends, options = self._defaults.of_kind(kind)
        places = self._places

        def at(path: str) -> str:
            path = path.removeprefix("endpoints") if is_list else path
            return places.at(index, path) if path else places.link(index)

        converted = self._converted(raw, of_kind, at)
        if converted is None:
            return None
        record, source = converted
        origins: dict[str, tuple[At, str]] = {}
        values: dict[str, Any] = {}
        if len(raw) > 1:
            ends = ends.overridden(record, source, of_kind.shared, at, self._note)
            origins = {key: (at, key) for key in raw}
        if of_kind.options:
            options = options.overridden(record, source, of_kind.options, at, self._note)
            values = self._options(of_kind, options, raw, at)
            origins = options.origins | origins
            several = {name: values[name] for name in kind.several if isinstance(values[name], tuple)}
            if several:
                places_of_them = {name: options.origins[name] for name in several}
                ends = Given(ends.values | several, ends.origins | places_of_them)
        made = self.ends.build(index, "" if is_list else "endpoints", of_kind, record, source, ends)
        if made is None:
            return None
        if not kind.own_mac(values):
            self._check_macs(kind, made)
        if any(rule.field.required and values[key] is None for key, rule in of_kind.options.items()):
            return None  # further checks expect required options
        link = Link(kind.name, made, options=values, place=at(""), places=Origins(origins) if origins else None)
        if len(raw) > 1 and not of_kind.subnets.keys().isdisjoint(raw):
            self._subnets[link] = self._default_subnets.overridden(record, source, of_kind.subnets, at, self._note)
        if "between" in source:
            self._own_between(link, source["between"], at)
        return link

    def _check_macs(self, kind: Kind, ends: Sequence[End]) -> None:
        for end in ends:
            if end.mac is not None:
                what = f"{kind.article} {kind.name} interface"
                self._note(end.where("mac"), f"{what} has its parent's MAC address; leave mac out")

    def _converted(self, raw: dict[str, Any], of_kind: Shape, at: At) -> tuple[Any, dict[str, Any]] | None:
        """Return the record of a link, and its source: raw or the valid part of it. None after reporting problems."""
        try:
            return msgspec.convert(raw, of_kind.link_record), raw
        except (msgspec.ValidationError, UnicodeError):  # a key with half a surrogate pair
            repaired = repair_link(raw, of_kind, lambda path, message: self._note(at(path), message))
            return None if repaired is None else (msgspec.convert(repaired, of_kind.link_record), repaired)

    def _kind(self, index: int, raw: Mapping[str, object]) -> Kind | None:
        name = raw.get("type", self._defaults.values.get("type", DEFAULT_KIND))
        kind = KINDS.get(name) if isinstance(name, str) else None
        if kind is None:
            what = unknown("link type", name, KINDS) if isinstance(name, str) else f"must be text, not {describe(name)}"
            self._note(self._places.at(index, "type"), what)
        return kind

    def _options(self, of_kind: Shape, given: Given, raw: Mapping[str, object], at: At) -> dict[str, Any]:
        """Return the fields of the link's kind: given, inherited or default values, or None."""
        for key, rule in of_kind.options.items():
            if rule.field.required and key not in raw and key not in self._defaults.values:
                self._note(at(""), f"{of_kind.kind.article} {of_kind.kind.name} link needs '{key}'")
            elif rule.field.type == "interface" and key in given.values:
                node, colon, _ = given.values[key].rpartition(":")
                if colon:
                    self.nodes.use(node, Origins(given.origins)[key])
        return {key: given.values.get(key, rule.field.default) for key, rule in of_kind.options.items()}

    def _note(self, place: str, message: str) -> None:
        self._problems.append(Problem(place, message))
