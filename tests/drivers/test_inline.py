"""Without an event loop: the same work, chunk by chunk in the calling thread."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Sequence

import pytest
import trio

from kokofast.drivers import Stop, Stopped, run_all
from kokofast.drivers.asyncio_here import AsyncioHere
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.host import limits


def test_each_item_is_executed_once_and_reported_in_order() -> None:
    chunks: list[list[int]] = []
    reported: list[tuple[int, int]] = []

    def execute(chosen: Sequence[int]) -> list[int]:
        chunks.append(list(chosen))
        return [item * 10 for item in chosen]

    items = [7, 8, 9, 10, 11]
    drive(run_all(InlineDriver(), items, execute, workers=64, chunk=2, report=lambda *one: reported.append(one)))
    assert chunks == [[7, 8], [9, 10], [11]]
    assert reported == [(0, 70), (1, 80), (2, 90), (3, 100), (4, 110)]


def test_it_stops_between_two_chunks_but_not_behind_a_shield() -> None:
    stop = Stop()
    driver = InlineDriver(stop)
    done: list[int] = []

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        done.extend(chosen)
        if len(done) >= 4 and not stop.came():
            stop.on_signal(signal.SIGTERM)
        return chosen

    async def work() -> None:
        await run_all(driver, range(9), execute, workers=1, chunk=3, report=lambda *_: None)

    with pytest.raises(Stopped):
        drive(work())
    assert done == [0, 1, 2, 3, 4, 5]
    with driver.shielded():
        assert not driver.is_stopped()
        drive(work())
    assert driver.is_stopped()
    assert done == [0, 1, 2, 3, 4, 5, *range(9)]


def test_memory_that_is_short_is_told_before_more_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    from kokofast.drivers.work_queue import WorkerCount, WorkQueue

    monkeypatch.setattr(limits, "no_room", lambda _: ": the limit is 1 MB")
    done: list[int] = []

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        done.extend(chosen)
        return chosen

    def queue(must_end: bool) -> WorkQueue:
        return WorkQueue(range(30), execute, lambda *_: None, workers=WorkerCount(1), chunk=30, must_end=must_end)

    with pytest.raises(OSError, match="the limit is 1 MB"):
        drive(InlineDriver().carry_out(queue(must_end=False)))
    assert done == []
    drive(InlineDriver().carry_out(queue(must_end=True)))
    assert done == list(range(30))


def test_what_waits_is_refused() -> None:
    async def job() -> None:
        await trio.sleep(1)

    with pytest.raises(RuntimeError):
        drive(job())


def test_a_signal_ends_a_wait() -> None:
    stop = Stop()
    driver = InlineDriver(stop)

    async def wait() -> None:
        await driver.sleep(0)
        stop.on_signal(signal.SIGTERM)
        await driver.sleep(3600)

    with pytest.raises(Stopped):
        drive(wait())


def test_asyncio_functions_run_in_the_calling_thread() -> None:
    async def who(word: str) -> tuple[str, int]:
        await asyncio.sleep(0)
        return word, threading.get_ident()

    async def fail() -> None:
        raise ZeroDivisionError

    async def job() -> list[tuple[str, int]]:
        async with AsyncioHere(Stop()) as loop:
            found = [await loop.call(who, "a"), await loop.call(who, "b")]
            with pytest.raises(ZeroDivisionError):
                await loop.call(fail)
            return found

    assert drive(job()) == [("a", threading.get_ident()), ("b", threading.get_ident())]


@pytest.mark.parametrize("before", [True, False])
def test_a_signal_cancels_an_asyncio_function_and_the_last_one_runs_all_the_same(before: bool) -> None:
    stop = Stop()
    ended: list[str] = []

    async def hang() -> None:
        if not before:
            threading.Thread(target=stop.on_signal, args=[signal.SIGTERM]).start()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    async def close() -> None:
        await asyncio.sleep(0)
        ended.append("closed")

    async def job() -> None:
        async with AsyncioHere(stop) as loop:
            try:
                await loop.call(hang)
            finally:
                await loop.finish(close)

    if before:
        stop.on_signal(signal.SIGTERM)
    with pytest.raises(Stopped):
        drive(job())
    assert ended[-2:] == (["cancelled", "closed"] if not before else ended[-2:])
    assert ended[-1] == "closed"


def test_a_signal_that_comes_as_the_event_loop_ends_is_noted() -> None:
    async def token() -> trio.lowlevel.TrioToken:
        return trio.lowlevel.current_trio_token()

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    ended: list[trio.lowlevel.TrioToken] = []
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        closed = runner.run(loop())
    thread = threading.Thread(target=lambda: ended.append(trio.run(token)))
    thread.start()
    thread.join()
    for end in (lambda: ended[0].run_sync_soon(print), lambda: closed.call_soon_threadsafe(print)):
        stop = Stop()
        with stop.calling(end):
            stop.on_signal(signal.SIGTERM)
        assert stop.came()


def test_it_waits_for_a_descriptor_a_time_or_a_signal() -> None:
    stop = Stop()
    driver = InlineDriver(stop)
    read, write = os.pipe()
    try:
        start = driver.now()
        drive(driver.wait_readable(read, 0.02))
        assert driver.now() - start >= 0.02
        os.write(write, b"x")
        drive(driver.wait_readable(read, 1e9))  # more than poll(2) takes
        os.read(read, 1)
        with driver.shielded():
            stop.on_signal(signal.SIGTERM)
            drive(driver.wait_readable(read, 3600))  # returns, as it may, and raises nothing
        with pytest.raises(Stopped):
            drive(driver.wait_readable(read, 3600))
    finally:
        os.close(read)
        os.close(write)


def test_a_signal_wakes_who_waits_for_a_descriptor() -> None:
    stop = Stop()
    before = len(os.listdir("/proc/self/fd"))
    read, write = os.pipe()
    try:
        thread = threading.Timer(0.05, stop.on_signal, args=[signal.SIGTERM])
        thread.start()
        with pytest.raises(Stopped):
            drive(InlineDriver(stop).wait_readable(read, 3600))
        thread.join()
    finally:
        os.close(read)
        os.close(write)
    assert len(os.listdir("/proc/self/fd")) == before
