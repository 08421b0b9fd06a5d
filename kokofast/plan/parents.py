"""What is on a parent interface, or is that interface itself, that keeps a new link away from it.

The kernel refuses such a link with a bare EBUSY, EINVAL or EEXIST. A plan knows what is in the namespaces of the file,
that of a dry run all that can be found; after a refusal it is looked for too (see engine.elsewhere).
"""

from __future__ import annotations

from kokofast.kinds import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kokofast.kinds.kind import Kind
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.topology.model import Link

LOOPBACK_IFINDEX = 1
# Ports of these do not give up what they receive.
HARMLESS_MASTERS = ("vrf", "")


class Standing:
    """The interfaces of a namespace, and those elsewhere that have their parent in it, each with its name for people,
    by what keeps others away. They are looked through once, not for each link."""

    __slots__ = ("alone", "by_index", "by_kind", "tagged")

    def __init__(self, namespace: Namespace | None, elsewhere: Iterable[tuple[str, Interface]] = ()) -> None:
        interfaces = namespace.interfaces.values() if namespace is not None else ()
        self.by_index = {item.ifindex: item for item in interfaces}
        # By kind, tag, family of the addresses, and the index of the parent, also without that.
        self.tagged: dict[tuple[object, ...], str] = {}
        # By the index of the parent: the first interface of each kind, and the first that takes it for itself.
        self.by_kind: dict[int, dict[str, str]] = {}
        self.alone: dict[int, str] = {}
        here = [(item.ifname, item) for item in interfaces if item.peer_nsid is None]
        for name, item in (*here, *elsewhere):
            kind = KINDS.get(item.kind)
            if kind is None or kind.ends != 1:
                continue
            if kind.tag:
                for parent in (None, item.peer):
                    self.tagged.setdefault((*_tag(kind, item.data), parent), name)
            if kind.shares_parent:
                self.by_kind.setdefault(item.peer, {}).setdefault(item.kind, name)
                if kind.alone(item.data):
                    self.alone.setdefault(item.peer, name)


def _tag(kind: Kind, data: Mapping[str, object]) -> tuple[object, ...]:
    group = data.get("group6")
    is_ipv6 = isinstance(group, bytes) and any(group)
    return kind.name, is_ipv6, *(data.get(name) for name in kind.tag)


def obstacle(link: Link, carrier: Interface, standing: Standing) -> tuple[str, str] | None:
    """(field, sentence) on what keeps a link that is to be made away from its parent, which is there; None for nothing.
    standing is what is in the parent's namespace."""
    kind = KINDS[link.kind]
    data = kind.create(link, ({},), carrier.ifindex)["linkinfo"]["data"]  # type: ignore[index]
    if kind.tag:
        is_tunnel = bool(kind.overhead(link))  # those are told apart in their whole namespace, others on a parent
        other = standing.tagged.get((*_tag(kind, data), None if is_tunnel else carrier.ifindex))
        if other is None:
            return None
        what = kind.field_of(kind.tag[0])
        where = "whose parent is in the same namespace" if is_tunnel else f"on {carrier.ifname}"
        return what, f"{other}, a {link.kind} {where}, has this {what} already"
    if not kind.shares_parent or carrier.kind == link.kind:
        return None
    if carrier.ifindex == LOOPBACK_IFINDEX:
        return "parent", f"a loopback interface carries no {link.kind}"
    master = standing.by_index.get(carrier.master)
    if master is not None and master.kind not in HARMLESS_MASTERS:
        return "parent", (
            f"{carrier.ifname} is a port of the {master.kind} {master.ifname}, and carries no {link.kind}: take "
            f"{master.ifname} as the parent, or {carrier.ifname} out of it (ip link set {carrier.ifname} nomaster)"
        )
    for name, other in standing.by_kind.get(carrier.ifindex, {}).items():
        if name != link.kind:
            return "parent", f"{carrier.ifname} carries the {name} {other}, and no {link.kind} beside it"
    is_alone = kind.alone(data)
    beside = (
        standing.by_kind.get(carrier.ifindex, {}).get(link.kind) if is_alone else standing.alone.get(carrier.ifindex)
    )
    if beside is None:
        return None
    which = "this one" if is_alone else "that one"
    return ("parent" if kind.own_mac(link.options) else "mode"), (
        f"{carrier.ifname} carries the {link.kind} {beside} already, and mode passthru of {which} takes the "
        "parent for itself"
    )
