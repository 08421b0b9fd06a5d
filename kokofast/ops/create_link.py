"""Create links, by one RTM_NEWLINK each."""

from __future__ import annotations

import errno

from kokofast.kinds import KINDS
from kokofast.ops.dumps import observe
from kokofast.ops.journal import look
from kokofast.plan.ownership import group_of, lab_of
from kokofast.topology.problems import Problem
from kokofast.wire.link import RTM_NEWLINK
from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, KernelError, Request, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.ops.executor import Executor, OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.operations import CreateLink, IfRef
    from kokofast.plan.plan import Plan
    from kokofast.plan.step import Step

INDEX_ATTEMPTS = 8


def execute(executor: Executor, operations: Sequence[CreateLink]) -> list[OperationError | None]:
    """Create links; choose another ifindex if one has been taken meanwhile."""
    places = {reference.ns for operation in operations for reference in operation.makes}
    places |= {operation.sender for operation in operations if operation.sender is not None}
    results: dict[int, OperationError | None] = {}
    waiting = dict(enumerate(operations))
    try:
        with executor.kernel.using([executor.handle(ns) for ns in sorted(places)]):
            for attempt in range(INDEX_ATTEMPTS):
                if attempt:
                    waiting = _look_again(executor, waiting)
                answers = _send_creations(executor, list(waiting.values()))
                results.update(zip(waiting, answers, strict=True))
                waiting = {number: operations[number] for number in waiting if _index_taken(results[number])}
                if not waiting:
                    break
    except OSError as error:
        # The result of this attempt is not known, also for links that an earlier attempt refused.
        results.update(dict.fromkeys(waiting, error))
    return [results[number] for number in range(len(operations))]


def _send_creations(executor: Executor, operations: Sequence[CreateLink]) -> list[OperationError | None]:
    by_sender: dict[int | None, list[int]] = {}
    for number, operation in enumerate(operations):
        by_sender.setdefault(operation.sender, []).append(number)
    executor.indexes.choose(operations)
    results: list[OperationError | None] = [None] * len(operations)
    for sender, numbers in by_sender.items():
        requests = [_request(operations[number]) for number in numbers]
        answers: Sequence[OperationError | None]
        try:
            handle = executor.kernel.scratch() if sender is None else executor.handle(sender)
            answers = executor.kernel.send(handle, requests, executor.resolve)
        except OSError as error:  # concerns the links of this sender only
            answers = [error] * len(numbers)
        for number, answer in zip(numbers, answers, strict=True):
            results[number] = answer
    return results


def _look_again(executor: Executor, waiting: Mapping[int, CreateLink]) -> dict[int, CreateLink]:
    # Choose other indexes, but only for links whose names are free.
    taken: set[tuple[int, str]] = set()
    for ns in sorted({reference.ns for operation in waiting.values() for reference in operation.makes}):
        namespace = observe(executor.kernel, executor.handle(ns))
        taken.update((ns, ifname) for ifname in namespace.interfaces)
    again = {
        number: operation
        for number, operation in waiting.items()
        if not any((reference.ns, reference.ifname) in taken for reference in operation.makes)
    }
    executor.indexes.drop(again.values())
    return again


def _request(operation: CreateLink) -> Request:
    attributes = dict(operation.attributes)
    header = attributes.pop("header")
    return Request(RTM_NEWLINK, header, attributes, NLM_F_CREATE | NLM_F_EXCL)  # type: ignore[arg-type]


def _index_taken(result: OperationError | None) -> bool:
    # EEXIST may also mean the name. Since Linux 6.15 a taken index gives EEXIST for the first end, EBUSY for the peer.
    return isinstance(result, KernelError) and result.errno in (errno.EBUSY, errno.EEXIST)


def undo(applied: Applied, numbers: Sequence[int]) -> list[str]:
    """Find the interfaces to delete. Look for those whose creation got no answer."""
    from kokofast.plan.teardown import OwnedEnd

    executor = applied.executor
    lab = applied.topology.name
    group = group_of(lab)
    left: list[str] = []
    for number in numbers:
        operation: CreateLink = applied.operation(number)
        was_made = number in applied.done
        found: list[OwnedEnd] = []
        refusal: OSError | None = None
        for reference in operation.makes:
            try:
                if was_made or _came_to_be(applied, number, reference):
                    index = executor.indexes.of(reference)
                    found.append(OwnedEnd(reference.ns, index, group, lab, operation.link))
            except OSError as error:
                refusal = error
        applied.ends += found  # one end is enough to delete the link
        if refusal is not None and not found:
            left.append(f"link {applied.topology.links[operation.link].title()}: {words_of(refusal)}")
    return left


def _came_to_be(applied: Applied, number: int, reference: IfRef) -> bool:
    # When the socket failed, or the run broke off, between request and answer, look.
    executor = applied.executor
    if isinstance(applied.failures.get(number), KernelError) or not executor.indexes.has_chosen(reference):
        return False
    if executor.handles[reference.ns] is None:
        return False
    namespace = look(executor, reference.ns)
    interface = namespace.interfaces.get(reference.ifname) if namespace is not None else None
    return (
        namespace is not None
        and interface is not None
        and interface.ifindex == executor.indexes.of(reference)
        and lab_of(interface, namespace, executor.boot, applied.topology.name) == applied.topology.name
    )


def locate(applied: Applied, operation: CreateLink, refusal: OperationError, obstacle: tuple[str, str]) -> Problem:
    """Find the field of the link, its kind or its parent that was refused; obstacle is (field, sentence) if known."""
    from kokofast.ops.refusals import FIELDS, path_of

    link = applied.topology.links[operation.link]
    kind = KINDS[link.kind]
    path, text = path_of(refusal), words_of(refusal)
    known, sentence = obstacle
    cause = kind.cause(link, refusal.errno or 0)
    if path and path[-1] in FIELDS:
        place = link.ends[1 if "peer" in path else 0].where(FIELDS[path[-1]])
    elif known:
        place = link.where(known)
    elif _lacks_kind(refusal):
        place = link.where("type")
    elif not path and cause:
        place = link.where("parent")
    else:
        place = link.where(kind.field_of(path[-1])) if path else link.place
    cause = sentence or cause
    if cause and isinstance(refusal, KernelError) and (sentence or not refusal.message):
        text = f"{text}: {cause}"
    if _lacks_kind(refusal):
        text = f"this kernel has no {link.kind} links (try: modprobe {kind.module})"
    return Problem(place, f"{link.title()}: {text}")


def _lacks_kind(refusal: OperationError) -> bool:
    # rtnl_newlink(); before Linux 4.20 without a message.
    return (
        isinstance(refusal, KernelError)
        and refusal.errno == errno.EOPNOTSUPP
        and refusal.message in ("Unknown device type", "")
        and not refusal.path
    )


def describe(plan: Plan, operation: CreateLink) -> Step:
    """Describe the link by its kind and its ends."""
    from kokofast.plan.step import Step

    link = plan.topology.links[operation.link]
    if operation.link in plan.replaced:
        return Step("replace", "link", link, source=link.place, changes=tuple(plan.replaced[operation.link]))
    return Step("create", "link", link, source=link.place)
