"""verify: send frames over links, and see what arrives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from kokofast.drivers import run_all
from kokofast.engine.frame_window import MOST_POLL_SECONDS, POLL_SECONDS, Shared, Window
from kokofast.engine.wires import wires_of_file, wires_of_labs
from kokofast.verification.expect import probes_for
from kokofast.verification.judge import judge
from kokofast.verification.ports import BATCH, DEPLOY
from kokofast.verification.probes import SHORT, Shot
from kokofast.wire.probe import NONCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.engine.wires import Wires
    from kokofast.host.kernel import Kernel
    from kokofast.topology.model import Topology
    from kokofast.verification.crossing import Across
    from kokofast.verification.probes import Probe

    T = TypeVar("T")

DEFAULT_PATIENCE = 10.0
# Namespaces with a socket at a time. Kernels before 6.15 show each packet of the machine to each of the sockets.
WINDOW = 512
INSIST_WINDOW = 2048  # where frames take their time, and windows would wait one after the other
SENT_AT_ONCE = 64  # probes, until the sockets are read
# Bytes of buffers that frames may take until their socket is read: less than it has without rights (net.core.rmem_max,
# 208 KiB, and that twice).
UNREAD_BYTES = 128 << 10
SEARCH_SECONDS = 0.2


async def verify(
    source: str | Topology | None,
    driver: Driver,
    kernel: Kernel,
    *,
    patience: float = DEFAULT_PATIENCE,
    runtime_timeout: float,
    across: Across | None = None,
    progress: Progress | None = None,
) -> Wires:
    """Check whether links carry: those of a lab, of a file, or of all labs (None).

    Args:
        source: The name of a lab, or a topology.
        driver: Runs the blocking work.
        kernel: The kernel.
        patience: Seconds to wait for frames at most.
        runtime_timeout: Seconds that a container daemon may be silent.
        across: The links to other hosts, on which verify runs at the same time.
        progress: Called with (stage, done, total).
    """
    began = driver.now()
    cure = BATCH if across is None else DEPLOY
    if source is None or isinstance(source, str):
        found = await wires_of_labs(source, driver, kernel, progress)
    else:
        found = await wires_of_file(source, driver, kernel, progress, runtime_timeout=runtime_timeout, cure=cure)
    probes = probes_for(found.wires, across.links.keys() if across is not None else (), cure)
    if across is not None:  # first: the others wait
        from kokofast.engine.crossing import cross  # only labs on many hosts need it

        await cross(found, across, driver, kernel, began=began, patience=patience, progress=progress)
    run = _Run(found, probes, driver, kernel, patience)
    run.progress = progress
    await run.go()
    judge(probes, found.title_of, patience)
    return found


class _Run:
    """Sends probes, in windows of a few namespaces each."""

    progress: Progress | None = None

    def __init__(self, found: Wires, probes: Sequence[Probe], driver: Driver, kernel: Kernel, patience: float) -> None:
        self._probes = probes
        self._driver = driver
        self._patience = patience
        self._shared = Shared(found.survey.handles, kernel, os.urandom(NONCE_BYTES))
        self._done = 0

    async def go(self) -> None:
        """Send all, and send again what did not arrive at once."""
        try:
            size = min(WINDOW, self._shared.most)
            for window in windows((probe for probe in self._probes if probe.is_clean), size):
                await self._in_worker(lambda window=window: self._send_once(window))  # type: ignore[misc]
                self._report(window)
            left = [probe for probe in self._probes if not probe.is_done()]
            for window in windows(left, min(INSIST_WINDOW, self._shared.most)):
                await self._insist(window)
            lost = [probe for probe in left if _is_lost(probe)]
            for window in windows(lost, min(WINDOW, self._shared.most)):
                await self._search(window)
        finally:
            self._shared.wait()

    def _report(self, window: Sequence[Probe]) -> None:
        self._done += len(window)
        if self.progress is not None:
            self.progress("verify", self._done, len(self._probes))

    async def _in_worker(self, job: Callable[[], T]) -> T:
        answers: list[T] = []

        def execute(_: Sequence[None]) -> list[T]:
            return [job()]

        await run_all(
            self._driver, [None], execute, workers=1, chunk=1, report=lambda _, answer: answers.append(answer)
        )
        return answers[0]

    def _send_once(self, window: Sequence[Probe]) -> None:
        """Send each probe, and read what has arrived before the sockets are full."""
        with Window(self._shared, window) as here:
            unread: dict[int, int] = {}
            for probe in window:
                sent = here.send(probe)
                for ns in probe.namespaces():
                    unread[ns] = unread.get(ns, 0) + sent
                    if unread[ns] > UNREAD_BYTES:
                        here.receive((ns,))
                        unread[ns] = 0
            here.receive(here.sockets)

    async def _insist(self, window: Sequence[Probe]) -> None:
        """Send probes until they have arrived, as often and as long as their links call for."""
        here = await self._in_worker(lambda: Window(self._shared, window).__enter__())
        try:
            tries = dict.fromkeys(window, 0)
            now = 0.0  # seconds slept: what else takes its time is on top, as on a busy machine
            pause = POLL_SECONDS
            while tries:
                for probe in [one for one in tries if one.is_done() or now > min(one.seconds(), self._patience)]:
                    del tries[probe]
                due = [one for one, count in tries.items() if count < one.tries and now >= count * one.interval]
                for at in range(0, max(len(due), 1), SENT_AT_ONCE):
                    chosen = due[at : at + SENT_AT_ONCE]
                    await self._in_worker(lambda chosen=chosen: here.exchange(chosen))  # type: ignore[misc]
                for probe in due:
                    tries[probe] += 1
                if any(not probe.is_done() for probe in tries):
                    await self._driver.sleep(pause)
                    now += pause
                    pause = min(pause * 1.5, MOST_POLL_SECONDS)
        finally:
            here.__exit__()

    async def _search(self, window: Sequence[Probe]) -> None:
        """Find where frames go that do not arrive where they should: look in all namespaces, as far as possible."""
        others = [number for number, handle in enumerate(self._shared.handles) if handle is not None]
        here = await self._in_worker(lambda: Window(self._shared, window, others[: self._shared.most]).__enter__())
        try:
            for at in range(0, len(window), SENT_AT_ONCE):
                chosen = window[at : at + SENT_AT_ONCE]
                await self._in_worker(lambda chosen=chosen: here.exchange(chosen))  # type: ignore[misc]
            await self._driver.sleep(SEARCH_SECONDS)
            await self._in_worker(lambda: here.receive(here.sockets))
        finally:
            here.__exit__()


def _is_lost(probe: Probe) -> bool:
    """Return whether nothing of it arrives, as if the link led elsewhere."""
    if not isinstance(probe, Shot) or probe.in_lan or not probe.is_clean:
        return False
    return any(not path.arrived & SHORT for path in probe.paths)


def windows(probes: Iterable[Probe], size: int) -> Iterator[list[Probe]]:
    """Yield probes one after the other, as many as are in so many namespaces."""
    found: list[Probe] = []
    inside: set[int] = set()
    for probe in probes:
        needed = probe.namespaces()
        if found and len(inside) + len(needed - inside) > size:
            yield found
            found, inside = [], set()
        found.append(probe)
        inside |= needed
    if found:
        yield found
