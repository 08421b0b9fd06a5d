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

    Step = tuple[Change, Change]

IPV6_MIN_MTU = 1280  # include/uapi/linux/in6.h: an interface with less has no IPv6

# The attributes of an interface for which the kernel makes no link-local address by itself: addr_gen_mode none.
NO_LINK_LOCAL: Mapping[str, object] = {"af_spec": {"inet6": {"addr_gen_mode": 1}}}

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
    kind = KINDS[link.kind]
    if not kind.fields:
        return
    title = f"{link.ends[0].node}:{link.ends[0].ifname}"
    linkinfo = kind.create(link, ({},) * kind.ends, parent)["linkinfo"]
    # What is nested is an end's, not the link's own.
    wanted = {name: value for name, value in linkinfo.get("data", {}).items() if value != {}}  # type: ignore[attr-defined]
    have = found[0].data
    if parent is not None and parent not in (found[0].peer, have.get("link")):
        yield link.where("parent"), f"{title} is there on another parent interface; destroy it first"
    changed = {kind.field_of(name) for name, value in wanted.items() if name != "link" and have.get(name) != value}
    # An address that left the file, or is of the other family now.
    changed |= {kind.field_of(name) for name in ADDRESSES if name not in wanted and _is_given(have.get(name))}
    for field in sorted(changed):
        yield link.where(field), f"{title} is there with another {field}, which batch does not change; destroy it first"


def unbearable(
    end: End, interface: Interface, most: int | None, follows: int | None = None
) -> Iterator[tuple[str, str]]:
    """(place, sentence) for all that the kernel would do beside what it is asked for, and nobody could undo; most is
    the largest MTU that the end can have, follows what its parent gives it where the file gives none."""
    title = f"{end.node}:{end.ifname}"
    mtu = _mtu_of(end, most, follows)
    present = [
        one for one in (*interface.addresses, *interface.temporary) if one.family == AF_INET6 and not is_link_local(one)
    ]
    if present and mtu is not None and mtu < IPV6_MIN_MTU <= interface.mtu:
        why = f" (it is copied into a tunnel with an mtu of {most})" if mtu == most else ""
        why = " (its parent leaves no more)" if mtu == follows else why
        yield (
            end.where("mtu"),
            f"with an mtu of {mtu}{why} the kernel takes the IPv6 addresses of {title} away, which need "
            f"{IPV6_MIN_MTU}, and it has {len(present)}; remove them first",
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


def is_right(end: End, interface: Interface, alias: str, most: int | None = None, follows: int | None = None) -> bool:
    """Whether nothing has to be done to an interface that is this end already: so it is with most in a second run."""
    have = interface.addresses
    if interface.alias != alias or interface.up != end.up or end.mac not in (None, interface.mac):
        return False
    if end.txqlen not in (None, interface.txqlen) or _mtu_of(end, most, follows) not in (None, interface.mtu):
        return False
    for address in end.addresses:
        if address not in have and address not in interface.temporary:
            return False
    # Ours that are not in the file.
    wanted = frozenset(end.addresses) if len(have) > 1 else end.addresses
    return not any(ours and address not in wanted for address, ours in have.items())


def _is_own(address: Address) -> bool:
    return address.family == AF_INET6 and is_link_local(address)


def is_link_local(address: Address) -> bool:
    """Whether an IPv6 address is of fe80::/10, which the kernel makes for itself."""
    return address.packed[0] == 0xFE and address.packed[1] & 0xC0 == 0x80


def _mtu_of(end: End, most: int | None, follows: int | None) -> int | None:
    mtu = end.mtu if end.mtu is not None else follows
    return mtu if mtu is None or most is None else min(mtu, most)


def _is_given(address: object) -> bool:
    return isinstance(address, bytes) and any(address)


class Difference:
    """What has to be set on an interface, each with how it is set back: at once; behind all of that, as far as it may
    be refused; and when nothing else can fail any more."""

    __slots__ = ("final", "last", "now")

    def __init__(self, now: Step, last: Step, final: Step) -> None:
        self.now = now
        self.last = last
        self.final = final


def difference(
    end: End,
    interface: Interface,
    alias: str,
    *,
    most: int | None = None,
    follows: int | None = None,
    carries: bool = False,
) -> Difference:
    """What has to be done to an interface that is this end already. most is the largest MTU that it can have, whatever
    the file says; follows what its parent gives it where the file says nothing; carries tells whether a link is to be
    made on it.

    What costs more than it says comes last, as it cannot be given back: going down takes the routes through an
    interface along, a new MAC address its neighbours, a smaller MTU lowers what stands on it, and the kernel may
    promote another address in the place of one that is removed. Of these only a MAC address may be refused.
    """
    pairs: dict[str, tuple[object, object]] = {"ifalias": (alias, interface.alias)}
    pairs_last: dict[str, tuple[object, object]] = {}
    pairs_final: dict[str, tuple[object, object]] = {}
    if end.mac is not None:
        # One that is down has no neighbours, and makes its link-local address of it when it comes up.
        (pairs_last if interface.up else pairs)["address"] = end.mac, interface.mac
    mtu = _mtu_of(end, most, follows)
    if mtu is not None:
        # What is to stand on it takes its MTU from it when it is made.
        (pairs_final if mtu < interface.mtu and not carries else pairs)["mtu"] = mtu, interface.mtu
    if end.txqlen is not None:
        pairs["txqlen"] = end.txqlen, interface.txqlen
    if end.dad is False and any(address not in interface.addresses for address in end.addresses if _is_own(address)):
        pairs["af_spec"] = NO_LINK_LOCAL["af_spec"], {"inet6": {"addr_gen_mode": 0}}
    if not interface.alias:  # then it may still be our mark
        pairs["broadcast"] = BROADCAST, interface.broadcast
    now, before = _wanted(pairs)
    final, before_final = _wanted(pairs_final)
    goes_up, goes_down = end.up and not interface.up, interface.up and not end.up
    new, remove = _address_difference(end.addresses, interface)
    # IPv6 takes an address once only, whatever its prefix length.
    clash = {address.packed for address in remove if address.family == AF_INET6}
    add = tuple(address for address in new if address.packed not in clash)
    add_final = tuple(address for address in new if address.packed in clash)
    # An interface that goes down, now or when that is taken back, loses its IPv6 addresses, unless the sysctl
    # keep_addr_on_down is set: the engine does so, where it may. It cannot harm to add ours again.
    ours = tuple(item for item, is_ours in interface.addresses.items() if is_ours and item.family == AF_INET6)
    kept = tuple(address for address in ours if address not in remove) if goes_down else ()
    again = kept + tuple(address for address in add if address.family == AF_INET6) if goes_down else ()
    return Difference(
        (
            Change(now, True if goes_up else None, add),
            Change(before, False if goes_up else None, ours if goes_up else (), add),
        ),
        tuple(map(Change, _wanted(pairs_last))),  # type: ignore[arg-type]
        (
            Change(final, False if goes_down else None, add_final + again, remove),
            Change(before_final, True if goes_down else None, remove + kept, add_final),
        ),
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
    named = frozenset(wanted)
    remove = tuple(address for address, ours in have.items() if ours and address not in named)
    return add, remove
