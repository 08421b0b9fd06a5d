"""What was seen in the kernel, reduced to what decisions need."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.topology.model import Address


class Interface:
    """An interface as a dump shows it. peer is the index in the other namespace (IFLA_LINK), 0 when there is none;
    peer_nsid how its own namespace calls that one (IFLA_LINK_NETNSID), None when they are the same.

    addresses are those of its own namespace with the flag "set by kokofast", temporary those that have a lifetime; both
    empty when they were not asked for.
    up is what was set (IFF_UP), lower_up whether what is below carries packets (IFF_LOWER_UP): the peer, the parent.
    master is the index of the bridge or the like that it is a port of, altnames are its alternative names.
    data is what the kind's driver tells of itself (IFLA_INFO_DATA).
    """

    __slots__ = (
        "addresses",
        "alias",
        "altnames",
        "broadcast",
        "data",
        "group",
        "ifindex",
        "ifname",
        "kind",
        "lower_up",
        "mac",
        "master",
        "mtu",
        "peer",
        "peer_nsid",
        "queues",
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
        peer: int = 0,
        peer_nsid: int | None = None,
        master: int = 0,
        altnames: tuple[str, ...] = (),
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
        self.peer = peer
        self.peer_nsid = peer_nsid
        self.master = master
        self.altnames = altnames
        self.addresses: Mapping[Address, bool] = addresses if addresses is not None else {}
        self.temporary = temporary
        self.data: Mapping[str, object] = data if data is not None else {}

    def __repr__(self) -> str:
        return f"Interface({self.ifindex}: {self.ifname})"


class MirrorFilter:
    """A mirror filter, of ours when it has a cookie: on which interface, in which direction, and how to name it in a
    deletion. target is the ifindex that the copies go to, 0 when that interface is gone."""

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
        """Whether it mirrors this interface for the link with this cookie (the last byte holds flags)."""
        return self.ifname == ifname and self.cookie[:-1] == cookie[:-1]


class Namespace:
    """A network namespace: who it is (device, inode), the alias of its loopback, its interfaces by name.

    mirrors are the filters of ours, and others' without a cookie, where they were asked for.
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
        """The filters of the link with this cookie (the last byte holds flags)."""
        if self._indexed is not self.mirrors:
            self._by_cookie = {}
            for mirror in self.mirrors:
                self._by_cookie.setdefault(mirror.cookie[:-1], []).append(mirror)
            self._indexed = self.mirrors
        return self._by_cookie.get(cookie[:-1], [])
