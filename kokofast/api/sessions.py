"""Sessions: a lab that stays open for changes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import trio

from kokofast.api.calls import ApplyError, public
from kokofast.api.checks import check_jobs, check_outputs, check_timeout, check_topology, need
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine import session as _session
from kokofast.engine.result import APPLIED, INVALID, UNCHANGED, Result, failure_of
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.host.kernel import LinuxKernel
from kokofast.host.limits import TO_WIRE
from kokofast.topology import TopologyError
from kokofast.topology.code import Topology, public_topology
from kokofast.topology.values import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.engine.result_types import Progress
    from kokofast.topology import model


class Session:
    """A lab whose links change while it is up: see session()."""

    def __init__(self, running: _session.Session) -> None:
        self._running = running
        self._one_at_a_time = trio.Lock()

    @property
    def topology(self) -> Topology:
        """The lab as it is by now."""
        return public_topology(self._running.live.whole())

    @property
    def result(self) -> Result:
        """What was done to bring the lab up."""
        return self._running.result

    async def apply(self, changes: Mapping[str, Any]) -> Result:
        """Carry out a change, all or nothing, and return what was done. It costs what it touches, not the whole lab.

        changes is an entry of a timeline without its time: {"set": [...], "add": [...], "remove": [...]}. Those of
        several tasks or threads are made one after the other, and the end of the block waits for one that has begun.

        Raises ApplyError when the change cannot be made: the state before stays. Its result has the reasons. With the
        status "partial" all was done but something: result.errors and result.left say what.
        """
        async with self._one_at_a_time:
            return await _apply_changes(self._running, changes)


class BlockingSession(Session):
    """The same for programs without trio: apply() blocks."""

    def __init__(self, running: _session.Session) -> None:
        super().__init__(running)
        self._one_thread = threading.Lock()

    def apply(self, changes: Mapping[str, Any]) -> Result:  # type: ignore[override]
        """Carry out a change: see Session.apply()."""
        with self._one_thread:
            return trio.run(_apply_changes, self._running, changes)

    @property
    def topology(self) -> Topology:
        """The lab as it is by now; wait for a change that another thread has begun."""
        with self._one_thread:
            return super().topology


class session:
    """Bring a lab up, and keep it open for changes: a block that yields a Session.

    Links of the lab that are not in the topology are removed first, as by apply(prune=True).
    Under trio it is ``async with``, and apply() is awaited. With a plain ``with`` apply() blocks; from asyncio call
    that by ``await asyncio.to_thread(lab.apply, changes)``.

    Other runs of kokofast on the lab wait until the block ends. The lab stays then: destroy() removes it. jobs,
    runtime_timeout and progress are as for apply(). Entering the block raises ApplyError when the lab cannot be brought
    up, otherwise as apply().
    """

    def __init__(
        self,
        topology: model.Topology,
        *,
        jobs: int | None = None,
        runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
        progress: Progress | None = None,
    ) -> None:
        self._topology = check_topology(topology)
        check_jobs(jobs)
        check_timeout(runtime_timeout)
        check_outputs(progress)
        self._options: dict[str, Any] = {"jobs": jobs, "runtime_timeout": runtime_timeout, "progress": progress}

    async def __aenter__(self) -> Session:
        await _open_session(self)
        self._session = Session(self._running)
        return self._session

    async def __aexit__(self, *_: object) -> None:
        # A change that another task has begun needs the lock of the lab and the descriptors to its end.
        with trio.CancelScope(shield=True):
            async with self._session._one_at_a_time:
                await self._close()

    def __enter__(self) -> BlockingSession:
        trio.run(_open_session, self)
        self._blocking = BlockingSession(self._running)
        return self._blocking

    def __exit__(self, *_: object) -> None:
        with self._blocking._one_thread:  # as in __aexit__()
            trio.run(self._close)

    async def _open(self) -> None:
        need(TO_WIRE, "session")
        self._kernel = LinuxKernel()
        try:
            self._running = _session.Session(self._topology, TrioDriver(), self._kernel, **self._options)
            await self._running.__aenter__()
            if self._running.result.status not in (APPLIED, UNCHANGED):
                await self._running.__aexit__()
                raise ApplyError(self._running.result)
        except BaseException:
            self._kernel.close()
            raise

    async def _close(self) -> None:
        try:
            await self._running.__aexit__()
        finally:
            self._kernel.close()


@public
async def _open_session(opened: session) -> None:
    await opened._open()


@public
async def _apply_changes(running: _session.Session, changes: Mapping[str, Any]) -> Result:
    if running.has_ended:
        raise RuntimeError("the block of this session has ended: other runs may change the lab")
    if not isinstance(changes, dict):
        raise TypeError(f"changes are a dict, not {quote(changes)}")
    try:
        result = await running.apply(changes, lambda path: path)
    except TopologyError as error:
        result = Result(running.live.name, INVALID)
        result.errors = list(map(failure_of, error.problems))
    if result.status not in (APPLIED, UNCHANGED):
        raise ApplyError(result)
    return result
