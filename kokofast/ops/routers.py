"""Read addresses of the loopback, routes and sysctls of a namespace. Imported where a lab sets some."""

from __future__ import annotations

import errno

from kokofast.host.kernel import LOOPBACK_IFINDEX
from kokofast.plan.node_change import Router
from kokofast.plan.ownership import address_mark, lab_of
from kokofast.plan.shortest_paths import DEFAULT_METRIC
from kokofast.topology.model import Address
from kokofast.topology.routes import text_of
from kokofast.topology.sysctls import DISABLE_IPV6
from kokofast.wire.addr import AF_INET, AF_INET6, RTM_GETADDR
from kokofast.wire.message import KernelError, Request, at_second_attempt
from kokofast.wire.route import RT_TABLE_MAIN, RTM_GETROUTE, RTM_NEWROUTE, RTN_UNICAST, RTPROT_KOKOFAST, unpack_hops
from kokofast.wire.rows import Rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.plan.shortest_paths import Goal, Hop, Routes

# A route that an inconsistent dump lacks is not added twice (NLM_F_EXCL).
ADDRESSES = Request(
    RTM_GETADDR,
    {"index": LOOPBACK_IFINDEX},
    only=frozenset(("address", "local", "rt_priority")),
    where=lambda header: header["index"] == LOOPBACK_IFINDEX,
    accept=at_second_attempt,
)
GLOBAL = Request(RTM_GETADDR, {"family": AF_INET6}, only=frozenset(), accept=at_second_attempt)
_ROWS = Rows(RTM_NEWROUTE, "dst", "gateway", "multipath", "oif", "priority")
ROUTES = Request(RTM_GETROUTE, {"table": RT_TABLE_MAIN}, rows=_ROWS, accept=at_second_attempt)
OUR_ROUTES = Request(
    RTM_GETROUTE, {"table": RT_TABLE_MAIN, "protocol": RTPROT_KOKOFAST}, rows=_ROWS, accept=at_second_attempt
)

# The common rt_protos of iproute2.
_PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 9: "ra", 11: "zebra", 12: "bird", 16: "dhcp", RTPROT_KOKOFAST: "75"}


def observe_router(
    kernel: Kernel,
    handle: Handle,
    namespace: Namespace,
    lab: str,
    sysctls: Mapping[str, str] | None = None,
    *,
    unreadable: Callable[[OSError], None] = lambda _: None,
) -> Router:
    """Return what is set in a namespace held by using(), with these sysctls. Raises OSError, also for KernelError.

    The routes of others are read at their first use. If that fails, unreadable is called with the error.
    """
    boot = kernel.boot_id()
    names = {item.ifindex: item.ifname for item in namespace.interfaces.values()}
    ours = {item.ifindex for item in namespace.interfaces.values() if lab_of(item, namespace, boot, lab) == lab}

    def read_strangers() -> Mapping[Goal, str]:
        try:
            with kernel.using([handle]):
                return _routes(kernel.dump(handle, ROUTES), names, ours)[1]
        except KernelError as error:
            unreadable(OSError(error.errno or errno.EIO, str(error)))
        except OSError as error:
            unreadable(error)
        return {}

    try:
        addresses = _addresses(kernel, handle, lab)
        # A namespace without a link of the lab may be anybody's, and has no routes of ours.
        routes = kernel.dump(handle, OUR_ROUTES) if ours else []
    except KernelError as error:
        raise OSError(error.errno or errno.EIO, str(error)) from error
    found = Router(addresses, _routes(routes, names, ours)[0], read_strangers, sysctls)
    if any(found.sysctls.get(path) == "0" for path in DISABLE_IPV6):
        found.ipv6 = _with_ipv6(kernel, handle, names)
    return found


def _with_ipv6(kernel: Kernel, handle: Handle, names: Mapping[int, str]) -> list[str]:
    """Return the interfaces with IPv6 addresses that are neither link-local nor the loopback's own."""
    try:
        found = {message.header["index"] for message in kernel.dump(handle, GLOBAL) if not message.header["scope"]}
    except KernelError as error:
        raise OSError(error.errno or errno.EIO, str(error)) from error
    return sorted(names.get(index, str(index)) for index in found)


def marked_addresses(kernel: Kernel, handle: Handle, lab: str) -> set[Address]:
    """Return the loopback's addresses that have the lab's mark now. Raises KernelError, OSError."""
    return {address for address, is_ours in _addresses(kernel, handle, lab).items() if is_ours}


def _addresses(kernel: Kernel, handle: Handle, lab: str) -> dict[Address, bool]:
    found: dict[Address, bool] = {}
    for message in kernel.dump(handle, ADDRESSES):
        attributes = message.attributes
        packed = attributes.get("local", attributes.get("address"))
        if packed is not None and message.header["index"] == LOOPBACK_IFINDEX:
            address = Address(message.header["family"], packed, message.header["prefixlen"], "")
            found[address] = attributes.get("rt_priority") == address_mark(lab)
    return found


def _routes(rows: Iterable[Any], names: Mapping[int, str], ours: Collection[int]) -> tuple[Routes, dict[Goal, str]]:
    routes: Routes = {}
    strangers: dict[Goal, str] = {}
    ways: dict[object, tuple[tuple[Hop, ...], bool]] = {}
    for family, length, _, tos, table, protocol, _, type, _, packed, gateway, multipath, oif, priority in rows:
        if table != RT_TABLE_MAIN or tos or family not in DEFAULT_METRIC:
            continue
        goal = family, packed or bytes(4 if family == AF_INET else 16), length, priority or 0
        way = multipath or (oif or 0, gateway or b"")
        if way not in ways:  # many routes have the same
            found = unpack_hops(way) if isinstance(way, bytes) else [way]
            hops = tuple((names.get(index, ""), gateway) for index, gateway in found)
            ways[way] = hops, all(index in ours for index, _ in found)
        hops, is_ours = ways[way]
        if is_ours and protocol == RTPROT_KOKOFAST and type == RTN_UNICAST:
            # IPv6 shows a route that was appended to another either as one with several hops, or in a message of its
            # own.
            routes[goal] = tuple(dict.fromkeys((*routes[goal], *hops))) if goal in routes else hops
        else:
            words = [f"via {text_of(via, 128)}" if via else "" for _, via in hops[:1]] + [f"dev {hops[0][0]}"]
            words.append(f"proto {_PROTOCOLS.get(protocol, str(protocol))}")
            strangers[goal] = " ".join(filter(None, words))
    return routes, strangers
