"""Impairments on the fake kernel: set, changed in place, taken back whatever fails, never put over a stranger's."""

from __future__ import annotations

import errno
from typing import ClassVar

import pytest

from kokofast.ends.shaping import shaper_in
from kokofast.host.kernel import Handle
from kokofast.plan.ownership import root_handle
from kokofast.wire import tc
from kokofast.wire.link import RTM_GETLINK
from kokofast.wire.message import Message, Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import Links, lab, visible
from tests.runs import apply, destroy

HANDLE = root_handle("lab")


def links(**fields: object) -> Links:
    return [{"endpoints": ["a:e0:10.0.0.1/24", "b:e0"], **fields}]


def netem_kernel(make_kernel: KernelFactory) -> FakeKernel:
    kernel = make_kernel("a", "b")
    kernel.rtnl.lacks.clear()
    return kernel


def roots(kernel: FakeKernel) -> list[tuple[str, dict[str, int]] | None]:
    """Of both ends: the kind, and the numbers that are not 0."""
    found: list[tuple[str, dict[str, int]] | None] = []
    for name in "ab":
        link = kernel[name].by_name("e0")
        assert link is not None
        qdisc = link.control.qdiscs.get(tc.TC_H_ROOT)
        if qdisc is None:
            found.append(None)
            continue
        assert qdisc.handle == HANDLE
        shaper = shaper_in(qdisc.kind, qdisc.options)  # type: ignore[arg-type]
        found.append((qdisc.kind, {name: number for name, number in shaper.numbers.items() if number}))
    return found


async def test_both_ends_have_them_and_a_second_run_changes_nothing(make_kernel: KernelFactory) -> None:
    kernel = netem_kernel(make_kernel)
    wanted = lab(links(delay="20ms", loss="1%"))
    assert (await apply(wanted, kernel=kernel)).status == "applied"
    assert roots(kernel) == [("netem", {"delay": 20_000_000, "loss": 42949673, "limit": 16_513})] * 2
    kernel.count_from_here()
    assert (await apply(wanted, kernel=kernel)).status == "unchanged"
    assert kernel.requests == []


async def test_a_new_end_gets_its_qdisc_while_it_is_down(make_kernel: KernelFactory) -> None:
    """One that is up waits for RCU, with the rtnl lock held."""
    kernel = make_kernel("a", "b")
    ups: list[bool] = []

    def look(request: object) -> None:
        if getattr(request, "type", None) == tc.RTM_NEWQDISC:
            ups.extend(link.up for name in "ab" if (link := kernel[name].by_name("e0")) is not None)

    kernel.before = look
    assert (await apply(lab(links(rate="1mbit")), kernel=kernel)).status == "applied"
    assert ups[:2] == [False, False]


class AskedKernel(FakeKernel):
    """Remembers what it was asked for."""

    asked: ClassVar[list[Request]] = []

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        self.asked.append(request)
        return super().dump(handle, request)

    def ask(self, handle: Handle, request: Request) -> list[Message]:
        self.asked.append(request)
        return super().ask(handle, request)


@pytest.mark.parametrize("fields", [{}, {"rate": "1mbit"}])
async def test_who_has_none_is_not_asked_for_them(make_kernel: KernelFactory, fields: dict[str, object]) -> None:
    kernel = make_kernel("a", "b")
    kernel.__class__ = AskedKernel
    AskedKernel.asked.clear()
    for _ in range(2):
        await apply(lab(links(**fields)), kernel=kernel)
    asked = [one for one in AskedKernel.asked if one.type == tc.RTM_GETQDISC and "options" in (one.only or ())]
    assert bool(asked) == bool(fields)


async def test_a_change_is_made_in_place(make_kernel: KernelFactory) -> None:
    kernel = netem_kernel(make_kernel)
    await apply(lab(links(rate="1mbit")), kernel=kernel)
    kernel.count_from_here()
    result = await apply(lab(links(rate="2mbit")), kernel=kernel)
    assert (result.status, result.links["updated"]) == ("applied", 1)
    changes = [request for request in kernel.requests if request.type in (tc.RTM_NEWQDISC, tc.RTM_DELQDISC)]
    # Without NLM_F_CREATE and NLM_F_REPLACE the kernel changes our handle only.
    assert [(request.type, request.flags) for request in changes] == [(tc.RTM_NEWQDISC, 0)] * 2
    assert [one[1]["rate"] for one in roots(kernel) if one is not None] == [250_000, 250_000]


@pytest.mark.parametrize(
    ("fields", "looks"),
    [
        ({"rate": "2mbit"}, 0),
        ({}, 0),  # deleted by its handle
        ({"rate": "2mbit", "loss": "1%"}, 20),  # the new one would go to whatever interface is there
        ({"rate": "2mbit", "mtu": 1400}, 20),
    ],
)
async def test_no_interface_is_looked_at_before_a_change_that_the_kernel_compares(
    make_kernel: KernelFactory, fields: dict[str, object], looks: int
) -> None:
    kernel = netem_kernel(make_kernel)

    def many(**fields: object) -> Links:
        return [{"endpoints": [f"a:e{number}", f"b:e{number}"], **fields} for number in range(10)]

    await apply(lab(many(rate="1mbit")), kernel=kernel)
    kernel.__class__ = AskedKernel
    AskedKernel.asked.clear()
    assert (await apply(lab(many(**fields)), kernel=kernel)).links["updated"] == 10
    assert sum(one.type == RTM_GETLINK and "index" in one.header for one in AskedKernel.asked) == looks


@pytest.mark.parametrize("fields", [{"rate": "2mbit"}, {}])
@pytest.mark.parametrize("has_qdisc", [True, False])
async def test_another_interface_with_the_number_of_ours_gets_nothing(
    make_kernel: KernelFactory, fields: dict[str, object], has_qdisc: bool
) -> None:
    kernel = make_kernel("a", "b")
    await apply(lab(links(rate="1mbit")), kernel=kernel)
    ours = kernel["b"].by_name("e0")
    assert ours is not None
    before: list[object] = []

    def replace(request: Request) -> None:
        if request.type in (tc.RTM_NEWQDISC, tc.RTM_DELQDISC) and not before:
            kernel._unlink(kernel["b"], ours)
            theirs = kernel["b"].add("e0", index=ours.index)
            if has_qdisc:
                header = {"parent": tc.TC_H_ROOT, "handle": 0x10000}
                theirs.control.carry_out(
                    tc.RTM_NEWQDISC, header, {"kind": "tbf", "options": {"parms": {"header": PARMS}}}
                )
            before.append(theirs.state())

    kernel.before = replace
    result = await apply(lab(links(**fields)), kernel=kernel)
    theirs = kernel["b"].by_name("e0")
    assert theirs is not None
    assert [theirs.state()] == before
    assert [error.errno for error in result.errors] == [errno.ENODEV] * 2
    assert all("e0 no longer exists, or is another interface now" in error.message for error in result.errors)


async def test_the_length_of_the_queue_stays(make_kernel: KernelFactory) -> None:
    """The kernel makes one of 0 packets longer when it gets a qdisc."""
    kernel = make_kernel("a", "b")

    def lengths() -> list[int]:
        return [link.txqlen for name in "ab" if (link := kernel[name].by_name("e0")) is not None]

    await apply(lab(links(txqlen=0)), kernel=kernel)
    was = visible(kernel)
    wanted = links(txqlen=0, rate="1mbit")
    kernel.count_from_here()
    kernel.refuse[4] = errno.ENOMEM
    assert (await apply(lab(wanted), kernel=kernel)).status == "rolled_back"
    assert visible(kernel) == was
    for _ in range(2):
        assert (await apply(lab(wanted), kernel=kernel)).errors == []
        assert lengths() == [0, 0]
    assert (await apply(lab(wanted), kernel=kernel)).status == "unchanged"
    await destroy("lab", kernel=kernel)
    for status in ("applied", "unchanged"):
        assert (await apply(lab(wanted), kernel=kernel)).status == status
        assert lengths() == [0, 0]


async def test_of_another_kind_the_old_one_goes_first(make_kernel: KernelFactory) -> None:
    kernel = netem_kernel(make_kernel)
    await apply(lab(links(rate="1mbit")), kernel=kernel)
    assert (await apply(lab(links(rate="1mbit", loss="1%")), kernel=kernel)).status == "applied"
    assert [one[0] for one in roots(kernel) if one is not None] == ["netem", "netem"]
    assert (await apply(lab(links()), kernel=kernel)).status == "applied"
    assert roots(kernel) == [None, None]


STATES: list[dict[str, object]] = [
    {},
    {"rate": "1mbit"},
    {"rate": "2mbit"},
    {"delay": "20ms", "rate": "3mbit"},
    {"loss": "1%"},
]


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("fault", [errno.ENOMEM, False, True])
async def test_whatever_fails_is_taken_back(
    make_kernel: KernelFactory, before: dict[str, object], after: dict[str, object], fault: int | bool
) -> None:
    number = 0
    while True:
        number += 1
        kernel = netem_kernel(make_kernel)
        await apply(lab(links(**before)), kernel=kernel)
        was = visible(kernel)
        kernel.count_from_here()
        kernel.fail(number, fault)
        wanted = lab([*links(**after), {"endpoints": ["a:e1", "b:e1"], **after}])
        result = await apply(wanted, kernel=kernel)
        if result.status == "applied":
            assert kernel.refuse or kernel.lose  # there are no more requests than that
            break
        assert (result.status, result.left) == ("rolled_back", []), number
        assert visible(kernel) == was, number
    assert number > 2


@pytest.mark.parametrize("when", ["seen", "meanwhile"])
async def test_a_strangers_is_never_replaced(make_kernel: KernelFactory, when: str) -> None:
    kernel = make_kernel("a", "b")
    await apply(lab(links(mtu=1400)), kernel=kernel)
    link = kernel["b"].by_name("e0")
    assert link is not None

    def add(_: object = None) -> None:
        if tc.TC_H_ROOT not in link.control.qdiscs:
            header = {"parent": tc.TC_H_ROOT, "handle": 0x10000}
            link.control.carry_out(tc.RTM_NEWQDISC, header, {"kind": "tbf", "options": {"parms": {"header": PARMS}}})

    if when == "seen":
        add()
    else:
        kernel.before = add
    before = visible(kernel)
    result = await apply(lab(links(mtu=1300, rate="1mbit")), kernel=kernel)
    (error, *_) = result.errors
    assert error.source == "$.links[0].rate"
    if when == "seen":
        assert result.status == "invalid"
        assert error.message.startswith(
            "b:e0: it has a root qdisc (tbf 1:) that kokofast has not made; remove it first"
        )
        assert "(tc -n b qdisc del dev e0 root)" in error.message
        assert visible(kernel) == before
    else:
        assert (result.status, result.left) == ("rolled_back", [])
        assert error.errno == errno.EEXIST
        assert link.control.qdiscs[tc.TC_H_ROOT].handle == 0x10000
    # And a file without impairments has no business with it.
    kernel.before = None
    assert (await apply(lab(links(mtu=1400)), kernel=kernel)).status == "unchanged"


PARMS = {"linklayer": 1, "rate": 1000, "limit": 9000, "buffer": 5000}


async def test_without_netem_the_module_is_named(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    before = visible(kernel)
    result = await apply(lab(links(rate="1mbit", delay="1ms")), kernel=kernel)
    assert result.status == "rolled_back"
    assert result.errors[0].source == "$.links[0].delay"
    assert result.errors[0].message.endswith("the kernel module sch_netem is missing (modprobe sch_netem)")
    assert visible(kernel) == before


async def test_destroy_leaves_nothing(make_kernel: KernelFactory) -> None:
    kernel = netem_kernel(make_kernel)
    before = visible(kernel)
    await apply(lab(links(delay="20ms")), kernel=kernel)
    assert (await destroy("lab", kernel=kernel)).status == "destroyed"
    assert visible(kernel) == before


def test_the_handles_of_labs() -> None:
    """Users type small majors, the kernel chooses from 0x8000 on."""
    handles = {root_handle(f"lab{number}") for number in range(500)}
    assert all(0x4000 <= handle >> 16 < 0x8000 and handle & 0xFFFF == 0 for handle in handles)
    assert len(handles) > 480
