"""State that the operations of a run share: the kernel, its namespaces by number, the indexes of interfaces.

Blocking. Several worker threads call it at a time, with different operations.
"""

from __future__ import annotations

import _thread
import errno

from kokofast.ops.dumps import NO_MIRRORS, look_at, observe
from kokofast.ops.ifindex import Indexes
from kokofast.ops.registry import by_kind, home_of
from kokofast.plan.operations import IfRef, MarkRef, NsRef
from kokofast.plan.ownership import first_address, is_our_group
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Any, TypeVar

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.plan.operations import Change, Operation
    from kokofast.wire.message import Request

    OperationError = KernelError | OSError
    T = TypeVar("T")


class Executor:
    """The state of a run. is_alone: the lab's lock is held, so no other run makes links of the lab."""

    def __init__(
        self,
        kernel: Kernel,
        handles: list[Handle | None],
        observed: Sequence[Namespace | None],
        *,
        is_alone: bool = True,
    ) -> None:
        self.kernel = kernel
        self.handles = handles
        self.boot = kernel.boot_id()
        self.begun: set[Operation] = set()
        self.encoded: dict[Change, list[Request]] = {}  # the requests of changes that were encoded ahead
        self.adopted: dict[int, Namespace] = {}  # namespaces that others made before this run could
        self.is_alone = is_alone
        self.observed = observed
        self.stopped: Callable[[], bool] = lambda: False  # whether operations should stop waiting
        self.indexes = Indexes(observed)
        self._states: dict[object, Any] = {}
        self._lock = _thread.allocate_lock()  # not threading: see host.threads
        self.sysctls: dict[tuple[int, str], dict[str, str]] = {}  # interface -> changed sysctls and their old values

    def state(self, kind: Callable[[Executor], T]) -> T:
        """Return this run's object of a class, made at its first use."""
        with self._lock:
            if kind not in self._states:
                self._states[kind] = kind(self)
            found: T = self._states[kind]
            return found

    def handle(self, ns: int) -> Handle:
        """Return the namespace of this number, which must exist."""
        handle = self.handles[ns]
        assert handle is not None, f"namespace {ns} is used before it is made"
        return handle

    def makes(self, ns: int) -> bool:
        """Whether this run makes the namespace: then a rollback removes it."""
        return self.observed[ns] is None and ns not in self.adopted

    def resolve(self, reference: object) -> int | bytes:
        """Return the value of a typed reference."""
        if isinstance(reference, IfRef):
            return self.indexes.of(reference)
        if isinstance(reference, NsRef):
            fd = self.handle(reference.ns).fd
            if fd is None:  # never while the namespace is held by using()
                raise OSError(errno.EBADF, "the namespace is not open")
            return fd
        if isinstance(reference, MarkRef):
            ns = reference.interface.ns
            place = self.boot, self.handle(ns).identity, reference.group, self.indexes.of(reference.interface)
            return first_address(place, self.indexes.salt_of(reference.interface), reference.lab)
        raise TypeError(f"{reference!r} is neither a number nor a reference")

    def execute(self, operations: Sequence[Operation]) -> list[OperationError | None]:
        """Carry out operations of one type that are ready; return one result each, in order."""
        self.begun.update(operations)
        return home_of(operations[0]).execute(self, operations)

    def encode_ahead(self, operations: Iterable[Operation]) -> None:
        """Encode ahead the requests of operations whose module can, so that execute() has only to send them."""
        for chosen in by_kind(operations).values():
            ahead = getattr(home_of(chosen[0]), "encode_ahead", None)
            if ahead is not None:
                ahead(self, chosen)

    def adopt(self, ns: int, handle: Handle) -> OSError | None:
        """Use a namespace that another program made as the one of this number."""
        try:
            with self.kernel.using([handle]):
                namespace = observe(self.kernel, handle)
        except OSError as error:
            return error
        self.indexes.learn(ns, namespace)
        with self._lock:
            self.handles[ns] = handle
            self.adopted[ns] = namespace
        return None

    def replaced(self, handle: Handle, reference: IfRef, *, ours: bool = False) -> KernelError | None:
        """Return a refusal if an interface's ifindex is that of another one now. Raises OSError.

        Interfaces made by this run need no check: their indexes are their own (see ops.ifindex).
        """
        if self.indexes.has_chosen(reference):
            return None
        found = look_at(self.kernel, handle, self.indexes.of(reference))
        if found is not None and found.ifname == reference.ifname and (is_our_group(found.group) or not ours):
            return None
        return KernelError(errno.ENODEV, f"{reference.ifname} no longer exists, or is another interface now")

    def look(self, ns: int, *, mirrors: int = NO_MIRRORS, closer: Collection[str] = ()) -> Namespace:
        """Return what is in a namespace now; see observe(). Raises OSError."""
        handle = self.handle(ns)
        with self.kernel.using([handle]):
            return observe(self.kernel, handle, mirrors=mirrors, closer=closer)
