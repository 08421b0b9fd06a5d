"""Mirrors: which filters and qdiscs there are, whose they are, and that nothing of ours stays.

tests/kernel/test_mirror.py has what arrives at their far end.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from kokofast.engine.result import Result
from kokofast.ops.traffic_control import shapes
from kokofast.plan.ownership import alias_of, cookie_of
from kokofast.topology import TopologyError
from kokofast.wire import tc
from kokofast.wire.link import RTM_DELLINK
from kokofast.wire.message import KernelError, Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel, FakeLink
from tests.engine.fake_filters import target_of
from tests.engine.labs import Links, lab, refused, wire
from tests.runs import apply, destroy

HOOKS = {"ingress": tc.CLSACT_HANDLE | tc.TC_H_MIN_INGRESS, "egress": tc.CLSACT_HANDLE | tc.TC_H_MIN_EGRESS}
PRIO_HANDLE = 0x4B0000
DIRECTIONS = ("ingress", "egress", "both")
Row = dict[str, Any]


@pytest.fixture
def kernel(make_kernel: KernelFactory) -> FakeKernel:
    """``r`` with the tapped eth0, towards ``s``; and ``w``, from where one watches."""
    made = make_kernel("r", "s", "w")
    wire(made, "r", "s", "eth0")
    return made


def row(direction: str | None, name: str = "tap", source: str = "eth0", **more: Any) -> Row:
    """A veth from r to w, of the same name at both ends, that mirrors."""
    end: Row = {"node": "r", "interface": name}
    if direction is not None:
        end["mirror"] = {"from": source, "direction": direction}
    return {"endpoints": [end, f"w:{name}"], **more}


def at(kernel: FakeKernel, ifname: str = "eth0", node: str = "r") -> FakeLink:
    link = kernel[node].by_name(ifname)
    assert link is not None
    return link


def kinds(kernel: FakeKernel, ifname: str = "eth0", node: str = "r") -> list[str]:
    return [qdisc.kind for qdisc in at(kernel, ifname, node).control.qdiscs.values()]


def mirrors(kernel: FakeKernel, ifname: str = "eth0", node: str = "r") -> list[tuple[str, str]]:
    """(direction, interface that the packets go to) of all filters of an interface."""
    names = {link.index: link.name for link in kernel[node].links.values()}
    words = {number: word for word, number in HOOKS.items()} | {PRIO_HANDLE: "egress"}
    found = at(kernel, ifname, node).control.filters
    return sorted((words[parent], names.get(target_of(options), "gone")) for (parent, *_), options in found.items())


def wanted(direction: str, *names: str) -> list[tuple[str, str]]:
    words = ("egress", "ingress") if direction == "both" else (direction,)
    return sorted((word, name) for word in words for name in names)


def mtu(kernel: FakeKernel, ifname: str = "eth0", node: str = "r") -> int:
    return at(kernel, ifname, node).mtu


async def run(kernel: FakeKernel, *rows: Row, name: str = "lab", **options: Any) -> Result:
    return await apply(lab(list(rows), name), kernel=kernel, **options)


async def applied(kernel: FakeKernel, *rows: Row, name: str = "lab") -> Result:
    """A run that goes well, and the same again, which has nothing to do."""
    result = await run(kernel, *rows, name=name)
    assert (result.status, result.left) == ("applied", []), result.errors
    again = await run(kernel, *rows, name=name)
    assert (again.status, again.notes) == ("unchanged", [])
    return result


async def destroyed(kernel: FakeKernel, name: str = "lab") -> None:
    result = await destroy(name, kernel=kernel)
    assert (result.status, result.errors) == ("destroyed", [])


def give_qdisc(kernel: FakeKernel, kind: str, ifname: str = "eth0", node: str = "r") -> None:
    """A qdisc of the user."""
    header = {"parent": tc.TC_H_CLSACT, "handle": tc.CLSACT_HANDLE}
    if kind == "netem":
        header = {"parent": tc.TC_H_ROOT, "handle": 0x10000}
    at(kernel, ifname, node).control.carry_out(tc.RTM_NEWQDISC, header, {"kind": kind, "options": b""})


def give_filter(
    kernel: FakeKernel,
    direction: str,
    priority: int,
    target: int = 1,
    cookie: bytes = b"",
    where: tuple[str, str] = ("eth0", "r"),
) -> None:
    """A filter of the user."""
    link = at(kernel, *where)
    (request,) = shapes(link.index, HOOKS[direction], priority, target, cookie, ("u32",))
    link.control.carry_out(request.type, request.header, request.attributes)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("classifier", ["u32", "matchall"])
async def test_the_filters_of_each_direction(kernel: FakeKernel, direction: str, classifier: str) -> None:
    if classifier == "matchall":
        kernel.rtnl.lacks.remove("matchall")
    before = kernel.state()
    assert (await applied(kernel, row(direction))).links["created"] == 1
    assert kinds(kernel) == ["clsact"]
    assert mirrors(kernel) == wanted(direction, "tap")
    used = {one.kind for qdisc in at(kernel).control.qdiscs.values() for one in qdisc.priorities.values()}
    assert used == {classifier}
    await destroyed(kernel)
    assert kernel.state() == before


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("classifier", ["u32", "matchall"])
async def test_without_clsact(kernel: FakeKernel, direction: str, classifier: str) -> None:
    kernel.rtnl.lacks = {"clsact", "ingress", "u32" if classifier == "matchall" else "matchall"}
    before = kernel.state()
    if direction != "egress":
        result = await run(kernel, row(direction))
        assert (result.status, result.left) == ("rolled_back", [])
        assert [error.source for error in result.errors] == ["$.links[0].endpoints[0].mirror"]
        assert kernel.state() == before
        return
    await applied(kernel, row("egress"))
    assert kinds(kernel) == ["prio"]
    await applied(kernel, row("egress"), row("egress", "tap2"))
    assert mirrors(kernel) == wanted("egress", "tap", "tap2")
    await destroyed(kernel)
    assert kernel.state() == before


async def test_without_clsact_a_root_qdisc_of_somebody_else_is_left_alone(kernel: FakeKernel) -> None:
    kernel.rtnl.lacks = {"clsact", "ingress"}
    give_qdisc(kernel, "netem")
    before = kernel.state()
    result = await run(kernel, row("egress"))
    assert result.status == "rolled_back"
    assert "another root qdisc is there" in result.errors[0].message
    assert kernel.state() == before


async def test_egress_beside_an_ingress_qdisc(kernel: FakeKernel) -> None:
    """The ingress qdisc keeps clsact away; prio holds the filters of what goes out, where the kernel has it."""
    give_qdisc(kernel, "ingress")
    before = kernel.state()
    result = await run(kernel, row("both"))
    assert result.status == "rolled_back"
    (error,) = result.errors
    assert error.source == "$.links[0].endpoints[0].mirror"
    assert "it has an ingress qdisc in place of clsact" in error.message
    assert "replace it by clsact" in error.message
    assert kernel.state() == before
    kernel.rtnl.lacks.remove("prio")
    await applied(kernel, row("egress"))
    await applied(kernel, row("egress"), row("both", "tap2"))
    assert sorted(kinds(kernel)) == ["ingress", "prio"]
    await destroyed(kernel)
    assert kernel.state() == before


async def test_two_labs_on_one_source(kernel: FakeKernel) -> None:
    before = kernel.state()
    await applied(kernel, row("both", "tap1"))
    alone = at(kernel).control.state()
    await applied(kernel, row("both", "tap2"), name="other")
    assert mirrors(kernel) == wanted("both", "tap1", "tap2")
    assert (await run(kernel, row("both", "tap1"))).status == "unchanged"
    await destroyed(kernel, "other")
    assert at(kernel).control.state() == alone
    await applied(kernel, row("both", "tap2"), name="other")
    await destroyed(kernel)
    assert (kinds(kernel), mirrors(kernel)) == (["clsact"], wanted("both", "tap2"))
    await destroyed(kernel, "other")
    assert kernel.state() == before


class TestFileChanges:
    async def test_directions_come_and_go(self, kernel: FakeKernel) -> None:
        await applied(kernel, row(None))
        plain = kernel.state()
        for direction in ("ingress", "both", "egress", "ingress"):
            assert (await applied(kernel, row(direction))).links["updated"] == 1
            assert mirrors(kernel) == wanted(direction, "tap")
        dry = await run(kernel, row(None), dry_run=True)
        assert any("- mirror ingress of r:eth0 to tap" in str(step) for step in dry.planned)
        assert (await applied(kernel, row(None))).links["updated"] == 1
        assert kernel.state() == plain

    async def test_another_source(self, kernel: FakeKernel) -> None:
        kernel["r"].add("eth1", kind="dummy")
        before = kernel.state()
        await applied(kernel, row("both"))
        await applied(kernel, row("both", source="eth1"))
        assert (mirrors(kernel), mirrors(kernel, "eth1")) == ([], wanted("both", "tap"))
        assert kinds(kernel) == []
        await destroyed(kernel)
        assert kernel.state() == before

    async def test_only_the_link_that_changed(self, kernel: FakeKernel) -> None:
        await applied(kernel, row("both", "tap1"))
        one = dict(at(kernel).control.filters)
        await applied(kernel, row("both", "tap1"), row("both", "tap2"))
        await applied(kernel, row("both", "tap1"), row(None, "tap2"))
        assert at(kernel).control.filters == one

    async def test_a_link_that_somebody_deleted_mirrors_again(self, kernel: FakeKernel) -> None:
        before = kernel.state()
        await applied(kernel, row("both"))
        gone = at(kernel, "tap")
        kernel.rtnl.unlink(kernel["r"], gone)
        kernel["r"].add("occupies", index=gone.index, kind="dummy")
        assert mirrors(kernel) == wanted("both", "gone")
        await applied(kernel, row("both"))
        assert mirrors(kernel) == wanted("both", "tap")
        kernel.rtnl.unlink(kernel["r"], at(kernel, "occupies"))
        await destroyed(kernel)
        assert kernel.state() == before


class TestStrangers:
    @pytest.mark.parametrize(("kind", "direction"), [("clsact", "both"), ("ingress", "ingress")])
    async def test_the_qdisc_of_the_user_stays(self, kernel: FakeKernel, kind: str, direction: str) -> None:
        give_qdisc(kernel, kind)
        before = kernel.state()
        await applied(kernel, row(direction))
        assert (kinds(kernel), mirrors(kernel)) == ([kind], wanted(direction, "tap"))
        await destroyed(kernel)
        assert kernel.state() == before

    async def test_filters_of_the_user_stay(self, kernel: FakeKernel) -> None:
        give_qdisc(kernel, "clsact")
        for direction in HOOKS:
            for priority in (16, 17, 100, 60000):
                give_filter(kernel, direction, priority)
        before = kernel.state()
        theirs = set(at(kernel).control.filters)
        await applied(kernel, row("both"))
        assert theirs < set(at(kernel).control.filters)
        await destroyed(kernel)
        assert kernel.state() == before

    async def test_our_qdisc_stays_while_somebodys_filter_is_in_it(self, kernel: FakeKernel) -> None:
        await applied(kernel, row("ingress"))
        give_filter(kernel, "egress", 9)
        await destroyed(kernel)
        assert (kinds(kernel), mirrors(kernel)) == (["clsact"], wanted("egress", "lo"))

    @pytest.mark.parametrize("cookie", [b"koko" + bytes(12), b"koko", bytes(16)])
    async def test_the_mark_of_another_is_not_ours(self, kernel: FakeKernel, cookie: bytes) -> None:
        give_qdisc(kernel, "clsact")
        give_filter(kernel, "egress", 9, cookie=cookie)
        before = kernel.state()
        await applied(kernel, row("both"))
        await destroyed(kernel)
        assert kernel.state() == before


class TestTunnels:
    """A mirror into a tunnel lowers the MTU of what it copies."""

    @pytest.fixture
    def link(self, kernel: FakeKernel) -> Row:
        """A tunnel from r to w by way of ``up0``, whose end in r mirrors eth0."""
        wire(kernel, "r", "w")
        mirror = {"from": "eth0", "direction": "both"}
        end = {"node": "r", "interface": "vx0", "mirror": mirror}
        return {"type": "vxlan", "endpoint": end, "parent": "r:up0", "remote": "192.0.2.2", "vni": 5}

    async def test_the_mtu_is_lowered_and_that_is_said(self, kernel: FakeKernel, link: Row) -> None:
        far = {"type": "vxlan", "endpoint": "w:vx0", "parent": "w:up0", "remote": "192.0.2.1", "vni": 5}
        result = await applied(kernel, link, far)
        assert any("the mtu of r:eth0 is lowered from 1500 to 1450" in note for note in result.notes)
        assert mtu(kernel) == 1450
        assert mirrors(kernel) == wanted("both", "vx0")

    @pytest.mark.parametrize("bad_first", [True, False])
    async def test_the_mtu_comes_back_when_the_run_fails(self, kernel: FakeKernel, link: Row, bad_first: bool) -> None:
        bad = refused(kernel, "s")
        before = kernel.state()
        result = await run(kernel, *((bad, link) if bad_first else (link, bad)))
        assert (result.status, result.left) == ("rolled_back", [])
        assert kernel.state() == before

    async def test_an_mtu_that_the_file_gives_does_not_raise_it_again(self, kernel: FakeKernel, link: Row) -> None:
        link["endpoint"]["mirror"]["from"] = "own"
        own = {"endpoints": ["r:own", "s:own"], "mtu": 1500}
        assert (await applied(kernel, own, link)).links["created"] == 2
        assert (mtu(kernel, "own"), mtu(kernel, "own", "s")) == (1450, 1450)
        at(kernel, "own").mtu = 1500
        assert (await applied(kernel, own, link)).links["updated"] == 1
        assert mtu(kernel, "own") == 1450
        await applied(kernel, {**own, "mtu": 1440}, link)
        assert (mtu(kernel, "own"), mtu(kernel, "own", "s")) == (1440, 1440)

    @pytest.mark.parametrize("narrow_first", [True, False])
    async def test_of_two_tunnels_the_narrower_one_counts(
        self, kernel: FakeKernel, link: Row, narrow_first: bool
    ) -> None:
        narrow = {**link, "vni": 6, "endpoint": {**link["endpoint"], "interface": "vx1"}, "mtu": 1400}
        before = kernel.state()
        await applied(kernel, *((narrow, link) if narrow_first else (link, narrow)))
        assert mtu(kernel) == 1400
        await destroyed(kernel)
        at(kernel).mtu = 1500
        assert kernel.state() == before

    @pytest.mark.parametrize(("lost", "left"), [(0, 1400), (1, 1450), (None, 1400)])
    async def test_the_mtu_stays_for_the_tunnel_that_works(
        self, kernel: FakeKernel, link: Row, lost: int | None, left: int
    ) -> None:
        topology = lab([link, {**link, "vni": 6, "endpoint": {**link["endpoint"], "interface": "vx1", "mtu": 1400}}])
        cookies = [cookie_of("lab", alias_of("lab", one))[:-1] for one in topology.links]

        def refuse(request: Request) -> None:
            if request.type == tc.RTM_NEWTFILTER and lost is not None:
                options: Any = request.attributes["options"]
                if options["act"]["first"]["cookie"][:-1] == cookies[lost]:
                    kernel.refuse[kernel._count] = errno.ENOMEM

        kernel.before = refuse
        result = await apply(topology, kernel=kernel, keep_going=True)
        assert (result.status, result.left) == ("applied" if lost is None else "partial", [])
        assert mtu(kernel) == left

    async def test_an_mtu_that_would_cost_ipv6_is_refused(self, kernel: FakeKernel, link: Row) -> None:
        address = (10, b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", 64)
        at(kernel).addresses[address] = b""
        before = kernel.state()
        result = await run(kernel, {**link, "mtu": 1200})
        assert result.status == "rolled_back"
        (error,) = result.errors
        assert error.source == "$.links[0].endpoint.mirror"
        assert "below 1280" in error.message
        assert kernel.state() == before
        del at(kernel).addresses[address]
        await applied(kernel, {**link, "mtu": 1200})
        assert mtu(kernel) == 1200

    async def test_a_source_that_is_not_made_is_not_mirrored(self, kernel: FakeKernel, link: Row) -> None:
        before = kernel.state()
        refuse_link(kernel, "vx7", KernelError(errno.EBUSY))
        missing = {**link, "endpoint": "r:vx7", "vni": 77}
        source = {"type": "macvlan", "endpoint": "r:s0", "parent": "r:vx7"}
        end = {**link["endpoint"], "mirror": {"from": "s0", "direction": "both"}}
        good = {"endpoints": ["r:g0", "w:g0"]}
        result = await run(kernel, missing, source, {**link, "endpoint": end, "mtu": 1400}, good, keep_going=True)
        assert (result.status, result.links["created"], result.left) == ("partial", 1, [])
        assert kernel.links_of("r") == ["eth0", "g0", "up0"]
        await destroyed(kernel)
        assert kernel.state() == before

    async def test_a_source_that_carries_what_is_given_a_larger_mtu(self, kernel: FakeKernel, link: Row) -> None:
        mirror = {"from": "own", "direction": "egress"}
        rows: Links = [
            {"endpoints": ["r:own", "s:own"]},
            {"type": "macvlan", "endpoint": "r:m0", "parent": "r:own", "mtu": 1500},
            {**link, "endpoint": {**link["endpoint"], "mirror": mirror}},
        ]
        before = kernel.state()
        result = await run(kernel, *rows)
        assert result.status == "invalid"
        (error,) = result.errors
        assert error.source == "$.links[2].endpoint.mirror"
        assert "own would be lowered to an mtu of 1450" in error.message
        assert kernel.state() == before
        rows[1]["mtu"] = 1450
        await applied(kernel, *rows)

    async def test_what_stands_on_the_source_is_not_lowered_by_a_run_that_fails(
        self, kernel: FakeKernel, link: Row
    ) -> None:
        attributes = {"ifname": "um", "link": at(kernel).index, "linkinfo": {"kind": "macvlan"}}
        kernel.rtnl.created = None  # it is not ours
        kernel.rtnl.create(kernel["r"], {}, attributes, kernel._fds.__getitem__)
        bad = refused(kernel, "s")
        before = kernel.state()
        assert (await run(kernel, link, bad)).status == "rolled_back"
        assert kernel.state() == before
        assert mtu(kernel, "um") == 1500

    async def test_a_tunnel_that_becomes_narrower_lowers_its_source(self, kernel: FakeKernel, link: Row) -> None:
        await applied(kernel, {**link, "mtu": 1400})
        assert (await applied(kernel, {**link, "mtu": 1300})).links["updated"] == 1
        assert mtu(kernel) == 1300

    @pytest.mark.parametrize("direction", DIRECTIONS)
    async def test_the_tunnels_own_parent(self, kernel: FakeKernel, link: Row, direction: str) -> None:
        before = kernel.state()
        link["endpoint"]["mirror"] = {"from": "up0", "direction": direction}
        if direction == "ingress":
            await applied(kernel, link)
            assert mtu(kernel, "up0") == 1500  # the tunnel would become narrower with it
            await destroyed(kernel)
        else:
            with pytest.raises(TopologyError, match="mirror loop: each frame"):
                lab([link])
        assert kernel.state() == before

    async def test_a_tunnel_and_a_source_that_the_same_file_makes(self, make_kernel: KernelFactory) -> None:
        kernel = make_kernel("a", "b")
        end = {"node": "a", "interface": "vx0", "mirror": {"from": "eth0", "direction": "ingress"}}
        result = await applied(
            kernel,
            {"type": "vxlan", "endpoint": end, "parent": "a:up0", "remote": "192.0.2.2", "vni": 5},
            {"endpoints": ["a:eth0", "b:eth0"]},
            {"endpoints": ["a:up0:192.0.2.1/24", "b:up0"], "mtu": 1400},
        )
        text = "the mtu of a:eth0 is lowered from 1500 to 1350, so that its packets fit into vx0"
        assert any(text in note for note in result.notes)
        assert (mtu(kernel, "eth0", "a"), mtu(kernel, "eth0", "b")) == (1350, 1350)


def refuse_link(kernel: FakeKernel, ifname: str, refusal: KernelError) -> None:
    """The creation of an interface is refused."""

    def refuse(request: Request) -> None:
        if request.attributes.get("ifname") == ifname:
            kernel.refuse[kernel._count] = refusal

    kernel.before = refuse


async def test_a_source_that_is_not_there(kernel: FakeKernel) -> None:
    before = kernel.state()
    result = await run(kernel, row("both", source="nowhere"), row(None, "other"))
    assert result.status == "invalid"
    (error,) = result.errors
    assert error.source == "$.links[0].endpoints[0].mirror"
    assert "no interface nowhere in r" in error.message
    assert kernel.state() == before


async def test_a_source_that_a_later_row_makes(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    tap = {"node": "a", "interface": "tap", "mirror": {"from": "eth0", "direction": "egress"}}
    await applied(kernel, {"endpoints": [tap, "w:tap"]}, {"endpoints": ["a:eth0", "b:eth0"]})
    assert mirrors(kernel, "eth0", "a") == wanted("egress", "tap")
    await destroyed(kernel)
    assert list(kernel.namespaces) == ["/proc/self/ns/net"]


async def test_two_links_that_mirror_each_other(make_kernel: KernelFactory) -> None:
    """A patch: what comes in at one goes out at the other."""
    kernel = make_kernel("a", "b", "c")
    before = kernel.state()
    ends = [
        {"node": "a", "interface": name, "mirror": {"from": source, "direction": "ingress"}}
        for name, source in (("left", "right"), ("right", "left"))
    ]
    await applied(kernel, {"endpoints": [ends[0], "b:e0"]}, {"endpoints": [ends[1], "c:e0"]})
    assert mirrors(kernel, "left", "a") == wanted("ingress", "right")
    assert mirrors(kernel, "right", "a") == wanted("ingress", "left")
    await destroyed(kernel)
    assert kernel.state() == before


@pytest.mark.parametrize("direction", ["both", "egress"])
async def test_a_run_that_fails_takes_its_mirrors_back(kernel: FakeKernel, direction: str) -> None:
    await applied(kernel, row("ingress", "tap1"))
    bad = refused(kernel, "s")
    before = kernel.state()
    more = [row("both", f"more{number}") for number in range(4)]
    result = await run(kernel, row(direction, "tap1"), *more, bad)
    assert (result.status, result.left) == ("rolled_back", [])
    assert kernel.state() == before


async def test_a_rollback_goes_backwards(kernel: FakeKernel) -> None:
    """The last of what was made goes first: the filters with their qdisc, the MTU, and then the links."""
    wire(kernel, "r", "w")
    end = {"node": "r", "interface": "vx0", "mirror": {"from": "eth0", "direction": "both"}}
    tunnel: Row = {"type": "vxlan", "endpoint": end, "parent": "r:up0", "remote": "192.0.2.2", "vni": 5}

    def refuse_the_second(request: Request) -> None:
        is_lowered = any(set(one.attributes) == {"mtu"} for one in kernel.requests)
        if is_lowered and request.type == tc.RTM_NEWTFILTER:
            kernel.refuse[kernel._count] = errno.ENOMEM

    kernel.before = refuse_the_second
    result = await run(kernel, tunnel, {**tunnel, "vni": 6, "endpoint": {**end, "interface": "vx1"}})
    assert (result.status, result.left) == ("rolled_back", [])
    types = [request.type for request in kernel.requests]
    mtus = [number for number, one in enumerate(kernel.requests) if set(one.attributes) == {"mtu"}]
    undone = [number for number, type in enumerate(types) if type in (tc.RTM_DELTFILTER, tc.RTM_DELQDISC)]
    assert len(mtus) == 2  # lowered and raised
    assert undone
    assert max(mtus[1], *undone) < types.index(RTM_DELLINK)


@pytest.mark.parametrize("fault", [errno.ENOMEM, False, True])
async def test_whatever_request_goes_wrong_nothing_of_a_mirror_stays(kernel: FakeKernel, fault: int | bool) -> None:
    before = kernel.state()
    rows = [row("both", "tap1"), row("ingress", "tap2")]
    kernel.count_from_here()
    assert (await run(kernel, *rows)).status == "applied"
    types = [request.type for request in kernel.requests]
    await destroyed(kernel)
    rolled_back = 0
    for number, type in enumerate(types, 1):
        kernel.count_from_here()
        kernel.fail(number, fault)
        result = await run(kernel, *rows)
        rolled_back += result.status == "rolled_back"
        kernel.refuse.clear()
        kernel.lose.clear()
        await destroy("lab", kernel=kernel)
        if result.left:  # a qdisc that was made without the filter that would mark it as ours: that is said
            assert (fault, type) == (False, tc.RTM_NEWTFILTER)
            assert "an empty clsact qdisc is there, which may be ours" in result.left[0]
            at(kernel).control.qdiscs.clear()
        assert kernel.state() == before, number
    assert rolled_back > len(types) / 2


@pytest.mark.parametrize(("direction", "is_refused"), [("ingress", True), ("both", True), ("egress", False)])
async def test_the_other_end_of_the_link_as_a_source(
    make_kernel: KernelFactory, direction: str, is_refused: bool
) -> None:
    kernel = make_kernel("a")
    end = {"node": "a", "interface": "l1", "mirror": {"from": "l2", "direction": direction}}
    link: Row = {"endpoints": [end, "a:l2"]}
    if is_refused:
        with pytest.raises(TopologyError) as caught:
            lab([link])
        assert "mirror loop: each frame" in str(caught.value)
        assert "a:l2 => a:l1 -> a:l2" in str(caught.value)
    else:
        await applied(kernel, link)
        assert mirrors(kernel, "l2", "a") == wanted("egress", "l1")


@pytest.mark.parametrize("theirs", ["another lab", "tc"])
async def test_a_loop_with_a_mirror_that_is_there_already(make_kernel: KernelFactory, theirs: str) -> None:
    """Neither file alone shows it."""
    kernel = make_kernel("a", "b")
    await applied(kernel, {"endpoints": ["a:z0", "b:z0"]})
    watching: Row = {"node": "b", "interface": "y0"}
    if theirs != "tc":
        watching["mirror"] = {"from": "z0", "direction": "ingress"}
    await applied(kernel, {"endpoints": ["a:y0", watching]}, name="other")
    if theirs == "tc":
        give_qdisc(kernel, "ingress", "z0", "b")
        give_filter(kernel, "ingress", 9, at(kernel, "y0", "b").index, where=("z0", "b"))
    closing = {"node": "a", "interface": "z0", "mirror": {"from": "y0", "direction": "ingress"}}
    before = kernel.state()
    for dry_run in (False, True):
        result = await run(kernel, {"endpoints": [closing, "b:z0"]}, dry_run=dry_run)
        assert result.status == "invalid"
        assert "a:y0 => a:z0 -> b:z0 => b:y0 -> a:y0" in result.errors[0].message
        assert "there already: b:z0 => b:y0" in result.errors[0].message
    assert kernel.state() == before
