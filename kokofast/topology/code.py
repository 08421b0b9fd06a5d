"""Topologies written in Python, as objects or as plain data: they become a Document, as files do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from kokofast.kinds import KINDS
from kokofast.topology import model
from kokofast.topology.build import build
from kokofast.topology.collector import collector_paused
from kokofast.topology.document import (
    DEPTH_MAX,
    LINKS_MAX,
    NUMBER_DIGITS,
    Document,
    InvalidNumber,
    describe,
    from_tree,
    refuse_too_many,
)
from kokofast.topology.loader import lab_name
from kokofast.topology.locations import TreePlaces
from kokofast.topology.order import ancestors, in_tree_order
from kokofast.topology.problems import Problem, Problems, TopologyError
from kokofast.topology.segments import KIND as SEGMENT
from kokofast.topology.shapes import DEFAULT_KIND
from kokofast.topology.values import quote

if TYPE_CHECKING:
    from types import CodeType
    from typing import Literal, TypeAlias, Unpack

    from kokofast.topology.fields import (
        BetweenFields,
        DefaultFields,
        EndFields,
        HostFields,
        LinkFields,
        NodeFields,
        Routing,
    )

    Made: TypeAlias = tuple[CodeType, int]  # the caller's code, and where in it

TITLE = "data"  # of plain data, in messages


class Endpoint:
    """An end of a link: ``Endpoint("r1", "eth3", mac="02:aa:c1:00:00:01")``.

    Args:
        node: The name of its node.
        interface: The name of its interface, at most 15 bytes; eth0, eth1, ... unless given.
        fields: Of docs/format.md, "Fields of ends". They override those of the link.
    """

    __slots__ = ("fields", "interface", "node")

    def __init__(self, node: str, interface: str | None = None, **fields: Unpack[EndFields]) -> None:
        self.node = node
        self.interface = interface
        self.fields = fields

    def __repr__(self) -> str:
        return f"Endpoint({self.node!r}, {self.interface!r})"

    def _plain(self, depth: int) -> object:
        names = {"node": self.node} | ({} if self.interface is None else {"interface": self.interface})
        return _plain({**names, **self.fields}, depth)


class Link:
    """A link: ``Link("a:eth0", "b:eth0", mtu=9000)``. Nothing is checked before a Topology is made of it.

    Args:
        endpoints: Each ``node[:interface[:address,...]]``, or an Endpoint. Two for a veth, any number for a link of
            type bridge, one for all other types.
        fields: Of docs/format.md: those of links, and those of ends, which hold for all of them. ``type`` is veth
            by default.
    """

    __slots__ = ("_made", "endpoints", "fields")

    def __init__(self, *endpoints: str | Endpoint, **fields: Unpack[LinkFields]) -> None:
        self.endpoints = endpoints
        self.fields = fields
        self._made = _caller()

    def __repr__(self) -> str:
        return f"Link({', '.join(map(repr, self.endpoints))})"

    def _plain(self, depth: int, default_kind: object = DEFAULT_KIND) -> object:
        name = self.fields.get("type", default_kind)
        kind = KINDS.get(name) if isinstance(name, str) else None
        ends = _plain(self.endpoints, depth)
        fields = _plain(self.fields, depth)
        assert isinstance(ends, list)
        assert isinstance(fields, dict)
        has_one = kind is not None and kind.ends == 1 and kind.name != SEGMENT and len(ends) == 1
        return {**({"endpoint": ends[0]} if has_one else {"endpoints": ends}), **fields}


class Node:
    """A node: ``Node("r1", docker="clab-r1")``. Nothing is checked before a Topology is made of it.

    Args:
        name: Its name in endpoints.
        fields: Of docs/format.md, "Nodes": exactly one of netns, path, pid, host, docker, podman and cri, and others.
    """

    __slots__ = ("_made", "fields", "name")

    def __init__(self, name: str, **fields: Unpack[NodeFields]) -> None:
        self.name = name
        self.fields = fields
        self._made = _caller()

    def __repr__(self) -> str:
        return f"Node({self.name!r})"

    def _plain(self, depth: int) -> object:
        return _plain(self.fields, depth)


class Topology(model.Topology):
    """A lab, checked: what load() and loads() return, and what can be written in Python.

    It does not change once it is made. ``name`` is the lab's name, ``nodes`` maps names to nodes, ``links`` are in the
    order they were given in.

    Args:
        name: The lab's name: letters, digits, ``.``, ``_`` and ``-``, at most 64.
        links: Links, or what a file has for them.
        nodes: Nodes; or what a file has for them, by name. Others are named network namespaces.
        defaults: Fields for all links and ends.
        routing: Routes for all nodes: "shortest-path".
        hosts: The machines of a lab that is on many, by name; each is to be split off (docs/hosts.md).
        between: How links between hosts are made.
        create: Make missing network namespaces.

    Raises:
        TopologyError: With every problem, its place (``links[3].mtu``), and file and line of the Link or Node.

    Examples:
        >>> Topology("lab", links=[Link("a:eth0", "b:eth0", mtu=9000)], nodes=[Node("a", docker="web")])
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        links: Iterable[Link | Mapping[str, object] | Iterable[object]] = (),
        nodes: Iterable[Node] | Mapping[str, Node | NodeFields] = (),
        *,
        defaults: DefaultFields | None = None,
        routing: Literal["shortest-path"] | Routing | None = None,
        hosts: Mapping[str, HostFields] | None = None,
        between: str | BetweenFields | None = None,
        create: bool = False,
    ) -> None:
        problems = Problems()
        with collector_paused():
            kind = defaults.get("type", DEFAULT_KIND) if isinstance(defaults, Mapping) else DEFAULT_KIND
            given = _listed("links", links)
            if len(given) > LINKS_MAX:
                raise refuse_too_many("links")
            plain = [link._plain(1, kind) if isinstance(link, Link) else _plain(link) for link in given]
            document = Document(plain, TreePlaces("links"))
            document.root, document.node_at = "", _node_at
            made = _Made(given)
            document.nodes = made.take_nodes(nodes, problems)
            document.in_order = made.in_order
            if defaults is not None and not isinstance(defaults, Mapping):
                problems.append(Problem("defaults", f"must be an object, not {describe(_plain(defaults))}"))
            else:
                document.defaults = _plain(defaults)
            document.routing = _plain(routing)
            document.hosts, document.between = _plain(hosts), _plain(between)
            document.name, document.name_given = _plain(name), True
            lab = lab_name(document, "", "", None, "", problems)
            _take(self, build(document, lab, create, problems))


def public_topology(built: model.Topology) -> Topology:
    """Return the topology as the class that the library shows."""
    topology = Topology.__new__(Topology)
    _take(topology, built)
    return topology


def _take(topology: Topology, built: model.Topology) -> None:
    for slot in model.Topology.__slots__:
        setattr(topology, slot, getattr(built, slot))


def load_tree(data: object, *, name: str | None, create: bool) -> model.Topology:
    """Build a topology of what a JSON file may have, as Python has it. Raises TopologyError."""
    problems = Problems()
    with collector_paused():
        document = from_tree(_plain(data), problems, TITLE, lambda _: {})
        if len(document.links) > LINKS_MAX:
            raise refuse_too_many(TITLE)
        return build(document, lab_name(document, "", TITLE, name, "name=", problems), create, problems)


class _Made:
    """Where in the caller's code links and nodes were made."""

    def __init__(self, links: Iterable[object]) -> None:
        self._links = [link._made if isinstance(link, Link) else None for link in links]
        self._nodes: dict[str, Made | None] = {}

    def take_nodes(
        self, nodes: Iterable[Node] | Mapping[str, Node | NodeFields], problems: Problems
    ) -> dict[str, object]:
        """Return the nodes as a file has them."""
        if isinstance(nodes, Mapping):
            for name, node in nodes.items():
                self._nodes[_key(name)] = node._made if isinstance(node, Node) else None
            found = _plain(nodes)
            assert isinstance(found, dict)
            return found
        table: dict[str, object] = {}
        for node in _listed("nodes", nodes):
            if not isinstance(node, Node):
                raise TypeError(f"nodes are Node objects, or a dict by name, not {describe(_plain(node))}")
            name = _key(node.name)
            if name in table:
                problems.append(Problem(_node_at(name, ""), "a node of this name is there already"))
            table[name], self._nodes[name] = node._plain(1), node._made
        return table

    def in_order(self, problems: Iterable[Problem]) -> list[Problem]:
        """Sort problems into the order of the data, nodes first, and set their positions."""
        made = dict(
            chain(
                ((_node_at(name, ""), where) for name, where in self._nodes.items()),
                ((f"links[{number}]", where) for number, where in enumerate(self._links)),
            )
        )
        numbers = {place: (number, 0) for number, place in enumerate(made)}
        ordered = in_tree_order(problems, lambda _: numbers)
        for problem in ordered:
            places = [place for place in ancestors(problem.place) if place in made]
            if places and (where := made[places[-1]]) is not None:
                problem.position = _position(*where)
        return ordered


def _node_at(name: str, path: str) -> str:
    return f"nodes[{quote(name)}]{'' if path[:1] in ('', '[') else '.'}{path}"


def _caller() -> Made:
    # Only what costs nothing: the line is computed when a message needs it.
    frame = sys._getframe(2)
    return frame.f_code, frame.f_lasti


def _position(code: CodeType, offset: int) -> str:
    line = next((line for begin, end, line in code.co_lines() if begin <= offset < end), None)
    file = code.co_filename if code.co_filename.isprintable() else quote(code.co_filename)[1:-1]
    return f"{file}:{line or code.co_firstlineno}"


def _listed(name: str, value: Iterable[object]) -> list[object]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} are a list, not {describe(_plain(value))}")
    return list(value)


class _NotPlain:
    """A value that no file can hold; only its type is shown: its own repr() may be long, or fail."""

    def __init__(self, value: object) -> None:
        self._name = type(value).__name__

    def __repr__(self) -> str:
        return f"an object of type {self._name}"


def _plain(value: object, depth: int = 0) -> object:
    """Return a copy in dicts, lists, texts and numbers as a JSON file gives them. Raises TopologyError, TypeError."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if depth > DEPTH_MAX:
        raise TopologyError([Problem(TITLE, "nested too deeply, or contains itself")])
    if isinstance(value, str):
        return str.__str__(value)  # of a subclass, such as an enum's
    if isinstance(value, int):
        number = int(value)
        return number if -(10**NUMBER_DIGITS) < number < 10**NUMBER_DIGITS else InvalidNumber(hex(number))
    if isinstance(value, float):
        return InvalidNumber(repr(value))
    if isinstance(value, Mapping):
        return {_key(key): _plain(child, depth + 1) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child, depth + 1) for child in value]
    if isinstance(value, (Link, Node, Endpoint)):
        return value._plain(depth + 1)
    return _NotPlain(value)


def _key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, int):  # as json.dumps() does
        return str(int(key))
    raise TypeError(f"keys of a topology are texts, not {describe(_plain(key))}")
