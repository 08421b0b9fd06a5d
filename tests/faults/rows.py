"""Which rows of a world's file a netlink request is about, told from its bytes alone."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from kokofast.plan.ownership import alias_of, cookie_of
from kokofast.topology.model import Topology
from kokofast.wire.addr import RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import RTM_NEWLINK, RTM_SETLINK
from kokofast.wire.tc import RTM_DELQDISC, RTM_DELTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER
from tests.faults.injection import Sent, messages_of
from tests.faults.witness import State

# The ends of each link of World.wanted(): in which namespace, under which name.
LINKS: dict[int, tuple[tuple[str, str], ...]] = {
    0: (("a", "e0"), ("b", "e0")),
    1: (("a", "old"), ("w", "old")),
    2: (("a", "e1"), ("c", "e0")),
    3: (("c", "f1"), ("d", "f0")),
    4: (("a", "vx0"),),
    5: (("b", "mv0"),),
    6: (("a", "tap"), ("w", "tap")),
}
NEW = frozenset({2, 3, 4, 5, 6})
MIRRORED = ("a", "eth0")
MIRRORING = frozenset({1, 4, 6})
MADE = frozenset({2, 3})  # the links in the namespaces that are to be made

_CHANGES = (RTM_NEWLINK, RTM_SETLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER)
_IFINDEX_AT = 20  # behind the header and four more bytes in struct ifinfomsg, ifaddrmsg and tcmsg
_LOOPBACK = 1
_IFLA_IFNAME = 3


def rows_of(sent: Sent, topology: Topology, places: Mapping[int, str], complete: State | None) -> frozenset[int] | None:
    """The links that the requests are about; None for requests that are about none in particular, dumps say.

    places: the cookie of a namespace that stays -> what it is called in the states. complete: the state with all links,
    for the numbers that the interfaces have; None when they are not the same in each run: then also None for requests
    that nothing but such a number tells about.
    """
    found: frozenset[int] = frozenset()
    for message, type, _ in messages_of(sent.data):
        rows = _rows(message, type, places.get(sent.cookie), topology, complete)
        if rows is None:
            return None
        found |= rows
    return found


def _rows(
    message: bytes, type: int, place: str | None, topology: Topology, complete: State | None
) -> frozenset[int] | None:
    if type not in (*_CHANGES, RTM_DELTFILTER):
        return None
    if type == RTM_NEWLINK:  # its sender is none of the ends
        return frozenset(row for row in NEW if all(_name(ifname) in message for _, ifname in LINKS[row]))
    aliases = {row: alias_of(topology.name, link) for row, link in enumerate(topology.links)}
    marked = {
        row
        for row, alias in aliases.items()
        if alias.encode() in message or cookie_of(topology.name, alias)[:-1] in message
    }
    if marked:
        return frozenset(marked)
    if complete is None:
        return None
    (index,) = struct.unpack_from("=i", message, _IFINDEX_AT)
    # Of a namespace that is made in each run nobody knows the cookie.
    meant = {key[:2] for key, value in complete.items() if key[2:] == ("link",) and _index(value) == index}
    meant = {key for key in meant if key[0] == place or (place is None and key[0] in ("c", "d"))}
    if place is None and index == _LOOPBACK:
        return MADE
    if meant == {MIRRORED}:
        return MIRRORING
    return frozenset(row for row, ends in LINKS.items() if meant & set(ends))


def _index(value: object) -> int:
    assert isinstance(value, tuple)
    index: int = value[1]
    return index


def _name(ifname: str) -> bytes:
    return struct.pack("=HH", 5 + len(ifname), _IFLA_IFNAME) + ifname.encode() + b"\0"
