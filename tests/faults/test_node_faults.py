"""Whichever call fails of a run that sets addresses, routes and sysctls of nodes: all or nothing, as with links.

KOKOFAST_SEED=N repeats a choice.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from kokofast.engine.result import Result
from kokofast.host.kernel import LinuxKernel
from kokofast.host.namespaces import open_namespace
from kokofast.topology import load
from kokofast.topology.model import Topology
from kokofast.topology.sysctls import DISABLE_IPV6
from tests.conftest import NETNS_DIRECTORY, NamespaceFactory, ip
from tests.faults.injection import FAILS, REQUEST, Fault, Faults, Point, injected
from tests.faults.machine import seed
from tests.faults.test_injection import faults_of
from tests.faults.witness import State, Witness, difference
from tests.host.helpers import read_sysctls
from tests.runs import apply, destroy

pytestmark = pytest.mark.usefixtures("requires_root")

LAB = "nodes"
SYSCTLS = (
    *("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/ip_default_ttl", "ipv4/conf/eth0/rp_filter"),
    *DISABLE_IPV6,
)
DEFAULTS = {"create": True, "subnet": "10.7.0.0/16", "subnet6": "2001:db8:7::/48"}


class Site:
    """a, b and c in a row, and d without a link; all stay. a has an address and a route of somebody else."""

    def __init__(self, netns: NamespaceFactory) -> None:
        self.names = [netns(name) for name in "abcd"]
        for name in self.names:
            for key, value in (("accept_dad", 0), ("addr_gen_mode", 1)):
                ip(None, "netns", "exec", name, "sh", "-c", f"echo {value} >/proc/sys/net/ipv6/conf/default/{key}")
            ip(name, "link", "set", "lo", "up")
        ip(self.names[0], "address", "add", "10.254.0.1/32", "dev", "lo")
        ip(self.names[0], "route", "add", "203.0.113.0/24", "dev", "lo")
        self.witness = Witness(dict(zip("abcd", self.names, strict=True)), {})

    def topology(self, variant: int) -> Topology:
        """In its second variant addresses, routes, costs and sysctls have changed, and a link is new."""
        a, b, c, d = self.names
        links: list[Any] = [[a, b], [b, c]]
        links += [{"endpoints": [a, c], "cost": 5}] if variant else []
        nodes = {
            a: {
                "netns": a,
                "addresses": ["10.255.0.1", f"10.255.1.{variant}", f"2001:db8:ff::{variant + 1}"],
                "routes": [{"to": "198.51.100.0/24", "via": "10.7.0.1", "metric": 5 + variant}],
                "sysctls": {"net.ipv4.ip_default_ttl": 70 + variant, "net.ipv4.conf.eth0.rp_filter": 1 + variant},
            },
            c: {"netns": c, "addresses": ["10.255.0.3"]},
            d: {"netns": d, "ipv6": not variant},
        }
        document = {"name": LAB, "links": links, "nodes": nodes, "defaults": DEFAULTS, "routing": "shortest-path"}
        return load(json.dumps(document).encode(), filename="lab.json")

    def state(self) -> State:
        """What the kernel shows of the three, but for what follows from the rest some time later."""
        found = {key: _lasting(key, value) for key, value in self.witness.state().items() if not _is_kernels(key)}
        for name in self.names:
            fd = open_namespace(str(NETNS_DIRECTORY / name))
            try:
                found.update({(name, "sysctl", path): value for path, value in read_sysctls(fd, SYSCTLS).items()})
            finally:
                os.close(fd)
        return found


def _is_kernels(key: tuple[str, ...]) -> bool:
    """Whether it is a route that the kernel makes by itself."""
    protocol_at, kernel = 5, 2
    return key[2:3] == ("route",) and bool(ast.literal_eval(key[3])[0][protocol_at] == kernel)


def _lasting(key: tuple[str, ...], value: object) -> object:
    """A link without its carrier and the sysctls (IFLA_OPERSTATE, CARRIER, AF_SPEC), of its flags whether it is up."""
    if key[2:3] != ("link",) or not isinstance(value, tuple):
        return value
    hardware, index, flags, attributes = value
    return hardware, index, flags & 1, {name: one for name, one in attributes.items() if name not in (16, 26, 33)}


@pytest.fixture
def site(netns: NamespaceFactory) -> Iterator[Site]:
    made = Site(netns)
    try:
        yield made
    finally:
        made.witness.close()


async def run(topology: Topology, faults: Faults, *, remove: bool = False, prune: bool = False) -> Result:
    kernel = LinuxKernel(64)
    try:
        with injected(faults):
            return await (
                destroy(LAB, kernel=kernel) if remove else apply(topology, kernel=kernel, jobs=1, prune=prune)
            )
    finally:
        kernel.close()


def essence(state: State) -> frozenset[object]:
    """What counts of a state, without the numbers of interfaces."""
    found: set[object] = set()
    for key, value in state.items():
        if "sysctl" in key:
            found.add((key, value))
        elif key[2:3] in (("address",), ("link",)):
            found.add(key)
    return frozenset(found)


async def test_whichever_call_fails_it_is_all_or_nothing(site: Site, counts: Counter[str], long: bool) -> None:
    chance = random.Random(seed())
    before_all = site.state()
    first, second = site.topology(0), site.topology(1)
    whole = Faults()
    assert (await run(first, Faults())).status == "applied"
    assert (await run(second, whole)).status == "applied"
    complete = essence(site.state())
    assert (await run(second, Faults())).status == "unchanged"
    nodes_only = {"RTM_NEWROUTE", "RTM_DELROUTE", "RTM_NEWADDR", "RTM_DELADDR", "RTM_NEWLINKPROP"}
    seen = {point.what for point in whole.passed}
    assert seen >= nodes_only - {"RTM_NEWLINKPROP"}
    numbers = range(1, len(whole.passed) + 1)
    chosen = list(numbers) if long else sorted(chance.sample(numbers, 45))
    for number in chosen:
        await run(first, Faults(), remove=True)
        assert (await run(first, Faults())).status == "applied"
        before = site.state()
        faults = Faults({number: chance.choice(faults_of(whole.passed[number - 1]))})
        result = await run(second, faults)
        counts["faults injected"] += len(faults.hit)
        after = site.state()
        told = f"[{faults}] {result.status}: {[str(error) for error in result.errors]} left {result.left}"
        assert result.left == [], told
        if result.status == "applied":
            assert essence(after) == complete, told
            continue
        assert result.status in ("rolled_back", "invalid"), told
        changed = difference(before, after)
        assert not changed, f"{told}: {sorted(map(str, changed))}"
        assert all(error.source.startswith("$.") for error in result.errors), told
    await run(first, Faults(), remove=True)
    # Sysctls stay as they are, so IPv6 may be off in d.
    left = {key for key in difference(before_all, site.state()) if "sysctl" not in key and key[0] != "d"}
    assert not left, sorted(map(str, left))


async def test_a_route_is_restored_whose_network_was_on_a_link_meanwhile(site: Site) -> None:
    """The kernel's route to that network is there until the new link is deleted."""
    a, b, c, d = site.names
    links = [[f"{a}:e0:10.8.1.1/24", f"{b}:e0:10.8.1.2/24"], [f"{b}:e1:10.8.2.1/24", f"{c}:e0:10.8.2.2/24"]]
    links += [[f"{a}:e1:10.8.2.3/24", f"{d}:e0:10.8.2.4/24"]]
    assert (await run(routed(links[:2]), Faults())).status == "applied"
    before = site.state()
    come: list[int] = []
    result = await run(routed(links), refused(1, come))
    assert (result.status, result.left, len(come)) == ("rolled_back", [], 2)
    assert not difference(before, site.state())


# The addresses of two links of a, b and c, and then of others.
MOVES = {
    "a network moves to another link": (
        ["a:e0 1 b:e0", "b:e1 2 c:e0"],
        ["a:e0 1 b:e0", "a:e1 2 d:e0"],
    ),
    "its interface gets another link": (
        ["a:e0 1 b:e0", "b:e1 2 c:e0"],
        ["a:e0 1 b:e0", "a:e1 2 d:e0", "b:e1 3 d:e1"],
    ),
    "two links swap their networks": (
        ["a:e0 1 b:e0", "b:e1 2 c:e0"],
        ["a:e0 2 b:e0", "b:e1 1 c:e0"],
    ),
}


@pytest.mark.parametrize("move", MOVES)
async def test_a_route_leads_to_a_network_that_the_node_had_itself(site: Site, move: str) -> None:
    """The kernel's route to that network is there until the address is removed, or the link."""
    first, second = (routed(addressed(site, rows)) for rows in MOVES[move])
    assert (await run(second, Faults())).status == "applied"
    wanted = routes_of(site)
    await run(first, Faults(), remove=True)
    assert (await run(first, Faults())).status == "applied"
    before = site.state()
    for number in range(1, 10):
        come: list[int] = []
        result = await run(second, refused(number, come), prune=True)
        if len(come) < number:
            break
        assert (result.status, result.left) == ("rolled_back", [])
        assert not difference(before, site.state())
    assert (result.status, number) > ("applied", 1)
    assert routes_of(site) == wanted
    assert (await run(second, Faults())).status == "unchanged"


async def test_a_route_behind_the_kernels_own_is_replaced(site: Site) -> None:
    """That is what a run with --keep-going leaves where links have failed: the address stays with its link."""
    first, second = (routed(addressed(site, rows)) for rows in MOVES["a network moves to another link"])
    assert (await run(first, Faults())).status == "applied"
    b = site.names[1]
    ip(b, "route", "append", "10.8.2.0/24", "via", "10.8.1.9", "dev", "e0", "proto", "75")
    assert (await run(second, Faults(), prune=True)).status == "applied"
    assert ip(b, "route", "show", "10.8.2.0/24").rstrip() == "10.8.2.0/24 via 10.8.1.1 dev e0 proto 75"


def addressed(site: Site, rows: list[str]) -> list[list[str]]:
    """Links of "a:e0 1 b:e0", where 1 is their network."""
    real = dict(zip("abcd", site.names, strict=True))
    return [
        [f"{real[one[0]]}{one[1:]}:10.8.{number}.1/24", f"{real[two[0]]}{two[1:]}:10.8.{number}.2/24"]
        for one, number, two in (row.split() for row in rows)
    ]


def routed(links: list[list[str]]) -> Topology:
    document = {"name": LAB, "links": links, "routing": "shortest-path"}
    return load(json.dumps(document).encode(), filename="lab.json")


def refused(number: int, come: list[int]) -> Faults:
    """The route of this number is refused; come gets a number for each that is asked for."""

    def refuse(point: Point, _: object) -> Fault | None:
        if (point.call, point.what) != (REQUEST, "RTM_NEWROUTE"):
            return None
        come.append(len(come) + 1)
        return Fault(FAILS, errno.EPERM) if len(come) == number else None

    return Faults(whenever=refuse)


def routes_of(site: Site) -> list[str]:
    return [ip(name, "route", "show", "proto", "75") for name in site.names]


@pytest.mark.parametrize("what", ["RTM_DELADDR", "RTM_DELLINKPROP"])
async def test_what_destroy_cannot_remove_is_told(site: Site, what: str) -> None:
    before = essence(site.state())
    assert (await run(site.topology(0), Faults())).status == "applied"
    refused = Fault(FAILS, errno.EPERM)
    result = await run(
        site.topology(0),
        Faults(whenever=lambda point, _: refused if (point.call, point.what) == (REQUEST, what) else None),
        remove=True,
    )
    assert result.status == "partial"
    assert {error.errno for error in result.errors} == {errno.EPERM}
    assert all("the addresses of its loopback cannot be removed" in error.message for error in result.errors)
    assert (await run(site.topology(0), Faults(), remove=True)).status == "destroyed"
    assert {key for key in essence(site.state()) ^ before if "sysctl" not in str(key)} == set()
