"""batch --replace: links that cannot be changed in place are deleted and made again, or all is as it was."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from kokofast.cli.result_schema import schema as result_schema
from kokofast.drivers import Stopped
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.engine.result import Result
from kokofast.plan.ownership import APART
from kokofast.wire import tc
from kokofast.wire.link import RTM_DELLINK, RTM_NEWLINK
from kokofast.wire.message import Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import Links, lab, refused
from tests.runs import StopWhen, apply, destroy

Row = dict[str, object]


def up(node: str, ifname: str = "e0", **more: object) -> Row:
    return {"node": node, "interface": ifname, **more}


AB: Row = {"endpoints": ["a:e0:10.0.0.1/24", "b:e0:10.0.0.2/24"]}
TUNNEL: Row = {"type": "vxlan", "endpoint": "b:t0:10.1.0.1/24", "parent": "a:e0", "remote": "192.0.2.9", "vni": 7}
UPPER: Row = {"type": "macvlan", "endpoint": "b:m0:10.2.0.1/24", "parent": "a:e0"}
TAGGED: Row = {"type": "vlan", "endpoint": "b:v0", "parent": "a:e0", "id": 5}
BRIDGE: Row = {"type": "bridge", "endpoint": "a:br0", "mac": "02:00:00:00:00:0b"}
PORT: Row = {"endpoints": [up("a", "p0", master="br0"), "b:p0"]}
TAP: Row = {"endpoints": [up("a", "tap", mirror={"from": "e0", "direction": "ingress"}), "b:tap"]}

# A link as it is, with all that it can have.
RICH: Row = {
    "endpoints": [
        up("a", addresses=["10.0.0.1/24", "2001:db8::1/64"], rate="5mbit", altnames=["first"], txqlen=0, mtu=1400),
        up("b", mac="02:00:00:00:00:99", up=False, addresses=["10.0.0.2/24"], dad=False),
    ]
}

# What is there, what is asked for, and the fields that differ in each link that is replaced.
CASES: dict[str, tuple[Links, Links, list[list[str]]]] = {
    "vni": ([AB, TUNNEL], [AB, TUNNEL | {"vni": 8}], [["vni"]]),
    "remote": ([AB, TUNNEL], [AB, TUNNEL | {"remote": "192.0.2.8"}], [["remote"]]),
    "id": ([AB, TAGGED], [AB, TAGGED | {"id": 6}], [["id"]]),
    "mode": ([AB, UPPER], [AB, UPPER | {"mode": "passthru"}], [["mode"]]),
    "queues": ([AB], [AB | {"queues": 2}], [["queues", "queues"]]),
    "kind": ([AB, {"type": "dummy", "endpoint": "a:x"}], [AB, UPPER | {"endpoint": "a:x"}], [["type"]]),
    "parent": ([AB, UPPER], [AB, UPPER | {"parent": "b:e0"}], [["parent"]]),
    "another end": ([AB], [{"endpoints": ["a:e0:10.0.0.1/24", "c:e0"]}], [["link"]]),
    "of one two": ([AB], [{"endpoints": ["a:e0", "c:e0"]}, {"endpoints": ["b:e0", "c:e1"]}], [["link"], ["link"]]),
    "of two one": (
        [{"endpoints": ["a:e0", "c:e0"]}, {"endpoints": ["b:e0", "c:e1"]}],
        [AB],
        [["link"]],
    ),
    "what is on it": ([AB, TUNNEL, UPPER, TAGGED], [AB | {"queues": 3}, TUNNEL, UPPER, TAGGED],
                      [["queues", "queues"], [], [], []]),
    "bridge": ([BRIDGE, PORT], [BRIDGE | {"stp": True}, PORT], [["stp"]]),
    "mirrored": ([AB, TAP], [AB | {"queues": 2}, TAP], [["queues", "queues"]]),
    "mirror": ([AB, TAP], [AB, TAP | {"queues": 2}], [["queues", "queues"]]),
    "rich": ([RICH], [RICH | {"queues": 2}], [["queues", "queues"]]),
    "swapped": ([AB], [{"endpoints": ["b:e0:10.0.0.2/24", "a:e0:10.0.0.1/24"]}], []),
}  # fmt: skip


def counted(result: Result) -> tuple[str, int | None, int, int]:
    return result.status, result.links.get("replaced"), result.links["created"], result.links["failed"]


async def made(kernel: FakeKernel, links: Links, **more: Any) -> FakeKernel:
    assert (await apply(lab(links, **more), kernel=kernel)).status == "applied"
    kernel.count_from_here()
    return kernel


@pytest.mark.parametrize("name", CASES)
async def test_what_cannot_be_changed_is_replaced(make_kernel: KernelFactory, name: str) -> None:
    from jsonschema import validate

    have, wanted, changes = CASES[name]
    kernel = await made(make_kernel("a", "b", "c"), have)
    before = kernel.state()
    if changes:
        plain = await apply(lab(wanted), kernel=kernel)
        assert plain.status == "invalid"
        assert any("--replace" in error.message for error in plain.errors)
    planned = await apply(lab(wanted), kernel=kernel, replace=True, dry_run=True)
    assert (planned.status, planned.errors) == ("planned" if changes else "unchanged", [])
    assert kernel.state() == before
    data: Any = planned.as_dict()
    validate(data, result_schema())
    steps = [one for one in data.get("plan", ()) if one["action"] == "replace"]
    assert [[change["field"] for change in one["changes"]] for one in steps] == changes
    assert planned.links.get("replaced", 0) == len(changes)
    result = await apply(lab(wanted), kernel=kernel, replace=True)
    assert counted(result) == ("applied" if changes else "unchanged", len(changes), 0, 0)
    assert result.links["total"] == sum(
        result.links[key] for key in ("created", "replaced", "updated", "unchanged", "failed")
    )
    assert (await apply(lab(wanted), kernel=kernel)).status == "unchanged"
    fresh = await made(make_kernel("a", "b", "c"), wanted)
    for node in "abc":
        assert kernel.links_of(node) == fresh.links_of(node)


def test_what_differs_is_shown(make_kernel: KernelFactory) -> None:
    def shown(have: Links, wanted: Links) -> list[str]:
        kernel = make_kernel("a", "b", "c")
        drive(apply(lab(have), kernel=kernel, driver=InlineDriver()))
        found = drive(apply(lab(wanted), kernel=kernel, driver=InlineDriver(), replace=True, dry_run=True))
        return list(map(str, found.planned))

    have, wanted, _ = CASES["vni"]
    assert shown(have, wanted) == ["-/+ vxlan b:t0:10.1.0.1/24 (vni 7 -> 8)"]
    have, wanted, _ = CASES["another end"]
    assert shown(have, wanted) == ["-/+ veth a:e0:10.0.0.1/24--c:e0 (link a:e0--b:e0 -> a:e0--c:e0)"]
    have, wanted, _ = CASES["parent"]
    assert shown([AB, UPPER | {"endpoint": "a:m0"}], [AB, UPPER | {"endpoint": "a:m0", "parent": "b:e0"}]) == [
        "-/+ macvlan a:m0 (parent a:e0 -> b:e0)"
    ]
    have, wanted, _ = CASES["what is on it"]
    assert shown(have, wanted)[1:] == [
        "-/+ vxlan b:t0:10.1.0.1/24",
        "-/+ macvlan b:m0:10.2.0.1/24",
        "-/+ vlan b:v0",
    ]


@pytest.mark.parametrize("name", [name for name, (_, _, changes) in CASES.items() if changes])
@pytest.mark.parametrize("fault", [errno.EPERM, False, True])
async def test_whichever_request_fails_all_is_as_it_was(
    make_kernel: KernelFactory, name: str, fault: int | bool
) -> None:
    have, wanted, _ = CASES[name]
    statuses = set()
    for number in range(1, 100):
        kernel = await made(make_kernel("a", "b", "c"), have)
        before = kernel.state()
        kernel.fail(number, fault)
        result = await apply(lab(wanted), kernel=kernel, replace=True)
        if result.left:  # the answers to a new qdisc and its filter, which are one send, are lost apart
            assert (name, fault) == ("mirror", False)
            assert "an empty clsact qdisc is there, which may be ours" in result.left[0]
            continue
        statuses.add(result.status)
        if kernel.refuse or kernel.lose:  # there are not as many requests
            assert result.status == "applied"
            break
        if result.status == "rolled_back":
            assert kernel.state() == before, number
        else:  # a deletion is tried twice
            assert result.status == "applied", number
            assert (await apply(lab(wanted), kernel=kernel)).status == "unchanged", number
    assert statuses == {"rolled_back", "applied"}


@pytest.mark.parametrize("name", [name for name, (_, _, changes) in CASES.items() if changes])
async def test_a_fault_of_the_rollback_is_made_up_for(make_kernel: KernelFactory, name: str) -> None:
    """The last link fails, and then any one request of the rollback."""
    have, wanted, _ = CASES[name]
    for number in range(1, 100):
        kernel = make_kernel("a", "b", "c")
        bad = refused(kernel, "c")
        await made(kernel, have)
        before = kernel.state()
        begun: list[int] = []

        def fail(request: Request, kernel: FakeKernel = kernel, begun: list[int] = begun, number: int = number) -> None:
            if request.attributes.get("ifname") == "x" or begun:
                begun.append(1)
            if len(begun) == number + 1:
                kernel.refuse[len(kernel.requests)] = errno.ENOMEM

        kernel.before = fail
        result = await apply(lab([*wanted, bad]), kernel=kernel, replace=True)
        assert (result.status, result.left) == ("rolled_back", []), number
        assert kernel.state() == before, number
        if len(begun) <= number:
            return
    pytest.fail("the rollback has no end")


def test_a_signal_takes_all_back(make_kernel: KernelFactory) -> None:
    have, wanted, _ = CASES["what is on it"]
    for type in (RTM_DELLINK, RTM_NEWLINK):
        kernel = make_kernel("a", "b", "c")
        drive(apply(lab(have), kernel=kernel, driver=InlineDriver()))
        kernel.count_from_here()
        before = kernel.state()
        driver = InlineDriver(
            StopWhen(lambda kernel=kernel, type=type: any(one.type == type for one in kernel.requests))  # type: ignore[misc]
        )
        with pytest.raises(Stopped):
            drive(apply(lab(wanted), kernel=kernel, driver=driver, replace=True))
        assert kernel.state() == before


async def test_with_keep_going_only_what_failed_is_given_back(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b", "c")
    bad = refused(kernel, "c")
    have: Links = [AB, {"endpoints": ["a:e1", "b:e1"]}, {"endpoints": ["b:x", "c:x"]}]
    await made(kernel, have)
    before = kernel.state()
    wanted: Links = [AB | {"queues": 2}, {"endpoints": ["a:e1", "b:e1"]}, bad]
    result = await apply(lab(wanted), kernel=kernel, replace=True, keep_going=True)
    assert counted(result) == ("partial", 1, 0, 1)
    after: Any = kernel.state()
    assert after["/run/netns/c"] == before["/run/netns/c"]
    assert kernel.links_of("b") == ["e0", "e1", "x"]
    assert (await apply(lab([AB | {"queues": 2}, *have[1:]]), kernel=kernel)).status == "unchanged"


async def test_links_in_the_place_of_one_stay_or_go_together(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b", "c")
    bad = refused(kernel, "b", "e0")
    await made(kernel, [AB])
    before = kernel.state()
    result = await apply(lab([{"endpoints": ["a:e0", "c:e0"]}, bad]), kernel=kernel, replace=True, keep_going=True)
    assert counted(result) == ("partial", 0, 0, 2)
    assert kernel.state() == before


@pytest.mark.parametrize("has_more", [False, True])
async def test_an_end_outside_of_the_file_is_found(make_kernel: KernelFactory, has_more: bool) -> None:
    kernel = make_kernel("a", "b", "c")
    await made(kernel, [AB, UPPER | {"parent": "b:e0"}] if has_more else [AB])
    before = kernel.state()
    wanted: Links = [{"endpoints": ["a:e0", "c:e0"]}]
    result = await apply(lab(wanted), kernel=kernel, replace=True)
    if has_more:
        (error,) = result.errors
        assert error.source == "$.links[0].endpoints[0]"
        assert error.message == (
            "b:e0 is not replaced: b:m0 of a link that has left the file is on it; give --prune, too"
        )
        assert kernel.state() == before
        return
    assert counted(result) == ("applied", 1, 0, 0)
    assert kernel.links_of("b") == []


async def test_a_renamed_end_is_replaced(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b", "c"), [AB])
    found = kernel["b"].by_name("e0")
    assert found is not None
    found.name = "other"
    before = kernel.state()
    bad = refused(kernel, "c")
    before = kernel.state()
    assert (await apply(lab([AB, bad]), kernel=kernel, replace=True)).status == "rolled_back"
    assert kernel.state() == before
    assert counted(await apply(lab([AB]), kernel=kernel, replace=True, prune=True)) == ("applied", 1, 0, 0)
    assert (kernel.links_of("a"), kernel.links_of("b")) == (["e0"], ["e0"])


STRANGE = {
    "address": "it has the address 10.9.9.9/24, which is not ours and would be lost; remove that first (ip address)",
    "qdisc": "it has a qdisc clsact, or filters in it, that are not ours; remove those first (tc)",
    "altname": "it has the alternative name theirs, which the file does not give it; give it altnames, or remove that "
    "first (ip link property del)",
    "master": "it has a master that the file does not give it; give it one, or take it out first "
    "(ip link set e0 nomaster)",
    "child": "a:up, which is not of this lab, is on it; delete that first",
}


@pytest.mark.parametrize("what", STRANGE)
async def test_what_others_have_put_on_it_is_not_lost(make_kernel: KernelFactory, what: str) -> None:
    kernel = await made(make_kernel("a", "b"), [AB])
    there = kernel["a"].by_name("e0")
    assert there is not None
    if what == "address":
        there.addresses[2, bytes((10, 9, 9, 9)), 24] = b""
    elif what == "qdisc":
        header = {"parent": tc.TC_H_CLSACT, "handle": tc.CLSACT_HANDLE}
        there.control.carry_out(tc.RTM_NEWQDISC, header, {"kind": "clsact"})
    elif what == "altname":
        there.altnames = ("theirs",)
    elif what == "master":
        there.master = kernel["a"].add("sw", kind="bridge").index
    else:
        upper = kernel["a"].add("up", kind="macvlan")
        upper.parent = kernel["a"], there.index
    before = kernel.state()
    for dry_run in (True, False):
        result = await apply(lab([AB | {"queues": 2}]), kernel=kernel, replace=True, dry_run=dry_run)
        assert result.status == "invalid"
        assert [error.message for error in result.errors] == [f"a:e0 is not replaced: {STRANGE[what]}"]
        assert result.errors[0].source.startswith("$.links[0]")
        assert kernel.state() == before


async def test_an_interface_that_is_not_of_the_lab_stays_an_error(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    kernel["a"].add("e0", index=50)
    await made(kernel, [AB | {"endpoints": ["a:e1", "b:e1"]}], name="other")
    before = kernel.state()
    other: Row = {"endpoints": ["a:e1", "b:e2"]}
    for row in (AB, other):
        assert (await apply(lab([row]), kernel=kernel, replace=True)).status == "invalid"
        assert kernel.state() == before


async def test_together_with_prune(make_kernel: KernelFactory) -> None:
    """The link whose title has left the file gives its name away, and what is on it is replaced."""
    kernel = make_kernel("a", "b", "c")
    bad = refused(kernel, "c")
    await made(kernel, [AB, {"endpoints": ["b:x", "c:x"]}, TUNNEL, UPPER])
    before = kernel.state()
    wanted: Links = [{"endpoints": ["a:e0", "c:e0"]}, TUNNEL, UPPER]
    result = await apply(lab([*wanted, bad]), kernel=kernel, replace=True, prune=True)
    assert (result.status, result.left) == ("rolled_back", [])
    assert kernel.state() == before
    for dry_run in (True, False):
        result = await apply(lab(wanted), kernel=kernel, replace=True, prune=True, dry_run=dry_run)
        assert (*counted(result), result.links["removed"]) == ("planned" if dry_run else "applied", 2, 1, 0, 2)
    assert {name: kernel.links_of(name) for name in "abc"} == {
        "a": ["e0"], "b": ["m0", "t0"], "c": ["e0", "narrow"]
    }  # fmt: skip


def segment(*ends: str, stp: bool) -> Row:
    return {"type": "bridge", "endpoints": list(ends), "stp": stp}


# What is there, what is asked for, how many links are replaced, and how many leave the file.
LEAVING: dict[str, tuple[Links, Links, int, int]] = {
    "port": ([segment("a:e0", "b:e0", "c:e0", stp=False)], [segment("a:e0", "b:e0", stp=True)], 1, 1),
    "port that gives its name away": (
        [segment("a:e0", "b:e0", "c:e0", stp=False)],
        [segment("b:e0", "c:e0", stp=True)],
        1,
        3,
    ),
    "child": ([AB, UPPER], [AB | {"queues": 2}], 1, 1),
    "mirror": ([AB, TAP], [AB | {"queues": 2}], 1, 1),
    "vni": (
        [AB, TUNNEL],
        [AB, TUNNEL | {"endpoint": "a:t0", "remote": "192.0.2.8"}, {"endpoints": ["b:x", "c:x"]}],
        1,
        1,
    ),
    "id of one that gives its name away": (
        [AB, TAGGED],
        [AB, TAGGED | {"endpoint": "a:v0"}, {"endpoints": ["b:v0", "c:v0"]}],
        2,
        1,
    ),
    "mode": ([AB, UPPER], [AB, UPPER | {"endpoint": "a:m0", "mode": "passthru"}, {"endpoints": ["b:x", "c:x"]}], 1, 1),
    "child that gives its name away": (
        [AB, UPPER],
        [AB | {"queues": 2}, {"endpoints": ["b:m0:10.2.0.1/24", "c:m0"]}],
        2,
        1,
    ),
}


@pytest.mark.parametrize("name", LEAVING)
@pytest.mark.parametrize("keep_going", [False, True])
async def test_what_leaves_the_file_does_not_prevent_a_replacement(
    make_kernel: KernelFactory, name: str, keep_going: bool
) -> None:
    """It is on what is replaced, or a port of it, and goes with --prune; after a failure it is as it was."""
    have, wanted, replaced, removed = LEAVING[name]
    options: dict[str, Any] = {"replace": True, "prune": True}
    statuses = set()
    for number in range(1, 100):
        kernel = await made(make_kernel("a", "b", "c"), have)
        before = kernel.state()
        kernel.refuse[number] = errno.EPERM
        result = await apply(lab(wanted), kernel=kernel, keep_going=keep_going, **options)
        statuses.add(result.status)
        assert result.left == []
        if result.status == "rolled_back":
            assert kernel.state() == before, number
        links = [link for node in "abc" for link in kernel[node].links.values()]
        assert not any(link.group & APART or link.name.startswith("gone") for link in links), number
        if kernel.refuse:  # there are not as many requests
            assert (result.status, result.links["replaced"], result.links["removed"]) == ("applied", replaced, removed)
            break
        assert (await apply(lab(wanted), kernel=kernel, **options)).status in ("applied", "unchanged"), number
        assert (await apply(lab(wanted), kernel=kernel, **options)).status == "unchanged", number
    assert statuses >= {"applied", "partial" if keep_going else "rolled_back"}


async def test_what_a_killed_run_left_is_replaced_or_destroyed(make_kernel: KernelFactory) -> None:
    """Killed at any request, also of the rollback: the next run makes the lab whole, and destroy ends it."""
    have, wanted, _ = CASES["what is on it"]

    class Killed(BaseException):
        pass

    for number in range(1, 200):
        for ending in ("replace", "destroy"):
            kernel = make_kernel("a", "b", "c")
            bad = refused(kernel, "c")
            empty = kernel.state()
            await made(kernel, have)
            dead: list[bool] = []

            def kill(
                request: Request, kernel: FakeKernel = kernel, dead: list[bool] = dead, last: int = number
            ) -> None:
                if dead or len(kernel.requests) > last:
                    dead.append(True)
                    kernel.refuse[len(kernel.requests)] = errno.EIO  # nothing is carried out any more

            kernel.before = kill
            await apply(lab([*wanted, bad]), kernel=kernel, replace=True)
            kernel.before = None
            kernel.refuse.clear()
            if ending == "destroy":
                assert (await destroy("lab", kernel=kernel)).errors == []
                assert kernel.state() == empty
            else:
                result = await apply(lab(wanted), kernel=kernel, replace=True)
                assert (result.status, result.errors) == ("applied", [])
                assert (await apply(lab(wanted), kernel=kernel)).status == "unchanged"
        if not dead:
            return
    pytest.fail("the run has no end")


async def test_many_links_beside_others_are_deleted_together(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    kernel["a"].add("eth0", index=50)
    rows: Links = [{"endpoints": [f"a:e{n}", f"b:e{n}"]} for n in range(20)]
    await made(kernel, rows)
    result = await apply(
        lab([row | {"queues": 1 + (n > 4)} for n, row in enumerate(rows)]), kernel=kernel, replace=True
    )
    assert counted(result) == ("applied", 15, 0, 0)
    assert len([one for one in kernel.requests if one.type == RTM_DELLINK]) == 1
    assert not any(link.group & APART for link in kernel["a"].links.values())
