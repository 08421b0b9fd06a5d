"""inspect: the links that carry our mark, read from the kernel."""

from __future__ import annotations

import errno
import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from kokofast.ends import ATTRIBUTES, ENDS, present
from kokofast.ends.link_local import MAC_BYTES, made_of
from kokofast.engine.names import name_ends
from kokofast.engine.scene import hindered_notes, pair, scan
from kokofast.kinds import KINDS
from kokofast.kinds.kind import IPV6_MIN_MTU
from kokofast.plan.ownership import cookie_of
from kokofast.plan.properties import values_of
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.engine.scene import OwnedInterface, Scene
    from kokofast.host.kernel import Kernel
    from kokofast.plan.observed import Interface

LOWER_LAYER_DOWN = "lower-layer-down"


class SeenEnd:
    """An end of a link.

    Attributes:
        ns: The number of its namespace.
        node: Its node, with the name in the file.
        namespace: The name of its namespace on this machine: "r1", "pid:954", "host".
        interface: The interface.
        mirrors: (interface, direction) of the mirrors that copy to it.
    """

    __slots__ = ("interface", "mirrors", "namespace", "node", "ns", "properties")

    def __init__(self, ns: int, namespace: str, interface: Interface) -> None:
        self.ns = ns
        self.node = self.namespace = namespace
        self.interface = interface
        self.mirrors: list[tuple[str, str]] = []
        self.properties: dict[str, object] = {}  # as in the file

    def __str__(self) -> str:
        return f"{self.node}:{self.interface.ifname}"

    @property
    def state(self) -> str:
        """Return up, down, or lower-layer-down: set up, but its peer or parent is down."""
        if not self.interface.up:
            return "down"
        return "up" if self.interface.lower_up else LOWER_LAYER_DOWN

    def as_dict(self) -> dict[str, object]:
        """As ``inspect --format json`` prints it."""
        found: dict[str, object] = {
            "node": self.node,
            "namespace": self.namespace,
            "interface": self.interface.ifname,
            "ifindex": self.interface.ifindex,
            "mtu": self.interface.mtu,
            "mac": self.interface.mac.hex(":"),
            "up": self.interface.up,
            "state": self.state,
            "addresses": addresses_of(self.interface),
        }
        found |= self.properties
        if self.mirrors:
            found["mirrors"] = [{"from": source, "direction": direction} for source, direction in self.mirrors]
        return found


class SeenLink:
    """A link with one or two ends, as the kernel has it.

    Attributes:
        lab (str): The name of its lab.
        kind (str): Its type, as in the file.
        ends (list[SeenEnd]): One or two, in the file's order, each with ``node``, ``interface``, ``state`` and others.
        fields: Those of its kind, beginning with the parent (None if it was not found).
    """

    def __init__(self, lab: str, kind: str, ends: list[SeenEnd]) -> None:
        self.lab = lab
        self.kind = kind
        self.ends = ends
        self.fields: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"<SeenLink {self.kind} of {self.lab!r}: {' -- '.join(map(str, self.ends))}>"

    def as_dict(self) -> dict[str, object]:
        """As ``inspect --format json`` prints it."""
        return {
            "lab": self.lab,
            "type": self.kind,
            **self.fields,
            "endpoints": [end.as_dict() for end in self.ends],
        }


class SeenNode:
    """What a lab has set in a namespace beside its links: addresses of the loopback, as text, and how many routes."""

    __slots__ = ("addresses", "lab", "namespace", "routes")

    def __init__(self, lab: str, namespace: str, addresses: list[str], routes: int) -> None:
        self.lab = lab
        self.namespace = namespace
        self.addresses = addresses
        self.routes = routes

    def as_dict(self) -> dict[str, object]:
        """As ``inspect --format json`` prints it."""
        return {
            "lab": self.lab,
            "type": "node",
            "name": self.namespace,
            "addresses": self.addresses,
            "routes": self.routes,
            "endpoints": [],
        }


def addresses_of(interface: Interface) -> list[str]:
    """Return the permanent addresses as text, without link-local IPv6 ones that the kernel has made."""
    import ipaddress

    found = [(ipaddress.ip_address(item.packed), item.prefixlen, ours) for item, ours in interface.addresses.items()]
    return sorted(
        f"{address}/{length}"
        for address, length, ours in found
        if ours or address.version == 4 or not address.is_link_local
    )


def natural_key(text: str) -> list[str | int]:
    """Return a sort key by which r10 comes after r9."""
    # Texts and numbers alternate, so they are never compared with each other.
    return [int(part) if number % 2 else part for number, part in enumerate(re.split("([0-9]+)", text))]


async def inspect(
    lab: str | None,
    driver: Driver,
    kernel: Kernel,
    *,
    progress: Progress | None = None,
    unseen: dict[str, OSError] | None = None,
    namespaces: dict[str, str] | None = None,
    nodes: list[SeenNode] | None = None,
    notes: list[str] | None = None,
) -> list[SeenLink]:
    """Return the links that carry our mark, of one lab or of all, read from the kernel.

    unseen is filled with the namespaces that could not be read, by title, and the reason; notes with a line for each
    namespace that cannot be read because of what is in it, unless something of ours is known to be there; namespaces
    with the lab of each named namespace that a lab made, or whose name it has claimed; nodes with what labs have set in
    namespaces beside their links.
    """
    scene = await scan(kernel, driver, lab=lab, progress=progress)
    _read_link_local(scene, kernel)
    found = links_of(scene)
    add_fields(found, scene, kernel)
    if nodes is not None:
        nodes += _nodes(scene, kernel)
    if unseen is not None:
        unseen.update(scene.unseen)
    if notes is not None:
        notes += hindered_notes(scene, f"the lab {lab}" if lab is not None else "any lab")
    if namespaces is not None:
        made = {scene.names[number]: owner for number, owner in scene.namespaces.items() if number in scene.names}
        made |= scene.claims
        namespaces.update(sorted(made.items(), key=lambda item: natural_key(item[0])))
    return found


class Seen:
    """What inspect finds of a lab. See its arguments."""

    def __init__(self) -> None:
        self.links: list[SeenLink] = []
        self.namespaces: dict[str, str] = {}
        self.nodes: list[SeenNode] = []
        self.unseen: dict[str, OSError] = {}
        self.notes: list[str] = []

    def is_empty(self) -> bool:
        """Whether nothing of the lab is there."""
        return not (self.links or self.namespaces or self.nodes)


async def see(lab: str | None, driver: Driver, kernel: Kernel) -> Seen:
    """Return all that is there of a lab, or of all labs."""
    seen = Seen()
    seen.links = await inspect(
        lab,
        driver,
        kernel,
        unseen=seen.unseen,
        namespaces=seen.namespaces,
        nodes=seen.nodes,
        notes=seen.notes,
    )
    return seen


def _read_link_local(scene: Scene, kernel: Kernel) -> None:
    """Read how interfaces come by their link-local addresses, in namespaces where one of ours has not the kernel's.

    It takes the kernel as long as all else, and nearly all interfaces have that address.
    """
    without: dict[int, dict[int, Interface]] = {}
    for owned in scene.interfaces:
        if not has_kernels_link_local(owned.interface):
            without.setdefault(owned.ns, {})[owned.interface.ifindex] = owned.interface
    for number, interfaces in without.items():
        from kokofast.ops.link_local import settings_of

        handle = scene.survey.handles[number]
        if handle is None:
            continue
        try:
            with kernel.using([handle]):
                settings = settings_of(kernel, handle, interfaces)
        except KernelError as error:
            scene.unseen[scene.titles[number]] = OSError(error.errno or errno.EIO, str(error))
            continue
        except OSError as error:
            scene.unseen[scene.titles[number]] = error
            continue
        for index, setting in settings.items():
            interfaces[index].more = {**interfaces[index].more, ATTRIBUTES["link_local"]: setting}


def has_kernels_link_local(interface: Interface) -> bool:
    """Return whether the kernel has made a link-local address for an interface, or cannot make one."""
    if interface.mtu < IPV6_MIN_MTU:
        return True
    return len(interface.mac) == MAC_BYTES and any(one.packed == made_of(interface.mac) for one in interface.addresses)


def _nodes(scene: Scene, kernel: Kernel) -> list[SeenNode]:
    found: list[SeenNode] = []
    for number, labs in scene.nodes.items():
        from kokofast.ops.routers import observe_router
        from kokofast.topology.routes import text_of

        handle, namespace = scene.survey.handles[number], scene.survey.observed[number]
        if handle is None or namespace is None:
            continue
        for lab in labs:
            try:
                with kernel.using([handle]):
                    router = observe_router(kernel, handle, namespace, lab)
            except OSError as error:
                scene.unseen[scene.titles[number]] = error
                continue
            ours = [one for one, is_ours in router.addresses.items() if is_ours]
            texts = sorted(text_of(one.packed, one.prefixlen, whole=True) for one in ours)
            found.append(SeenNode(lab, scene.titles[number], texts, len(router.routes)))
    return sorted(found, key=lambda node: (natural_key(node.lab), natural_key(node.namespace)))


def links_of(scene: Scene) -> list[SeenLink]:
    """Return the links among the interfaces that were found."""
    interfaces = sorted(
        scene.interfaces, key=lambda owned: (natural_key(owned.lab), natural_key(owned.interface.alias))
    )
    links: dict[int, SeenLink] = {}
    for owned, end in zip(interfaces, pair(interfaces), strict=True):
        seen = links.setdefault(end.link, SeenLink(owned.lab, owned.interface.kind, []))
        seen.ends.append(_end(scene, owned))
    found = list(links.values())
    name_ends(found)
    return found


def _end(scene: Scene, owned: OwnedInterface) -> SeenEnd:
    interface, namespace = owned.interface, scene.survey.observed[owned.ns]
    end = SeenEnd(owned.ns, scene.titles[owned.ns], interface)
    if interface.more and namespace is not None:
        names = {item.ifindex: item.ifname for item in namespace.interfaces.values()}
        for name, attribute in ATTRIBUTES.items():
            if attribute in interface.more:
                setting = present(name, interface.more)
                end.properties |= values_of(ENDS[name], setting, lambda index: names.get(index, ""))
    if interface.alias and namespace is not None and namespace.mirrors:
        cookie = cookie_of(owned.lab, interface.alias)
        ways: dict[str, set[str]] = {}
        for mirror in namespace.mirrors_of(cookie):
            if mirror.target == interface.ifindex:
                ways.setdefault(mirror.ifname, set()).add(mirror.direction)
        end.mirrors = [(source, "both" if len(way) == 2 else min(way)) for source, way in sorted(ways.items())]
    return end


def add_fields(links: list[SeenLink], scene: Scene, kernel: Kernel) -> None:
    """Add the fields of their kinds to links with one end, with the names of their parents."""
    parents = _Parents(links, scene, kernel)
    for link in links:
        kind = KINDS.get(link.kind)
        if kind is not None and kind.fields and len(link.ends) == 1:
            end = link.ends[0]
            # A tunnel may have no parent.
            has_parent = any(field.name == "parent" for field in kind.fields) and index_of_parent(end.interface)
            parent = {"parent": parents.name_of(end)} if has_parent else {}
            several = {name: end.properties.pop(name) for name in kind.several if name in end.properties}
            found = parent | kind.fields_of(end.interface.data) | several
            link.fields = {field.name: found[field.name] for field in kind.fields if field.name in found}


def index_of_parent(interface: Interface) -> object:
    """Return the ifindex of the parent; 0 for none. Tunnels have it in IFLA_INFO_DATA."""
    return interface.data.get("link", interface.peer)


class _Parents:
    """Finds the parents of links, with the names of the file."""

    def __init__(self, links: list[SeenLink], scene: Scene, kernel: Kernel) -> None:
        self.survey = scene.survey
        self.nsid = partial(scene.survey.nsid, kernel)
        # The node of most ends in a namespace: an end that was moved there still has its own.
        said: dict[int, Counter[str]] = {}
        for link in links:
            for end in link.ends:
                said.setdefault(end.ns, Counter())[end.node] += 1
        self.titles = scene.titles | {ns: max(nodes, key=nodes.__getitem__) for ns, nodes in said.items()}
        self.caller = next((number for number, title in scene.titles.items() if title == "host"), None)
        self.names = [
            {} if namespace is None else {item.ifindex: item.ifname for item in namespace.interfaces.values()}
            for namespace in scene.survey.observed
        ]
        # (namespace, nsid in it) -> the other namespace, None if it was not seen
        self.known: dict[tuple[int, int], int | None] = {}
        self.lately: list[int] = [] if self.caller is None else [self.caller]

    def name_of(self, end: SeenEnd) -> str | None:
        """Return the parent of an end, None if it was not found."""
        index = index_of_parent(end.interface)
        nsid = end.interface.peer_nsid
        there = end.ns if nsid is None else self._find(end.ns, nsid)
        if there is None or not isinstance(index, int) or index not in self.names[there]:
            return None
        name = self.names[there][index]
        return name if there == self.caller else f"{self.titles[there]}:{name}"

    def _find(self, here: int, nsid: int) -> int | None:
        """Return the namespace with this nsid in another one; None if it was not seen."""
        if (here, nsid) not in self.known:
            # Many links mostly have their parents in one namespace: try the last ones first.
            candidates = dict.fromkeys([*self.lately, *range(len(self.names))])
            found = next((there for there in candidates if self._calls(here, there, nsid)), None)
            self.known[here, nsid] = found
            if found is not None and found not in self.lately:
                self.lately = [found, *self.lately[:3]]
        return self.known[here, nsid]

    def _calls(self, here: int, there: int, nsid: int) -> bool:
        try:
            return there != here and self.nsid(here, there) == nsid
        except (KernelError, OSError):
            return False
