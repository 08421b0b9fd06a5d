"""The wait of a batch until `kokofast confirm` says whether what it made stays, and the side that says it."""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from kokofast.engine.result import ROLLED_BACK, UNCHANGED, Failure, Result
from kokofast.host.confirmation import KEEP, LOOK, REVERT, Inlet, connect, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from kokofast.drivers import Driver

DAY = 86400.0
PAUSE_SECONDS = 0.1  # when a client cannot be accepted, which may be so for a while
PART = 1 << 16

_NOBODY = (errno.ENOENT, errno.ECONNREFUSED)


class Confirmation:
    """The wait of one run.

    Args:
        lab: The name of the lab.
        seconds: How long to wait.
        tell: Called with seconds when the run waits, and can be confirmed. What it raises ends the run.
    """

    def __init__(self, lab: str, seconds: float, tell: Callable[[float], object] = lambda _: None) -> None:
        self.lab = lab
        self.seconds = seconds
        self._tell = tell
        self._inlet: Inlet | None = None

    def open(self, notes: Sequence[str]) -> None:
        """Make the place to confirm at. notes say why the lab's lock is not held. Raises OSError."""
        if notes:
            raise OSError(errno.EACCES, f"this run could not be confirmed: {'; '.join(notes)}")
        try:
            self._inlet = Inlet(self.lab)
        except OSError as error:
            words = f"this run could not be confirmed: {path_of(self.lab)}: {_reason(error)}"
            raise OSError(error.errno, words) from error

    async def wait(self, driver: Driver, result: Result) -> Failure | None:
        """Wait; return why nothing is to be kept, None if it is."""
        with result.stage("confirm"):
            return await self._wait(driver)

    async def _wait(self, driver: Driver) -> Failure | None:
        inlet = self._inlet
        assert inlet is not None
        inlet.listen()
        end = driver.now() + self.seconds
        self._tell(self.seconds)
        while True:
            left = end - driver.now()
            try:
                word = self._receive(inlet, left)
            except OSError:  # out of descriptors
                await driver.sleep(PAUSE_SECONDS)
                word = None
            if word == KEEP:
                return None
            if word == REVERT:
                return Failure("", f"not kept: 'kokofast confirm {self.lab} --revert' was run")
            if left <= 0:
                cure = f"run 'kokofast confirm {self.lab}' in time"
                return Failure("", f"not confirmed within {plain(self.seconds)} s; {cure}")
            await driver.wait_readable(inlet.fileno(), left)

    def _receive(self, inlet: Inlet, left: float) -> str | None:
        """Return the first word that decides. Answer those who only look."""
        for client, word in inlet.receive():
            if word != LOOK:
                return word
            inlet.answer(client, json.dumps(waiting(self.lab, max(left, 0.0))))
        return None

    def close(self) -> None:
        """Remove the socket. Call it before the lab's lock is released: the next run makes its own there."""
        if self._inlet is not None:
            self._inlet.remove()

    def answer(self, result: Result, interruption: str = "") -> None:
        """Tell all who have asked how the run has ended, and what interrupted it, if the result does not say so."""
        inlet, self._inlet = self._inlet, None
        if inlet is None:
            return
        found = result.as_dict()
        if interruption:
            found["errors"] = [error.as_dict() for error in (*result.errors, Failure("", interruption))]
            found["status"] = ROLLED_BACK if result.status == UNCHANGED else result.status
        inlet.answer_all(json.dumps(found))
        inlet.close()


def plain(seconds: float) -> float:
    """Return a number of seconds as a user would write it."""
    return int(seconds) if seconds == int(seconds) else seconds


def waiting(lab: str, seconds: float) -> dict[str, object]:
    """Return the event of a run that waits for so long."""
    return {"event": "waiting", "lab": lab, "seconds": plain(round(seconds, 3))}


async def confirm(lab: str, driver: Driver, *, revert: bool = False) -> Result:
    """Tell the run of the lab that waits to keep what it made, or to take it back. Return its result.

    Raises:
        ProcessLookupError: None waits.
        ConnectionResetError: It has ended without a result.
        OSError: It cannot be asked.
    """
    return result_of(await _ask(lab, REVERT if revert else KEEP, driver))


async def look(lab: str, driver: Driver) -> Mapping[str, Any]:
    """Return the event of the run of the lab that waits, with the seconds that are left. Raises as confirm()."""
    found = await _ask(lab, LOOK, driver)
    if "event" not in found:  # it has ended meanwhile
        raise _nobody(lab)
    return found


async def _ask(lab: str, word: str, driver: Driver) -> Mapping[str, Any]:
    try:
        connection = connect(lab)
    except OSError as error:
        if error.errno in _NOBODY:
            raise _nobody(lab) from None
        raise OSError(error.errno, f"the batch of the lab {lab} cannot be asked: {_reason(error)}") from error
    parts: list[bytes] = []
    with connection:
        with suppress(BrokenPipeError):  # it answers without having heard us
            connection.sendall(f"{word}\n".encode())
        try:
            while True:
                await driver.wait_readable(connection.fileno(), DAY)
                try:
                    part = connection.recv(PART)
                except BlockingIOError:
                    continue
                if not part:
                    break
                parts.append(part)
        except ConnectionResetError:  # killed
            pass
    try:
        found: Mapping[str, Any] = json.loads(b"".join(parts))
    except ValueError:
        words = f"the batch of the lab {lab} ended without a result; 'kokofast inspect {lab}' shows what is there"
        raise ConnectionResetError(errno.ECONNRESET, words) from None
    return found


def _nobody(lab: str) -> OSError:
    return ProcessLookupError(errno.ESRCH, f"no batch of the lab {lab} waits to be confirmed")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def result_of(found: Mapping[str, Any]) -> Result:
    """Return the result that Result.as_dict() has described."""
    result = Result(found["lab"], found["status"])
    result.links, result.namespaces = found["links"], found["namespaces"]
    result.seconds = {stage: taken for stage, taken in found["seconds"].items() if stage != "total"}
    result.errors = [Failure(**error) for error in found["errors"]]
    result.workers = found.get("workers")
    result.left, result.notes = found.get("left", []), found.get("notes", [])
    return result
