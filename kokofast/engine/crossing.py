"""verify: exchange frames with the runs of other hosts, over the links between hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.drivers import run_all
from kokofast.engine.frame_window import MOST_POLL_SECONDS, POLL_SECONDS, Shared, Window
from kokofast.verification.crossing import Crossing
from kokofast.verification.ports import Finding
from kokofast.wire.probe import answer_of, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.engine.wires import Wires
    from kokofast.host.kernel import Kernel
    from kokofast.verification.crossing import Across

# Links of the whole lab at a time, by their numbers, so that all hosts are at the same ones. Kernels before 6.15 show
# each packet of the machine to each socket.
WINDOW = 512
SENT_AT_ONCE = 64  # crossings, until the sockets are read
UNDONE = ("missing", "down")  # ends with these problems send nothing
FEW_DESCRIPTORS = "this run can open too few files; see ulimit -n"


def crossings_of(found: Wires, across: Across) -> list[Crossing]:
    """Return what can be exchanged over the links whose other ends are known."""
    crossings = []
    for wire in found.wires:
        far = across.links.get(wire.title)
        # In a file of somebody else's, an end may be that of a link within the host.
        if far is None or len(wire.ports) != 1 or any(one.check in UNDONE for one in wire.problems):
            continue
        (port,) = wire.ports
        if port.up and len(port.mac) == len(b"\xff" * 6):
            crossings.append(Crossing(wire, port, far))
    return crossings


async def cross(
    found: Wires,
    across: Across,
    driver: Driver,
    kernel: Kernel,
    *,
    began: float,
    patience: float,
    progress: Progress | None,
) -> None:
    """Exchange frames with other hosts, and add what does not arrive to the links.

    Args:
        found: The links.
        across: Their other ends.
        driver: Runs the blocking work.
        kernel: The kernel.
        began: When the run began, as of driver.now().
        patience: How many seconds to wait for frames of a host that has been heard.
        progress: Called with (stage, done, total).
    """
    crossings = crossings_of(found, across)
    by_window: dict[int, list[Crossing]] = {}
    for one in crossings:
        by_window.setdefault(one.far.number // WINDOW, []).append(one)
    shared = Shared(found.survey.handles, kernel, across.nonce)
    done = 0
    # Another host may be kept in each turn by one that is not heard, or by a link of one that is.
    turn = max(across.within, patience)
    try:
        for number, window in sorted(by_window.items()):
            meeting = _Meeting(driver, began + across.within + turn * number, patience)
            await meeting.hold(_fitting(window, shared.most), shared)
            done += len(window)
            if progress is not None:
                progress("exchange", done, len(crossings))
    finally:
        shared.wait()


def _fitting(window: Sequence[Crossing], most: int) -> list[Crossing]:
    """Return those for which there are descriptors; say so of the others."""
    inside: set[int] = set()
    fitting = []
    for one in window:
        if len(inside | one.namespaces()) > most:
            # The other host misses these frames, and cannot know why.
            text = f"no frames were sent by {one.sender.title} to {one.far.title}: {FEW_DESCRIPTORS}"
            one.wire.problems.append(Finding("carry", text))
            continue
        inside |= one.namespaces()
        fitting.append(one)
    return fitting


class _CrossingWindow(Window):
    """Sockets that receive frames of other hosts."""

    def __init__(self, shared: Shared, crossings: Sequence[Crossing]) -> None:
        super().__init__(shared, crossings)
        self._places = {(one.sender.ns, one.sender.ifname): one for one in crossings}

    def note(self, ns: int, received: Iterable[tuple[str, bytes]]) -> None:
        """Note what has arrived in a namespace: (interface, the beginning of a frame) each."""
        for ifname, data in received:
            crossing = self._places.get((ns, ifname))
            if crossing is None:
                continue
            number = number_of(data, self._shared.nonce)
            if number is None:
                address = answer_of(data)
                crossing.unanswered = {one for one in crossing.unanswered if one[1] != address}
            elif crossing.key(number) == (crossing.far.number, crossing.far.side):
                crossing.arrive(number, data[6:12], data[:6])


class _Meeting:
    """A window of links, over which both hosts send until all has arrived.

    Args:
        driver: Runs the blocking work.
        end: Until when to wait for a host that is not heard.
        patience: How many seconds to wait from when it was heard first.
    """

    def __init__(self, driver: Driver, end: float, patience: float) -> None:
        self._driver = driver
        self._end = end
        self._patience = patience
        self._heard: dict[str, float] = {}  # hosts: when first

    async def hold(self, crossings: Sequence[Crossing], shared: Shared) -> None:
        """Send, until all has arrived or the time is over."""
        began, pause = self._driver.now(), POLL_SECONDS
        here = _CrossingWindow(shared, crossings)
        await self._in_worker(here.__enter__)
        try:
            waiting = list(crossings)
            while waiting:
                now = self._driver.now()
                due = [one for one in crossings if one.is_due(now)]
                for at in range(0, max(len(due), 1), SENT_AT_ONCE):
                    chosen = due[at : at + SENT_AT_ONCE]
                    await self._in_worker(lambda chosen=chosen: here.exchange(chosen))  # type: ignore[misc]
                for one in crossings:
                    if one.is_greeted:
                        self._heard.setdefault(one.far.host, now)
                waiting = [one for one in waiting if not one.is_over() and now < self._end_of(one)]
                pause = POLL_SECONDS if due else min(pause * 1.5, MOST_POLL_SECONDS)
                if waiting:
                    await self._driver.sleep(pause)
        finally:
            here.__exit__()
        for one in crossings:
            one.judge(self._driver.now() - began)

    def _end_of(self, crossing: Crossing) -> float:
        heard = self._heard.get(crossing.far.host)
        return self._end if heard is None else heard + self._patience

    async def _in_worker(self, job: Callable[[], object]) -> None:
        def execute(_: Sequence[None]) -> list[None]:
            job()
            return [None]

        await run_all(self._driver, [None], execute, workers=1, chunk=1, report=lambda *_: None)
