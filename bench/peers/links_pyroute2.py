"""Make or delete veth links by pyroute2: one socket a namespace after setns(2), which is faster than its NetNS.

python links_pyroute2.py up|destroy FILE    FILE: the lines of bench.contender.plain
"""

from __future__ import annotations

import ctypes
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def route_in(namespace: str) -> Iterator[Any]:
    """Open an IPRoute in a namespace."""
    with open(f"/run/netns/{namespace}", "rb") as descriptor:
        if libc.setns(descriptor.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    with IPRoute() as route:
        yield route


def main(action: str, file: str) -> None:
    """Run an action on the links of a file."""
    links = [line.split() for line in Path(file).read_text().splitlines()]
    if action == "destroy":
        by_namespace: dict[str, list[str]] = {}
        for namespace, interface, *_ in links:
            by_namespace.setdefault(namespace, []).append(interface)
        for namespace, interfaces in by_namespace.items():
            with route_in(namespace) as route:
                for interface in interfaces:
                    route.link("del", ifname=interface)
        return
    made: dict[str, list[list[str]]] = {}
    ends: dict[str, list[tuple[str, str]]] = {}
    for link in links:
        made.setdefault(link[0], []).append(link)
        for namespace, interface, address in (link[:3], link[3:]):
            ends.setdefault(namespace, []).append((interface, address))
    one_queue = {"num_tx_queues": 1, "num_rx_queues": 1}
    for namespace, here in made.items():
        with route_in(namespace) as route:
            for _, interface, _, peer_namespace, peer, _ in here:
                other = {"ifname": peer, "net_ns_fd": f"/run/netns/{peer_namespace}", **one_queue}
                route.link("add", ifname=interface, kind="veth", peer=other, **one_queue)
    for namespace, all_here in ends.items():
        with route_in(namespace) as route:
            index = {link.get_attr("IFLA_IFNAME"): link["index"] for link in route.get_links()}
            for interface, address in all_here:
                local, length = address.split("/")
                route.link("set", index=index[interface], state="up")
                route.addr("add", index=index[interface], address=local, mask=int(length), family=socket.AF_INET)


if __name__ == "__main__":
    main(*sys.argv[1:])
