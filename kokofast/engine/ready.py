"""Which operation may be carried out next: one that waits for nothing that is not done."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Item = TypeVar("Item")


class Ready(Generic[Item]):
    """operations[i] is ready when all of after[i] are done. Those in ``answered`` are never taken."""

    def __init__(
        self, operations: Sequence[Item], after: Sequence[tuple[int, ...]], answered: Collection[int] = ()
    ) -> None:
        self._operations = operations
        self._answered = answered
        self._waiting = [len(numbers) for numbers in after]
        self._followers: list[list[int]] = [[] for _ in operations]
        for number, numbers in enumerate(after):
            for other in numbers:
                self._followers[other].append(number)
        # Lowest number first: what belongs together in the file is finished together, and few namespaces are open.
        self._ready = [number for number, count in enumerate(self._waiting) if count == 0 and number not in answered]

    def __len__(self) -> int:
        return len(self._ready)

    def take(self, size: int) -> list[int]:
        """The next operations, at most so many and all of one type; they are not ready any more."""
        numbers: list[int] = []
        if self._ready:
            type_of_first = type(self._operations[self._ready[0]])
            while self._ready and len(numbers) < size and type(self._operations[self._ready[0]]) is type_of_first:
                numbers.append(heapq.heappop(self._ready))
        return numbers

    def done(self, number: int) -> None:
        """One went well: what waited for nothing else is ready."""
        for follower in self._followers[number]:
            self._waiting[follower] -= 1
            if self._waiting[follower] == 0 and follower not in self._answered:
                heapq.heappush(self._ready, follower)
