"""What a watch needs to know of the world: the time, and what has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kokofast.topology.model import Topology
    from kokofast.watching.news import News


class Senses(Protocol):
    """Where a watch learns of changes."""

    def now(self) -> float:
        """Return the time in seconds."""

    async def wait(self, seconds: float | None) -> bool:
        """Wait until there is news, or for this many seconds; return whether there is news."""

    def take(self) -> News:
        """Return the news, and forget it."""

    def follow(self, topology: Topology) -> None:
        """Watch the nodes of this topology from now on."""

    def attend(self, places: Mapping[str, tuple[str, tuple[int, int]]]) -> None:
        """Watch these namespaces of nodes: (path, identity) by the node's name."""

    def number_of(self, identity: tuple[int, int]) -> int | None:
        """Return the nsid by which notifications call a namespace."""

    def appeared(self, nodes: Iterable[str]) -> set[str]:
        """Return which of these missing nodes may have a namespace now."""
