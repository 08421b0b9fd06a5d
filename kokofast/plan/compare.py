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


def _is_given(address: object) -> bool:
    return isinstance(address, bytes) and any(address)


def difference(end: End, interface: Interface, alias: str) -> tuple[Change, Change, tuple[Address, ...]]:
    """(what to set, how to set it back, the addresses to remove last) for an interface that is this end already.

    An address that is removed cannot be given back as it was (the kernel may promote another in its place), so that
    comes when nothing else can fail any more.
    """
    pairs: dict[str, tuple[object, object]] = {"ifalias": (alias, interface.alias)}
    if end.mac is not None:
        pairs["address"] = end.mac, interface.mac
    if end.mtu is not None:
        pairs["mtu"] = end.mtu, interface.mtu
    if end.txqlen is not None:
        pairs["txqlen"] = end.txqlen, interface.txqlen
    if not interface.alias:  # then it may still be our mark
        pairs["broadcast"] = BROADCAST, interface.broadcast
    wanted = {name: value for name, (value, now) in pairs.items() if value != now}
    before = {name: pairs[name][1] for name in wanted}
    up = end.up if end.up != interface.up else None
    add, remove = _address_difference(end.addresses, interface.addresses)
    if up is False:
        # An interface that goes down loses its IPv6 addresses (unless sysctl keep_addr_on_down is set).
        add += tuple(address for address in end.addresses if address.family == AF_INET6 and address not in add)
    # IPv6 takes an address once only, whatever its prefix length.
    clash = {address.packed for address in add if address.family == AF_INET6}
    first = tuple(address for address in remove if address.packed in clash)
    last = tuple(address for address in remove if address.packed not in clash)
    undo = Change(before, None if up is None else interface.up, first, add)
    return Change(wanted, up, add, first), undo, last


def _address_difference(
    wanted: tuple[Address, ...], have: Mapping[Address, bool]
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    # Only addresses that we set are taken away: others come from the user, a daemon or the kernel.
    add = tuple(address for address in wanted if address not in have)
    remove = tuple(address for address, ours in have.items() if ours and address not in wanted)
    return add, remove
