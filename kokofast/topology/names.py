"""Names for interfaces whose file gives none: numbered in each namespace, in the order of the file.

A name depends on the ends before it only, so a link that is added at the end of the file renames no other.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

from kokofast.topology.nodes import Identity

LAB_STEM = 7  # characters: with "-" and the number of any interface of a file it stays an interface's name


class Names:
    """The next free name of an interface in each namespace: eth0, eth1, ..."""

    def __init__(self, lab: str, taken: Collection[tuple[Identity, str]]) -> None:
        self._lab = lab
        self._taken = taken
        self._next: dict[Identity, int] = {}

    def next(self, identity: Identity) -> str:
        """The first of the namespace's numbered names that is free, and not below one that was given out."""
        stem, first = self._pattern(identity[0])
        number = self._next.get(identity, first)
        while (identity, f"{stem}{number}") in self._taken:
            number += 1
        self._next[identity] = number + 1
        return f"{stem}{number}"

    def _pattern(self, kind: str) -> tuple[str, int]:
        """What the names of a kind of node begin with, and their first number."""
        if kind == "netns":
            return "eth", 0
        if kind != "host":
            return "eth", 1  # eth0 is the interface that the container came with
        # The machine has an eth0, and other labs end there too.
        lab = self._lab
        return f"{lab if len(lab) <= LAB_STEM else f'{lab[:3]}{zlib.crc32(lab.encode()) & 0xFFFF:04x}'}-", 0
