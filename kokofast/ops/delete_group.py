"""Delete the interfaces of a lab in a namespace.

What was seen some time ago may be gone, and its ifindex be another interface's. So each deletion looks first, at the
marks; and where it can, it is by group, which the kernel itself compares.
"""

from __future__ import annotations

import errno

from kokofast.ops.observe import look_at, members_of
from kokofast.ops.routes import routes_in_the_way
from kokofast.plan.observed import Namespace
from kokofast.plan.ownership import lab_of
from kokofast.wire.link import RTM_DELLINK
from kokofast.wire.message import KernelError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.ops.executor import Executor, Refusal
    from kokofast.plan.observed import Interface
    from kokofast.plan.operations import DeleteGroup


# There is no such interface: it was deleted, or moved to another namespace. And: it has other marks, or its number is
# another one's by now.
GONE = KernelError(errno.ENODEV)
ANOTHER = KernelError(errno.ESTALE, "another interface has its number by now")

# Of a send: it is longer than the socket may send, or there was no memory for it or for its answers.
_TOO_MUCH = (errno.EMSGSIZE, errno.ENOBUFS)


def execute(executor: Executor, operation: DeleteGroup) -> list[tuple[int, Refusal | None]]:
    """Delete the links; return (link, why not or None) of each.

    GONE says of a link that its interface is not there: it was deleted, or moved away. What fails is tried once more: a
    socket that failed leaves open what was done.
    """
    answers = _execute(executor, operation)
    if all(refusal is None or refusal is GONE for _, refusal in answers):
        return answers
    again = _execute(executor, operation)
    return [(link, _better(first, second)) for (link, first), (_, second) in zip(answers, again, strict=True)]


def _better(first: Refusal | None, second: Refusal | None) -> Refusal | None:
    # What is gone at the second attempt was perhaps deleted by the first, whose answer was lost.
    return None if first is None or second is None else GONE if GONE in (first, second) else first


def _execute(executor: Executor, operation: DeleteGroup) -> list[tuple[int, Refusal | None]]:
    try:
        handle = executor.handle(operation.ns)
        with executor.kernel.using([handle], to_ask=True):
            return _delete_group(executor, handle, operation)
    except OSError as error:
        return [(link, error) for link in operation.links]


def _delete_group(
    executor: Executor, handle: Handle, operation: DeleteGroup, *, with_routes: bool = True
) -> list[tuple[int, Refusal | None]]:
    kernel = executor.kernel
    namespace = Namespace(handle.identity)

    def is_ours(item: Interface) -> bool:
        lab = lab_of(item, namespace, executor.boot, operation.lab)
        return lab is not None and operation.lab in (None, lab) and item.group == operation.group

    members = members_of(kernel, handle, operation.group)
    wanted = {item.ifindex for item in members if is_ours(item)}.intersection(operation.ifindexes)
    answers: dict[int, Refusal | None] = {}
    if len(wanted) < len(members) or not executor.is_alone:
        for index in wanted:
            answer = delete_one(kernel, handle, index, is_ours)
            answers[index] = GONE if answer is ANOTHER else answer
    elif wanted:
        routes = routes_in_the_way(kernel, handle, wanted) if with_routes else []
        try:
            # By one send: a kill must not leave the links there and their routes gone.
            *_, answer = kernel.send(
                handle, [*routes, Request(RTM_DELLINK, {}, {"group": operation.group})], whole=True
            )
        except OSError as error:
            if not routes or error.errno not in _TOO_MUCH:
                raise
            return _delete_group(executor, handle, operation, with_routes=False)
        answers = dict.fromkeys(wanted, _or_gone(answer))
    return [(link, answers.get(index, GONE)) for index, link in zip(operation.ifindexes, operation.links, strict=True)]


def delete_one(kernel: Kernel, handle: Handle, ifindex: int, is_ours: Callable[[Interface], bool]) -> Refusal | None:
    """Delete the interface with an index, when it is ours still; GONE or ANOTHER when it is not. Raises OSError."""
    found = look_at(kernel, handle, ifindex)
    if found is None:
        return GONE
    if not is_ours(found):
        return ANOTHER
    (answer,) = kernel.send(handle, [Request(RTM_DELLINK, {"index": ifindex})])
    return _or_gone(answer)


def _or_gone(answer: Refusal | None) -> Refusal | None:
    return GONE if answer is not None and answer.errno == errno.ENODEV else answer
