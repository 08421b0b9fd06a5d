"""The interfaces that exist under the names of a link: are they this link, and what can be done if they are not?"""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.diff import are_peers, fixed_differences
from kokofast.plan.link_update import PresentLink, update_link
from kokofast.plan.ownership import ALIAS_PREFIX, alias_of, group_of, lab_of
from kokofast.plan.plan import Conflict
from kokofast.topology.model import Link
from kokofast.topology.node_kinds import NODES
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kokofast.plan.link_operations import LinkOperations
    from kokofast.plan.observed import Interface
    from kokofast.plan.operations import IfRef
    from kokofast.plan.plan import Plan, Situation
    from kokofast.plan.step import FieldChange
    from kokofast.topology.model import Node, Topology

SHELL_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/:@+")


def deletion(node: Node, ifname: str) -> str:
    """Return the command that deletes a link of ours by its end in a node; "" if a shell would need quotes."""
    letter = NODES[node.kind].letter.upper()
    if not letter or not SHELL_SAFE.issuperset(node.target + ifname):
        return ""
    return f"kokofast -{letter} {node.target + ',' if node.target else ''}{ifname}"


class Existing:
    """Finds the links of a file among existing interfaces. Adds problems and conflicts to the plan."""

    def __init__(self, plan: Plan, topology: Topology, situation: Situation) -> None:
        self.plan = plan
        self.nodes = topology.nodes
        self.lab = topology.name
        self.group = group_of(self.lab)
        self.situation = situation
        self._by_alias: dict[str, list[tuple[int, Interface]]] | None = None  # see _with_alias()
        self._titles: dict[int, str] | None = None  # see _title_of()

    def find(
        self, number: int, link: Link, references: Sequence[IfRef], present: Sequence[Interface], parent: IfRef | None
    ) -> PresentLink:
        """Return what there is of a link, with its alias."""
        return PresentLink(number, link, references, present, parent, self._alias_of(link, present))

    def _alias_of(self, link: Link, present: Sequence[Interface]) -> str:
        """Return the link's alias. A link with its ends swapped in the file keeps its present alias."""
        alias = alias_of(self.lab, link)
        if any(interface.alias == alias for interface in present) or self._with_alias(alias) or not self._by_alias:
            return alias
        turned = alias_of(self.lab, Link(link.kind, link.ends[::-1]))
        return turned if self._with_alias(turned) else alias

    def is_apart(self, there: PresentLink) -> bool:
        """Return whether an end of this existing link is not where the file has it; add a problem then."""
        link, references, present, alias = there.link, there.references, there.interfaces, there.alias
        if len(present) == len(references):
            return False
        strays = [(ns, item) for ns, item in self._with_alias(alias) if item not in present]
        if not strays and {interface.alias for interface in present} != {alias}:
            return False  # there is nothing yet, or another link
        if any(map(self._is_foreign, references)):
            return False
        missing = [
            end for reference, end in zip(references, link.ends, strict=True) if self.situation.find(reference) is None
        ]
        titles = " and ".join(f"{end.node}:{end.ifname}" for end in missing)
        found = " and ".join(f"{self._title_of(ns)}:{item.ifname}" for ns, item in strays)
        ends = [(reference.ns, reference.ifname) for reference in references if self.situation.find(reference)]
        places = [*ends, *((ns, item.ifname) for ns, item in strays)]
        changes = [("interface", found or None, titles)]
        self.plan.conflicts.append(Conflict(there.number, places, missing[0].where("ifname"), changes))
        self._problem(
            missing[0].where("ifname"),
            f"{titles} of this link was renamed or moved: "
            + (f"it is {found} by now; " if found else "it has left the namespaces of the file; ")
            + f"put it back, or delete the link ({self._deletion(*places[0])}) or the whole lab (kokofast destroy "
            f"--name {self.lab}), and run batch again, or run it with --replace",
        )
        return True

    def plan_changes(self, operations: LinkOperations, there: PresentLink) -> None:
        """Add the operations that an existing link needs, or the problem that another one is there."""
        if self._is_this_link(there):
            update_link(operations, there)

    def _is_this_link(self, there: PresentLink) -> bool:
        """Return whether the present interfaces are this link; otherwise add the problems."""
        link, references, present = there.link, there.references, there.interfaces
        is_named = all(interface.alias == there.alias and interface.group == self.group for interface in present)
        if not is_named and self._has_foreign(link, references):
            return False
        aliases = {interface.alias for interface in present}
        joined = len(references) == 1 or (len(present) == 2 and are_peers(present))
        if not joined or not aliases <= {there.alias, ""}:
            self._report_other_link(there.number, link, references, aliases, there.alias)
            return False
        fixed = list(
            fixed_differences(link, present, self._parent_index(link, references[0].ns, present[0], there.parent))
        )
        self.plan.problems += [Problem(place, message) for place, message, _ in fixed]
        if fixed:
            changes = [
                (field, self._parent_of(references[0].ns, present[0]) if field == "parent" else before, after)
                for _, _, (field, before, after) in fixed
            ]
            self._conflict(there.number, references, fixed[0][0], changes)
        return not fixed

    def add_leaving(self, number: int, link: Link, place: str, other: Interface) -> None:
        """Add a conflict with an interface that prevents a new link, if it leaves: with --replace it goes first."""
        for ns, observed in enumerate(self.situation.observed):
            found = observed.interfaces.get(other.ifname) if observed is not None else None
            if found is other and (ns, found.ifindex) in self.situation.going:
                change = "link", found.alias.removeprefix(f"{ALIAS_PREFIX}{self.lab}:"), link.title()
                self.plan.conflicts.append(Conflict(number, [(ns, found.ifname)], place, [change]))

    def _has_foreign(self, link: Link, references: Sequence[IfRef]) -> bool:
        """Return whether interfaces with the names of the link are not of this lab; add the problems."""
        foreign = [
            (reference, end)
            for reference, end in zip(references, link.ends, strict=True)
            if self._is_foreign(reference)
        ]
        for reference, end in foreign:
            other = self._lab_of(reference)
            whose = {None: "not ours", "": "of another lab"}.get(other, f"of the lab {other}")
            self._problem(end.where("ifname"), f"{end.node} already has an interface {end.ifname}, {whose}")
        return bool(foreign)

    def _report_other_link(
        self, number: int, link: Link, references: Sequence[IfRef], aliases: Collection[str], alias: str
    ) -> None:
        """Add the problem that interfaces with the names of this link are ends of other links of the lab."""
        end, at = next(
            (end, (reference.ns, reference.ifname))
            for reference, end in zip(references, link.ends, strict=True)
            if self.situation.find(reference)
        )
        # If the two ends are of two links, name the other link.
        telling = sorted(filter(None, aliases), key=lambda text: (text == alias, text))
        now = telling[0] if telling else "a link without its alias yet"
        change = "link", (now.removeprefix(f"{ALIAS_PREFIX}{self.lab}:") if telling else None), link.title()
        self._conflict(number, references, end.where("ifname"), [change])
        self._problem(
            end.where("ifname"),
            f"{end.node}:{end.ifname} is there as part of another link of this lab ({now}); "
            f"delete that first ({self._deletion(*at)}, or the whole lab by kokofast destroy), "
            "give this one another name, or give --replace",
        )

    def _parent_index(self, link: Link, here: int, interface: Interface, parent: IfRef | None) -> int | None:
        """Return the ifindex that the interface shows of its parent if that is right, None for a link without one.

        -1: it does not exist, or it is in another namespace.
        """
        if parent is None:
            return None
        carrier = self.situation.find(parent)
        if carrier is not None and carrier.kind == link.kind and KINDS[link.kind].shares_parent:
            return carrier.peer if self._share_parent(here, interface, parent.ns, carrier) else -1
        if not self._is_parents_namespace(here, parent.ns, interface):
            return -1
        return carrier.ifindex if carrier is not None else -1

    def _conflict(self, number: int, references: Sequence[IfRef], place: str, changes: Sequence[FieldChange]) -> None:
        there = [(reference.ns, reference.ifname) for reference in references if self.situation.find(reference)]
        self.plan.conflicts.append(Conflict(number, there, place, changes))

    def _parent_of(self, ns: int, interface: Interface) -> str | None:
        """Return the name of the parent if it is in the same namespace; None if that is not known."""
        observed = self.situation.observed[ns]
        if interface.peer_nsid is not None or observed is None:
            return None
        index = interface.data.get("link", interface.peer)
        names = (item.ifname for item in observed.interfaces.values() if item.ifindex == index)
        name = next(names, None)
        return None if name is None else f"{self._title_of(ns)}:{name}"

    def _is_parents_namespace(self, here: int, there: int, interface: Interface) -> bool:
        """Return whether the interface's parent is in that namespace, as far as known.

        An ifindex is unique in one namespace only.
        """
        if here == there:
            return interface.peer_nsid is None
        nsids = self.situation.nsids
        return (here, there) not in nsids or interface.peer_nsid == nsids[here, there] is not None

    def _share_parent(self, here: int, interface: Interface, there: int, carrier: Interface) -> bool:
        """Return whether the parents of two interfaces may be in one namespace, as far as known."""
        if here == there:
            return interface.peer_nsid == carrier.peer_nsid
        nsids = self.situation.nsids
        if (here, there) not in nsids:
            return True
        is_there = interface.peer_nsid == nsids[here, there] is not None
        return is_there == (carrier.peer_nsid is None)

    def _is_foreign(self, reference: IfRef) -> bool:
        """Return whether there is such an interface, and not of this lab."""
        return self.situation.find(reference) is not None and self._lab_of(reference) != self.lab

    def _lab_of(self, reference: IfRef) -> str | None:
        interface = self.situation.find(reference)
        observed = self.situation.observed[reference.ns]
        if interface is None or observed is None:
            return None
        return lab_of(interface, observed, self.situation.boot, self.lab)

    def _deletion(self, ns: int, ifname: str) -> str:
        """Return the command that deletes a link of ours by one of its ends."""
        nodes = (node for name, node in self.nodes.items() if self.situation.places.get(name) == ns)
        return next(filter(None, (deletion(node, ifname) for node in nodes)), f"ip link delete {ifname}")

    def _with_alias(self, alias: str) -> list[tuple[int, Interface]]:
        """Return (namespace, interface) of each interface of this lab with the alias."""
        if self._by_alias is None:
            self._by_alias = {}
            for ns, namespace in enumerate(self.situation.observed):
                for item in namespace.interfaces.values() if namespace is not None else ():
                    if item.group == self.group and item.alias:
                        self._by_alias.setdefault(item.alias, []).append((ns, item))
        return self._by_alias.get(alias, [])

    def _title_of(self, ns: int) -> str:
        if self._titles is None:
            self._titles = {number: name for name, number in reversed([*self.situation.places.items()])}
        return self._titles[ns] or "this namespace"

    def _problem(self, place: str, message: str) -> None:
        self.plan.problems.append(Problem(place, message))
