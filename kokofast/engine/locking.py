"""Waits for the lock of a lab."""

from __future__ import annotations

from kokofast.host.lock import LabLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.drivers.driver import Driver

POLL_SECONDS = 0.05
POLLS_UNTIL_TOLD = 10  # half a second: a wait that a user notices


class LabLocked:
    """A block that holds the lock of the lab, with None that of all labs, where it is needed.

    Gives a line for the user where the lock cannot be had. Calls waits once, when another run has held it for half a
    second.
    """

    def __init__(
        self, driver: Driver, lab: str | None, *, needed: bool = True, waits: Callable[[], object] | None = None
    ) -> None:
        self._driver = driver
        self._lock = LabLock(lab)
        self._needed = needed
        self._waits = waits

    async def __aenter__(self) -> list[str]:
        if not self._needed:
            return []
        polls = 0
        try:
            while not self._lock.acquire():
                if polls == POLLS_UNTIL_TOLD and self._waits is not None:
                    self._waits()
                polls += 1
                await self._driver.sleep(POLL_SECONDS)
        except BaseException:
            self._lock.release()
            raise
        return self._lock.notes()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
