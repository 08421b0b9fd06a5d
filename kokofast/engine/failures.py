"""What the kernel refused, in the user's words: the place in the file, and a sentence."""

from __future__ import annotations

import errno
from contextlib import suppress

from kokofast.engine.result import Failure, failure_of
from kokofast.host.namespaces import NETNS_DIR
from kokofast.kinds import KINDS
from kokofast.plan.operations import AddMirror, ConfigureEnd, CreateLink, MakeNamespace, RemoveMirror
from kokofast.topology.model import AF_INET6
from kokofast.topology.problems import Problem
from kokofast.wire.message import KernelError

IPV6_MIN_MTU = 1280  # include/uapi/linux/ipv6.h; below it the kernel takes IPv6 off the interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from kokofast.engine.applied import Applied
    from kokofast.engine.execute import Refusal
    from kokofast.plan.operations import Operation
    from kokofast.topology.model import End, Link
    from kokofast.wire.message import Request

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def failures_of(applied: Applied) -> list[Failure]:
    """One entry for each operation that was refused."""
    found = []
    told = _obstacles(applied)
    for number, refusal in sorted(applied.failures.items()):
        field, cause = told.get(number, ("", ""))
        place = _place(applied, applied.plan.operations[number], refusal, field)
        found.append((Problem(place, _sentence(applied, number, refusal, cause)), refusal.errno))
    _locate(applied, [problem for problem, _ in found])
    return [failure_of(problem, code) for problem, code in found]


def failures_of_bereft(applied: Applied, links: Collection[int]) -> list[Failure]:
    """One entry for all links that were done, and go with what was refused."""
    if not links:
        return []
    first = applied.topology.links[min(links)]
    more = f"; the same is true of {len(links) - 1:,} more links" if len(links) > 1 else ""
    problem = Problem(first.place, f"{first.title()}: what it stands on was not made{more}")
    _locate(applied, [problem])
    return [failure_of(problem)]


def _locate(applied: Applied, problems: list[Problem]) -> None:
    """Give problems their positions. Without a descriptor or memory left the places have to do: the rollback is to
    come."""
    with suppress(OSError, MemoryError):
        applied.topology.in_order(problems)


def _obstacles(applied: Applied) -> dict[int, tuple[str, str]]:
    with suppress(OSError, MemoryError):  # the kernel's own words have to do
        from kokofast.engine.elsewhere import obstacles  # only failures pay for it

        return obstacles(applied)
    return {}


# The kernel's attribute -> the field of an endpoint that it came from.
_FIELDS = {
    "ifname": "ifname",
    "address": "mac",
    "mtu": "mtu",
    "txqlen": "txqlen",
    "num_tx_queues": "queues",
    "num_rx_queues": "queues",
    "addr_gen_mode": "dad",
}


def _place(applied: Applied, operation: Operation, refusal: Refusal, known: str) -> str:
    topology = applied.topology
    if isinstance(operation, MakeNamespace):
        nodes = [node for node in topology.nodes.values() if node.kind == "netns" and node.target == operation.name]
        return nodes[0].place if nodes else ""
    link = topology.links[operation.link]
    path = refusal.path if isinstance(refusal, KernelError) else ()
    field = _FIELDS.get(path[-1]) if path else None
    if isinstance(operation, CreateLink):
        end = link.ends[1] if "peer" in path else link.ends[0]
        if field is not None:
            return end.where(field)
        if known:
            return link.where(known)
        if _lacks_kind(refusal):
            return link.where("type")
        if not path and KINDS[link.kind].cause(link, refusal.errno or 0):
            return link.where("parent")
        return link.where(KINDS[link.kind].field_of(path[-1])) if path else link.place
    end = link.ends[operation.end]
    if isinstance(operation, (AddMirror, RemoveMirror)):
        return end.where("mirror")
    if isinstance(refusal, KernelError) and refusal.request is not None and "local" in refusal.request.attributes:
        return _address_place(end, refusal.request)
    return end.where(field) if field is not None else end.place


def _address_place(end: End, request: Request) -> str:
    packed, prefixlen = request.attributes["local"], request.header["prefixlen"]
    for number, address in enumerate(end.addresses):
        if (address.packed, address.prefixlen) == (packed, prefixlen):
            return end.where(f"addresses[{number}]")
    return end.where("addresses" if end.addresses or end.dad is None else "dad")


def _sentence(applied: Applied, number: int, refusal: Refusal, known: str) -> str:
    operation = applied.plan.operations[number]
    text = str(refusal) if isinstance(refusal, KernelError) else f"{refusal.strerror or refusal}"
    if isinstance(operation, MakeNamespace):
        hint = "; names there take root, or CAP_DAC_OVERRIDE" if refusal.errno == errno.EACCES else ""
        if refusal.errno in _FULL and "sysctl" not in text:  # of the file system, no limit of the kernel
            text = f"{NETNS_DIR}: {text}"
        return f"namespace {operation.name} cannot be made: {text}{hint}"
    link = applied.topology.links[operation.link]
    if isinstance(operation, (ConfigureEnd, AddMirror, RemoveMirror)):
        end = link.ends[operation.end]
        return f"{end.node}:{end.ifname}: {text}{_hint(link, end, refusal)}"
    cause = known or KINDS[link.kind].cause(link, refusal.errno or 0)
    if cause and isinstance(refusal, KernelError) and (known or not refusal.message):
        text = f"{text}: {cause}"
    if _lacks_kind(refusal):
        text = f"this kernel has no {link.kind} links (try: modprobe {KINDS[link.kind].module})"
    return f"{link.title()}: {text}"


def _lacks_kind(refusal: Refusal) -> bool:
    # rtnl_newlink(); before Linux 4.20 without words.
    return (
        isinstance(refusal, KernelError)
        and refusal.errno == errno.EOPNOTSUPP
        and refusal.message in ("Unknown device type", "")
        and not refusal.path
    )


def _hint(link: Link, end: End, refusal: Refusal) -> str:
    request = refusal.request if isinstance(refusal, KernelError) else None
    if request is None:
        return ""
    if "af_spec" in request.attributes and refusal.errno == errno.EAFNOSUPPORT:
        return f"; dad: false takes IPv6, which is off there, or an mtu of {IPV6_MIN_MTU} at least"
    if request.header.get("flags", 0) and (limit := KINDS[link.kind].limit(link, refusal.errno or 0)):  # set up
        return f"; {limit}"
    if request.header.get("family") != AF_INET6 or refusal.errno != errno.EINVAL:
        return ""
    if end.mtu is None:
        return f"; IPv6 takes an mtu of {IPV6_MIN_MTU} at least, and this end is given none"
    return f"; IPv6 takes an mtu of {IPV6_MIN_MTU} at least, this end has {end.mtu}" if end.mtu < IPV6_MIN_MTU else ""
