"""Addresses, routes and sysctls of nodes: set, changed and restored. Those of others stay."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kokofast.engine.result import Result
from kokofast.host.kernel import Handle
from kokofast.plan.ownership import node_mark
from kokofast.topology.model import Topology
from kokofast.topology.routes import text_of
from kokofast.wire.addr import AF_INET, AF_INET6, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import RTM_DELLINKPROP, RTM_NEWLINKPROP
from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, KernelError, Request
from kokofast.wire.route import RT_TABLE_MAIN, RTM_DELROUTE, RTM_NEWROUTE, RTPROT_KOKOFAST
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import Links, lab
from tests.runs import apply, destroy

STATIC = 4
NODES = "abcd"
OF_NODES = {RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWADDR, RTM_DELADDR, RTM_NEWLINKPROP, RTM_DELLINKPROP}
FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
IPV6_OFF = ("ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6")
LOOPBACK_MARKED = (node_mark("lab"),)


def square(
    *, cost: int = 1, routing: object = "shortest-path", nodes: dict[str, dict[str, Any]] | None = None
) -> Topology:
    """a - b - d and a - c - d, each with an address of its loopback of both families."""
    links: list[Any] = [["a", "b"], ["b", "d"], {"endpoints": ["a", "c"], "cost": cost}, ["c", "d"]]
    given = {
        name: {
            "netns": name,
            "addresses": [f"10.255.0.{number}", f"2001:db8:ff::{number}"],
            **(nodes or {}).get(name, {}),
        }
        for number, name in enumerate(NODES)
    }
    subnets = {"subnet": "10.77.0.0/16", "subnet6": "2001:db8:77::/48"}
    extra: dict[str, Any] = {"routing": routing} if routing else {}
    return lab(links, create=False, defaults=subnets, nodes=given, **extra)


def routes(kernel: FakeKernel, name: str, protocol: int = RTPROT_KOKOFAST) -> dict[str, str]:
    """Network -> gateways and interfaces, of the routes of a protocol."""
    names = {index: link.name for index, link in kernel[name].links.items()}
    return {
        text_of(route.goal.dst, route.goal.length): " ".join(
            f"{text_of(hop.gateway, 128) if hop.gateway else ''} {names[hop.index]}".strip() for hop in route.hops
        )
        for route in kernel[name].routes.asked
        if route.protocol == protocol
    }


def loopback(kernel: FakeKernel, name: str) -> set[str]:
    return {text_of(packed, length) for _, packed, length in kernel[name].links[1].addresses}


def sysctl(kernel: FakeKernel, name: str, *paths: str) -> list[str]:
    return [kernel[name].sysctls.read(path) for path in paths]


def ask(kernel: FakeKernel, name: str, request: Request) -> None:
    """Somebody else's request, which counts as none."""
    (handle,) = kernel.open_all([f"/run/netns/{name}"])
    assert not isinstance(handle, OSError)
    (refusal,) = kernel.send(handle, [request])
    assert refusal is None, refusal
    kernel.requests.remove(request)


def add_route(
    kernel: FakeKernel, name: str, to: bytes, length: int, via: bytes, protocol: int = STATIC, **more: int
) -> None:
    family = AF_INET if len(to) == 4 else AF_INET6
    header = {"family": family, "dst_len": length, "table": RT_TABLE_MAIN, "protocol": protocol, "type": 1}
    link = kernel[name].by_name("eth0")
    assert link is not None
    attributes = {"dst": to, "oif": link.index, "gateway": via, **more}
    ask(kernel, name, Request(RTM_NEWROUTE, header, attributes, NLM_F_CREATE | NLM_F_EXCL))


@pytest.fixture
def site(make_kernel: KernelFactory) -> Callable[[], FakeKernel]:
    """The four namespaces; a has an address of its loopback that is somebody else's."""

    def make() -> FakeKernel:
        kernel = make_kernel(*NODES)
        for name in NODES:
            kernel.rtnl.set_up(kernel[name], kernel[name].links[1], True)
        header = {"family": AF_INET, "prefixlen": 32, "index": 1}
        ask(kernel, "a", Request(RTM_NEWADDR, header, {"local": bytes((10, 254, 0, 1))}, NLM_F_CREATE))
        kernel.count_from_here()
        return kernel

    return make


async def up(kernel: FakeKernel, topology: Topology | None = None, **options: Any) -> Result:
    result = await apply(topology or square(), kernel=kernel, **options)
    assert (result.status, result.errors, result.left) in (("applied", [], []), ("unchanged", [], []))
    return result


async def test_routes_addresses_and_forwarding_of_a_lab(site: Callable[[], FakeKernel]) -> None:
    kernel = site()
    await up(kernel)
    assert routes(kernel, "a") == {
        "10.255.0.1": "10.77.0.1 eth0", "10.255.0.2": "10.77.0.5 eth1", "10.255.0.3": "10.77.0.1 eth0",
        "10.77.0.2/31": "10.77.0.1 eth0", "10.77.0.6/31": "10.77.0.5 eth1",
        "2001:db8:ff::1": "2001:db8:77::1 eth0", "2001:db8:ff::2": "2001:db8:77::5 eth1",
        "2001:db8:ff::3": "2001:db8:77::1 eth0",
        "2001:db8:77::2/127": "2001:db8:77::1 eth0", "2001:db8:77::6/127": "2001:db8:77::5 eth1",
    }  # fmt: skip
    assert loopback(kernel, "a") == {"10.255.0.0", "2001:db8:ff::", "10.254.0.1"}
    assert {name: sysctl(kernel, name, *FORWARDING) for name in NODES} == {name: ["1", "1"] for name in NODES}
    assert {kernel[name].links[1].altnames for name in NODES} == {LOOPBACK_MARKED}


async def test_a_second_run_sends_nothing(site: Callable[[], FakeKernel]) -> None:
    kernel = site()
    await up(kernel)
    before = kernel.state()
    kernel.count_from_here()
    kernel.sysctls.clear()
    assert (await up(kernel)).status == "unchanged"
    assert (kernel.requests, kernel.sysctls) == ([], [])
    assert kernel.state() == before


async def test_the_sysctls_of_many_are_read_together(
    site: Callable[[], FakeKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = site()
    await up(kernel)
    asked: list[int] = []
    with_sysctls = kernel.with_sysctls

    def count(handles: Sequence[Handle], job: Any) -> list[Any]:
        asked.append(len(handles))
        return with_sysctls(handles, job)

    monkeypatch.setattr(kernel, "with_sysctls", count)
    await up(kernel)
    assert asked == [len(NODES)]
    await up(kernel, square(routing=None, nodes={"b": {"sysctls": {"net.ipv4.ip_default_ttl": 70}}}))
    assert asked == [len(NODES), 1, 1]  # one is read, and written; the others set none


@pytest.mark.parametrize("step", ["using", "with_sysctls"])
async def test_one_that_cannot_be_read_keeps_no_other_from_it(
    site: Callable[[], FakeKernel], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The namespace of a name is replaced between the survey and the plan, or its sysctls are out of reach."""
    kernel = site()
    real, rewind = getattr(kernel, step), kernel.rewind
    refused = OSError(errno.ESTALE, "the name leads to another network namespace")
    surveyed: list[bool] = []

    def refuse(handles: Sequence[Handle], *rest: Any) -> Any:
        there = [handle.path == "/run/netns/b" for handle in handles]
        if step == "with_sysctls":
            return [refused if bad else good for bad, good in zip(there, real(handles, *rest), strict=True)]
        if surveyed and any(there):
            raise refused
        return real(handles)

    def end_survey() -> None:
        surveyed.append(True)
        rewind()

    monkeypatch.setattr(kernel, "rewind", end_survey)
    monkeypatch.setattr(kernel, step, refuse)
    before = kernel.state()
    result = await apply(square(), kernel=kernel)
    assert result.status == "invalid"
    assert [(error.source, error.message) for error in result.errors] == [
        ("$.nodes.b", "node b: its routes cannot be read: the name leads to another network namespace")
    ]
    assert kernel.state() == before


async def test_only_what_differs_is_changed(site: Callable[[], FakeKernel]) -> None:
    kernel = site()
    await up(kernel)
    before = {name: routes(kernel, name) for name in NODES}
    kernel.count_from_here()
    result = await up(kernel, square(cost=9))
    assert result.links["updated"] == 0
    changed = {
        (name, goal) for name in NODES for goal, way in routes(kernel, name).items() if before[name].get(goal) != way
    }
    # Between a and c by the others: the costs of a way are those of its ends that send.
    assert {goal for name, goal in changed if name == "a" and "." in goal} == {"10.255.0.2", "10.77.0.6/31"}
    assert {request.type for request in kernel.requests} == {RTM_NEWROUTE, RTM_DELROUTE}
    assert len(kernel.requests) == 2 * len(changed)


async def test_several_hops_come_and_go(site: Callable[[], FakeKernel]) -> None:
    kernel = site()
    await up(kernel)
    alone = {name: routes(kernel, name) for name in NODES}
    several = square(routing={"mode": "shortest-path", "multipath": True})
    await up(kernel, several)
    assert routes(kernel, "a")["10.255.0.3"] == "10.77.0.1 eth0 10.77.0.5 eth1"
    assert routes(kernel, "a")["2001:db8:ff::3"] == "2001:db8:77::1 eth0 2001:db8:77::5 eth1"
    assert (await up(kernel, several)).status == "unchanged"
    await up(kernel)
    assert {name: routes(kernel, name) for name in NODES} == alone


async def test_what_leaves_the_file_goes_and_strangers_stay(site: Callable[[], FakeKernel]) -> None:
    kernel = site()
    bare = {name: kernel[name].links[1].state() for name in NODES}
    await up(kernel)
    add_route(kernel, "a", bytes((198, 51, 100, 0)), 24, bytes((10, 77, 0, 1)))
    add_route(kernel, "a", bytes((10, 255, 0, 3)), 32, bytes((10, 77, 0, 1)), priority=5)
    theirs = routes(kernel, "a", STATIC)
    assert (await up(kernel)).status == "unchanged"
    await up(kernel, square(routing=None))
    assert [routes(kernel, name) for name in NODES] == [{}] * 4
    assert routes(kernel, "a", STATIC) == theirs
    assert loopback(kernel, "a") == {"10.255.0.0", "2001:db8:ff::", "10.254.0.1"}
    result = await destroy("lab", kernel=kernel)
    assert (result.status, result.errors) == ("destroyed", [])
    assert {name: kernel[name].links[1].state() for name in NODES} == bare


async def test_routes_of_our_protocol_over_strangers_links_are_not_ours(site: Callable[[], FakeKernel]) -> None:
    kernel = site()
    add_up(kernel, "a", "eth0", bytes((192, 0, 2, 1)))
    add_route(kernel, "a", bytes((198, 51, 100, 0)), 24, bytes((192, 0, 2, 9)), RTPROT_KOKOFAST)
    before = kernel["a"].routes.state()
    topology = lab([{"endpoints": ["a:x", "b:x"]}], create=False, routing="shortest-path")
    await up(kernel, topology)
    assert kernel["a"].routes.state() == before
    await destroy("lab", kernel=kernel)
    assert kernel["a"].routes.state() == before


def add_up(kernel: FakeKernel, name: str, ifname: str, address: bytes) -> None:
    """An interface of somebody else."""
    link = kernel[name].add(ifname, kind="dummy")
    kernel.rtnl.set_up(kernel[name], link, True)
    header = {"family": AF_INET, "prefixlen": 24, "index": link.index}
    ask(kernel, name, Request(RTM_NEWADDR, header, {"local": address}, NLM_F_CREATE))


@pytest.mark.parametrize("protocol", [STATIC, RTPROT_KOKOFAST])
async def test_a_strangers_route_in_the_way_is_refused(site: Callable[[], FakeKernel], protocol: int) -> None:
    kernel = site()
    add_up(kernel, "a", "up0", bytes((192, 0, 2, 1)))
    header = {"family": AF_INET, "dst_len": 32, "table": RT_TABLE_MAIN, "protocol": protocol, "type": 1}
    (index,) = (link.index for link in kernel["a"].links.values() if link.name == "up0")
    attributes = {"dst": bytes((10, 255, 0, 3)), "oif": index, "gateway": bytes((192, 0, 2, 9))}
    ask(kernel, "a", Request(RTM_NEWROUTE, header, attributes, NLM_F_CREATE | NLM_F_EXCL))
    before = kernel.state()
    result = await apply(square(), kernel=kernel)
    assert (result.status, kernel.state()) == ("invalid", before)
    (error,) = result.errors
    words = {STATIC: "static", RTPROT_KOKOFAST: "75"}[protocol]
    assert error.message == (
        f"a already has a route to 10.255.0.3 (via 192.0.2.9 dev up0 proto {words}), which is not ours; remove that"
    )


async def test_a_route_that_somebody_adds_meanwhile_is_told_and_kept(site: Callable[[], FakeKernel]) -> None:
    kernel = site()
    added: list[bool] = []

    def meddle(request: Request) -> None:
        if request.type == RTM_NEWROUTE and request.attributes.get("dst") == bytes((10, 255, 0, 3)) and not added:
            added.append(True)
            name = next(name for name in NODES if kernel[name].links[1].altnames and "eth1" in kernel.links_of(name))
            add_route(kernel, name, bytes((10, 255, 0, 3)), 32, bytes((10, 77, 0, 1)))

    kernel.before = meddle
    result = await apply(square(nodes={name: {} for name in "a"}), kernel=kernel, jobs=1)
    kernel.before = None
    assert result.status == "rolled_back"
    (error,) = result.errors
    assert error.source == "$.routing"
    assert "there is a route to 10.255.0.3 already that is not ours; remove it first" in error.message


def changed() -> Topology:
    """What differs from square() in every way that a node can."""
    nodes: dict[str, dict[str, Any]] = {
        "a": {
            "addresses": ["10.255.0.0", "10.255.1.0", "2001:db8:ff::10"],
            "routes": [{"to": "198.51.100.0/24", "via": "10.77.0.1", "metric": 5}],
            "sysctls": {"net.ipv4.ip_default_ttl": 70, "net.ipv4.conf.eth0.rp_filter": 1},
        },
        "c": {"addresses": []},
    }
    return square(cost=9, nodes=nodes)


async def prepared(site: Callable[[], FakeKernel], topology: Topology) -> FakeKernel:
    kernel = site()
    await up(kernel, topology, jobs=1)
    kernel.count_from_here()
    return kernel


async def count(site: Callable[[], FakeKernel], first: Topology, then: Topology) -> list[Request]:
    kernel = await prepared(site, first)
    await up(kernel, then, jobs=1)
    return list(kernel.requests)


def some_of(requests: list[Request]) -> list[tuple[int, Request]]:
    """Each first one of a kind about nodes, and some of those that are alike, with their numbers."""
    found = list(enumerate(requests, 1))
    return [
        (number, request)
        for number, request in found
        if request.type in OF_NODES and (number % 4 == 0 or request.type != requests[number - 2].type)
    ]


async def test_all_or_nothing_whichever_request_is_refused(site: Callable[[], FakeKernel]) -> None:
    first, then = square(), changed()
    requests = await count(site, first, then)
    assert OF_NODES - {request.type for request in requests} == {RTM_NEWLINKPROP, RTM_DELLINKPROP}
    for number, request in enumerate(requests, 1):
        kernel = await prepared(site, first)
        before = kernel.state()
        kernel.refuse[number] = errno.EPERM
        result = await apply(then, kernel=kernel, jobs=1)
        assert (result.status, result.left) == ("rolled_back", []), request
        assert kernel.state() == before, request
        (error,) = result.errors
        assert error.source.startswith(("$.nodes.", "$.routing")), request
        assert "EPERM" in error.message


@pytest.mark.parametrize("carried_out", [False, True])
async def test_all_or_nothing_whichever_kind_of_answer_is_lost(
    site: Callable[[], FakeKernel], carried_out: bool
) -> None:
    first, then = square(), changed()
    for number, request in some_of(await count(site, first, then)):
        kernel = await prepared(site, first)
        before = kernel.state()
        kernel.lose[number] = carried_out
        result = await apply(then, kernel=kernel, jobs=1)
        assert (result.status, result.left) == ("rolled_back", []), request
        assert kernel.state() == before, request


async def test_all_or_nothing_whichever_sysctl_is_refused(site: Callable[[], FakeKernel]) -> None:
    first, then = square(routing=None), changed()
    kernel = await prepared(site, first)
    kernel.sysctls.clear()
    await up(kernel, then, jobs=1)
    written = list(kernel.sysctls)
    assert {path for path, _ in written} == {*FORWARDING, "ipv4/ip_default_ttl", "ipv4/conf/eth0/rp_filter"}
    for number in range(len(written)):
        kernel = await prepared(site, first)
        before = kernel.state()
        left = [number]

        def refuse(path: str, _: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EINVAL, "Invalid argument", path)

        kernel.before_sysctl = refuse
        result = await apply(then, kernel=kernel, jobs=1)
        assert (result.status, result.left) == ("rolled_back", []), written[number]
        assert kernel.state() == before, written[number]
        (error,) = result.errors
        assert error.source in ("$.nodes.a.sysctls", "$.routing"), written[number]
        assert "cannot be set to" in error.message


async def test_a_sysctl_for_all_takes_back_what_it_has_set_with_it(site: Callable[[], FakeKernel]) -> None:
    """A value for all interfaces becomes that of the default and of each."""
    kernel = site()
    add_up(kernel, "a", "up0", bytes((192, 0, 2, 1)))
    theirs = {IPV6_OFF[1]: "1", "ipv4/conf/up0/forwarding": "1", "ipv4/conf/all/accept_redirects": "0"}
    for path, value in theirs.items():
        kernel["a"].sysctls.write(path, value)
    before = kernel.state()
    refused = {"net.ipv4.ip_forward": 1, "net.ipv4.conf.eth0.nosuch": 1}
    nodes: dict[str, Any] = {"a": {"netns": "a", "ipv6": False, "sysctls": refused}}
    result = await apply(lab([{"endpoints": ["a", "b"]}], create=False, nodes=nodes), kernel=kernel)
    assert (result.status, result.left) == ("rolled_back", [])
    assert sysctl(kernel, "a", *theirs) == [*theirs.values()]
    assert kernel.state() == before


async def test_a_run_that_was_killed_after_any_kind_of_request_is_completed(site: Callable[[], FakeKernel]) -> None:
    class Killed(BaseException):
        pass

    for first, then in ((None, square()), (square(), changed())):
        kernel = site()
        if first is not None:
            kernel = await prepared(site, first)
        await up(kernel, then, jobs=1)
        wanted = essence(kernel)
        for number, _ in some_of(kernel.requests):
            kernel = site() if first is None else await prepared(site, first)

            def kill(_: Request, kernel: FakeKernel = kernel, number: int = number) -> None:
                if len(kernel.requests) >= number:  # and nothing more can be taken back either
                    raise Killed

            kernel.before = kill
            with pytest.raises((Killed, BaseExceptionGroup)):
                await apply(then, kernel=kernel, jobs=1)
            kernel.before = None
            await up(kernel, then)
            assert essence(kernel) == wanted, number
            assert (await up(kernel, then)).status == "unchanged"
            assert (await destroy("lab", kernel=kernel)).status == "destroyed"
            assert [loopback(kernel, name) for name in NODES] == [{"10.254.0.1"}, set(), set(), set()]
            assert [kernel[name].links[1].altnames for name in NODES] == [()] * 4


def essence(kernel: FakeKernel) -> dict[str, object]:
    """What counts of the nodes, without the numbers of interfaces."""
    return {
        name: (
            routes(kernel, name),
            loopback(kernel, name),
            kernel[name].sysctls.state(),
            kernel[name].links[1].altnames,
        )
        for name in NODES
    }


async def test_what_the_kernel_refuses_names_its_place(site: Callable[[], FakeKernel]) -> None:
    cases = (
        ({"to": "192.0.2.0/24", "via": "10.0.0.255"}, "192.0.2.0/24: Nexthop has invalid gateway (EINVAL)"),
        ({"to": "2001:db8:9::/48", "via": "fe80::1", "dev": "e0"}, "IPv6 is disabled on nexthop device (EACCES)"),
    )
    for route, words in cases:
        kernel = site()
        kernel["a"].sysctls.switch_ipv6_off()
        before = kernel.state()
        links: Links = [{"endpoints": ["a:e0:10.0.0.1/24", "b:e0"]}]
        topology = lab(links, create=False, nodes={"a": {"netns": "a", "routes": [route]}})
        result = await apply(topology, kernel=kernel)
        assert (result.status, kernel.state()) == ("rolled_back", before)
        (error,) = result.errors
        assert error.source == "$.nodes.a.routes[0]"
        assert words in error.message


async def test_what_destroy_cannot_remove_is_told_and_removed_by_the_next_one(site: Callable[[], FakeKernel]) -> None:
    for type in (RTM_DELADDR, RTM_DELLINKPROP):
        kernel = site()
        bare = [loopback(kernel, name) for name in NODES]
        await up(kernel)

        def refuse(request: Request, type: int = type) -> None:
            if request.type == type:
                raise KernelError(errno.EPERM)

        kernel.refuse_if = refuse
        result = await destroy("lab", kernel=kernel)
        assert (result.status, {error.errno for error in result.errors}) == ("partial", {errno.EPERM})
        kernel.refuse_if = None
        assert (await destroy("lab", kernel=kernel)).status == "destroyed"
        assert [loopback(kernel, name) for name in NODES] == bare
