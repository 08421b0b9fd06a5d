"""Run a job under trio until it ends, or a signal stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from kokofast.drivers import Stopped
from kokofast.drivers.warmup import leaves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kokofast.drivers import Stop

T = TypeVar("T")


def run_until_stopped(stop: Stop, job: Callable[[], Awaitable[T]]) -> T:
    """Run the job and return its result. Raises Stopped when a signal has cancelled it."""
    answers: list[T] = []

    async def section() -> None:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope, stop.calling(lambda: token.run_sync_soon(scope.cancel)):
            answers.append(await job())

    try:
        trio.run(section)
    except BaseExceptionGroup as group:
        raise next(leaves(group)) from group
    if not answers:
        raise Stopped
    return answers[0]
