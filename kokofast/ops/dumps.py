"""Read what is in a namespace, by dumps. Blocking."""

from __future__ import annotations

import errno

from kokofast.ends import ATTRIBUTES, CLOSER
from kokofast.host.kernel import LOOPBACK_IFINDEX
from kokofast.host.netlink import TOO_FAST, UnreadableError
from kokofast.plan.observed import NOTHING, Interface, Namespace
from kokofast.plan.ownership import APART, is_our_group
from kokofast.topology.model import Address
from kokofast.wire.addr import IFA_F_PERMANENT, RT_SCOPE_LINK, RTM_GETADDR, RTM_NEWADDR
from kokofast.wire.decode import decode
from kokofast.wire.link import IFF_LOWER_UP, IFF_RUNNING, IFF_UP, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, RTM_NEWLINK
from kokofast.wire.linkinfo import PORT, WITH_REMOTES
from kokofast.wire.message import KernelError, Request
from kokofast.wire.rows import Rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any

    from kokofast.host.kernel import Handle, Kernel

    Sight = tuple[Handle, Namespace] | OSError

# How often to look for a namespace under a name that another program is making or removing. That takes microseconds,
# on a busy machine milliseconds.
ATTEMPTS = 50
PAUSE_SECONDS = 0.01

# IFA_PROTO (Linux 5.18): who set an address. The kernel uses 1 to 3, we "K": so an address that left the file differs
# from one that the user or a daemon added.
ADDRESS_PROTOCOL = b"K"

# The root qdisc of our interfaces unless somebody has set one: they have no queue (IFF_NO_QUEUE).
KERNELS_OWN = ("noop", "noqueue")
_MASK = frozenset(("group_fwd_mask",))
# Up, with a carrier, and sending.
_STATE = IFF_UP | IFF_LOWER_UP | IFF_RUNNING
_MARKS = ("ifname", "group", "ifalias", "address", "broadcast", "link", "prop_list")
# Attributes that only properties of ends and a few decisions need.
_MORE = tuple(
    sorted({"master", "prop_list", *(ATTRIBUTES[name] for name in ATTRIBUTES if name not in CLOSER)} - {"fdb", "qdisc"})
)
_NO_MORE = [None] * len(_MORE)
# The fields of struct ifinfomsg, and these: see interface_of().
_WANTED = (
    "ifname",
    "group",
    "ifalias",
    "linkinfo",
    "address",
    "broadcast",
    "mtu",
    "txqlen",
    "num_tx_queues",
    "link",
    "link_netnsid",
    "qdisc",
    *_MORE,
)
_MASKS = {"ext_mask": RTEXT_FILTER_SKIP_STATS}
LINKS = Request(RTM_GETLINK, {}, _MASKS, rows=Rows(RTM_NEWLINK, *_WANTED))
MARKS = Request(RTM_GETLINK, {}, _MASKS, rows=Rows(RTM_NEWLINK, *_WANTED, only=_MARKS))


def _same_addresses(found: list[Any], before: list[Any] | None) -> bool:
    # For some tens of seconds after thousands of interfaces came up, the duplicate address detection of their
    # link-local addresses changes the table, and the kernel reports dumps of it as inconsistent.
    return before is not None and _given(found) == _given(before)


def _given(rows: list[Any]) -> set[tuple[object, ...]]:
    return {
        (index, length, address if local is None else local, protocol)
        for _, length, _, scope, index, local, address, _, protocol in rows
        if scope != RT_SCOPE_LINK or protocol == ADDRESS_PROTOCOL
    }


# Rows of family, prefixlen, flags, scope, index, local, address, flags with 32 bits, proto.
ADDRESSES = Request(
    RTM_GETADDR, {}, rows=Rows(RTM_NEWADDR, "local", "address", "flags", "proto"), accept=_same_addresses
)


class HinderedError(OSError):
    """A namespace could not be read completely, because of what is in it. namespace is what was read."""

    def __init__(self, cause: UnreadableError, namespace: Namespace) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.namespace = namespace


class Patience:
    """Limits how often inconsistent dumps of other people's namespaces are repeated.

    The limit is for all of these namespaces together: otherwise their owners could delay us without end.
    """

    ATTEMPTS = 240
    MESSAGES = 200_000

    def __init__(self, links: Request) -> None:
        self.links = Request(links.type, links.header, links.attributes, rows=links.rows, accept=self._no_more)
        self.addresses = Request(ADDRESSES.type, {}, rows=ADDRESSES.rows, accept=self._same_addresses)
        self._attempts = 0
        self._messages = 0

    def _no_more(self, found: list[Any], before: list[Any] | None) -> bool:
        self._attempts += 1
        self._messages += len(found)
        if before is not None and (self._attempts > self.ATTEMPTS or self._messages > self.MESSAGES):
            raise UnreadableError(errno.EBUSY, TOO_FAST, found)
        return False

    def _same_addresses(self, found: list[Any], before: list[Any] | None) -> bool:
        return _same_addresses(found, before) or self._no_more(found, before)


# Where to read mirror filters: nowhere, in namespaces with an interface of ours, everywhere.
NO_MIRRORS, BESIDE_OURS, ALL_MIRRORS = range(3)


def observe(
    kernel: Kernel,
    handle: Handle,
    *,
    mirrors: int = NO_MIRRORS,
    patience: Patience | None = None,
    closer: Collection[str] = (),
) -> Namespace:
    """Return a namespace's interfaces, with addresses if one of ours is among them, and mirror filters by ``mirrors``.

    closer names the properties of kokofast.ends.CLOSER to read of interfaces of ours.
    Raises OSError, also for refusals of the kernel; HinderedError when the namespace cannot be read completely.
    """
    try:
        namespace = _observe(kernel, handle, patience.links if patience is not None else LINKS)
        ours = any(is_our_group(interface.group) for interface in namespace.interfaces.values())
        try:
            if ours:
                asked = patience.addresses if patience is not None else ADDRESSES
                _add_addresses(kernel, handle, namespace.interfaces, asked)
                shaped = [
                    one for one in namespace.interfaces.values() if "qdisc" in one.more and is_our_group(one.group)
                ]
                if shaped:
                    _add_roots(kernel, handle, shaped)
                tunnels = [
                    one for one in namespace.interfaces.values() if one.kind in WITH_REMOTES and is_our_group(one.group)
                ]
                if tunnels:
                    _add_remotes(kernel, handle, tunnels)
                if closer:
                    _look_closer(kernel, handle, namespace, closer)
            if mirrors == ALL_MIRRORS or (mirrors == BESIDE_OURS and ours):
                _add_mirrors(kernel, handle, namespace, strangers=True)
        except UnreadableError as error:
            raise HinderedError(error, namespace) from error
        return namespace
    except KernelError as error:
        raise OSError(error.errno, str(error)) from error


def observe_marks(kernel: Kernel, handle: Handle, goes: Callable[[Namespace], bool], patience: Patience) -> Namespace:
    """Return the marks and peers of all interfaces, and our mirror filters.

    Skip the filters if goes(namespace): it is removed with all that is in it. Raises OSError, as observe().
    """
    try:
        namespace = _observe(kernel, handle, patience.links)
        try:
            if not goes(namespace):
                _add_mirrors(kernel, handle, namespace)
        except UnreadableError as error:
            raise HinderedError(error, namespace) from error
        return namespace
    except KernelError as error:
        raise OSError(error.errno, str(error)) from error


def members_of(kernel: Kernel, handle: Handle, group: int) -> list[Interface]:
    """Return all interfaces of a group in a namespace, with APART or without, with the fields of observe_marks().

    Raises OSError, also for refusals of the kernel.
    """
    try:
        found: list[Any] = kernel.dump(handle, MARKS)
    except KernelError as error:
        raise OSError(error.errno, str(error)) from error
    return [one for one in map(interface_of, found) if one.group & ~APART == group]


def look_at(kernel: Kernel, handle: Handle, ifindex: int) -> Interface | None:
    """Return the interface with an ifindex, with the fields of observe_marks(); None if there is none.

    Raises OSError, also for refusals of the kernel.
    """
    try:
        found: list[Any] = kernel.ask(handle, Request(RTM_GETLINK, {"index": ifindex}, _MASKS, rows=MARKS.rows))
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise OSError(error.errno, str(error)) from error
    return interface_of(*found)


def _observe(kernel: Kernel, handle: Handle, request: Request) -> Namespace:
    try:
        return _namespace_of(handle, kernel.dump(handle, request))
    except UnreadableError as error:
        raise HinderedError(error, _namespace_of(handle, error.messages)) from error


def _namespace_of(handle: Handle, rows: Iterable[Any]) -> Namespace:
    interfaces: dict[str, Interface] = {}
    loopback_alias = ""
    for row in rows:
        interface = interface_of(row)
        if interface.ifindex == LOOPBACK_IFINDEX:
            loopback_alias = interface.alias
        interfaces[interface.ifname] = interface
    return Namespace(handle.identity, interfaces, loopback_alias)


def _add_mirrors(kernel: Kernel, handle: Handle, namespace: Namespace, *, strangers: bool = False) -> None:
    from kokofast.ops.mirror_filters import list_mirrors

    names = {item.ifindex: item.ifname for item in namespace.interfaces.values()}
    namespace.mirrors = list_mirrors(kernel, handle, names, strangers=strangers)


def interface_of(row: tuple[Any, ...]) -> Interface:
    """Convert a row of LINKS or MARKS to an Interface."""
    _, _, index, flags, _, ifname, group, alias, linkinfo, mac, broadcast, mtu, txqlen, queues, *rest = row
    peer, peer_nsid, qdisc, *more = rest
    data = None if linkinfo is None else linkinfo.get("data")
    return Interface(
        index,
        ifname or "",
        group=group or 0,
        alias=alias or "",
        kind="" if linkinfo is None else linkinfo.get("kind", ""),
        data=data if isinstance(data, dict) else None,
        mac=mac or b"",
        broadcast=broadcast or b"",
        mtu=mtu or 0,
        txqlen=txqlen or 0,
        queues=1 if queues is None else queues,
        up=bool(flags & IFF_UP),
        lower_up=bool(flags & IFF_LOWER_UP),
        settling=flags & _STATE == IFF_UP | IFF_LOWER_UP,
        peer=peer or 0,
        peer_nsid=peer_nsid,
        more=NOTHING if more == _NO_MORE and (qdisc is None or qdisc in KERNELS_OWN) else _more(more, qdisc, linkinfo),
    )


def _more(values: Iterable[Any], qdisc: str | None, linkinfo: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found = {name: value for name, value in zip(_MORE, values, strict=True) if value is not None}
    if qdisc is not None and qdisc not in KERNELS_OWN:
        found["qdisc"] = qdisc
    if (
        linkinfo is not None
        and "master" in found
        and linkinfo.get("slave_kind") == "bridge"
        and "slave_data" in linkinfo
    ):
        port = decode(PORT, linkinfo["slave_data"], only=_MASK)
        found["protinfo"] = port.get("group_fwd_mask", 0), found["master"]
    return found


def _add_roots(kernel: Kernel, handle: Handle, interfaces: Iterable[Interface]) -> None:
    from kokofast.ops.root_qdiscs import list_roots

    roots = list_roots(kernel, handle)
    for interface in interfaces:
        interface.more = {**interface.more, "qdisc": roots.get(interface.ifindex)}


def _add_remotes(kernel: Kernel, handle: Handle, tunnels: Iterable[Interface]) -> None:
    from kokofast.ops.remotes import list_remotes, may_have_several

    several = [one for one in tunnels if may_have_several(one)]
    remotes = list_remotes(kernel, handle) if several else {}
    for interface in several:
        interface.more = {**interface.more, "fdb": remotes.get(interface.ifindex, ())}


def _look_closer(kernel: Kernel, handle: Handle, namespace: Namespace, names: Collection[str]) -> None:
    interfaces = {one.ifindex: one for one in namespace.interfaces.values() if is_our_group(one.group)}
    for name in names:
        module = __import__(f"{__package__}.{name}", fromlist=("settings_of",))
        for index, setting in module.settings_of(kernel, handle, interfaces).items():
            interfaces[index].more = {**interfaces[index].more, ATTRIBUTES[name]: setting}


def _add_addresses(kernel: Kernel, handle: Handle, interfaces: Mapping[str, Interface], asked: Request) -> None:
    by_index = {interface.ifindex: interface for interface in interfaces.values() if is_our_group(interface.group)}
    found: dict[int, dict[Address, bool]] = {}
    temporary: dict[int, tuple[Address, ...]] = {}
    rows: Iterable[Any] = kernel.dump(handle, asked)
    for family, length, _, _, index, local, other, flags, protocol in rows:
        packed = other if local is None else local
        if packed is None or index not in by_index:
            continue
        address = Address(family, packed, length, "")
        if not (flags or 0) & IFA_F_PERMANENT:  # has a lifetime, such as from SLAAC or DHCP
            temporary[index] = (*temporary.get(index, ()), address)
            continue
        found.setdefault(index, {})[address] = protocol == ADDRESS_PROTOCOL
    for index, addresses in found.items():
        by_index[index].addresses = addresses
    for index, passing in temporary.items():
        by_index[index].temporary = passing


def look_into(kernel: Kernel, item: Handle | OSError, see: Callable[[Kernel, Handle], Namespace] = observe) -> Sight:
    """Read what Kernel.open_all() returned for a namespace, by ``see``; return an OSError if that fails."""
    if isinstance(item, OSError):
        return item
    try:
        with kernel.using([item]):
            return item, see(kernel, item)
    except OSError as error:
        return error
