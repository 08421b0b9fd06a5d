"""Give interfaces that are to be deleted other names.

A deletion waits for RCU, some 25 ms for each link. So that new links need not wait, the old ones only give up their
names, which takes 0.2 ms, and are deleted when everything else has succeeded. Until then it can be undone.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager

from kokofast.ends import ENDS
from kokofast.ops.configure_end import KEEP_ADDRESSES, NO_SYSCTL
from kokofast.ops.dumps import look_at
from kokofast.ops.journal import twice
from kokofast.plan.ownership import APART
from kokofast.topology.problems import Problem
from kokofast.wire.link import IFF_UP, RTM_SETLINK
from kokofast.wire.message import KernelError, Request, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kokofast.host.kernel import Handle
    from kokofast.ops.executor import Executor, OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.operations import SetAside
    from kokofast.plan.plan import Plan
    from kokofast.plan.step import Step


class _Lowered:
    """The interfaces that this run has set down: kernels before 6.2 rename only such."""

    def __init__(self, _: Executor) -> None:
        self.operations: set[SetAside] = set()


def execute(executor: Executor, operations: Sequence[SetAside]) -> list[OperationError | None]:
    """Rename interfaces, with one send for each namespace, and remove their alternative names."""
    results: dict[SetAside, OperationError | None] = {}
    by_namespace: dict[int, list[SetAside]] = {}
    for operation in operations:
        by_namespace.setdefault(operation.ns, []).append(operation)
    for ns, chosen in by_namespace.items():
        handle = executor.handle(ns)
        try:
            with executor.kernel.using([handle]):
                results.update(_set_aside(executor, handle, chosen))
        except OSError as error:
            results.update(dict.fromkeys(chosen, error))
    return [results[operation] for operation in operations]


def _set_aside(
    executor: Executor, handle: Handle, operations: Sequence[SetAside]
) -> dict[SetAside, OperationError | None]:
    results: dict[SetAside, OperationError | None] = {}
    for operation in operations:
        found = look_at(executor.kernel, handle, operation.ifindex)
        if found is None or found.ifname != operation.ifname or found.group != operation.group:
            words = f"{operation.ifname} no longer exists, or is another interface now"
            results[operation] = KernelError(errno.ENODEV, words)
    chosen = [operation for operation in operations if operation not in results]
    results.update(_rename(executor, handle, chosen))
    up = [operation for operation in chosen if _is_busy(results[operation])]
    if up:
        executor.state(_Lowered).operations.update(up)
        _set_down(executor, handle, up)
        results.update(_rename(executor, handle, up))
    named = [operation for operation in chosen if operation.altnames and results[operation] is None]
    for operation in named:
        answers = executor.kernel.send(handle, ENDS["altnames"].requests(operation.ifindex, (), operation.altnames))
        results[operation] = next(filter(None, answers), None)
    return results


def _rename(
    executor: Executor, handle: Handle, operations: Sequence[SetAside]
) -> dict[SetAside, OperationError | None]:
    requests = [
        Request(
            RTM_SETLINK,
            {"index": operation.ifindex},
            {"ifname": operation.other_name, "group": operation.group | APART},
        )
        for operation in operations
    ]
    return dict(zip(operations, executor.kernel.send(handle, requests), strict=True)) if requests else {}


def _set_down(executor: Executor, handle: Handle, operations: Sequence[SetAside]) -> None:
    """Set interfaces down. Their IPv6 addresses stay, in case that they get their names back.

    Raises OSError.
    """
    before: dict[str, str] = {}
    try:
        for operation in operations:
            path = KEEP_ADDRESSES.format(operation.ifname)
            with _without_sysctl():
                before[path] = executor.kernel.write_sysctl(handle, path, "1")
        executor.kernel.send(handle, [_up(operation, False) for operation in operations])
    finally:
        for path, value in before.items():
            with _without_sysctl():
                executor.kernel.write_sysctl(handle, path, value)


@contextmanager
def _without_sysctl() -> Iterator[None]:
    """Go on where an interface has no such sysctl, as without IPv6, or is gone."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SYSCTL:
            raise


def _is_busy(answer: OperationError | None) -> bool:
    return answer is not None and answer.errno == errno.EBUSY


def _up(operation: SetAside, up: bool) -> Request:
    return Request(RTM_SETLINK, {"index": operation.ifindex, "flags": IFF_UP if up else 0, "change": IFF_UP})


def undo(applied: Applied, numbers: Iterable[int]) -> list[str]:
    """Give interfaces their names back. Then these operations do not count as done any more."""
    left: list[str] = []
    for number in numbers:
        operation: SetAside = applied.operation(number)
        applied.done.discard(number)
        refusal = twice(lambda one=operation: _give_back(applied.executor, one))  # type: ignore[misc]
        if refusal is not None:
            left.append(
                f"link {operation.title}: {operation.ifname} is called {operation.other_name}: {words_of(refusal)}"
            )
    return left


def _give_back(executor: Executor, operation: SetAside) -> OperationError | None:
    handle = executor.handle(operation.ns)
    try:
        with executor.kernel.using([handle]):
            found = look_at(executor.kernel, handle, operation.ifindex)
            if found is None or found.group not in (operation.group, operation.group | APART):
                return None  # gone
            names = ENDS["altnames"].requests(operation.ifindex, operation.altnames, ())
            for answer in executor.kernel.send(handle, names) if names else ():
                if answer is not None and answer.errno != errno.EEXIST:  # not all had gone
                    return answer
            # A refused renaming leaves the group set, which comes before it in do_setlink().
            back: dict[str, int | str] = {"group": operation.group} if found.group != operation.group else {}
            if found.ifname != operation.ifname:  # the same name would be refused, too, while it is up
                back["ifname"] = operation.ifname
            requests = [Request(RTM_SETLINK, {"index": operation.ifindex}, back)] if back else []
            if operation in executor.state(_Lowered).operations:
                requests.append(_up(operation, True))
            return next(filter(None, executor.kernel.send(handle, requests)), None) if requests else None
    except OSError as error:
        return error


def locate(applied: Applied, operation: SetAside, refusal: OperationError, obstacle: tuple[str, str]) -> Problem:
    """Blame the removal of the link."""
    return Problem(operation.place, f"{operation.title}: {words_of(refusal)}")


def describe(plan: Plan, operation: SetAside) -> Step | None:
    """Say nothing: the removal of the link is what a user sees."""
    return None
