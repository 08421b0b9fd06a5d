"""Carries out one removal: of an interface, of a group of them, or of a namespace. Blocking, for worker threads."""

from __future__ import annotations

import errno

from kokofast.engine.observe import members_of
from kokofast.engine.routes import routes_in_the_way
from kokofast.plan.operations import DeleteGroup, DeleteInterface, RemoveNamespace
from kokofast.wire.link import RTM_DELLINK
from kokofast.wire.message import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.engine.applied import Applied
    from kokofast.engine.execute import Executor, Refusal
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.operations import Removal


# Of a send: it is longer than the socket may send, or there was no memory for it or for its answers.
_TOO_MUCH = (errno.EMSGSIZE, errno.ENOBUFS)


def remove(executor: Executor, operation: Removal) -> list[tuple[int, Refusal | None]]:
    """Carries out one removal. (link, why not or None) of each link it covers; a removal of a namespace has the
    link -1. What is gone already counts as removed. What fails is tried once more: a socket that failed leaves open
    what was done."""
    answers = _remove(executor, operation)
    if all(refusal is None for _, refusal in answers):
        return answers
    if isinstance(operation, RemoveNamespace):
        again = _remove(executor, operation)
        return again if again[0][1] is None else answers
    return _remove_again(executor, operation, answers)


def _remove_again(
    executor: Executor, operation: DeleteInterface | DeleteGroup, answers: list[tuple[int, Refusal | None]]
) -> list[tuple[int, Refusal | None]]:
    # With a look first: someone else may have taken the index of an interface that is gone.
    indexes = operation.ifindexes if isinstance(operation, DeleteGroup) else (operation.ifindex,)
    try:
        now = executor.look(operation.ns)
    except OSError:
        return answers
    there = {item.ifindex for item in now.interfaces.values() if item.group == operation.group}
    found: list[tuple[int, Refusal | None]] = []
    for index, (link, refusal) in zip(indexes, answers, strict=True):
        if refusal is None or index not in there:
            found.append((link, None))
        else:
            again = _remove(executor, DeleteInterface(operation.ns, index, operation.group, link))
            found.append((link, again[0][1]))
    return found


def _remove(executor: Executor, operation: Removal) -> list[tuple[int, Refusal | None]]:
    try:
        if isinstance(operation, RemoveNamespace):
            return [(-1, _remove_namespace(executor, operation))]
        handle = executor.handle(operation.ns)
        with executor.kernel.using([handle]):
            if isinstance(operation, DeleteInterface):
                return [(operation.link, _delete(executor.kernel, handle, operation.ifindex))]
            return _delete_group(executor.kernel, handle, operation)
    except OSError as error:
        links = operation.links if isinstance(operation, DeleteGroup) else (getattr(operation, "link", -1),)
        return [(link, error) for link in links]


def _delete(kernel: Kernel, handle: Handle, ifindex: int) -> Refusal | None:
    (answer,) = kernel.send(handle, [Request(RTM_DELLINK, {"index": ifindex})])
    return None if answer is None or answer.errno == errno.ENODEV else answer


def _delete_group(
    kernel: Kernel, handle: Handle, operation: DeleteGroup, *, with_routes: bool = True
) -> list[tuple[int, Refusal | None]]:
    members = members_of(kernel, handle, operation.group)
    if not members <= set(operation.ifindexes):
        pairs = zip(operation.ifindexes, operation.links, strict=True)
        return [(link, _delete(kernel, handle, ifindex)) for ifindex, link in pairs]
    routes = routes_in_the_way(kernel, handle, members) if with_routes else []
    try:
        # By one send: a kill must not leave the links there and their routes gone.
        *_, answer = kernel.send(handle, [*routes, Request(RTM_DELLINK, {}, {"group": operation.group})], whole=True)
    except OSError as error:
        if not routes or error.errno not in _TOO_MUCH:
            raise
        return _delete_group(kernel, handle, operation, with_routes=False)
    refusal = None if answer is None or answer.errno == errno.ENODEV else answer
    return [(link, refusal) for link in operation.links]


def _remove_namespace(executor: Executor, operation: RemoveNamespace) -> Refusal | None:
    handle = executor.handle(operation.ns)
    with executor.kernel.using([handle], to_ask=False):
        executor.kernel.remove(operation.name, handle.identity)
    return None


def take_back_at_once(applied: Applied) -> list[str]:
    """Takes back all that a run made of links, one after the other. A line for everything that could not be taken
    back."""
    from kokofast.engine.applied import GONE, ends_made, undo_changes, undo_mirrors
    from kokofast.plan.teardown import plan_teardown

    left = undo_mirrors(applied, None) + undo_changes(applied, None)
    ends, unseen = ends_made(applied)
    left += unseen
    deletions, _ = plan_teardown(ends, {})
    for deletion in deletions:
        for link, refusal in remove(applied.executor, deletion):
            if refusal is not None and refusal.errno not in GONE:
                left.append(f"link {applied.topology.links[link].title()}: {refusal}")
    return left
