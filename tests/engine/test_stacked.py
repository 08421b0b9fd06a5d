"""Links that stand on another interface: their order, what is compared, what is refused, and that nothing stays.

tests/kernel/test_kinds.py has what passes through them, and tests/kernel/test_fake_is_true.py that the kernel in memory
does with them what the real one does.
"""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import Any

import pytest

from kokofast.engine.result import Result
from kokofast.plan.ownership import alias_of, group_of
from kokofast.wire.link import RTM_DELLINK, RTM_NEWLINK
from kokofast.wire.message import KernelError, Request
from kokofast.wire.neigh import RTM_GETNEIGH, RTM_NEWNEIGH
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel, FakeLink
from tests.engine.labs import Links, lab, refused, taken_back_at_each_request, visible, wire
from tests.runs import apply, destroy, inspect

Row = dict[str, Any]
REMOTE = {4: "192.0.2.2", 6: "2001:db8:ff::2"}


@pytest.fixture
def kernel(make_kernel: KernelFactory) -> FakeKernel:
    """Two hosts, ``ha`` and ``hb``, with ``up0`` between them; and the containers ``a``, ``b`` and ``c``."""
    made = make_kernel("ha", "hb", "a", "b", "c")
    made.rtnl.lacks.clear()
    wire(made, "ha", "hb")
    return made


def tunnel(end: str, host: str = "ha", **more: Any) -> Row:
    return {"type": "vxlan", "endpoint": end, "parent": f"{host}:up0", "remote": REMOTE[4], "vni": 7, **more}


def on(kind: str, end: str, parent: str = "ha:up0", **more: Any) -> Row:
    return {"type": kind, "endpoint": end, "parent": parent, **more}


# A link of each kind that has a parent, in a.
STACKED: dict[str, Row] = {
    "vxlan": tunnel("a:e0"),
    "macvlan": on("macvlan", "a:e0"),
    "ipvlan": on("ipvlan", "a:e0"),
    "vlan": on("vlan", "a:e0", id=5),
}
OVERHEAD = {"vxlan": 50, "macvlan": 0, "ipvlan": 0, "vlan": 0}
each_kind = pytest.mark.parametrize("kind", STACKED)


def at(kernel: FakeKernel, node: str, ifname: str = "e0") -> FakeLink:
    link = kernel[node].by_name(ifname)
    assert link is not None
    return link


async def run(kernel: FakeKernel, *rows: Row, **options: Any) -> Result:
    return await apply(lab(list(rows)), kernel=kernel, **options)


async def applied(kernel: FakeKernel, *rows: Row) -> Result:
    """A run that goes well, and the same again, which has nothing to do."""
    result = await run(kernel, *rows)
    assert (result.status, result.left) == ("applied", []), result.errors
    assert (await run(kernel, *rows)).status == "unchanged"
    return result


async def invalid(kernel: FakeKernel, place: str, *words: str, rows: Links, status: str = "invalid") -> None:
    """A run is refused with this place and these words, and changes nothing."""
    before = kernel.state()
    result = await run(kernel, *rows)
    assert (result.status, result.left) == (status, [])
    assert [error.source for error in result.errors] == [place]
    for word in words:
        assert word in result.errors[0].message
    assert kernel.state() == before


def made(kernel: FakeKernel) -> list[str]:
    """The names of the interfaces whose creation was asked for, in order."""
    return [str(one.attributes["ifname"]) for one in kernel.requests if one.type == RTM_NEWLINK]


class TestEachKind:
    @each_kind
    async def test_it_is_made_found_again_and_deleted(self, kernel: FakeKernel, kind: str) -> None:
        before = kernel.state()
        assert (await applied(kernel, STACKED[kind])).links["created"] == 1
        assert (at(kernel, "a").kind, at(kernel, "a").mtu) == (kind, 1500 - OVERHEAD[kind])
        assert at(kernel, "a").up
        assert [link.kind for link in await inspect(kernel=kernel)] == [kind]
        assert (await destroy("lab", kernel=kernel)).links == {"removed": 1, "failed": 0}
        assert kernel.state() == before

    @each_kind
    async def test_a_parent_that_is_not_there(self, kernel: FakeKernel, kind: str) -> None:
        missing = {**STACKED[kind], "endpoint": "b:e0", "parent": "ha:nowhere"}
        if kind == "vxlan":
            missing["vni"] = 8
        await invalid(kernel, "$.links[1].parent", "nowhere", "ha", rows=[STACKED[kind], missing])
        here = {**STACKED[kind], "parent": "nowhere"}
        await invalid(kernel, "$.links[0].parent", "nowhere not found in this namespace", rows=[here])

    @each_kind
    async def test_one_that_moves_to_another_parent_is_refused(self, kernel: FakeKernel, kind: str) -> None:
        kernel["ha"].add("up1", kind="dummy").up = True
        await applied(kernel, STACKED[kind])
        moved = {**STACKED[kind], "parent": "ha:up1"}
        await invalid(kernel, "$.links[0].parent", "another parent", rows=[moved])

    @each_kind
    async def test_one_that_moves_to_a_new_parent_is_refused(self, kernel: FakeKernel, kind: str) -> None:
        """Also in the namespace of its parent, where the kernel does not show the parent of a vxlan as its link."""
        dummy: Row = {"type": "dummy", "endpoint": "ha:new"}
        for end in ("a:e0", "ha:e0"):
            link = {**STACKED[kind], "endpoint": end}
            await applied(kernel, link)
            await invalid(kernel, "$.links[1].parent", "another parent", rows=[dummy, {**link, "parent": "ha:new"}])
            await destroy("lab", kernel=kernel)

    @each_kind
    async def test_a_parent_of_the_same_index_in_another_namespace_is_another_parent(
        self, kernel: FakeKernel, kind: str
    ) -> None:
        for node in ("a", "b", "c"):
            kernel["hb" if node == "c" else node].add("e", index=77, kind="dummy").up = True
        link = {**STACKED[kind], "endpoint": "a:w", "parent": "b:e"}
        await applied(kernel, link)
        for other in ("hb", "a"):
            await invalid(kernel, "$.links[0].parent", "another parent", rows=[{**link, "parent": f"{other}:e"}])
        # And the other way round: it stands on one of its own namespace.
        await destroy("lab", kernel=kernel)
        await applied(kernel, {**link, "parent": "a:e"})
        await invalid(kernel, "$.links[0].parent", "another parent", rows=[link])

    @each_kind
    @pytest.mark.parametrize("family", REMOTE)
    async def test_an_mtu_that_does_not_fit_is_refused(self, kernel: FakeKernel, kind: str, family: int) -> None:
        link = dict(STACKED[kind])
        room = 1500 - OVERHEAD[kind]
        if kind == "vxlan":
            link["remote"], room = REMOTE[family], 1450 if family == 4 else 1430
        await invalid(kernel, "$.links[0].mtu", f"leaves {room}", rows=[{**link, "mtu": room + 1}])
        await applied(kernel, {**link, "mtu": room})
        assert at(kernel, "a").mtu == room

    @each_kind
    async def test_an_mtu_that_does_not_fit_on_what_the_file_makes_is_refused(
        self, kernel: FakeKernel, kind: str
    ) -> None:
        parent = {"endpoints": ["a:p", "b:p"], "mtu": 1300}
        link = {**STACKED[kind], "endpoint": "b:w", "parent": "a:p"}
        room = 1300 - OVERHEAD[kind]
        await invalid(kernel, "$.links[0].mtu", f"leaves {room}", rows=[{**link, "mtu": room + 1}, parent])
        await applied(kernel, {**link, "mtu": room}, parent)
        assert at(kernel, "b", "w").mtu == room

    @each_kind
    @pytest.mark.parametrize("mtu", [1300, 4000])
    async def test_the_same_file_gives_the_same_state_when_its_parent_has_changed(
        self, kernel: FakeKernel, kind: str, mtu: int
    ) -> None:
        await applied(kernel, STACKED[kind])
        for host in ("ha", "hb"):
            kernel.rtnl.set_mtu(kernel[host], at(kernel, host, "up0"), mtu)
        await run(kernel, STACKED[kind])
        assert (await run(kernel, STACKED[kind])).status == "unchanged"
        followed = at(kernel, "a").mtu
        await destroy("lab", kernel=kernel)
        await applied(kernel, STACKED[kind])
        assert at(kernel, "a").mtu == followed == mtu - OVERHEAD[kind]

    @each_kind
    async def test_names_that_are_taken_where_the_parent_is(self, kernel: FakeKernel, kind: str) -> None:
        kernel["ha"].add("e0", kind="dummy")
        before = kernel.state()
        await applied(kernel, STACKED[kind])
        await destroy("lab", kernel=kernel)
        await applied(kernel, {**STACKED[kind], "endpoint": "a:up0"})  # the parent's own
        await destroy("lab", kernel=kernel)
        assert kernel.state() == before

    @each_kind
    async def test_the_parent_is_in_the_callers_namespace(self, kernel: FakeKernel, kind: str) -> None:
        kernel.namespaces["/proc/self/ns/net"].add("here0", kind="dummy").up = True
        before = kernel.state()
        await applied(kernel, {**STACKED[kind], "parent": "here0"})
        await destroy("lab", kernel=kernel)
        assert kernel.state() == before

    @each_kind
    async def test_a_kind_that_the_kernel_does_not_have(self, kernel: FakeKernel, kind: str) -> None:
        kernel.rtnl.lacks.add(kind)
        rows: Links = [{"type": "dummy", "endpoint": "b:d0"}, STACKED[kind]]
        word = f"this kernel has no {kind} links"
        await invalid(kernel, "$.links[1].type", word, rows=rows, status="rolled_back")

    @each_kind
    @pytest.mark.parametrize("fault", [errno.ENOMEM, False, True])
    async def test_whatever_request_goes_wrong_nothing_stays(
        self, kernel: FakeKernel, kind: str, fault: int | bool
    ) -> None:
        rows = [{**STACKED[kind], "endpoint": "b:w:10.0.0.1/24", "parent": "a:p"}, {"endpoints": ["a:p", "c:p"]}]
        before = kernel.state()
        kernel.count_from_here()
        assert (await run(kernel, *rows)).status == "applied"
        requests = len(kernel.requests)
        await destroy("lab", kernel=kernel)
        for number in range(1, requests + 1):
            kernel.count_from_here()
            kernel.fail(number, fault)
            result = await run(kernel, *rows)
            assert (result.status, result.left) == ("rolled_back", []), number
            assert kernel.state() == before, number


class TestWhatIsCompared:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"vni": 8}, "vni"),
            ({"remote": "192.0.2.3"}, "remote"),
            ({"remote": REMOTE[6]}, "remote"),
            ({"port": 1000}, "port"),
            ({"ttl": 3}, "ttl"),
            ({"learning": False}, "learning"),
            ({"local": "192.0.2.1"}, "local"),
        ],
    )
    async def test_what_cannot_be_changed_of_a_tunnel(self, kernel: FakeKernel, change: Row, field: str) -> None:
        await applied(kernel, tunnel("a:e0"))
        words = f"another {field}", "--replace deletes it and makes it anew"
        await invalid(kernel, f"$.links[0].{field}", *words, rows=[tunnel("a:e0") | change])

    async def test_a_source_address_that_left_the_file(self, kernel: FakeKernel) -> None:
        await applied(kernel, tunnel("a:e0", local="192.0.2.1"))
        await invalid(kernel, "$.links[0]", "another local", rows=[tunnel("a:e0")])

    @pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
    async def test_another_mode(self, kernel: FakeKernel, kind: str) -> None:
        await applied(kernel, STACKED[kind])
        other = "private" if kind == "macvlan" else "l3"
        await invalid(kernel, "$.links[0].mode", "another mode", rows=[{**STACKED[kind], "mode": other}])

    async def test_another_tag(self, kernel: FakeKernel) -> None:
        await applied(kernel, STACKED["vlan"])
        await invalid(kernel, "$.links[0].id", "another id", rows=[{**STACKED["vlan"], "id": 6}])

    async def test_macvlans_default_mode(self, kernel: FakeKernel) -> None:
        link = on("macvlan", "a:e0", mode="default")
        await applied(kernel, link)
        await invalid(kernel, "$.links[0].mode", rows=[{**link, "mode": "private"}])
        at(kernel, "a").data["mode"] = 1  # which somebody has set to private
        await invalid(kernel, "$.links[0].mode", rows=[link])

    async def test_one_of_another_kind_is_not_taken_for_it(self, kernel: FakeKernel) -> None:
        await applied(kernel, {"type": "dummy", "endpoint": "a:lo1"})
        before = kernel.state()
        assert (await run(kernel, {"endpoints": ["a:lo1", "a:lo3"]})).status == "invalid"
        assert kernel.state() == before

    async def test_ipvlan_and_passthru_have_their_parents_mac(self, kernel: FakeKernel) -> None:
        await applied(kernel, STACKED["ipvlan"], on("macvlan", "b:e0", "hb:up0", mode="passthru"))
        assert at(kernel, "a").mac == at(kernel, "ha", "up0").mac
        assert at(kernel, "b").mac == at(kernel, "hb", "up0").mac


class TestOrder:
    ROWS: tuple[Row, ...] = (
        on("macvlan", "c:m1", "c:vx0"),
        tunnel("c:vx0"),
        tunnel("c:vx1", "hb", remote="192.0.2.1"),
        on("macvlan", "c:m0"),
        on("vlan", "c:v0", "c:m1", id=5),
        {"endpoints": ["ha:up0", "hb:up0"]},
    )

    @pytest.fixture
    def empty(self, make_kernel: KernelFactory) -> FakeKernel:
        made = make_kernel()
        made.rtnl.lacks.clear()
        return made

    @pytest.mark.parametrize("turn", range(6))
    @pytest.mark.parametrize("jobs", [1, 4])
    async def test_parents_that_other_rows_make_come_first(self, empty: FakeKernel, turn: int, jobs: int) -> None:
        rows = [*self.ROWS[turn:], *self.ROWS[:turn]]
        result = await run(empty, *rows, jobs=jobs)
        assert (result.status, result.links["created"]) == ("applied", 6), result.errors
        order = made(empty)
        for parent, child in (("up0", "vx0"), ("up0", "vx1"), ("up0", "m0"), ("vx0", "m1"), ("m1", "v0")):
            assert order.index(parent) < order.index(child)
        mtus = {link.name: link.mtu for link in empty["c"].links.values() if link.name != "lo"}
        assert mtus == {"m0": 1500, "vx0": 1450, "vx1": 1450, "m1": 1450, "v0": 1450}
        assert (await run(empty, *rows)).status == "unchanged"
        assert (await destroy("lab", kernel=empty)).namespaces["removed"] == 3

    async def test_a_parent_that_grows_in_the_same_run(self, kernel: FakeKernel) -> None:
        plain = {"endpoints": ["a:p", "b:p"]}
        await applied(kernel, plain)
        wide = tunnel("b:vx0", mtu=8950) | {"parent": "a:p"}
        result = await applied(kernel, wide, {**plain, "mtu": 9000})
        assert (result.links["created"], result.links["updated"]) == (1, 1)
        assert at(kernel, "b", "vx0").mtu == 8950

    async def test_links_that_stand_on_each_other(self, kernel: FakeKernel) -> None:
        rows: Links = [on("macvlan", "a:m0", "a:m1"), on("macvlan", "a:m1", "a:m0")]
        result = await run(kernel, *rows)
        assert result.status == "invalid"
        assert result.errors[0].source == "$.links[0].parent"
        assert "parent cycle" in result.errors[0].message
        assert kernel.links_of("a") == []

    async def test_a_macvlan_on_a_macvlan_is_found_again(self, kernel: FakeKernel) -> None:
        rows = [{"endpoints": ["a:e", "b:e"]}, on("macvlan", "a:w", "a:e"), on("macvlan", "a:w2", "a:w")]
        assert (await applied(kernel, *rows)).links["created"] == 3
        assert at(kernel, "a", "w2").parent == at(kernel, "a", "w").parent

    async def test_a_tag_in_a_tag(self, kernel: FakeKernel) -> None:
        inner, outer = on("vlan", "ha:inner", "ha:outer", id=7), on("vlan", "ha:outer", id=7, protocol="802.1ad")
        await applied(kernel, inner, outer)
        assert at(kernel, "ha", "outer").data == {"id": 7, "protocol": 0x88A8}
        assert at(kernel, "ha", "inner").data == {"id": 7, "protocol": 0x8100}

    async def test_a_vlan_waits_for_its_parent_to_be_up(self, kernel: FakeKernel) -> None:
        rows = [on("vlan", "a:v0", "a:p", id=5), {"endpoints": ["a:p", "b:p"]}]
        await applied(kernel, *rows)
        assert at(kernel, "a", "v0").up


class TestRollback:
    async def test_what_fails_takes_all_of_them_back(self, kernel: FakeKernel) -> None:
        before = kernel.state()
        for bad in (refused(kernel, "hb"), tunnel("c:bad", vni=500)):
            before = kernel.state()
            refuse_link(kernel, "bad", KernelError(errno.EBUSY))
            result = await run(kernel, *TestOrder.ROWS[:5], bad, {"endpoints": ["a:e9", "b:e9"]})
            assert (result.status, result.left) == ("rolled_back", [])
            assert kernel.state() == before

    async def test_a_vni_that_somebody_has_is_explained(self, kernel: FakeKernel) -> None:
        """Only the kernel knows of the other tunnel, which is in a namespace that the file does not have."""
        kernel.namespaces["/run/netns/x"] = stranger = kernel._new()
        kernel.rtnl.created = None  # it is not ours
        data = {"id": 500, "port": 4789, "link": at(kernel, "ha", "up0").index, "group": bytes((192, 0, 2, 2))}
        descriptor = kernel._handle("x", stranger).fd
        attributes = {"ifname": "theirs", "net_ns_fd": descriptor, "linkinfo": {"kind": "vxlan", "data": data}}
        kernel.rtnl.create(kernel["ha"], {"index": 9}, attributes, kernel._fds.__getitem__)
        rows: Links = [{"endpoints": ["a:e9", "b:e9"]}, tunnel("a:bad", vni=500), on("macvlan", "b:m0", "hb:up0")]
        await invalid(kernel, "$.links[1].vni", "bad", "theirs in ", rows=rows, status="rolled_back")

    @pytest.mark.parametrize("failing", ["vx0", "m1"])
    async def test_what_stands_on_a_link_that_fails_fails_with_it(self, kernel: FakeKernel, failing: str) -> None:
        refuse_link(kernel, failing, KernelError(errno.EBUSY))
        rows = [*TestOrder.ROWS[:5], {"endpoints": ["a:e9", "b:e9"]}]
        result = await run(kernel, *rows, keep_going=True)
        lost = {"vx0": {"vx0", "m1", "v0"}, "m1": {"m1", "v0"}}[failing]
        assert (result.status, result.left) == ("partial", [])
        assert result.links["failed"] == len(lost)
        assert set(kernel.links_of("c")) == {"vx0", "vx1", "m0", "m1", "v0"} - lost
        assert kernel.links_of("a") == kernel.links_of("b") == ["e9"]
        kernel.before = None
        assert (await run(kernel, *rows)).links["created"] == len(lost)
        assert (await run(kernel, *rows)).status == "unchanged"

    async def test_one_request_for_each_namespace_takes_them_back(self, kernel: FakeKernel) -> None:
        """One by one each would wait for RCU, and a link that went with its parent would be refused."""
        bad = refused(kernel, "hb")
        result = await run(kernel, *TestOrder.ROWS[:5], bad)
        assert (result.status, result.left) == ("rolled_back", [])
        deletions = [request for request in kernel.requests if request.type == RTM_DELLINK]
        assert [request.attributes for request in deletions] == [{"group": group_of("lab")}] * 2  # in c and in hb


def refuse_link(kernel: FakeKernel, ifname: str, refusal: KernelError) -> None:
    """The creation of an interface is refused."""

    def refuse(request: Request) -> None:
        if request.attributes.get("ifname") == ifname:
            kernel.refuse[kernel._count] = refusal

    kernel.before = refuse


def mixture(count: int) -> Links:
    """That many links, of three kinds in turn, between the containers and the hosts."""
    rows: Links = []
    for number in range(count):
        node, other = "abc"[number % 3], "abc"[(number + 1) % 3]
        end = f"{node}:e{number}:10.1.{number}.1/24"
        plain: Row = {"endpoints": [end, f"{other}:f{number}:10.1.{number}.2/24"]}
        rows.append((tunnel(end, vni=number), plain, on("macvlan", end, "hb:up0"))[number // 3 % 3])
    return rows


async def test_sixty_of_three_kinds(kernel: FakeKernel) -> None:
    before = visible(kernel)
    rows = mixture(60)
    result = await applied(kernel, *rows)
    assert result.links == {"total": 60, "created": 60, "updated": 0, "unchanged": 0, "failed": 0}
    found = sorted(link.kind for link in await inspect(kernel=kernel))
    assert {kind: found.count(kind) for kind in found} == {"macvlan": 18, "veth": 21, "vxlan": 21}
    assert (await destroy("lab", kernel=kernel)).links == {"removed": 60, "failed": 0}
    assert visible(kernel) == before


@each_kind
async def test_a_link_of_another_lab_on_a_link_of_this_one_keeps_it(kernel: FakeKernel, kind: str) -> None:
    below: Row = {"endpoints": ["a:p", "b:p"]}
    await applied(kernel, below)
    other = lab([{**STACKED[kind], "endpoint": "c:w", "parent": "a:p"}], "other")
    assert (await apply(other, kernel=kernel)).status == "applied"
    before = kernel.state()
    result = await destroy("lab", kernel=kernel)
    assert result.status == "invalid"
    assert "1 link of the lab other would be removed too (c:w)" in result.errors[0].message
    assert kernel.state() == before
    assert at(kernel, "c", "w").group == group_of("other")
    assert at(kernel, "c", "w").alias == alias_of("other", other.links[0])
    assert (await destroy("lab", force=True, kernel=kernel)).status == "destroyed"
    assert kernel.links_of("c") == []


class TestSeveralRemotes:
    HOSTS = ("192.0.2.2", "192.0.2.3", "192.0.2.4")

    @staticmethod
    def hosts(kernel: FakeKernel) -> list[str]:
        return sorted(str(ip_address(host)) for host, _ in at(kernel, "a").remotes)

    async def test_they_are_set_and_changed_in_place(self, kernel: FakeKernel) -> None:
        await applied(kernel, tunnel("a:e0", remote=[*self.HOSTS[:2]]))
        assert self.hosts(kernel) == [*self.HOSTS[:2]]
        index = at(kernel, "a").index
        kernel.count_from_here()
        assert (await run(kernel, tunnel("a:e0", remote=[*self.HOSTS[1::-1]]))).status == "unchanged"
        assert kernel.requests == []
        await applied(kernel, tunnel("a:e0", remote=[*self.HOSTS[1:]]))
        assert (self.hosts(kernel), at(kernel, "a").index) == ([*self.HOSTS[1:]], index)

    @pytest.mark.parametrize(("before", "after"), [(HOSTS[0], [HOSTS[0]]), ([HOSTS[0]], HOSTS[0])])
    async def test_one_remote_is_no_list(self, kernel: FakeKernel, before: object, after: object) -> None:
        await applied(kernel, tunnel("a:e0", remote=before))
        await invalid(kernel, "$.links[0].remote", "another remote", rows=[tunnel("a:e0", remote=after)])

    async def test_remotes_of_the_other_version_of_ip(self, kernel: FakeKernel) -> None:
        await applied(kernel, tunnel("a:e0", remote=[REMOTE[6]]))
        assert at(kernel, "a").is_ipv6
        words = "another remote", "--replace deletes it and makes it anew"
        await invalid(kernel, "$.links[0].remote", *words, rows=[tunnel("a:e0", remote=[REMOTE[4]])])

    @pytest.mark.parametrize(
        ("before", "after"),
        [(HOSTS[0], [*HOSTS[:2]]), ([*HOSTS[:2]], HOSTS[2]), ([HOSTS[0]], [REMOTE[6]]), ([REMOTE[6]], HOSTS[0])],
    )
    async def test_replaced_are_those_that_batch_does_not_change(
        self, kernel: FakeKernel, before: object, after: object
    ) -> None:
        await applied(kernel, tunnel("a:e0", remote=before))
        topology = lab([tunnel("a:e0", remote=after)])
        planned = await apply(topology, kernel=kernel, replace=True, dry_run=True)
        assert [one["changes"] for step in planned.planned for one in step.as_dicts()] == [
            [{"field": "remote", "before": before, "after": after}]
        ]
        assert (await apply(topology, kernel=kernel, replace=True)).links["replaced"] == 1
        assert self.hosts(kernel) == (after if isinstance(after, list) else [after])
        assert (await apply(topology, kernel=kernel, replace=True)).status == "unchanged"

    @pytest.mark.parametrize("fault", [errno.ENOSPC, True])
    async def test_each_failure_is_taken_back(self, make_kernel: KernelFactory, fault: int | bool) -> None:
        async def machine() -> FakeKernel:
            kernel = make_kernel("ha", "hb", "a", "b", "c")
            wire(kernel, "ha", "hb")
            await applied(kernel, tunnel("a:e0", remote=[*self.HOSTS[:2]]))
            kernel.count_from_here()
            return kernel

        rows = [tunnel("a:e0", remote=[*self.HOSTS[1:]]), tunnel("b:e0", vni=8, remote=[REMOTE[6]])]
        assert len(await taken_back_at_each_request(machine, lab(rows), fault)) >= 6

    async def test_an_entry_that_is_bound_to_an_interface_is_none_of_ours(self, kernel: FakeKernel) -> None:
        """The kernel takes it for another one: it would not go with ours, and every run would find it."""
        row = tunnel("a:e0", remote=[*self.HOSTS[:2]])
        await applied(kernel, row)
        theirs = bytes((192, 0, 2, 2)), 5
        at(kernel, "a").remotes.append(theirs)
        assert (await run(kernel, row)).status == "unchanged"
        await applied(kernel, tunnel("a:e0", remote=[*self.HOSTS[1:]]))
        assert theirs in at(kernel, "a").remotes

    async def test_what_is_refused_names_the_remotes(self, kernel: FakeKernel) -> None:
        kernel.before = lambda request: (
            kernel.refuse.update({kernel._count: errno.ENOSPC}) if request.type == RTM_NEWNEIGH else None
        )
        result = await run(kernel, tunnel("a:e0", remote=[*self.HOSTS]))
        assert [error.source for error in result.errors] == ["$.links[0].remote"]

    async def test_without_a_parent(self, kernel: FakeKernel) -> None:
        row = tunnel("a:e0")
        del row["parent"]
        result = await run(kernel, row)
        assert result.status == "applied"
        assert result.notes == [
            "the mtu of a:e0 is 1500, as it has no parent: the way to its remote has to carry packets of 1550 bytes; "
            "give mtu otherwise"
        ]
        link = at(kernel, "a")
        assert (link.sender, "link" in link.data, link.mtu) == (kernel["a"], False, 1500)
        assert (await run(kernel, row)).status == "unchanged"
        await invalid(kernel, "$.links[0].parent", "parent", rows=[tunnel("a:e0")])

    async def test_the_parent_left_the_file(self, kernel: FakeKernel) -> None:
        await applied(kernel, tunnel("a:e0"))
        row = tunnel("a:e0")
        del row["parent"]
        await invalid(
            kernel, "$.links[0]", "is there on a parent interface; --replace deletes it and makes it anew", rows=[row]
        )

    async def test_only_a_tunnel_without_a_remote_is_asked_for_more(self, kernel: FakeKernel) -> None:
        await applied(kernel, tunnel("a:e0"), on("macvlan", "b:e0"))
        asked: list[int] = []
        dump = kernel.dump
        kernel.dump = lambda handle, request: asked.append(request.type) or dump(handle, request)  # type: ignore[method-assign, func-returns-value]
        assert (await run(kernel, tunnel("a:e0"), on("macvlan", "b:e0"))).status == "unchanged"
        assert asked
        assert RTM_GETNEIGH not in asked
