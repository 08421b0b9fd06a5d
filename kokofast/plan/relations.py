"""Which interfaces are peers, parents, children and ports of each other, over all namespaces that are known."""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.observed import lower_of
from kokofast.plan.operations import IfRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kokofast.plan.observed import Interface, Namespace


class Relations:
    """The interfaces of all namespaces, by their numbers, and by those of their peers, parents and masters.

    Args:
        observed: What is in the namespaces.
        has_nsid: Given (here, there, nsid), whether namespace there has this nsid in here, as far as that is known.
    """

    def __init__(self, observed: Sequence[Namespace | None], has_nsid: Callable[[int, int, int], bool]) -> None:
        self._has_nsid = has_nsid
        self._by_index: dict[int, list[tuple[int, Interface]]] = {}
        self._by_lower: dict[int, list[tuple[int, Interface]]] = {}
        self._by_master: dict[tuple[int, int], list[Interface]] = {}
        for ns, namespace in enumerate(observed):
            for interface in namespace.interfaces.values() if namespace is not None else ():
                self._by_index.setdefault(interface.ifindex, []).append((ns, interface))
                self._by_lower.setdefault(lower_of(interface), []).append((ns, interface))
                if interface.master:
                    self._by_master.setdefault((ns, interface.master), []).append(interface)

    def peer_of(self, ns: int, interface: Interface) -> tuple[tuple[int, Interface], ...]:
        """Return the other end of a pair; () if it is not known, or not for certain."""
        found = [
            (there, item)
            for there, item in self._by_index.get(interface.peer, ())
            if item.peer == interface.ifindex
            and item.kind == interface.kind
            and item is not interface
            and self._refers_to(ns, interface, there)
            and self._refers_to(there, item, ns)
        ]
        return (found[0],) if len(found) == 1 else ()

    def parent_of(self, ns: int, interface: Interface) -> IfRef | None:
        """Return the interface that another one is on, None if it is not known, or not for certain."""
        found = [
            IfRef(there, item.ifname)
            for there, item in self._by_index.get(lower_of(interface), ())
            if self._refers_to(ns, interface, there)
        ]
        return found[0] if len(found) == 1 else None

    def children_of(self, ns: int, interface: Interface) -> list[tuple[int, Interface]]:
        """Return the interfaces that are on another one, and are deleted with it."""
        return [
            (there, item)
            for there, item in self._by_lower.get(interface.ifindex, ())
            if item.kind not in KINDS or KINDS[item.kind].ends == 1
            if item is not interface and self._refers_to(there, item, ns)
        ]

    def ports_of(self, ns: int, interface: Interface) -> list[Interface]:
        """Return the interfaces that have another one as their master."""
        return self._by_master.get((ns, interface.ifindex), [])

    def _refers_to(self, here: int, interface: Interface, there: int) -> bool:
        """Whether the peer or parent of an interface is in a namespace, as far as that is known."""
        if here == there or interface.peer_nsid is None:
            return here == there and interface.peer_nsid is None
        return self._has_nsid(here, there, interface.peer_nsid)
