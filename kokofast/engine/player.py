"""Play a timeline on a session. Each epoch is prepared ahead, and carried out at its time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kokofast.drivers import POLL_SECONDS
from kokofast.engine.result import APPLIED, INVALID, PARTIAL, UNCHANGED, Result, failure_of
from kokofast.topology.change import make_change
from kokofast.topology.problems import Problem, TopologyError
from kokofast.topology.values import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from kokofast.drivers import Driver
    from kokofast.engine.session import Prepared, Session
    from kokofast.timeline.epoch import Command, Epoch
    from kokofast.topology.delta import Delta
    from kokofast.topology.live import LiveTopology

    class Source(Protocol):
        """The epochs of a timeline."""

        def is_ready(self) -> bool:
            """Return whether next() returns at once."""

        async def next(self) -> Epoch | TopologyError | None:
            """Return the next epoch, the error of an invalid one, or None at the end.

            An epoch without a time is due now.
            """


class Played:
    """The outcome of an epoch, or of several that were done as one. Times are in seconds after the start.

    Attributes:
        epochs: The epochs, the newest last.
        at: The time of the newest in the timeline.
        due: When it should have begun.
        begun: When it began.
        done: When it ended.
        result: What was done.
        commands: The commands that were started: node, pid.
    """

    def __init__(self, epochs: Sequence[Epoch], at: float, due: float) -> None:
        self.epochs = epochs
        self.at = at
        self.due = due
        self.begun = self.done = 0.0
        self.result = Result("", UNCHANGED)
        self.commands: list[tuple[str, int]] = []

    @property
    def is_good(self) -> bool:
        """Whether all of it was done."""
        return self.result.status in (APPLIED, UNCHANGED)

    @property
    def lateness(self) -> float:
        """Return how late it began."""
        return max(self.begun - self.due, 0.0)


class Player:
    """Plays epochs.

    Args:
        session: The lab.
        driver: Waits.
        source: Where the epochs come from.
        report: Called after each epoch.
        run: Starts a command, and returns its pid. Raises OSError.
        speed: How many seconds of the timeline go by in one.
        first: Epochs before this time are done at once, at the start.
        until: Epochs after this time are left out.
        skips: Whether epochs whose time is over are merged into the newest.
        goes_on: Whether to go on after an epoch that failed.
        waiting: Called again and again while the time of an epoch has not come, with the present time of the timeline
            and that of the epoch.
        clock: Returns the seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        session: Session,
        driver: Driver,
        source: Source,
        report: Callable[[Played], object],
        run: Callable[[Command], int],
        *,
        speed: float = 1.0,
        first: float = 0.0,
        until: float | None = None,
        skips: bool = True,
        goes_on: bool = False,
        waiting: Callable[[float, float], object] = lambda _, __: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._driver = driver
        self._source = source
        self._report = report
        self._run = run
        self._speed = speed
        self._first = first
        self._until = until
        self._skips = skips
        self._goes_on = goes_on
        self._waiting = waiting
        self._clock = clock
        self._start = 0.0
        self._ahead: list[Epoch | TopologyError | None] = []

    async def play(self, start: float | None = None) -> bool:
        """Play all epochs; return whether all went well, or False at the first failure unless it goes on.

        start is when the timeline begins, by the clock; None for now.
        """
        self._start = self._clock() if start is None else start
        well = True
        while (epoch := await self._next()) is not None:
            played = await self._play(epoch)
            self._report(played)
            if not played.is_good:
                well = False
                if not self._goes_on:
                    break
        return well

    @property
    def now(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self._start

    def _time(self, seconds: float) -> float:
        """Return the time of the timeline so many seconds after the start."""
        return self._first + seconds * self._speed

    def _due(self, epoch: Epoch) -> float:
        """Return when an epoch should begin, in seconds after the start."""
        return self.now if epoch.at is None else max(epoch.at - self._first, 0.0) / self._speed

    async def _next(self) -> Epoch | TopologyError | None:
        found = self._ahead.pop() if self._ahead else await self._source.next()
        if isinstance(found, TopologyError) or found is None or found.at is None:
            return found
        return None if self._until is not None and found.at > self._until else found

    async def _follower(self, is_old: Callable[[Epoch], bool]) -> Epoch | None:
        """Return the next epoch if its time is over; otherwise keep it for later. Do not wait for one."""
        if not self._ahead and not self._source.is_ready():
            return None
        found = await self._next()
        if found is not None and not isinstance(found, TopologyError) and found.at is not None and is_old(found):
            return found
        self._ahead.append(found)
        return None

    async def _play(self, epoch: Epoch | TopologyError) -> Played:
        if isinstance(epoch, TopologyError):
            return self._refused([], self.now, epoch)
        epochs = [epoch]
        due = self._due(epoch)
        try:
            delta = change(self._session.live, epoch)
        except TopologyError as error:
            await self._wait(due)
            return self._refused(epochs, due, error)
        is_before = epoch.at is not None and epoch.at < self._first

        def is_old(other: Epoch) -> bool:
            assert other.at is not None
            return (is_before and other.at <= self._first) or (self._skips and self._due(other) <= self.now)

        if is_before or (self._skips and epoch.at is not None and due <= self.now):
            while (follower := await self._follower(is_old)) is not None:
                try:
                    later = change(self._session.live, follower)
                except TopologyError:
                    self._ahead.append(follower)  # it is refused on its own
                    break
                delta.follow(later)
                epochs.append(follower)
            due = self._due(epochs[-1])
        delta.settle()
        prepared = await self._session.prepare(delta)
        await self._wait(due)
        return await self._carry_out(epochs, due, prepared)

    async def _carry_out(self, epochs: Sequence[Epoch], due: float, prepared: Prepared) -> Played:
        played = Played(epochs, self._at(epochs), due)
        played.begun = self.now
        played.result = await self._session.carry_out(prepared)
        if played.is_good:
            for command in (command for epoch in epochs for command in epoch.commands):
                try:
                    played.commands.append((command.node, self._run(command)))
                except OSError as error:
                    played.result.status = PARTIAL
                    words = f"{command.arguments[0]!r} cannot be run: {error.strerror or error}"
                    played.result.errors.append(failure_of(Problem(command.place, words), error.errno))
        played.done = self.now
        return played

    def _at(self, epochs: Sequence[Epoch]) -> float:
        return next((epoch.at for epoch in reversed(epochs) if epoch.at is not None), self.now * self._speed)

    def _refused(self, epochs: Sequence[Epoch], due: float, error: TopologyError) -> Played:
        played = Played(epochs, self._at(epochs), due)
        played.begun = played.done = self.now
        played.result.status = INVALID
        played.result.errors = list(map(failure_of, error.problems))
        return played

    async def _wait(self, due: float) -> None:
        """Wait until a time, in short steps: a signal ends the wait."""
        while (left := due - self.now) > 0:
            self._waiting(self._time(self.now), self._time(due))
            await self._driver.sleep(min(left, POLL_SECONDS))


def change(live: LiveTopology, epoch: Epoch) -> Delta:
    """Make the changes of an epoch, and return what they do. Raises TopologyError, and changes nothing then."""
    delta = make_change(live, epoch.changes, epoch.where)
    problems = [
        Problem(f"{command.place}.node", f"the lab has no node {quote(command.node)} at this time")
        for command in epoch.commands
        if command.node not in live.nodes
    ]
    if problems:
        live.undo(delta)
        raise TopologyError(problems)
    return delta
