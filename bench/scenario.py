"""What is to be made, and whether it was: a scenario has its namespaces, its links and its judge."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ClassVar

from bench import judge, netns
from bench.links import UPLINK, UPLINK_INDEX, End, Link, Tunnel
from bench.signals import uninterrupted

SAMPLE = 8  # links that are looked at closely; all are looked at
FIRST_ADDRESS = IPv4Address("10.0.0.0")
REMOTE = "192.0.2.1"
MESH_NODES = 50
CONTAINERS = 10
RATE_MBIT = 10
HOPS = 50  # a datagram passes 63 routers
ROUTE_PROTOCOL = 75  # of kokofast's routes
SEGMENT_PREFIXLEN = 16


class Scenario:
    """Links to make. Ends are up and have one queue pair.

    Args:
        prefix: What all names begin with.
        size: The number of links.
    """

    name: ClassVar[str]
    creates: ClassVar[bool] = False  # the contender makes and removes the namespaces as well
    changes: ClassVar[bool] = False  # whether it has something to change

    def __init__(self, prefix: str, size: int) -> None:
        self.prefix = prefix
        self.size = size

    def link(self, number: int) -> Link:
        """Return the link of this number."""
        raise NotImplementedError

    def namespaces(self) -> list[str]:
        """Return the names of the namespaces. They exist before the clock starts, unless ``creates``."""
        raise NotImplementedError

    def settings(self, changed: bool = False) -> dict[str, Any]:
        """Return what a file of kokofast has beside the links, before or after the change."""
        return {}

    def absent(self) -> str | None:
        """Explain why it cannot be run here; None when it can."""
        return None

    def setting(self) -> AbstractContextManager[None]:
        """Set up what stays for all runs."""
        return contextlib.nullcontext()

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """Make the namespaces for one run, and remove them.

        They are new for every run: what a kernel remembers of former links (peer ids, say) is no contender's advantage.
        """
        namespaces = netns.Namespaces(self.namespaces(), watch=self.prefix)
        try:
            namespaces.make(only_watch=self.creates)
            self.prepare()
            yield
        finally:
            with uninterrupted():
                namespaces.remove()

    def prepare(self) -> None:
        """Set up what a run needs in the fresh namespaces."""

    def links(self) -> Iterator[Link]:
        """Return all links, in order."""
        return (self.link(number) for number in range(self.size))

    @cached_property
    def ends(self) -> dict[str, list[End]]:
        """What is to be in each namespace."""
        inside: dict[str, list[End]] = {name: [] for name in self.namespaces()}
        for link in self.links():
            for end in link.ends:
                inside[end.namespace].append(end)
        return inside

    def sample(self) -> list[Link]:
        """Return the links that are checked closely."""
        return [self.link(one) for one in sorted({round(k * (self.size - 1) / (SAMPLE - 1)) for k in range(SAMPLE)})]

    def verify_up(self, queues: int | None = 1) -> None:
        """Check every end, and a sample of the links more closely.

        Of every end: name, flag, address and mask. Of the sample: the queues, and that its ends are joined.

        Args:
            queues: How many queue pairs an end must have; None: any number.

        Raises:
            WrongState: Something differs.
        """
        inside = list(self.ends.items())
        netns.for_each(len(inside), lambda number: judge.check_ends(*inside[number]))
        for link in self.sample():
            for end in link.ends:
                judge.check_queues(end, queues)
            self.check(link)

    def verify_changed(self) -> None:
        """Raise WrongState unless the change was made."""
        raise NotImplementedError

    def check(self, link: Link) -> None:
        """Raise WrongState unless the ends of a link are joined."""
        assert link.b is not None
        judge.check_traffic(link.a, link.b)

    def verify_gone(self) -> None:
        """Raise WrongState when something is still there."""
        if self.creates:
            judge.check_no_names(self.namespaces())
            return
        names = self.namespaces()
        netns.for_each(len(names), lambda number: judge.check_ends(names[number], []))

    def _name(self, number: int) -> str:
        return f"{self.prefix}{number}"

    def _address(self, number: int, second: int = 0) -> str:
        return str(FIRST_ADDRESS + 2 * number + second)


class Chain(Scenario):
    """Link i joins eth1 of namespace i and eth0 of namespace i + 1."""

    name = "chain"

    def namespaces(self) -> list[str]:
        return [self._name(number) for number in range(self.size + 1)]

    def link(self, number: int) -> Link:
        return Link(
            End(self._name(number), "eth1", self._address(number)),
            End(self._name(number + 1), "eth0", self._address(number, 1)),
        )


class ChainCreate(Chain):
    """The same; the contender makes the namespaces, and its destroy removes them."""

    name = "chain-create"
    creates = True


class Single(Chain):
    """A chain of one link: the time from start to exit. kokofast and koko by koko's flags."""

    name = "single"


class Mirror(Chain):
    """A chain; what passes lo of namespace i, either way, is copied to its eth1, and so to the next namespace."""

    name = "mirror"

    def link(self, number: int) -> Link:
        return super().link(number)._replace(mirror=True)

    def check(self, link: Link) -> None:
        super().check(link)
        assert link.b is not None
        judge.check_mirror(link.a, link.b)

    def verify_gone(self) -> None:
        super().verify_gone()
        for link in self.sample():
            judge.check_no_mirror(link.a)


class Star(Scenario):
    """Link i joins eth<i> of namespace 0 and eth0 of namespace i + 1."""

    name = "star"

    def namespaces(self) -> list[str]:
        return [self._name(number) for number in range(self.size + 1)]

    def link(self, number: int) -> Link:
        return Link(
            End(self._name(0), f"eth{number}", self._address(number)),
            End(self._name(number + 1), "eth0", self._address(number, 1)),
        )


class StarCreate(Star):
    """The same; the contender makes the namespaces, and its destroy removes them."""

    name = "star-create"
    creates = True


class StarNoLinkLocal(Star):
    """A star whose ends have no link-local address of IPv6."""

    name = "star-no-link-local"

    def settings(self, changed: bool = False) -> dict[str, Any]:
        return {"defaults": {"link_local": False}}


class StarNoIPv6(Star):
    """A star whose namespaces have no IPv6."""

    name = "star-no-ipv6"

    def settings(self, changed: bool = False) -> dict[str, Any]:
        return {"nodes": {name: {"netns": name, "ipv6": False} for name in self.namespaces()}}


class ChainStarCreate(ChainCreate):
    """The first half of the links is a chain; the others are a star, whose hub is the chain's last namespace."""

    name = "chain-star-create"

    def link(self, number: int) -> Link:
        link, hub = super().link(number), self.size // 2
        return link if number < hub else link._replace(a=End(self._name(hub), f"eth{number}", link.a.address))


class Bundle(Scenario):
    """Both ends of every link in one namespace: eth<2i> and eth<2i + 1>."""

    name = "bundle"

    def namespaces(self) -> list[str]:
        return [self._name(0)]

    def link(self, number: int) -> Link:
        return Link(
            End(self._name(0), f"eth{2 * number}", self._address(number)),
            End(self._name(0), f"eth{2 * number + 1}", self._address(number, 1)),
        )

    def check(self, link: Link) -> None:
        assert link.b is not None  # packets between two addresses of one namespace take lo
        judge.check_peer(link.a, link.b)


class Mesh(Scenario):
    """Link i is eth<i> in two of 50 namespaces: pair after pair, and from the first pair again after the last."""

    name = "mesh"

    def __init__(self, prefix: str, size: int, nodes: int = MESH_NODES) -> None:
        super().__init__(prefix, size)
        self.nodes = nodes

    def namespaces(self) -> list[str]:
        return [self._name(number) for number in range(self.nodes)]

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        return [(a, b) for a in range(self.nodes) for b in range(a + 1, self.nodes)]

    def link(self, number: int) -> Link:
        a, b = self._pairs[number % len(self._pairs)]
        return Link(
            End(self._name(a), f"eth{number}", self._address(number)),
            End(self._name(b), f"eth{number}", self._address(number, 1)),
        )


class Rated(Scenario):
    """All ends have a rate, which the change doubles."""

    changes = True

    def settings(self, changed: bool = False) -> dict[str, Any]:
        return {"defaults": {"rate": f"{RATE_MBIT * (1 + changed)}mbit"}}

    def verify_up(self, queues: int | None = 1) -> None:
        super().verify_up(queues)
        self._verify_rate(RATE_MBIT)

    def verify_changed(self) -> None:
        super().verify_up()
        self._verify_rate(2 * RATE_MBIT)

    def _verify_rate(self, mbit: int) -> None:
        """Look at all ends, or where that would take long at those of the sample's namespaces."""
        names = self.namespaces()
        if len(names) > MESH_NODES:
            names = sorted({end.namespace for link in self.sample() for end in link.ends})
        for name in names:
            judge.check_rates(name, {end.interface: mbit * 10**6 // 8 for end in self.ends[name]})


class ChainRate(Rated, Chain):
    """A chain; all ends have a rate, which the change doubles."""

    name = "chain-rate"


class MeshRate(Rated, Mesh):
    """A mesh; all ends have a rate, which the change doubles."""

    name = "mesh-rate"


class Routes(Chain):
    """A ring of as many namespaces as links. The change gives each a route to each network that it is not in."""

    name = "routes"
    changes = True

    def __init__(self, prefix: str, size: int) -> None:
        super().__init__(prefix, max(size, 3))

    def namespaces(self) -> list[str]:
        return super().namespaces()[:-1]

    def link(self, number: int) -> Link:
        link = super().link(number)
        assert link.b is not None
        return link._replace(b=link.b._replace(namespace=self._name((number + 1) % self.size)))

    def settings(self, changed: bool = False) -> dict[str, Any]:
        return {"routing": "shortest-path"} if changed else {}

    def verify_changed(self) -> None:
        self.verify_up()
        for name in self.namespaces():
            judge.check_routes(name, ROUTE_PROTOCOL, self.size - 2)
        judge.check_traffic(self.link(0).a, self.link(min(self.size // 2, HOPS)).a)


class Segment(Scenario):
    """A LAN with an end in each of as many namespaces. The size is the number of ends."""

    name = "segment"
    most: ClassVar[int] = 1023  # ends of a LAN: a bridge has no more ports

    def namespaces(self) -> list[str]:
        return [self._name(number) for number in range(self.size)]

    def link(self, number: int) -> Link:
        first, last = number * self.most, self.size if number == self._count - 1 else (number + 1) * self.most
        ends = [
            End(self._name(one), "eth0", str(FIRST_ADDRESS + one + 1), SEGMENT_PREFIXLEN) for one in range(first, last)
        ]
        return Link(ends[0], ends[1] if len(ends) > 1 else None, more=ends[2:])

    @property
    def _count(self) -> int:
        return max(self.size // self.most, 1)

    def links(self) -> Iterator[Link]:
        return (self.link(number) for number in range(self._count))

    def sample(self) -> list[Link]:
        """Return the first end and the last one of some LANs."""
        chosen = sorted({0, self._count // 2, self._count - 1})
        ends = [self.link(number).ends for number in chosen]
        return [Link(several[0], several[-1]) for several in ends]

    def check(self, link: Link) -> None:
        if link.a != link.b:
            super().check(link)

    @contextmanager
    def fresh(self) -> Iterator[None]:
        with super().fresh():
            try:
                yield
            finally:
                with uninterrupted():
                    subprocess.run(["ip", "netns", "delete", self._bridges], check=False, capture_output=True)

    def verify_gone(self) -> None:
        super().verify_gone()
        judge.check_no_names([self._bridges])

    @property
    def _bridges(self) -> str:
        """The namespace that kokofast makes for the bridges of a lab, which has the name of its file."""
        return f"{self.prefix}{self.name}-segments"


class Segments(Segment):
    """LANs with four ends each, all in namespaces of their own. The size is the number of ends."""

    name = "segments"
    most = 4


class Vxlan(Scenario):
    """Link i is a vxlan, eth0 of namespace i + 1, with VNI i + 1, on an interface of namespace 0."""

    name = "vxlan"

    def namespaces(self) -> list[str]:
        return [self._name(number) for number in range(self.size + 1)]

    def link(self, number: int) -> Link:
        end = End(self._name(number + 1), "eth0", self._address(number))
        return Link(end, None, Tunnel(self._name(0), REMOTE, number + 1))

    def prepare(self) -> None:
        index = ("index", str(UPLINK_INDEX))
        netns.ip("-n", self._name(0), "link", "add", UPLINK, "up", *index, "type", "veth", "peer", "name", "up1")

    def check(self, link: Link) -> None:
        judge.check_vxlan(link)


class Containers(Mesh):
    """A mesh of containers, in a dockerd of the benchmark's own.

    The containers stay for all runs. They have names as namespaces, too (``ip netns attach``), for the judge and for
    contenders that do not ask dockerd.
    """

    name = "docker"
    socket: Path  # of the daemon, while it is there

    def __init__(self, prefix: str, size: int, nodes: int = CONTAINERS) -> None:
        super().__init__(prefix, size, nodes)

    def absent(self) -> str | None:
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        missing = [tool for tool in ("dockerd", "docker", "runc", "busybox") if shutil.which(tool, path=path) is None]
        return f"not here: {', '.join(missing)} (apt-get install docker.io busybox-static)" if missing else None

    @contextmanager
    def setting(self) -> Iterator[None]:
        from tests.runtimes.engines import IMAGE, Docker  # as the tests do: a daemon in a temporary directory

        with Docker() as engine:
            self.socket = engine.socket
            try:
                for name in self.namespaces():
                    engine("run", "--detach", "--name", name, "--network", "none", IMAGE)
                    netns.ip("netns", "attach", name, engine("inspect", "--format", "{{.State.Pid}}", name))
                yield
            finally:
                with uninterrupted():
                    for name in self.namespaces():
                        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    @contextmanager
    def fresh(self) -> Iterator[None]:
        try:
            yield
        finally:
            with uninterrupted():
                for name in self.namespaces():
                    netns.remove_interfaces(name, "eth")


SCENARIOS: dict[str, type[Scenario]] = {
    one.name: one
    for one in (
        *(Chain, ChainCreate, Star, StarNoLinkLocal, StarNoIPv6, StarCreate, ChainStarCreate),
        *(Bundle, Mesh, Vxlan, Mirror, Containers, Single),
        *(ChainRate, MeshRate, Routes, Segment, Segments),
    )
}
