"""verify: send frames over links, and see what arrives."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from kokofast.drivers import run_all
from kokofast.engine.wires import wires_of_file, wires_of_labs
from kokofast.verification.expect import probes_for
from kokofast.verification.judge import judge
from kokofast.verification.probes import FULL, SHORT, Question, Shot
from kokofast.wire.probe import NONCE_BYTES, answer_of, filter_of, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.engine.wires import Wires
    from kokofast.host.frames import Frames, FrameSocket
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.topology.model import Topology
    from kokofast.verification.probes import Probe

    T = TypeVar("T")

DEFAULT_PATIENCE = 10.0
# Namespaces with a socket at a time. Kernels before 6.15 show each packet of the machine to each of the sockets.
WINDOW = 512
# Windows whose sockets are being closed: on a busy machine that takes longer than the next window.
CLOSING_WINDOWS = 3
INSIST_WINDOW = 2048  # where frames take their time, and windows would wait one after the other
SENT_AT_ONCE = 64  # probes, until the sockets are read
# Bytes of buffers that frames may take until their socket is read: less than it has without rights (net.core.rmem_max,
# 208 KiB, and that twice).
UNREAD_BYTES = 128 << 10
OVERHEAD = 1 << 10  # of a buffer: the kernel's structures
POLL_SECONDS = 0.002  # at first
MOST_POLL_SECONDS = 0.02
SEARCH_SECONDS = 0.2


async def verify(
    source: str | Topology | None,
    driver: Driver,
    kernel: Kernel,
    *,
    patience: float = DEFAULT_PATIENCE,
    runtime_timeout: float,
    progress: Progress | None = None,
) -> Wires:
    """Check whether links carry: those of a lab, of a file, or of all labs (None).

    Args:
        source: The name of a lab, or a topology.
        driver: Runs the blocking work.
        kernel: The kernel.
        patience: Seconds to wait for frames at most.
        runtime_timeout: Seconds that a container daemon may be silent.
        progress: Called with (stage, done, total).
    """
    if source is None or isinstance(source, str):
        found = await wires_of_labs(source, driver, kernel, progress)
    else:
        found = await wires_of_file(source, driver, kernel, progress, runtime_timeout=runtime_timeout)
    probes = probes_for(found.wires)
    run = _Run(found, probes, driver, kernel, patience)
    run.progress = progress
    await run.go()
    judge(probes, found.title_of, patience)
    return found


class _Run:
    """Sends probes, in windows of a few namespaces each."""

    progress: Progress | None = None

    def __init__(self, found: Wires, probes: Sequence[Probe], driver: Driver, kernel: Kernel, patience: float) -> None:
        self._handles = found.survey.handles
        self._probes = probes
        self._driver = driver
        self._kernel = kernel
        self._patience = patience
        self._nonce = os.urandom(NONCE_BYTES)
        self._program = filter_of(self._nonce)
        # A namespace takes two descriptors, and the sockets of the windows before are still being closed.
        self._most = max(kernel.capacity * 2 // (2 + CLOSING_WINDOWS), 2)
        self._closing: list[Frames] = []
        self._done = 0

    async def go(self) -> None:
        """Send all, and send again what did not arrive at once."""
        try:
            size = min(WINDOW, self._most)
            for window in windows((probe for probe in self._probes if probe.is_clean), size):
                await self._in_worker(lambda window=window: self._send_once(window))  # type: ignore[misc]
                self._report(window)
            left = [probe for probe in self._probes if not probe.is_done()]
            for window in windows(left, min(INSIST_WINDOW, self._most)):
                await self._insist(window)
            lost = [probe for probe in left if _is_lost(probe)]
            for window in windows(lost, min(WINDOW, self._most)):
                await self._search(window)
        finally:
            for frames in self._closing:
                frames.wait()

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
        with _Window(self, window) as here:
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
        here = await self._in_worker(lambda: _Window(self, window).__enter__())
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
        others = [number for number, handle in enumerate(self._handles) if handle is not None]
        here = await self._in_worker(lambda: _Window(self, window, others[: self._most]).__enter__())
        try:
            for at in range(0, len(window), SENT_AT_ONCE):
                chosen = window[at : at + SENT_AT_ONCE]
                await self._in_worker(lambda chosen=chosen: here.exchange(chosen))  # type: ignore[misc]
            await self._driver.sleep(SEARCH_SECONDS)
            await self._in_worker(lambda: here.receive(here.sockets))
        finally:
            here.__exit__()


class _Window:
    """Sockets in the namespaces of some probes, and in some more."""

    def __init__(self, run: _Run, probes: Sequence[Probe], more: Iterable[int] = ()) -> None:
        self._run = run
        self._shots = {probe.number: probe for probe in probes if isinstance(probe, Shot)}
        self._questions = {
            (probe.sender.ns, probe.sender.ifname, probe.address): probe
            for probe in probes
            if isinstance(probe, Question)
        }
        numbers = dict.fromkeys(more)
        for probe in probes:
            numbers.update(dict.fromkeys(probe.namespaces()))
        self._numbers = list(numbers)
        self._using = ExitStack()
        self.sockets: dict[int, FrameSocket | OSError] = {}

    def __enter__(self) -> _Window:
        found = self._run._handles
        held = self._hold({number: handle for number in self._numbers if (handle := found[number]) is not None})
        try:
            self._frames = self._run._kernel.open_frames(list(held.values()), self._run._program)
        except BaseException:
            self._using.close()
            raise
        self.sockets.update(zip(held, self._frames.sockets, strict=True))
        return self

    def _hold(self, handles: dict[int, Handle]) -> dict[int, Handle]:
        """Keep namespaces open, and return those that are still there."""
        kernel = self._run._kernel
        try:
            self._using.enter_context(kernel.using(list(handles.values()), to_ask=False))
        except OSError:  # one of them had to be opened again, and is gone: find it
            pass
        else:
            return handles
        held: dict[int, Handle] = {}
        for number, handle in handles.items():
            try:
                self._using.enter_context(kernel.using([handle], to_ask=False))
            except OSError as error:
                self.sockets[number] = error
            else:
                held[number] = handle
        return held

    def __exit__(self, *_: object) -> None:
        closing = self._run._closing
        while len(closing) >= CLOSING_WINDOWS:
            closing.pop(0).wait()
        closing.append(self._frames)
        self._frames.begin_to_close()
        self._using.close()

    def send(self, probe: Probe) -> int:
        """Send what has not arrived yet of a probe; return how many bytes that takes of a receiver's buffer at most."""
        socket = self.sockets[probe.sender.ns]
        sent = 0
        try:
            if isinstance(socket, OSError):
                raise socket
            for data in probe.pending(self._run._nonce):
                socket.send(probe.sender.ifname, data)
                sent += 2 * len(data) + OVERHEAD
        except OSError as error:
            probe.refusal = error
        else:
            probe.refusal = None
        probe.is_new = False
        return sent

    def receive(self, namespaces: Iterable[int]) -> None:
        """Note what has arrived in some namespaces."""
        for ns in namespaces:
            socket = self.sockets[ns]
            if not isinstance(socket, OSError):
                self._note(ns, socket.receive())

    def _note(self, ns: int, received: Iterable[tuple[str, bytes]]) -> None:
        for ifname, data in received:
            found = number_of(data, self._run._nonce)
            if found is None:
                address = answer_of(data)
                question = self._questions.get((ns, ifname, address)) if address is not None else None
                if question is not None:
                    question.is_answered = True
            elif (shot := self._shots.get(found >> 2)) is not None:
                shot.arrive(found & (SHORT | FULL), ns, ifname)

    def exchange(self, probes: Iterable[Probe]) -> None:
        """Send probes, and note what has arrived by now."""
        for probe in probes:
            self.send(probe)
        self.receive(self.sockets)


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
