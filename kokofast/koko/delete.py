"""Delete one interface of ours (-N, -D ...), and the mirror filters of its link at both ends."""

from __future__ import annotations

import errno

from kokofast.drivers import LabLocked
from kokofast.engine.result import UNCHANGED, Result
from kokofast.engine.survey import survey_nodes
from kokofast.host import namespaces as host
from kokofast.ops.delete_group import ANOTHER, GONE, delete_one
from kokofast.ops.dumps import LINKS, Patience, look_into, observe
from kokofast.ops.mirror_filters import remove_everywhere
from kokofast.plan.ownership import ALIAS_PREFIX, cookie_of, lab_of
from kokofast.topology.node_kinds import NODES
from kokofast.topology.problems import Problem
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kokofast.drivers import Driver
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.koko.grammar import Delete
    from kokofast.ops.executor import OperationError
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.topology.model import Node


async def delete(
    driver: Driver, kernel: Kernel, action: Delete, waits: Callable[[str | None], Callable[[], object] | None]
) -> tuple[list[str], list[Problem], OperationError | None]:
    """Delete the interface, under the lock of its lab.

    waits(lab) returns what to call while another run holds the lock; lab is None, all labs, for an interface whose
    lab is not known.

    Returns:
        Notes; the problems, with which nothing was touched; and why the deletion was refused.
    """
    found = await _find(driver, kernel, action)
    if not isinstance(found, tuple):
        return [], found, None
    lab = found[3] or None
    async with LabLocked(driver, lab, waits=waits(lab)) as notes:
        found = await _find(driver, kernel, action)  # another run may have had the lab until now
        if not isinstance(found, tuple):
            return notes, found, None
        with driver.shielded():
            return notes, [], await _delete(driver, kernel, *found)


async def _delete(
    driver: Driver, kernel: Kernel, handle: Handle, namespace: Namespace, interface: Interface, lab: str
) -> OperationError | None:
    places = [handle]
    other = _other_end(kernel, interface, namespace)
    if other is not None:
        places.append(other)
    with kernel.using([handle]):
        refusal = delete_one(kernel, handle, interface.ifindex, lambda now: _is_same(now, interface))
    if refusal is ANOTHER:
        words = "it was renamed or changed since it was looked at, and stays; run the command again with its new name"
        return KernelError(errno.ESTALE, words)
    if refusal is GONE:
        place = await _moved_to(driver, kernel, interface, lab)
        words = f"it was moved to {place} since it was looked at, and stays; run the command again for that namespace"
        refusal = None if place is None else KernelError(errno.ENODEV, words)
    if refusal is not None:
        return refusal
    # The link first: a filter without its target only passes the traffic on, a link without its filter is half made.
    refusals = [_remove_mirrors(kernel, place, cookie_of(lab, interface.alias)) for place in places if interface.alias]
    return next((refusal for refusal in refusals if refusal is not None), None)


async def _moved_to(driver: Driver, kernel: Kernel, interface: Interface, lab: str) -> str | None:
    """Return the title of the namespace that an interface was moved to; None when it was deleted."""
    from kokofast.engine.scene import scan  # slow to import, rarely needed

    scene = await scan(kernel, driver, lab=lab or None, to_remove=True)
    marks = interface.ifindex, interface.alias
    places = [item.ns for item in scene.interfaces if (item.interface.ifindex, item.interface.alias) == marks]
    return scene.titles[places[0]] if places else None


def _is_same(now: Interface, before: Interface) -> bool:
    marks = ((item.ifname, item.group, item.alias, item.mac) for item in (now, before))
    return len(set(marks)) == 1


async def _find(
    driver: Driver, kernel: Kernel, action: Delete
) -> tuple[Handle, Namespace, Interface, str] | list[Problem]:
    """Return the interface, its namespace and its lab; or the problems."""
    nodes = {action.node.name: action.node}
    survey = await survey_nodes(driver, kernel, nodes, observe, Result("", UNCHANGED), from_file=False)
    if survey.problems:
        return survey.problems
    handle, namespace = survey.handles[0], survey.observed[0]
    assert handle is not None
    assert namespace is not None
    interface = namespace.interfaces.get(action.ifname)
    if interface is None:
        return [Problem(action.place, f"there is no interface {action.ifname}")]
    lab = lab_of(interface, namespace, kernel.boot_id())
    if lab is None:
        sentence = (
            f"{action.ifname} was not made by kokofast, so it stays; to delete it anyway: "
            f"{_by_hand(action.node, handle, action.ifname)}"
        )
        return [Problem(action.place, sentence)]
    return handle, namespace, interface, lab


def _by_hand(node: Node, handle: Handle, ifname: str) -> str:
    from shlex import quote

    if handle.path == host.HERE:
        return f"ip link del {quote(ifname)}"
    if NODES[node.kind].is_named:
        return f"ip -n {quote(node.target)} link del {quote(ifname)}"
    return f"nsenter --net={quote(handle.path)} ip link del {quote(ifname)}"


def _remove_mirrors(kernel: Kernel, handle: Handle, cookie: bytes) -> OperationError | None:
    try:
        with kernel.using([handle]):
            return remove_everywhere(kernel, handle, lambda _: True, cookie)
    except (KernelError, OSError) as error:
        return error


def _other_end(kernel: Kernel, interface: Interface, namespace: Namespace) -> Handle | None:
    """Find the namespace of the other end of a veth link; None when it is the same one or not found.

    Look first where the alias says, then in all namespaces, for an interface that has this one as its peer.
    """
    if interface.kind != "veth" or not interface.alias or _is_there(interface, namespace):
        return None
    tried: set[str] = set()
    patience = Patience(LINKS)

    def see(kernel: Kernel, handle: Handle) -> Namespace:
        return observe(kernel, handle, patience=patience)

    for path in _candidates(interface.alias):
        if path in tried:
            continue
        tried.add(path)
        sight = look_into(kernel, kernel.open_all([path])[0], see)
        if not isinstance(sight, OSError):
            if _is_there(interface, sight[1]):
                return sight[0]
            kernel.forget(sight[0])
    return None


def _is_there(interface: Interface, namespace: Namespace) -> bool:
    return any(
        (other.ifindex, other.peer, other.alias) == (interface.peer, interface.ifindex, interface.alias)
        for other in namespace.interfaces.values()
    )


def _candidates(alias: str) -> Iterator[str]:
    title = alias.removeprefix(ALIAS_PREFIX).partition(":")[2]
    for side in title.split("--"):
        node = side.rpartition(":")[0]
        kind, _, target = node.partition(":")
        if node.startswith("/"):
            yield node
        elif kind == "pid" and target.isdigit():
            yield host.of_process(int(target))
        else:
            name = target if kind == "netns" and target else node
            if name and "/" not in name and name not in (".", ".."):
                yield f"{host.NETNS_DIR}/{name}"
    yield host.HERE
    for name in host.list_named():
        yield host.named(name)
    for pid, _ in host.list_processes():
        yield host.of_process(pid)
