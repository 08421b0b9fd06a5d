"""The plan, and the situation that it is made from."""

from __future__ import annotations

from kokofast.plan.operations import CreateLink, IfRef
from kokofast.plan.ownership import is_marked
from kokofast.topology.model import CALLER, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from typing import TypeVar

    from kokofast.plan.node_change import Router
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import Operation, SetAside
    from kokofast.plan.step import FieldChange
    from kokofast.topology.model import Link, Topology
    from kokofast.topology.problems import Problem

    T = TypeVar("T")

CREATE, REPLACE, UPDATE, UNCHANGED = "create", "replace", "update", "unchanged"


class Conflict:
    """Interfaces of the lab that are in the way of a link, and that batch changes only by replacing them.

    Attributes:
        link: The number of the link in the file.
        interfaces: (namespace, interface) of those in the way.
        place: The place of the problem in the file.
        changes: What differs, as the file has it.
    """

    __slots__ = ("changes", "interfaces", "link", "place")

    def __init__(
        self, link: int, interfaces: Sequence[tuple[int, str]], place: str, changes: Sequence[FieldChange]
    ) -> None:
        self.link = link
        self.interfaces = interfaces
        self.place = place
        self.changes = changes


class Plan:
    """The operations of a run.

    Attributes:
        topology: The topology, whose links the operations refer to by number.
        operations: What to do; nothing when there are problems.
        after: after[i] are the operations that operations[i] waits for.
        last: The first operation that cannot be undone exactly, and may be refused. Runs after the earlier ones.
        final: The first operation that cannot be undone, and is not refused. Runs after the earlier ones.
        actions: For each link of the topology CREATE, REPLACE, UPDATE or UNCHANGED.
        problems: Why the topology cannot be applied.
        conflicts: Those of the problems that --replace solves.
        replaced: By the numbers of links that are replaced what differs, as the file has it.
        rest: The operations of a plan without the links that have problems.
        notes: Lines for the user.
    """

    __slots__ = (
        "actions",
        "after",
        "conflicts",
        "final",
        "last",
        "notes",
        "operations",
        "problems",
        "replaced",
        "rest",
        "routes",
        "topology",
    )

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.last = self.final = 0
        self.operations: list[Operation] = []
        self.rest: list[Operation] = []
        self.after: list[tuple[int, ...]] = []
        self.actions: list[str] = []
        self.problems: list[Problem] = []
        self.conflicts: list[Conflict] = []
        self.replaced: dict[int, list[FieldChange]] = {}
        self.notes: list[str] = []
        self.routes: dict[int, int] = {}  # how many the nodes of each namespace are to have

    def stages(self) -> list[tuple[int, int]]:
        """Return (first, end) of each stage: operations that may run together."""
        return [(0, self.last), (self.last, self.final), (self.final, len(self.operations))]

    def add(self, operation: Operation, after: tuple[int, ...] = ()) -> int:
        """Append an operation and return its number."""
        self.operations.append(operation)
        self.after.append(after)
        return len(self.operations) - 1

    def of_type(self, type: type[T]) -> Iterator[tuple[int, T]]:
        """Yield the operations of a type, each with its number."""
        for number, operation in enumerate(self.operations):
            if isinstance(operation, type):
                yield number, operation

    def send_from_ends(self, observed: Sequence[Namespace | None]) -> None:
        """Create new links from the namespace of their first end instead of an empty one, if possible.

        It is possible if that namespace has no interface with the name of either end. An empty namespace takes longer
        to make and end than the link.
        """
        for _, operation in self.of_type(CreateLink):
            if operation.sender is None:
                first = operation.makes[0].ns
                namespace = observed[first]
                if namespace is not None and not any(end.ifname in namespace.interfaces for end in operation.makes):
                    operation.sender = first


class Situation:
    """What the plan is made from. Namespaces are numbers.

    Attributes:
        places: The namespace of each node.
        observed: What is in each namespace; None for one that does not exist yet.
        boot: The kernel's boot id; see ownership.first_address().
        nsids: The nsid of the second namespace in the first (None: it has none), if asked for.
        elsewhere: For each namespace the interfaces in others, with titles, whose parents are in it.
        leaving: Operations that rename interfaces first; observed has the new names.
        going: (namespace, ifindex) of interfaces that are deleted when all operations have succeeded.
    """

    __slots__ = ("boot", "elsewhere", "going", "leaving", "nsids", "observed", "places", "routers")

    def __init__(
        self,
        places: Mapping[str, int],
        observed: Sequence[Namespace | None],
        boot: str,
        nsids: Mapping[tuple[int, int], int | None] | None = None,
    ) -> None:
        self.nsids = nsids if nsids is not None else {}
        self.elsewhere: Mapping[int, Sequence[tuple[str, Interface]]] = {}
        self.routers: Mapping[int, Router] = {}
        self.leaving: Sequence[SetAside] = ()
        self.going: Collection[tuple[int, int]] = ()
        self.places = places
        self.observed = observed
        self.boot = boot

    def find(self, reference: IfRef) -> Interface | None:
        """Return the interface, None if it does not exist."""
        observed = self.observed[reference.ns]
        return observed.interfaces.get(reference.ifname) if observed is not None else None

    def parent_of(self, link: Link) -> IfRef | None:
        """Return the link's parent interface, None for a link without one."""
        parent = link.parent
        return None if parent is None else IfRef(self.places[parent[0]], parent[1])


def parents_elsewhere(topology: Topology, situation: Situation) -> tuple[set[tuple[int, int]], set[int]]:
    """Return the namespaces to look up for parents.

    Returns:
        (namespace, namespace of the parent) of existing links whose parent is in another one by the file: an ifindex
        alone does not say whether it is. And the namespaces of the parents of new links.
    """
    found: set[tuple[int, int]] = set()
    new: set[int] = set()
    for link in topology.links:
        parent = link.parent
        if parent is None:
            continue
        here, there = situation.places[link.ends[0].node], situation.places[parent[0]]
        observed = situation.observed[here]
        if observed is None or link.ends[0].ifname not in observed.interfaces:
            new.add(there)
        elif here != there:
            found.add((here, there))
    return found, new


def nodes_of(topology: Topology) -> dict[str, Node]:
    """Return the nodes of the topology, and the caller's namespace if a parent is in it."""
    nodes = dict(topology.nodes)
    for link in topology.links:
        parent = link.parent
        if parent is not None and parent[0] == CALLER:
            nodes[CALLER] = Node(CALLER, "host", "", place=link.where("parent"))
            break
    return nodes


def sets_nodes(topology: Topology) -> bool:
    """Whether the topology sets addresses of loopbacks, routes or sysctls."""
    return topology.routing is not None or any(
        node.addresses or node.routes or node.sysctls for node in topology.nodes.values()
    )


def nodes_to_look_at(topology: Topology, situation: Situation) -> list[int]:
    """Return the namespaces of which to read routes and the like: the lab sets some there, or has set some."""
    is_set = sets_nodes(topology)
    numbers = dict.fromkeys(situation.places[name] for name in topology.nodes)
    return [
        number
        for number in numbers
        if situation.observed[number] is not None and (is_set or is_marked(situation.observed[number], topology.name))
    ]
