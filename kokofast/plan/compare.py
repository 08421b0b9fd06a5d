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


def unbearable(link: Link, found: Sequence[Interface], most: Sequence[int | None]) -> Iterator[tuple[str, str]]:
    """(place, sentence) for all that the kernel would do to addresses of an interface that nobody could give back; most
    is the largest MTU that each end can have."""
    for end, interface, limit in zip(link.ends, found, most, strict=True):
        title = f"{end.node}:{end.ifname}"
        ipv6 = [address for address in interface.addresses if address.family == AF_INET6 and not is_link_local(address)]
        mtu = _mtu_of(end, limit)
        if ipv6 and mtu is not None and mtu < IPV6_MIN_MTU <= interface.mtu:
            yield (
                end.where("mtu"),
                f"with an mtu below {IPV6_MIN_MTU} the kernel takes the IPv6 addresses of {title} away, and it has "
                f"{len(ipv6)}; remove them first",
            )
        for address in end.addresses:
            # IPv6 takes an address once only: the other one would keep its length, and become ours.
            others = [one for one in ipv6 if one.packed == address.packed and one.prefixlen != address.prefixlen]
            if others and not interface.addresses[others[0]]:
                yield (
                    end.where("addresses"),
                    f"{title} has the address {address.text} already with the prefix length {others[0].prefixlen}, "
                    "and not from us; remove it first (ip address delete)",
                )


def _mtu_of(end: End, most: int | None) -> int | None:
    return end.mtu if end.mtu is None or most is None else min(end.mtu, most)


def is_link_local(address: Address) -> bool:
    """Whether an IPv6 address is of fe80::/10, which the kernel makes for itself."""
    return address.packed[0] == 0xFE and address.packed[1] & 0xC0 == 0x80


def _is_given(address: object) -> bool:
    return isinstance(address, bytes) and any(address)


def difference(
    end: End, interface: Interface, alias: str, most: int | None = None
) -> tuple[Change, Change, tuple[Address, ...]]:
    """(what to set, how to set it back, the addresses to remove last) for an interface that is this end already. most
    is the largest MTU that it can have, whatever the file says.

    An address that is removed cannot be given back as it was (the kernel may promote another in its place), so that
    comes when nothing else can fail any more.
    """
    pairs: dict[str, tuple[object, object]] = {"ifalias": (alias, interface.alias)}
    if end.mac is not None:
        pairs["address"] = end.mac, interface.mac
    mtu = _mtu_of(end, most)
    if mtu is not None:
        pairs["mtu"] = mtu, interface.mtu
    if end.txqlen is not None:
        pairs["txqlen"] = end.txqlen, interface.txqlen
    if not interface.alias:  # then it may still be our mark
        pairs["broadcast"] = BROADCAST, interface.broadcast
    wanted = {name: value for name, (value, now) in pairs.items() if value != now}
    before = {name: pairs[name][1] for name in wanted}
    up = end.up if end.up != interface.up else None
    new, remove = _address_difference(end.addresses, interface.addresses)
    # An interface that goes down, now or when that is taken back, loses its IPv6 addresses, unless the sysctl
    # keep_addr_on_down is set: the engine does so, where it may. It cannot harm to add them again.
    lost = [
        address
        for address, ours in interface.addresses.items()
        if ours and address.family == AF_INET6 and up is not None
    ]
    add = new + tuple(address for address in lost if up is False and address not in remove)
    # IPv6 takes an address once only, whatever its prefix length.
    clash = {address.packed for address in new if address.family == AF_INET6}
    first = tuple(address for address in remove if address.packed in clash)
    last = tuple(address for address in remove if address.packed not in clash)
    again = tuple(address for address in lost if address not in first)
    undo = Change(before, None if up is None else interface.up, first + again, new)
    return Change(wanted, up, add, first), undo, last


def _address_difference(
    wanted: tuple[Address, ...], have: Mapping[Address, bool]
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    # Only addresses that we set are taken away: others come from the user, a daemon or the kernel.
    add = tuple(address for address in wanted if address not in have)
    remove = tuple(address for address, ours in have.items() if ours and address not in wanted)
    return add, remove
