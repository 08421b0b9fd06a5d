from __future__ import annotations

import errno
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from kokofast.drivers.work_queue import CHUNK
from kokofast.engine.result import Result
from kokofast.host.kernel import Handle
from kokofast.plan.ownership import group_of
from kokofast.wire.link import RTM_DELLINK, RTM_NEWLINK
from kokofast.wire.message import KernelError, Message, Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel, FakeLink
from tests.engine.labs import BEFORE, MIXED, chain, lab, star, visible
from tests.runs import apply, destroy

# One worker is enough for a plan's order to be the same in each run; two are what users have.
WORKERS = [1, 2]


@pytest.fixture
def machine(make_kernel: KernelFactory) -> Callable[[], Awaitable[FakeKernel]]:
    """A kernel with namespaces a and b, the links of BEFORE, and strangers; requests are counted from here."""

    async def prepare() -> FakeKernel:
        kernel = make_kernel("a", "b")
        kernel["a"].add("eth0", group=group_of("lab"), alias="not ours")
        assert (await apply(lab(BEFORE), kernel=kernel)).status == "applied"
        kernel["a"].by_name("e0").addresses[2, bytes((192, 0, 2, 1)), 24] = b""  # type: ignore[union-attr]
        kernel.count_from_here()
        return kernel

    return prepare


Machine = Callable[[], Awaitable[FakeKernel]]


async def requests_of_the_mixed_run(machine: Machine) -> int:
    kernel = await machine()
    result = await apply(lab(MIXED), kernel=kernel, jobs=1)
    assert result.status == "applied", result.errors
    return len(kernel.requests)


async def test_the_mixed_run(machine: Machine) -> None:
    kernel = await machine()
    result = await apply(lab(MIXED), kernel=kernel)
    assert (result.status, result.errors, result.left) == ("applied", [], [])
    assert result.links == {"total": 4, "created": 3, "updated": 1, "unchanged": 0, "failed": 0}
    assert result.namespaces == {"created": 2}
    changed = kernel["a"].by_name("e0")
    assert changed is not None
    assert (changed.mtu, changed.mac.hex(":"), changed.up) == (1300, "02:00:00:00:00:0a", True)
    assert sorted((packed.hex(), length) for _, packed, length in changed.addresses) == [
        ("0a000001", 24),
        ("0a090001", 24),
        ("c0000201", 24),  # set by somebody else
    ]
    lowered = kernel["b"].by_name("e0")
    assert lowered is not None
    assert (lowered.up, [key[1].hex() for key in lowered.addresses]) == (False, ["0a000003"])
    assert [link.txqlen for link in (kernel["a"].by_name("e1"), kernel["c"].by_name("e0")) if link] == [77, 77]
    assert kernel["d"].links[1].alias == "kokofast:lab:namespace"


@pytest.mark.parametrize("workers", WORKERS)
async def test_a_second_run_sends_nothing(machine: Machine, workers: int) -> None:
    kernel = await machine()
    await apply(lab(MIXED), kernel=kernel, jobs=workers)
    kernel.count_from_here()
    before = kernel.state()
    result = await apply(lab(MIXED), kernel=kernel, jobs=workers)
    assert result.status == "unchanged"
    assert result.links == {"total": 4, "created": 0, "updated": 0, "unchanged": 4, "failed": 0}
    assert kernel.requests == []
    assert kernel.state() == before


@pytest.mark.parametrize("workers", WORKERS)
async def test_all_or_nothing_whichever_request_is_refused(machine: Machine, workers: int) -> None:
    total = await requests_of_the_mixed_run(machine)
    assert total > 10
    for number in range(1, total + 1):
        kernel = await machine()
        before = kernel.state()
        kernel.refuse[number] = errno.EPERM
        result = await apply(lab(MIXED), kernel=kernel, jobs=workers)
        assert not kernel.refuse, f"request {number} never came"
        assert (result.status, result.left) == ("rolled_back", []), f"request {number}"
        assert kernel.state() == before, f"request {number}"
        assert [error.errno for error in result.errors] == [errno.EPERM], f"request {number}"
        assert result.errors[0].source.startswith("$.links["), f"request {number}"
        assert "EPERM" in result.errors[0].message
        assert result.links["created"] == 0
        assert result.links["failed"] == 1
        assert result.namespaces == {"created": 0}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("carried_out", [False, True])
async def test_all_or_nothing_whichever_answer_is_lost(machine: Machine, workers: int, carried_out: bool) -> None:
    total = await requests_of_the_mixed_run(machine)
    for number in range(1, total + 1):
        kernel = await machine()
        before = kernel.state()
        kernel.lose[number] = carried_out
        result = await apply(lab(MIXED), kernel=kernel, jobs=workers)
        assert not kernel.lose, f"request {number} never came"
        assert (result.status, result.left) == ("rolled_back", []), f"request {number}"
        assert kernel.state() == before, f"request {number}"
        assert result.errors


@pytest.mark.parametrize("number", [1, 2])
async def test_a_namespace_that_cannot_be_made(machine: Machine, number: int) -> None:
    kernel = await machine()
    before = kernel.state()
    kernel.refuse_to_make[number] = OSError(errno.ENOSPC, "No space left on device")
    result = await apply(lab(MIXED), kernel=kernel)
    assert result.status == "rolled_back"
    assert kernel.state() == before
    (error,) = result.errors
    assert error.errno == errno.ENOSPC
    assert error.source.startswith("$.links[")
    assert "cannot be made" in error.message


async def test_the_directory_of_the_namespaces_cannot_be_made(make_kernel: KernelFactory) -> None:
    class Kernel(FakeKernel):
        def make(self, jobs: object) -> list[object]:  # type: ignore[override]
            raise OSError(errno.EROFS, "Read-only file system", "/run/netns")

    kernel = make_kernel("n0")
    kernel.__class__ = Kernel
    before = kernel.state()
    result = await apply(chain(2), kernel=kernel)
    assert result.status == "rolled_back"
    assert {error.errno for error in result.errors} == {errno.EROFS}
    assert kernel.state() == before


async def test_the_place_of_a_refusal_is_the_end_it_is_about(machine: Machine) -> None:
    kernel = await machine()
    places = set()
    for number in range(1, await requests_of_the_mixed_run(machine) + 1):
        kernel = await machine()
        kernel.refuse[number] = errno.EPERM
        result = await apply(lab(MIXED), kernel=kernel, jobs=1)
        places |= {error.source for error in result.errors}
    assert {"$.links[1]", "$.links[2]", "$.links[3]"} <= places  # the creations
    assert any(place.startswith("$.links[1].endpoints[0]") for place in places), places
    assert any(place.startswith("$.links[1].endpoints[1]") for place in places), places
    assert "$.links[0].endpoints[0].addresses" in places or any("addresses" in place for place in places), places


async def test_the_error_names_the_attribute_of_the_peer(make_kernel: KernelFactory) -> None:
    # veth itself says nothing of why it refuses; what counts is how a refusal's path becomes a place.
    kernel = make_kernel("a", "b")
    path = ("linkinfo", "data", "peer", "mtu")
    kernel.refuse[1] = KernelError(errno.EINVAL, "MTU must be between 68 and 65535", path)
    topology = lab([{"endpoints": ["a:e0", {"node": "b", "interface": "e0", "mtu": 70}]}])
    result = await apply(topology, kernel=kernel)
    (error,) = result.errors
    assert error.source == "$.links[0].endpoints[1].mtu"
    assert "MTU must be between 68 and 65535 (EINVAL)" in error.message


@pytest.mark.parametrize("workers", WORKERS)
async def test_keep_going_keeps_the_rest(machine: Machine, workers: int) -> None:
    total = await requests_of_the_mixed_run(machine)
    for number in range(1, total + 1):
        kernel = await machine()
        kernel.refuse[number] = errno.EPERM
        result = await apply(lab(MIXED), kernel=kernel, keep_going=True, jobs=workers)
        assert (result.status, result.left) == ("partial", [])
        assert result.links["failed"] == 1
        assert result.links["created"] + result.links["updated"] == 3
        assert result.namespaces == {"created": 2}
        # What is missing, and nothing else, is made by the next run.
        again = await apply(lab(MIXED), kernel=kernel, jobs=workers)
        assert again.status == "applied", again.errors
        assert again.links["created"] + again.links["updated"] == 1
        assert again.links["unchanged"] == 3


async def test_keep_going_undoes_a_half_made_update(machine: Machine) -> None:
    kernel = await machine()
    before = kernel["a"].by_name("e0"), kernel["b"].by_name("e0")
    assert before[0] is not None
    assert before[1] is not None
    states = [link.state() for link in before if link]
    kernel.before = refuse_when(kernel, lambda request: request.attributes.get("local") == bytes((10, 9, 0, 1)))
    result = await apply(lab(MIXED), kernel=kernel, keep_going=True)
    assert result.status == "partial"
    assert [link.state() for link in before if link] == states


def refuse_when(kernel: FakeKernel, when: Callable[[Request], bool]) -> Callable[[Request], None]:
    """Refuses the first request for which this holds."""
    done = False

    def look(request: Request) -> None:
        nonlocal done
        if not done and when(request):
            done = True
            kernel.refuse[len(kernel.requests)] = errno.EPERM

    return look


async def test_after_a_failure_no_new_chunk_starts(make_kernel: KernelFactory) -> None:
    links = 3 * CHUNK
    kernel = make_kernel(*(f"n{i}" for i in range(links + 1)))
    kernel.refuse[1] = errno.EPERM
    result = await apply(chain(links), kernel=kernel, jobs=1)
    assert result.status == "rolled_back"
    assert sum(request.type == RTM_NEWLINK for request in kernel.requests) == CHUNK


async def test_a_link_that_came_to_be_without_an_answer_is_only_deleted_when_it_is_ours(
    make_kernel: KernelFactory, starts: range
) -> None:
    kernel = make_kernel("a", "b")

    def steal(request: Request) -> None:
        # Somebody else makes an interface of this name, of our group even, in the moment that our answer is lost.
        if request.type == RTM_NEWLINK:
            kernel.lose[1] = False
            kernel["a"].add("e0", index=starts[0], group=group_of("lab"))

    kernel.before = steal
    result = await apply(lab([{"endpoints": ["a:e0", "b:e0"]}]), kernel=kernel)
    assert result.status == "rolled_back"
    assert kernel.links_of("a") == ["e0"]
    assert all(request.type != RTM_DELLINK for request in kernel.requests)


async def test_an_answer_lost_in_the_second_attempt_is_looked_after_too(
    make_kernel: KernelFactory, starts: range
) -> None:
    kernel = make_kernel("a", "b")
    stranger = kernel["a"].add("x", index=2)

    def take(request: Request) -> None:
        if request.type == RTM_NEWLINK and len(kernel.requests) == 1:
            del kernel["a"].links[2]
            kernel["a"].links[starts[0]] = stranger  # it is there with the index that we chose
            stranger.index = starts[0]
            kernel.lose[2] = True

    kernel.before = take
    result = await apply(lab([{"endpoints": ["a:e0", "b:e0"]}]), kernel=kernel, jobs=1)
    assert result.status == "rolled_back"
    assert (kernel.links_of("a"), kernel.links_of("b")) == (["x"], [])


async def test_an_index_that_is_taken_meanwhile_is_chosen_anew(make_kernel: KernelFactory, starts: range) -> None:
    kernel = make_kernel("a", "b")

    def take(request: Request) -> None:
        if request.type == RTM_NEWLINK and len(kernel.requests) == 1:
            kernel["a"].add("x", index=starts[0])
            kernel["b"].add("y", index=starts[1] + 3)

    kernel.before = take
    result = await apply(star(5), kernel=kernel, jobs=1)
    assert result.status == "applied"
    assert result.links["created"] == 5
    assert len(kernel.links_of("a")) == 6
    link = kernel["b"].by_name("e0")
    assert link is not None
    assert link.index in starts[2:]


async def test_after_an_index_was_taken_all_chunks_name_their_links_by_the_new_ones(
    make_kernel: KernelFactory, starts: range
) -> None:
    kernel = make_kernel("a", "b")

    def take(request: Request) -> None:
        if request.type == RTM_NEWLINK and len(kernel.requests) == 1:
            kernel["a"].add("x", index=starts[0])

    kernel.before = take
    links = 2 * CHUNK + 5
    result = await apply(star(links), kernel=kernel, jobs=1)
    assert (result.status, result.links["created"]) == ("applied", links)
    ends = [kernel["a"].by_name(f"e{number}") for number in range(links)]
    assert all(end is not None and end.alias and end.up for end in ends)


@pytest.mark.parametrize("where", ["a", "b"])
async def test_a_name_that_is_taken_meanwhile_is_an_error(make_kernel: KernelFactory, where: str) -> None:
    kernel = make_kernel("a", "b")

    def take(request: Request) -> None:
        if request.type == RTM_NEWLINK and len(kernel.requests) == 1:
            kernel[where].add("e1", index=50)

    kernel.before = take
    result = await apply(star(3), kernel=kernel, jobs=1)
    assert result.status == "rolled_back"
    assert [(error.source, error.errno) for error in result.errors] == [("$.links[1]", errno.EEXIST)]
    assert kernel.links_of(where) == ["e1"]


async def test_an_index_that_is_always_taken_is_an_error_in_the_end(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    kernel.refuse = dict.fromkeys(range(1, 100), errno.EBUSY)
    result = await apply(lab([{"endpoints": ["a:e0", "b:e0"]}]), kernel=kernel)
    assert result.status == "rolled_back"
    assert [error.errno for error in result.errors] == [errno.EBUSY]


async def test_an_index_is_not_taken_twice(make_kernel: KernelFactory) -> None:
    """What goes leaves a number behind that no later interface gets, of whichever run: requests that name it miss."""
    kernel = make_kernel("a", "b")
    kernel["a"].add("far", index=(1 << 31) - 1)
    kernel["a"].add("near", index=3)
    seen: set[int] = set()
    for _ in range(20):
        assert (await apply(star(3), kernel=kernel)).status == "applied"
        found = {link.index for link in kernel["a"].links.values() if link.name.startswith("e")}
        # Far above the kernel's own, and where every reader has room for them.
        assert len(found) == 3
        assert all(1 << 29 <= index < 1 << 30 for index in found)
        assert not seen & found
        seen |= found
        assert (await destroy("lab", kernel=kernel)).status == "destroyed"


async def test_an_interface_that_was_moved_away_shares_its_address_with_no_later_one(
    make_kernel: KernelFactory,
) -> None:
    kernel = make_kernel("a", "b", "elsewhere")
    wanted = lab([{"endpoints": ["a:e0", "b:e0"]}])
    for number in range(20):
        await apply(wanted, kernel=kernel)
        for name in ("a", "b"):
            moved = kernel[name].by_name("e0")
            assert moved is not None
            del kernel[name].links[moved.index]
            moved.name = f"{name}{number}"
            moved.alias = "mine by now"
            kernel["elsewhere"].links[len(kernel["elsewhere"].links) + 1] = moved
    macs = [link.mac for link in kernel["elsewhere"].links.values() if link.name != "lo"]
    assert len(set(macs)) == len(macs) == 40


async def test_ipv6_that_is_off_is_switched_on_for_that_interface(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    kernel["a"].sysctls.switch_ipv6_off()
    result = await apply(
        lab([{"endpoints": ["a:e0:2001:db8::1/64,2001:db8::2/64", "b:e0"]}, {"endpoints": ["a:e1", "b:e1"]}]),
        kernel=kernel,
    )
    assert result.status == "applied"
    assert set(kernel.sysctls) == {("ipv6/conf/e0/disable_ipv6", "0")}
    link = kernel["a"].by_name("e0")
    assert link is not None
    assert len(link.addresses) == 2


async def test_ipv6_that_cannot_be_switched_on(make_kernel: KernelFactory) -> None:
    class Kernel(FakeKernel):
        def write_sysctl(self, handle: object, path: str, value: str) -> str:
            raise OSError(errno.EROFS, "Read-only file system")

    kernel = make_kernel("a", "b")
    kernel.__class__ = Kernel
    kernel["a"].sysctls.switch_ipv6_off()
    before = kernel.state()
    result = await apply(lab([{"endpoints": ["a:e0:2001:db8::1/64", "b:e0"]}]), kernel=kernel)
    assert result.status == "rolled_back"
    assert kernel.state() == before
    (error,) = result.errors
    assert "IPv6 is off there" in error.message
    assert "Read-only" in error.message


@pytest.mark.parametrize("workers", WORKERS)
async def test_a_run_that_was_killed_after_any_request_is_completed(machine: Machine, workers: int) -> None:
    total = await requests_of_the_mixed_run(machine)
    wanted = await machine()
    await apply(lab(MIXED), kernel=wanted, jobs=workers)

    class Killed(BaseException):
        pass

    for number in range(1, total + 1):
        kernel = await machine()

        def kill(_: Request, kernel: FakeKernel = kernel, number: int = number) -> None:
            if len(kernel.requests) >= number:  # and nothing more can be taken back either
                raise Killed

        kernel.before = kill
        with pytest.RaisesGroup(Killed, allow_unwrapped=True, flatten_subgroups=True):
            await apply(lab(MIXED), kernel=kernel, jobs=1)
        kernel.before = None
        result = await apply(lab(MIXED), kernel=kernel, jobs=workers)
        assert result.status in ("applied", "unchanged"), (number, result.errors)
        assert visible(kernel) == visible(wanted), number
        assert (await apply(lab(MIXED), kernel=kernel)).status == "unchanged"


@pytest.mark.parametrize("fails", [False, True], ids=["when it is changed", "when it is taken back"])
async def test_an_index_that_is_anothers_by_now_is_not_changed(machine: Machine, fails: bool) -> None:
    total = await requests_of_the_mixed_run(machine)
    kernel = await machine()
    (index,) = [link.index for link in kernel["a"].links.values() if link.name == "e0"]

    def swap() -> None:
        kernel._unlink(kernel["a"], kernel["a"].links[index])
        kernel["a"].add("theirs", index=index, group=group_of("lab"))

    def looked(stage: str, done: int, total: int) -> None:
        if stage == "survey" and done == total and not fails:
            swap()

    states: list[dict[str, object]] = []

    def look(_: Request) -> None:
        if len(kernel.requests) == total and fails:
            swap()
        states.extend(link.state() for link in kernel["a"].links.values() if link.name == "theirs")

    kernel.before = look
    if fails:
        kernel.refuse[total] = errno.EPERM
    result = await apply(lab(MIXED), kernel=kernel, jobs=1, progress=looked)
    assert result.status == "rolled_back", result.left
    assert states or not fails
    assert all(state == {**FakeLink(index, "theirs").state(), "group": group_of("lab")} for state in states)
    assert "theirs" in kernel.links_of("a")


async def test_a_name_that_a_killed_run_claimed_is_taken_over(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("n0")
    kernel.claims["/run/netns/n1"] = "kokofast:lab:namespace"
    result = await apply(chain(2), kernel=kernel)
    assert result.status == "applied", result.errors
    assert kernel.claims == {}


@pytest.mark.parametrize("workers", WORKERS)
async def test_cancelled_in_the_middle_everything_is_taken_back(machine: Machine, workers: int) -> None:
    total = await requests_of_the_mixed_run(machine)
    for number in range(1, total + 1):
        kernel = await machine()
        before = kernel.state()
        gate = kernel.hold[number] = threading.Event()
        result = Result("lab", "unchanged")
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def run(scope: trio.CancelScope = scope, kernel: FakeKernel = kernel, into: Result = result) -> None:
                with scope:
                    await apply(lab(MIXED), kernel=kernel, jobs=workers, result=into)

            nursery.start_soon(run)
            assert await trio.to_thread.run_sync(kernel.held.wait, 20)
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        assert scope.cancelled_caught, number
        assert (result.status, result.left) == ("rolled_back", []), number
        assert kernel.state() == before, number


@pytest.mark.parametrize("fails", [False, True])
async def test_progress_only_goes_forward(machine: Machine, fails: bool) -> None:
    kernel = await machine()
    if fails:
        kernel.refuse[8] = errno.EPERM
    seen: list[tuple[str, int, int]] = []
    await apply(lab(MIXED), kernel=kernel, progress=lambda *what: seen.append(what))
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert stages == ["survey", "plan", "apply", *(["rollback"] if fails else [])]
    for stage in stages:
        steps = [(done, total) for name, done, total in seen if name == stage]
        counts = [done for done, _ in steps]
        assert counts == sorted(set(counts))
        assert len({total for _, total in steps}) == 1
        assert steps[-1][0] == steps[-1][1] or (fails and stage == "apply")


async def test_a_progress_callback_that_raises_leaves_nothing_behind(machine: Machine) -> None:
    kernel = await machine()
    before = kernel.state()

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "apply" and done >= 5:
            raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await apply(lab(MIXED), kernel=kernel, progress=progress)
    assert kernel.state() == before


async def test_a_dry_run_sends_nothing_and_tells(machine: Machine) -> None:
    kernel = await machine()
    before = kernel.state()
    result = await apply(lab(MIXED), kernel=kernel, dry_run=True)
    assert result.status == "planned"
    assert result.links == {"total": 4, "created": 3, "updated": 1, "unchanged": 0, "failed": 0}
    assert result.namespaces == {"created": 2}
    assert kernel.requests == []
    assert kernel.state() == before
    lines = list(map(str, result.planned))
    assert "+ namespace c" in lines
    assert "+ veth a:e1:10.1.0.0/31,2001:db8:1::/127--c:e0:10.1.0.1/31" in lines
    assert any(line.startswith("~ a:e0 ") and "mac " in line for line in lines)
    assert "~ a:e0 mtu 1400 -> 1300, -2001:db8::1/64" in lines
    assert any(line.startswith("~ b:e0 ") and "down" in line for line in lines)
    changes = [entry for step in result.planned for entry in step.as_dicts() if entry["action"] == "update"]
    place = "$.links[0].endpoints[0]"
    of_link = {"action": "update", "kind": "end", "link": "a:e0--b:e0", "end": "a:e0"}
    assert of_link | {"source": place, "field": "mtu", "before": 1400, "after": 1300} in changes
    address = {"field": "addresses", "before": "2001:db8::1/64", "after": None}
    assert of_link | {"source": place} | address in changes
    assert result.notes == []


LINK_STATES = ("created", "updated", "unchanged", "failed")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, "applied"),
        ({"dry_run": True}, "planned"),
        ({"keep_going": True, "refused": 3}, "partial"),
        ({"keep_going": True, "missing": True}, "partial"),
        ({"keep_going": True, "missing": True, "dry_run": True}, "partial"),
    ],
)
async def test_the_counts_of_links_add_up(machine: Machine, options: dict[str, Any], status: str) -> None:
    kernel = await machine()
    if options.pop("refused", None):
        kernel.refuse[3] = errno.EPERM
    nodes = {"p": {"pid": 4194304}} if options.pop("missing", False) else {}
    more: list[dict[str, object]] = [{"endpoints": ["p:e0", "a:e9"]}] if nodes else []
    result = await apply(lab([*MIXED, *more], nodes=nodes), kernel=kernel, jobs=1, **options)
    assert result.status == status
    assert result.links["total"] == len(MIXED) + len(more)
    assert result.links["total"] == sum(result.links[state] for state in LINK_STATES)
    if status == "applied":
        for dry_run in (False, True):
            again = await apply(lab(MIXED), kernel=kernel, dry_run=dry_run)
            assert (again.status, again.links["unchanged"], again.links["total"]) == ("unchanged", 4, 4)


async def test_all_problems_are_shown_at_once_and_nothing_is_sent(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    kernel["a"].add("taken")
    kernel.namespaces["/other/name"] = kernel["a"]
    before = kernel.state()
    links: list[dict[str, object]] = [
        {"endpoints": ["a:taken", "b:e0"]},
        {"endpoints": ["a:e1", "missing:e1"]},
        {"endpoints": ["p:e0", "b:e2"]},
        {"endpoints": ["same:e3", "b:e3"]},
        {"endpoints": ["b:e4", "a:e3"]},
    ]
    nodes = {"p": {"pid": 4194304}, "same": {"path": "/other/name"}}
    result = await apply(lab(links, create=False, nodes=nodes), kernel=kernel)
    assert result.status == "invalid"
    assert sorted(error.source.split(".endpoints")[0] for error in result.errors) == [
        "$.links[0]",
        "$.links[1]",
        "$.links[4]",
        "$.nodes.p",
    ]
    assert kernel.requests == []
    assert kernel.state() == before


@pytest.mark.parametrize(
    ("options", "status", "notes"),
    [
        ({}, "applied", 1),
        ({"dry_run": True}, "planned", 1),
        ({"refused": 1}, "rolled_back", 0),
        ({"refused": 1, "keep_going": True}, "partial", 1),
    ],
)
async def test_what_the_lab_asks_of_the_machine_is_said_where_there_is_one(
    make_kernel: KernelFactory,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    status: str,
    notes: int,
) -> None:
    monkeypatch.setattr(
        "kokofast.engine.neighbour_limits.crowded", lambda topology: [f"{len(topology.links)} are many"]
    )
    kernel = make_kernel("a", "b")
    if options.pop("refused", 0):
        kernel.refuse[1] = errno.EPERM
    result = await apply(star(3), kernel=kernel, jobs=1, **options)
    assert (result.status, len(result.notes)) == (status, notes)
    assert result.notes[-1:] == ["3 are many"] * min(notes, 1)
    if status == "applied":
        for dry_run in (False, True):
            again = await apply(star(3), kernel=kernel, dry_run=dry_run)
            assert (again.status, again.notes) == ("unchanged", [])


async def test_an_unsupported_kind_of_node_is_a_problem(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a")
    topology = lab([{"endpoints": ["a:e0", "x:e0"]}], nodes={"x": {"docker": "one"}})
    result = await apply(topology, kernel=kernel)
    assert result.status == "invalid"
    assert [error.source for error in result.errors] == ["$.nodes.x"]


async def test_more_namespaces_than_may_be_open(make_kernel: KernelFactory) -> None:
    kernel = make_kernel(budget=2)
    assert (await apply(chain(20), kernel=kernel)).links["created"] == 20


async def test_a_kernel_of_the_callers_stays_open(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply(chain(1), kernel=kernel)
    assert not kernel.closed


def replace_at_the_end(kernel: FakeKernel, name: str) -> Callable[[Request], None]:
    """Somebody puts another namespace under the name before the last request of the mixed run."""

    def replace(request: Request) -> None:
        if request.attributes.get("local") == bytes((10, 9, 0, 1)):
            kernel.before = None
            kernel.replace(name)

    return replace


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("a", ["$.links[0].endpoints[0]", "$.links[1]", "$.links[3]"]),
        ("d", ["$.links[2].endpoints[1].node", "$.links[2]"]),
    ],
)
async def test_a_namespace_that_is_replaced_is_an_error(machine: Machine, name: str, places: list[str]) -> None:
    kernel = await machine()
    before = kernel.state()
    kernel.before = replace_at_the_end(kernel, name)
    result = await apply(lab(MIXED), kernel=kernel, jobs=1)
    assert (result.status, result.left) == ("rolled_back", [])
    assert [error.source for error in result.errors] == places
    assert {error.errno for error in result.errors} == {errno.ESTALE}
    # What stands under the name now is not touched; the rest is as before.
    assert kernel.links_of(name) == []
    after = kernel.state()
    assert after.pop(f"/run/netns/{name}")
    before.pop(f"/run/netns/{name}", None)
    assert after == before


async def test_keep_going_keeps_what_is_not_in_the_replaced_namespace(machine: Machine) -> None:
    kernel = await machine()
    kernel.before = replace_at_the_end(kernel, "d")
    result = await apply(lab(MIXED), kernel=kernel, jobs=1, keep_going=True)
    assert (result.status, result.left) == ("partial", [])
    assert result.links == {"total": 4, "created": 2, "updated": 1, "unchanged": 0, "failed": 1}
    assert kernel.links_of("d") == []
    assert kernel.links_of("c") == ["e0"]


async def test_what_is_replaced_before_a_rollback_is_not_left(machine: Machine) -> None:
    kernel = await machine()

    class Halt(Exception):
        pass

    def halt(stage: str, done: int, total: int) -> None:
        if stage == "apply" and done == total:
            kernel.replace("d")
            raise Halt

    result = Result("lab", "unchanged")
    with pytest.RaisesGroup(Halt, flatten_subgroups=True):
        await apply(lab(MIXED), kernel=kernel, jobs=1, progress=halt, result=result)
    assert (result.status, result.left) == ("rolled_back", [])


async def test_namespaces_whose_making_was_not_heard_of_are_taken_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = await machine()
    before = kernel.state()
    make = kernel.make

    def break_off(jobs: Sequence[tuple[str, str]]) -> list[Any]:
        make(jobs)
        raise MemoryError

    monkeypatch.setattr(kernel, "make", break_off)
    result = Result("lab", "unchanged")
    with pytest.RaisesGroup(MemoryError, flatten_subgroups=True):
        await apply(lab(MIXED), kernel=kernel, jobs=1, result=result)
    assert (result.status, result.left) == ("rolled_back", [])
    assert kernel.made
    assert kernel.state() == before


async def test_where_all_namespaces_fail_no_link_does(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    kernel.refuse_to_make.update({number: OSError(errno.EACCES, "no") for number in range(1, 8)})
    result = await apply(chain(6), kernel=kernel, jobs=1)
    assert result.status == "rolled_back"
    assert (result.links["failed"], result.namespaces) == (0, {"created": 0, "failed": len(result.errors)})


@pytest.mark.parametrize("keep_going", [False, True])
async def test_a_rollback_that_breaks_off_is_not_said_to_be_whole(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, keep_going: bool
) -> None:
    async def break_off(*_: object) -> list[str]:
        await trio.lowlevel.checkpoint()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("kokofast.engine.rollback.roll_back", break_off)
    kernel = await machine()
    kernel.refuse[5] = errno.EPERM
    result = Result("lab", "unchanged")
    with pytest.raises(OSError, match="Too many open files"):
        await apply(lab(MIXED), kernel=kernel, keep_going=keep_going, result=result)
    assert result.status == "partial"
    assert "kokofast destroy --name lab" in result.left[0]
    assert result.errors


async def test_going_down_is_refused_where_the_addresses_cannot_be_kept(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel("a", "b")
    assert (await apply(lab(BEFORE), kernel=kernel)).status == "applied"
    before = kernel.state()
    down = {"node": "a", "interface": "e0", "addresses": ["10.0.0.1/24", "2001:db8::1/64"], "up": False}
    topology = lab([{"endpoints": [down, "b:e0:10.0.0.2/24"], "mtu": 1400}])
    code = errno.EAGAIN

    def refuse(*_: object) -> str:
        raise OSError(code, "no more threads")

    monkeypatch.setattr(kernel, "write_sysctl", refuse)
    result = await apply(topology, kernel=kernel)
    assert (result.status, [error.errno for error in result.errors]) == ("rolled_back", [errno.EAGAIN])
    assert kernel.state() == before
    # Where /proc/sys is read-only it is done without.
    code = errno.EROFS
    result = await apply(topology, kernel=kernel)
    assert (result.status, result.errors) == ("applied", [])


@pytest.mark.parametrize("is_locked", [True, False])
async def test_without_the_labs_lock_links_go_one_by_one(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_locked: bool
) -> None:
    """Another run of the lab, which nothing keeps off, makes a link between our look and the deletion."""
    kernel = make_kernel("a", "b")
    if not is_locked:
        (tmp_path / "file").write_text("")
        monkeypatch.setattr("kokofast.host.lock.LOCK_DIR", str(tmp_path / "file" / "locks"))

    def make_theirs(request: Request) -> None:
        if request.type == RTM_DELLINK and kernel["a"].by_name("theirs") is None:
            alias = "kokofast:lab:a:theirs--c:d"
            kernel["a"].add("theirs", index=99, group=group_of("lab"), alias=alias, kind="veth")

    kernel.before = make_theirs
    kernel.refuse[5] = errno.EPERM
    result = await apply(lab([{"endpoints": [f"a:e{n}", f"b:e{n}"]} for n in range(3)]), kernel=kernel)
    assert result.status == "rolled_back", result.left
    assert kernel.links_of("b") == []
    assert kernel.links_of("a") == ([] if is_locked else ["theirs"])


async def test_an_end_that_cannot_be_looked_for_costs_nothing_where_the_other_one_is_found(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel("a", "b")
    kernel.lose[1] = True
    dump = kernel.dump

    def refuse_b(handle: Handle, request: Request) -> list[Message]:
        if kernel.sends and handle.path.endswith("/b"):
            raise OSError(errno.ENOBUFS, "no room")
        return dump(handle, request)

    monkeypatch.setattr(kernel, "dump", refuse_b)
    result = await apply(lab([{"endpoints": ["a:e0", "b:e0"]}]), kernel=kernel)
    assert (result.status, result.left) == ("rolled_back", [])
    assert kernel.links_of("a") == kernel.links_of("b") == []
