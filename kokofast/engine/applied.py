"""What a run did, and how it is taken back. Blocking."""

from __future__ import annotations

import errno
import os

from kokofast.engine.observe import ALL_MIRRORS, NO_MIRRORS
from kokofast.host.limits import keep_files
from kokofast.plan.operations import AddMirror, ConfigureEnd, CreateLink, IfRef, MakeNamespace, RemoveMirror
from kokofast.plan.ownership import group_of, lab_of
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.engine.execute import Executor, Refusal
    from kokofast.engine.result import Result
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import Change
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
        # Mapped by calloc(3), and never touched.
        self._reserve = bytes(RESERVE + RESERVE_EACH * len(plan.operations))
        self._files = keep_files(RESERVE_FILES)

    def spend_reserve(self) -> None:
        """Give back the memory and the open files that were kept: what comes now must come to its end."""
        self._reserve = b""
        while self._files:
            os.close(self._files.pop())

    def note(self, number: int, answer: Refusal | None) -> None:
        """What became of an operation."""
        if answer is None:
            self.done.add(number)
        else:
            self.failures[number] = answer

    def count_failed(self, result: Result) -> None:
        """Puts into the result how many links were refused, and how many namespaces, where there are some."""
        refused = [self.plan.operations[number] for number in self.failures]
        namespaces = sum(isinstance(operation, MakeNamespace) for operation in refused)
        result.links["failed"] = len({item.link for item in refused if not isinstance(item, MakeNamespace)})
        if namespaces:
            result.namespaces["failed"] = namespaces

    def failed_links(self, stop: int | None = None) -> set[int]:
        """The links that are not as the file wants them: refused, or never reached; by the operations before stop."""
        return {
            operation.link
            for number, operation in enumerate(self.plan.operations[:stop])
            if number not in self.done and not isinstance(operation, MakeNamespace)
        }


def ends_made(applied: Applied, only: set[int] | None = None) -> tuple[list[OwnedEnd], list[str]]:
    """The interfaces that a run made, also those of which it does not know; with ``only`` those of these links. And a
    line for each link of which not even looking could tell."""
    from kokofast.plan.teardown import OwnedEnd  # only who has to delete pays

    executor = applied.executor
    lab = applied.topology.name
    group = group_of(lab)
    ends: list[OwnedEnd] = []
    left: list[str] = []
    for number, operation in enumerate(applied.plan.operations):
        if isinstance(operation, CreateLink) and (only is None or operation.link in only):
            was_made = number in applied.done
            found: list[OwnedEnd] = []
            refusal: OSError | None = None
            for reference in operation.ends:
                try:
                    if was_made or (operation in executor.begun and _came_to_be(applied, number, reference)):
                        index = executor.indexes.of(reference)
                        found.append(OwnedEnd(reference.ns, index, group, lab, operation.link))
                except OSError as error:
                    refusal = error
            ends += found  # with one of its ends the link goes
            if refusal is not None and not found:
                left.append(f"link {applied.topology.links[operation.link].title()}: {refusal}")
    return ends, left


def _came_to_be(applied: Applied, number: int, reference: IfRef) -> bool:
    # The socket failed, or the run broke off, between our request and its answer: only looking tells.
    executor = applied.executor
    if isinstance(applied.failures.get(number), KernelError) or not executor.indexes.has_chosen(reference):
        return False
    if executor.handles[reference.ns] is None:
        return False
    namespace = _look(executor, reference.ns)
    interface = namespace.interfaces.get(reference.ifname) if namespace is not None else None
    return (
        namespace is not None
        and interface is not None
        and interface.ifindex == executor.indexes.of(reference)
        and lab_of(interface, namespace, executor.boot, applied.topology.name) == applied.topology.name
    )


# A namespace that has ended, and another one under its path.
ENDED = (errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ESTALE)


def _look(executor: Executor, ns: int, *, mirrors: int = NO_MIRRORS) -> Namespace | None:
    """What is in a namespace, None when it is gone, and all that was in it. Raises OSError when that fails twice."""
    for attempts_left in (1, 0):
        try:
            return executor.look(ns, mirrors=mirrors)
        except OSError as error:
            if error.errno in ENDED:
                return None
            if not attempts_left:
                raise
    raise AssertionError("unreachable")


def _twice(attempt: Callable[[], Refusal | None]) -> Refusal | None:
    # All that is taken back can be taken back again: one failure, of a socket say, is not the end of it.
    return None if attempt() is None else attempt()


def undo_mirrors(applied: Applied, only: set[int] | None) -> list[str]:
    """Takes mirrors away that were added, and gives back those that were removed; also those that failed half-way."""
    left: list[str] = []
    # Backwards, so that a filter that comes back finds its priority free.
    for operation in reversed(applied.plan.operations):
        if not isinstance(operation, (AddMirror, RemoveMirror)) or (only is not None and operation.link not in only):
            continue
        if operation not in applied.executor.begun:
            continue
        refusal = _twice(lambda operation=operation: applied.executor.mirrors.take_back(operation))  # type: ignore[misc]
        if refusal is not None and refusal.errno not in GONE and not _mirror_is_back(applied, operation):
            end = applied.topology.links[operation.link].ends[operation.end]
            left.append(f"the mirror of {end.node}:{operation.source.ifname}: {refusal}")
    return left


def _mirror_is_back(applied: Applied, operation: AddMirror | RemoveMirror) -> bool:
    executor = applied.executor
    if executor.mirrors.leaves_bare(operation.source):
        return False
    try:
        namespace = _look(executor, operation.source.ns, mirrors=ALL_MIRRORS)
    except OSError:
        return False
    source = namespace.interfaces.get(operation.source.ifname) if namespace is not None else None
    if namespace is None or source is None:
        return True
    there = {
        mirror.direction
        for mirror in namespace.mirrors
        if mirror.belongs_to(operation.cookie, source.ifname) and mirror.direction in operation.directions
    }
    if isinstance(operation, RemoveMirror):
        return there == operation.directions
    if there or operation.mtu is None:
        return not there
    return source.mtu == executor.mirrors.mtu_without(operation, operation.mtu[1])


def undo_changes(applied: Applied, only: set[int] | None) -> list[str]:
    """Brings interfaces that were there before back to what they were; also those whose change failed half-way."""
    left: list[str] = []
    executor = applied.executor
    for operation in applied.plan.operations:
        if not isinstance(operation, ConfigureEnd) or operation.undo is None:
            continue
        if operation not in executor.begun:
            continue
        if only is not None and operation.link not in only:
            continue
        back = operation.interface, operation.undo
        refusal = _twice(lambda back=back: executor.change([back])[0])  # type: ignore[misc]
        if refusal is not None and _is_back(executor, *back):
            refusal = None
        refusal = refusal or _twice(lambda back=back: executor.set_sysctls_back(back[0]))  # type: ignore[misc]
        if refusal is not None:
            end = applied.topology.links[operation.link].ends[operation.end]
            left.append(f"{end.node}:{end.ifname}: {refusal}")
    return left


def _is_back(executor: Executor, reference: IfRef, undo: Change) -> bool:
    """Whether an interface is as it was before: what was refused may never have been done."""
    try:
        namespace = _look(executor, reference.ns)
    except OSError:
        return False
    interface = namespace.interfaces.get(reference.ifname) if namespace is not None else None
    if interface is None or interface.ifindex != executor.indexes.of(reference):
        return True
    return (
        all(_value(interface, name) == value for name, value in undo.attributes.items() if name != "af_spec")
        and undo.up in (None, interface.up)
        and all(address in interface.addresses for address in undo.add)
        and not any(address in interface.addresses for address in undo.remove)
    )


def _value(interface: Interface, attribute: str) -> object:
    named = {"ifalias": interface.alias, "address": interface.mac}
    return named[attribute] if attribute in named else getattr(interface, attribute)
