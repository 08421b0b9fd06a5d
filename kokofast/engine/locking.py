"""Waits for the lock of a lab."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from kokofast.host.lock import LabLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

POLL_SECONDS = 0.05
POLLS_UNTIL_TOLD = 10  # half a second: a wait that a user notices


@asynccontextmanager
async def lab_locked(
    lab: str | None, *, needed: bool = True, waits: Callable[[], object] | None = None
) -> AsyncIterator[list[str]]:
    """Holds the lock of the lab, with None that of all labs, for the block, where it is needed. Gives a line for the
    user where it cannot be had. Calls waits once, when another run has held it for half a second."""
    if not needed:
        yield []
        return
    lock = LabLock(lab)
    polls = 0
    try:
        while not lock.acquire():
            if polls == POLLS_UNTIL_TOLD and waits is not None:
                waits()
            polls += 1
            await trio.sleep(POLL_SECONDS)
        yield lock.notes()
    finally:
        lock.release()
