"""A timeline is played by a clock that stands still: lateness, skipping and mistakes, to the millisecond."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from kokofast.drivers.inline import InlineDriver
from kokofast.ends import shaping
from kokofast.engine.player import Played, Player
from kokofast.engine.session import Session
from kokofast.timeline.epoch import Command, Epoch
from kokofast.topology import TopologyError, live
from kokofast.topology.problems import Problem
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import Links, lab
from tests.runs import apply as batch

LINKS: Links = [{"endpoints": ["a:e0", "b:e0"], "rate": "1mbit"}, {"endpoints": ["b:e1", "c:e1"]}]


class Driver(InlineDriver):
    """Does all work at once, and waits by trio's clock: where a thread works that clock would jump."""

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class Source:
    def __init__(self, epochs: Iterable[Epoch | TopologyError]) -> None:
        self.epochs = iter(epochs)

    def is_ready(self) -> bool:
        return True

    async def next(self) -> Epoch | TopologyError | None:
        return next(self.epochs, None)


class Program(Source):
    """Writes an epoch every ten seconds."""

    def is_ready(self) -> bool:
        return False

    async def next(self) -> Epoch | TopologyError | None:
        await trio.sleep(10)
        return await super().next()


class Stage:
    """A session, and what is reported. Each epoch takes as long as slow says."""

    def __init__(self, kernel: FakeKernel, slow: float = 0.0) -> None:
        self.kernel = kernel
        self.slow = slow
        self.played: list[Played] = []
        self.commands: list[Command] = []

    def run(self, command: Command) -> int:
        self.commands.append(command)
        if command.arguments[0] == "missing":
            raise FileNotFoundError(2, "No such file or directory")
        return 4711

    async def play(self, *epochs: Epoch | TopologyError, source: type[Source] = Source, **options: Any) -> bool:
        async with Session(lab(LINKS), Driver(), self.kernel) as session:
            if self.slow:
                quick = session.carry_out

                async def carry_out(prepared: Any) -> Any:
                    result = await quick(prepared)
                    await trio.sleep(self.slow)
                    return result

                session.carry_out = carry_out  # type: ignore[method-assign]
            player = Player(
                session,
                Driver(),
                source(epochs),
                self.played.append,
                self.run,
                clock=trio.current_time,
                **options,
            )
            well = await player.play()
        assert (await batch(session.live.whole(), kernel=self.kernel)).status == "unchanged"
        return well

    @property
    def times(self) -> list[tuple[float, float, float]]:
        """When each was to begin, when it began and when it ended."""
        return [(round(one.at, 3), round(one.begun, 3), round(one.done, 3)) for one in self.played]


def rate(at: float | None, rate: str, **more: Any) -> Epoch:
    return Epoch(at, f"t:{at}", {"set": [{"endpoint": "a:e0", "rate": rate}]}, **more)


Clock = trio.testing.MockClock


async def test_each_epoch_begins_at_its_time(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    stage = Stage(make_kernel(), slow=0.25)
    assert await stage.play(rate(0, "2mbit"), rate(1, "3mbit"), rate(2.5, "3mbit"))
    assert stage.times == [(0, 0, 0.25), (1, 1, 1.25), (2.5, 2.5, 2.75)]
    assert [one.result.status for one in stage.played] == ["applied", "applied", "unchanged"]


async def test_twice_as_fast_from_a_time_to_another(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    stage = Stage(make_kernel())
    epochs = [rate(at, f"{at + 2}mbit") for at in range(8)]
    assert await stage.play(*epochs, speed=2.0, first=3, until=5)
    assert stage.times == [(3, 0, 0), (4, 0.5, 0.5), (5, 1, 1)]
    assert [len(one.epochs) for one in stage.played] == [4, 1, 1]


async def test_the_wait_for_an_epoch_is_told_in_times_of_the_timeline(
    make_kernel: KernelFactory, autojump_clock: Clock
) -> None:
    stage = Stage(make_kernel())
    waits: list[tuple[float, float]] = []
    epochs = [rate(at, f"{at + 2}mbit") for at in range(6)]
    assert await stage.play(*epochs, speed=2.0, first=3, waiting=lambda now, at: waits.append((now, at)))
    assert {at for _, at in waits} == {4, 5}
    assert waits[0] == (3, 4)
    assert all(before <= after for (before, _), (after, _) in pairwise(waits))
    assert all(now <= at for now, at in waits)


async def test_behind_it_skips_to_the_newest(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    stage = Stage(make_kernel(), slow=2.5)
    assert await stage.play(*[rate(at, f"{at + 2}mbit") for at in range(6)])
    assert stage.times == [(0, 0, 2.5), (2, 2.5, 5), (5, 5, 7.5)]
    assert [len(one.epochs) for one in stage.played] == [1, 2, 3]
    assert round(max(one.lateness for one in stage.played), 3) == 0.5


async def test_behind_it_does_all_in_order(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    stage = Stage(make_kernel(), slow=1.5)
    assert await stage.play(*[rate(at, f"{at + 2}mbit") for at in range(3)], skips=False)
    assert stage.times == [(0, 0, 1.5), (1, 1.5, 3), (2, 3, 4.5)]
    assert [round(one.lateness, 3) for one in stage.played] == [0, 0.5, 1]


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_bad_epoch_is_refused_whole(make_kernel: KernelFactory, autojump_clock: Clock, goes_on: bool) -> None:
    stage = Stage(make_kernel())
    bad = Epoch(1, "t:7", {"set": [{"endpoint": "a:e0", "rate": "9mbit"}, {"endpoint": "a:e9", "rate": "9mbit"}]})
    unread = TopologyError([Problem("t:8", "not JSON")])
    assert not await stage.play(rate(0, "2mbit"), bad, unread, rate(2, "2mbit"), goes_on=goes_on)
    statuses = [one.result.status for one in stage.played]
    assert statuses == (["applied", "invalid", "invalid", "unchanged"] if goes_on else ["applied", "invalid"])
    assert str(stage.played[1].result.errors[0]) == "t:7 set[1].endpoint: there is no link 'a:e9' at this time"


async def test_a_bad_epoch_among_late_ones_is_refused_alone(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    stage = Stage(make_kernel(), slow=5)
    bad = Epoch(2, "t:7", {"remove": [["x", "y"]]})
    assert not await stage.play(rate(0, "2mbit"), rate(1, "3mbit"), bad, rate(3, "4mbit"), goes_on=True)
    assert [one.result.status for one in stage.played] == ["applied", "applied", "invalid", "applied"]


async def test_what_the_kernel_refuses_is_taken_back(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    kernel = make_kernel()
    stage = Stage(kernel)
    both = Epoch(1, "t:1", {"set": [{"endpoint": "a:e0", "rate": "2mbit"}, {"endpoint": "c:e1", "mtu": 1400}]})

    def refuse(request: object) -> None:
        if len(stage.played) == 1 and getattr(request, "attributes", {}).get("mtu") == 1400:
            kernel.refuse[kernel._count] = 12

    kernel.before = refuse
    assert not await stage.play(rate(0, "1mbit"), both, rate(2, "5mbit"), goes_on=True)
    assert [one.result.status for one in stage.played] == ["unchanged", "rolled_back", "applied"]
    assert stage.played[1].result.errors[0].source == "t:1 set[1]"


async def test_commands_come_after_the_changes(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    stage = Stage(make_kernel())
    ping, missing = Command("a", ("ping",), "t:1 run"), Command("a", ("missing",), "t:2 run")
    unknown = Command("x", ("ping",), "t:3 run")
    epochs = [rate(at, f"{at}mbit", commands=(one,)) for at, one in ((1, ping), (2, missing), (3, unknown))]
    assert not await stage.play(*epochs, goes_on=True)
    assert [one.commands for one in stage.played] == [[("a", 4711)], [], []]
    assert [str(error) for one in stage.played for error in one.result.errors] == [
        "t:2 run: 'missing' cannot be run: No such file or directory",
        "t:3 run.node: the lab has no node 'x' at this time",
    ]


async def test_without_a_time_it_is_done_at_once(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    stage = Stage(make_kernel(), slow=1)
    assert await stage.play(rate(None, "2mbit"), rate(None, "3mbit"))
    assert [(begun, done) for _, begun, done in stage.times] == [(0, 1), (1, 2)]


async def test_a_late_epoch_does_not_wait_for_one_that_a_program_has_not_written_yet(
    make_kernel: KernelFactory, autojump_clock: Clock
) -> None:
    stage = Stage(make_kernel())
    assert await stage.play(rate(10, "2mbit"), rate(12, "3mbit"), rate(15, "4mbit"), source=Program)
    assert stage.times == [(10, 10, 10), (12, 20, 20), (15, 30, 30)]
    # The same with epochs before --from.
    stage = Stage(make_kernel())
    assert await stage.play(rate(1, "2mbit"), rate(2, "3mbit"), source=Program, first=5)
    assert stage.times == [(1, 10, 10), (2, 20, 20)]


async def test_cancelled_between_two_epochs(make_kernel: KernelFactory, autojump_clock: Clock) -> None:
    stage = Stage(make_kernel())
    with trio.move_on_after(1.5):
        await stage.play(rate(1, "2mbit"), rate(2, "3mbit"))
    assert len(stage.played) == 1


class Nothing(list[Played]):
    def append(self, _: Played) -> None:
        pass


async def test_a_long_play_does_not_grow(
    make_kernel: KernelFactory, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PARSED_MAX", 10)
    monkeypatch.setattr(live, "PATTERNS_MAX", 10)
    monkeypatch.setattr(shaping, "_MAX_SHAPERS", 10)
    kernel = make_kernel()
    kinds: list[Callable[[int], dict[str, list[object]]]] = [
        lambda number: {"set": [{"endpoint": "a:e0", "rate": f"{number}mbit"}]},
        lambda number: {"set": [{"select": f"a:e[0{number}]", "up": bool(number % 2)}]},
        lambda number: {"remove": [["b:e1", "c:e1"]], "add": [{"endpoints": ["b:e1", "c:e1"], "mtu": 1280 + number}]},
        lambda number: {"add": [{"endpoints": ["a:x", f"n{number}:x"]}, {"endpoints": ["a:e0", "c:x"]}]},  # refused
    ]
    seen: list[int] = []

    class Long(Source):
        def __init__(self, epochs: Iterable[Epoch | TopologyError]) -> None:
            super().__init__(self.make(next(iter(epochs))))

        def make(self, first: Epoch | TopologyError) -> Iterator[Epoch | TopologyError]:
            yield first
            for number in range(240):
                kernel.requests.clear()
                if number % 80 == 79:
                    re.purge()
                    gc.collect()
                    seen.append(len(gc.get_objects()))
                yield Epoch(number, f"t:{number}", kinds[number % len(kinds)](number))

    stage = Stage(kernel)
    stage.played = Nothing()
    await stage.play(rate(0, "1mbit"), source=Long, goes_on=True)
    assert seen[2] - seen[1] < 20, seen
