"""Threads that trio waits for.

trio.to_thread will not do: short of memory its threads can die silently, and their waiters wait for ever.
"""

from __future__ import annotations

import _thread
from typing import TYPE_CHECKING, TypeVar

import trio

from kokofast.host.threads import LOST_SECONDS, NO_THREAD, BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_waited_for: set[BackgroundThread] = set()
_own = _thread._local()


@trio.lowlevel.enable_ki_protection
async def in_thread(job: Callable[..., T], *arguments: object, else_here: bool = False) -> T:
    """Run a job in a new thread; once it has begun, wait for it, also when the scope is cancelled.

    Raises OSError EAGAIN or ENOMEM when no thread can be started; with else_here run the job in the calling one then.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    result: list[T] = []
    cancelled: list[bool] = []
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def body() -> None:
        _own.cancelled = cancelled
        result.append(job(*arguments))

    running: BackgroundThread | None = None
    try:
        running = BackgroundThread(body, lambda: token.run_sync_soon(ended.set))
        _waited_for.add(running)
        await _wait_for(running, ended, cancelled)
        _waited_for.discard(running)
        running.wait()
    except OSError as error:
        if not else_here or error.errno not in NO_THREAD or (running is not None and running.has_begun):
            raise
        return job(*arguments)
    return result[0]


async def _wait_for(running: BackgroundThread, ended: trio.Event, cancelled: list[bool]) -> None:
    while not running.has_ended():
        try:
            # A thread that dies does not set the event.
            with trio.CancelScope(shield=bool(cancelled)), trio.move_on_after(LOST_SECONDS):
                await ended.wait()
        except trio.Cancelled:  # the next checkpoint after the job raises it again
            cancelled.append(True)


def is_cancelled() -> bool:
    """Whether the caller of in_thread() was cancelled; for the job in that thread."""
    return bool(getattr(_own, "cancelled", ()))


def wait_for_all() -> None:
    """Wait for the threads that are left when trio itself has broken down."""
    while _waited_for:
        try:
            _waited_for.pop().wait()
        except BaseException:  # wait for the others all the same
            continue
