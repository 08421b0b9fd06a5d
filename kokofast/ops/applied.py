"""What a run did, and how it is taken back. Blocking."""

from __future__ import annotations

import errno
import os

from kokofast.host.limits import keep_files
from kokofast.ops.observe import NO_MIRRORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kokofast.ops.executor import Executor, Refusal
    from kokofast.plan.observed import Namespace
    from kokofast.plan.plan import Plan
    from kokofast.plan.teardown import OwnedEnd
    from kokofast.topology.model import Topology

# Memory that is kept from the run, in bytes: for what has to be taken back when there is no more of it.
RESERVE = 16 << 20
RESERVE_EACH = 512  # of an operation
# Open files that are kept from the run: a rollback has modules to import, and the files of its own to open.
RESERVE_FILES = 4

# The namespace or the interface is gone already, or nothing stands under the name: what was wanted.
GONE = (errno.ENODEV, errno.ENOENT)


class Applied:
    """What a run did, in a form that it can take back: the numbers of the operations that were done."""

    def __init__(self, topology: Topology, plan: Plan, executor: Executor) -> None:
        self.topology = topology
        self.plan = plan
        self.executor = executor
        self.done: set[int] = set()
        self.failures: dict[int, Refusal] = {}
        self.notes: list[str] = []  # of the rollback
        # What undo() leaves to be deleted together: interfaces, and namespaces (number -> name).
        self.ends: list[OwnedEnd] = []
        self.removable: dict[int, str] = {}
        # Mapped by calloc(3), and never touched.
        self._reserve = bytes(RESERVE + RESERVE_EACH * len(plan.operations))
        self._files = keep_files(RESERVE_FILES)

    def spend_reserve(self) -> None:
        """Give back the memory and the open files that were kept: what comes now must come to its end."""
        self._reserve = b""
        while self._files:
            os.close(self._files.pop())

    def note(self, number: int, answer: Refusal | None) -> None:
        """Take down what became of an operation."""
        if answer is None:
            self.done.add(number)
        else:
            self.failures[number] = answer

    def operation(self, number: int) -> Any:
        """Return the operation of a number, to whoever knows its type."""
        return self.plan.operations[number]

    def failed_links(self, stop: int | None = None) -> set[int]:
        """Return the links of which an operation before stop was refused, or never reached."""
        return {
            operation.link
            for number, operation in enumerate(self.plan.operations[:stop])
            if number not in self.done and operation.link is not None
        }


# A namespace that has ended, and another one under its path.
ENDED = (errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ESTALE)


def look(executor: Executor, ns: int, *, mirrors: int = NO_MIRRORS) -> Namespace | None:
    """Return what is in a namespace; None when that has gone. Raises OSError when looking fails twice."""
    for attempts_left in (1, 0):
        try:
            return executor.look(ns, mirrors=mirrors)
        except OSError as error:
            if error.errno in ENDED:
                return None
            if not attempts_left:
                raise
    raise AssertionError("unreachable")


def twice(attempt: Callable[[], Refusal | None]) -> Refusal | None:
    """Try once more what failed: all that is taken back can be taken back again."""
    return None if attempt() is None else attempt()
