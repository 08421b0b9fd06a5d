from __future__ import annotations

from collections.abc import Sequence

import pytest

from kokofast.drivers.work_queue import WINDOW, WorkerCount


class Machine:
    """rates[w] operations a second with w + 1 workers; chunks of 100."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates = rates
        self.now = 1000.0

    def run(self, pace: WorkerCount, chunks: int) -> list[int]:
        """How many workers there were after each chunk."""
        seen = []
        for _ in range(chunks):
            self.now += 100 / self.rates[pace.workers - 1]
            pace.done(100)
            seen.append(pace.workers)
        return seen


@pytest.mark.parametrize(
    ("rates", "first", "worth"),
    [
        ([100, 180, 240, 250], 1, 3),
        ([100, 105, 900], 1, 1),
        ([100, 200, 400, 800], 1, 4),
        ([100, 80, 80, 80], 1, 1),
        ([100, 90, 50, 50], 2, 2),
        ([100, 90, 120, 121], 2, 3),
    ],
)
def test_workers_are_added_while_the_rate_rises(rates: list[float], first: int, worth: int) -> None:
    machine = Machine(rates)
    pace = WorkerCount(first=first, most=4, clock=lambda: machine.now)
    seen = machine.run(pace, 100)
    assert seen[-1] == worth
    assert seen[0] == first
    assert max(seen) <= min(worth + 1, 4)
    # Once settled, no more trials.
    assert len(set(seen[WINDOW * 12 :])) == 1


def test_a_short_run_stays_with_what_it_began_with() -> None:
    machine = Machine([100, 200, 300])
    assert set(machine.run(WorkerCount(first=2, most=3, clock=lambda: machine.now), 2 * WINDOW - 1)) == {2}


def test_what_the_user_says_stays() -> None:
    machine = Machine([1, 2, 4, 8, 16])
    pace = WorkerCount(3, clock=lambda: machine.now)
    assert set(machine.run(pace, 200)) == {3}
    assert pace.most == 3


def test_a_clock_that_stands_still_divides_nothing_by_zero() -> None:
    pace = WorkerCount(first=1, most=2, clock=lambda: 5.0)
    for _ in range(3 * WINDOW):
        pace.done(1)
    assert pace.workers in (1, 2)
