"""The link kinds of the fake kernel: what the driver of each does, as far as it can be seen from outside.

Sources: drivers/net/veth.c, vxlan/vxlan_core.c, macvlan.c, ipvlan/ipvlan_main.c, dummy.c, net/8021q/vlan_netlink.c,
net/bridge/br_netlink.c. tests/engine/test_fake_is_true.py compares those kinds that the kernel here has.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any

from kokofast.wire.message import KernelError
from tests.engine.fake_addresses import Key
from tests.engine.fake_links import FakeLink, FakeLinks, FakeNamespace, check

ETHERNET_MTU = (68, 65535)
VXLAN_TEXT = "Required attributes not provided to perform the operation"
VNI_MAX = 1 << 24
RESTRICTED_GROUPS = 7
VEPA, PASSTHRU, MODES = 2, 8, (1, 2, 4, 8, 16)

Attributes = Mapping[str, Any]
Place = tuple[FakeNamespace, FakeLink]
SpaceOf = Callable[[int], FakeNamespace]


def check_address(attributes: Attributes, texts: tuple[str, str] = ("", ""), path: tuple[str, ...] = ()) -> None:
    """What most drivers do in validate(): a unicast Ethernet address."""
    if "address" in attributes:
        address: bytes = attributes["address"]
        check(len(address) == 6, errno.EINVAL, texts[0], path)
        check(any(address) and not address[0] & 1, errno.EADDRNOTAVAIL, texts[1], path)


class FakeKind:
    """A driver; that of interfaces of which nothing is known, such as a network card."""

    name = ""
    mtu = ETHERNET_MTU
    queues = 1
    follows_carrier = False  # whether it has no carrier when its parent has none
    follows_up = False  # whether it goes up and down with its parent

    def validate(self, attributes: Attributes, data: Attributes | None) -> None:
        check_address(attributes)

    def attach(
        self,
        links: FakeLinks,
        home: FakeNamespace,
        link: FakeLink,
        sender: FakeNamespace,
        attributes: Attributes,
        data: Attributes,
        space_of: SpaceOf,
    ) -> None:
        links.register(home, link)

    def open(self, links: FakeLinks, namespace: FakeNamespace, link: FakeLink) -> None:
        """It is set up."""

    def change_mtu(self, link: FakeLink, mtu: int) -> None:
        """Refuses an MTU that the limits allow."""

    def change_address(self, links: FakeLinks, namespace: FakeNamespace, link: FakeLink, mac: bytes) -> None:
        check(mac == link.mac or (any(mac) and not mac[0] & 1), errno.EADDRNOTAVAIL)
        links.set_mac(namespace, link, mac)

    def parent_mtu(self, links: FakeLinks, home: FakeNamespace, link: FakeLink, mtu: int) -> None:
        """The MTU of its parent has changed."""

    def check_ip(self, links: FakeLinks, link: FakeLink, key: Key) -> None:
        """Refuses an IP address that it does not have yet."""

    def show(self, link: FakeLink) -> dict[str, Any]:
        """IFLA_INFO_DATA."""
        return link.data


class Loopback(FakeKind):
    mtu = (0, 0)


class Dummy(FakeKind):
    name = "dummy"
    mtu = (0, 0)


class Bridge(FakeKind):
    name = "bridge"

    def attach(
        self,
        links: FakeLinks,
        home: FakeNamespace,
        link: FakeLink,
        sender: FakeNamespace,
        attributes: Attributes,
        data: Attributes,
        space_of: SpaceOf,
    ) -> None:
        links.register(home, link)
        if data.get("group_fwd_mask", 0) & RESTRICTED_GROUPS:
            del home.links[link.index]
            raise KernelError(errno.EINVAL)
        link.data = {"stp_state": 0, "group_fwd_mask": 0, **data}
        if "address" in attributes:
            link.is_given = frozenset(("mac",))

    def change_mtu(self, link: FakeLink, mtu: int) -> None:
        link.is_given |= {"mtu"}

    def change_address(self, links: FakeLinks, namespace: FakeNamespace, link: FakeLink, mac: bytes) -> None:
        super().change_address(links, namespace, link, mac)
        link.is_given |= {"mac"}


class Veth(FakeKind):
    name = "veth"
    queues = os.cpu_count() or 1

    def validate(self, attributes: Attributes, data: Attributes | None) -> None:
        check_address(attributes)
        least, most = ETHERNET_MTU
        check(least <= attributes.get("mtu", least) <= most, errno.EINVAL)
        if data is not None:
            self.validate(data["peer"], None)

    def attach(
        self,
        links: FakeLinks,
        home: FakeNamespace,
        link: FakeLink,
        sender: FakeNamespace,
        attributes: Attributes,
        data: Attributes,
        space_of: SpaceOf,
    ) -> None:
        peer = data["peer"]
        there = space_of(peer["net_ns_fd"]) if "net_ns_fd" in peer else sender
        other = links.prepare(there, peer["header"], peer, self)
        links.register(there, other)
        try:
            links.register(home, link)
        except KernelError:
            del there.links[other.index]
            raise
        link.peer, other.peer = (there, other.index), (home, link.index)


class Stacked(FakeKind):
    """On one interface, its parent, which IFLA_LINK names in the sender's namespace."""

    absent, unknown = "", ""
    follows_carrier = True

    def parent_of(self, links: FakeLinks, sender: FakeNamespace, attributes: Attributes) -> Place:
        check("link" in attributes, errno.EINVAL, self.absent)
        parent = sender.links.get(attributes["link"])
        if parent is None:
            raise KernelError(errno.ENODEV, self.unknown)
        if parent.kind == self.name and self.name != "vlan" and parent.parent is not None:
            space, index = parent.parent  # those on one of their own kind are on its parent
            return space, space.links[index]
        return sender, parent

    def siblings(self, links: FakeLinks, space: FakeNamespace, parent: FakeLink) -> list[FakeLink]:
        return [child for _, child in links.above(space, parent) if child.kind == self.name]


class Macvlan(Stacked):
    name = "macvlan"

    def validate(self, attributes: Attributes, data: Attributes | None) -> None:
        check_address(attributes)
        check(data is None or data.get("mode", VEPA) in MODES, errno.EINVAL)

    def attach(
        self,
        links: FakeLinks,
        home: FakeNamespace,
        link: FakeLink,
        sender: FakeNamespace,
        attributes: Attributes,
        data: Attributes,
        space_of: SpaceOf,
    ) -> None:
        space, parent = self.parent_of(links, sender, attributes)
        if "mtu" not in attributes:
            link.mtu = parent.mtu
        check(link.mtu <= parent.mtu, errno.EINVAL)
        others = self.siblings(links, space, parent)
        mode = data.get("mode", VEPA)
        check(bool(others) or not parent.is_loopback, errno.EINVAL)
        if not others:
            links.check_receiver(space, parent)
        check(all(other.data["mode"] != PASSTHRU for other in others), errno.EINVAL)
        check(mode != PASSTHRU or not others, errno.EINVAL)
        if mode == PASSTHRU:
            link.mac, link.has_parents_mac = parent.mac, True
        link.data = {"mode": mode, "flags": 0}
        links.register(home, link)
        link.parent = space, parent.index

    def _is_taken(self, links: FakeLinks, link: FakeLink, mac: bytes) -> bool:
        """macvlan_addr_busy()."""
        assert link.parent is not None
        parent = link.parent[0].links[link.parent[1]]
        others = self.siblings(links, link.parent[0], parent)
        return mac == parent.mac or any(one.up and one is not link and one.mac == mac for one in others)

    def open(self, links: FakeLinks, namespace: FakeNamespace, link: FakeLink) -> None:
        check(link.has_parents_mac or not self._is_taken(links, link, link.mac), errno.EADDRINUSE)

    def change_mtu(self, link: FakeLink, mtu: int) -> None:
        assert link.parent is not None
        check(mtu <= link.parent[0].links[link.parent[1]].mtu, errno.EINVAL)

    def change_address(self, links: FakeLinks, namespace: FakeNamespace, link: FakeLink, mac: bytes) -> None:
        check(any(mac) and not mac[0] & 1, errno.EADDRNOTAVAIL)
        assert link.parent is not None
        if link.has_parents_mac:
            links.set_mac(link.parent[0], link.parent[0].links[link.parent[1]], mac)
            return
        check(mac == link.mac or not self._is_taken(links, link, mac), errno.EADDRINUSE)
        links.set_mac(namespace, link, mac)

    def parent_mtu(self, links: FakeLinks, home: FakeNamespace, link: FakeLink, mtu: int) -> None:
        if link.mtu > mtu:
            links.set_mtu(home, link, mtu)


class Ipvlan(Stacked):
    name = "ipvlan"

    def validate(self, attributes: Attributes, data: Attributes | None) -> None:
        check(len(attributes.get("address", bytes(6))) == 6, errno.EINVAL)  # it never has the one that it is given

    def attach(
        self,
        links: FakeLinks,
        home: FakeNamespace,
        link: FakeLink,
        sender: FakeNamespace,
        attributes: Attributes,
        data: Attributes,
        space_of: SpaceOf,
    ) -> None:
        space, parent = self.parent_of(links, sender, attributes)
        if "mtu" not in attributes:
            link.mtu = parent.mtu
        others = self.siblings(links, space, parent)
        check(not parent.is_loopback, errno.EINVAL)
        if not others:
            links.check_receiver(space, parent)
        link.mac, link.has_parents_mac = parent.mac, True
        links.register(home, link)
        link.data = {"mode": data.get("mode", 1), "flags": 0}
        for other in others:  # one mode for all on a parent
            other.data["mode"] = link.data["mode"]
        link.parent = space, parent.index

    def change_address(self, links: FakeLinks, namespace: FakeNamespace, link: FakeLink, mac: bytes) -> None:
        raise KernelError(errno.EOPNOTSUPP)

    def parent_mtu(self, links: FakeLinks, home: FakeNamespace, link: FakeLink, mtu: int) -> None:
        link.mtu = mtu  # of which IPv4 and IPv6 hear nothing

    def check_ip(self, links: FakeLinks, link: FakeLink, key: Key) -> None:
        """An address is one ipvlan's only, with one prefix length: ipvlan_addr4_validator_event()."""
        assert link.parent is not None
        space, index = link.parent
        known = {one[:2] for other in self.siblings(links, space, space.links[index]) for one in other.addresses}
        check(key[:2] not in known, errno.EADDRINUSE, "Address already assigned to an ipvlan device")


class Vlan(Stacked):
    name = "vlan"
    mtu = (0, 65535)
    absent, unknown = "link not specified", "link does not exist"
    follows_up = True

    def validate(self, attributes: Attributes, data: Attributes | None) -> None:
        check_address(attributes, ("Invalid link address", "Invalid link address"))
        check(data is not None, errno.EINVAL, "VLAN properties not specified")
        assert data is not None
        check(data.get("protocol", 0x8100) in (0x8100, 0x88A8), errno.EPROTONOSUPPORT, "Invalid VLAN protocol")
        check(data.get("id", 0) < 4095, errno.ERANGE, "Invalid VLAN id")

    def attach(
        self,
        links: FakeLinks,
        home: FakeNamespace,
        link: FakeLink,
        sender: FakeNamespace,
        attributes: Attributes,
        data: Attributes,
        space_of: SpaceOf,
    ) -> None:
        check("id" in data, errno.EINVAL, "VLAN id not specified")
        space, parent = self.parent_of(links, sender, attributes)
        link.data = {"id": data["id"], "protocol": data.get("protocol", 0x8100)}
        check(not parent.is_loopback and parent.kind != "ipvlan", errno.EOPNOTSUPP, "VLANs not supported on device")
        others = self.siblings(links, space, parent)
        check(all(other.data != link.data for other in others), errno.EEXIST, "VLAN device already exists")
        if "mtu" not in attributes:
            link.mtu = parent.mtu
        check(link.mtu <= parent.mtu, errno.EINVAL)
        if "address" not in attributes:
            link.mac, link.has_parents_mac = parent.mac, True
        link.broadcast = attributes.get("broadcast", parent.broadcast)
        links.register(home, link)
        link.parent = space, parent.index

    def open(self, links: FakeLinks, namespace: FakeNamespace, link: FakeLink) -> None:
        assert link.parent is not None
        parent = link.parent[0].links[link.parent[1]]
        check(parent.up, errno.ENETDOWN)
        if link.has_parents_mac:
            links.set_mac(namespace, link, parent.mac)

    def change_mtu(self, link: FakeLink, mtu: int) -> None:
        assert link.parent is not None
        check(mtu <= link.parent[0].links[link.parent[1]].mtu, errno.ERANGE)

    def change_address(self, links: FakeLinks, namespace: FakeNamespace, link: FakeLink, mac: bytes) -> None:
        super().change_address(links, namespace, link, mac)
        link.has_parents_mac = False

    def parent_mtu(self, links: FakeLinks, home: FakeNamespace, link: FakeLink, mtu: int) -> None:
        if link.mtu > mtu:
            links.set_mtu(home, link, mtu)


VXLAN_DEFAULTS = {"ttl": 0, "tos": 0, "learning": 1, "ageing": 300, "limit": 0, "port_range": bytes(4)}


class Vxlan(FakeKind):
    name = "vxlan"

    def validate(self, attributes: Attributes, data: Attributes | None) -> None:
        texts = "Provided link layer address is not Ethernet", "Provided Ethernet address is not unicast"
        check_address(attributes, texts, ("address",))
        least, most = ETHERNET_MTU
        mtu = attributes.get("mtu", least)
        check(least <= mtu <= most, errno.EINVAL, "MTU must be between 68 and 65535", ("mtu",))
        check(data is not None, errno.EINVAL, VXLAN_TEXT)
        path = ("linkinfo", "data", "id")
        assert data is not None
        check(data.get("id", 0) < VNI_MAX, errno.ERANGE, "VXLAN ID must be lower than 16777216", path)

    def attach(
        self,
        links: FakeLinks,
        home: FakeNamespace,
        link: FakeLink,
        sender: FakeNamespace,
        attributes: Attributes,
        data: Attributes,
        space_of: SpaceOf,
    ) -> None:
        remote, local = data.get("group", data.get("group6")), data.get("local", data.get("local6"))
        if remote is not None and local is not None:
            text = "Local and remote address must be from the same family"
            check(len(remote) == len(local), errno.EINVAL, text)
        check(local is None or not _is_multicast(local), errno.EINVAL, "Local address cannot be multicast")
        parent: FakeLink | None = None
        if data.get("link"):
            parent = sender.links.get(data["link"])
            if parent is None:
                raise KernelError(errno.ENODEV, "Invalid local interface, device not found")
            is_off = len(remote or local or b"") == 16 and parent.has_ipv6 and not sender.is_ipv6_on(parent)
            check(not is_off, errno.EPERM, "IPv6 support disabled by administrator")
        elif remote is not None and _is_multicast(remote):
            raise KernelError(errno.EINVAL, "Local interface required for multicast remote destination")
        overhead = 70 if len(remote or local or bytes(4)) == 16 else 50
        taken = [one.data | {"overhead": _overhead(one)} for _, one in links.stacked if one.sender is sender]
        text = "A VXLAN device with the specified VNI already exists"
        mine = (data["id"], data["port"], overhead)
        check(all((one["id"], one["port"], one["overhead"]) != mine for one in taken), errno.EEXIST, text)
        if parent is not None:
            room = max(parent.mtu - overhead, ETHERNET_MTU[0])
            link.mtu = min(attributes.get("mtu", room), room)
        link.data = {
            **VXLAN_DEFAULTS,
            **{name: value for name, value in data.items() if name != "group6" or any(value)},
        }
        link.is_ipv6 = overhead == 70
        link.remotes = (
            [] if remote is None or not any(remote) else [(remote, parent.index if parent is not None else 0)]
        )
        links.register(home, link)
        link.sender = sender
        link.parent = (sender, parent.index) if parent is not None else (sender, 0)

    def change_mtu(self, link: FakeLink, mtu: int) -> None:
        assert link.parent is not None
        parent = link.parent[0].links.get(link.parent[1])
        check(parent is None or mtu <= parent.mtu - _overhead(link), errno.EINVAL)


def _overhead(link: FakeLink) -> int:
    return 70 if link.is_ipv6 else 50


def _is_multicast(packed: bytes) -> bool:
    return packed[0] >> 4 == 0xE if len(packed) == 4 else packed[0] == 0xFF


LOOPBACK_KIND = Loopback()
KINDS: dict[str, FakeKind] = {
    kind.name: kind for kind in (FakeKind(), Veth(), Vxlan(), Vlan(), Macvlan(), Ipvlan(), Dummy(), Bridge())
}
