"""The work of a run, and the number of workers for it."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


# The rtnl lock is global: two threads keep it busy, more mostly spin on it. The kernel's own threads, which bring up
# carriers and addresses of new interfaces, need a processor, too.
PROCESSORS = len(os.sched_getaffinity(0))
MOST = max(min(PROCESSORS - 1, 4), 1)
AT_FIRST = min(2, MOST)
CHUNK = 256

# Chunks of a worker in one measurement: twice links and both ends of a chain. In fewer the mix of operations would
# decide.
WINDOW = 6
WORTH = 1.1  # one more worker must raise the rate by this factor


class WorkerCount:
    """Adds a worker as long as the rate rises by a tenth. fixed sets the number."""

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
        self._rate = 0.0  # operations a second with one worker fewer
        self._chunks = 0
        self._operations = 0
        self._since = clock()

    def chunk(self, capacity: int) -> int:
        """Return how many operations a worker takes at a time; capacity is of namespaces, for all workers together."""
        return max(min(CHUNK, capacity // (2 * self.most)), 1)

    def done(self, operations: int) -> None:
        """Record the end of a chunk of this many operations."""
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
    """Items to execute, in an order that after constrains.

    Args:
        items: What to do.
        execute: (items) -> one answer each. Blocks, in any thread.
        report: Called with (numbers, answers) of each finished chunk, in the thread that began the run.
        workers: The number of threads.
        chunk: How many items a thread takes at a time.
        after: after[i] are the items that must succeed before items[i] may start.
        failed: Whether an answer is a failure.
        stop_on_failure: Start nothing after the first failure.
        few: Up to this many items are done faster in the calling thread than an event loop is imported.
        must_end: Do the work in the calling thread where no other can be started.
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
        # Lowest number first: links close to each other in the file share namespaces, of which few are open.
        self._ready = [number for number, count in enumerate(self._waiting) if count == 0]

    def __len__(self) -> int:
        """Return how many items can be started now."""
        return 0 if self._stopped else len(self._ready)

    def take(self, size: int) -> list[int]:
        """Take the next items, at most size and all of one type."""
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
        """Record the answers of items; those that waited for them become ready. Without answers they broke off."""
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
        """Make items that broke off ready again."""
        self._ready += self._begun
        self._ready.sort()
        self.left += len(self._begun)
        self._begun.clear()
