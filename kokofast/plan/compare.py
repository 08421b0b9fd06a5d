"""An interface that is there against the end that the file wants: is it the same, and what has to change?"""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.operations import Change
from kokofast.plan.ownership import BROADCAST
from kokofast.topology.model import AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kokofast.plan.observed import Interface
    from kokofast.topology.model import Address, End, Link

IPV6_MIN_MTU = 1280  # include/uapi/linux/in6.h: an interface with less has no IPv6

# What the kernel shows of a tunnel when it has it; the other attributes always have some value.
ADDRESSES = ("group", "group6", "local", "local6")


def are_peers(found: Sequence[Interface]) -> bool:
    """Whether two interfaces say of each other that they are the two ends of one link."""
    first, second = found
    return first.peer == second.ifindex and second.peer == first.ifindex


def fixed_differences(link: Link, found: Sequence[Interface], parent: int | None) -> Iterator[tuple[str, str]]:
    """(place, sentence) for all that differs and that batch does not change; mostly the kernel does not let one.

    parent is the ifindex of the link's parent interface, None for a kind without.
    """
    for end, interface in zip(link.ends, found, strict=True):
        title = f"{end.node}:{end.ifname}"
        if interface.kind != link.kind:
            yield link.where("type"), f"{title} is there as {interface.kind}; destroy it first"
            return
        if end.queues is not None and interface.queues != end.queues:
            yield (
                end.where("queues"),
                f"{title} is there with {interface.queues} queues, which cannot be changed; destroy it first",
            )
    if parent is None:
        return
    title = f"{link.ends[0].node}:{link.ends[0].ifname}"
    wanted = KINDS[link.kind].create(link, ({},), parent)["linkinfo"]["data"]  # type: ignore[index]
    have = found[0].data
    if parent not in (found[0].peer, have.get("link")):
        yield link.where("parent"), f"{title} is there on another parent interface; destroy it first"
    kind = KINDS[link.kind]
    changed = {kind.field_of(name) for name, value in wanted.items() if name != "link" and have.get(name) != value}
    # An address that left the file, or is of the other family now.
    changed |= {kind.field_of(name) for name in ADDRESSES if name not in wanted and _is_given(have.get(name))}
    for field in sorted(changed):
        yield link.where(field), f"{title} is there with another {field}, which batch does not change; destroy it first"


def unbearable(end: End, interface: Interface, most: int | None) -> Iterator[tuple[str, str]]:
    """(place, sentence) for all that the kernel would do beside what it is asked for, and nobody could undo; most is
    the largest MTU that the end can have."""
    title = f"{end.node}:{end.ifname}"
    mtu = _mtu_of(end, most)
    if mtu is not None and mtu < IPV6_MIN_MTU <= interface.mtu:
        why = "" if mtu == end.mtu else f" (it is copied into a tunnel with an mtu of {most})"
        yield (
            end.where("mtu"),
            f"an mtu of {mtu}{why} would take IPv6 away from {title}, and from what stands on it: it needs "
            f"{IPV6_MIN_MTU}; set that yourself (ip link set), or destroy the lab first",
        )
    for address in end.addresses:
        # IPv6 takes an address once only: the other one would keep its length, and become ours.
        others = [
            one
            for one in (*interface.addresses, *interface.temporary)
            if one.family == AF_INET6 and one.packed == address.packed and one.prefixlen != address.prefixlen
        ]
        if others and not interface.addresses.get(others[0], False):
            yield (
                end.where("addresses"),
                f"{title} has the address {address.text} already with the prefix length {others[0].prefixlen}; "
                "remove it first (ip address delete)",
            )


def is_right(end: End, interface: Interface, alias: str, most: int | None = None) -> bool:
    """Whether nothing has to be done to an interface that is this end already: so it is with most in a second run."""
    have = interface.addresses
    if interface.alias != alias or interface.up != end.up or end.mac not in (None, interface.mac):
        return False
    if end.txqlen not in (None, interface.txqlen) or _mtu_of(end, most) not in (None, interface.mtu):
        return False
    for address in end.addresses:
        if address not in have and address not in interface.temporary:
            return False
    # Ours that are not in the file.
    return not any(ours and address not in end.addresses for address, ours in have.items())


def _mtu_of(end: End, most: int | None) -> int | None:
    return end.mtu if end.mtu is None or most is None else min(end.mtu, most)


def _is_given(address: object) -> bool:
    return isinstance(address, bytes) and any(address)


class Difference:
    """What has to be set on an interface at once, and what when nothing else can fail any more; and how each is set
    back."""

    __slots__ = ("last", "last_undo", "now", "now_undo")

    def __init__(self, now: Change, now_undo: Change, last: Change, last_undo: Change) -> None:
        self.now = now
        self.now_undo = now_undo
        self.last = last
        self.last_undo = last_undo


def difference(
    end: End, interface: Interface, alias: str, *, most: int | None = None, carries: bool = False
) -> Difference:
    """What has to be done to an interface that is this end already. most is the largest MTU that it can have, whatever
    the file says; carries tells whether another link of the file stands on it.

    What costs more than it says comes last, as it cannot be given back: going down takes the routes through an
    interface along, a new MAC address its neighbours, a smaller MTU lowers what stands on it, and the kernel may
    promote another address in the place of one that is removed.
    """
    pairs: dict[str, tuple[object, object]] = {"ifalias": (alias, interface.alias)}
    pairs_last: dict[str, tuple[object, object]] = {}
    if end.mac is not None:
        pairs_last["address"] = end.mac, interface.mac
    mtu = _mtu_of(end, most)
    if mtu is not None:
        # What is to stand on it takes its MTU from it when it is made.
        is_last = mtu < interface.mtu and not carries
        (pairs_last if is_last else pairs)["mtu"] = mtu, interface.mtu
    if end.txqlen is not None:
        pairs["txqlen"] = end.txqlen, interface.txqlen
    if not interface.alias:  # then it may still be our mark
        pairs["broadcast"] = BROADCAST, interface.broadcast
    now, before = _wanted(pairs)
    last, before_last = _wanted(pairs_last)
    goes_up, goes_down = end.up and not interface.up, interface.up and not end.up
    new, remove = _address_difference(end.addresses, interface)
    # IPv6 takes an address once only, whatever its prefix length.
    clash = {address.packed for address in remove if address.family == AF_INET6}
    add = tuple(address for address in new if address.packed not in clash)
    add_last = tuple(address for address in new if address.packed in clash)
    # An interface that goes down, now or when that is taken back, loses its IPv6 addresses, unless the sysctl
    # keep_addr_on_down is set: the engine does so, where it may. It cannot harm to add ours again.
    ours = tuple(item for item, is_ours in interface.addresses.items() if is_ours and item.family == AF_INET6)
    kept = tuple(address for address in ours if address not in remove) + tuple(a for a in add if a.family == AF_INET6)
    return Difference(
        Change(now, True if goes_up else None, add),
        Change(before, False if goes_up else None, ours if goes_up else (), add),
        Change(last, False if goes_down else None, add_last + (kept if goes_down else ()), remove),
        Change(before_last, True if goes_down else None, remove + (kept if goes_down else ()), add_last),
    )


def _wanted(pairs: Mapping[str, tuple[object, object]]) -> tuple[dict[str, object], dict[str, object]]:
    """Of (wanted, now) those that differ: what is wanted, and what there is."""
    wanted = {name: value for name, (value, now) in pairs.items() if value != now}
    return wanted, {name: pairs[name][1] for name in wanted}


def _address_difference(
    wanted: tuple[Address, ...], interface: Interface
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    # Only addresses that we set are taken away: others come from the user, a daemon or the kernel. One that is there
    # for a time only is not made ours, either: it is somebody else's, and a rollback would take it away.
    have = interface.addresses
    add = tuple(address for address in wanted if address not in have and address not in interface.temporary)
    remove = tuple(address for address, ours in have.items() if ours and address not in wanted)
    return add, remove
