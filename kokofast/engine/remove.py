"""Carries out one removal: of the interfaces of a lab in a namespace, or of a namespace. Blocking, for worker threads.

What was seen some time ago may be gone, and its ifindex be another interface's. So each deletion looks first, at the
marks; and where it can, it is by group, which the kernel itself compares.
"""

from __future__ import annotations

import errno

from kokofast.engine.observe import look_at, members_of, observe_marks
from kokofast.engine.routes import routes_in_the_way
from kokofast.plan.observed import Namespace
from kokofast.plan.operations import RemoveNamespace
from kokofast.plan.ownership import lab_of, namespace_alias
from kokofast.wire.link import RTM_DELLINK
from kokofast.wire.message import KernelError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.engine.execute import Executor, Refusal
    from kokofast.engine.observe import Patience
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Interface
    from kokofast.plan.operations import DeleteGroup, Removal


# There is no such interface: it was deleted, or moved to another namespace. And: it has other marks, or its number is
# another one's by now.
GONE = KernelError(errno.ENODEV)
ANOTHER = KernelError(errno.ESTALE, "another interface has its number by now")

# Of a send: it is longer than the socket may send, or there was no memory for it or for its answers.
_TOO_MUCH = (errno.EMSGSIZE, errno.ENOBUFS)


def remove(executor: Executor, operation: Removal) -> list[tuple[int, Refusal | None]]:
    """Carries out one removal. (link, why not or None) of each link it covers; a removal of a namespace has the
    link -1. GONE says of a link that its interface is not there: it was deleted, or moved away. What fails is tried
    once more: a socket that failed leaves open what was done."""
    answers = _remove(executor, operation)
    if all(refusal is None or refusal is GONE for _, refusal in answers):
        return answers
    again = _remove(executor, operation)
    return [(link, _better(first, second)) for (link, first), (_, second) in zip(answers, again, strict=True)]


def _better(first: Refusal | None, second: Refusal | None) -> Refusal | None:
    """What two attempts come to. What is gone at the second was perhaps deleted by the first, whose answer was lost."""
    return None if first is None or second is None else GONE if GONE in (first, second) else first


def _remove(executor: Executor, operation: Removal) -> list[tuple[int, Refusal | None]]:
    try:
        handle = executor.handle(operation.ns)
        with executor.kernel.using([handle], to_ask=not isinstance(operation, RemoveNamespace)):
            if isinstance(operation, RemoveNamespace):
                executor.kernel.remove(operation.name, handle.identity)
                return [(-1, None)]
            return _delete_group(executor, handle, operation)
    except OSError as error:
        links = (-1,) if isinstance(operation, RemoveNamespace) else operation.links
        return [(link, error) for link in links]


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
    """Deletes the interface with an index, when it is ours still; GONE or ANOTHER when it is not. Raises OSError."""
    found = look_at(kernel, handle, ifindex)
    if found is None:
        return GONE
    if not is_ours(found):
        return ANOTHER
    (answer,) = kernel.send(handle, [Request(RTM_DELLINK, {"index": ifindex})])
    return _or_gone(answer)


def _or_gone(answer: Refusal | None) -> Refusal | None:
    return GONE if answer is not None and answer.errno == errno.ENODEV else answer


def give_back_if_used(executor: Executor, operation: RemoveNamespace, lab: str, patience: Patience) -> OSError | None:
    """Gives a namespace that has just lost its name the name back when another lab has links in it, and says so.

    used_by_others() has looked before. Who has made links since is seen now, and who makes some later finds at the end
    of his run that the name is gone.
    """
    handle = executor.handle(operation.ns)
    try:
        with executor.kernel.using([handle], to_ask=not executor.kernel.watches(handle)):
            executor.kernel.reach(handle)
            reason = used_by_others(executor, handle, lab, patience)
            if reason is not None and reason.errno == errno.ENODEV:  # it has ended
                return None
            if reason is not None:
                executor.kernel.give_name(operation.name, handle, namespace_alias(lab))
            return reason
    except OSError as error:
        return error


def used_by_others(executor: Executor, handle: Handle, lab: str, patience: Patience) -> OSError | None:
    """Why a namespace, held by using(), is to keep its name: another lab has links in it, or nobody can look into it.
    ENODEV: it has ended."""
    try:
        seen = observe_marks(executor.kernel, handle, lambda _: True, patience)
    except OSError as error:
        return error
    labs = {lab_of(interface, seen, executor.boot, lab) for interface in seen.interfaces.values()} - {None, lab}
    if not labs:
        return None
    named = sorted(filter(None, labs))
    whose = f"the lab {named[0]}" if named else "another lab"
    return OSError(errno.EBUSY, f"links of {whose} are in it")
