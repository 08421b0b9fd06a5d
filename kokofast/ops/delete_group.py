"""Delete the interfaces of a lab in a namespace.

By now an interface may be gone, and its ifindex be that of another one. So each deletion checks the marks first, and is
by group if possible, which the kernel itself compares.
"""

from __future__ import annotations

import errno

from kokofast.ops.dumps import look_at, members_of
from kokofast.ops.routes import routes_in_the_way
from kokofast.plan.observed import Namespace
from kokofast.plan.ownership import APART, lab_of
from kokofast.wire.link import RTM_DELLINK, RTM_SETLINK
from kokofast.wire.message import KernelError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.ops.executor import Executor, OperationError
    from kokofast.plan.observed import Interface
    from kokofast.plan.operations import DeleteGroup


# GONE: the interface was deleted, or moved away. ANOTHER: the interface with its ifindex has other marks.
GONE = KernelError(errno.ENODEV)
ANOTHER = KernelError(errno.ESTALE, "its ifindex is that of another interface now")

FEW = 3  # interfaces that are deleted one by one
CHUNK = 1000  # interfaces that are deleted at once

# The send is longer than the socket allows, or there is no memory for it or for its answers.
_TOO_MUCH = (errno.EMSGSIZE, errno.ENOBUFS)


def execute(executor: Executor, operation: DeleteGroup) -> list[tuple[int, OperationError | None]]:
    """Delete the links; return (link, refusal or None) for each. The refusal is GONE if its interface is not there.

    Try failures once more: after an error of the socket it is not known what was done.
    """
    answers = _execute(executor, operation)
    if all(refusal is None or refusal is GONE for _, refusal in answers):
        return answers
    again = _execute(executor, operation)
    return [(link, _better(first, second)) for (link, first), (_, second) in zip(answers, again, strict=True)]


def _better(first: OperationError | None, second: OperationError | None) -> OperationError | None:
    # If it is gone at the second attempt, the first may have deleted it.
    return None if first is None or second is None else GONE if GONE in (first, second) else first


def _execute(executor: Executor, operation: DeleteGroup) -> list[tuple[int, OperationError | None]]:
    try:
        handle = executor.handle(operation.ns)
        with executor.kernel.using([handle], to_ask=True):
            return _delete_group(executor, handle, operation)
    except OSError as error:
        return [(link, error) for link in operation.links]


def _delete_group(
    executor: Executor, handle: Handle, operation: DeleteGroup, *, with_routes: bool = True
) -> list[tuple[int, OperationError | None]]:
    kernel = executor.kernel
    namespace = Namespace(handle.identity)

    def is_ours(item: Interface) -> bool:
        lab = lab_of(item, namespace, executor.boot, operation.lab)
        return lab is not None and operation.lab in (None, lab) and item.group & ~APART == group

    group = operation.group & ~APART
    members = members_of(kernel, handle, group)
    wanted = {item.ifindex for item in members if is_ours(item)}.intersection(operation.ifindexes)
    answers: dict[int, OperationError | None] = {}
    if len(wanted) < len(members) or not executor.is_alone or any(item.group != group for item in members):
        if len(wanted) > FEW:
            answers = _delete_apart(kernel, handle, group, sorted(wanted), is_ours)
        for index in wanted - answers.keys():
            answer = delete_one(kernel, handle, index, is_ours)
            answers[index] = GONE if answer is ANOTHER else answer
    elif wanted:
        routes = routes_in_the_way(kernel, handle, wanted) if with_routes else []
        try:
            # In one send: a kill must not leave links without their routes.
            *_, answer = kernel.send(handle, [*routes, Request(RTM_DELLINK, {}, {"group": group})], whole=True)
        except OSError as error:
            if not routes or error.errno not in _TOO_MUCH:
                raise
            return _delete_group(executor, handle, operation, with_routes=False)
        answers = dict.fromkeys(wanted, _or_gone(answer))
    return [(link, answers.get(index, GONE)) for index, link in zip(operation.ifindexes, operation.links, strict=True)]


def _delete_apart(
    kernel: Kernel, handle: Handle, group: int, wanted: Sequence[int], is_ours: Callable[[Interface], bool]
) -> dict[int, OperationError | None]:
    """Delete many interfaces of a group that has others: move them to a group of their own, and delete that.

    So the kernel waits for RCU once, not once an interface. The new group counts as a mark: destroy finds what a run
    that is killed in between leaves. Return what became of each, nothing of those to be deleted one by one.
    """
    apart = group | APART
    answers: dict[int, OperationError | None] = {}
    for start in range(0, len(wanted), CHUNK):
        chosen = wanted[start : start + CHUNK]
        moved = kernel.send(handle, [Request(RTM_SETLINK, {"index": index}, {"group": apart}) for index in chosen])
        numbers = set(chosen)
        there = [item for item in members_of(kernel, handle, group) if item.group == apart]
        are_chosen = all(item.ifindex in numbers and is_ours(item) for item in there)
        refusal: KernelError | None = None
        if there and are_chosen:
            (refusal,) = kernel.send(handle, [Request(RTM_DELLINK, {}, {"group": apart})])
        if not are_chosen or refusal is not None:
            # A stranger's interface that got one of the numbers: its old group is not known.
            back = {item.ifindex: group if is_ours(item) else 0 for item in there if item.ifindex in numbers}
            kernel.send(handle, [Request(RTM_SETLINK, {"index": index}, {"group": old}) for index, old in back.items()])
            return answers
        answers |= {index: _or_gone(answer) for index, answer in zip(chosen, moved, strict=True)}
    return answers


def delete_one(
    kernel: Kernel, handle: Handle, ifindex: int, is_ours: Callable[[Interface], bool]
) -> OperationError | None:
    """Delete an interface if it is still ours; otherwise return GONE or ANOTHER. Raises OSError."""
    found = look_at(kernel, handle, ifindex)
    if found is None:
        return GONE
    if not is_ours(found):
        return ANOTHER
    (answer,) = kernel.send(handle, [Request(RTM_DELLINK, {"index": ifindex})])
    return _or_gone(answer)


def _or_gone(answer: OperationError | None) -> OperationError | None:
    return GONE if answer is not None and answer.errno == errno.ENODEV else answer
