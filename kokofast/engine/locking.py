"""Waits for the lock of a lab."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from kokofast.host.lock import LabLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POLL_SECONDS = 0.05


@asynccontextmanager
async def lab_locked(lab: str | None, *, needed: bool = True) -> AsyncIterator[list[str]]:
    """Holds the lock of the lab, with None that of all labs, for the block, where it is needed. Gives a line for the
    user where it cannot be had."""
    if not needed:
        yield []
        return
    lock = LabLock(lab)
    try:
        while not lock.acquire():  # noqa: ASYNC110 - another process has it, whose end is no event of ours
            await trio.sleep(POLL_SECONDS)
        yield lock.notes()
    finally:
        lock.release()
