"""Plan the end properties of kokofast.ends. Few ends have any."""

from __future__ import annotations

from functools import partial

from kokofast.ends import ATTRIBUTES, ENDS, present
from kokofast.kinds import KINDS
from kokofast.plan.operations import Change, IfRef, Setting
from kokofast.plan.ownership import root_handle
from kokofast.topology.model import AF_INET6
from kokofast.topology.node_kinds import NODES
from kokofast.topology.problems import Problem
from kokofast.topology.stacks import find_loops, may_have_loops
from kokofast.topology.units import as_in_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from kokofast.ends.property import Property
    from kokofast.plan.observed import Interface
    from kokofast.plan.plan import Situation
    from kokofast.plan.step import FieldChange
    from kokofast.topology.model import End, Link, Topology

    Step = tuple[Change, Change]


class Properties:
    """Plans the properties of the ends of a topology."""

    def __init__(self, topology: Topology, situation: Situation) -> None:
        self.links = links = topology.links
        self.nodes = topology.nodes
        self.root_handle = root_handle(topology.name)
        self.situation = situation
        # The kinds of the ends in the file, and the owner of each name.
        self.kinds: dict[tuple[int, str], str] = {}
        self.owners: dict[tuple[int, str], tuple[int, str]] = {}
        for link in links:
            for end in link.ends:
                place = situation.places[end.node], end.ifname
                self.kinds[place] = link.kind
                self.owners[place] = place
        for link in links:
            for end in link.ends:
                place = situation.places[end.node], end.ifname
                for name, value in end.properties.items():
                    for taken in ENDS[name].names(value):
                        self.owners.setdefault((place[0], taken), place)
        self._there: dict[int, dict[str, str]] = {}

    def plan(
        self, link: Link, end: End, reference: IfRef, interface: Interface | None, mtu: int
    ) -> tuple[tuple[Setting, ...], list[Problem]]:
        """Return what has to be set at an end, and the problems.

        interface is the existing end, or None; mtu the one that the end will have.
        """
        view = _View(self, end, reference, interface, mtu)
        settings: list[Setting] = []
        problems: list[Problem] = []
        for name, value in (*end.properties.items(), *_left(end, interface)):
            found = ENDS[name]
            wrong = [
                Problem(end.where(field), f"{end.node}:{end.ifname}: {text}")
                for field, text in found.problems(link, end, value, view)
            ]
            problems += wrong
            if wrong:
                continue
            wanted, before = found.wanted(value, view), view.present(name)
            before = found.nothing if before is None else before
            if (view.index_of(wanted) if isinstance(wanted, IfRef) else wanted) != before:
                changes = partial(_changes, found, before, wanted, view.name_of)
                restarts = view.is_up() and found.restarts(value, view)
                settings.append(Setting(name, wanted, before, changes=changes, restarts=restarts))
        return tuple(settings), problems

    def check_loops(self, report: Callable[[str, str], None]) -> None:
        """Report (place, sentence) of masters below their ports by way of what exists already."""
        if may_have_loops(self.links):
            for end, sentence in find_loops(self.links, self.situation.places, dict(self._below())):
                report(end.where("master"), sentence)

    def _below(self) -> Iterator[tuple[tuple[int, str], list[tuple[int, str]]]]:
        """Yield what is below existing interfaces: their parent, or their ports, of which the file has no other master.

        A parent in another namespace is not found.
        """
        moved = {
            (self.situation.places[end.node], end.ifname)
            for link in self.links
            for end in link.ends
            if "master" in end.properties
        }
        for ns, namespace in enumerate(self.situation.observed):
            there = namespace.interfaces.values() if namespace is not None else ()
            names = {item.ifindex: item.ifname for item in there}
            ports: dict[int, list[tuple[int, str]]] = {}
            for item in there:
                if (ns, item.ifname) not in moved:
                    ports.setdefault(item.master, []).append((ns, item.ifname))
            for item in there:
                kind, parent = KINDS.get(item.kind), item.data.get("link", item.peer)
                if kind is not None and kind.ends == 1 and item.peer_nsid is None and parent in names:
                    yield (ns, item.ifname), [(ns, names[parent])]
                elif item.ifindex in ports:
                    yield (ns, item.ifname), ports[item.ifindex]

    def names_in(self, ns: int) -> dict[str, str]:
        """Return the names in a namespace, including altnames, each with the name of its interface."""
        if ns not in self._there:
            namespace = self.situation.observed[ns]
            found = namespace.interfaces.values() if namespace is not None else ()
            self._there[ns] = {name: item.ifname for item in found for name in (item.ifname, *item.altnames)}
        return self._there[ns]


def _left(end: End, interface: Interface | None) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the properties that have left the file, but that the end still has."""
    more = interface.more if interface is not None else {}
    for name, attribute in ATTRIBUTES.items() if more else ():
        if attribute in more and name not in end.properties and ENDS[name].leaves:
            yield name, {}


def values_of(found: Property, setting: object, name_of: Callable[[Any], str]) -> dict[str, object]:
    """Return a setting by field, in the form of the file, without fields that have no value."""
    shown: Any = found.shown(setting, name_of)
    values: Mapping[str, object] = shown if found.fields else {found.field.name: shown}
    return {
        field.name: as_in_file(field, values[field.name])
        for field in found.all_fields()
        if values.get(field.name) is not None
    }


def _changes(found: Property, before: object, wanted: object, name_of: Callable[[Any], str]) -> Iterator[FieldChange]:
    one, other = values_of(found, before, name_of), values_of(found, wanted, name_of)
    for field in found.all_fields():
        if one.get(field.name) != other.get(field.name):
            yield field.name, one.get(field.name), other.get(field.name)


def add_to_steps(settings: Sequence[Setting], steps: Sequence[Step], end: End, interface: Interface) -> None:
    """Add the changes of an existing end to their stages."""
    ours = tuple(item for item, is_ours in interface.addresses.items() if is_ours and item.family == AF_INET6)
    for one in settings:
        change, undo = steps[ENDS[one.name].stage]
        change.properties += (one,)
        undo.properties += (Setting(one.name, one.before, one.value, restarts=one.restarts),)
        if interface.txqlen == 0:  # a new qdisc makes it 1000
            undo.attributes = {**undo.attributes, "txqlen": 0}
            change.attributes = {**change.attributes, **({"txqlen": 0} if end.txqlen == 0 else {})}
        if one.restarts:  # an interface that goes down loses them: see diff.difference()
            change.add += ours
            undo.add += ours


class _View:
    """See kokofast.ends.property.View."""

    def __init__(
        self, properties: Properties, end: End, reference: IfRef, interface: Interface | None, mtu: int
    ) -> None:
        self._properties = properties
        self._node = properties.nodes[end.node]
        self._mtu = mtu
        self._end = reference
        self._given = end.properties
        self._interface = interface

    def given(self, name: str) -> Any:
        return self._given.get(name)

    def reference(self, ifname: str) -> IfRef:
        return IfRef(self._end.ns, ifname)

    def index_of(self, reference: object) -> int | None:
        assert isinstance(reference, IfRef)
        found = self._properties.situation.find(reference)
        return None if found is None else found.ifindex

    def kind_of(self, ifname: str) -> str | None:
        reference = self.reference(ifname)
        found = self._properties.situation.find(reference)
        if found is not None:
            return found.kind
        return self._properties.kinds.get((reference.ns, ifname))

    def owner_of(self, name: str) -> str | None:
        ns, own = self._end.ns, self._end.ifname
        _, planned = self._properties.owners.get((ns, name), (ns, own))
        owner = planned if planned != own else self._properties.names_in(ns).get(name, own)
        return None if owner == own else owner

    def present(self, name: str) -> Any:
        return None if self._interface is None else present(name, self._interface.more)

    def is_up(self) -> bool:
        return self._interface is not None and self._interface.up

    def mtu(self) -> int:
        return self._mtu

    def root_handle(self) -> int:
        return self._properties.root_handle

    def command(self, name: str) -> str:
        return f"{name} -n {self._node.target}" if NODES[self._node.kind].is_named else name

    def name_of(self, index: object) -> str:
        if isinstance(index, IfRef):
            return index.ifname
        namespace = self._properties.situation.observed[self._end.ns]
        there = namespace.interfaces.values() if namespace is not None else ()
        return next((item.ifname for item in there if item.ifindex == index), "")
