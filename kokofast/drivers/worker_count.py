"""How many workers are worth having."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
