"""A run that begins before there is an event loop comes to the same end as one that has it from the start."""

from __future__ import annotations

import errno
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from kokofast.engine import headstart
from kokofast.engine.apply import apply, go_on
from kokofast.engine.execute import Executor
from kokofast.engine.headstart import HeadStart, head_start
from kokofast.engine.pace import CHUNK
from kokofast.engine.result import UNCHANGED, Result
from kokofast.engine.trace import Trace
from kokofast.host.lock import LabLock
from kokofast.plan.operations import ConfigureEnd, CreateLink
from kokofast.topology.model import Topology
from kokofast.topology.problems import Problem
from kokofast.wire.addr import RTM_NEWADDR
from kokofast.wire.link import RTM_NEWLINK
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import BEFORE, MIXED, chain, lab, star, visible

if TYPE_CHECKING:
    from kokofast.engine.execute import Refusal
    from kokofast.plan.operations import Operation


@pytest.fixture
async def machine(make_kernel: KernelFactory) -> Callable[[], FakeKernel]:
    """Makes kernels with namespaces a and b, and the links of BEFORE; requests are counted from there."""
    kernels = [make_kernel("a", "b") for _ in range(40)]
    for kernel in kernels:
        assert (await apply(lab(BEFORE), kernel=kernel)).status == "applied"
        kernel.count_from_here()
    return kernels.pop


def nothing() -> None:
    pass


def begun(kernel: FakeKernel, topology: Topology | None = None, **options: Any) -> HeadStart:
    topology = topology or lab(MIXED)
    result = Result(topology.name, UNCHANGED)
    head = head_start(topology, result, kernel=kernel, exclusive=False, **options)
    assert head is not None
    return head


async def whole(head: HeadStart, beside: Callable[[], object] = nothing) -> Result:
    """The run to its end, as the command line has it."""
    with head:
        assert head.is_to_do
        head.make_first_links(beside, jobs=1)
        return await go_on(head, jobs=1)


async def at_once(head: HeadStart, **options: Any) -> Result:
    """The run to its end, as the command line has it of a short plan."""
    with head:
        assert head.is_to_do
        assert head.is_short(None)
        if head.carry_out():
            return head.result
        return await go_on(head, jobs=1, **options)


@contextmanager
def until_set(event: threading.Event) -> Iterator[Callable[[], object]]:
    """A job that lasts until the event is set, at the latest by the end of the block."""
    try:
        yield lambda: event.wait(20)
    finally:
        event.set()


async def test_it_comes_to_the_same_end(machine: Callable[[], FakeKernel]) -> None:
    one, other = machine(), machine()
    expected = await apply(lab(MIXED), kernel=one, jobs=1)
    result = await whole(begun(other))
    assert (result.status, result.errors, result.left, other.closed) == ("applied", [], [], True)
    assert (result.links, result.namespaces) == (expected.links, expected.namespaces)
    assert set(result.seconds) == {"survey", "plan", "apply"}
    assert sorted(request.type for request in other.requests) == sorted(request.type for request in one.requests)
    assert visible(other) == visible(one)


async def test_what_waits_for_a_namespace_does_not_begin(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    with begun(kernel, chain(3)) as head:
        head.make_first_links(nothing)
        assert (kernel.requests, kernel.made, head.answers) == ([], [], {})
        result = await go_on(head)
    assert (result.status, len(kernel.made)) == ("applied", 4)


async def test_one_chunk_is_made_at_least(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    with begun(kernel, star(2 * CHUNK + 50)) as head:
        seen: list[tuple[str, int, int]] = []
        kernel.hold[1] = ended = threading.Event()
        head.make_first_links(ended.set, jobs=1, progress=lambda *step: seen.append(step))
        made = len(head.answers)
        assert made in (CHUNK, 2 * CHUNK)  # the thread may be a moment late to say that it has ended
        assert [request.type for request in kernel.requests] == [RTM_NEWLINK] * made
        assert seen[0] == ("apply", CHUNK, len(head.applied.plan.operations))
        result = await go_on(head)
    assert (result.status, result.links["created"]) == ("applied", 2 * CHUNK + 50)
    assert sum(request.type == RTM_NEWLINK for request in kernel.requests) == 2 * CHUNK + 50


async def test_links_are_made_as_long_as_the_other_job_lasts(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    event = threading.Event()

    def last(stage: str, done: int, _: int) -> None:
        if done == 2 * CHUNK + 50:
            event.set()

    with begun(kernel, star(2 * CHUNK + 50)) as head:
        with until_set(event) as job:
            head.make_first_links(job, jobs=1, progress=last)
        assert event.is_set()
        assert len(head.answers) == 2 * CHUNK + 50
        assert {request.type for request in kernel.requests} == {RTM_NEWLINK}
        result = await go_on(head)
    assert (result.status, result.links["created"]) == ("applied", 2 * CHUNK + 50)


async def test_all_or_nothing_whichever_request_is_refused_or_its_answer_lost(
    machine: Callable[[], FakeKernel],
) -> None:
    kernel = machine()
    await whole(begun(kernel))
    total = len(kernel.requests)
    assert total > 10
    for number in range(1, total + 1):
        kernel = machine()
        before = kernel.state()
        if number % 2:
            kernel.refuse[number] = errno.EPERM
        else:
            kernel.lose[number] = number % 4 == 0
        result = await whole(begun(kernel))
        assert (result.status, result.left) == ("rolled_back", []), f"request {number}"
        assert kernel.state() == before, f"request {number}"
        assert result.errors[0].source.startswith("$.links["), f"request {number}"


@pytest.mark.parametrize("refused", [3, CHUNK + 3])
@pytest.mark.parametrize("keep_going", [False, True])
async def test_one_of_many_is_refused(make_kernel: KernelFactory, refused: int, keep_going: bool) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    total = CHUNK + 50
    kernel.refuse[refused] = errno.EPERM
    event = threading.Event()
    seen: list[int] = []

    def note(stage: str, done: int, _: int) -> None:
        if stage == "apply":
            seen.append(done)
        if done >= (total if refused > CHUNK else CHUNK):
            event.set()

    with begun(kernel, star(total)) as head:
        with until_set(event) as job:
            head.make_first_links(job, jobs=1, progress=note)
        assert len(head.answers) == (total if refused > CHUNK else CHUNK)
        result = await go_on(head, jobs=1, keep_going=keep_going, progress=note)
    assert [error.source for error in result.errors] == [f"$.links[{refused - 1}]"]
    assert (result.links["failed"], result.left) == (1, [])
    # Each is asked for once, and the user never sees less than before.
    made = sum(request.type == RTM_NEWLINK for request in kernel.requests)
    assert made == (total if keep_going else len(head.answers))
    assert seen == sorted(seen)
    if keep_going:
        assert (result.status, result.links["created"]) == ("partial", total - 1)
    else:
        assert result.status == "rolled_back"
        assert kernel.state() == before


async def test_with_keep_going_the_others_are_made(machine: Callable[[], FakeKernel]) -> None:
    kernel = machine()
    kernel.refuse[1] = errno.EPERM
    with begun(kernel) as head:
        head.make_first_links(nothing, jobs=1)
        assert sum(answer is not None for answer in head.answers.values()) == 1
        result = await go_on(head, jobs=1, keep_going=True)
    assert result.status == "partial"
    assert result.links["failed"] >= 1
    assert result.links["created"] >= 1


async def test_cancelled_before_the_loop_begins(machine: Callable[[], FakeKernel]) -> None:
    kernel = machine()
    before = kernel.state()
    with begun(kernel) as head, trio.CancelScope() as scope:
        head.make_first_links(nothing)
        assert head.answers
        scope.cancel()
        await go_on(head)
    assert scope.cancelled_caught
    assert (head.result.status, head.result.left, kernel.closed) == ("rolled_back", [], True)
    assert kernel.state() == before


async def test_stopped_between_two_chunks(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    event = threading.Event()

    def stopped() -> bool:
        if kernel.requests:
            event.set()
        return event.is_set()

    with begun(kernel, star(CHUNK + 50)) as head, until_set(event) as job:
        head.make_first_links(job, jobs=1, stopped=stopped)
        assert len(head.answers) == CHUNK
    assert head.result.status == "rolled_back"
    assert kernel.state() == before


async def test_a_defect_is_raised_and_all_taken_back(
    machine: Callable[[], FakeKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = machine()
    before = kernel.state()
    real = Executor.execute

    def broken(self: Executor, operations: Sequence[Operation]) -> list[Refusal | None]:
        assert isinstance(operations[0], CreateLink)
        real(self, operations)
        raise ZeroDivisionError

    def fail() -> None:
        raise ImportError("trio")

    monkeypatch.setattr(Executor, "execute", broken)
    head = begun(kernel)
    with pytest.raises(ZeroDivisionError), head:
        head.make_first_links(fail, jobs=1)
    assert (head.result.status, head.result.left, kernel.closed) == ("rolled_back", [], True)
    assert kernel.requests
    assert kernel.state() == before


async def test_what_fails_beside_is_raised_and_all_taken_back(machine: Callable[[], FakeKernel]) -> None:
    kernel = machine()
    before = kernel.state()

    def fail() -> None:
        raise ImportError("trio")

    head = begun(kernel)
    with pytest.raises(ImportError, match="trio"), head:
        head.make_first_links(fail, jobs=1)
    assert head.answers
    assert (head.result.status, head.result.left, kernel.closed) == ("rolled_back", [], True)
    assert kernel.state() == before


async def test_what_was_refused_is_told_also_when_the_other_job_fails(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    kernel.refuse[2] = errno.EPERM

    def fail() -> None:
        raise ImportError("trio")

    head = begun(kernel, star(3))
    with pytest.raises(ImportError, match="trio"), head:
        head.make_first_links(fail, jobs=1)
    assert [error.source for error in head.result.errors] == ["$.links[1]"]
    assert head.result.links["failed"] == 1
    assert kernel.state() == before


async def test_what_cannot_be_taken_back_without_a_loop_is_told(machine: Callable[[], FakeKernel]) -> None:
    kernel = machine()
    head = begun(kernel)
    with head:
        head.make_first_links(nothing, jobs=1)
        kernel.refuse = dict.fromkeys(range(len(kernel.requests) + 1, len(kernel.requests) + 100), errno.EPERM)
    assert head.result.status == "partial"
    assert any(line.startswith("link ") for line in head.result.left)


@pytest.mark.parametrize(
    "topology", [lab(MIXED), chain(4), star(30)], ids=["mixed", "with its namespaces", "in chunks"]
)
async def test_a_short_plan_comes_to_its_end_without_a_loop(make_kernel: KernelFactory, topology: Topology) -> None:
    one, other = make_kernel("a", "b", budget=20), make_kernel("a", "b", budget=20)
    expected = await apply(topology, kernel=one, jobs=1)
    seen: list[tuple[str, int, int]] = []
    with begun(other, topology) as head:
        assert head.carry_out(progress=lambda *step: seen.append(step))
    result = head.result
    assert (result.status, result.errors, result.left, other.closed) == ("applied", [], [], True)
    assert result.as_dict() | {"seconds": 0} == expected.as_dict() | {"seconds": 0}
    assert set(result.seconds) == {"survey", "plan", "apply"}
    assert visible(other) == visible(one)
    total = len(head.applied.plan.operations)
    assert (seen[-1], [done for _, done, _ in seen]) == (("apply", total, total), sorted({done for _, done, _ in seen}))
    assert (await apply(topology, kernel=other)).status == "unchanged"


@pytest.mark.parametrize("topology", [lab(MIXED), chain(3)], ids=["mixed", "with its namespaces"])
async def test_all_or_nothing_without_a_loop_too(make_kernel: KernelFactory, topology: Topology) -> None:
    kernel = make_kernel("a", "b")
    await at_once(begun(kernel, topology))
    total = len(kernel.requests)
    assert total >= 6
    for number in range(1, total + 1):
        for lost in (None, True, False):
            kernel = make_kernel("a", "b")
            before = kernel.state()
            if lost is None:
                kernel.refuse[number] = errno.EPERM
            else:
                kernel.lose[number] = lost
            result = await at_once(begun(kernel, topology))
            assert (result.status, result.left) == ("rolled_back", []), f"request {number}"
            assert kernel.state() == before, f"request {number}"
            assert result.errors[0].source.startswith("$.links["), f"request {number}"


async def test_a_short_plan_that_fails_goes_on_where_it_was(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    kernel.refuse[3] = errno.EPERM
    result = await at_once(begun(kernel, star(6)), keep_going=True)
    assert (result.status, result.links["created"], result.links["failed"]) == ("partial", 5, 1)
    assert [error.source for error in result.errors] == ["$.links[2]"]
    # Each is asked for once, also those that had been configured by then.
    assert sum(request.type == RTM_NEWLINK for request in kernel.requests) == 6
    kernel = make_kernel("a", "b")
    kernel.refuse[9] = errno.EPERM  # an end: the ones before it are not set again
    result = await at_once(begun(kernel, star(6)), keep_going=True)
    assert (result.status, result.links["created"], result.links["failed"]) == ("partial", 5, 1)
    addresses = [
        (request.header["index"], request.attributes["local"])
        for request in kernel.requests
        if request.type == RTM_NEWADDR and kernel["a"].links
    ]
    assert len(addresses) == len(set(addresses))


@pytest.mark.parametrize("topology", [chain(4), star(30)], ids=["with its namespaces", "in chunks"])
async def test_a_short_plan_is_stopped_and_taken_back(make_kernel: KernelFactory, topology: Topology) -> None:
    made = make_kernel("a", "b", budget=20)
    await at_once(begun(made, topology))
    for after in range(1, 40):
        kernel = make_kernel("a", "b", budget=20)
        before = kernel.state()
        looks = itertools.chain([False] * after, itertools.repeat(True))
        with begun(kernel, topology) as head:
            whole = head.carry_out(stopped=looks.__next__)
        if whole:
            assert kernel.links_of("n1" if "n1" in head.topology.nodes else "a")
            break
        assert (head.result.status, head.result.left) == ("rolled_back", [])
        assert kernel.state() == before
    assert after >= 3


async def test_a_namespace_that_was_replaced_is_found_without_a_loop_too(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    monkeypatch.setattr(
        kernel, "misled", lambda handle: OSError(errno.ESTALE, "another one") if handle.path.endswith("/b") else None
    )
    result = await at_once(begun(kernel, star(3)))
    assert result.status == "rolled_back"
    assert [error.errno for error in result.errors] == [errno.ESTALE] * 3
    assert kernel.state() == before


async def test_a_namespace_that_was_replaced_is_told_also_when_there_is_no_loop(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel()
    stale = OSError(errno.ESTALE, "another one")
    monkeypatch.setattr(kernel, "misled", lambda handle: stale if handle.path.endswith("/n1") else None)
    with begun(kernel, chain(3)) as head:
        assert not head.carry_out()
    assert (head.result.status, head.result.left) == ("rolled_back", [])
    assert [error.errno for error in head.result.errors] == [errno.ESTALE] * 3
    # It is somebody else's now.
    assert sorted(kernel.removed) == ["n0", "n2", "n3"]


async def test_all_is_taken_back_where_the_last_look_fails(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()

    def fail(_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(headstart, "fail_the_misled", fail)
    with pytest.raises(OSError, match="Too many"), begun(kernel, star(3)) as head:
        head.carry_out()
    assert (head.result.status, head.result.left) == ("rolled_back", [])
    assert kernel.state() == before


async def test_what_breaks_off_the_rollback_is_told(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("kokofast.engine.rollback.take_back", fail)
    with pytest.raises(OSError, match="Too many"), begun(make_kernel("a", "b"), star(3)):
        pass
    head = begun(make_kernel("a", "b"), star(3))
    monkeypatch.setattr("kokofast.engine.failures.failures_of", fail)
    with pytest.raises(OSError, match="Too many"), head:
        pass
    assert head.result.status == "partial"
    assert "did not come to its end" in head.result.left[0]


async def test_what_is_a_short_plan(make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    with begun(make_kernel("a", "b"), star(3)) as head:
        operations = len(head.applied.plan.operations)
        assert [head.is_short(jobs) for jobs in (None, 1, 2)] == [True, True, False]
        monkeypatch.setattr(headstart, "FEW_OPERATIONS", operations)
        assert head.is_short(None)
        monkeypatch.setattr(headstart, "FEW_OPERATIONS", operations - 1)
        assert not head.is_short(None)
        head.is_to_do = False  # nothing was touched


async def test_a_defect_in_a_short_plan_is_raised_and_all_taken_back(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    real = Executor.execute

    def broken(self: Executor, operations: Sequence[Operation]) -> list[Refusal | None]:
        answers = real(self, operations)
        if isinstance(operations[0], ConfigureEnd):
            raise ZeroDivisionError
        return answers

    monkeypatch.setattr(Executor, "execute", broken)
    head = begun(kernel, chain(3))
    with pytest.raises(ZeroDivisionError), head:
        head.carry_out()
    assert (head.result.status, head.result.left, kernel.closed) == ("rolled_back", [], True)
    assert len(kernel.made) == 4
    assert kernel.state() == before


async def test_nothing_to_do_is_done_without_a_loop(machine: Callable[[], FakeKernel]) -> None:
    missing = lab([{"endpoints": ["a:y", "nowhere:y"]}], create=False)
    problem = Problem("$.x", "is wrong")
    for topology, options, status in (
        (lab(BEFORE), {}, "unchanged"),
        (missing, {}, "invalid"),
        (lab(MIXED), {"problems": [problem]}, "invalid"),
        (lab(MIXED), {"dry_run": True}, "planned"),
    ):
        kernel = machine()
        with begun(kernel, topology, **options) as head:
            assert not head.is_to_do
        assert (head.result.status, kernel.closed, kernel.requests) == (status, True, [])
        assert bool(head.result.errors) == (status == "invalid")
        assert bool(head.result.planned) == (status == "planned")


async def test_when_it_has_to_be_begun_by_apply(machine: Callable[[], FakeKernel]) -> None:
    result = Result("lab", UNCHANGED)
    containers = lab([{"endpoints": ["a:y", "x:y"]}], nodes={"x": {"docker": "x"}})
    assert head_start(containers, result, kernel=machine(), exclusive=False) is None
    looks: list[bool] = []

    def stopped() -> bool:
        looks.append(True)
        return len(looks) > 1

    kernel = machine()
    assert head_start(lab(MIXED), result, kernel=kernel, exclusive=False, stopped=stopped) is None
    assert (len(looks), kernel.closed, result.status) == (2, True, UNCHANGED)
    lock = LabLock("lab")
    assert lock.acquire()
    try:
        if not lock.refusal:
            kernel = machine()
            assert head_start(lab(MIXED), result, kernel=kernel) is None
            assert kernel.closed
    finally:
        lock.release()


async def test_its_work_is_in_the_trace(machine: Callable[[], FakeKernel]) -> None:
    topology = lab(MIXED)
    result = Result(topology.name, UNCHANGED)
    result.trace = Trace()
    head = head_start(topology, result, kernel=machine(), exclusive=False)
    assert head is not None
    await whole(head)
    events: Any = result.trace.as_dict()["traceEvents"]
    names = [event["name"] for event in events if event["ph"] == "X"]
    assert {"survey", "plan", "apply", "import"} <= set(names)
    created = sum(event["args"]["operations"] for event in events if event["name"] == f"execute: {CreateLink.verb}")
    assert created == sum(isinstance(operation, CreateLink) for operation in head.applied.plan.operations)


def test_it_needs_no_trio() -> None:
    script = "import sys, kokofast.engine.headstart, kokofast.cli.batch; print('trio' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout == "False\n"


async def test_an_event_loop_that_breaks_down_leaves_nothing(
    machine: Callable[[], FakeKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = machine()
    before = kernel.state()

    async def break_down(*_: object, **__: object) -> None:
        raise MemoryError

    head = begun(kernel)
    monkeypatch.setattr("kokofast.engine.apply.take_back", break_down)
    monkeypatch.setattr("kokofast.engine.apply.Scheduler.run", break_down)
    with pytest.raises(MemoryError):
        await whole(head)
    assert (head.result.status, head.result.left) == ("rolled_back", [])
    assert kernel.state() == before
