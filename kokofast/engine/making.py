"""Makes named namespaces, and takes those that another run makes at the same time. Blocking, for worker threads."""

from __future__ import annotations

import errno
import os
import time

from kokofast.endpoints.local import stale
from kokofast.engine.seen import ATTEMPTS, PAUSE_SECONDS
from kokofast.host.namespaces import DirectoryLockedError, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.engine.execute import Executor, Refusal
    from kokofast.host.kernel import Handle
    from kokofast.plan.operations import MakeNamespace
    from kokofast.wire.message import KernelError

    Operations = dict[int, MakeNamespace]

# Ten seconds: 'ip netns add' has the lock for some microseconds, but any user can hold it.
LOCK_ATTEMPTS = 1000


def make_namespaces(executor: Executor, operations: Sequence[MakeNamespace]) -> list[Refusal | None]:
    """One answer each, in order.

    A namespace that somebody else, another lab perhaps, has made since we looked is taken as it is: it is theirs. All
    names without a namespace yet are waited for together, as long as nobody stops the run; and one that is gone again,
    because the other run has failed, is made.
    """
    answers: dict[int, Refusal | None] = {}
    missing: Operations = dict(enumerate(operations))
    taken: Operations = {}
    for _ in range(ATTEMPTS):
        taken |= _make(executor, missing, answers)
        missing = _adopt(executor, taken, answers)
        if not (taken or missing) or executor.stopped():
            break
        if not missing:
            time.sleep(PAUSE_SECONDS)
    for number, operation in {**taken, **missing}.items():
        reason = stale(operation.name) or os.strerror(errno.EEXIST)
        answers[number] = OSError(errno.EEXIST, reason, named(operation.name))
    return [answers[number] for number in range(len(operations))]


def _make(executor: Executor, missing: Operations, answers: dict[int, Refusal | None]) -> Operations:
    """Makes those whose name is free; returns the others."""
    taken: Operations = {}
    if not missing:
        return taken
    try:
        made = _as_soon_as_unlocked(executor, [(operation.name, operation.alias) for operation in missing.values()])
    except OSError as error:  # not one of them, but the directory of all
        answers.update(dict.fromkeys(missing, error))
        return taken
    for (number, operation), item in zip(missing.items(), made, strict=True):
        if isinstance(item, FileExistsError):
            taken[number] = operation
        elif isinstance(item, Exception):
            answers[number] = item
        else:
            executor.handles[operation.ns] = item
            answers[number] = None
    return taken


def _as_soon_as_unlocked(executor: Executor, jobs: Sequence[tuple[str, str]]) -> list[Handle | OSError | KernelError]:
    """Kernel.make(), which is tried again while somebody else prepares the directory of all."""
    for attempts_left in reversed(range(LOCK_ATTEMPTS)):
        try:
            return executor.kernel.make(jobs)
        except DirectoryLockedError as error:
            if not attempts_left or executor.stopped():
                raise
            if attempts_left == LOCK_ATTEMPTS - ATTEMPTS and executor.kernel.waits is not None:
                executor.kernel.waits(f"another program has locked {error.filename}; waiting until it lets go")
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("unreachable")


def _adopt(executor: Executor, taken: Operations, answers: dict[int, Refusal | None]) -> Operations:
    """Takes the namespaces that are there by now, out of ``taken``; returns those whose name is gone, out of it too."""
    gone: Operations = {}
    if not taken:
        return gone
    found = executor.kernel.open_all([named(operation.name) for operation in taken.values()])
    for (number, operation), item in zip(list(taken.items()), found, strict=True):
        if isinstance(item, FileNotFoundError):
            gone[number] = taken.pop(number)
        elif not isinstance(item, OSError):
            answers[number] = error = executor.adopt(operation.ns, item)
            del taken[number]
            if error is not None and error.errno == errno.ESTALE:  # it was closed in between, and its name has gone
                gone[number] = operation
        elif item.errno != errno.EINVAL:  # that is a name without a namespace yet
            answers[number] = item
            del taken[number]
    return gone
