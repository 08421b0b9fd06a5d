"""The work of a run, and how many workers are worth having for it."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


# The rtnl lock is global: two threads keep it busy, more mostly spin on it. The kernel's own threads, which bring the
# new interfaces' carriers and addresses up, need a processor as well.
PROCESSORS = len(os.sched_getaffinity(0))
MOST = max(min(PROCESSORS - 1, 4), 1)
AT_FIRST = min(2, MOST)
CHUNK = 256

# A worker's share of a window: two turns of what a chain needs, links and both their ends. Shorter, and the mix of
# operations would decide.
WINDOW = 6
WORTH = 1.1


class WorkerCount:
    """Tries one worker more as long as the rate rises by a tenth. What fixed says stays."""

    def __init__(
        self,
        fixed: int | None = None,
        *,
        first: int = AT_FIRST,
        most: int = MOST,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.workers = fixed or first
        self.most = fixed or most
        self._clock = clock
        self._settled = fixed is not None or first >= most
        self._rate = 0.0  # operations a second with a worker less
        self._chunks = 0
        self._operations = 0
        self._since = clock()

    def chunk(self, capacity: int) -> int:
        """How many operations a worker takes at a time, given how many namespaces all of them together may hold."""
        return max(min(CHUNK, capacity // (2 * self.most)), 1)

    def done(self, operations: int) -> None:
        """Note that a chunk of so many operations has ended."""
        if self._settled:
            return
        self._chunks += 1
        self._operations += operations
        if self._chunks < WINDOW * self.workers:
            return
        now = self._clock()
        rate = self._operations / max(now - self._since, 1e-9)
        if rate < self._rate * WORTH:
            self.workers -= 1
            self._settled = True
        elif self.workers == self.most:
            self._settled = True
        else:
            self.workers += 1
        self._rate, self._since, self._chunks, self._operations = rate, now, 0, 0


class WorkQueue:
    """items[i] is ready when all of after[i] went well; those behind a failed one are never begun.

    execute(items) blocks, in any thread, and returns one answer an item; failed(answer) tells a failure.
    report(numbers, answers) is called for every finished chunk, in the thread that began the run. With stop_on_failure
    nothing is begun after the first failure.

    workers is how many threads are worth having, chunk how many items one of them takes at a time. few: so many items
    are done sooner in the calling thread than an event loop is imported. must_end: where no thread can be had, the
    calling one does the work.
    """

    def __init__(
        self,
        items: Sequence[Any],
        execute: Callable[[Sequence[Any]], Sequence[Any]],
        report: Callable[[Sequence[int], Sequence[Any]], None],
        *,
        workers: WorkerCount,
        chunk: int,
        after: Sequence[tuple[int, ...]] | None = None,
        failed: Callable[[Any], bool] | None = None,
        stop_on_failure: bool = False,
        few: int = 0,
        must_end: bool = False,
    ) -> None:
        self.workers = workers
        self.chunk = chunk
        self.few = few
        self.must_end = must_end
        self.left = len(items)  # not begun yet, ready or not
        self._items = items
        self._execute = execute
        self._report = report
        self._failed = failed
        self._stop_on_failure = stop_on_failure
        self._stopped = False
        self._begun: set[int] = set()
        self._waiting: list[int] = []
        self._followers: list[list[int]] = []
        if after is None:
            self._ready = list(range(len(items)))
            return
        self._waiting = [len(numbers) for numbers in after]
        self._followers = [[] for _ in items]
        for number, numbers in enumerate(after):
            for other in numbers:
                self._followers[other].append(number)
        # Lowest number first: what belongs together in the file is finished together, and few namespaces are open.
        self._ready = [number for number, count in enumerate(self._waiting) if count == 0]

    def __len__(self) -> int:
        """How many items can be begun now."""
        return 0 if self._stopped else len(self._ready)

    def take(self, size: int) -> list[int]:
        """Return the next items, at most so many and all of one type; they count as begun."""
        numbers: list[int] = []
        if self._ready and not self._stopped:
            type_of_first = type(self._items[self._ready[0]])
            count = 1
            for number in self._ready[1:size]:
                if type(self._items[number]) is not type_of_first:
                    break
                count += 1
            numbers = self._ready[:count]
            del self._ready[:count]
        self._begun.update(numbers)
        self.left -= len(numbers)
        return numbers

    def execute(self, numbers: Sequence[int]) -> Sequence[Any]:
        """Do the work of items that were taken; return one answer each."""
        return self._execute([self._items[number] for number in numbers])

    def finish(self, numbers: Sequence[int], answers: Sequence[Any]) -> None:
        """Note what became of items: what waited for nothing else is ready. Without answers they broke off."""
        self._report(numbers[: len(answers)], answers)
        for number, answer in zip(numbers, answers, strict=False):
            self._begun.discard(number)
            if self._failed is not None and self._failed(answer):
                self._stopped = self._stopped or self._stop_on_failure
            elif self._followers:
                for follower in self._followers[number]:
                    self._waiting[follower] -= 1
                    if self._waiting[follower] == 0:
                        self._ready.append(follower)
        self._ready.sort()  # two sorted runs: list.sort() merges them

    def put_back(self) -> None:
        """Have what broke off done again."""
        self._ready += self._begun
        self._ready.sort()
        self.left += len(self._begun)
        self._begun.clear()
