"""Choose the numbers (VNIs, VLAN ids) that tell the links between hosts apart.

A number is made of the link's own name, so that it is the same in each run, and another link changes none of the rest:
only two links whose hashes are the same have to agree, and they do so without the order of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

TRIES = 64  # hashes of a link that are tried before the next free number is looked for


class Wish:
    """A link that needs a number from lowest to highest; name tells it from all other links.

    number is what it got; None while it has none.
    """

    __slots__ = ("highest", "lowest", "name", "number")

    def __init__(self, name: str, lowest: int, highest: int) -> None:
        self.name = name
        self.lowest = lowest
        self.highest = highest
        self.number: int | None = None

    def candidates(self) -> Iterator[int]:
        """Yield numbers of the range, each made of the name and how many there were before."""
        size = self.highest - self.lowest + 1
        salted = blake2b(self.name.encode(errors="surrogatepass"), digest_size=8)
        for attempt in range(TRIES):
            yield self.lowest + int.from_bytes(salted.digest()) % size
            salted.update(attempt.to_bytes(1))
        first = int.from_bytes(salted.digest()) % size
        for step in range(size):
            yield self.lowest + (first + step) % size


class Numbers:
    """The numbers of one kind of links; taken are those of others."""

    def __init__(self, taken: Iterable[int]) -> None:
        self._used = set(taken)

    def give(self, wishes: Iterable[Wish]) -> list[Wish]:
        """Give each wish a number that no other one has; return those for which none is left.

        Wishes for one certain number come first.
        """
        full: set[tuple[int, int]] = set()
        left: list[Wish] = []
        for wish in sorted(wishes, key=lambda one: (one.highest - one.lowest > 0, next(one.candidates()), one.name)):
            span = wish.lowest, wish.highest
            if span not in full:
                wish.number = next((number for number in wish.candidates() if number not in self._used), None)
            if wish.number is None:
                full.add(span)
                left.append(wish)
            else:
                self._used.add(wish.number)
        return left

    def release(self, number: int) -> None:
        """Take a number back."""
        self._used.discard(number)
