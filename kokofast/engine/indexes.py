"""The ifindex of every interface of a run: those that are there, and those that are chosen for what is to be made.

An interface that is made under a chosen index need not be looked up, and can be named in the same send. Two runs may
choose the same: the kernel refuses the second one, which then looks and chooses again.
"""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kokofast.plan.observed import Namespace
    from kokofast.plan.operations import CreateLink, IfRef

# Interfaces with larger numbers (someone chose them) are not counted, so that there is always room above the highest.
LARGEST_INDEX = 1 << 30


class Indexes:
    """Of all interfaces in namespaces that are known by number. Any thread may call."""

    def __init__(self, observed: Sequence[Namespace | None]) -> None:
        self.revision = 0  # goes up when an index that was chosen no longer holds
        self._lock = _thread.allocate_lock()  # not threading: see host.threads
        self._index: dict[tuple[int, str], int] = {}
        self._chosen: set[tuple[int, str]] = set()
        self._next = [2] * len(observed)  # 1 is lo
        for ns, namespace in enumerate(observed):
            if namespace is not None:
                self._learn(ns, namespace)

    def learn(self, ns: int, namespace: Namespace) -> None:
        """Takes in what is in a namespace."""
        with self._lock:
            self._learn(ns, namespace)

    def _learn(self, ns: int, namespace: Namespace) -> None:
        for interface in namespace.interfaces.values():
            self._index[ns, interface.ifname] = interface.ifindex
        self._next[ns] = max(self._next[ns], _highest(namespace) + 1)

    def of(self, reference: IfRef) -> int:
        """The ifindex that an interface of this run has, or will have."""
        return self._index[reference.ns, reference.ifname]

    def has_chosen(self, reference: IfRef) -> bool:
        """Whether this run has chosen an index for the interface, that is: may have asked for it to be made."""
        return (reference.ns, reference.ifname) in self._chosen

    def choose(self, operations: Collection[CreateLink]) -> None:
        """Chooses the indexes of the links' ends that have none yet."""
        with self._lock:
            for operation in operations:
                for reference in operation.ends:
                    key = reference.ns, reference.ifname
                    if key not in self._chosen:
                        # Free in the sender's namespace as well: kernels before 6.15 look there for what the message
                        # names.
                        floor = self._next[operation.sender] if operation.sender is not None else 0
                        index = max(self._next[reference.ns], floor)
                        self._chosen.add(key)
                        self._index[key] = index
                        self._next[reference.ns] = index + 1

    def skip(self, ns: int, namespace: Namespace, attempt: int) -> None:
        """Goes on above what is in a namespace by now, and a step further: two runs that meet would choose the same
        numbers over and over, chance parts them."""
        with self._lock:
            gap = int.from_bytes(os.urandom(2), "big") % (64 << attempt)
            self._next[ns] = max(self._next[ns], _highest(namespace) + 1 + gap)

    def drop(self, operations: Collection[CreateLink]) -> None:
        """The ends of these links are to be given other indexes."""
        with self._lock:
            self.revision += 1
            for operation in operations:
                self._chosen.difference_update((reference.ns, reference.ifname) for reference in operation.ends)


def _highest(namespace: Namespace) -> int:
    indexes = (interface.ifindex for interface in namespace.interfaces.values())
    return max((index for index in indexes if index <= LARGEST_INDEX), default=1)
