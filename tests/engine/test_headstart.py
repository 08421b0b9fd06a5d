"""A run that begins before there is an event loop comes to the same end as one that has it from the start."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import pytest
import trio

from kokofast.engine.apply import apply, go_on
from kokofast.engine.headstart import HeadStart, head_start
from kokofast.engine.pace import CHUNK
from kokofast.engine.result import UNCHANGED, Result
from kokofast.host.lock import LabLock
from kokofast.plan.operations import CreateLink
from kokofast.topology.model import Topology
from kokofast.wire.link import RTM_NEWLINK
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import BEFORE, MIXED, chain, lab, star


@pytest.fixture
async def machine(make_kernel: KernelFactory) -> Callable[[], FakeKernel]:
    """Makes kernels with namespaces a and b, and the links of BEFORE; requests are counted from there."""
    kernels = [make_kernel("a", "b") for _ in range(40)]
    for kernel in kernels:
        assert (await apply(lab(BEFORE), kernel=kernel)).status == "applied"
        kernel.count_from_here()
    return kernels.pop


def begun(kernel: FakeKernel, topology: Topology | None = None) -> tuple[HeadStart, Result]:
    topology = topology or lab(MIXED)
    result = Result(topology.name, UNCHANGED)
    head = head_start(topology, result, kernel=kernel, exclusive=False)
    assert head is not None
    assert not head.is_done
    return head, result


async def test_it_comes_to_the_same_end(machine: Callable[[], FakeKernel]) -> None:
    one, other = machine(), machine()
    expected = await apply(lab(MIXED), kernel=one, jobs=1)
    head, result = begun(other)
    await go_on(head, jobs=1, result=result)
    assert (result.status, result.errors, result.left, other.closed) == ("applied", [], [], True)
    assert (result.links, result.namespaces) == (expected.links, expected.namespaces)
    assert set(result.seconds) == {"survey", "plan", "apply"}
    assert sorted(request.type for request in other.requests) == sorted(request.type for request in one.requests)
    assert {name: set(other[name].links) for name in "abcd"} == {name: set(one[name].links) for name in "abcd"}


async def test_what_waits_for_a_namespace_does_not_begin(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    head, result = begun(kernel, chain(3))
    head.settle()
    assert (kernel.requests, kernel.made) == ([], [])
    await go_on(head, result=result)
    assert (result.status, len(kernel.made)) == ("applied", 4)


async def test_links_begin_at_once_up_to_a_chunk(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "b")
    head, result = begun(kernel, star(CHUNK + 50))
    head.settle()
    assert [request.type for request in kernel.requests] == [RTM_NEWLINK] * CHUNK
    assert len(head.applied.done) == CHUNK
    await go_on(head, result=result)
    assert (result.status, result.links["created"]) == ("applied", CHUNK + 50)
    assert sum(request.type == RTM_NEWLINK for request in kernel.requests) == CHUNK + 50


async def test_all_or_nothing_whichever_request_is_refused_or_its_answer_lost(
    machine: Callable[[], FakeKernel],
) -> None:
    kernel = machine()
    head, result = begun(kernel)
    await go_on(head, jobs=1, result=result)
    total = len(kernel.requests)
    assert total > 10
    for number in range(1, total + 1):
        kernel = machine()
        before = kernel.state()
        if number % 2:
            kernel.refuse[number] = errno.EPERM
        else:
            kernel.lose[number] = number % 4 == 0
        head, result = begun(kernel)
        await go_on(head, jobs=1, result=result)
        assert (result.status, result.left) == ("rolled_back", []), f"request {number}"
        assert kernel.state() == before, f"request {number}"
        assert result.errors[0].source.startswith("$.links["), f"request {number}"


async def test_what_is_in_hand_is_waited_for_when_another_operation_fails(machine: Callable[[], FakeKernel]) -> None:
    kernel = machine()
    before = kernel.state()
    kernel.refuse_to_make[1] = OSError(errno.ENOSPC, "No space left on device")
    kernel.hold[1] = event = threading.Event()
    head, result = begun(kernel)
    assert kernel.held.wait(20)
    release = threading.Timer(0.1, event.set)
    release.start()
    await go_on(head, result=result)
    release.join()
    assert (result.status, result.left) == ("rolled_back", [])
    assert [error.errno for error in result.errors] == [errno.ENOSPC]
    assert kernel.state() == before


async def test_cancelled_before_the_loop_asks(machine: Callable[[], FakeKernel]) -> None:
    kernel = machine()
    before = kernel.state()
    head, result = begun(kernel)
    with trio.CancelScope() as scope:
        scope.cancel()
        await go_on(head, result=result)
    assert scope.cancelled_caught
    assert (result.status, result.left, kernel.closed) == ("rolled_back", [], True)
    assert kernel.state() == before


async def test_a_defect_in_the_thread_is_raised_and_all_taken_back(
    machine: Callable[[], FakeKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = machine()
    before = kernel.state()

    def broken(_: object, operations: Sequence[object]) -> list[None]:
        assert isinstance(operations[0], CreateLink)
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("kokofast.engine.execute.Executor.execute", broken)
        head, result = begun(kernel)
        head.settle()
    with pytest.raises(ExceptionGroup) as caught:
        await go_on(head, jobs=1, result=result)
    assert caught.group_contains(ZeroDivisionError)
    assert kernel.state() == before


async def test_abandoned_without_a_loop(machine: Callable[[], FakeKernel]) -> None:
    kernel = machine()
    before = kernel.state()
    head, _ = begun(kernel)
    assert head.abandon() == []
    assert kernel.state() == before
    assert kernel.closed


async def test_nothing_to_do_is_done_without_a_loop(machine: Callable[[], FakeKernel]) -> None:
    missing = lab([{"endpoints": ["a:y", "nowhere:y"]}], create=False)
    for topology, status in ((lab(BEFORE), "unchanged"), (missing, "invalid")):
        kernel = machine()
        result = Result(topology.name, UNCHANGED)
        head = head_start(topology, result, kernel=kernel, exclusive=False)
        assert head is not None
        assert head.is_done
        assert (result.status, kernel.closed, kernel.requests) == (status, True, [])
        assert bool(result.errors) == (status == "invalid")


async def test_when_it_has_to_be_begun_by_apply(machine: Callable[[], FakeKernel]) -> None:
    result = Result("lab", UNCHANGED)
    containers = lab([{"endpoints": ["a:y", "x:y"]}], nodes={"x": {"docker": "x"}})
    assert head_start(containers, result, kernel=machine(), exclusive=False) is None
    looks: list[bool] = []

    def stopped() -> bool:
        looks.append(True)
        return len(looks) > 1

    assert head_start(lab(MIXED), result, kernel=machine(), exclusive=False, stopped=stopped) is None
    assert len(looks) == 2
    assert result.status == UNCHANGED
    lock = LabLock("lab")
    assert lock.acquire()
    try:
        if not lock.refusal:
            assert head_start(lab(MIXED), result, kernel=machine()) is None
    finally:
        lock.release()


def test_it_needs_no_trio() -> None:
    script = "import sys, kokofast.engine.headstart, kokofast.cli.batch; print('trio' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout == "False\n"
