"""The IPv6 routes of a hub: with its links' deletion, in one send, and nobody else's."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.ops import routes
from kokofast.plan.ownership import group_of
from kokofast.wire.addr import AF_INET, AF_INET6
from kokofast.wire.link import RTM_DELLINK, RTM_GETLINK, RTM_SETLINK
from kokofast.wire.message import KernelError, Message, Request
from kokofast.wire.route import RT_TABLE_LOCAL, RT_TABLE_MAIN, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE, RTPROT_KERNEL
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import star
from tests.runs import apply, destroy

LINKS = 6
STRANGER = 99


@pytest.fixture
def hub(make_kernel: KernelFactory) -> FakeKernel:
    """The namespaces a and b without links; what is in a is the hub's when six are made."""
    return make_kernel("a", "b")


async def bring_up(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, many: int = LINKS) -> list[int]:
    """The links, and a route through each and through a stranger's interface in both namespaces; returns those of a."""
    monkeypatch.setattr(routes, "MANY", many)
    assert (await apply(star(LINKS), kernel=kernel)).status == "applied"
    ours: list[int] = []
    for name in ("a", "b"):
        kernel[name].add("uplink", index=STRANGER)
        for index in sorted(kernel[name].links.keys() - {1}):
            kernel[name].routes.add_own(index)
        ours = ours or [index for index in own_routes(kernel, name) if index != STRANGER]
    kernel.count_from_here()
    return ours


def own_routes(kernel: FakeKernel, name: str) -> list[int]:
    """The interfaces that the kernel's own IPv6 routes of a namespace lead over."""
    return sorted(route.hops[0].index for route in kernel[name].routes.all() if route.goal.family == AF_INET6)


async def test_routes_go_with_the_links_by_one_send(hub: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = await bring_up(hub, monkeypatch)
    result = await destroy("lab", kernel=hub)
    assert (result.status, result.links["removed"]) == ("destroyed", LINKS)
    assert [request.type for request in hub.requests] == [RTM_DELROUTE] * LINKS + [RTM_DELLINK]
    assert [request.attributes["oif"] for request in hub.requests[:-1]] == ours
    assert all(request.header["flags"] == 0 for request in hub.requests[:-1])
    assert hub.sends == 1
    assert (own_routes(hub, "a"), hub.links_of("a")) == ([STRANGER], ["uplink"])


async def test_of_few_links_the_kernel_takes_them_itself(hub: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    await bring_up(hub, monkeypatch, many=LINKS + 1)
    await destroy("lab", kernel=hub)
    assert [request.type for request in hub.requests] == [RTM_DELLINK]


async def test_too_many_for_one_send_stay(hub: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    await bring_up(hub, monkeypatch)
    hub.whole = LINKS
    assert (await destroy("lab", kernel=hub)).links == {"removed": LINKS, "failed": 0}
    assert [request.type for request in hub.requests] == [RTM_DELLINK]


async def test_a_route_that_is_gone_matters_to_nobody(hub: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    await bring_up(hub, monkeypatch)
    hub.refuse = {1: errno.ESRCH, 3: errno.EPERM}
    result = await destroy("lab", kernel=hub)
    assert (result.status, result.errors) == ("destroyed", [])
    assert hub.links_of("a") == ["uplink"]


class Tables(LinuxKernel):
    """Answers a dump with these messages."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        return self.messages


HANDLE = Handle("/run/netns/hub", (4, 1), None)


def route(last: int = 0, **changed: Any) -> Message:
    """A route of the kernel's through interface 2; without what is changed to None."""
    header = {
        **{"family": AF_INET6, "dst_len": 64, "src_len": 0, "table": RT_TABLE_MAIN},
        **{"protocol": RTPROT_KERNEL, "type": 1, "flags": 4},
    }
    attributes: dict[str, object] = {"dst": bytes(15) + bytes((last,)), "oif": 2, "priority": 256}
    for name, value in changed.items():
        (header if name in header else attributes)[name] = value
    attributes = {name: value for name, value in attributes.items() if value is not None}
    return Message(RTM_NEWROUTE, 0, 0, 0, header, attributes)


def chosen(*messages: Message) -> list[Request]:
    return routes.routes_in_the_way(Tables(*messages), HANDLE, range(2, 2 + routes.MANY))


@pytest.mark.parametrize(
    "changed",
    [
        {"oif": 1},
        {"oif": None},
        {"table": 77},
        {"protocol": 4},
        {"family": AF_INET},
        {"src_len": 64},
        {"gateway": bytes(16)},
        {"nh_id": 7},
    ],
    ids=lambda changed: " ".join(f"{name} {value}" for name, value in changed.items()),
)
def test_a_route_that_is_not_the_kernels_own_through_ours_stays(changed: dict[str, Any]) -> None:
    others = [route(1), route(1, oif=3), route(1, table=RT_TABLE_LOCAL)]
    assert [request.attributes["oif"] for request in chosen(route(**changed), *others)] == [2, 3, 2]


@pytest.mark.parametrize("attribute", ["nh_id", "multipath"])
def test_what_shares_its_prefix_with_several_next_hops_stays(attribute: str) -> None:
    several: dict[str, Any] = {attribute: 7, "protocol": 4, "oif": None}
    assert chosen(route(), route(priority=1024), route(dst_len=48), route(**several))[1:] == []
    assert chosen(route(**several), route()) == []
    assert len(chosen(route(**several), route(1), route(table=RT_TABLE_LOCAL))) == 2


def test_a_route_that_the_dump_has_often_is_deleted_once() -> None:
    found = chosen(*[route(), route(oif=3), route(priority=1), route(priority=None), route(dst=None, dst_len=0)] * 5)
    assert [(request.type, request.header["dst_len"], dict(request.attributes)) for request in found] == [
        (RTM_DELROUTE, 64, {"dst": bytes(16), "oif": 2, "priority": 256}),
        (RTM_DELROUTE, 64, {"dst": bytes(16), "oif": 3, "priority": 256}),
        (RTM_DELROUTE, 64, {"dst": bytes(16), "oif": 2, "priority": 1}),
        (RTM_DELROUTE, 64, {"dst": bytes(16), "oif": 2}),
        (RTM_DELROUTE, 0, {"oif": 2, "priority": 256}),
    ]
    assert {request.header["flags"] for request in found} == {0}


async def test_an_interface_that_has_left_the_group_keeps_its_routes(
    hub: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = await bring_up(hub, monkeypatch, many=LINKS - 1)
    looks = itertools.count()

    def dump(handle: Handle, request: Request) -> list[Message]:
        if request.type == RTM_GETLINK and handle.identity == hub["a"].identity and next(looks):  # the last look
            hub["a"].links[first].group = 0
        return FakeKernel.dump(hub, handle, request)

    monkeypatch.setattr(hub, "dump", dump)
    assert (await destroy("lab", kernel=hub)).status == "destroyed"
    assert [request.attributes["oif"] for request in hub.requests if request.type == RTM_DELROUTE] == others
    assert own_routes(hub, "a") == [STRANGER]  # that of the other one has gone with its peer


@pytest.mark.parametrize("refusal", [KernelError(errno.EOPNOTSUPP), OSError(errno.EBUSY, "changes too fast")])
async def test_tables_that_cannot_be_read(hub: FakeKernel, monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    await bring_up(hub, monkeypatch)

    def dump(handle: Handle, request: Request) -> list[Message]:
        if request.type == RTM_GETROUTE:
            raise refusal
        return FakeKernel.dump(hub, handle, request)

    monkeypatch.setattr(hub, "dump", dump)
    assert (await destroy("lab", kernel=hub)).status == "destroyed"
    assert [request.type for request in hub.requests] == [RTM_DELLINK]


async def test_with_a_stranger_in_the_group_no_route_is_touched(
    hub: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bring_up(hub, monkeypatch)
    for name in ("a", "b"):
        hub[name].links[STRANGER].group = group_of("lab")
    assert (await destroy("lab", kernel=hub)).links["removed"] == LINKS
    assert [request.type for request in hub.requests] == [RTM_SETLINK] * LINKS + [RTM_DELLINK]


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.ETIMEDOUT])
async def test_a_send_that_failed_is_looked_after(hub: FakeKernel, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    await bring_up(hub, monkeypatch)
    failed: list[int] = []

    def send(handle: Handle, requests: Sequence[Request], resolve: Any = None, *, whole: bool = False) -> Any:
        answers = FakeKernel.send(hub, handle, requests, resolve, whole=whole)
        if whole and not failed:
            failed.append(len(requests))
            raise OSError(code, "the answers were lost")
        return answers

    monkeypatch.setattr(hub, "send", send)
    assert (await destroy("lab", kernel=hub)).links == {"removed": LINKS, "failed": 0}
    assert failed == [LINKS + 1]
