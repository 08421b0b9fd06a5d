"""The interfaces as they will be after the plan that has been made so far."""

from __future__ import annotations

from kokofast.kinds import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.plan.observed import Interface
    from kokofast.plan.operations import AddMirror, IfRef
    from kokofast.plan.parents import Children
    from kokofast.plan.plan import Situation
    from kokofast.topology.model import Link


class PlannedEnd:
    """An end of a planned link: the link's number and alias, the end's position in it, the present interface."""

    __slots__ = ("alias", "interface", "link", "number", "position", "reference")

    def __init__(
        self, number: int, position: int, link: Link, reference: IfRef, interface: Interface | None, alias: str
    ) -> None:
        self.alias = alias
        self.number = number
        self.position = position
        self.link = link
        self.reference = reference
        self.interface = interface


class Prospect:
    """The present interfaces and what the plan changes. MTUs are in bytes."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.ends: list[PlannedEnd] = []
        self._children: dict[int, Children] = {}
        self._altnames: dict[int, dict[str, str]] = {}
        self._ready: dict[tuple[int, str], int] = {}
        self._mtus: dict[tuple[int, str], int | None] = {}
        self._mtus_at_first: dict[tuple[int, str], int] = {}
        self._caps: dict[tuple[int, str], int] = {}
        self.lowered_peers: dict[tuple[int, str], PlannedEnd] = {}
        self._other_ends: dict[tuple[int, str], PlannedEnd] | None = None
        self.widest: dict[tuple[int, str], tuple[int, Link]] | None = None  # see plan.mirrors
        self.mirrors_last: list[tuple[AddMirror, tuple[int, ...]]] = []  # each with the operations it waits for

    def altnames(self, ns: int) -> dict[str, str]:
        """Return the altnames in a namespace, each with the name of its interface."""
        if ns not in self._altnames:
            namespace = self.situation.observed[ns]
            interfaces = namespace.interfaces.values() if namespace is not None else ()
            self._altnames[ns] = {name: item.ifname for item in interfaces for name in item.altnames}
        return self._altnames[ns]

    def children(self, ns: int) -> Children:
        """Return an index of the interfaces in a namespace that may conflict with new ones."""
        if ns not in self._children:
            from kokofast.plan.parents import Children  # needed for links with parents only

            self._children[ns] = Children(self.situation.observed[ns], self.situation.elsewhere.get(ns, ()))
        return self._children[ns]

    def exists(self, reference: IfRef) -> bool:
        """Whether the interface exists or is planned."""
        return self.situation.find(reference) is not None or (reference.ns, reference.ifname) in self._ready

    def completes(self, operation: int, reference: IfRef) -> None:
        """Record the operation after which the interface is complete."""
        self._ready[reference.ns, reference.ifname] = operation

    def ready(self, references: Iterable[IfRef]) -> tuple[int, ...]:
        """Return the operations of the plan after which these interfaces are complete."""
        places = [(reference.ns, reference.ifname) for reference in references]
        return tuple(sorted({self._ready[place] for place in places if place in self._ready}))

    def sets_mtu(self, reference: IfRef, mtu: int | None, *, at_first: int | None = None) -> None:
        """Record the MTU that the plan gives an interface, None if not known.

        at_first is its MTU until the last operations.
        """
        self._mtus[reference.ns, reference.ifname] = mtu
        if at_first is not None:
            self._mtus_at_first[reference.ns, reference.ifname] = at_first

    def mtu_at_first(self, reference: IfRef) -> int | None:
        """Return the MTU before the last operations, None if not known."""
        found = self._mtus_at_first.get((reference.ns, reference.ifname))
        return found if found is not None else self.mtu_of(reference)

    def lowers(self, reference: IfRef, cap: int) -> None:
        """Record that a mirror lowers the MTU of an interface to cap."""
        place = reference.ns, reference.ifname
        self._caps[place] = min(cap, self._caps.get(place, cap))

    def other_end(self, reference: IfRef) -> PlannedEnd | None:
        """Return the other end of a planned link. Call it when all links are planned."""
        if self._other_ends is None:
            self._other_ends = {}
            first: dict[int, PlannedEnd] = {}
            for end in self.ends:
                other = first.setdefault(end.number, end)
                if other is not end:
                    self._other_ends[other.reference.ns, other.reference.ifname] = end
                    self._other_ends[end.reference.ns, end.reference.ifname] = other
        return self._other_ends.get((reference.ns, reference.ifname))

    def cap_of(self, reference: IfRef) -> int | None:
        """Return the MTU that mirrors lower an interface to, None for none."""
        return self._caps.get((reference.ns, reference.ifname))

    def width_of(self, reference: IfRef) -> int | None:
        """Return the final MTU, lowered by mirrors; None if not known."""
        mtu, cap = self.mtu_of(reference), self.cap_of(reference)
        return mtu if mtu is None or cap is None else min(mtu, cap)

    def mtu_on(self, link: Link, parent: IfRef | None) -> int | None:
        """Return the largest MTU of the link on its parent, the kernel's default for it; None if not known."""
        mtu = self.mtu_of(parent) if parent is not None else None
        if mtu is None:
            return None
        kind = KINDS[link.kind]
        return min(max(mtu - kind.overhead(link), kind.mtu[0]), kind.mtu[1])

    def mtu_of(self, reference: IfRef) -> int | None:
        """Return the planned or present MTU, not lowered by mirrors; None if not known."""
        if (reference.ns, reference.ifname) in self._mtus:
            return self._mtus[reference.ns, reference.ifname]
        interface = self.situation.find(reference)
        return interface.mtu if interface is not None else None
