"""The operations of a plan. Namespaces are numbers, as in Situation.places.

Values that are not known yet are typed references, which kokofast.ops resolves when it encodes the request.

Each operation of a plan has a verb, its link (a number, or None), its namespaces, the interfaces that it makes, and
those that it requires: without them what it makes cannot stay.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kokofast.plan.node_change import NodeChange
    from kokofast.plan.observed import Interface
    from kokofast.plan.step import FieldChange
    from kokofast.topology.model import Address

# The attributes of an interface for which the kernel makes no link-local address by itself: addr_gen_mode none.
NO_LINK_LOCAL: Mapping[str, object] = {"af_spec": {"inet6": {"addr_gen_mode": 1}}}


class NsRef:
    """The descriptor of a namespace (for IFLA_NET_NS_FD)."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def __repr__(self) -> str:
        return f"NsRef({self.ns})"


class IfRef:
    """The ifindex of an interface, by its name in a namespace."""

    __slots__ = ("ifname", "ns")

    def __init__(self, ns: int, ifname: str) -> None:
        self.ns = ns
        self.ifname = ifname

    def __repr__(self) -> str:
        return f"IfRef({self.ns}, {self.ifname!r})"


class MarkRef:
    """The link-layer address that marks a new interface as the lab's: ownership.first_address()."""

    __slots__ = ("group", "interface", "lab")

    def __init__(self, interface: IfRef, group: int, lab: int) -> None:
        self.interface = interface
        self.group = group
        self.lab = lab

    def __repr__(self) -> str:
        return f"MarkRef({self.interface})"


_NONE: tuple[IfRef, ...] = ()


class NamespaceOperation:
    """Work in one namespace, for no link of the topology."""

    __slots__ = ("ns",)
    ns: int
    link = None
    makes = requires = _NONE

    @property
    def namespaces(self) -> tuple[int, ...]:
        """Return its only one."""
        return (self.ns,)


class MakeNamespace(NamespaceOperation):
    """Make a named namespace, marked with alias on its loopback."""

    __slots__ = ("alias", "name")
    verb = "make namespace"

    def __init__(self, ns: int, name: str, alias: str) -> None:
        self.ns = ns
        self.name = name
        self.alias = alias


class CreateLink:
    """One RTM_NEWLINK, with all ends in their final namespaces.

    sender is the namespace to send it from, where the kernel looks for the parent; None for an empty one of ours.
    build(*source) builds the attributes when they are needed: all of a large plan would take a fifth of its memory.
    """

    __slots__ = ("_build", "_source", "link", "makes", "sender")
    verb = "create link"

    def __init__(
        self,
        link: int,
        makes: tuple[IfRef, ...],
        build: Callable[..., Mapping[str, object]],
        source: tuple[object, ...],
        sender: int | None = None,
    ) -> None:
        self.link = link
        self.makes = makes
        self.sender = sender
        self._build = build
        self._source = source

    @property
    def attributes(self) -> Mapping[str, object]:
        """Build the attributes of the request, and its fixed header."""
        return self._build(*self._source)

    @property
    def namespaces(self) -> tuple[int, ...]:
        """Return those of the ends."""
        return tuple(end.ns for end in self.makes)

    @property
    def requires(self) -> tuple[IfRef, ...]:
        """Return the parent, if there is one."""
        if self.sender is None:
            return ()
        own = {(end.ns, end.ifname) for end in self.makes}
        return tuple(found for found in _references(self.attributes) if (found.ns, found.ifname) not in own)


def _references(value: object) -> Iterator[IfRef]:
    if isinstance(value, IfRef):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _references(inner)


class Setting:
    """The new and the present setting of an end property (kokofast.ends).

    Args:
        name: The property.
        value: The new setting. It may be an IfRef.
        before: The present setting.
        changes: Returns what changes, in the form of the file, for a dry run.
        restarts: Whether the kernel sets the interface down and up again.
    """

    __slots__ = ("before", "changes", "name", "restarts", "value")

    def __init__(
        self,
        name: str,
        value: object,
        before: object,
        *,
        changes: Callable[[], Iterable[FieldChange]] = tuple,
        restarts: bool = False,
    ) -> None:
        self.name = name
        self.value = value
        self.before = before
        self.changes = changes
        self.restarts = restarts


class Change:
    """Changes of one interface.

    Link attributes (RTM_SETLINK), up (None: unchanged), addresses to add and remove, and properties of the end.
    """

    __slots__ = ("add", "attributes", "properties", "remove", "up")

    def __init__(
        self,
        attributes: Mapping[str, object] | None = None,
        up: bool | None = None,
        add: tuple[Address, ...] = (),
        remove: tuple[Address, ...] = (),
        properties: tuple[Setting, ...] = (),
    ) -> None:
        self.properties = properties
        self.attributes: Mapping[str, object] = attributes if attributes is not None else {}
        self.up = up
        self.add = add
        self.remove = remove

    def __bool__(self) -> bool:
        return bool(self.attributes or self.up is not None or self.add or self.remove or self.properties)


class ConfigureEnd:
    """Change one end of a link. undo is the reverse for an existing interface, None for a new one."""

    __slots__ = ("change", "end", "interface", "link", "undo")
    verb = "configure"
    makes = _NONE

    def __init__(self, link: int, end: int, interface: IfRef, change: Change, undo: Change | None = None) -> None:
        self.link = link
        self.end = end
        self.interface = interface
        self.change = change
        self.undo = undo

    @property
    def namespaces(self) -> tuple[int, ...]:
        """Return that of the interface."""
        return (self.interface.ns,)

    @property
    def requires(self) -> tuple[IfRef, ...]:
        """Return those that properties refer to."""
        return tuple(one.value for one in self.change.properties if isinstance(one.value, IfRef))


class Mirror:
    """Copy the traffic of source to target, in the same namespace, by filters with the cookie.

    directions has ingress, egress or both. mtu is (new, present) of source, None to leave it.
    """

    __slots__ = ("cookie", "directions", "end", "link", "mtu", "source", "target")
    makes = _NONE
    adds: bool  # make the filters, or remove them

    def __init__(
        self,
        link: int,
        end: int,
        target: IfRef,
        source: IfRef,
        directions: frozenset[str],
        cookie: bytes,
        mtu: tuple[int, int] | None = None,
    ) -> None:
        self.link = link
        self.end = end
        self.target = target
        self.source = source
        self.directions = directions
        self.cookie = cookie
        self.mtu = mtu

    @property
    def namespaces(self) -> tuple[int, ...]:
        """Return that of both interfaces."""
        return (self.source.ns,)


class AddMirror(Mirror):
    """Make the filters of a mirror."""

    __slots__ = ()
    verb = "mirror"
    adds = True

    @property
    def requires(self) -> tuple[IfRef, ...]:
        """Return the interface that is mirrored."""
        return (self.source,)


class RemoveMirror(Mirror):
    """Remove the filters of a mirror that left the file."""

    __slots__ = ()
    verb = "remove mirror"
    adds = False
    requires = _NONE


class NodeOperation(NamespaceOperation):
    """Set something of a node itself."""

    __slots__ = ("node",)

    def __init__(self, ns: int, node: str) -> None:
        self.ns = ns
        self.node = node


class ConfigureNode(NodeOperation):
    """Set the loopback and the routes of a node's namespace; they get the mark of the lab."""

    __slots__ = ("change", "lab")
    verb = "configure node"

    def __init__(self, ns: int, node: str, lab: str, change: NodeChange) -> None:
        super().__init__(ns, node)
        self.lab = lab
        self.change = change


class SetAside(NamespaceOperation):
    """Give an interface that is to be deleted another name, so that a new one can have its name.

    It loses its alternative names, and gets the group of interfaces that are being deleted. title and place are those
    of its link, which has left the topology.
    """

    __slots__ = ("altnames", "group", "ifindex", "ifname", "interface", "other_name", "place", "title")
    verb = "set aside"

    def __init__(self, ns: int, interface: Interface, title: str, place: str) -> None:
        self.ns = ns
        self.interface = interface
        self.ifindex = interface.ifindex
        self.ifname = interface.ifname
        self.altnames = interface.altnames
        self.other_name = f"gone{interface.ifindex:x}"
        self.group = interface.group
        self.title = title
        self.place = place

    @property
    def names(self) -> tuple[str, ...]:
        """Return all names that it gives away."""
        return (self.ifname, *self.altnames)


class SetSysctls(NodeOperation):
    """Write sysctls of a node's namespace.

    Both mappings are by the path below /proc/sys/net: values has what to write, seen what was there, if that is known.
    """

    __slots__ = ("seen", "values")
    verb = "set sysctls"

    def __init__(self, ns: int, node: str, values: Mapping[str, str], seen: Mapping[str, str]) -> None:
        super().__init__(ns, node)
        self.values = values
        self.seen = seen


class DeleteGroup:
    """One RTM_DELLINK for all interfaces of a group in a namespace.

    ifindexes are those to delete, links the link of each (twice the same if both ends are there), lab is their lab
    (None: any). If anything else is in the group by then, they are deleted one by one.
    """

    __slots__ = ("group", "ifindexes", "lab", "links", "ns")
    verb = "delete links"

    def __init__(
        self, ns: int, group: int, lab: str | None, ifindexes: tuple[int, ...], links: tuple[int, ...]
    ) -> None:
        self.ns = ns
        self.group = group
        self.lab = lab
        self.ifindexes = ifindexes
        self.links = links


class RemoveNamespace:
    """Remove a named namespace of ours."""

    __slots__ = ("name", "ns")
    verb = "remove namespace"

    def __init__(self, ns: int, name: str) -> None:
        self.ns = ns
        self.name = name


if TYPE_CHECKING:
    Operation = (
        MakeNamespace | CreateLink | ConfigureEnd | AddMirror | RemoveMirror | ConfigureNode | SetAside | SetSysctls
    )
