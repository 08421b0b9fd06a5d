"""The interfaces of the fake kernel: what rtnetlink does with them, whatever their kind (net/core/rtnetlink.c)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kokofast.ends.offload import ALL, USUAL
from kokofast.wire.addr import AF_INET, AF_INET6
from kokofast.wire.attributes import encode
from kokofast.wire.ethtool import ETHTOOL, ETHTOOL_MSG_FEATURES_GET
from kokofast.wire.link import IFF_LOWER_UP, IFF_RUNNING, IFF_UP, RTM_NEWLINK
from kokofast.wire.linkinfo import PORT
from kokofast.wire.message import KernelError, Message
from tests.engine.fake_addresses import FakeAddresses
from tests.engine.fake_filters import FakeControl
from tests.engine.fake_routes import FakeRoutes
from tests.engine.fake_sysctls import FakeSysctls

Identity = tuple[int, int]

LOOPBACK = 1
LOOPBACK_MTU = 65536
NAME_MAX, ALIAS_MAX = 15, 254
QUEUES_MAX = 4096
ADDR_GEN_MODES = (0, 1, 3)  # 2, stable privacy, needs the sysctl stable_secret, which has no value here
IPV4_MIN_MTU, IPV6_MIN_MTU = 68, 1280
CHOSEN_MAC = b"\x02\xfa\xce\x0f"  # how those begin that the kernel would choose by chance
TOO_LONG = "Attribute failed policy validation"


class FakeLink:
    """An interface."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.group = 0
        self.alias = ""
        self.kind = ""
        self.data: dict[str, Any] = {}  # what its driver tells of it
        self.mac = bytes(6)
        self.broadcast = b"\xff" * 6
        self.mtu = 1500
        self.txqlen = 1000
        self.queues = 1
        self.up = False
        self.is_settling = False  # it drops what it sends
        # Whether IPv4 and IPv6 know it, switched on or off. IPv4 does at first, however small its MTU is.
        self.has_ipv4, self.has_ipv6 = True, True
        self.master = 0
        self.port_mask = 0  # of a port of a bridge: which groups are passed on that come in there
        self.altnames: tuple[str, ...] = ()
        self.addr_gen_mode = 0
        self.features = USUAL  # of those of kokofast.ends.offload, what is wanted
        self.is_ipv6 = False  # of a vxlan
        self.remotes: list[tuple[bytes, int]] = []  # of a vxlan: where what it has no other entry for is sent
        self.has_parents_mac = False
        self.is_given: frozenset[str] = frozenset()  # of a bridge: what does not follow its ports, "mac" and "mtu"
        self.peer: tuple[FakeNamespace, int] | None = None
        self.parent: tuple[FakeNamespace, int] | None = None
        self.sender: FakeNamespace | None = None  # of a tunnel: where its packets leave
        self.addresses = FakeAddresses()
        self.sysctls: dict[tuple[str, str], str] = {}  # (ipv4 or ipv6, name) -> a value that is not 0
        self.control = FakeControl(self)

    def state(self) -> dict[str, object]:
        """Everything that can be seen of it, to be compared."""
        others = {
            name: None if found is None else (found[0].identity, found[1])
            for name, found in (("peer", self.peer), ("parent", self.parent))
        }
        sender = None if self.sender is None else self.sender.identity
        addresses = sorted((*key, proto, self.addresses.metrics.get(key)) for key, proto in self.addresses.items())
        shown = {
            "sender": sender,
            "addresses": addresses,
            "control": self.control.state(),
            "remotes": sorted(self.remotes),
            "altnames": sorted(self.altnames),
        }
        return {**self.__dict__, **others, **shown}

    def forget(self, family: str) -> None:
        """It is not an interface for IPv4, or for IPv6, any more."""
        self.addresses.flush(AF_INET if family == "ipv4" else AF_INET6)
        self.addr_gen_mode = 0 if family == "ipv6" else self.addr_gen_mode
        self.sysctls = {key: value for key, value in self.sysctls.items() if key[0] != family}

    @property
    def is_loopback(self) -> bool:
        return self.index == LOOPBACK


class FakeNamespace:
    """A network namespace: its interfaces by index, its routes and sysctls, and whether a process is in it.

    A descriptor or a socket that /proc does not show may also keep it."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        lo = FakeLink(LOOPBACK, "lo")
        lo.mtu, lo.broadcast = LOOPBACK_MTU, bytes(6)
        self.links: dict[int, FakeLink] = {LOOPBACK: lo}
        self.nsids: dict[Identity, int] = {}  # the numbers by which it calls others
        self.inhabited = False
        self.held = False
        self.routes = FakeRoutes(self)
        self.sysctls = FakeSysctls(self)

    def by_name(self, name: str) -> FakeLink | None:
        return next((link for link in self.links.values() if name == link.name or name in link.altnames), None)

    def free_index(self) -> int:
        return max(self.links) + 1

    def add(self, name: str, *, index: int | None = None, group: int = 0, alias: str = "", kind: str = "") -> FakeLink:
        """An interface of somebody else."""
        link = FakeLink(index if index is not None else self.free_index(), name)
        link.group, link.alias, link.kind = group, alias, kind
        self.links[link.index] = link
        self.sysctls.begin(link, "ipv4", "ipv6")
        return link

    def nsid_of(self, other: FakeNamespace) -> int:
        """The number by which it calls another one, from now on if it had none: peernet2id_alloc()."""
        if other.identity not in self.nsids:
            taken = set(self.nsids.values())
            self.nsids[other.identity] = next(number for number in range(len(taken) + 1) if number not in taken)
        return self.nsids[other.identity]

    def is_ipv6_on(self, link: FakeLink) -> bool:
        """Whether IPv6 is on for an interface."""
        return ("ipv6", "disable_ipv6") not in link.sysctls

    def lose(self, link: FakeLink, family: str, *, is_gone: bool) -> None:
        """An interface goes down for IPv4 or IPv6, or is not there any more for it; its addresses are gone by now."""
        self.routes.forget(link.index, AF_INET if family == "ipv4" else AF_INET6, is_gone=is_gone)

    def state(self) -> dict[str, object]:
        links = {link.name: link.state() for link in self.links.values()}
        return {**links, "(routes)": self.routes.state(), "(sysctls)": self.sysctls.state()}


def check(condition: bool, code: int, text: str = "", path: tuple[str, ...] = ()) -> None:
    """Refuses a request unless the condition holds."""
    if not condition:
        raise KernelError(code, text, path)


def check_mtu(mtu: int, limits: tuple[int, int]) -> None:
    """dev_validate_mtu()."""
    least, most = limits
    check(mtu >= least, errno.EINVAL, "mtu less than device minimum")
    check(not most or mtu <= most, errno.EINVAL, "mtu greater than device maximum")


class FakeLinks:
    """All interfaces of the machine, and the requests about them. A refusal is raised as KernelError.

    lacks: the kinds and classifiers that this kernel does not have.
    """

    def __init__(self) -> None:
        from tests.engine.fake_kinds import KINDS, LOOPBACK_KIND  # which need the classes above

        self.kinds = KINDS
        self._loopback = LOOPBACK_KIND
        self.lacks: set[str] = set()
        self.renames_what_is_up = True  # since Linux 6.2
        self._macs = 0
        self.stacked: list[tuple[FakeNamespace, FakeLink]] = []  # those that have a parent
        self.created: Callable[[FakeNamespace, FakeLink], None] | None = None

    def above(self, namespace: FakeNamespace, link: FakeLink) -> Iterator[tuple[FakeNamespace, FakeLink]]:
        """The interfaces whose parent an interface is."""
        for home, child in list(self.stacked):
            if child.parent is not None and child.parent[0] is namespace and child.parent[1] == link.index:
                yield home, child

    def kind_of(self, link: FakeLink) -> Any:
        return self._loopback if link.is_loopback else self.kinds.get(link.kind, self.kinds[""])

    # RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK

    def create(
        self,
        sender: FakeNamespace,
        header: Mapping[str, Any],
        attributes: Mapping[str, Any],
        space_of: Callable[[int], FakeNamespace],
    ) -> None:
        """rtnl_newlink()."""
        info = attributes["linkinfo"]
        data = info.get("data")
        check(len(attributes["ifname"]) <= NAME_MAX, errno.ERANGE, TOO_LONG, ("ifname",))
        kind = None if info["kind"] in self.lacks else self.kinds.get(info["kind"])
        if kind is not None:
            kind.validate(attributes, data)
        home = space_of(attributes["net_ns_fd"]) if "net_ns_fd" in attributes else sender
        there = home.links.get(header["index"]) if header.get("index") else home.by_name(attributes["ifname"])
        check(there is None, errno.EEXIST)
        if kind is None:
            raise KernelError(errno.EOPNOTSUPP, "Unknown device type")
        link = self.prepare(home, header, attributes, kind)
        kind.attach(self, home, link, sender, attributes, data or {}, space_of)
        if link.parent is not None:
            self.stacked.append((home, link))
        for near, far in self._neighbours(home, link):
            near.nsid_of(far)
        if self.created is not None:
            self.created(home, link)
            if link.peer is not None:
                self.created(link.peer[0], link.peer[0].links[link.peer[1]])

    def prepare(
        self, home: FakeNamespace, header: Mapping[str, Any], attributes: Mapping[str, Any], kind: Any
    ) -> FakeLink:
        """rtnl_create_link(): an interface that is not there yet."""
        queues = attributes.get("num_tx_queues", kind.queues)
        check(1 <= queues <= QUEUES_MAX, errno.EINVAL, "Invalid number of transmit queues")
        link = FakeLink(header.get("index") or home.free_index(), attributes["ifname"])
        link.kind = kind.name
        if "mtu" in attributes:
            check_mtu(attributes["mtu"], kind.mtu)
            link.mtu = attributes["mtu"]
        link.queues = queues
        link.group = attributes.get("group", 0)
        link.txqlen = attributes.get("txqlen", link.txqlen)
        link.mac = attributes.get("address", self._random_mac())
        link.broadcast = attributes.get("broadcast", link.broadcast)
        return link

    def _random_mac(self) -> bytes:
        self._macs += 1
        return CHOSEN_MAC + self._macs.to_bytes(2, "big")

    @staticmethod
    def register(home: FakeNamespace, link: FakeLink) -> None:
        """register_netdevice()."""
        is_name = link.name not in ("", ".", "..") and not any(sign in link.name for sign in "/: ")
        check(is_name, errno.EINVAL)
        check(home.by_name(link.name) is None, errno.EEXIST)
        check(link.index not in home.links, errno.EBUSY)
        home.links[link.index] = link
        link.has_ipv6 = link.mtu >= IPV6_MIN_MTU
        home.sysctls.begin(link, "ipv4", *(["ipv6"] if link.has_ipv6 else []))

    @staticmethod
    def _neighbours(home: FakeNamespace, link: FakeLink) -> Iterator[tuple[FakeNamespace, FakeNamespace]]:
        other = link.sender or (link.peer and link.peer[0]) or (link.parent and link.parent[0])
        if other and other is not home:
            yield home, other
            if link.peer is not None:
                yield other, home

    def delete(self, namespace: FakeNamespace, header: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """rtnl_dellink()."""
        if header.get("index"):
            doomed = [link for link in namespace.links.values() if link.index == header["index"]]
        else:
            check("group" in attributes, errno.EINVAL)
            check(attributes["group"] != 0, errno.EPERM)
            doomed = [link for link in namespace.links.values() if link.group == attributes["group"]]
        check(bool(doomed), errno.ENODEV)
        check(all(link.kind for link in doomed), errno.EOPNOTSUPP)
        for link in doomed:
            self.unlink(namespace, link)

    def unlink(self, namespace: FakeNamespace, link: FakeLink) -> None:
        """Takes an interface away, and with it its peer and what has it as parent."""
        if namespace.links.pop(link.index, None) is None:
            return
        for family in ("ipv4", "ipv6"):
            if link.up:
                namespace.lose(link, family, is_gone=False)
            namespace.lose(link, family, is_gone=True)
        self.stacked = [item for item in self.stacked if item[1] is not link]
        for home, child in self.above(namespace, link):
            self.unlink(home, child)
        for other in namespace.links.values():
            other.control.forget_target(link.index)
            if other.master == link.index:
                other.master = 0
        self.follow_ports(namespace, link.master)
        if link.peer is not None:
            space, index = link.peer
            if index in space.links:
                self.unlink(space, space.links[index])

    def set(self, namespace: FakeNamespace, header: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """do_setlink(): one thing after the other; what was done before a refusal stays."""
        check(len(attributes.get("ifalias", "").encode()) <= ALIAS_MAX, errno.ERANGE, TOO_LONG, ("ifalias",))
        link = namespace.links.get(header["index"])
        if link is None:
            raise KernelError(errno.ENODEV)
        for name in ("address", "broadcast"):
            check(len(attributes.get(name, bytes(6))) == 6, errno.EINVAL)
        mode = attributes.get("af_spec", {}).get("inet6", {}).get("addr_gen_mode", link.addr_gen_mode)
        check(link.has_ipv6 or "af_spec" not in attributes, errno.EAFNOSUPPORT)
        check(mode in ADDR_GEN_MODES, errno.EINVAL)
        kind = self.kind_of(link)
        if "address" in attributes:
            kind.change_address(self, namespace, link, attributes["address"])
        if "mtu" in attributes:
            self.set_mtu(namespace, link, attributes["mtu"])
        link.group = attributes.get("group", link.group)
        if attributes.get("ifname", link.name) != link.name:
            check(namespace.by_name(attributes["ifname"]) is None, errno.EEXIST)
            check(self.renames_what_is_up or not link.up, errno.EBUSY)
            link.name = attributes["ifname"]
        link.alias = attributes.get("ifalias", link.alias)
        link.broadcast = attributes.get("broadcast", link.broadcast)
        if header.get("change", 0) & IFF_UP:
            self.set_up(namespace, link, bool(header["flags"] & IFF_UP))
        if "master" in attributes:
            self._set_master(namespace, link, attributes["master"])
        if "protinfo" in attributes:
            check(bool(link.master), errno.EOPNOTSUPP)
            link.port_mask = attributes["protinfo"]["group_fwd_mask"]
        link.txqlen = attributes.get("txqlen", link.txqlen)
        check(link.has_ipv6 or "af_spec" not in attributes, errno.EAFNOSUPPORT)  # the MTU has changed before
        link.addr_gen_mode = mode if link.has_ipv6 else link.addr_gen_mode

    def set_features(self, namespace: FakeNamespace, attributes: dict[str, Any]) -> None:
        """ethnl_set_features(), which changes nothing where a name is not known."""
        link = namespace.links.get(attributes["header"]["dev_index"])
        if link is None:
            raise KernelError(errno.ENODEV)
        bits = attributes["wanted"]["bits"]["bit"]
        known = all(bit["name"] in ALL for bit in bits)
        check(known, errno.EOPNOTSUPP, "bit name not found", ("wanted", "bits", "bit", "name"))
        on = {bit["name"] for bit in bits if "value" in bit}
        link.features = link.features - {bit["name"] for bit in bits} | on

    def show_features(self, link: FakeLink) -> Message:
        bits = [{"index": number, "name": name} for number, name in enumerate(ALL) if name in link.features]
        wanted = {"nomask": True, "size": len(ALL), "bits": {"bit": bits}}
        header = {"cmd": ETHTOOL_MSG_FEATURES_GET, "version": 1}
        device = {"dev_index": link.index, "dev_name": link.name}
        return Message(ETHTOOL, 0, 0, 0, header, {"header": device, "wanted": wanted})

    def name(self, namespace: FakeNamespace, header: dict[str, Any], attributes: dict[str, Any], *, adds: bool) -> None:
        """rtnl_linkprop()."""
        link = namespace.links.get(header["index"])
        if link is None:
            raise KernelError(errno.ENODEV)
        for name in attributes["prop_list"]["alt_ifname"]:
            if adds:
                check(namespace.by_name(name) is None, errno.EEXIST)
                link.altnames = (*link.altnames, name)
            else:
                check(name in link.altnames, errno.ENOENT)
                link.altnames = tuple(other for other in link.altnames if other != name)

    def forward(
        self, namespace: FakeNamespace, header: Mapping[str, Any], attributes: Mapping[str, Any], *, adds: bool
    ) -> None:
        """rtnl_fdb_add(), rtnl_fdb_del(), of a vxlan and the MAC address of all zeros."""
        link = namespace.links.get(header["index"])
        if link is None:
            raise KernelError(errno.ENODEV, "unknown ifindex")
        host = attributes["dst"]
        if adds:
            check(len(host) == (16 if link.is_ipv6 else 4), errno.EAFNOSUPPORT)
            link.remotes += [(host, 0)] if (host, 0) not in link.remotes else []
        else:
            check(bool(link.remotes), errno.ENOENT)
            link.remotes = [other for other in link.remotes if other != (host, 0)]

    def set_mtu(self, namespace: FakeNamespace, link: FakeLink, mtu: int) -> None:
        if mtu == link.mtu:
            return
        kind = self.kind_of(link)
        check_mtu(mtu, kind.mtu)
        kind.change_mtu(link, mtu)
        self._have_mtu(namespace, link, mtu)

    def _have_mtu(self, namespace: FakeNamespace, link: FakeLink, mtu: int) -> None:
        link.mtu = mtu
        for family, had, has in (
            ("ipv6", link.has_ipv6, mtu >= IPV6_MIN_MTU or link.is_loopback),
            ("ipv4", link.has_ipv4, mtu >= IPV4_MIN_MTU),
        ):
            if had and not has:
                if family == "ipv6" or link.addresses.of(AF_INET):
                    namespace.lose(link, family, is_gone=True)
                link.forget(family)
            elif has and not had:
                namespace.sysctls.begin(link, family)
        if link.is_loopback and mtu < IPV6_MIN_MTU:  # it goes down for IPv6, which knows it still
            self._down_for_ipv6(namespace, link)
        link.has_ipv6, link.has_ipv4 = mtu >= IPV6_MIN_MTU or link.is_loopback, mtu >= IPV4_MIN_MTU
        for home, child in self.above(namespace, link):
            with contextlib.suppress(KernelError):  # which nobody hears of
                self.kind_of(child).parent_mtu(self, home, child, mtu)
        self.follow_ports(namespace, link.master)

    def set_mac(self, namespace: FakeNamespace, link: FakeLink, mac: bytes) -> None:
        link.mac = mac
        self.follow_ports(namespace, link.master)
        for home, child in self.above(namespace, link):
            if child.has_parents_mac and (child.up or child.kind != "vlan"):
                self.set_mac(home, child, mac)

    def set_up(self, namespace: FakeNamespace, link: FakeLink, up: bool) -> None:
        if up == link.up:
            return
        if up:
            self.kind_of(link).open(self, namespace, link)
            link.control.begin()
            namespace.routes.revive(link.index, AF_INET)
        else:
            namespace.lose(link, "ipv4", is_gone=False)
            self._down_for_ipv6(namespace, link)
        link.up = up
        for home, child in self.above(namespace, link):
            if self.kind_of(child).follows_up:
                self.set_up(home, child, up)

    @staticmethod
    def _down_for_ipv6(namespace: FakeNamespace, link: FakeLink) -> None:
        """addrconf_ifdown()."""
        namespace.lose(link, "ipv6", is_gone=False)
        if ("ipv6", "keep_addr_on_down") not in link.sysctls:
            link.addresses.flush(AF_INET6)

    def _set_master(self, namespace: FakeNamespace, link: FakeLink, index: int) -> None:
        """do_set_master(), br_add_if()."""
        if index == link.master:
            return
        before, link.master, link.port_mask = link.master, 0, 0
        self.follow_ports(namespace, before)
        if index == 0:
            return
        master = namespace.links.get(index)
        if master is None:
            raise KernelError(errno.EINVAL)
        check(master.kind == "bridge", errno.EOPNOTSUPP)
        check(not link.is_loopback, errno.EINVAL)
        check(link.kind != "bridge", errno.ELOOP, "Can not enslave a bridge to a bridge")
        self.check_receiver(namespace, link)
        link.master = index
        self.follow_ports(namespace, index)

    def follow_ports(self, namespace: FakeNamespace, index: int) -> None:
        """A bridge has the lowest MTU and the lowest MAC address of its ports."""
        bridge = namespace.links.get(index) if index else None
        if bridge is None:
            return
        ports = [link for link in namespace.links.values() if link.master == index]
        mtu = min((port.mtu for port in ports), default=1500)
        if "mtu" not in bridge.is_given and mtu != bridge.mtu:
            self._have_mtu(namespace, bridge, mtu)
        mac = min((port.mac for port in ports), default=bytes(6))
        if "mac" not in bridge.is_given and mac != bridge.mac:
            self.set_mac(namespace, bridge, mac)

    def check_receiver(self, namespace: FakeNamespace, link: FakeLink) -> None:
        """Refuses who wants the interface's packets when somebody else has them: netdev_rx_handler_register()."""
        above = [child.kind for _, child in self.above(namespace, link)]
        check(not link.master and not {"macvlan", "ipvlan"}.intersection(above), errno.EBUSY)
        check(link.kind != "ipvlan", errno.EINVAL)

    # What is shown

    def show(self, namespace: FakeNamespace, link: FakeLink) -> Message:
        """rtnl_fill_ifinfo()."""
        attributes: dict[str, Any] = {
            "ifname": link.name,
            "group": link.group,
            "address": link.mac,
            "broadcast": link.broadcast,
            "mtu": link.mtu,
            "txqlen": link.txqlen,
            "num_tx_queues": link.queues,
            "qdisc": link.control.root_kind(),
        }
        if link.alias:
            attributes["ifalias"] = link.alias
        if link.master:
            attributes["master"] = link.master
        if link.has_ipv6:
            attributes["af_spec"] = {"inet6": {"addr_gen_mode": link.addr_gen_mode}}
        if link.altnames:
            attributes["prop_list"] = {"alt_ifname": list(link.altnames)}
        info: dict[str, Any] = {"kind": link.kind} if link.kind else {}
        if data := self.kind_of(link).show(link):
            info["data"] = data
        if link.master:
            info["slave_kind"] = namespace.links[link.master].kind
            info["slave_data"] = encode(PORT, {"group_fwd_mask": link.port_mask})
        if info:
            attributes["linkinfo"] = info
        below = (link.sender, link.index) if link.sender is not None else link.peer or link.parent
        if below is not None and (below[0] is not namespace or below[1] != link.index):
            attributes["link"] = below[1]
            if below[0] is not namespace:
                attributes["link_netnsid"] = namespace.nsid_of(below[0])
        flags = IFF_UP * link.up
        if link.up and self.carrier(namespace, link):
            flags |= IFF_LOWER_UP | IFF_RUNNING * (not link.is_settling)
        return Message(RTM_NEWLINK, 0, 0, 0, {"index": link.index, "flags": flags}, attributes)

    def carrier(self, namespace: FakeNamespace, link: FakeLink) -> bool:
        """Whether what is below an interface carries packets."""
        if link.kind == "bridge":
            ports = [port for port in namespace.links.values() if port.master == link.index]
            return not ports or any(port.up and self.carrier(namespace, port) for port in ports)
        below = link.peer or (link.parent if self.kind_of(link).follows_carrier else None)
        if below is None:
            return True
        space, index = below
        other = space.links.get(index)
        if other is None:
            return False
        return link.up and other.up if link.peer is not None else self.carrier(space, other)
