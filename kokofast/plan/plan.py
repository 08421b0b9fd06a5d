"""What a plan is, and what it is made from."""

from __future__ import annotations

from kokofast.topology.model import CALLER, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import IfRef, Operation
    from kokofast.topology.model import Topology
    from kokofast.topology.problems import Problem

CREATE, UPDATE, UNCHANGED = "create", "update", "unchanged"


class Plan:
    """operations[i] may start when every operation in after[i] is done. actions says for each link of the topology
    what becomes of it: CREATE, UPDATE or UNCHANGED. With problems there are no operations. notes are for the user.
    Operations from number ``last`` on cannot be taken back as they were, and are for when the others are done; those
    from ``final`` on for when nothing is left that may be refused. Both wait for earlier stages only. topology is what
    the numbers of links mean, and rest what there would be to do but for the problems."""

    __slots__ = ("actions", "after", "final", "last", "notes", "operations", "problems", "rest", "topology")

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.last = self.final = 0
        self.operations: list[Operation] = []
        self.rest: list[Operation] = []
        self.after: list[tuple[int, ...]] = []
        self.actions: list[str] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def stages(self) -> list[tuple[int, int]]:
        """(first, end) of the operations that may be carried out together, one stage behind the other."""
        return [(0, self.last), (self.last, self.final), (self.final, len(self.operations))]

    def add(self, operation: Operation, after: tuple[int, ...] = ()) -> int:
        self.operations.append(operation)
        self.after.append(after)
        return len(self.operations) - 1


class Situation:
    """What is decided on. places maps each node's name to the number of its namespace; observed has what is
    in it, None for one that is to be made; boot is the kernel's boot id (see ownership.first_address). nsids has the
    number by which the first namespace calls the second (None: it has none), where that was asked for. elsewhere has,
    by the number of a namespace, what of others is on an interface in it, each with a name for people."""

    __slots__ = ("boot", "elsewhere", "nsids", "observed", "places")

    def __init__(
        self,
        places: Mapping[str, int],
        observed: Sequence[Namespace | None],
        boot: str,
        nsids: Mapping[tuple[int, int], int | None] | None = None,
    ) -> None:
        self.nsids = nsids if nsids is not None else {}
        self.elsewhere: Mapping[int, Sequence[tuple[str, Interface]]] = {}
        self.places = places
        self.observed = observed
        self.boot = boot

    def find(self, reference: IfRef) -> Interface | None:
        """The interface, when it is there."""
        observed = self.observed[reference.ns]
        return observed.interfaces.get(reference.ifname) if observed is not None else None


def parents_elsewhere(topology: Topology, situation: Situation) -> tuple[set[tuple[int, int]], set[int]]:
    """(namespace, namespace of the parent) of the links that are there and whose parent is to be in another one: an
    index alone does not tell whether it is. And the namespaces of the parents of links that are to be made."""
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
    """All namespaces that a plan has to know: the nodes of the topology, and the caller's where a parent is there."""
    nodes = dict(topology.nodes)
    for link in topology.links:
        parent = link.parent
        if parent is not None and parent[0] == CALLER:
            nodes[CALLER] = Node(CALLER, "host", "", place=link.where("parent"))
            break
    return nodes
