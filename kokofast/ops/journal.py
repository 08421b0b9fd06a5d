"""Record what a run did, for its rollback. Blocking."""

from __future__ import annotations

import errno
import os

from kokofast.host.limits import keep_files
from kokofast.ops.dumps import NO_MIRRORS
from kokofast.wire.message import words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any

    from kokofast.ops.executor import Executor, OperationError
    from kokofast.plan.observed import Namespace
    from kokofast.plan.plan import Plan
    from kokofast.plan.replacement import Replacement
    from kokofast.plan.teardown import OwnedEnd
    from kokofast.topology.model import Topology

# Bytes of memory reserved for a rollback, in case the run uses up the rest.
RESERVE = 16 << 20
RESERVE_EACH = 512  # for each operation
# Descriptors reserved for a rollback, which imports modules and opens files.
RESERVE_FILES = 4

# The namespace, interface or name is gone already.
GONE = (errno.ENODEV, errno.ENOENT)


class Applied:
    """What a run did: the numbers of the operations that were done, and the refusals of others."""

    def __init__(
        self, topology: Topology, plan: Plan, executor: Executor, replacement: Replacement | None = None
    ) -> None:
        self.topology = topology
        self.plan = plan
        self.executor = executor
        self.replacement = replacement  # what was deleted before the operations
        self.done: set[int] = set()
        self.failures: dict[int, OperationError] = {}
        self.notes: list[str] = []  # of the rollback
        # What undo() collects to be deleted together: interfaces, and namespaces (number -> name).
        self.ends: list[OwnedEnd] = []
        self.removable: dict[int, str] = {}
        # calloc(3) only maps it.
        self._reserve = bytes(RESERVE + RESERVE_EACH * len(plan.operations))
        self._files = keep_files(RESERVE_FILES)

    def spend_reserve(self) -> None:
        """Release the reserved memory and descriptors, for the rollback."""
        self._reserve = b""
        while self._files:
            os.close(self._files.pop())

    def note(self, number: int, answer: OperationError | None) -> None:
        """Record the result of an operation."""
        if answer is None:
            self.done.add(number)
        else:
            self.failures[number] = answer

    def operation(self, number: int) -> Any:
        """Return an operation by its number; the caller knows its type."""
        return self.plan.operations[number]

    def failed_links(self, stop: int | None = None) -> set[int]:
        """Return the links with an operation before stop that was refused, or not reached."""
        return {
            operation.link
            for number, operation in enumerate(self.plan.operations[:stop])
            if number not in self.done and operation.link is not None
        }


# The namespace has ended, or its path leads to another one.
ENDED = (errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ESTALE)


def look(executor: Executor, ns: int, *, mirrors: int = NO_MIRRORS, closer: Collection[str] = ()) -> Namespace | None:
    """Return what is in a namespace, None if it has ended. Raises OSError after two failures."""
    for attempts_left in (1, 0):
        try:
            return executor.look(ns, mirrors=mirrors, closer=closer)
        except OSError as error:
            if error.errno in ENDED:
                return None
            if not attempts_left:
                raise
    raise AssertionError("unreachable")


def twice(attempt: Callable[[], OperationError | None]) -> OperationError | None:
    """Try an undo again if it fails: all of them may be repeated."""
    return None if attempt() is None else attempt()


def undo_on_nodes(
    applied: Applied, numbers: Sequence[int], set_back: Callable[[Executor, Any], OperationError | None]
) -> list[str]:
    """Undo operations on nodes, the last one first; return a line for each that is left.

    Nothing is set back in namespaces that this run made: they are deleted.
    """
    left: list[str] = []
    for number in reversed(numbers):
        operation = applied.operation(number)
        if not applied.executor.makes(operation.ns):
            refusal = set_back(applied.executor, operation) and set_back(applied.executor, operation)
            if refusal is not None:
                left.append(f"{operation.node}: {words_of(refusal)}")
    return left
