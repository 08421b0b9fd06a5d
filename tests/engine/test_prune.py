"""What a lab has and its file has no more: told of, and with prune removed, when all else has succeeded."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from kokofast.drivers import Stopped
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.engine.result import Result
from kokofast.plan.ownership import APART, group_of
from kokofast.topology.model import Topology
from kokofast.wire.link import RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.message import Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.fake_filters import target_of
from tests.engine.labs import Links, lab
from tests.runs import StopWhen, apply, destroy


def between(one: str, two: str) -> dict[str, object]:
    """A link whose interfaces are called after the node at the other end."""
    return {"endpoints": [f"{one}:{two}", f"{two}:{one}"]}


AB, BC, CD = between("a", "b"), between("b", "c"), between("c", "d")
ONE = "1 link of the lab is not in the file any more and stays; --prune removes it"
TWO = "2 links of the lab are not in the file any more and stay; --prune removes them"


async def made(kernel: FakeKernel, *topologies: Topology) -> FakeKernel:
    for topology in topologies:
        assert (await apply(topology, kernel=kernel)).status == "applied"
    kernel.count_from_here()
    return kernel


def outcome(result: Result) -> tuple[str, Any, Any]:
    return result.status, result.links["removed"], result.namespaces["removed"]


async def test_links_and_namespaces_that_left_the_file_go(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    await made(kernel, lab([AB]))
    before = kernel.state()
    await made(kernel, lab([AB, BC, CD]))
    result = await apply(lab([AB]), kernel=kernel, prune=True)
    assert outcome(result) == ("applied", 2, 2)
    assert result.links == {"total": 1, "created": 0, "updated": 0, "unchanged": 1, "failed": 0, "removed": 2}
    assert kernel.state() == before
    result = await apply(lab([AB]), kernel=kernel, prune=True)
    assert outcome(result) == ("unchanged", 0, 0)
    assert (result.notes, result.errors) == ([], [])


async def test_new_links_come_before_old_ones_go(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b", "c", "d"), lab([AB, BC]))
    result = await apply(lab([AB, CD]), kernel=kernel, prune=True)
    assert (*outcome(result), result.links["created"]) == ("applied", 1, 0, 1)
    assert {name: kernel.links_of(name) for name in "abcd"} == {"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}
    assert next(number for number, one in enumerate(kernel.requests) if one.type == RTM_DELLINK) > 0


@pytest.mark.parametrize(("links", "notes"), [([AB, BC, CD], []), ([AB, BC], [ONE]), ([BC], [TWO]), ([], [])])
async def test_without_prune_one_line_tells_how_many(
    make_kernel: KernelFactory, links: list[dict[str, Any]], notes: list[str]
) -> None:
    kernel = await made(make_kernel("a", "b", "c", "d"), lab([AB, BC, CD]))
    before = kernel.state()
    for dry_run in (True, False):
        result = await apply(lab(links), kernel=kernel, dry_run=dry_run)
        assert (result.status, result.notes) == ("unchanged", notes)
        assert "removed" not in result.links
    assert kernel.state() == before


async def test_of_others_nothing_is_told_and_nothing_removed(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b", "c", "d")
    kernel["a"].add("eth0", index=50)
    kernel["a"].add("eth1", index=51, group=0x4B000000, alias="kokofast:another:a:eth1--b:eth1")
    await made(kernel, lab([CD], name="other"), lab([AB]))
    before = kernel.state()
    result = await apply(lab([AB]), kernel=kernel)
    assert (result.status, result.notes) == ("unchanged", [])
    assert outcome(await apply(lab([AB]), kernel=kernel, prune=True)) == ("unchanged", 0, 0)
    assert kernel.state() == before


async def test_a_dry_run_lists_and_counts_them(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b"), lab([AB, BC, CD]))
    before = kernel.state()
    result = await apply(lab([AB]), kernel=kernel, prune=True, dry_run=True)
    assert outcome(result) == ("planned", 2, 2)
    assert list(map(str, result.planned)) == ["- link b:c--c:b", "- link c:d--d:c", "- namespace c", "- namespace d"]
    assert kernel.requests == []
    assert kernel.state() == before


@pytest.mark.parametrize("keep_going", [False, True])
async def test_nothing_is_removed_when_a_link_fails(make_kernel: KernelFactory, keep_going: bool) -> None:
    kernel = await made(make_kernel("a", "b", "c", "d"), lab([AB, BC]))
    before = kernel.state()
    kernel.refuse[1] = errno.EPERM
    result = await apply(lab([AB, CD]), kernel=kernel, prune=True, keep_going=keep_going)
    assert outcome(result) == ("partial" if keep_going else "rolled_back", 0, 0)
    assert kernel.state() == before
    assert result.notes == (["what is not in the file any more stays, because links of the file failed"] * keep_going)


OLD: Links = [{"endpoints": ["a:e0", "b:e0"]}, {"endpoints": ["a:e1", "b:e1"]}]
STAYS = "what is not in the file any more stays, because links of the file failed"


@pytest.mark.parametrize(
    ("new", "there", "removed", "notes"),
    [
        # The link whose name the failed one needed has it back.
        (
            [{"endpoints": ["a:e0", "c:good"]}, {"endpoints": ["a:e1", "c:bad"]}],
            {"a": ["e0", "e1"], "b": ["e1"], "c": ["good"]},
            1,
            [STAYS],
        ),
        # It has lost one of its names to the good link, and goes.
        (
            [{"endpoints": ["a:e0", "c:good"]}, {"endpoints": ["b:e0", "c:bad"]}, OLD[1]],
            {"a": ["e0", "e1"], "b": ["e1"], "c": ["good"]},
            1,
            [],
        ),
        ([{"endpoints": ["b:e0", "c:bad"]}, OLD[1]], {"a": ["e0", "e1"], "b": ["e0", "e1"], "c": []}, 0, [STAYS]),
    ],
)
async def test_no_link_that_left_is_half_gone_when_another_one_fails(
    make_kernel: KernelFactory, new: Links, there: dict[str, list[str]], removed: int, notes: list[str]
) -> None:
    kernel = await made(make_kernel("a", "b", "c"), lab(OLD))

    def refuse(request: Request) -> None:
        if request.type == RTM_NEWLINK and "'bad'" in repr(request.attributes):
            kernel.refuse[len(kernel.requests)] = errno.EPERM

    kernel.before = refuse
    result = await apply(lab(new), kernel=kernel, prune=True, keep_going=True)
    assert (*outcome(result)[:2], result.links["failed"], result.notes) == ("partial", removed, 1, notes)
    assert {name: sorted(kernel.links_of(name)) for name in "abc"} == there
    groups = {link.group for name in "abc" for link in kernel[name].links.values() if link.name != "lo"}
    assert groups == {group_of("lab")}


async def test_a_link_that_a_killed_run_had_put_apart_stays_so_when_nothing_is_done(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b", "c"), lab(OLD))
    for link in [*kernel["a"].links.values(), *kernel["b"].links.values()]:
        if link.name == "e0":
            link.group |= APART
    before = kernel.state()

    def refuse(request: Request) -> None:
        if request.type == RTM_NEWLINK:
            kernel.refuse[len(kernel.requests)] = errno.EPERM

    kernel.before = refuse
    result = await apply(lab(OLD), kernel=kernel)
    assert (result.status, result.left) == ("rolled_back", [])
    assert kernel.state() == before
    kernel.before = None
    assert (await apply(lab(OLD), kernel=kernel)).status == "applied"
    assert (await apply(lab(OLD), kernel=kernel)).status == "unchanged"


def with_names(ifname: str, *altnames: str, other: str = "b:e9") -> dict[str, object]:
    return {"endpoints": [{"node": "a", "interface": ifname, "altnames": list(altnames)}, other]}


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("keep_going", [False, True])
@pytest.mark.parametrize(
    ("new", "names"),
    [
        # Whatever name is needed, and whatever for: they are all names of one namespace.
        ([with_names("e1", "e0"), {"endpoints": ["a:older", "c:e0"]}], {"e1": ("e0",), "older": ()}),
        ([with_names("stays", "old", "e0", other="b:stays")], {"stays": ("e0", "old")}),
    ],
)
async def test_alternative_names_of_what_left_are_free(
    make_kernel: KernelFactory, new: Links, names: dict[str, tuple[str, ...]], keep_going: bool, is_lost: bool
) -> None:
    statuses = set()
    for number in range(1, 100):
        kernel = make_kernel("a", "b", "c")
        old: Links = [with_names("e0", "old", "older", other="b:e0"), {"endpoints": ["a:stays", "b:stays"]}]
        await made(kernel, lab(old))
        before = kernel.state()
        if is_lost:
            kernel.lose[number] = True
        else:
            kernel.refuse[number] = errno.EPERM
        result = await apply(lab(new), kernel=kernel, prune=True, keep_going=keep_going)
        assert result.left == []
        statuses.add(result.status)
        if result.status == "rolled_back":
            assert kernel.state() == before
        if result.status == "partial":
            assert not any(name.startswith("gone") for name in kernel.links_of("a"))
            assert {link.group for link in kernel["a"].links.values() if link.name != "lo"} == {group_of("lab")}
        if is_over := bool(kernel.refuse or kernel.lose):
            kernel.refuse.clear()
            kernel.lose.clear()
        else:
            assert (await apply(lab(new), kernel=kernel, prune=True)).status in ("applied", "unchanged")
        links = [link for link in kernel["a"].links.values() if link.name != "lo"]
        assert {link.name: tuple(sorted(link.altnames)) for link in links} == names
        if is_over:
            assert result.status == "applied"
            break
    assert statuses == {"applied", "partial"} if keep_going else statuses >= {"applied", "rolled_back"}


TAP: dict[str, object] = {"endpoints": [{"node": "a", "interface": "tap", "mirror": {"from": "e0"}}, "b:tap"]}


def mirrored(kernel: FakeKernel, name: str, ifname: str) -> list[str]:
    """The interfaces that an interface is copied to; an empty name for one that is gone."""
    link = kernel[name].by_name(ifname)
    assert link is not None
    targets = [target_of(options) for options in link.control.filters.values()]
    return [kernel[name].links[target].name if target in kernel[name].links else "" for target in targets]


async def test_a_new_interface_is_mirrored_as_the_one_before_was(make_kernel: KernelFactory) -> None:
    """A mirror belongs to the interface, not to its name: the one that gives its name away keeps its own."""
    kernel = await made(make_kernel("a", "b", "c"), lab([OLD[0], TAP]))
    before = kernel.state()
    new: Links = [{"endpoints": ["a:e0", "c:e0"]}, TAP]
    kernel.refuse[len(new) * 3] = errno.EPERM
    assert (await apply(lab(new), kernel=kernel, prune=True)).status == "rolled_back"
    assert kernel.state() == before
    assert outcome(await apply(lab(new), kernel=kernel, prune=True)) == ("applied", 1, 0)
    assert mirrored(kernel, "a", "e0") == ["tap", "tap"]
    assert (await apply(lab(new), kernel=kernel)).status == "unchanged"


@pytest.mark.parametrize("nodes", [("a", "b"), ()])
async def test_a_mirror_goes_with_its_link(make_kernel: KernelFactory, nodes: tuple[str, ...]) -> None:
    """Also where the lab has made the namespace, which stays."""
    kernel = await made(make_kernel(*nodes), lab([OLD[0], TAP]))
    assert mirrored(kernel, "a", "e0") == ["tap", "tap"]
    assert outcome(await apply(lab([OLD[0]]), kernel=kernel, prune=True)) == ("applied", 1, 0)
    assert (mirrored(kernel, "a", "e0"), kernel.links_of("a")) == ([], ["e0"])


async def test_a_mirror_leaves_the_queue_length(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b"), lab([OLD[0] | {"txqlen": 0}, TAP]))
    assert (await apply(lab([OLD[0] | {"txqlen": 0}, TAP]), kernel=kernel)).status == "unchanged"


async def test_a_link_that_gives_its_name_away_leaves_no_mirror(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b", "c"), lab([OLD[0], TAP]))
    new: Links = [OLD[0], {"endpoints": ["a:tap", "c:tap"]}]
    assert outcome(await apply(lab(new), kernel=kernel, prune=True)) == ("applied", 1, 0)
    assert mirrored(kernel, "a", "e0") == []
    there = kernel["a"].by_name("e0")
    assert there is not None
    assert there.control.qdiscs == {}


async def test_a_deletion_that_is_refused_is_told(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b", "c"), lab([AB, BC]))
    kernel.refuse = dict.fromkeys((1, 2), errno.EBUSY)
    result = await apply(lab([AB]), kernel=kernel, prune=True)
    assert outcome(result) == ("partial", 0, 0)
    assert ["a link cannot be deleted" in error.message for error in result.errors] == [True]
    assert outcome(await apply(lab([AB]), kernel=kernel, prune=True)) == ("applied", 1, 0)


async def test_a_node_that_is_missing_keeps_what_has_left(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b", "c"), lab([AB, BC]))
    before = kernel.state()
    topology = lab([AB, {"endpoints": ["b:gone", "gone:b"]}], create=False)
    assert (await apply(topology, kernel=kernel, prune=True)).status == "invalid"
    result = await apply(topology, kernel=kernel, prune=True, keep_going=True)
    assert (result.status, result.links["failed"]) == ("partial", 1)
    assert kernel.state() == before


async def test_what_the_file_stands_on_is_not_removed(make_kernel: KernelFactory) -> None:
    upper: dict[str, object] = {"type": "macvlan", "endpoint": "a:up", "parent": "a:b"}
    kernel = await made(make_kernel("a", "b"), lab([AB]))
    before = kernel.state()
    tap: dict[str, object] = {"endpoints": [{"node": "b", "interface": "tap", "mirror": {"from": "a"}}, "a:tap"]}
    for dry_run in (True, False):
        result = await apply(lab([upper, tap]), kernel=kernel, prune=True, dry_run=dry_run)
        assert result.status == "invalid"
        assert [(error.source, error.message) for error in result.errors] == [
            ("$.links[0].parent", "a:b is of a link that is not in the file any more, which --prune would remove; put "
             "that link back, or take another parent"),
            ("$.links[1].endpoints[0].mirror", "b:a is of a link that is not in the file any more, which --prune would "
             "remove; put that link back, or take another interface to mirror"),
        ]  # fmt: skip
        assert kernel.state() == before


async def test_the_master_of_an_end_in_the_file_is_not_removed(make_kernel: KernelFactory) -> None:
    switch: dict[str, object] = {"type": "bridge", "endpoint": "a:sw"}
    port: dict[str, object] = {"endpoints": [{"node": "a", "interface": "p", "master": "sw"}, "b:p"]}
    kernel = await made(make_kernel("a", "b"), lab([switch, port]))
    before = kernel.state()
    result = await apply(lab([port]), kernel=kernel, prune=True)
    assert (result.status, [(error.source, error.message) for error in result.errors]) == (
        "invalid",
        [("$.links[0].endpoints[0].master", "a:sw is of a link that is not in the file any more, which --prune would "
          "remove; put that link back, or take another master")],
    )  # fmt: skip
    assert kernel.state() == before


async def test_links_of_another_lab_are_not_taken_along(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b"), lab([AB, BC]), lab([{"endpoints": ["c:x", "a:x"]}], name="other"))
    before = kernel.state()
    result = await apply(lab([AB]), kernel=kernel, prune=True)
    assert result.status == "invalid"
    (error,) = result.errors
    assert error.message == (
        "1 link of the lab other would be removed too (c:x), in namespaces that lab made or on links of it; "
        "run 'kokofast destroy --name other' first, or batch without --prune"
    )
    assert kernel.state() == before
    assert (await destroy("other", kernel=kernel)).status == "destroyed"
    assert outcome(await apply(lab([AB]), kernel=kernel, prune=True)) == ("applied", 1, 1)


async def test_names_that_a_killed_run_has_claimed_go(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b"), lab([AB]))
    kernel.claims |= {"/run/netns/c": "kokofast:lab:namespace", "/run/netns/z": "kokofast:other:namespace"}
    result = await apply(lab([AB]), kernel=kernel, prune=True)
    assert outcome(result) == ("applied", 0, 1)
    assert list(kernel.claims) == ["/run/netns/z"]


@pytest.mark.parametrize("fault", [errno.EPERM, False, True])
async def test_whichever_request_fails_nothing_of_the_file_is_lost(
    make_kernel: KernelFactory, fault: int | bool
) -> None:
    """It is all taken back, and nothing has gone; or all of the file is there, and what could not go is told."""
    statuses = set()
    for number in range(1, 100):
        kernel = await made(make_kernel("a", "b", "c", "d"), lab([AB, BC, between("a", "c")]))
        before = kernel.state()
        kernel.fail(number, fault)
        result = await apply(lab([AB, CD]), kernel=kernel, prune=True)
        statuses.add(result.status)
        if kernel.refuse or kernel.lose:  # there are not as many requests
            break
        if result.status == "rolled_back":
            assert kernel.state() == before
            continue
        ends = {name: set(kernel.links_of(name)) for name in "abcd"}
        assert {"b"} <= ends["a"]
        assert {"d"} <= ends["c"]
        stays = ("c" in ends["b"]) + ("c" in ends["a"])
        assert (len(result.errors), result.links["removed"]) == (stays, 2 - stays)
        assert result.status == ("partial" if stays else "applied")
    assert statuses == {"rolled_back", "applied"}  # a deletion is tried twice


def test_a_signal_ends_the_removal_only_before_it_begins(make_kernel: KernelFactory) -> None:
    def deleted(kernel: FakeKernel) -> bool:
        return any(request.type == RTM_DELLINK for request in kernel.requests)

    kernel = make_kernel("a", "b", "c", "d")
    for topology in (lab([AB, BC, between("a", "c")]), lab([AB, CD])):
        result = drive(
            apply(topology, kernel=kernel, driver=InlineDriver(StopWhen(lambda: deleted(kernel))), prune=True)
        )
        assert result.status == "applied"
    assert {name: kernel.links_of(name) for name in "abcd"} == {"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}
    with pytest.raises(Stopped):
        drive(apply(lab([AB]), kernel=kernel, driver=InlineDriver(StopWhen(lambda: True)), prune=True))
    assert kernel.links_of("d") == ["c"]


def bundle(links: range) -> Topology:
    return lab([{"endpoints": [f"a:e{n}", f"b:e{n}"]} for n in links])


async def test_many_links_beside_others_are_deleted_together(make_kernel: KernelFactory) -> None:
    """By one request: each waits for RCU with the rtnl lock held."""
    kernel = make_kernel("a", "b")
    kernel["a"].add("eth0", index=50)
    await made(kernel, bundle(range(20, 23)))
    before = kernel.state()
    await made(kernel, bundle(range(23)))
    result = await apply(bundle(range(20, 23)), kernel=kernel, prune=True)
    assert outcome(result) == ("applied", 20, 0)
    assert len([one for one in kernel.requests if one.type == RTM_DELLINK]) == 1
    assert kernel.state() == before


async def test_what_cannot_be_deleted_together_gets_its_group_back(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b"), bundle(range(8)))
    before = kernel.state()

    def refuse_deletions(request: Request) -> None:
        if request.type == RTM_DELLINK:
            kernel.refuse[len(kernel.requests)] = errno.EBUSY

    kernel.before = refuse_deletions
    result = await apply(bundle(range(2)), kernel=kernel, prune=True)
    assert (*outcome(result), len(result.errors)) == ("partial", 0, 0, 6)
    assert kernel.state() == before


async def test_a_stranger_that_takes_a_number_in_between_stays(make_kernel: KernelFactory) -> None:
    kernel = await made(make_kernel("a", "b"), bundle(range(8)))
    replaced: list[int] = []

    def replace(request: Request) -> None:
        index = request.header.get("index")
        if request.type == RTM_SETLINK and not replaced and isinstance(index, int):
            namespace = next(item for item in (kernel["a"], kernel["b"]) if index in item.links)
            link = namespace.links[index]
            kernel._unlink(namespace, link)
            namespace.add("theirs", index=index)
            replaced.append(index)

    kernel.before = replace
    result = await apply(bundle(range(2)), kernel=kernel, prune=True)
    assert replaced
    assert outcome(result) == ("applied", 6, 0)
    there = [*kernel["a"].links.values(), *kernel["b"].links.values()]
    assert [(link.name, link.index, link.group) for link in there if link.name == "theirs"] == [
        ("theirs", *replaced, 0)
    ]
    assert sorted(link.name for link in there) == ["e0", "e0", "e1", "e1", "lo", "lo", "theirs"]


async def test_links_that_a_killed_run_had_put_apart_are_found(make_kernel: KernelFactory) -> None:
    for prune in (True, False):
        kernel = await made(make_kernel("a", "b"), bundle(range(8)))
        for name in ("a", "b"):
            for link in list(kernel[name].links.values())[-5:]:
                link.group |= APART
        if prune:
            assert outcome(await apply(bundle(range(2)), kernel=kernel, prune=True)) == ("applied", 6, 0)
            assert (len(kernel.links_of("a")), len(kernel.links_of("b"))) == (2, 2)
        else:
            result = await destroy("lab", kernel=kernel)
            assert (result.status, result.links["removed"]) == ("destroyed", 8)
            assert (kernel.links_of("a"), kernel.links_of("b")) == ([], [])
