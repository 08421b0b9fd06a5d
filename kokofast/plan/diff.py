"""Compare an existing interface with the end in the file: is it the same one, and what has to change?"""

from __future__ import annotations

from kokofast.ends import ATTRIBUTES, ENDS, present
from kokofast.kinds import KINDS
from kokofast.kinds.kind import IPV6_MIN_MTU
from kokofast.plan.operations import NO_LINK_LOCAL, Change
from kokofast.plan.ownership import BROADCAST
from kokofast.topology.model import AF_INET6
from kokofast.topology.values import is_link_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kokofast.plan.observed import Interface
    from kokofast.plan.step import FieldChange
    from kokofast.topology.model import Address, End, Link

    Step = tuple[Change, Change]
    Pairs = dict[str, tuple[object, object]]  # attribute -> (wanted, present)

# The cure for a difference that batch does not change.
CURE = "--replace deletes it and makes it anew"

# The kernel shows these attributes of a tunnel only if they are set, and all others always.
ADDRESSES = ("group", "group6", "local", "local6")


def are_peers(found: Sequence[Interface]) -> bool:
    """Whether each of two interfaces has the other as its peer."""
    first, second = found
    return first.peer == second.ifindex and second.peer == first.ifindex


def fixed_differences(
    link: Link, found: Sequence[Interface], parent: int | None
) -> Iterator[tuple[str, str, FieldChange]]:
    """Yield (place, sentence, change) for differences that batch does not change, mostly because the kernel cannot.

    parent is the ifindex of the link's parent interface, None for a kind without. The name of the present parent is not
    known here: it is None in the change.
    """
    for end, interface in zip(link.ends, found, strict=True):
        title = f"{end.node}:{end.ifname}"
        if interface.kind != link.kind:
            yield (
                link.where("type"),
                f"{title} is there as {interface.kind}; {CURE}",
                ("type", interface.kind, link.kind),
            )
            return
        if end.queues is not None and interface.queues != end.queues:
            yield (
                end.where("queues"),
                f"{title} is there with {interface.queues} queues, which cannot be changed; {CURE}",
                ("queues", interface.queues, end.queues),
            )
    if KINDS[link.kind].fields:
        yield from _differences_of_fields(link, found[0], parent)


def _differences_of_fields(
    link: Link, interface: Interface, parent: int | None
) -> Iterator[tuple[str, str, FieldChange]]:
    """Yield those in the fields that the link's kind has."""
    kind = KINDS[link.kind]
    title = f"{link.ends[0].node}:{link.ends[0].ifname}"
    linkinfo = kind.create(link, ({},) * kind.ends, parent)["linkinfo"]
    # Nested attributes belong to an end, not to the link.
    wanted = {name: value for name, value in linkinfo.get("data", {}).items() if value != {}}  # type: ignore[attr-defined]
    have = interface.data
    if parent is None and _is_number(have.get("link")):
        yield link.where("parent"), f"{title} is there on a parent interface; {CURE}", ("parent", None, None)
    if parent is not None and parent not in (interface.peer, have.get("link")):
        yield (
            link.where("parent"),
            f"{title} is there on another parent interface; {CURE}",
            ("parent", None, link.options["parent"]),
        )
    changed = {
        kind.field_of(name) for name, value in wanted.items() if name != "link" and not _same(have.get(name), value)
    }
    # Addresses that left the file, or changed family.
    changed |= {kind.field_of(name) for name in ADDRESSES if name not in wanted and _is_given(have.get(name))}
    lists = link.ends[0].properties
    changed |= {
        name
        for name in kind.several
        if name in lists and ENDS[name].is_fixed(lists[name], present(name, interface.more))
    }
    before, after = (kind.fields_of(have), kind.fields_of(wanted)) if changed else ({}, {})
    for field in changed.intersection(kind.several):
        if interface.more.get(ATTRIBUTES[field]):
            before[field] = ENDS[field].shown(present(field, interface.more), str)
        if field in lists:
            after[field] = [one.text for one in lists[field]]  # type: ignore[attr-defined]
    for field in sorted(changed):
        yield (
            link.where(field),
            f"{title} is there with another {field}, which batch does not change; {CURE}",
            (field, before.get(field), after.get(field)),
        )


def destructive_changes(
    end: End, interface: Interface, most: int | None, follows: int | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (place, sentence) for side effects of the kernel that cannot be undone.

    most is the largest MTU that the end can have; follows is the MTU that its parent gives it if the file has none.
    """
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
            f"with an mtu of {mtu}{why} the kernel removes the IPv6 addresses of {title}, which need "
            f"{IPV6_MIN_MTU}, and it has {len(present)}; remove them first",
        )
    for address in end.addresses:
        # IPv6 has an address once only: the present one would keep its prefix length, and become ours.
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


def is_up_to_date(
    end: End, interface: Interface, alias: str, most: int | None = None, follows: int | None = None
) -> bool:
    """Whether an existing end needs no change. Fast: in a second run nearly all ends are right."""
    have = interface.addresses
    if interface.alias != alias or interface.up != end.up or end.mac not in (None, interface.mac):
        return False
    if end.txqlen not in (None, interface.txqlen) or _mtu_of(end, most, follows) not in (None, interface.mtu):
        return False
    for address in end.addresses:
        if address not in have and address not in interface.temporary:
            return False
    # Addresses of ours that left the file.
    wanted = frozenset(end.addresses) if len(have) > 1 else end.addresses
    return not any(ours and address not in wanted for address, ours in have.items())


def _is_own(address: Address) -> bool:
    return address.family == AF_INET6 and is_link_local(address)


def _mtu_of(end: End, most: int | None, follows: int | None) -> int | None:
    mtu = end.mtu if end.mtu is not None else follows
    return mtu if mtu is None or most is None else min(mtu, most)


def _same(have: object, wanted: object) -> bool:
    return have == wanted or (have is None and isinstance(wanted, bytes) and not any(wanted))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _is_given(address: object) -> bool:
    return isinstance(address, bytes) and any(address)


class Difference:
    """Changes of an interface, each with its undo: now, last (may be refused), final (when nothing else can fail)."""

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
    """Return the changes that an existing end needs.

    Changes with side effects that cannot be undone come last. Setting an interface down removes the routes through it,
    a new MAC address its neighbours. A smaller MTU lowers its children. In place of a removed address the kernel may
    promote another one. Of these only a MAC address can be refused.

    Args:
        end: The end in the file.
        interface: The end as it is.
        alias: The link's alias.
        most: The largest MTU that it can have, whatever the file says.
        follows: The MTU that its parent gives it if the file has none.
        carries: Whether the plan creates a link with this interface as its parent.
    """
    pairs, pairs_last, pairs_final = _attributes(end, interface, alias, _mtu_of(end, most, follows), carries)
    now, before = _wanted(pairs)
    final, before_final = _wanted(pairs_final)
    goes_up, goes_down = end.up and not interface.up, interface.up and not end.up
    new, remove = _address_difference(end.addresses, interface)
    # IPv6 has an address once only, whatever its prefix length.
    clash = {address.packed for address in remove if address.family == AF_INET6}
    add = tuple(address for address in new if address.packed not in clash)
    add_final = tuple(address for address in new if address.packed in clash)
    # An interface that goes down, now or by undo, loses its IPv6 addresses unless the sysctl keep_addr_on_down is set.
    # The engine sets it where it may. Adding ours again is harmless.
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


def _attributes(
    end: End, interface: Interface, alias: str, mtu: int | None, carries: bool
) -> tuple[Pairs, Pairs, Pairs]:
    """Return the attributes in the file, and what they are now, by the stage in which they would change."""
    pairs: Pairs = {"ifalias": (alias, interface.alias)}
    pairs_last: Pairs = {}
    pairs_final: Pairs = {}
    if end.mac is not None:
        # An interface that is down has no neighbours, and forms its link-local address when it comes up.
        (pairs_last if interface.up else pairs)["address"] = end.mac, interface.mac
    if mtu is not None:
        # New links get their MTU from their parent.
        (pairs_final if mtu < interface.mtu and not carries else pairs)["mtu"] = mtu, interface.mtu
    if end.txqlen is not None:
        pairs["txqlen"] = end.txqlen, interface.txqlen
    if end.dad is False and any(address not in interface.addresses for address in end.addresses if _is_own(address)):
        pairs["af_spec"] = NO_LINK_LOCAL["af_spec"], {"inet6": {"addr_gen_mode": 0}}
    if not interface.alias:  # its broadcast address may still be our mark
        pairs["broadcast"] = BROADCAST, interface.broadcast
    return pairs, pairs_last, pairs_final


def _wanted(pairs: Pairs) -> tuple[dict[str, object], dict[str, object]]:
    """Split the pairs (wanted, present) that differ into wanted values and present ones."""
    wanted = {name: value for name, (value, now) in pairs.items() if value != now}
    return wanted, {name: pairs[name][1] for name in wanted}


def _address_difference(
    wanted: tuple[Address, ...], interface: Interface
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    # Remove only addresses that we set: others come from the user, a daemon or the kernel. Nor take over an address
    # with a lifetime, which is somebody else's: a rollback would remove it.
    have = interface.addresses
    add = tuple(address for address in wanted if address not in have and address not in interface.temporary)
    named = frozenset(wanted)
    remove = tuple(address for address, ours in have.items() if ours and address not in named)
    return add, remove
