"""The words that scenarios, contenders and the judge share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

UPLINK, UPLINK_INDEX = "up0", 4242  # what a vxlan stands on; floor.c knows the index


class End(NamedTuple):
    """One end of a link."""

    namespace: str
    interface: str
    address: str  # without its prefix length
    prefixlen: int = 31


class Tunnel(NamedTuple):
    """What a vxlan has in place of a second end. Its parent is UPLINK of that namespace."""

    namespace: str
    remote: str
    vni: int


class Link(NamedTuple):
    """A link to make.

    Args:
        a: The first end.
        b: The second end; None for a vxlan.
        tunnel: Of a vxlan.
        mirror: Copy the traffic of lo, in both directions, to a.
        more: The further ends of a LAN; None: no LAN.
    """

    a: End
    b: End | None  # None: a vxlan
    tunnel: Tunnel | None = None
    mirror: bool = False  # what passes lo, either way, is copied to a
    more: Sequence[End] | None = None

    @property
    def ends(self) -> list[End]:
        """The ends that there are."""
        return [end for end in (self.a, self.b, *(self.more or ())) if end is not None]


class WrongState(Exception):
    """A contender said that it was done, and the kernel shows something else."""
