"""The words that scenarios, contenders and the judge share."""

from __future__ import annotations

from typing import NamedTuple

UPLINK, UPLINK_INDEX = "up0", 4242  # what a vxlan stands on; floor.c knows the index


class End(NamedTuple):
    namespace: str
    interface: str
    address: str  # without its prefix length, which is /31 everywhere


class Tunnel(NamedTuple):
    """What a vxlan has in place of a second end; it stands on UPLINK of that namespace."""

    namespace: str
    remote: str
    vni: int


class Link(NamedTuple):
    a: End
    b: End | None  # None: a vxlan
    tunnel: Tunnel | None = None
    mirror: bool = False  # what passes lo, either way, is copied to a

    @property
    def ends(self) -> list[End]:
        return [self.a] if self.b is None else [self.a, self.b]


class WrongState(Exception):
    """A contender said that it was done, and the kernel shows something else."""
