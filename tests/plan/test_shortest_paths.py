"""Routes along shortest paths: packets that follow them arrive, by no way that costs more than it has to."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.plan import shortest_paths
from kokofast.plan.shortest_paths import Paths, TooManyRoutesError, gateway, network_of
from kokofast.topology.model import AF_INET, AF_INET6, End
from kokofast.topology.values import parse_address

Ends = Sequence[tuple[int, End, int]]


def end(ifname: str, *addresses: str, up: bool = True) -> End:
    return End("node", ifname, addresses=tuple(map(parse_address, addresses)), up=up)


def link(number: int, first: int, second: int, cost: int = 1, back: int | None = None) -> Ends:
    """A link with 10.0.N.0/31 and 2001:db8:0:N::/127 on it; interfaces are called after the link."""
    ends = [
        end(f"e{number}", f"10.{number >> 8}.{number & 255}.{side}/31", f"2001:db8:0:{number:x}::{side}/127")
        for side in (0, 1)
    ]
    return [(first, ends[0], cost), (second, ends[1], cost if back is None else back)]


def texts(paths: Paths, ns: int, family: int = AF_INET) -> list[str]:
    """``10.0.1.0/31 e0 10.0.0.1``, more hops behind it."""
    return [
        f"{ip_address(packed)}/{prefixlen} {' '.join(f'{ifname} {ip_address(via)}' for ifname, via in hops)}"
        for (of, packed, prefixlen, _), hops in paths.routes.get(ns, {}).items()
        if of == family
    ]


CHAIN = [link(0, 0, 1), link(1, 1, 2), link(2, 2, 3)]


def test_a_chain() -> None:
    paths = Paths(CHAIN, {})
    assert texts(paths, 0) == ["10.0.1.0/31 e0 10.0.0.1", "10.0.2.0/31 e0 10.0.0.1"]
    assert texts(paths, 1) == ["10.0.2.0/31 e1 10.0.1.1"]
    assert texts(paths, 3) == ["10.0.0.0/31 e2 10.0.2.0", "10.0.1.0/31 e2 10.0.2.0"]
    assert texts(paths, 0, AF_INET6) == [
        "2001:db8:0:1::/127 e0 2001:db8::1",
        "2001:db8:0:2::/127 e0 2001:db8::1",
    ]
    # The ends of the chain have no traffic to pass on.
    assert paths.forwards == {1: [AF_INET, AF_INET6], 2: [AF_INET, AF_INET6]}


def test_loopbacks_are_reached() -> None:
    paths = Paths(CHAIN, {3: [parse_address("10.255.0.3/32"), parse_address("2001:db8:ff::3")]})
    assert texts(paths, 0)[-1] == "10.255.0.3/32 e0 10.0.0.1"
    assert texts(paths, 0, AF_INET6)[-1] == "2001:db8:ff::3/128 e0 2001:db8::1"
    assert all("255" not in line for line in texts(paths, 3))


def test_an_address_on_several_loopbacks_is_reached_at_the_nearest() -> None:
    anycast = [parse_address("10.255.0.9/32")]
    paths = Paths(CHAIN, {0: anycast, 3: anycast})
    assert texts(paths, 1)[-1] == "10.255.0.9/32 e0 10.0.0.0"
    assert texts(paths, 2)[-1] == "10.255.0.9/32 e2 10.0.2.1"


def test_costs_count_and_hops_where_there_are_none() -> None:
    triangle = [link(0, 0, 1), link(1, 1, 2), link(2, 0, 2)]
    assert texts(Paths(triangle, {2: [parse_address("10.255.0.2")]}), 0)[-1] == "10.255.0.2/32 e2 10.0.2.1"
    triangle[2] = link(2, 0, 2, cost=3)
    assert texts(Paths(triangle, {2: [parse_address("10.255.0.2")]}), 0)[-1] == "10.255.0.2/32 e0 10.0.0.1"


def test_the_cost_is_that_of_the_end_that_sends() -> None:
    ring = [link(0, 0, 1, cost=9, back=1), link(1, 0, 2), link(2, 2, 1)]
    loopbacks = {ns: [parse_address(f"10.255.0.{ns}")] for ns in (0, 1)}
    paths = Paths(ring, loopbacks)
    assert texts(paths, 0)[-1] == "10.255.0.1/32 e1 10.0.1.1"
    assert texts(paths, 1)[-1] == "10.255.0.0/32 e0 10.0.0.0"


SQUARE = [link(0, 0, 1), link(1, 0, 2), link(2, 1, 3), link(3, 2, 3)]


def test_equal_costs_are_one_way_or_all() -> None:
    goal = {3: [parse_address("10.255.0.3")]}
    assert texts(Paths(SQUARE, goal), 0)[-1] == "10.255.0.3/32 e0 10.0.0.1"
    assert texts(Paths(SQUARE, goal, multipath=True), 0)[-1] == "10.255.0.3/32 e0 10.0.0.1 e1 10.0.1.1"


def test_parallel_links_are_equal_ways() -> None:
    paths = Paths([link(0, 0, 1), link(1, 0, 1), link(2, 1, 2)], {}, multipath=True)
    assert texts(paths, 0) == ["10.0.2.0/31 e0 10.0.0.1 e1 10.0.1.1"]


def test_a_network_between_two_equally_near_nodes_is_reached_by_both() -> None:
    ring = [link(0, 0, 1), link(1, 0, 2), link(2, 1, 2)]
    assert texts(Paths(ring, {}, multipath=True), 0) == ["10.0.2.0/31 e0 10.0.0.1 e1 10.0.1.1"]


NO_WAYS = {
    "without addresses": (end("e1"), end("e1")),
    "down": (end("e1", "10.0.1.0/31", up=False), end("e1", "10.0.1.1/31")),
    "in different networks": (end("e1", "10.0.1.0/31"), end("e1", "10.9.1.1/31")),
    "of link-local addresses": (end("e1", "fe80::1/64"), end("e1", "fe80::2/128")),
}


@pytest.mark.parametrize("why", NO_WAYS)
def test_what_carries_no_packets_is_no_way(why: str) -> None:
    first, second = NO_WAYS[why]
    paths = Paths([CHAIN[0], [(1, first, 1), (2, second, 1)], CHAIN[2]], {3: [parse_address("10.255.0.3")]})
    assert not any("10.255" in line or "10.0.2" in line for line in texts(paths, 0))


def test_each_family_has_its_own_ways() -> None:
    only_v4 = [(1, end("e1", "10.0.1.0/31"), 1), (2, end("e1", "10.0.1.1/31"), 1)]
    paths = Paths([CHAIN[0], only_v4, CHAIN[2]], {})
    assert len(texts(paths, 0)) == 2
    assert texts(paths, 0, AF_INET6) == []


def test_networks_of_a_link_with_one_end_are_reached() -> None:
    paths = Paths([*CHAIN, [(3, end("vx0", "10.9.0.1/24", "fe80::1/64"), 1)]], {})
    assert texts(paths, 0)[-1] == "10.9.0.0/24 e0 10.0.0.1"
    assert not any("fe80" in line for line in texts(paths, 0, AF_INET6))
    assert paths.forwards[3] == [AF_INET]  # the others of that network send through it


def test_a_link_with_many_ends_has_all_of_them_as_neighbours() -> None:
    lan = [(ns, end("eth0", f"10.0.0.{ns + 1}/24"), 1) for ns in range(3)]
    goal = {2: [parse_address("10.255.0.2")]}
    assert texts(Paths([lan], goal), 0) == ["10.255.0.2/32 eth0 10.0.0.3"]


def test_networks_on_several_links_are_told() -> None:
    twice = [CHAIN[0], [(1, end("e1", "10.0.0.4/24"), 1), (2, end("e1", "10.0.0.5/24"), 1)]]
    assert Paths(twice, {}).shared == {}
    twice.append([(2, end("e2", "10.0.0.6/24"), 1), (3, end("e2", "10.0.0.7/24"), 1)])
    assert Paths(twice, {}).shared == {(AF_INET, bytes([10, 0, 0, 0]), 24, 0): (1, 2)}


def test_too_many_routes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = sum(map(len, Paths(CHAIN, {}).routes.values()))
    monkeypatch.setattr(shortest_paths, "ROUTES_MAX", count)
    Paths(CHAIN, {})
    monkeypatch.setattr(shortest_paths, "ROUTES_MAX", count - 1)
    with pytest.raises(TooManyRoutesError):
        Paths(CHAIN, {})


def test_a_gateway_is_an_address_that_can_be_reached() -> None:
    own = end("a", "10.0.0.1/24", "10.1.0.1/30", "2001:db8::1/64")
    assert gateway(own, end("b", "10.1.0.6/24", "10.1.0.2/24"), AF_INET) == bytes([10, 1, 0, 2])
    assert gateway(own, end("b", "10.0.0.1/24"), AF_INET) is None
    assert gateway(own, end("b", "2001:db8::9/48"), AF_INET6) == parse_address("2001:db8::9").packed
    assert gateway(own, end("b", "2001:db8::9/48"), AF_INET) is None


@pytest.mark.parametrize(
    ("address", "network"),
    [("10.1.2.3/8", "10.0.0.0"), ("10.1.2.3/32", "10.1.2.3"), ("2001:db8::ff/125", "2001:db8::f8"), ("::2/0", "::")],
)
def test_the_network_of_an_address(address: str, network: str) -> None:
    family, found, prefixlen, metric = network_of(parse_address(address))
    assert (str(ip_address(found)), prefixlen) == (network, int(address.partition("/")[2]))
    assert (family, metric) == ((AF_INET6, 1024) if ":" in network else (AF_INET, 0))


def lan(number: int, *members: int, cost: int = 1) -> Ends:
    """A LAN with 10.N.N.0/24 on it."""
    network = f"10.{number >> 8}.{number & 255}"
    return [(ns, end(f"e{number}", f"{network}.{place}/24"), cost) for place, ns in enumerate(members, 1)]


def test_lans() -> None:
    paths = Paths([lan(0, 0, 1, 2), lan(1, 2, 3, 4)], {4: [parse_address("10.255.0.4")]})
    assert texts(paths, 0) == ["10.0.1.0/24 e0 10.0.0.3", "10.255.0.4/32 e0 10.0.0.3"]
    assert texts(paths, 2) == ["10.255.0.4/32 e1 10.0.1.3"]
    assert texts(paths, 3) == ["10.0.0.0/24 e1 10.0.1.1", "10.255.0.4/32 e1 10.0.1.3"]
    assert paths.forwards == {2: [AF_INET]}
    assert paths.carries == {0, 1}


def test_several_routers_between_two_lans() -> None:
    paths = Paths([lan(0, 0, 1, 2), lan(1, 1, 2, 3)], {}, multipath=True)
    assert texts(paths, 0) == ["10.0.1.0/24 e0 10.0.0.2 e0 10.0.0.3"]
    assert texts(Paths([lan(0, 0, 1, 2), lan(1, 1, 2, 3)], {}), 0) == ["10.0.1.0/24 e0 10.0.0.2"]


def test_a_large_lan_takes_as_many_steps_as_it_has_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Counter[str]()
    push = heapq.heappush

    def count(heap: list[tuple[int, int]], item: tuple[int, int]) -> None:
        steps["pushed"] += 1
        push(heap, item)

    monkeypatch.setattr(heapq, "heappush", count)
    size = 120
    edges = [(ns, end("e0", f"10.0.{ns >> 7}.{(ns & 127) + 1}/16"), 1) for ns in range(size)]
    paths = Paths([edges], {})
    assert paths.routes == {ns: {} for ns in range(size)}
    assert steps["pushed"] <= size * (size + 1)


@st.composite
def topologies(draw: st.DrawFn) -> tuple[list[Ends], dict[tuple[int, int], int]]:
    size = draw(st.integers(2, 7))
    members = st.lists(st.integers(0, size - 1), min_size=2, max_size=4, unique=True)
    links: list[Ends] = []
    costs = dict.fromkeys([(ns, ns) for ns in range(size)], 0)
    for number, chosen in enumerate(draw(st.lists(members, min_size=1, max_size=12))):
        ends: Ends = lan(number, *chosen) if len(chosen) > 2 else link(number, *chosen)
        ends = [(ns, one, draw(st.integers(1, 3))) for ns, one, _ in ends]
        links.append(ends)
        for (ns, _, cost), (there, _, _) in itertools.permutations(ends, 2):
            costs[ns, there] = min(cost, costs.get((ns, there), cost))
    return links, costs


def distances(costs: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """Floyd's and Warshall's: three loops, and nothing in common with Dijkstra's."""
    found = dict(costs)
    nodes = sorted({ns for pair in costs for ns in pair})
    for between, start, goal in itertools.product(nodes, repeat=3):
        if (start, between) in found and (between, goal) in found:
            far = found[start, between] + found[between, goal]
            found[start, goal] = min(far, found.get((start, goal), far))
    return found


@given(topologies(), st.booleans())
def test_packets_arrive_by_the_shortest_way(made: tuple[list[Ends], dict[tuple[int, int], int]], multi: bool) -> None:
    links, costs = made
    nodes = sorted({ns for pair in costs for ns in pair})
    paths = Paths(links, {ns: [parse_address(f"10.255.0.{ns}")] for ns in nodes}, multipath=multi)
    by_address = {
        (here, there_end.ifname, address.packed): (there, cost)
        for ends in links
        for here, _, cost in ends
        for there, there_end, _ in ends
        if here != there
        for address in there_end.addresses
    }
    shortest = distances(costs)

    def ways(start: int, goal: int) -> Iterable[int]:
        """What each way costs that the routes allow."""
        if start == goal:
            yield 0
            return
        for hop in paths.routes[start][AF_INET, bytes([10, 255, 0, goal]), 32, 0]:
            there, cost = by_address[start, *hop]
            for rest in ways(there, goal):
                yield cost + rest

    for start, goal in itertools.permutations(nodes, 2):
        if (start, goal) not in shortest:
            assert (AF_INET, bytes([10, 255, 0, goal]), 32, 0) not in paths.routes.get(start, {})
            continue
        found = list(ways(start, goal))
        assert set(found) == {shortest[start, goal]}
        assert multi or len(found) == 1
