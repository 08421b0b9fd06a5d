"""Find interfaces whose parent is in another namespace.

They can conflict with new links on that parent, and a look into the parent's namespace does not show them.
"""

from __future__ import annotations

import errno
import os
from itertools import chain

from kokofast.host import namespaces as host
from kokofast.kinds import KINDS
from kokofast.ops.dumps import LINKS, Patience, look_into, observe
from kokofast.plan.parents import Children, obstacle
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Set

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.ops.journal import Applied
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import IfRef
    from kokofast.topology.model import Link

    Sighted = tuple[str, Handle, Namespace]  # a namespace with its title

CHUNK = 64
QUESTIONS_MAX = 10_000  # for nsids: each namespace has its own for each other one


def on_parents(
    kernel: Kernel, parents: Mapping[int, Handle], *others: Iterable[Sighted]
) -> dict[int, list[tuple[str, Interface]]]:
    """Return, by the numbers of the parents' namespaces, the interfaces in others that have a parent there.

    Each comes with a title. Gives up after QUESTIONS_MAX.
    """
    found: dict[int, list[tuple[str, Interface]]] = {}
    questions = 0
    for title, handle, namespace in chain(*others):
        moved = [item for item in namespace.interfaces.values() if _has_parent_elsewhere(item)]
        if not moved:
            continue
        numbers: dict[int, int] = {}
        for there, other in parents.items():
            questions += 1
            try:
                with kernel.using([handle, other]):
                    nsid = kernel.nsid(handle, other)
            except (KernelError, OSError):
                continue
            if nsid is not None:
                numbers[nsid] = there
        for item in moved:
            if item.peer_nsid in numbers:
                found.setdefault(numbers[item.peer_nsid], []).append((f"{item.ifname} in {title}", item))
        if questions > QUESTIONS_MAX:
            break
    return found


def _has_parent_elsewhere(interface: Interface) -> bool:
    kind = KINDS.get(interface.kind)
    return kind is not None and kind.ends == 1 and interface.peer_nsid is not None


def everywhere(kernel: Kernel, known: Set[tuple[int, int]] = frozenset()) -> Iterator[Sighted]:
    """Yield every namespace that can be found and read, except known ones. Each is open only while it is current."""
    paths = {host.HERE: "host"}
    paths.update((host.named(name), name) for name in host.list_named())
    paths.update((host.of_process(pid), f"pid:{pid}") for pid, _ in host.list_processes())
    seen = set(known)
    fresh = [path for path in paths if _is_new(path, seen)]
    patience = Patience(LINKS)
    chunk = max(min(CHUNK, kernel.capacity), 1)
    for start in range(0, len(fresh), chunk):
        for item in kernel.open_all(fresh[start : start + chunk]):
            sight = look_into(kernel, item, lambda kernel, handle: observe(kernel, handle, patience=patience))
            if not isinstance(sight, OSError):
                yield (paths[sight[0].path], *sight)
            if not isinstance(item, OSError):
                kernel.forget(item)


def _is_new(path: str, seen: set[tuple[int, int]]) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    here = found.st_dev, found.st_ino
    is_new = here not in seen
    seen.add(here)
    return is_new


def obstacles(applied: Applied) -> dict[int, tuple[str, str]]:
    """Return (field, sentence) of what prevents a link on its parent, by the number of the refused operation.

    Leaves out operations without a visible obstacle. Raises OSError.
    """
    executor, links = applied.executor, applied.topology.links
    refused: dict[int, tuple[IfRef, Link]] = {}
    for number, refusal in applied.failures.items():
        operation = applied.plan.operations[number]
        if (
            operation.link is not None
            and operation.makes
            and isinstance(refusal, KernelError)
            and refusal.errno in (errno.EBUSY, errno.EEXIST, errno.EINVAL)
            and not refusal.path
        ):
            refused.update((number, (parent, links[operation.link])) for parent in operation.requires)
    if not refused:
        return {}
    parents = {parent.ns: executor.handle(parent.ns) for parent, _ in refused.values()}
    elsewhere = on_parents(executor.kernel, parents, everywhere(executor.kernel))
    namespaces = {sender: executor.look(sender) for sender in parents}
    children = {sender: Children(namespace, elsewhere.get(sender, ())) for sender, namespace in namespaces.items()}
    found: dict[int, tuple[str, str]] = {}
    for number, (parent, link) in refused.items():
        carrier = namespaces[parent.ns].interfaces.get(parent.ifname)
        told = obstacle(link, carrier, children[parent.ns]) if carrier is not None else None
        if told is not None:
            found[number] = told[:2]
    return found
