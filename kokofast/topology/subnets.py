"""Give addresses of subnets to links without addresses, in the order of the file.

The addresses of a link depend only on the links before it, so a new link at the end of the file changes no other. The
addresses in the file are skipped; one that an earlier link got already is a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kokofast.topology.model import AF_INET, AF_INET6, Address, Link
from kokofast.topology.values import parse_address, quote, refuse_special

ADDRESSES_PER_LINK = 2  # a /31 (RFC 3021) or a /127 (RFC 6164): no address of either is lost

Report = Callable[[str, str], None]  # place, message


class Subnet:
    """The pairs of addresses in a subnet. The number of a pair is its addresses without their last bit."""

    __slots__ = ("family", "first", "last", "next", "text", "without")

    def __init__(self, family: int, first: int, last: int, text: str) -> None:
        self.family = family
        self.first = self.next = first
        self.last = last
        self.text = text
        self.without: list[Link] = []  # links that got no addresses

    @property
    def pairs(self) -> int:
        """Return the number of pairs."""
        return self.last - self.first + 1


def parse_subnet(text: str, family: int | None = None) -> Subnet:
    """Parse a subnet of a family (None: any) with at least one pair of addresses. Raises ValueError."""
    base = parse_address(text)
    if family is not None and base.family != family:
        version, other = (6, "subnet6") if family == AF_INET else (4, "subnet")
        raise ValueError(f"{quote(text)} is an IPv{version} subnet; write it as '{other}'")
    size = 1 << (8 * len(base.packed) - base.prefixlen)
    first = int.from_bytes(base.packed)
    if size < ADDRESSES_PER_LINK:
        example = "10.0.0.0/16" if base.family == AF_INET else "2001:db8::/48"
        raise ValueError(f"{quote(text)} is one address, and a link takes two; a subnet is written as {example}")
    if behind := first % size:
        network = f"{_text(base.family, first - behind)}/{base.prefixlen}"
        raise ValueError(f"{quote(text)} has bits set behind the prefix; its subnet is {network}")
    refuse_special(base.family, (first + size - 1).to_bytes(len(base.packed)), text)
    return Subnet(base.family, first // ADDRESSES_PER_LINK, (first + size - 1) // ADDRESSES_PER_LINK, text)


def addresses_of_pair(family: int, pair: int) -> tuple[Address, Address]:
    """Return the two addresses of a pair, as a /31 or /127."""
    length, octets = (31, 4) if family == AF_INET else (127, 16)
    one, two = (
        Address(family, number.to_bytes(octets), length, f"{_text(family, number)}/{length}")
        for number in (ADDRESSES_PER_LINK * pair, ADDRESSES_PER_LINK * pair + 1)
    )
    return one, two


def _text(family: int, number: int) -> str:
    if family == AF_INET:
        return ".".join(map(str, number.to_bytes(4)))
    from ipaddress import IPv6Address  # slow to import, needed for IPv6 only

    return str(IPv6Address(number))


def give_addresses(links: Iterable[Link], subnets_of: Callable[[Link], Iterable[Subnet]], report: Report) -> None:
    """Give a pair of addresses from each of its subnets to each link with two ends and no addresses."""
    taken: dict[int, dict[int, Link | None]] = {AF_INET: {}, AF_INET6: {}}  # None: the file gives an address of it
    used: dict[Subnet, None] = {}
    for link in links:
        if len(link.ends) != ADDRESSES_PER_LINK or any(_says_addresses(link, number) for number in (0, 1)):
            _keep(link, taken, report)
            continue
        for subnet in subnets_of(link):
            used[subnet] = None
            pairs = taken[subnet.family]
            while subnet.next in pairs:
                subnet.next += 1
            if subnet.next > subnet.last:
                subnet.without.append(link)
                continue
            pairs[subnet.next] = link
            for end, address in zip(link.ends, addresses_of_pair(subnet.family, subnet.next), strict=True):
                end.addresses = (*end.addresses, address)
            subnet.next += 1
    for subnet in used:
        if subnet.without:
            _report_full(subnet, report)


def _says_addresses(link: Link, number: int) -> bool:
    """Whether the file gives the addresses of an end, also an empty list."""
    end = link.ends[number]
    return bool(end.addresses) or (end.places is not None and "addresses" in end.places)


def _keep(link: Link, taken: dict[int, dict[int, Link | None]], report: Report) -> None:
    """Reserve a link's own addresses, and report those that an earlier link got."""
    for end in link.ends:
        for number, address in enumerate(end.addresses):
            other = taken[address.family].setdefault(int.from_bytes(address.packed) // ADDRESSES_PER_LINK)
            if other is not None:
                report(
                    end.where(f"addresses[{number}]"),
                    f"{address.text} is among the addresses that {other.title()} at {other.place} got from its subnet; "
                    "choose another one, or put this link before that one",
                )


def _report_full(subnet: Subnet, report: Report) -> None:
    first, *others = subnet.without
    more = f" and the {len(others)} after it" if others else ""
    report(
        first.place,
        f"no addresses are left for this link{more}: the subnet {subnet.text} has them for {subnet.pairs:,} links; "
        "choose a larger one, or give addresses in the file",
    )
