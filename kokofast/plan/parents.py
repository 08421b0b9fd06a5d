"""What is on a parent interface, or is that interface itself, that keeps a new link away from it.

The kernel refuses such a link with a bare EBUSY, EINVAL or EEXIST. It is only looked at what is in the namespaces of
the file; of other ones the kernel's refusal tells (see Kind.cause).
"""

from __future__ import annotations

from kokofast.kinds import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import IfRef
    from kokofast.plan.plan import Situation
    from kokofast.topology.model import Link

LOOPBACK_IFINDEX = 1
# Ports of these do not give up what they receive.
HARMLESS_MASTERS = ("vrf", "")


def other_name(namespace: Namespace | None, ifname: str) -> str:
    """The name of the interface that has this as an alternative name (ip link property); empty for none."""
    interfaces = namespace.interfaces.values() if namespace is not None else ()
    return next((interface.ifname for interface in interfaces if ifname in interface.altnames), "")


def obstacle(link: Link, parent: IfRef, situation: Situation) -> tuple[str, str] | None:
    """(field, sentence) on what keeps a link that is to be made away from a parent that is there; None for nothing."""
    kind, carrier, namespace = KINDS[link.kind], situation.find(parent), situation.observed[parent.ns]
    if carrier is None or namespace is None:
        return None
    data = kind.create(link, ({},), carrier.ifindex)["linkinfo"]["data"]  # type: ignore[index]
    tag = [data.get(name) for name in kind.tag]
    if kind.tag:
        for other in _standing(namespace):
            is_tunnel = bool(kind.overhead(link))  # those are told apart in their whole namespace, others on a parent
            beside = is_tunnel or other.peer == carrier.ifindex
            same_family = ("group6" in data) == ("group6" in other.data and any(_bytes(other.data["group6"])))
            if (
                other.kind == link.kind
                and beside
                and same_family
                and tag == [other.data.get(name) for name in kind.tag]
            ):
                what = kind.field_of(kind.tag[0])
                where = "in the parent's namespace" if is_tunnel else f"on {carrier.ifname}"
                return what, f"{other.ifname}, a {link.kind} {where}, has this {what} already"
        return None
    if not kind.shares_parent or carrier.kind == link.kind:
        return None
    if carrier.ifindex == LOOPBACK_IFINDEX:
        return "parent", f"a loopback interface carries no {link.kind}"
    master = next((one for one in namespace.interfaces.values() if one.ifindex == carrier.master), None)
    if master is not None and master.kind not in HARMLESS_MASTERS:
        return "parent", (
            f"{carrier.ifname} is a port of the {master.kind} {master.ifname}, and carries no {link.kind}: take "
            f"{master.ifname} as the parent, or {carrier.ifname} out of it (ip link set {carrier.ifname} nomaster)"
        )
    for other in _standing(namespace):
        if other.peer != carrier.ifindex or not KINDS[other.kind].shares_parent:
            continue
        if other.kind != link.kind:
            return "parent", f"{carrier.ifname} carries the {other.kind} {other.ifname}, and no {link.kind} beside it"
        own = kind.own_mac(link.options)
        if kind.alone(data) or kind.alone(other.data):
            which = "this one" if kind.alone(data) else "that one"
            return ("parent" if own else "mode"), (
                f"{carrier.ifname} carries the {other.kind} {other.ifname} already, and mode passthru of {which} "
                "takes the parent for itself"
            )
    return None


def _standing(namespace: Namespace) -> Iterator[Interface]:
    """The interfaces whose parents are in their own namespace."""
    for interface in namespace.interfaces.values():
        if interface.kind in KINDS and KINDS[interface.kind].ends == 1 and interface.peer_nsid is None:
            yield interface


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
