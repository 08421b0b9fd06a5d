from __future__ import annotations

import _thread
import itertools
import threading
from collections.abc import Callable, Sequence

import pytest
import trio
import trio.testing

from kokofast.drivers import run_all
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.drivers.work_queue import WINDOW, WorkerCount, WorkQueue
from kokofast.host import limits
from tests.engine.fake import PATIENCE


class Recorder:
    """Carries out numbers: notes the chunks and how many run at a time; what is in bad fails."""

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = set(bad)
        self.chunks: list[list[int]] = []
        self.reported: list[tuple[int, bool]] = []
        self.now = 0
        self.most = 0
        self.lock = threading.Lock()
        self.inside: Callable[[Sequence[int]], None] | None = None

    def execute(self, chunk: Sequence[int]) -> list[bool]:
        with self.lock:
            self.chunks.append(list(chunk))
            self.now += 1
            self.most = max(self.most, self.now)
        if self.inside is not None:
            self.inside(chunk)
        with self.lock:
            self.now -= 1
        return [number not in self.bad for number in chunk]

    def report(self, numbers: Sequence[int], answers: Sequence[bool]) -> None:
        self.reported += zip(numbers, answers, strict=True)

    @property
    def started(self) -> list[int]:
        return [number for chunk in self.chunks for number in chunk]

    async def run(
        self, after: Sequence[tuple[int, ...]], *, workers: int | WorkerCount = 1, chunk: int = 1, stop: bool = True
    ) -> None:
        queue = WorkQueue(
            range(len(after)),
            self.execute,
            self.report,
            workers=workers if isinstance(workers, WorkerCount) else WorkerCount(workers),
            chunk=chunk,
            after=after,
            failed=lambda went_well: not went_well,
            stop_on_failure=stop,
        )
        await TrioDriver().carry_out(queue)


async def test_what_waits_comes_after_what_it_waits_for() -> None:
    after: list[tuple[int, ...]] = [(3,), (0, 2), (3,), (), (1,), ()]
    recorder = Recorder()
    await recorder.run(after, workers=3)
    order = [number for number, _ in recorder.reported]
    assert sorted(order) == list(range(6))
    assert all(order.index(other) < order.index(number) for number, others in enumerate(after) for other in others)


@pytest.mark.parametrize("workers", [1, 2, 5])
async def test_no_more_at_a_time_than_there_are_workers(workers: int) -> None:
    recorder = Recorder()
    # Each waits until all workers are busy: fewer would be seen as a broken barrier, more in .most.
    barrier = threading.Barrier(workers)
    recorder.inside = lambda _: void(barrier.wait(PATIENCE))
    await recorder.run([()] * (4 * workers), workers=workers)
    assert recorder.most == workers
    assert len(recorder.reported) == 4 * workers


def void(_: object) -> None:
    return None


async def test_chunks_are_full_in_order_and_not_larger_than_said() -> None:
    recorder = Recorder()
    await recorder.run([()] * 10, chunk=4)
    assert recorder.chunks == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_small_plan_is_spread_over_the_workers() -> None:
    recorder = Recorder()
    barrier = threading.Barrier(2)
    recorder.inside = lambda _: void(barrier.wait(PATIENCE))
    await recorder.run([()] * 2, workers=2, chunk=64)
    assert sorted(recorder.chunks) == [[0], [1]]


async def test_a_chunk_holds_operations_of_one_type() -> None:
    chunks: list[list[object]] = []

    def execute(chunk: Sequence[object]) -> list[None]:
        chunks.append(list(chunk))
        return [None] * len(chunk)

    items: list[object] = [1, 2, "a", "b", 3]
    await run_all(TrioDriver(), items, execute, workers=1, chunk=9, report=lambda *_: None)
    assert chunks == [[1, 2], ["a", "b"], [3]]


async def test_after_a_failure_nothing_new_starts() -> None:
    recorder = Recorder(bad=[2])
    await recorder.run([()] * 10, chunk=2)
    assert recorder.started == [0, 1, 2, 3]
    assert recorder.reported == [(0, True), (1, True), (2, False), (3, True)]


async def test_those_behind_a_failure_never_start_but_all_others_do() -> None:
    recorder = Recorder(bad=[0])
    await recorder.run([(), (0,), (1,), (), (3,), (3, 1)], stop=False)
    assert sorted(recorder.started) == [0, 3, 4]


async def test_a_worker_more_works_when_the_pace_allows_it() -> None:
    recorder = Recorder()
    pace = WorkerCount(first=1, most=2, clock=lambda: float(len(recorder.chunks)))
    both = threading.Barrier(2)

    def inside(chunk: Sequence[int]) -> None:
        if chunk[0] in (WINDOW, WINDOW + 1):  # the first window is over: from here on two are at it
            both.wait(PATIENCE)

    recorder.inside = inside
    await recorder.run([()] * 40, workers=pace)
    assert recorder.most == 2
    assert sorted(recorder.started) == list(range(40))


async def test_no_operation_at_all() -> None:
    recorder = Recorder()
    await recorder.run([])
    assert recorder.chunks == []


@pytest.mark.parametrize("workers", [1, 3])
async def test_cancelling_waits_for_what_runs_and_reports_it(workers: int) -> None:
    recorder = Recorder()
    begun, gate = threading.Semaphore(0), threading.Event()

    def inside(_: Sequence[int]) -> None:
        begun.release()
        assert gate.wait(PATIENCE)

    recorder.inside = inside

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                await recorder.run([()] * 20, workers=workers, chunk=2)

        nursery.start_soon(run)
        for _ in range(workers):
            assert await trio.to_thread.run_sync(begun.acquire, True, PATIENCE)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert recorder.reported == []
        gate.set()
    assert scope.cancelled_caught
    assert sorted(number for number, _ in recorder.reported) == sorted(recorder.started)
    assert len(recorder.started) == 2 * workers


async def test_a_defect_in_a_worker_ends_the_run_and_is_not_swallowed() -> None:
    recorder = Recorder()

    def inside(chunk: Sequence[int]) -> None:
        if 1 in chunk:
            raise ZeroDivisionError

    recorder.inside = inside
    with pytest.RaisesGroup(ZeroDivisionError):
        await recorder.run([()] * 9)
    assert recorder.reported == [(0, True)]


async def test_run_all_goes_on_after_failures() -> None:
    recorder = Recorder(bad=[0, 1, 2])
    await run_all(
        TrioDriver(), range(5), recorder.execute, workers=2, chunk=2, report=lambda *one: recorder.reported.append(one)
    )
    assert sorted(recorder.reported) == [(0, False), (1, False), (2, False), (3, True), (4, True)]


async def test_where_there_are_no_threads_run_all_works_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    home = threading.get_ident()
    threads: list[int] = []
    reported: list[tuple[int, int]] = []

    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    def execute(chunk: Sequence[int]) -> list[int]:
        threads.append(threading.get_ident())
        return [2 * item for item in chunk]

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    await run_all(TrioDriver(), range(10), execute, workers=3, chunk=2, report=lambda *what: reported.append(what))
    assert sorted(reported) == [(number, 2 * number) for number in range(10)]
    assert set(threads) == {home}


@pytest.mark.parametrize("dies", [1, 2])
async def test_a_thread_that_dies_without_a_word_ends_the_run(monkeypatch: pytest.MonkeyPatch, dies: int) -> None:
    # As it does without memory for its first line of Python; the interpreter only prints that.
    start, started = _thread.start_new_thread, itertools.count(1)

    def start_to_die(job: Callable[[], object], arguments: tuple[()]) -> int:
        if next(started) == dies:
            keeps = [job]
            return start(keeps.clear, arguments)
        return start(job, arguments)

    monkeypatch.setattr(_thread, "start_new_thread", start_to_die)
    recorder = Recorder()
    with trio.fail_after(PATIENCE), pytest.RaisesGroup(pytest.RaisesExc(OSError, match="memory")):
        await recorder.run([()] * 4)
    assert recorder.started == list(range(dies - 1))


async def test_a_dead_thread_s_work_is_done_here_by_run_all(monkeypatch: pytest.MonkeyPatch) -> None:
    start = _thread.start_new_thread

    def start_to_die(job: Callable[[], object], _: tuple[()]) -> int:
        keeps = [job]
        return start(keeps.clear, ())

    monkeypatch.setattr(_thread, "start_new_thread", start_to_die)
    reported: list[tuple[int, int]] = []
    await run_all(TrioDriver(), [1, 2, 3], list, workers=2, chunk=1, report=lambda *what: reported.append(what))
    assert sorted(reported) == [(0, 1), (1, 2), (2, 3)]


async def test_who_is_not_woken_looks_for_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(trio.lowlevel.TrioToken, "run_sync_soon", forget, raising=True)
    recorder = Recorder()
    await recorder.run([()] * 2)
    assert recorder.reported == [(0, True), (1, True)]


async def test_memory_that_is_short_is_told_before_more_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    recorder.inside = lambda _: monkeypatch.setattr(limits, "no_room", lambda _: ": the limit is 1 MB")
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="the limit is 1 MB")):
        await recorder.run([()] * 3)
    assert recorder.reported == [(0, True)]


@pytest.mark.parametrize(("chunk", "most"), [(1, 8), (16, 2)])
async def test_memory_is_asked_for_once_for_several_small_chunks(
    monkeypatch: pytest.MonkeyPatch, chunk: int, most: int
) -> None:
    asked: list[int] = []
    threads: set[int] = set()
    shortage: list[str | None] = [None]

    def no_room(size: int) -> str | None:
        asked.append(size)
        return shortage[0]

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        threads.add(_thread.get_ident())
        return chosen

    monkeypatch.setattr("kokofast.drivers.trio_driver.no_room", no_room)
    await run_all(TrioDriver(), range(32), execute, workers=1, chunk=chunk, report=lambda *_: None)
    assert len(asked) == most
    assert _thread.get_ident() not in threads
    # While memory is short all is done here, and each chunk asks again.
    asked.clear()
    threads.clear()
    shortage[0] = ": the limit is 1 MB"
    await run_all(TrioDriver(), range(32), execute, workers=1, chunk=chunk, report=lambda *_: None)
    assert len(asked) == 32 // chunk
    assert threads == {_thread.get_ident()}
