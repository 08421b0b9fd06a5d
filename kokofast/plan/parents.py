"""Find what prevents a new link on its parent interface: other links on it, or the parent itself.

The kernel refuses such a link with a bare EBUSY, EINVAL or EEXIST. A plan knows the namespaces of the file; a dry run,
and a run after a refusal, look into all namespaces that can be found (engine.elsewhere).
"""

from __future__ import annotations

from kokofast.kinds import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kokofast.kinds.kind import Kind
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.topology.model import Link

    Titled = tuple[str, Interface]

LOOPBACK_IFINDEX = 1
# Masters that leave the rx_handler of their ports free.
HARMLESS_MASTERS = ("vrf", "")


class Children:
    """The interfaces whose parent is in a namespace, indexed by what they conflict with.

    elsewhere has those that are in other namespaces, with their titles.
    """

    __slots__ = ("alone", "by_index", "by_kind", "tagged")

    def __init__(self, namespace: Namespace | None, elsewhere: Iterable[tuple[str, Interface]] = ()) -> None:
        interfaces = namespace.interfaces.values() if namespace is not None else ()
        self.by_index = {item.ifindex: item for item in interfaces}
        # By kind, tag, address family, and the parent's index or None.
        self.tagged: dict[tuple[object, ...], Titled] = {}
        # By the parent's index: the first child of each kind, and the first that needs the parent for itself.
        self.by_kind: dict[int, dict[str, Titled]] = {}
        self.alone: dict[int, Titled] = {}
        here = [(item.ifname, item) for item in interfaces if item.peer_nsid is None]
        for titled in (*here, *elsewhere):
            _, item = titled
            kind = KINDS.get(item.kind)
            if kind is None or kind.ends != 1:
                continue
            if kind.tag:
                for parent in (None, item.peer):
                    self.tagged.setdefault((*_tag(kind, item.data), parent), titled)
            if kind.shares_parent:
                self.by_kind.setdefault(item.peer, {}).setdefault(item.kind, titled)
                if kind.alone(item.data):
                    self.alone.setdefault(item.peer, titled)


def _tag(kind: Kind, data: Mapping[str, object]) -> tuple[object, ...]:
    group = data.get("group6")
    is_ipv6 = isinstance(group, bytes) and any(group)
    return kind.name, is_ipv6, *(data.get(name) for name in kind.tag)


def obstacle(link: Link, carrier: Interface, children: Children) -> tuple[str, str, Interface | None] | None:
    """Return (field, sentence, other child) for what prevents a new link on its existing parent; None for nothing.

    children is the index of the parent's namespace. Without another child the parent itself prevents it.
    """
    kind = KINDS[link.kind]
    data = kind.create(link, ({},), carrier.ifindex)["linkinfo"]["data"]  # type: ignore[index]
    if kind.tag:
        is_tunnel = bool(kind.overhead(link))  # tags of tunnels are unique in a namespace, others on their parent
        other = children.tagged.get((*_tag(kind, data), None if is_tunnel else carrier.ifindex))
        if other is None:
            return None
        what = kind.field_of(kind.tag[0])
        where = "whose parent is in the same namespace" if is_tunnel else f"on {carrier.ifname}"
        return what, f"{other[0]}, a {link.kind} {where}, has this {what} already", other[1]
    if not kind.shares_parent or carrier.kind == link.kind:
        return None
    if carrier.ifindex == LOOPBACK_IFINDEX:
        return "parent", f"a loopback interface cannot be the parent of a {link.kind}", None
    master = children.by_index.get(carrier.master)
    if master is not None and master.kind not in HARMLESS_MASTERS:
        words = (
            f"{carrier.ifname} is a port of the {master.kind} {master.ifname}, and cannot be the parent of a "
            f"{link.kind}: use {master.ifname}, or take {carrier.ifname} out of it "
            f"(ip link set {carrier.ifname} nomaster)"
        )
        return "parent", words, None
    for name, (title, item) in children.by_kind.get(carrier.ifindex, {}).items():
        if name != link.kind:
            words = f"{carrier.ifname} is the parent of the {name} {title}, and cannot have a {link.kind}, too"
            return "parent", words, item
    is_alone = kind.alone(data)
    beside = (
        children.by_kind.get(carrier.ifindex, {}).get(link.kind) if is_alone else children.alone.get(carrier.ifindex)
    )
    if beside is None:
        return None
    which = "this one" if is_alone else "that one"
    words = (
        f"{carrier.ifname} is the parent of the {link.kind} {beside[0]} already, and mode passthru of {which} needs "
        "the parent for itself"
    )
    return "parent" if kind.own_mac(link.options) else "mode", words, beside[1]
