"""Many mirrors of one interface: what each of them costs, and that all of them go again."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from kokofast.host.kernel import Handle
from kokofast.topology.model import Topology
from kokofast.wire.message import KernelError, Message, Request
from kokofast.wire.tc import CLSACT_HANDLE, RTM_DELQDISC, RTM_GETTFILTER, RTM_NEWTFILTER, TC_H_CLSACT
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import lab, visible
from tests.runs import apply, destroy

if TYPE_CHECKING:
    from kokofast.wire.attributes import Resolve

Count = Callable[[FakeKernel], int]


class CountingKernel(FakeKernel):
    """Counts the filters that it shows."""

    shown = 0

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        found = super().dump(handle, request)
        if request.type == RTM_GETTFILTER:
            self.shown += len(found)
        return found


def mirrors(count: int, *, mirrored: bool = True) -> Topology:
    more = {"mirror": {"from": "up0", "direction": "both"}} if mirrored else {}
    return lab([{"endpoints": [{"node": "a", "interface": f"m{i}", **more}, f"b:m{i}"]} for i in range(count)])


def counting(make_kernel: KernelFactory) -> CountingKernel:
    kernel = make_kernel("a", "b")
    kernel["a"].add("up0")
    kernel.__class__ = CountingKernel
    assert isinstance(kernel, CountingKernel)
    return kernel


@pytest.mark.parametrize("task", ["add", "nothing to do", "add one more", "remove", "destroy", "roll back"])
async def test_a_mirror_costs_the_same_among_many(make_kernel: KernelFactory, task: str) -> None:
    async def cost(count: int) -> int:
        kernel = counting(make_kernel)
        before = visible(kernel)
        if task not in ("add", "roll back"):
            assert (await apply(mirrors(count), kernel=kernel)).status == "applied"
        kernel.count_from_here()
        kernel.shown = 0
        if task == "destroy":
            assert (await destroy("lab", kernel=kernel)).status == "destroyed"
            assert visible(kernel) == before
        elif task == "roll back":
            filters = 0

            def refuse_the_last(request: Request) -> None:
                nonlocal filters
                filters += request.type == RTM_NEWTFILTER and request.attributes["kind"] == "u32"
                if filters == 2 * count:
                    kernel.refuse[kernel._count] = errno.ENOMEM
                    filters += 1

            kernel.before = refuse_the_last
            assert (await apply(mirrors(count), kernel=kernel)).status == "rolled_back"
            assert visible(kernel) == before
        else:
            wanted = mirrors(count + (task == "add one more"), mirrored=task != "remove")
            assert (await apply(wanted, kernel=kernel)).status == (
                "unchanged" if task == "nothing to do" else "applied"
            )
            left = kernel["a"].by_name("up0").control.filters  # type: ignore[union-attr]
            assert len(left) == (0 if task == "remove" else 2 * len(wanted.links))
        return kernel.shown + len(kernel.requests)

    few, many = await cost(50), await cost(100)
    assert many < 2.2 * few, (few, many)


async def test_a_qdisc_that_went_meanwhile_is_made_again(make_kernel: KernelFactory) -> None:
    kernel = counting(make_kernel)
    up0 = kernel["a"].by_name("up0")
    assert up0 is not None

    def take_it_away(request: Request) -> None:
        if request.type == RTM_NEWTFILTER and len(up0.control.filters) == 7:
            kernel.before = None
            header = {"parent": TC_H_CLSACT, "handle": CLSACT_HANDLE}
            up0.control.carry_out(RTM_DELQDISC, header, {})

    kernel.before = take_it_away
    assert (await apply(mirrors(20), kernel=kernel)).status == "applied"
    assert kernel.before is None
    assert 0 < len(up0.control.filters) < 40
    # What somebody has deleted comes back with the next run, and the qdisc is still known as ours.
    assert (await apply(mirrors(20), kernel=kernel)).status == "applied"
    assert len(up0.control.filters) == 40
    assert (await destroy("lab", kernel=kernel)).errors == []
    assert (up0.control.qdiscs, up0.control.filters) == ({}, {})


@pytest.mark.parametrize("number", range(1, 9))
async def test_a_refused_mirror_leaves_no_qdisc(make_kernel: KernelFactory, number: int) -> None:
    kernel = counting(make_kernel)
    before = visible(kernel)
    seen = 0

    def refuse(request: Request) -> None:
        nonlocal seen
        seen += request.type == RTM_NEWTFILTER
        if seen == number:
            kernel.refuse[kernel._count] = errno.ENOMEM
            seen += 100

    kernel.before = refuse
    result = await apply(mirrors(3), kernel=kernel)
    assert result.status in ("rolled_back", "applied")  # the other classifier will do
    assert result.left == []
    kernel.before = None
    await destroy("lab", kernel=kernel)
    assert visible(kernel) == before


class Refusing(FakeKernel):
    """Refuses the requests that ``refuses`` says, and does not carry them out."""

    refuses: Callable[[Request], int]

    def send(
        self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        if len(requests) == 1 and (code := self.refuses(requests[0])):
            return [KernelError(code)]
        return super().send(handle, requests, resolve, whole=whole)


def refusing(kernel: FakeKernel, refuses: Callable[[Request], int]) -> Refusing:
    kernel.__class__ = Refusing
    assert isinstance(kernel, Refusing)
    kernel.refuses = refuses
    return kernel


async def test_a_qdisc_that_is_there_still_was_refused_and_is_not_gone(make_kernel: KernelFactory) -> None:
    kernel = counting(make_kernel)
    assert (await apply(mirrors(1), kernel=kernel)).status == "applied"
    refusing(kernel, lambda request: errno.EINVAL if request.type == RTM_DELQDISC else 0)
    result = await destroy("lab", kernel=kernel)
    assert result.status == "partial"
    assert [error.errno for error in result.errors] == [errno.EINVAL]
