"""The topology as the rest of the program sees it: nodes, links, ends, and the place of each value in the user's file.

Plain classes with slots, never changed once built. koko's command line uses them, too: importing dataclasses, typing or
msgspec would take longer than its link.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kokofast.topology.problems import Problem

_NOTHING: Mapping[str, object] = {}
_NO_TAGS: Mapping[str, str] = {}

AF_INET = 2
AF_INET6 = 10

# The node of a parent interface that is given without one: the caller's namespace. No file can declare this name.
CALLER = ""


class Address:
    """An interface address: ``packed`` is 4 or 16 bytes in network order, ``text`` as the user wrote it."""

    __slots__ = ("family", "packed", "prefixlen", "text")

    def __init__(self, family: int, packed: bytes, prefixlen: int, text: str) -> None:
        self.family = family
        self.packed = packed
        self.prefixlen = prefixlen
        self.text = text

    def key(self) -> tuple[int, bytes, int]:
        """Return what identifies an address for the kernel."""
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
        """Return the directions as a set: "both" is ingress and egress."""
        return frozenset(("ingress", "egress") if self.direction == "both" else (self.direction,))

    def __repr__(self) -> str:
        return f"Mirror({self.source!r}, {self.direction!r})"


class Route:
    """One route of a node.

    goal is the network that it leads to, via the address of the neighbour on the way, dev the name of the end that
    packets leave by; one of these two may be None. Without a metric it has the kernel's. others are further neighbours,
    of which the kernel takes one for each flow.
    """

    __slots__ = ("dev", "goal", "metric", "others", "via")

    def __init__(
        self,
        goal: Address,
        via: Address | None,
        dev: str | None,
        metric: int | None,
        others: tuple[Address, ...] = (),
    ) -> None:
        self.goal = goal
        self.via = via
        self.dev = dev
        self.metric = metric
        self.others = others

    def each(self) -> tuple[Route, ...]:
        """Return a route for each neighbour."""
        return (self, *(Route(self.goal, other, self.dev, self.metric) for other in self.others))


class Routing:
    """Routes for all nodes, along shortest paths: one hop of those that cost the same, or with multipath all."""

    __slots__ = ("multipath",)

    def __init__(self, multipath: bool) -> None:
        self.multipath = multipath


class Node:
    """A name for a network namespace.

    kind is one of netns, path, pid, host, docker, podman, cri. target is a name, a path, a pid in decimal, a container;
    empty for host. place is its declaration in the file, or its first use. addresses are those of its loopback, sysctls
    are values by the path below /proc/sys/net, also those that ipv6 stands for. host is the name of the host that it is
    on, None in a file without hosts, and before it has a place. tags are the user's own words for it.
    """

    __slots__ = (
        "addresses",
        "create",
        "host",
        "ipv6",
        "kind",
        "name",
        "place",
        "routes",
        "socket",
        "sysctls",
        "tags",
        "target",
    )

    def __init__(
        self,
        name: str,
        kind: str,
        target: str,
        *,
        create: bool = False,
        socket: str | None = None,
        addresses: tuple[Address, ...] = (),
        routes: tuple[Route, ...] = (),
        sysctls: Mapping[str, str] | None = None,
        ipv6: bool | None = None,
        host: str | None = None,
        tags: Mapping[str, str] = _NO_TAGS,
        place: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.target = target
        self.create = create
        self.socket = socket
        self.addresses = addresses
        self.routes = routes
        self.sysctls: Mapping[str, str] = sysctls if sysctls is not None else {}
        self.ipv6 = ipv6
        self.host = host
        self.tags = tags
        self.place = place

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.kind}:{self.target!r})"


class End:
    """One end of a link: an interface in the namespace of a node.

    None means the kernel's default. mtu is in bytes, mac is 6 bytes, txqlen is in packets, queues is the number of
    queue pairs. dad False: the link-local IPv6 address is used without duplicate address detection. cost is what
    routing counts for what the end sends. properties are those that have a module in kokofast.ends. places has the
    place in the file of fields that have their own.
    """

    __slots__ = (
        "addresses",
        "cost",
        "dad",
        "ifname",
        "mac",
        "mirror",
        "mtu",
        "node",
        "place",
        "places",
        "properties",
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
        cost: int = 1,
        mirror: Mirror | None = None,
        properties: Mapping[str, object] = _NOTHING,
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
        self.cost = cost
        self.mirror = mirror
        self.properties = properties
        self.place = place
        self.places = places

    def with_values(self, values: Mapping[str, object]) -> End:
        """Return a copy of the end with other values of these attributes."""
        other = End.__new__(End)
        for name in End.__slots__:
            setattr(other, name, values[name] if name in values else getattr(self, name))
        return other

    def where(self, field: str) -> str:
        """Return the place of a field in the user's file, for messages."""
        if self.places is not None and field in self.places:
            return self.places[field]
        return self.place

    def __repr__(self) -> str:
        return f"End({self.node}:{self.ifname})"


class Link:
    """A link: its kind, one or two ends, and in ``options`` the fields that its kind declares.

    parent is (node, interface) of its parent interface, None for kinds without one.
    """

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
        """Return the place of a field in the user's file, for messages."""
        if self.places is not None and field in self.places:
            return self.places[field]
        return self.place

    def with_ends(self, ends: tuple[End, ...], place: str) -> Link:
        """Return a copy of the link with other ends; place is where the user wrote that."""
        return Link(self.kind, ends, options=self.options, place=place, places=self.places)

    def title(self) -> str:
        """Return ``r1:eth1--r2:eth1``."""
        return "--".join(f"{end.node}:{end.ifname}" for end in self.ends)

    def __repr__(self) -> str:
        return f"Link({self.kind} {self.title()})"


class Host:
    """A machine of a lab that is on many.

    address is that of the underlay, parent the interface that has it, mtu what this carries in bytes. variables are the
    user's, for Ansible.
    """

    __slots__ = ("address", "mtu", "name", "parent", "place", "variables")

    def __init__(
        self, name: str, address: Address, parent: str, mtu: int, variables: Mapping[str, object], place: str
    ) -> None:
        self.name = name
        self.address = address
        self.parent = parent
        self.mtu = mtu
        self.variables = variables
        self.place = place

    def __repr__(self) -> str:
        return f"Host({self.name!r}, {self.address.text})"


class Between:
    """How a link between hosts is made: the kind of the two links that it becomes, and options of both.

    numbers are the lowest and the highest that may tell it from others; None for a kind without. place is where the
    file says so.
    """

    __slots__ = ("kind", "numbers", "options", "place")

    def __init__(self, kind: str, numbers: tuple[int, int] | None, options: Mapping[str, object], place: str) -> None:
        self.kind = kind
        self.numbers = numbers
        self.options = options
        self.place = place


class Hosts:
    """The hosts of a file, and what it says of links between them.

    hosts are by name, in the order of the file. fields are those of between, each as its rule has made it, and at()
    returns the place of a path in it. usual is how links are made that do not say it themselves, own has the others.
    """

    __slots__ = ("at", "fields", "hosts", "own", "usual")

    def __init__(self, hosts: Mapping[str, Host], fields: Mapping[str, object], at: Callable[[str], str]) -> None:
        self.hosts = hosts
        self.fields = fields
        self.at = at
        self.usual: Between | None = None
        self.own: dict[Link, Between] = {}

    def between(self, link: Link) -> Between:
        """Return how a link between hosts is made."""
        found = self.own.get(link, self.usual)
        assert found is not None
        return found


class Topology:
    """A lab: its name, its nodes by name (declared or only used), its links in the order of the file.

    routing is for routes along shortest paths. in_order sorts problems into the order of the file, and sets their
    positions. defaults are those of the file, as they are written there, for links that are added later. Of a file of
    another program imported is its format, and notes have what of it could not be kept. A lab that is on many machines
    has hosts, and an underlay: how links between them are made.
    """

    __slots__ = (
        "defaults",
        "hosts",
        "imported",
        "in_order",
        "links",
        "name",
        "nodes",
        "notes",
        "routing",
        "underlay",
    )

    def __init__(
        self, name: str, nodes: Mapping[str, Node], links: tuple[Link, ...], routing: Routing | None = None
    ) -> None:
        self.name = name
        self.nodes = nodes
        self.links = links
        self.routing = routing
        self.defaults: Mapping[str, object] = _NOTHING
        self.in_order: Callable[[Iterable[Problem]], list[Problem]] = list
        self.imported = ""
        self.notes: tuple[Problem, ...] = ()
        self.hosts: Mapping[str, Host] = {}
        self.underlay: Hosts | None = None

    def part(self, nodes: Mapping[str, Node], links: tuple[Link, ...]) -> Topology:
        """Return the lab with only these nodes and links."""
        part = Topology(self.name, nodes, links, self.routing)
        part.in_order, part.defaults = self.in_order, self.defaults
        part.hosts, part.underlay = self.hosts, self.underlay
        return part

    def __repr__(self) -> str:
        return f"Topology({self.name!r}, {len(self.nodes)} nodes, {len(self.links)} links)"


def _parent_in(options: Mapping[str, object]) -> tuple[str, str] | None:
    parent = options.get("parent")
    if not isinstance(parent, str):
        return None
    node, _, ifname = parent.rpartition(":")
    return node or CALLER, ifname
