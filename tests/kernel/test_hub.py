"""Many links in one namespace, and what of theirs goes before they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.ops import routes
from kokofast.wire.link import RTM_DELLINK
from kokofast.wire.message import KernelError, Request
from kokofast.wire.route import RTM_DELROUTE
from tests.conftest import ip
from tests.kernel.conftest import Lab, until
from tests.runs import destroy

pytestmark = pytest.mark.usefixtures("requires_root")

LINKS = 30
SHARED, VIA_OWN = "2001:db8:5::/64", "2001:db8:7::9"


class Watching(LinuxKernel):
    """Keeps each send by which links are deleted, with its answers."""

    sent: list[tuple[list[Request], list[KernelError | None]]]

    def send(
        self, handle: Handle, requests: Sequence[Request], resolve: Any = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        answers = super().send(handle, requests, resolve, whole=whole)
        if requests[-1].type == RTM_DELLINK:
            self.sent.append((list(requests), answers))
        return answers


def routes_of(name: str) -> str:
    return ip(name, "-6", "route", "show", "table", "all")


def await_routes(name: str, interfaces: int) -> None:
    """Waits for those that the kernel adds itself, when each is ready and its address is known to be the only one."""
    until(lambda: routes_of(name).count("local fe80::") == interfaces, f"the routes of {interfaces} interfaces")


def routes_through_links(name: str) -> list[str]:
    """Three for each of ours, where the kernel had the memory: a burst may cost one the first (docs/kernels.md)."""
    return [route for route in routes_of(name).splitlines() if " dev e" in route]


async def test_ipv6_routes_go_with_the_links_and_others_stay(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = lab.bundle(LINKS)
    for name, other in ((a, b), (b, a)):
        if name == a:
            ip(a, "link", "add", "own", "type", "veth", "peer", "own", "netns", other)
        ip(name, "link", "set", "own", "up")
        ip(name, "address", "add", f"2001:db8:7::{1 if name == a else 2}/64", "nodad", "dev", "own")
        ip(name, "route", "add", "2001:db8:8::/64", "via", VIA_OWN)
        ip(name, "route", "add", "2001:db8:9::/64", "dev", "own", "table", "77")
    for name in (a, b):
        await_routes(name, 1)
    before = {name: routes_of(name) for name in (a, b)}
    lab.batch()
    for name in (a, b):
        await_routes(name, LINKS + 1)
    through_links = routes_through_links(a)
    assert 3 * LINKS - 3 <= len(through_links) <= 3 * LINKS
    # By two next hops, one of them through a link of ours; and through that alone, for the same prefix.
    like_the_kernels = ["metric", "256", "proto", "kernel"]
    hops = ["nexthop", "via", VIA_OWN, "dev", "own", "nexthop", "via", "fe80::9", "dev", "e0"]
    ip(a, "-6", "route", "add", SHARED, *like_the_kernels, *hops)
    ip(a, "-6", "route", "append", SHARED, "dev", "e0", *like_the_kernels)
    monkeypatch.setattr(routes, "MANY", LINKS)
    kernel = Watching(64)
    kernel.sent = []
    try:
        result = await destroy(lab.name, kernel=kernel)
    finally:
        kernel.close()
    assert (result.status, result.links, result.errors) == ("destroyed", {"removed": LINKS, "failed": 0}, [])
    ((requests, answers),) = kernel.sent
    assert [request.type for request in requests] == [RTM_DELROUTE] * len(through_links) + [RTM_DELLINK]
    assert answers == [None] * len(requests)
    left = f"{SHARED} via {VIA_OWN} dev own"
    assert left in routes_of(a)
    ip(a, "-6", "route", "del", *left.split())
    assert {name: routes_of(name) for name in (a, b)} == before
