"""The ifindex of every interface of a run: those that are there, and those that are chosen for what is to be made.

An interface that is made under a chosen index need not be looked up, and can be named in the same send. An index is
also what requests name an interface by, some time after a look at it: it must not be another one's by then. The kernel
hands out small numbers, and again those that others chose and gave back. So each run chooses at random where it begins
in a namespace, high above those; what is gone leaves a number that nobody else comes to have.
"""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kokofast.plan.observed import Namespace
    from kokofast.plan.operations import CreateLink, IfRef

# From here to twice this, and a run's own interfaces further. Below 2^30, which is what sFlow has room for; the kernel
# takes any up to 2^31 - 1, and keeps them in a tree (dev_by_index), where neighbours share what they cost.
FIRST_INDEX = 1 << 29


class Indexes:
    """Of all interfaces in namespaces that are known by number. Any thread may call."""

    def __init__(self, observed: Sequence[Namespace | None]) -> None:
        self._lock = _thread.allocate_lock()  # not threading: see host.threads
        self._index: dict[tuple[int, str], int] = {}
        self._salt: dict[tuple[int, str], int] = {}  # of those that were chosen
        self._next: dict[int, int] = {}
        for ns, namespace in enumerate(observed):
            if namespace is not None:
                self.learn(ns, namespace)

    def learn(self, ns: int, namespace: Namespace) -> None:
        """Take in what is in a namespace."""
        with self._lock:
            for interface in namespace.interfaces.values():
                self._index[ns, interface.ifname] = interface.ifindex

    def of(self, reference: IfRef) -> int:
        """Return the ifindex that an interface of this run has, or will have."""
        return self._index[reference.ns, reference.ifname]

    def salt_of(self, reference: IfRef) -> int:
        """Return a random byte of an interface that has_chosen()."""
        return self._salt[reference.ns, reference.ifname]

    def has_chosen(self, reference: IfRef) -> bool:
        """Whether this run has chosen an index for the interface, that is: may have asked for it to be made."""
        return (reference.ns, reference.ifname) in self._salt

    def choose(self, operations: Collection[CreateLink]) -> None:
        """Chooses the indexes of the links' ends that have none yet."""
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

    def drop(self, operations: Collection[CreateLink]) -> None:
        """Have other indexes chosen for the ends of these links, elsewhere."""
        with self._lock:
            for operation in operations:
                for reference in operation.makes:
                    self._salt.pop((reference.ns, reference.ifname), None)
                    self._next.pop(reference.ns, None)


def _random_index() -> int:
    return FIRST_INDEX + int.from_bytes(os.urandom(4), "big") % FIRST_INDEX
