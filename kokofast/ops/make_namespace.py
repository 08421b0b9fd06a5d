"""Make named namespaces, or use those that another run makes at the same time."""

from __future__ import annotations

import errno
import os
import time

from kokofast.endpoints.local import stale
from kokofast.host.namespaces import NETNS_DIR, claimed, named
from kokofast.host.netns_dir import DirectoryLockedError
from kokofast.ops.dumps import ATTEMPTS, PAUSE_SECONDS, look_into
from kokofast.topology.node_kinds import NODES
from kokofast.topology.problems import Problem
from kokofast.wire.message import words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.host.kernel import Handle
    from kokofast.ops.executor import Executor, OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.operations import MakeNamespace
    from kokofast.plan.plan import Plan
    from kokofast.plan.step import Step
    from kokofast.wire.message import KernelError

    Operations = dict[int, MakeNamespace]

# Ten seconds: 'ip netns add' holds the lock for some microseconds, but any user can hold it longer.
LOCK_ATTEMPTS = 1000

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def execute(executor: Executor, operations: Sequence[MakeNamespace]) -> list[OperationError | None]:
    """Make namespaces; return one result each, in order.

    Use a namespace that another program, such as another run, has made since the survey: it stays theirs. Wait for
    names that have no namespace yet, all together, unless the run is stopped. Make one that is gone again, because the
    other run failed.
    """
    answers: dict[int, OperationError | None] = {}
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


def _make(executor: Executor, missing: Operations, answers: dict[int, OperationError | None]) -> Operations:
    """Make those with free names; return the others."""
    taken: Operations = {}
    if not missing:
        return taken
    try:
        made = _as_soon_as_unlocked(executor, [(operation.name, operation.alias) for operation in missing.values()])
    except OSError as error:  # of NETNS_DIR
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
    """Call Kernel.make(), again while another program holds the lock of NETNS_DIR."""
    for attempts_left in reversed(range(LOCK_ATTEMPTS)):
        try:
            return executor.kernel.make(jobs)
        except DirectoryLockedError as error:
            if not attempts_left or executor.stopped():
                raise
            if attempts_left == LOCK_ATTEMPTS - ATTEMPTS and executor.kernel.waits is not None:
                executor.kernel.waits(f"another program has locked {error.filename}; waiting until it is unlocked")
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("unreachable")


def _adopt(executor: Executor, taken: Operations, answers: dict[int, OperationError | None]) -> Operations:
    """Use the namespaces in ``taken`` that exist now, and return those whose name is gone; remove both from it."""
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
            if error is not None and error.errno == errno.ESTALE:  # closed in between, and its name is gone
                gone[number] = operation
        elif item.errno != errno.EINVAL:  # EINVAL: a name without a namespace yet
            answers[number] = item
            del taken[number]
    return gone


def undo(applied: Applied, numbers: Sequence[int]) -> list[str]:
    """Find the namespaces to remove, and remove claims of those that could not be made.

    If an answer was lost (a thread died because memory was short), a namespace with the lab's mark is ours: there was
    no such name before.
    """
    executor = applied.executor
    left: list[str] = []
    for number in numbers:
        operation: MakeNamespace = applied.operation(number)
        if number in applied.done:
            if operation.ns not in executor.adopted:
                applied.removable[operation.ns] = operation.name
            continue
        if number not in applied.failures:
            sight = look_into(executor.kernel, executor.kernel.open_all([named(operation.name)])[0])
            if not isinstance(sight, OSError) and sight[1].loopback_alias == operation.alias:
                executor.handles[operation.ns] = sight[0]
                applied.removable[operation.ns] = operation.name
        if claimed(named(operation.name)) == operation.alias:
            try:
                executor.kernel.remove(operation.name, None)
            except OSError as error:
                left.append(f"namespace {operation.name}: {error.strerror or error}")
    return left


def locate(applied: Applied, operation: MakeNamespace, refusal: OperationError, obstacle: tuple[str, str]) -> Problem:
    """Find the first node of that name."""
    text = words_of(refusal)
    found = applied.topology.nodes.values()
    nodes = [node for node in found if NODES[node.kind].is_named and node.target == operation.name]
    hint = "; this needs root, or CAP_DAC_OVERRIDE" if refusal.errno == errno.EACCES else ""
    if refusal.errno in _FULL and "sysctl" not in text:  # the file system's error, not a limit of the kernel
        text = f"{NETNS_DIR}: {text}"
    return Problem(nodes[0].place if nodes else "", f"namespace {operation.name} cannot be made: {text}{hint}")


def describe(plan: Plan, operation: MakeNamespace) -> Step:
    """Describe the namespace by its name."""
    from kokofast.plan.step import Step

    return Step("create", "namespace", name=operation.name)
