"""Name interfaces without a name in the file: numbered in each namespace, in the order of the file.

A name depends only on the ends before it, so a new link at the end of the file renames no other.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

from kokofast.topology.node_kinds import NODES
from kokofast.topology.nodes import Identity

LAB_STEM = 7  # characters of a lab's name: with "-" and any number the name is no longer than IFNAMSIZ allows


class Names:
    """The free names in each namespace: eth0, eth1, ..."""

    def __init__(self, lab: str, taken: Collection[tuple[Identity, str]]) -> None:
        self._lab = lab
        self._taken = taken
        self._next: dict[Identity, int] = {}

    def next(self, identity: Identity) -> str:
        """Return the next free name in a namespace; numbers only grow."""
        stem, first = self._pattern(identity[0])
        number = self._next.get(identity, first)
        while (identity, f"{stem}{number}") in self._taken:
            number += 1
        self._next[identity] = number + 1
        return f"{stem}{number}"

    def _pattern(self, kind: str) -> tuple[str, int]:
        """Return the stem of the names in a node kind, and their first number."""
        stem, first, lab = NODES[kind].stem, NODES[kind].first, self._lab
        return stem or f"{lab if len(lab) <= LAB_STEM else f'{lab[:3]}{zlib.crc32(lab.encode()) & 0xFFFF:04x}'}-", first
