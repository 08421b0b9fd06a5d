"""Small topologies for the engine's tests."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from kokofast.topology import load
from kokofast.topology.model import Topology
from kokofast.wire.message import Request
from tests.engine.fake import FakeKernel
from tests.runs import apply

Links = list[dict[str, object]]

# What is there before: one link of the lab, which MIXED changes in every way that an interface can be changed.
BEFORE: Links = [{"endpoints": ["a:e0:10.0.0.1/24,2001:db8::1/64", "b:e0:10.0.0.2/24"], "mtu": 1400, "rate": "5mbit"}]

# New links between what is there and what is made, with everything that makes a request.
MIXED: Links = [
    {
        "endpoints": [
            {"node": "a", "interface": "e0", "addresses": ["10.0.0.1/24", "10.9.0.1/24"], "mac": "02:00:00:00:00:0a"},
            {"node": "b", "interface": "e0", "addresses": ["10.0.0.3/24"], "up": False, "rate": "0bit"},
        ],
        "mtu": 1300,
        "rate": "10mbit",
    },
    {"endpoints": ["a:e1:10.1.0.0/31,2001:db8:1::/127", "c:e0:10.1.0.1/31"], "txqlen": 77, "rate": "1mbit"},
    {"endpoints": ["c:e1", {"node": "d", "interface": "e0", "up": False}]},
    {"endpoints": ["a:e2", "b:e2:2001:db8:2::1/64"], "mtu": 9000},
]


def lab(links: Links, name: str = "lab", create: bool = True, **more: object) -> Topology:
    """The topology of these links, its namespaces to be made where they are missing."""
    document = {"name": name, "defaults": {"create": create}, "links": links, **more}
    return load(json.dumps(document).encode(), filename="lab.json")


def chain(links: int, **more: object) -> Topology:
    """n0 - n1 - ... - nLINKS."""
    return lab([{"endpoints": [f"n{i}:e1", f"n{i + 1}:e0"]} for i in range(links)], **more)  # type: ignore[arg-type]


def star(links: int) -> Topology:
    """links links between a and b: many in one namespace, both there before."""
    return lab([{"endpoints": [f"a:e{i}:10.{i >> 8}.{i & 255}.1/24", f"b:e{i}"]} for i in range(links)])


def wire(kernel: FakeKernel, a: str, b: str, name: str = "up0", mtu: int = 1500) -> None:
    """A veth of somebody else, up, of the same name in two namespaces."""
    for namespace in (kernel[a], kernel[b]):
        link = namespace.add(name, kind="veth")
        link.mtu, link.mac = mtu, bytes((2, len(namespace.links), *namespace.identity, 0, mtu & 0xFF))
        kernel.rtnl.set_up(namespace, link, True)
    first, second = kernel[a].by_name(name), kernel[b].by_name(name)
    assert first is not None
    assert second is not None
    first.peer, second.peer = (kernel[b], second.index), (kernel[a], first.index)


def refused(kernel: FakeKernel, node: str, ifname: str = "x") -> dict[str, object]:
    """A link of which only the kernel finds out that it cannot be, when its interface is there.

    IPv6 needs an MTU of 1280, and its parent, which is made here, leaves 1000.
    """
    if kernel[node].by_name("narrow") is None:
        kernel.rtnl.set_mtu(kernel[node], kernel[node].add("narrow", kind="dummy"), 1000)
    return {"type": "macvlan", "endpoint": f"{node}:{ifname}:2001:db8::1/64", "parent": f"{node}:narrow"}


def visible(kernel: FakeKernel) -> dict[tuple[str, str], dict[str, object]]:
    """All interfaces, without what differs from run to run: the numbers, and the MAC address computed from them."""
    numbers = {"index", "peer", "parent", "data", "mac"}
    return {
        (path, link.name): {key: value for key, value in link.state().items() if key not in numbers}
        for path, namespace in kernel.namespaces.items()
        for link in namespace.links.values()
    }


async def taken_back_at_each_request(
    machine: Callable[[], Awaitable[FakeKernel]], topology: Topology, fault: int | bool
) -> list[Request]:
    """The requests of a run, of which each, if it alone has the fault, has all be as it was."""
    kernel = await machine()
    assert (await apply(topology, kernel=kernel, jobs=1)).status == "applied"
    requests = list(kernel.requests)
    for number in range(1, len(requests) + 1):
        kernel = await machine()
        before = kernel.state()
        kernel.fail(number, fault)
        result = await apply(topology, kernel=kernel, jobs=1)
        assert (result.status, result.left) == ("rolled_back", []), number
        assert kernel.state() == before, number
    return requests
