"""Runs that set end properties, failed at each of their requests: all is as before."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from kokofast.ends.link_local import made_of
from kokofast.ends.offload import FEATURES, USUAL
from kokofast.host.kernel import Handle
from kokofast.wire.addr import AF_INET6, RTM_GETADDR
from kokofast.wire.ethtool import ETHTOOL
from kokofast.wire.link import RTM_GETLINK
from kokofast.wire.message import Message, Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import Links, lab, taken_back_at_each_request
from tests.runs import apply, inspect


def ports(bridge: str, ends: int, **more: object) -> Links:
    return [
        {"endpoints": [{"node": "a", "interface": f"e{i}", "master": bridge, **more}, f"b:e{i}"]} for i in range(ends)
    ]


async def machine(make_kernel: KernelFactory) -> FakeKernel:
    """Two ends that are ports of br0, beside br1."""
    kernel = make_kernel("a", "b")
    for name in ("br0", "br1"):
        kernel["a"].add(name, kind="bridge")
    assert (await apply(lab(ports("br0", 2)), kernel=kernel, jobs=1)).status == "applied"
    kernel.count_from_here()
    return kernel


def masters(kernel: FakeKernel) -> list[str]:
    found = kernel["a"].links
    return [found[link.master].name for link in found.values() if link.master]


async def test_ends_are_given_another_master(make_kernel: KernelFactory) -> None:
    kernel = await machine(make_kernel)
    assert masters(kernel) == ["br0", "br0"]
    assert (await apply(lab(ports("br1", 3)), kernel=kernel)).status == "applied"
    assert masters(kernel) == ["br1", "br1", "br1"]
    kernel.count_from_here()
    assert (await apply(lab(ports("br1", 3)), kernel=kernel)).status == "unchanged"
    assert kernel.requests == []


@pytest.mark.parametrize("fault", [errno.EPERM, True])
async def test_each_failure_is_taken_back(make_kernel: KernelFactory, fault: int | bool) -> None:
    requests = await taken_back_at_each_request(lambda: machine(make_kernel), lab(ports("br1", 3)), fault)
    assert len(requests) > 5


async def test_a_master_below_its_port_by_what_exists(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a")
    for name, below in (("br0", None), ("v0", "br0"), ("m0", "v0")):
        link = kernel["a"].add(name, kind="bridge" if below is None else "vlan")
        parent = kernel["a"].by_name(below or "")
        link.parent = None if parent is None else (kernel["a"], parent.index)
    before = kernel.state()
    topology = lab(
        [{"type": "macvlan", "endpoint": {"node": "a", "interface": "e0", "master": "br0"}, "parent": "a:m0"}]
    )
    result = await apply(topology, kernel=kernel)
    assert (result.status, kernel.state()) == ("invalid", before)
    (error,) = result.errors
    assert error.source == "$.links[0].endpoint.master"
    assert error.message == (
        "a port of br0 cannot be above it (a:e0 -> m0 -> v0 -> br0); give it another master or parent"
    )


async def test_what_else_the_kernel_says_of_a_master(make_kernel: KernelFactory) -> None:
    kernel = await machine(make_kernel)
    kernel.refuse[1] = errno.EBUSY
    (error,) = (await apply(lab(ports("br1", 2)), kernel=kernel, jobs=1)).errors
    assert error.source == "$.links[0].endpoints[0].master"
    assert "EBUSY" in error.message
    assert error.message.endswith("nor be the parent of a macvlan or ipvlan; give it another master or parent")


def masks(kernel: FakeKernel) -> list[int]:
    return [link.port_mask for link in kernel["a"].links.values() if link.master]


@pytest.mark.parametrize("bridge", ["br0", "br1"])
@pytest.mark.parametrize("had", [{}, {"lacp": True}])
async def test_lacp_of_ports_whatever_fails(make_kernel: KernelFactory, bridge: str, had: dict[str, object]) -> None:
    async def started() -> FakeKernel:
        kernel = await machine(make_kernel)
        await apply(lab(ports("br0", 2, **had)), kernel=kernel, jobs=1)
        for link in kernel["a"].links.values():
            link.port_mask |= bool(link.master)  # a group that somebody else has set
        kernel.count_from_here()
        return kernel

    wanted = lab(ports(bridge, 3, lacp=True))
    kernel = await started()
    assert (await apply(wanted, kernel=kernel, jobs=1)).status == "applied"
    others = 1 if bridge == "br0" else 0  # they go with the bridge
    assert masks(kernel) == [4 | others, 4 | others, 4]
    total = len(kernel.requests)
    kernel.count_from_here()
    assert (await apply(wanted, kernel=kernel)).status == "unchanged"
    assert kernel.requests == []
    assert (await apply(lab(ports(bridge, 3, lacp=False)), kernel=kernel)).links["updated"] == 3
    assert masks(kernel) == [others, others, 0]
    for number in range(1, total + 1):
        kernel = await started()
        before = kernel.state()
        kernel.refuse[number] = errno.EPERM
        result = await apply(wanted, kernel=kernel, jobs=1)
        assert (result.status, result.left) == ("rolled_back", []), number
        assert kernel.state() == before, number


async def test_an_end_that_becomes_a_port_with_lacp_is_taken_out_again(make_kernel: KernelFactory) -> None:
    wanted = lab(ports("br0", 3, lacp=True))

    async def started() -> FakeKernel:
        kernel = await machine(make_kernel)
        for link in kernel["a"].links.values():
            kernel.rtnl._set_master(kernel["a"], link, 0)
        return kernel

    kernel = await started()
    assert (await apply(wanted, kernel=kernel, jobs=1)).status == "applied"
    assert masks(kernel) == [4, 4, 4]
    for number in range(1, len(kernel.requests) + 1):
        kernel = await started()
        before = kernel.state()
        kernel.refuse[number] = errno.EPERM
        result = await apply(wanted, kernel=kernel, jobs=1)
        assert (result.status, result.left) == ("rolled_back", []), number
        assert kernel.state() == before, number


async def test_lacp_is_for_ports_of_a_bridge(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    result = await apply(lab([{"endpoints": [{"node": "a", "interface": "e0", "lacp": True}, "b:e0"]}]), kernel=kernel)
    (error,) = result.errors
    assert (result.status, error.source) == ("invalid", "$.links[0].endpoints[0].lacp")
    assert error.message.endswith("it is no port of a bridge; give the end a bridge as its master, or leave lacp out")


def named(*names: str) -> Links:
    end = {"node": "a", "interface": "e0", "altnames": list(names)}
    return [{"endpoints": [end, "b:e0"]}, {"endpoints": ["a:e1", "b:e1"]}]


@pytest.mark.parametrize("fault", [errno.EPERM, True])
async def test_each_failure_gives_the_names_back(make_kernel: KernelFactory, fault: int | bool) -> None:
    async def machine() -> FakeKernel:
        kernel = make_kernel("a", "b")
        await apply(lab(named("x", "y")[:1]), kernel=kernel, jobs=1)
        kernel.count_from_here()
        return kernel

    assert len(await taken_back_at_each_request(machine, lab(named("x", "z")), fault)) > 5


KERNELS = {(AF_INET6, made_of(b"\2\0\0\0\0\1"), 64): b"\3"}
QUIET: Links = [
    {"endpoints": ["a:e0", "b:e0"], "link_local": False},
    {"endpoints": ["a:e1", "b:e1"], "link_local": False},
]


async def chatty(make_kernel: KernelFactory) -> FakeKernel:
    """A link, of which one end has the link-local address of the kernel, and one of somebody else."""
    kernel = make_kernel("a", "b")
    await apply(
        lab([{"endpoints": [{"node": "a", "interface": "e0", "mac": "02:00:00:00:00:01"}, "b:e0"]}]), kernel=kernel
    )
    found = kernel["a"].by_name("e0")
    assert found is not None
    found.addresses.update(KERNELS | {(AF_INET6, b"\xfe\x80" + bytes(13) + b"\1", 64): b""})
    kernel.count_from_here()
    return kernel


async def test_link_local_addresses_go_and_come(make_kernel: KernelFactory) -> None:
    kernel = await chatty(make_kernel)
    assert (await apply(lab(QUIET), kernel=kernel)).status == "applied"
    found = {link.name: (link.addr_gen_mode, len(link.addresses)) for link in kernel["a"].links.values() if link.kind}
    assert found == {"e0": (1, 1), "e1": (1, 0)}
    kernel.count_from_here()
    assert (await apply(lab(QUIET), kernel=kernel)).status == "unchanged"
    assert (await apply(lab([{"endpoints": ["a:e0", "b:e0"], "link_local": True}]), kernel=kernel)).status == "applied"
    one = kernel["a"].by_name("e0")
    assert one is not None
    assert (one.addr_gen_mode, KERNELS.items() <= one.addresses.items()) == (0, True)


@pytest.mark.parametrize("fault", [errno.EPERM, True])
async def test_each_failure_gives_the_link_local_addresses_back(make_kernel: KernelFactory, fault: int | bool) -> None:
    assert len(await taken_back_at_each_request(lambda: chatty(make_kernel), lab(QUIET), fault)) > 8


async def test_only_a_file_that_has_it_asks_for_more(make_kernel: KernelFactory) -> None:
    """Showing more takes the kernel as long as all the rest of an interface."""
    asked: list[list[object]] = []
    rows: Links = [{"endpoints": ["a:e0", "b:e0"]}, QUIET[0]]
    for row in rows:
        kernel = await chatty(make_kernel)
        await apply(lab(QUIET[:1]), kernel=kernel)
        dump, seen = kernel.dump, list[object]()

        def counted(handle: Handle, request: Request) -> list[Message]:
            seen.append((request.type, sorted(request.only or ())))  # noqa: B023
            return dump(handle, request)  # noqa: B023

        kernel.dump = counted  # type: ignore[method-assign]
        assert (await apply(lab([row]), kernel=kernel)).status == "unchanged"
        asked.append(seen)
    plain, closer = asked
    assert not any("af_spec" in str(one) for one in plain)
    more = [one for one in closer if one not in plain]
    assert more == [(RTM_GETADDR, ["address", "proto"]), (RTM_GETLINK, ["af_spec"])] * 2  # of both namespaces
    assert len(closer) == len(plain) + len(more)


async def test_inspect_asks_for_more_where_the_addresses_leave_it_open(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    await apply(lab([{"endpoints": ["a:e0", "b:e0"]}, {"endpoints": ["a:e1", "b:e1"], "mtu": 1000}]), kernel=kernel)
    for name in ("a", "b"):
        link = kernel[name].by_name("e0")
        assert link is not None
        link.addresses[AF_INET6, made_of(link.mac), 64] = b"\3"
    dump, asked = kernel.dump, list[str]()

    def counted(handle: Handle, request: Request) -> list[Message]:
        if request.only == frozenset(("af_spec",)):
            asked.append(handle.path.rpartition("/")[2])
        return dump(handle, request)

    kernel.dump = counted  # type: ignore[method-assign]
    assert len(await inspect("lab", kernel=kernel)) == 2
    assert asked == []
    quiet = kernel["b"].by_name("e0")
    assert quiet is not None
    quiet.addresses.flush(AF_INET6)
    quiet.addr_gen_mode = 1
    first, _ = await inspect("lab", kernel=kernel)
    assert asked == ["b"]
    assert [end.properties for end in first.ends] == [{}, {"link_local": False}]


PLAIN: Links = [
    {"endpoints": ["a:e0", "b:e0"], "offload": False},
    {"endpoints": ["a:e1", "b:e1"], "offload": {"tx": False, "gro": True}},
]


async def offloading(make_kernel: KernelFactory) -> FakeKernel:
    """A link, of which somebody has switched one feature off at one end."""
    kernel = make_kernel("a", "b")
    await apply(lab([{"endpoints": ["a:e0", "b:e0"]}]), kernel=kernel)
    found = kernel["a"].by_name("e0")
    assert found is not None
    found.features -= {"tx-tcp6-segmentation"}
    kernel.count_from_here()
    return kernel


async def test_features_go_and_come(make_kernel: KernelFactory) -> None:
    kernel = await offloading(make_kernel)
    assert (await apply(lab(PLAIN), kernel=kernel)).status == "applied"
    found = {link.name: link.features for link in kernel["a"].links.values() if link.kind}
    assert found == {"e0": frozenset(), "e1": USUAL - set(FEATURES["tx"]) | {"rx-gro"}}
    kernel.count_from_here()
    assert (await apply(lab(PLAIN), kernel=kernel)).status == "unchanged"
    assert kernel.requests == []
    assert (await apply(lab([{"endpoints": ["a:e0", "b:e0"], "offload": True}]), kernel=kernel)).status == "applied"
    assert {link.features for name in "ab" for link in kernel[name].links.values() if link.name == "e0"} == {USUAL}


@pytest.mark.parametrize("fault", [errno.EPERM, True])
async def test_each_failure_gives_the_features_back(make_kernel: KernelFactory, fault: int | bool) -> None:
    requests = await taken_back_at_each_request(lambda: offloading(make_kernel), lab(PLAIN), fault)
    assert [request.type for request in requests].count(ETHTOOL) == 4


async def test_an_end_comes_up_with_its_features(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    assert (await apply(lab(PLAIN[:1]), kernel=kernel, jobs=1)).status == "applied"
    seen: dict[object, list[str]] = {}
    for request in kernel.requests:
        if request.type == ETHTOOL:
            device: Any = request.attributes["header"]
            seen.setdefault(device["dev_index"], []).append("features")
        elif request.header.get("flags"):
            seen.setdefault(request.header["index"], []).append("up")
    assert list(seen.values()) == [["features", "up"]] * 2


async def test_only_a_file_that_has_offload_asks_for_features(make_kernel: KernelFactory) -> None:
    kernel = await offloading(make_kernel)
    plain: Links = [{"endpoints": ["a:e0", "b:e0"]}]
    for rows in (plain, QUIET):
        assert (await apply(lab(rows), kernel=kernel)).status in ("unchanged", "applied")
        assert kernel.generic_dumps == 0
    assert ETHTOOL not in {request.type for request in kernel.requests}
    await apply(lab(PLAIN[:1]), kernel=kernel)
    assert kernel.generic_dumps == 2  # one in each namespace


async def test_a_kernel_without_ethtool_netlink(make_kernel: KernelFactory) -> None:
    kernel = await offloading(make_kernel)
    kernel.rtnl.lacks.add("ethtool")
    before = kernel.state()
    for rows, status, fact in (
        (PLAIN[:1], "invalid", "the kernel does not show what is offloaded"),
        (PLAIN[1:], "rolled_back", "there is no ethtool netlink"),
    ):
        result = await apply(lab(rows), kernel=kernel)
        assert (result.status, result.left, kernel.state()) == (status, [], before)
        error = result.errors[0]
        assert error.source == "$.links[0].offload"
        assert fact in error.message
        assert "; offload needs Linux 5.6 with CONFIG_ETHTOOL_NETLINK; leave offload out" in error.message
