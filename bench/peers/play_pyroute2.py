"""Change the rates of interfaces by pyroute2, epoch after epoch: one socket a namespace, open all the time.

python -m bench.peers.play_pyroute2 FILE    FILE: as for play_epochs; the work is {namespace: {interface: rate}}
"""

from __future__ import annotations

import resource
import sys
from contextlib import ExitStack
from typing import Any

from pyroute2.netlink.rtnl import TC_H_ROOT

from bench.peers.links_pyroute2 import route_in
from bench.peers.play_epochs import play, read


def main(file: str) -> None:
    """Play the epochs of a file."""
    epochs = read(file)
    routes: dict[str, tuple[Any, dict[str, int]]] = {}

    def change(work: dict[str, dict[str, str]]) -> None:
        for namespace, rates in work.items():
            route, index = routes[namespace]
            for interface, rate in rates.items():
                tbf = {"rate": rate, "burst": 131072, "latency": "50ms"}
                route.tc("replace", "tbf", index=index[interface], parent=TC_H_ROOT, **tbf)

    with ExitStack() as stack:
        for namespace in {name for epoch in epochs for name in epoch["work"]}:
            route = stack.enter_context(route_in(namespace))
            routes[namespace] = route, {link.get_attr("IFLA_IFNAME"): link["index"] for link in route.get_links()}
        play(epochs, change)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    main(*sys.argv[1:])
