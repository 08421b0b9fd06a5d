"""The topology as the rest of the program sees it: nodes, ends, links, and the place of each value in the user's file.

Plain classes with slots, treated as frozen by everyone: koko's command line builds them too, on a path where
importing dataclasses, typing or msgspec would cost more than the link itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kokofast.topology.problems import Problem

AF_INET = 2
AF_INET6 = 10

# The node that a parent interface without a node is in. No file can name it.
CALLER = ""

# The kinds of nodes whose namespace a daemon has to be asked for.
CONTAINER_KINDS = ("docker", "podman", "cri")


class Address:
    """An interface address: ``packed`` is 4 or 16 bytes in network order, ``text`` is as the user wrote it."""

    __slots__ = ("family", "packed", "prefixlen", "text")

    def __init__(self, family: int, packed: bytes, prefixlen: int, text: str) -> None:
        self.family = family
        self.packed = packed
        self.prefixlen = prefixlen
        self.text = text

    def key(self) -> tuple[int, bytes, int]:
        """What makes two addresses the same for the kernel."""
        return self.family, self.packed, self.prefixlen

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Address)
            and self.packed == other.packed
            and self.prefixlen == other.prefixlen
            and self.family == other.family
        )

    def __hash__(self) -> int:
        return hash(self.packed)

    def __repr__(self) -> str:
        return f"Address({self.text!r})"


class Mirror:
    """Copy the traffic of interface ``source`` of the same namespace to this end. direction: ingress, egress, both."""

    __slots__ = ("direction", "source")

    def __init__(self, source: str, direction: str) -> None:
        self.source = source
        self.direction = direction

    def directions(self) -> frozenset[str]:
        """The directions as a set: "both" is ingress and egress."""
        return frozenset(("ingress", "egress") if self.direction == "both" else (self.direction,))

    def __repr__(self) -> str:
        return f"Mirror({self.source!r}, {self.direction!r})"


class Node:
    """A name for a network namespace.

    kind is one of netns, path, pid, host, docker, podman, cri; target is what that kind needs (a name, a path, a
    decimal pid, a container; empty for host). place is where the file declares it, or where it is first used.
    """

    __slots__ = ("create", "kind", "name", "place", "socket", "target")

    def __init__(
        self, name: str, kind: str, target: str, *, create: bool = False, socket: str | None = None, place: str = ""
    ) -> None:
        self.name = name
        self.kind = kind
        self.target = target
        self.create = create
        self.socket = socket
        self.place = place

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.kind}:{self.target!r})"


class End:
    """One end of a link: an interface to be, in the namespace of a node.

    None means "not given": the kernel's default holds (mtu in bytes, mac 6 bytes, txqlen in packets). queues is the
    number of queue pairs, None the kernel's own default. dad False has the end's link-local IPv6 address without
    duplicate address detection. places maps a field to its place in the file when that is
    not the ordinary ``<place>.<field>`` (a value that came from the link or from defaults, or from the short form).
    """

    __slots__ = (
        "addresses",
        "dad",
        "ifname",
        "mac",
        "mirror",
        "mtu",
        "node",
        "place",
        "places",
        "queues",
        "txqlen",
        "up",
    )

    def __init__(
        self,
        node: str,
        ifname: str,
        *,
        addresses: tuple[Address, ...] = (),
        mac: bytes | None = None,
        mtu: int | None = None,
        txqlen: int | None = None,
        queues: int | None = 1,
        up: bool = True,
        dad: bool | None = None,
        mirror: Mirror | None = None,
        place: str = "",
        places: Mapping[str, str] | None = None,
    ) -> None:
        self.node = node
        self.ifname = ifname
        self.addresses = addresses
        self.mac = mac
        self.mtu = mtu
        self.txqlen = txqlen
        self.queues = queues
        self.up = up
        self.dad = dad
        self.mirror = mirror
        self.place = place
        self.places = places

    def with_addresses(self, addresses: tuple[Address, ...]) -> End:
        """The same end with other addresses."""
        other = End(self.node, self.ifname)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.addresses = addresses
        return other

    def where(self, field: str) -> str:
        """The place in the user's file that a complaint about this field should name."""
        if self.places is not None and field in self.places:
            return self.places[field]
        return self.place

    def __repr__(self) -> str:
        return f"End({self.node}:{self.ifname})"


class Link:
    """One link: its kind, its ends (two for veth, one for kinds that stand on a parent interface), and the kind's
    own fields in ``options`` (names and types as the kind declares them). parent is (node, interface name) of the
    interface that it stands on, None for kinds that stand on none."""

    __slots__ = ("ends", "kind", "options", "parent", "place", "places")

    def __init__(
        self,
        kind: str,
        ends: tuple[End, ...],
        *,
        options: Mapping[str, object] | None = None,
        place: str = "",
        places: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.ends = ends
        self.options: Mapping[str, object] = options or {}
        self.parent = _parent_in(options) if options else None
        self.place = place
        self.places = places

    def where(self, field: str) -> str:
        """The place in the user's file that a complaint about this field should name."""
        if self.places is not None and field in self.places:
            return self.places[field]
        return self.place

    def title(self) -> str:
        """The link in a word: ``r1:eth1--r2:eth1``."""
        return "--".join(f"{end.node}:{end.ifname}" for end in self.ends)

    def __repr__(self) -> str:
        return f"Link({self.kind} {self.title()})"


class Topology:
    """A lab: its name, its nodes by name (declared or just used), its links in the order of the file.

    in_order puts problems into the order of that file, and gives them their positions in it.
    """

    __slots__ = ("in_order", "links", "name", "nodes")

    def __init__(self, name: str, nodes: Mapping[str, Node], links: tuple[Link, ...]) -> None:
        self.name = name
        self.nodes = nodes
        self.links = links
        self.in_order: Callable[[Iterable[Problem]], list[Problem]] = list

    def part(self, nodes: Mapping[str, Node], links: tuple[Link, ...]) -> Topology:
        """The lab with these of its nodes and links."""
        part = Topology(self.name, nodes, links)
        part.in_order = self.in_order
        return part

    def __repr__(self) -> str:
        return f"Topology({self.name!r}, {len(self.nodes)} nodes, {len(self.links)} links)"


def _parent_in(options: Mapping[str, object]) -> tuple[str, str] | None:
    parent = options.get("parent")
    if not isinstance(parent, str):
        return None
    node, _, ifname = parent.rpartition(":")
    return node or CALLER, ifname
