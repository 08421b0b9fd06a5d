"""Calls, errors and cancellation between trio and an asyncio thread."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
import trio

from kokofast.drivers.asyncio_thread import AsyncioThread


async def test_calls_share_one_loop_and_the_thread_ends_with_the_block() -> None:
    async def who(word: str) -> tuple[str, int, int]:
        await asyncio.sleep(0)
        return word, id(asyncio.get_running_loop()), threading.get_ident()

    async with AsyncioThread() as thread:
        first, second = await thread.call(who, "a"), await thread.call(who, "b")
        assert (first[0], second[0]) == ("a", "b")
        assert first[1:] == second[1:]
        assert first[2] != threading.get_ident()
        assert not thread._thread.has_ended()
    assert thread._thread.has_ended()


async def test_an_exception_comes_through() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("boom")

    async with AsyncioThread() as thread:
        with pytest.raises(ZeroDivisionError, match="boom"):
            await thread.call(fail)


async def test_a_thread_that_dies_is_noticed() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async def call() -> None:
        async with AsyncioThread() as thread:
            thread._loop.call_soon_threadsafe(sys.exit)
            await thread.call(never)

    with pytest.raises(SystemExit):
        await call()


async def test_concurrent_calls_wait_for_each_other() -> None:
    met = asyncio.Event()

    async def wait() -> str:
        await met.wait()
        return "met"

    async def tell() -> None:
        met.set()

    found: list[str] = []

    async with AsyncioThread() as thread, trio.open_nursery() as nursery:

        async def waiter() -> None:
            found.append(await thread.call(wait))

        nursery.start_soon(waiter)
        await trio.testing.wait_all_tasks_blocked()
        await thread.call(tell)
    assert found == ["met"]


async def test_who_is_cancelled_waits_for_the_end_of_the_task() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)  # as a connection that is closed in good order
            ended.set()

    async with AsyncioThread() as thread:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(thread.call, hang)
                assert await trio.to_thread.run_sync(lambda: begun.wait(30))
                scope.cancel()
        assert scope.cancelled_caught
        assert ended.is_set()


async def test_an_error_on_the_way_out_is_not_lost() -> None:
    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError("boom")

    async with AsyncioThread() as thread:
        with trio.CancelScope() as scope:
            scope.cancel()
            with pytest.raises(ZeroDivisionError):
                await thread.call(fail)


async def test_a_call_that_is_cancelled_from_the_start_does_nothing() -> None:
    done: list[int] = []

    async def act() -> None:
        done.append(1)

    async with AsyncioThread() as thread:
        with trio.CancelScope() as scope:
            scope.cancel()
            await thread.call(act)
        assert scope.cancelled_caught
    assert thread._thread.has_ended()
