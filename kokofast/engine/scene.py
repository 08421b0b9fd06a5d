"""Find everything of ours on this machine, for destroy and inspect."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from kokofast.endpoints import local
from kokofast.engine.snapshot import Survey, look
from kokofast.host import namespaces as host
from kokofast.ops.dumps import BESIDE_OURS, LINKS, MARKS, HinderedError, Patience, observe, observe_marks
from kokofast.plan.ownership import lab_of, lab_of_alias, lab_of_namespace, marks_of_nodes, namespace_alias
from kokofast.plan.teardown import OwnedEnd
from kokofast.topology.node_kinds import NODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.topology.model import Topology

# A name that leads to no namespace (a dangling link, a socket), or a process that has ended; and one that we may not
# look at.
_GONE = (errno.ENOENT, errno.EINVAL, errno.ESRCH, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV)
_NOT_FOR_US = (*_GONE, errno.EACCES, errno.EPERM)


class OwnedInterface:
    """An interface with our mark. lab is "" before its alias is set."""

    __slots__ = ("interface", "lab", "ns")

    def __init__(self, ns: int, lab: str, interface: Interface) -> None:
        self.ns = ns
        self.lab = lab
        self.interface = interface


class Scene:
    """Everything of ours on this machine: interfaces, namespaces (number -> lab), their titles and names."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.interfaces: list[OwnedInterface] = []
        self.others: list[OwnedInterface] = []  # of other labs than the requested one
        self.namespaces: dict[int, str] = {}
        self.nodes: dict[int, list[str]] = {}  # namespaces with addresses of the loopback, or routes -> labs
        self.titles: dict[int, str] = {}
        self.names: dict[int, str] = {}  # in /run/netns
        self.other_names: dict[str, int] = {}  # their further names there
        self.inhabited: set[tuple[int, int]] = set()  # namespaces with processes
        self.claims: dict[str, str] = {}  # names claimed by killed runs -> lab
        self.unseen: dict[str, OSError] = {}  # namespaces that cannot be read, by title
        # Namespaces that cannot be read because of what is in them, without anything of the lab as far as known.
        self.hindered: dict[tuple[int, int], tuple[str, OSError]] = {}
        self._ends: list[OwnedEnd] | None = None

    def ends(self) -> list[OwnedEnd]:
        """Return pair() of all interfaces. Call it when all are found."""
        if self._ends is None:
            self._ends = pair(self.interfaces)
        return self._ends


async def scan(
    kernel: Kernel,
    driver: Driver,
    *,
    lab: str | None = None,
    topology: Topology | None = None,
    to_remove: bool = False,
    progress: Progress | None = None,
) -> Scene:
    """Look into every namespace that can be found: this one, named ones, those of processes and of the topology.

    With lab return only what belongs to it. With to_remove read only the marks of interfaces, and our mirror filters in
    namespaces that stay; otherwise all that inspect shows, but for what takes longer.
    """
    run = _Scan(kernel, lab)
    paths = run.find(topology)
    sights = await look(kernel, list(paths), driver, see=run.see(to_remove=to_remove), progress=progress)
    for (path, title), sight in zip(paths.items(), sights, strict=True):
        if isinstance(sight, OSError):
            run.add_unreadable(path, title, sight)
        else:
            run.add(path, title, *sight)
    run.end()
    return run.scene


class _Scan:
    """Looks for what is of a lab, or of any (None)."""

    def __init__(self, kernel: Kernel, lab: str | None) -> None:
        self.scene = Scene(Survey())
        self._kernel = kernel
        self._lab = lab
        self._boot = kernel.boot_id()
        self._listed: dict[str, bool] = {}  # names of namespaces, as list_named()
        self._names: dict[str, str] = {}  # by path
        self._expected = {host.HERE}  # where a failure to read is an error: here, and in the namespaces of the topology
        self._known: set[tuple[int, int]] = set()  # namespaces that cannot be read, though something of ours is in them

    def find(self, topology: Topology | None) -> dict[str, str]:
        """Return the paths of the namespaces, each with a title."""
        paths = {host.HERE: "host"}
        self._listed = host.list_named()
        self._names = {host.named(name): name for name in self._listed}
        paths.update(self._names)
        for node in topology.nodes.values() if topology is not None else ():
            # A running container has processes, whose namespaces are read below, without asking its daemon.
            if not NODES[node.kind].daemon:
                paths.setdefault(path := local.path_of(node), node.name)
                self._expected.add(path)
        processes = dict(host.list_processes())
        paths.update({host.of_process(pid): f"pid:{pid}" for pid in processes})
        self.scene.inhabited = set(processes.values())
        return paths

    def see(self, *, to_remove: bool) -> Callable[[Kernel, Handle], Namespace]:
        """Return what reads a namespace."""
        patience = Patience(MARKS if to_remove else LINKS)
        if not to_remove:
            return partial(observe, mirrors=BESIDE_OURS, patience=patience)

        def see_marks(kernel: Kernel, handle: Handle) -> Namespace:
            return observe_marks(kernel, handle, lambda namespace: self._goes(namespace, handle.path), patience)

        return see_marks

    def _goes(self, namespace: Namespace, path: str) -> bool:
        # The condition of destroy().
        owner = lab_of_namespace(namespace)
        return self._has_own_name(path) and namespace.identity not in self.scene.inhabited and self._is_asked(owner)

    def _is_asked(self, owner: str | None) -> bool:
        return owner is not None and self._lab in (None, owner)

    def _has_own_name(self, path: str) -> bool:
        return path in self._names and not self._listed[self._names[path]]

    def add(self, path: str, title: str, handle: Handle, namespace: Namespace) -> None:
        """Add a namespace that was read."""
        scene = self.scene
        number = scene.survey.add(handle, namespace)
        if scene.survey.handles[number] is not handle:
            self._kernel.forget(handle)  # the same namespace: a second descriptor would only keep it alive
        scene.titles.setdefault(number, title)
        if self._has_own_name(path):
            name = self._names[path]
            if scene.names.setdefault(number, name) != name:
                scene.other_names[name] = number

    def add_unreadable(self, path: str, title: str, error: OSError) -> None:
        """Add a namespace that cannot be read."""
        scene, names = self.scene, self._names
        claim = host.claimed(path) if path in names else None
        owner = lab_of_alias(claim) if claim is not None else None
        if owner is not None and claim == namespace_alias(owner) and self._is_asked(owner):
            scene.claims[names[path]] = owner
        elif isinstance(error, HinderedError):
            there = error.namespace.identity
            scene.hindered.setdefault(there, (title, error))
            if path in self._expected or _has_marks(error.namespace, self._boot, self._lab):
                self._known.add(there)
        elif claim is None and error.errno not in (_GONE if path in names else _NOT_FOR_US):
            scene.unseen[title] = error

    def end(self) -> None:
        """Find what is ours in what was read."""
        self.scene.unseen.update(self.scene.hindered.pop(there) for there in self._known)
        _find_ours(self.scene, self._boot, self._lab)


def _find_ours(scene: Scene, boot: str, lab: str | None) -> None:
    for number, namespace in enumerate(scene.survey.observed):
        assert namespace is not None
        owner = lab_of_namespace(namespace)
        if owner is not None and lab in (None, owner):
            scene.namespaces[number] = owner
        if marks := [owner for owner in marks_of_nodes(namespace) if lab in (None, owner)]:
            scene.nodes[number] = marks
        for interface in namespace.interfaces.values():
            found = lab_of(interface, namespace, boot, lab)
            if found is not None:
                of_lab = scene.interfaces if lab in (None, found) else scene.others
                of_lab.append(OwnedInterface(number, found, interface))


def _has_marks(namespace: Namespace, boot: str, lab: str | None) -> bool:
    """Whether the lab, or any lab, made the namespace or has an interface in it."""
    found = [lab_of(item, namespace, boot, lab) for item in namespace.interfaces.values()]
    return any(owner is not None and lab in (None, owner) for owner in (lab_of_namespace(namespace), *found))


def hindered_notes(scene: Scene, what: str) -> list[str]:
    """Return a line for each namespace that cannot be read because of what is in it."""
    return [
        f"namespace {title} was passed over: {error.strerror}; nothing of {what} was seen in it"
        for title, error in scene.hindered.values()
    ]


def pair(interfaces: list[OwnedInterface]) -> list[OwnedEnd]:
    """Give each interface the number of its link: the same one for two that are each other's peer."""
    by_alias: dict[str, list[int]] = {}
    for number, owned in enumerate(interfaces):
        by_alias.setdefault(owned.interface.alias, []).append(number)
    link = list(range(len(interfaces)))
    paired: set[int] = set()
    for alias, numbers in by_alias.items():
        # Anyone can copy an alias: only two interfaces, and true peers, are one link.
        if alias and len(numbers) == 2:
            first, second = (interfaces[number].interface for number in numbers)
            if first.peer == second.ifindex and second.peer == first.ifindex:
                link[numbers[1]] = numbers[0]
                paired.update(numbers)
    # A killed run may have set one alias, or none. Two such ends are a link if no other ends fit.
    by_indexes: dict[tuple[int, int], list[int]] = {}
    for number, owned in enumerate(interfaces):
        if number not in paired and owned.interface.peer:
            indexes = owned.interface.ifindex, owned.interface.peer
            by_indexes.setdefault((min(indexes), max(indexes)), []).append(number)
    for numbers in by_indexes.values():
        ends = [interfaces[number].interface for number in numbers]
        if len(ends) == 2 and ends[0].ifindex == ends[1].peer and not all(end.alias for end in ends):
            link[numbers[1]] = numbers[0]
    return [
        OwnedEnd(owned.ns, owned.interface.ifindex, owned.interface.group, owned.lab or None, link[number])
        for number, owned in enumerate(interfaces)
    ]
