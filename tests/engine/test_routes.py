"""The IPv6 routes of a hub: with its links' deletion, in one send, and nobody else's."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import pytest

from kokofast.engine import routes
from kokofast.engine.apply import apply
from kokofast.engine.destroy import destroy
from kokofast.host.kernel import Handle
from kokofast.plan.ownership import group_of
from kokofast.wire.link import RTM_DELLINK
from kokofast.wire.message import KernelError, Message, Request
from kokofast.wire.route import RTM_DELROUTE, RTM_GETROUTE
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import lab, star

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
        kernel[name].routes = sorted(kernel[name].links)
        kernel[name].routes.remove(1)
        ours = ours or [index for index in kernel[name].routes if index != STRANGER]
    kernel.count_from_here()
    return ours


async def test_routes_go_with_the_links_by_one_send(hub: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = await bring_up(hub, monkeypatch)
    result = await destroy("lab", kernel=hub)
    assert (result.status, result.links["removed"]) == ("destroyed", LINKS)
    assert [request.type for request in hub.requests] == [RTM_DELROUTE] * LINKS + [RTM_DELLINK]
    assert [request.attributes["oif"] for request in hub.requests[:-1]] == ours
    assert all(request.header["flags"] == 0 for request in hub.requests[:-1])
    assert hub.sends == 1
    assert (hub["a"].routes, hub.links_of("a")) == ([STRANGER], ["uplink"])


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
    assert [request.type for request in hub.requests] == [RTM_DELLINK] * LINKS


async def test_a_send_that_failed_is_looked_after(hub: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    await bring_up(hub, monkeypatch)
    failed: list[int] = []

    def send(handle: Handle, requests: Sequence[Request], resolve: Any = None, *, whole: bool = False) -> Any:
        answers = FakeKernel.send(hub, handle, requests, resolve, whole=whole)
        if whole and not failed:
            failed.append(len(requests))
            raise OSError(errno.ENOBUFS, "the answers were lost")
        return answers

    monkeypatch.setattr(hub, "send", send)
    assert (await destroy("lab", kernel=hub)).links == {"removed": LINKS, "failed": 0}
    assert failed == [LINKS + 1]


async def test_a_namespace_that_goes_loses_its_name_first(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MANY", LINKS)
    kernel = make_kernel()
    hub = lab([{"endpoints": [f"hub:e{number}", f"n{number}:e0"]} for number in range(LINKS)])
    assert (await apply(hub, kernel=kernel)).status == "applied"
    namespace = kernel["hub"]
    namespace.routes = [2, 3, STRANGER]
    kernel.count_from_here()
    names: list[bool] = []
    kernel.before = lambda request: names.append("/run/netns/hub" in kernel.namespaces)
    kernel.lose = {2: True}
    result = await destroy("lab", kernel=kernel)
    assert (result.status, result.namespaces["removed"], result.errors) == ("destroyed", LINKS + 1, [])
    assert [request.attributes for request in kernel.requests if request.type != RTM_DELROUTE] == []
    assert namespace.routes == [STRANGER]
    assert names == [False, False]
