"""Without an event loop: the same work, chunk by chunk in the calling thread."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from kokofast.engine.apply import apply
from kokofast.engine.at_once import AtOnce, Stopped, drive
from kokofast.engine.destroy import FEW_DELETIONS, Destruction, begin_destroy, destroy
from kokofast.engine.inspect import inspect
from kokofast.engine.rollback import REMOVE_CHUNK
from kokofast.host.lock import LabLock
from kokofast.topology.model import Topology
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import chain


def test_each_item_is_executed_once_and_reported_in_order() -> None:
    chunks: list[list[int]] = []
    reported: list[tuple[int, int]] = []

    def execute(chosen: Sequence[int]) -> list[int]:
        chunks.append(list(chosen))
        return [item * 10 for item in chosen]

    items = [7, 8, 9, 10, 11]
    drive(AtOnce()(items, execute, workers=64, chunk=2, report=lambda *one: reported.append(one)))
    assert chunks == [[7, 8], [9, 10], [11]]
    assert reported == [(0, 70), (1, 80), (2, 90), (3, 100), (4, 110)]


def test_it_stops_between_two_chunks() -> None:
    done: list[int] = []

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        done.extend(chosen)
        return chosen

    run = AtOnce(lambda: len(done) >= 4)
    with pytest.raises(Stopped):
        drive(run(range(9), execute, workers=1, chunk=3, report=lambda *_: None))
    assert done == [0, 1, 2, 3, 4, 5]


def test_what_waits_is_refused() -> None:
    async def job() -> None:
        await trio.sleep(1)

    with pytest.raises(RuntimeError):
        drive(job())


def begun(kernel: FakeKernel, topology: Topology | None = None) -> Destruction:
    found = begin_destroy("lab", topology=topology, kernel=kernel)
    assert found is not None
    return found


async def test_namespaces_of_ours_go(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply(chain(9), kernel=kernel)
    shown = await inspect("lab", kernel=kernel)
    assert [link.as_dict() for link in drive(inspect("lab", kernel=kernel, run=AtOnce()))] == [
        link.as_dict() for link in shown
    ]
    with begun(kernel) as found:
        assert found.is_short
        assert kernel.removed == []
        result = drive(found.carry_out(AtOnce()))
    assert (result.status, result.errors, kernel.closed) == ("destroyed", [], True)
    assert (result.links, result.namespaces) == ({"removed": 9, "failed": 0}, {"removed": 10, "failed": 0})
    with begun(kernel) as found:
        assert found.is_short
        assert drive(found.carry_out(AtOnce())).status == "unchanged"


async def test_what_threads_are_worth_it_for(make_kernel: KernelFactory) -> None:
    # In a chain every other namespace is sent a deletion.
    for deletions, is_short in ((FEW_DELETIONS, True), (FEW_DELETIONS + 1, False)):
        kernel = make_kernel(*(f"n{number}" for number in range(2 * deletions + 1)))
        await apply(chain(2 * deletions), kernel=kernel)
        with begun(kernel) as found:
            assert found.is_short == is_short
    kernel = make_kernel()
    await apply(chain(12), kernel=kernel)
    for number in range(13):
        kernel[f"n{number}"].inhabited = True
    with begun(kernel) as found:
        assert not found.is_short


async def test_a_signal_in_between_leaves_the_rest_to_the_next_destroy(make_kernel: KernelFactory) -> None:
    kernel = make_kernel()
    await apply(chain(REMOVE_CHUNK + 20), kernel=kernel)
    with begun(kernel) as found, pytest.raises(Stopped):
        drive(found.carry_out(AtOnce(lambda: bool(kernel.removed))))
    assert len(kernel.removed) == REMOVE_CHUNK
    assert (await destroy("lab", kernel=kernel)).namespaces == {"removed": 21, "failed": 0}


async def test_when_destroy_has_to_do_it_all(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a")
    assert begin_destroy("lab", kernel=kernel, stopped=lambda: True) is None
    assert kernel.closed
    lock = LabLock("lab")
    assert lock.acquire()
    try:
        if not lock.refusal:
            kernel = make_kernel("a")
            assert begin_destroy("lab", kernel=kernel) is None
            assert kernel.closed
    finally:
        lock.release()
