"""Small topologies for the engine's tests."""

from __future__ import annotations

import json

from kokofast.topology import load
from kokofast.topology.model import Topology
from tests.engine.fake import FakeKernel

Links = list[dict[str, object]]

# What is there before: one link of the lab, which MIXED changes in every way that an interface can be changed.
BEFORE: Links = [{"endpoints": ["a:e0:10.0.0.1/24,2001:db8::1/64", "b:e0:10.0.0.2/24"], "mtu": 1400}]

# New links between what is there and what is made, with everything that makes a request.
MIXED: Links = [
    {
        "endpoints": [
            {"node": "a", "interface": "e0", "addresses": ["10.0.0.1/24", "10.9.0.1/24"], "mac": "02:00:00:00:00:0a"},
            {"node": "b", "interface": "e0", "addresses": ["10.0.0.3/24"], "up": False},
        ],
        "mtu": 1300,
    },
    {"endpoints": ["a:e1:10.1.0.0/31,2001:db8:1::/127", "c:e0:10.1.0.1/31"], "txqlen": 77},
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


def visible(kernel: FakeKernel) -> dict[tuple[str, str], dict[str, object]]:
    """All interfaces, without what differs from run to run: the numbers, and the MAC address computed from them."""
    numbers = {"index", "peer", "parent", "data", "mac"}
    return {
        (path, link.name): {key: value for key, value in link.state().items() if key not in numbers}
        for path, namespace in kernel.namespaces.items()
        for link in namespace.links.values()
    }
