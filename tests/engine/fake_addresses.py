"""The IP addresses of an interface of the fake kernel (net/ipv4/devinet.c, net/ipv6/addrconf.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kokofast.wire.addr import AF_INET, AF_INET6, IFA_F_NODAD, IFA_F_PERMANENT, RT_SCOPE_LINK, RTM_NEWADDR
from kokofast.wire.message import NLM_F_REPLACE, KernelError, Message

Key = tuple[int, bytes, int]  # family, address, prefix length

IFA_F_SECONDARY = 1


class FakeAddresses(dict[Key, bytes]):
    """(family, packed, prefixlen) -> IFA_PROTO, the oldest first; metrics has IFA_RT_PRIORITY, where one was given."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[Key, int] = {}

    def add(
        self, header: Mapping[str, Any], attributes: Mapping[str, Any], flags: int, check_new: Callable[[Key], None]
    ) -> None:
        """inet_rtm_newaddr(), inet6_rtm_newaddr()."""
        key = family, _, _ = header["family"], attributes["local"], header["prefixlen"]
        name = _name(family)
        there = key in self if family == AF_INET else next((one for one in self if one[:2] == key[:2]), None)
        if there and not flags & NLM_F_REPLACE:
            word = "Address" if family == AF_INET else "address"
            raise KernelError(errno.EEXIST, f"{name}: {word} already assigned")
        if not there:
            check_new(key)
        # IPv6 has an address once, with the prefix length that it came with.
        key = there if isinstance(there, tuple) else key
        self[key] = attributes.get("proto", b"")
        self.metrics.pop(key, None)
        if attributes.get("rt_priority"):
            self.metrics[key] = attributes["rt_priority"]

    def remove(self, header: Mapping[str, Any], attributes: Mapping[str, Any], *, promote: bool) -> None:
        """inet_rtm_deladdr(), inet6_rtm_deladdr()."""
        key = header["family"], attributes["local"], header["prefixlen"]
        if key not in self:
            word = "Address" if key[0] == AF_INET else "address"
            raise KernelError(errno.EADDRNOTAVAIL, f"{_name(key[0])}: {word} not found")
        lost = [] if promote or key[0] == AF_INET6 else list(self._secondaries(key))
        for gone in (key, *lost):
            self._forget(gone)

    def flush(self, family: int) -> None:
        for key in self.of(family):
            self._forget(key)

    def _forget(self, key: Key) -> None:
        del self[key]
        self.metrics.pop(key, None)

    def of(self, family: int) -> list[Key]:
        return [key for key in self if key[0] == family]

    def own(self, family: int) -> set[bytes]:
        return {packed for _, packed, _ in self.of(family)}

    def networks(self) -> Iterator[tuple[Key, int]]:
        """Its networks, as keys, each with the metric of the route to it; of a subnet that of its first address."""
        seen: set[tuple[int, tuple[int, int]]] = set()
        for family, packed, length in self:
            value, _ = _subnet((family, packed, length))
            if family == AF_INET6 or (family, (value, length)) not in seen:
                seen.add((family, (value, length)))
                bits = len(packed) * 8
                network = (value << (bits - length)).to_bytes(len(packed), "big")
                yield (family, network, length), self.metrics.get((family, packed, length), 0)

    def broadcasts(self) -> set[bytes]:
        """The broadcast addresses of its IPv4 networks of more than two hosts."""
        found = [(network, length) for (family, network, length), _ in self.networks() if family == AF_INET]
        return {
            (int.from_bytes(network, "big") | ((1 << (32 - length)) - 1)).to_bytes(4, "big")
            for network, length in found
            if length < 31
        }

    def _secondaries(self, key: Key) -> Iterator[Key]:
        """The later addresses of its subnet, when it is the first one."""
        same = [other for other in self if other[0] == AF_INET and _subnet(other) == _subnet(key)]
        if same and same[0] == key:
            yield from same[1:]

    def show(self, index: int) -> Iterator[Message]:
        subnets: set[tuple[int, int]] = set()
        for key, proto in self.items():
            family, packed, length = key
            flags = IFA_F_PERMANENT
            if family == AF_INET6:
                flags |= IFA_F_NODAD
            elif _subnet(key) in subnets:
                flags |= IFA_F_SECONDARY
            else:
                subnets.add(_subnet(key))
            is_local = family == AF_INET6 and packed[0] == 0xFE and packed[1] & 0xC0 == 0x80
            attributes: dict[str, Any] = {"address": packed, "flags": flags}
            if family == AF_INET:
                attributes["local"] = packed
            if proto:
                attributes["proto"] = proto
            if key in self.metrics:
                attributes["rt_priority"] = self.metrics[key]
            scope = RT_SCOPE_LINK if is_local else 0
            header = {"family": family, "prefixlen": length, "flags": flags, "scope": scope, "index": index}
            yield Message(RTM_NEWADDR, 0, 0, 0, header, attributes)


def _name(family: int) -> str:
    return "ipv4" if family == AF_INET else "ipv6"


def _subnet(key: Key) -> tuple[int, int]:
    _, packed, length = key
    return int.from_bytes(packed, "big") >> (len(packed) * 8 - length), length
