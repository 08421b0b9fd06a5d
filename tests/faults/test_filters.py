"""Filters that others put on an interface which we mirror, just while our mirrors are taken away."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from kokofast import load
from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.ops.journal import Applied
from kokofast.ops.mirror_filters import set_mtu
from kokofast.topology.model import Topology
from kokofast.wire.message import KernelError, Message, Request
from kokofast.wire.tc import RTM_DELTFILTER, RTM_GETTFILTER, TC_H_MIN_EGRESS
from tests.conftest import ip
from tests.kernel.conftest import Lab
from tests.kernel.test_mirror import filters, qdiscs, tc
from tests.runs import apply, destroy

pytestmark = pytest.mark.usefixtures("requires_root")

MANY = 4  # filters whose look counts as a long one


class Late(LinuxKernel):
    """Somebody adds a filter right behind a look of ours that had many to read: the one with this number. Between a
    look at one filter and a deletion nobody comes: that moment is documented."""

    def __init__(self, home: str, number: int) -> None:
        super().__init__(64)
        self.home = home
        self.number = number
        self.looks = 0

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        found = super().dump(handle, request)
        if request.type == RTM_GETTFILTER and len(found) >= MANY * 3 and handle.path.endswith(self.home):
            self.looks += 1
            if self.looks == self.number:
                parent = request.header["parent"]
                assert isinstance(parent, int)
                add_theirs(self.home, "egress" if parent & 0xFFFF == TC_H_MIN_EGRESS else "ingress")
        return found


def add_theirs(home: str, hook: str, priority: int = 9) -> None:
    what = ["protocol", "all", "u32", "match", "ip", "src", "203.0.113.0/24"]
    copy = ["action", "mirred", "egress", "mirror", "dev", "lo"]
    tc(home, "filter", "add", "dev", "up0", hook, "prio", str(priority), *what, *copy)


@pytest.fixture
def mirrored(lab: Lab) -> tuple[str, Topology]:
    home, away = lab.node("home"), lab.node("away")
    ip(home, "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    end = {"node": home, "mirror": {"from": "up0", "direction": "both"}}
    lab.write([{"endpoints": [end | {"interface": f"m{i}"}, f"{away}:m{i}"], "up": False} for i in range(2 * MANY)])
    return home, load(lab.file)


async def test_a_filter_added_behind_a_long_look_stays(mirrored: tuple[str, Topology], counts: Counter[str]) -> None:
    home, topology = mirrored
    for number in range(1, 50):
        assert (await apply(topology)).status == "applied"
        kernel = Late(home, number)
        try:
            result = await destroy(topology.name, kernel=kernel)
        finally:
            kernel.close()
        assert (result.status, result.errors) == ("destroyed", [])
        if kernel.looks < number:
            assert qdiscs(home, "up0") == []
            return
        counts["strangers compared"] += 1
        (left,) = filters(home, "up0")
        assert left["pref"] == 9
        tc(home, "qdisc", "del", "dev", "up0", "clsact")
    raise AssertionError("the looks have no end")


async def test_a_filter_that_takes_the_place_of_ours_stays(
    mirrored: tuple[str, Topology], counts: Counter[str]
) -> None:
    """Somebody deletes filters of ours and puts theirs at the same priority, with the same handle."""
    home, topology = mirrored
    assert (await apply(topology)).status == "applied"

    class Replaced(LinuxKernel):
        done = False

        def send(self, handle: Handle, requests: Sequence[Request], *more: Any, **options: Any) -> Any:
            if requests[0].type == RTM_DELTFILTER and not self.done:
                self.done = True
                for priority in range(16, 16 + 4 * MANY):
                    hook = "egress" if priority % 2 else "ingress"
                    if (priority, hook) != self.first(requests[0]):
                        tc(home, "filter", "del", "dev", "up0", hook, "prio", str(priority))
                        add_theirs(home, hook, priority)
            return super().send(handle, requests, *more, **options)

        @staticmethod
        def first(request: Request) -> tuple[int, str]:
            info, parent = request.header["info"], request.header["parent"]
            assert isinstance(info, int)
            assert isinstance(parent, int)
            return info >> 16, "egress" if parent & 0xFFFF == TC_H_MIN_EGRESS else "ingress"

    kernel = Replaced(64)
    try:
        result = await destroy(topology.name, kernel=kernel)
    finally:
        kernel.close()
    assert kernel.done
    assert (result.status, result.errors) == ("destroyed", [])
    counts["strangers compared"] += 1
    assert len(filters(home, "up0")) == 4 * MANY - 1


async def test_an_mtu_that_cannot_be_given_back_keeps_no_filter(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    a = lab.node("a")
    for first, second in (("up0", "up1"), ("p0", "p1")):
        ip(a, "link", "add", first, "type", "veth", "peer", "name", second)
    before = qdiscs(a, "up0")
    mirror = {"from": "up0", "direction": "both"}
    end = {"node": a, "interface": "vx", "mirror": mirror, "mtu": 1400}
    file = lab.write([{"type": "vxlan", "endpoint": end, "parent": f"{a}:p0", "remote": "192.0.2.9", "vni": 1}])
    mtus: list[int] = []

    def set_once(kernel: LinuxKernel, handle: Handle, index: int, mtu: int) -> None:
        mtus.append(mtu)
        if len(mtus) > 1:
            raise KernelError(errno.EPERM)
        set_mtu(kernel, handle, index, mtu)

    def fail_all(applied: Applied) -> None:
        assert qdiscs(a, "up0") != before
        applied.failures[0] = OSError(errno.ESTALE, "another one")

    monkeypatch.setattr("kokofast.ops.mirror.set_mtu", set_once)
    monkeypatch.setattr("kokofast.engine.carry_out._recheck", fail_all)
    result = await apply(load(file))
    assert mtus[:2] == [1400, 1500], result.errors
    assert result.status == "partial"
    (left,) = result.left
    assert left.startswith(f"the mirror of {a}:up0: ")
    assert qdiscs(a, "up0") == before
