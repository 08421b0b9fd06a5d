"""The ifindex of every interface of a run: existing ones, and chosen ones for new interfaces.

An interface with a chosen ifindex need not be looked up, and can be named in the same send. Later requests name it by
the ifindex, too, so no other interface may have it. The kernel uses small numbers, and reuses them.
So each run begins at a random number in each namespace, high above those, and no other interface gets the same one.
"""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kokofast.plan.observed import Namespace
    from kokofast.plan.operations import CreateLink, IfRef

# The random start is from here to twice this. The range keeps below 2^30, sFlow's limit; the kernel's is 2^31 - 1. It
# keeps indexes in a tree (dev_by_index), where adjacent ones share nodes.
FIRST_INDEX = 1 << 29


class Indexes:
    """The indexes of all interfaces, by namespace and name. Thread-safe."""

    def __init__(self, observed: Sequence[Namespace | None]) -> None:
        self._lock = _thread.allocate_lock()  # not threading: see host.threads
        self._index: dict[tuple[int, str], int] = {}
        self._salt: dict[tuple[int, str], int] = {}  # of chosen indexes
        self._next: dict[int, int] = {}
        for ns, namespace in enumerate(observed):
            if namespace is not None:
                self.learn(ns, namespace)

    def learn(self, ns: int, namespace: Namespace) -> None:
        """Add the interfaces in a namespace."""
        with self._lock:
            for interface in namespace.interfaces.values():
                self._index[ns, interface.ifname] = interface.ifindex

    def of(self, reference: IfRef) -> int:
        """Return the ifindex that an interface of this run has, or will have."""
        return self._index[reference.ns, reference.ifname]

    def salt_of(self, reference: IfRef) -> int:
        """Return the random byte of an interface with a chosen index."""
        return self._salt[reference.ns, reference.ifname]

    def has_chosen(self, reference: IfRef) -> bool:
        """Whether this run has chosen the interface's index, so may have created it."""
        return (reference.ns, reference.ifname) in self._salt

    def choose(self, operations: Collection[CreateLink]) -> None:
        """Choose indexes for the ends of links that have none yet."""
        salts = iter(os.urandom(sum(len(operation.makes) for operation in operations)))
        with self._lock:
            for operation in operations:
                for reference in operation.makes:
                    key = reference.ns, reference.ifname
                    if key not in self._salt:
                        start = self._next.get(reference.ns)
                        index = start if start is not None else _random_index()
                        self._salt[key] = next(salts)
                        self._index[key] = index
                        self._next[reference.ns] = index + 1

    def take(self, reference: IfRef, index: int) -> None:
        """Choose this index for an interface, as before."""
        key = reference.ns, reference.ifname
        with self._lock:
            self._index[key], self._salt[key] = index, os.urandom(1)[0]

    def drop(self, operations: Collection[CreateLink]) -> None:
        """Forget the chosen indexes of these links: choose() then begins at another random number."""
        with self._lock:
            for operation in operations:
                for reference in operation.makes:
                    self._salt.pop((reference.ns, reference.ifname), None)
                    self._next.pop(reference.ns, None)


def _random_index() -> int:
    return FIRST_INDEX + int.from_bytes(os.urandom(4), "big") % FIRST_INDEX
