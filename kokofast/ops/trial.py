"""Try what the kernel has: link kinds, qdiscs, filters. Blocking, for a throw-away network namespace."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from kokofast.ends.shaping import shaper_for
from kokofast.host.generic import GenericSocket
from kokofast.host.kernel import LOOPBACK_IFINDEX
from kokofast.host.netlink import Socket
from kokofast.kinds import KINDS
from kokofast.kinds.kind import DEFAULT_MTU
from kokofast.ops.traffic_control import PARENTS, Qdisc, qdisc_request, shapes
from kokofast.wire import tc
from kokofast.wire.link import RTM_NEWLINK
from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, KernelError, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

# The lowest number of any impairment needs netem, a rate alone tbf.
_SHAPED = ({"delay": 1000}, {"rate": 10**6})
_QDISCS = (Qdisc("clsact", tc.CLSACT_HANDLE, tc.TC_H_CLSACT), Qdisc("prio", 0x30000, tc.TC_H_ROOT))


def try_all() -> dict[str, str]:
    """Return each facility, and why the kernel refuses it; "" when it works.

    The kernel loads modules as for a lab. Everything is made on the loopback of the calling thread's namespace, and
    stays: call this where that ends soon. Raises OSError.
    """
    found: dict[str, str] = {}
    kernel = Socket()
    try:
        for name in KINDS:
            found[name] = _refusal(kernel, _link(name), (errno.EOPNOTSUPP,))
        for request in _root_qdiscs():
            found[str(request.attributes["kind"])] = _refusal(kernel, request, tc.UNKNOWN_KIND)
        found.update(_mirroring(kernel))
    finally:
        kernel.close()
    return found | {"ethtool": _ethtool(), "ipv6": _ipv6()}


def _link(kind: str) -> Request:
    # Without its data most drivers refuse it, but with another error than a driver that is not there:
    # net/core/rtnetlink.c __rtnl_newlink().
    return Request(RTM_NEWLINK, {}, {"linkinfo": {"kind": kind}}, NLM_F_CREATE | NLM_F_EXCL)


def _root_qdiscs() -> Iterator[Request]:
    for number, wanted in enumerate(_SHAPED, 1):
        shaper = shaper_for(wanted, DEFAULT_MTU)
        assert shaper is not None
        header = {"index": LOOPBACK_IFINDEX, "handle": number << 16, "parent": tc.TC_H_ROOT}
        yield Request(tc.RTM_NEWQDISC, header, shaper.attributes(), NLM_F_CREATE | NLM_F_REPLACE)


def _mirroring(kernel: Socket) -> Iterator[tuple[str, str]]:
    """Yield the qdiscs, the classifiers and the action of a mirror."""
    parent = 0
    for qdisc in _QDISCS:
        request = qdisc_request(tc.RTM_NEWQDISC, LOOPBACK_IFINDEX, qdisc)
        request.flags = NLM_F_CREATE | NLM_F_REPLACE
        refusal = _refusal(kernel, request, tc.UNKNOWN_KIND)
        yield qdisc.kind, refusal
        if not refusal and not parent:
            parent = qdisc.handle | PARENTS[qdisc.kind]["egress"]
    if not parent:
        return
    working = []
    for priority, request in enumerate(shapes(LOOPBACK_IFINDEX, parent, 1, LOOPBACK_IFINDEX, b"doctor"), 1):
        kind = str(request.attributes["kind"])
        # Without options the classifier refuses it, if there is one.
        header = {**request.header, "info": tc.filter_info(priority)}
        bare = Request(request.type, header, {"kind": kind}, request.flags)
        refusal = _refusal(kernel, bare, tc.UNKNOWN_KIND)
        yield kind, refusal
        if not refusal:
            working.append(request)
    for request in working[:1]:
        yield "mirred", _refusal(kernel, request, tc.UNKNOWN_KIND)


def _refusal(kernel: Socket, request: Request, unknown: tuple[int, ...]) -> str:
    (refusal,) = kernel.send([request])
    return str(refusal) if refusal is not None and refusal.errno in unknown else ""


def _ethtool() -> str:
    try:
        GenericSocket().close()
    except (KernelError, OSError) as error:
        return str(error)
    return ""


def _ipv6() -> str:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
