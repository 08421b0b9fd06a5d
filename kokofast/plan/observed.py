"""What was read from the kernel, reduced to what the plan needs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kokofast.topology.model import Address

NOTHING: Mapping[str, Any] = {}


class Interface:
    """An interface as a dump shows it.

    Attributes:
        peer: The ifindex of the peer or parent (IFLA_LINK), 0 for none.
        peer_nsid: The nsid of its namespace (IFLA_LINK_NETNSID), None if it is the same one.
        addresses: The addresses, each with whether kokofast set it; empty when not asked for.
        temporary: The addresses with a lifetime; empty when not asked for.
        up: Administrative state (IFF_UP).
        lower_up: Whether the peer or parent carries packets (IFF_LOWER_UP).
        settling: Whether it will send soon: the kernel acts up to a second after the carrier is there (IFF_RUNNING;
            linkwatch_event(), net/core/link_watch.c), and drops packets until then.
        data: The data of the link kind (IFLA_INFO_DATA).
        more: The attributes that show properties of ends, as far as it has them.
    """

    __slots__ = (
        "addresses",
        "alias",
        "broadcast",
        "data",
        "group",
        "ifindex",
        "ifname",
        "kind",
        "lower_up",
        "mac",
        "more",
        "mtu",
        "peer",
        "peer_nsid",
        "queues",
        "settling",
        "temporary",
        "txqlen",
        "up",
    )

    def __init__(
        self,
        ifindex: int,
        ifname: str,
        *,
        group: int = 0,
        alias: str = "",
        kind: str = "",
        mac: bytes = b"",
        broadcast: bytes = b"",
        mtu: int = 0,
        txqlen: int = 0,
        queues: int = 1,
        up: bool = False,
        lower_up: bool = True,
        settling: bool = False,
        peer: int = 0,
        peer_nsid: int | None = None,
        more: Mapping[str, Any] = NOTHING,
        addresses: Mapping[Address, bool] | None = None,
        temporary: tuple[Address, ...] = (),
        data: Mapping[str, object] | None = None,
    ) -> None:
        self.ifindex = ifindex
        self.ifname = ifname
        self.group = group
        self.alias = alias
        self.kind = kind
        self.mac = mac
        self.broadcast = broadcast
        self.mtu = mtu
        self.txqlen = txqlen
        self.queues = queues
        self.up = up
        self.lower_up = lower_up
        self.settling = settling
        self.peer = peer
        self.peer_nsid = peer_nsid
        self.more = more
        self.addresses: Mapping[Address, bool] = addresses if addresses is not None else {}
        self.temporary = temporary
        self.data: Mapping[str, object] = data if data is not None else {}

    @property
    def master(self) -> int:
        """Return the ifindex of the bridge or the like that it is a port of; 0 for none."""
        found: int = self.more.get("master", 0)
        return found

    @property
    def altnames(self) -> tuple[str, ...]:
        """Return its alternative names."""
        return tuple(self.more["prop_list"].get("alt_ifname", ())) if "prop_list" in self.more else ()

    def __repr__(self) -> str:
        return f"Interface({self.ifindex}: {self.ifname})"


class MirrorFilter:
    """A mirror filter on ifname, ours if it has a cookie.

    target is the ifindex that copies go to, 0 when that interface is gone. kind, parent, info and handle name the
    filter in its deletion.
    """

    __slots__ = ("cookie", "direction", "handle", "ifname", "info", "kind", "parent", "target")

    def __init__(
        self,
        ifname: str,
        direction: str,
        cookie: bytes,
        *,
        kind: str = "",
        parent: int = 0,
        info: int = 0,
        handle: int = 0,
        target: int = 0,
    ) -> None:
        self.target = target
        self.ifname = ifname
        self.direction = direction
        self.cookie = cookie
        self.kind = kind
        self.parent = parent
        self.info = info
        self.handle = handle

    def belongs_to(self, cookie: bytes, ifname: str) -> bool:
        """Whether it mirrors this interface for the link with this cookie, apart from the flags in the last byte."""
        return self.ifname == ifname and self.cookie[:-1] == cookie[:-1]


class Namespace:
    """A network namespace: identity (device, inode), the alias of its loopback, its interfaces by name.

    mirrors are our filters, and those of others with an empty cookie, if asked for.
    """

    __slots__ = ("_by_cookie", "_indexed", "identity", "interfaces", "loopback_alias", "mirrors")

    def __init__(
        self,
        identity: tuple[int, int],
        interfaces: Mapping[str, Interface] | None = None,
        loopback_alias: str = "",
        mirrors: tuple[MirrorFilter, ...] = (),
    ) -> None:
        self.identity = identity
        self.interfaces: Mapping[str, Interface] = interfaces if interfaces is not None else {}
        self.loopback_alias = loopback_alias
        self.mirrors = mirrors
        self._by_cookie: dict[bytes, list[MirrorFilter]] = {}
        self._indexed: tuple[MirrorFilter, ...] = ()

    def mirrors_of(self, cookie: bytes) -> list[MirrorFilter]:
        """Return the filters of the link with this cookie, apart from the flags in its last byte."""
        if self._indexed is not self.mirrors:
            self._by_cookie = {}
            for mirror in self.mirrors:
                self._by_cookie.setdefault(mirror.cookie[:-1], []).append(mirror)
            self._indexed = self.mirrors
        return self._by_cookie.get(cookie[:-1], [])


def lower_of(interface: Interface) -> int:
    """Return the ifindex of the peer or parent. Tunnels have it in their data."""
    found = interface.data.get("link", interface.peer)
    assert isinstance(found, int)
    return found
