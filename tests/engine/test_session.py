"""A session on the fake kernel: what a change costs, and that it is all or nothing."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar

import pytest

from kokofast import loads
from kokofast.drivers import Stop, Stopped
from kokofast.drivers.inline import InlineDriver
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine.result import Result
from kokofast.engine.session import Session
from kokofast.host.kernel import Handle
from kokofast.topology import TopologyError
from kokofast.topology.model import Topology
from kokofast.wire import tc
from kokofast.wire.link import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import Message, Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import Links, chain, lab, visible
from tests.runs import apply as batch
from tests.runs import destroy


def opened(topology: Topology, kernel: FakeKernel) -> Session:
    return Session(topology, TrioDriver(), kernel)


async def change(session: Session, changes: Mapping[str, object]) -> Result:
    return await session.apply(changes, lambda path: path)


def routes(kernel: FakeKernel) -> dict[str, object]:
    """The routes of each namespace."""
    return {path: namespace.routes.state() for path, namespace in kernel.namespaces.items()}


def ring(size: int, **fields: object) -> Links:
    return [{"endpoints": [f"n{i}:e", f"n{(i + 1) % size}:w"], **fields} for i in range(size)]


async def test_rates_are_changed_by_one_request_an_end_and_no_look(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    async with opened(lab(ring(6, rate="1mbit")), kernel) as session:
        kernel.count_from_here()
        result = await change(session, {"set": [{"endpoints": ["n0:e", "n1:w"], "rate": "2mbit"}]})
        assert (result.status, result.links["updated"]) == ("applied", 1)
        assert [request.type for request in kernel.requests if request.type == tc.RTM_NEWQDISC] == [tc.RTM_NEWQDISC] * 2
        assert len(kernel.requests) == 2
        kernel.count_from_here()
        result = await change(session, {"set": [{"endpoints": ["n0:e", "n1:w"], "rate": "2mbit"}]})
        assert (result.status, kernel.requests) == ("unchanged", [])
    topology = session.live.whole()
    assert (await batch(topology, kernel=kernel)).status == "unchanged"


async def test_one_end_alone_and_ends_by_a_pattern(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    async with opened(lab(ring(4)), kernel) as session:
        assert (await change(session, {"set": [{"endpoint": "n0:e", "rate": "1mbit"}]})).links["updated"] == 1
        assert (await change(session, {"set": [{"select": "n[12]:*", "mtu": 1400}]})).links["updated"] == 3
        assert (await change(session, {"set": [{"select": "*:w", "up": False}]})).links["updated"] == 4
        assert (await change(session, {"set": [{"endpoint": "n0:e", "rate": None}]})).links["updated"] == 1
    assert {name: (link["mtu"], link["up"]) for name, link in visible(kernel).items() if name[1] in "ew"} == {
        (f"/run/netns/n{i}", end): (1400 if i in (1, 2) else 1500, end == "e") for i in range(4) for end in "ew"
    }
    assert (await batch(session.live.whole(), kernel=kernel)).status == "unchanged"


async def test_a_handover_keeps_the_name_of_the_interface(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b", "c")
    links: Links = [{"endpoints": ["a:sat:10.0.0.1/24", "b:gs0:10.0.0.2/24"]}, {"endpoints": ["b:x", "c:x"]}]
    async with opened(lab(links), kernel) as session:
        kernel.count_from_here()
        result = await change(
            session,
            {"remove": [["a:sat", "b:gs0"]], "add": [{"endpoints": ["a:sat:10.0.0.1/24", "c:gs0:10.0.0.3/24"]}]},
        )
        assert (result.status, result.links["created"], result.links["removed"]) == ("applied", 1, 1)
        # The deletion, which waits, comes last.
        types = [request.type for request in kernel.requests if request.type in (RTM_NEWLINK, RTM_DELLINK)]
        assert types == [RTM_NEWLINK, RTM_DELLINK]
        back = {"remove": [["c:gs0", "a:sat"]], "add": [links[0]]}
        assert (await change(session, back)).status == "applied"
    assert sorted(name for _, name in visible(kernel) if name != "lo") == ["gs0", "sat", "x", "x"]
    assert (await batch(lab(links), kernel=kernel)).status == "unchanged"


async def test_what_is_refused_by_the_file_touches_nothing(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    async with opened(lab(ring(3, rate="1mbit")), kernel) as session:
        before = visible(kernel)
        kernel.count_from_here()
        bad = {"set": [{"endpoint": "n0:e", "rate": "2mbit"}, {"endpoint": "n9:e", "rate": "fast"}]}
        with pytest.raises(TopologyError, match=r"set\[1\]"):
            await change(session, bad)
        assert kernel.requests == []
        assert (await change(session, {"set": [{"endpoint": "n0:e", "rate": "1mbit"}]})).status == "unchanged"
    assert visible(kernel) == before


CHANGES: dict[str, object] = {
    "remove": [["n0:e", "n1:w"], ["n3:e", "n4:w"]],
    "add": [{"endpoints": ["n0:e:10.0.0.1/24", "new:w"], "rate": "5mbit"}, ["n1:w", "n4:w"]],
    "set": [{"endpoints": ["n2:e", "n3:w"], "rate": "7mbit", "mtu": 1400}, {"endpoint": "n4:e", "up": False}],
}


def routed(size: int) -> Topology:
    """A ring whose nodes have routes to each other."""
    ends = ((f"n{i}:e:10.0.0.{2 * i}/31", f"n{(i + 1) % size}:w:10.0.0.{2 * i + 1}/31") for i in range(size))
    return lab([{"endpoints": list(pair)} for pair in ends], routing="shortest-path")


REROUTES: dict[str, object] = {
    "remove": [["n0:e", "n1:w"]],
    "add": [["n1:x:10.1.0.0/31", "n3:x:10.1.0.1/31"]],
    "set": [{"endpoints": ["n2:e", "n3:w"], "cost": 7}],
}


@pytest.mark.parametrize("fault", [errno.ENOMEM, True, False])
@pytest.mark.parametrize(
    ("topology", "changes"), [(lab(ring(6, rate="1mbit")), CHANGES), (routed(4), REROUTES)], ids=["links", "routes"]
)
async def test_a_fault_at_any_request_leaves_the_state_before(
    make_kernel: KernelFactory, topology: Topology, changes: Mapping[str, object], fault: int | bool
) -> None:
    """A refusal, or an answer that is lost, of a request that was carried out or not. Deletions are the last step: what
    is refused there is left, and said."""
    for number in range(1, 100):
        kernel = make_kernel()
        async with opened(topology, kernel) as session:
            before = visible(kernel), routes(kernel)
            kernel.count_from_here()
            kernel.fail(number, fault)
            result = await change(session, changes)
            if kernel.refuse or kernel.lose:
                assert number > 10
                assert result.status == "applied"
                return
            if result.status not in ("applied", "partial"):
                assert (result.status, result.left) == ("rolled_back", []), number
                assert result.errors
                assert (visible(kernel), routes(kernel)) == before, number
                assert (await change(session, changes)).status == "applied"
        assert (await batch(session.live.whole(), kernel=kernel, prune=True)).status in ("unchanged", "applied")
        await destroy("lab", kernel=kernel)
        assert {name for _, name in visible(kernel)} <= {"lo"}
    pytest.fail("it has no end")


async def test_a_stranger_is_noticed_and_keeps_what_is_his(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    async with opened(lab(ring(3, rate="1mbit")), kernel) as session:
        theirs = kernel["n0"].by_name("e")
        assert theirs is not None
        theirs.control.qdiscs[tc.TC_H_ROOT].handle = 0x10000
        result = await change(session, {"set": [{"endpoint": "n0:e", "rate": "2mbit"}]})
        assert (result.status, result.errors[0].source) == ("partial", "set[0].rate")
        result = await change(session, {"set": [{"endpoint": "n0:e", "rate": "2mbit"}]})
        assert (result.status, result.errors[0].source) == ("invalid", "set[0].rate")
        assert "that kokofast has not made" in str(result.errors[0])
        theirs.group, theirs.alias = 0, "mine"
        result = await change(session, {"remove": [["n0:e", "n1:w"]]})
        assert result.status == "invalid"
        assert kernel["n0"].by_name("e") is theirs


async def test_a_link_that_a_stranger_deleted_comes_back(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    async with opened(lab(ring(3, rate="1mbit")), kernel) as session:
        for name, end in (("n0", "e"), ("n1", "w")):
            found = kernel[name].by_name(end)
            assert found is not None
            del kernel[name].links[found.index]
        wanted = {"set": [{"endpoints": ["n0:e", "n1:w"], "rate": "2mbit"}]}
        assert (await change(session, wanted)).status == "rolled_back"
        assert (await change(session, wanted)).links["created"] == 1
    assert (await batch(session.live.whole(), kernel=kernel)).status == "unchanged"


async def test_links_that_depend_on_each_other_are_planned_together(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    links: Links = [
        {"endpoints": ["a:e0", "b:e0"], "mtu": 1600},
        {"type": "macvlan", "endpoint": "b:m0", "parent": "b:e0"},
    ]
    async with opened(lab(links), kernel) as session:
        result = await change(session, {"remove": [["a:e0", "b:e0"]]})
        assert result.status == "invalid"
        assert "b:m0 needs a:e0--b:e0" in str(result.errors[0])
        result = await change(session, {"set": [{"endpoint": "b:e0", "mtu": 1400}]})
        assert result.status == "applied"
        assert visible(kernel)["/run/netns/b", "m0"]["mtu"] == 1400
        both = {"remove": [{"endpoint": "b:m0"}, ["a:e0", "b:e0"]]}
        assert (await change(session, both)).links["removed"] == 2
    assert {name for _, name in visible(kernel)} == {"lo"}


class Looked(FakeKernel):
    """Counts dumps of links."""

    looks: ClassVar[list[Handle]] = []

    def dump(self, handle: Handle, request: Request) -> list[Message]:
        if request.type == RTM_GETLINK:
            self.looks.append(handle)
        return super().dump(handle, request)


async def test_a_change_does_not_look_at_the_rest_of_the_lab(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    kernel.__class__ = Looked
    async with opened(chain(30), kernel) as session:
        kernel.count_from_here()
        Looked.looks.clear()
        await change(session, {"set": [{"endpoint": "n3:e1", "mtu": 1400}]})
        assert len(Looked.looks) == 2
        assert [request.type for request in kernel.requests] == [RTM_SETLINK]


HANDOVER = {"remove": [["a:sat", "b:gs0"]], "add": [["a:sat", "c:gs0"]]}


async def test_a_run_that_was_killed_at_any_request_of_a_handover(make_kernel: KernelFactory) -> None:
    """batch --prune then has the file's links and no other, destroy removes all."""

    class Killed(BaseException):
        pass

    links: Links = [{"endpoints": ["a:sat", "b:gs0"]}, {"endpoints": ["b:x", "c:x"]}]
    for number in range(1, 100):
        kernel = make_kernel("a", "b", "c")
        await batch(lab(links), kernel=kernel)
        kernel.count_from_here()

        def die(_: object, kernel: FakeKernel = kernel, number: int = number) -> None:
            if len(kernel.requests) >= number:
                raise Killed

        kernel.before = die
        is_over = False
        with suppress(Killed, BaseExceptionGroup):
            async with opened(lab(links), kernel) as session:
                await change(session, HANDOVER)
                is_over = True
        kernel.before = None
        if not is_over:
            result = await batch(lab(links), kernel=kernel, prune=True)
            assert result.status in ("applied", "unchanged"), (number, result.errors)
            assert sorted(name for name in visible(kernel) if name[1] != "lo") == [
                ("/run/netns/a", "sat"),
                ("/run/netns/b", "gs0"),
                ("/run/netns/b", "x"),
                ("/run/netns/c", "x"),
            ], number
            assert (await batch(lab(links), kernel=kernel)).status == "unchanged"
        await destroy("lab", kernel=kernel)
        assert {name for _, name in visible(kernel)} == {"lo"}, number
        if is_over:
            assert number > 4
            return
    pytest.fail("it has no end")


async def test_a_session_begins_with_what_the_file_says_after_another_one_ended_elsewhere(
    make_kernel: KernelFactory,
) -> None:
    kernel = make_kernel("a", "b", "c")
    links: Links = [{"endpoints": ["a:sat", "b:gs0"]}, {"endpoints": ["b:x", "c:x"]}]
    for _ in range(2):
        async with opened(lab(links), kernel) as session:
            assert session.result.status == "applied"
            assert (await change(session, HANDOVER)).status == "applied"
    refused = await batch(lab(links), kernel=kernel)
    assert "is there as part of another link of this lab" in str(refused.errors[0])
    result = await batch(lab(links), kernel=kernel, prune=True)
    assert (result.status, result.links["created"], result.links["removed"]) == ("applied", 1, 1)
    assert (await batch(lab(links), kernel=kernel)).status == "unchanged"


async def test_a_signal_at_any_request_leaves_the_state_before(make_kernel: KernelFactory) -> None:
    for number in range(1, 100):
        kernel = make_kernel()
        stop = Stop()
        async with Session(lab(ring(6, rate="1mbit")), InlineDriver(stop), kernel) as session:
            before = visible(kernel)
            kernel.count_from_here()

            def stop_here(_: object, kernel: FakeKernel = kernel, stop: Stop = stop, number: int = number) -> None:
                if len(kernel.requests) == number:
                    stop.on_signal(2)

            kernel.before = stop_here
            try:
                result = await change(session, CHANGES)
            except Stopped:
                assert visible(kernel) == before, number
                stop.caught.clear()
                kernel.before = None
                assert (await change(session, CHANGES)).status == "applied"
                continue
            # It came when nothing but the deletions was left, which are never broken off.
            assert result.status == "applied"
            if len(kernel.requests) < number:
                assert number > 10
                return
    pytest.fail("it has no end")


async def test_the_routes_of_a_lab_follow_when_a_link_goes_and_comes_back(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b", "c")
    ab, bc, ca = (
        ["a:e0:10.0.0.0/31", "b:e0:10.0.0.1/31"],
        ["b:e1:10.0.0.2/31", "c:e0:10.0.0.3/31"],
        ["c:e1:10.0.0.4/31", "a:e1:10.0.0.5/31"],
    )
    triangle = loads({"name": "lab", "routing": "shortest-path", "links": [ab, bc, {"endpoints": ca, "cost": 9}]})
    async with opened(triangle, kernel) as session:
        before = visible(kernel)
        assert (await change(session, {"remove": [["a:e0", "b:e0"]]})).status == "applied"
        without = session.live.whole()
        assert visible(kernel) != before
    assert (await batch(without, kernel=kernel)).status == "unchanged"
    async with opened(without, kernel) as session:
        assert (await change(session, {"add": [ab]})).status == "applied"
    assert (await batch(triangle, kernel=kernel)).status == "unchanged"
