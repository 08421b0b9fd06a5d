"""The words that scenarios, contenders and the judge share."""

from __future__ import annotations

from typing import NamedTuple

UPLINK, UPLINK_INDEX = "up0", 4242  # what a vxlan stands on; floor.c knows the index


class End(NamedTuple):
    """One end of a link. The prefix length of its address is /31 everywhere."""

    namespace: str
    interface: str
    address: str  # without its prefix length, which is /31 everywhere


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
    """

    a: End
    b: End | None  # None: a vxlan
    tunnel: Tunnel | None = None
    mirror: bool = False  # what passes lo, either way, is copied to a

    @property
    def ends(self) -> list[End]:
        """The ends that there are."""
        return [self.a] if self.b is None else [self.a, self.b]


class WrongState(Exception):
    """A contender said that it was done, and the kernel shows something else."""
