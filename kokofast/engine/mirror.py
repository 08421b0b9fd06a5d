"""Mirroring: qdiscs and filters on the interface whose traffic is copied. Blocking; runs in worker threads.

clsact holds filters for both directions and needs no queue (Linux 4.5). Where it is not to be had, an ingress qdisc
and, for egress, a prio qdisc take its place. The filter is matchall, else u32. Its action is "continue", so that
the traffic goes on, and other filters still see it. Every filter carries the link's cookie, by which it is found again.
"""

from __future__ import annotations

import errno

from kokofast.plan.observed import MirrorFilter
from kokofast.plan.ownership import MADE_QDISC, owner_in
from kokofast.wire import tc
from kokofast.wire.link import RTM_SETLINK
from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, KernelError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.wire.message import Message

# Where each kind of qdisc keeps the filters of a direction, relative to its handle.
_PARENTS: dict[str, dict[str, int]] = {
    "clsact": {"ingress": tc.TC_H_MIN_INGRESS, "egress": tc.TC_H_MIN_EGRESS},
    "ingress": {"ingress": tc.TC_H_MIN_INGRESS},
    "prio": {"egress": 0},
}
_PRIO_HANDLE = 0x4B0000  # major number "K"

# Before the priorities that tc(8) chooses by itself (from 49152 on), behind the first few that users type. Even ones
# for ingress, odd ones for egress: u32 keeps the tables of both hooks of a qdisc in one list and tells them apart by
# priority only, so a dump of one would show the filters of the other (u32_dump() in net/sched/cls_u32.c).
_FIRST_PRIORITY = {"ingress": 16, "egress": 17}
_LAST_PRIORITY = 0xBFFF

_QDISCS = Request(tc.RTM_GETQDISC, {}, only=frozenset(("kind",)))

_U32_NODE = 0xFFF  # TC_U32_NODE: what a handle has of it names a filter, without it a hash table

# What the kernel says of a qdisc or a classifier that it does not have.
_UNKNOWN_KIND = (errno.ENOENT, errno.EOPNOTSUPP)


class _Qdisc:
    __slots__ = ("handle", "kind", "parent")

    def __init__(self, kind: str, handle: int, parent: int) -> None:
        self.kind = kind
        self.handle = handle
        self.parent = parent


class BareQdisc(Exception):
    """A qdisc was asked for, and may be there without the filter that would mark it as ours; refusal is why. Unless
    is_ours, the answer was lost: if there is one, someone else may have made it in the same moment."""

    def __init__(self, refusal: KernelError | OSError, qdisc: _Qdisc, *, is_ours: bool) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.qdisc = qdisc
        self.is_ours = is_ours


def remove_bare(kernel: Kernel, handle: Handle, index: int, bare: BareQdisc) -> tuple[bool, KernelError | None]:
    """Removes a qdisc that got no filter, when it is ours for certain.

    Returns whether nothing is left to be done about it, and why it is there all the same. While filters of ours use it,
    it waits until they are gone.
    """
    for owner, qdisc in _qdiscs(kernel, handle):
        if owner != index or qdisc.kind != bare.qdisc.kind:
            continue
        ours = _all_ours(kernel, handle, index, qdisc)
        if any(item.cookie[-1] & MADE_QDISC for item in ours) or not _holds_only(kernel, handle, index, qdisc, ours):
            return True, None  # it is marked as ours; or of use to somebody else
        if ours:
            return False, None
        if bare.is_ours:
            refusal = _ask(kernel, handle, _qdisc_request(tc.RTM_DELQDISC, index, qdisc))
            return refusal is None, refusal
        text = f"an empty {qdisc.kind} qdisc is there, which may be ours: the kernel's answer was lost"
        return False, KernelError(bare.refusal.errno or errno.EIO, text)
    return True, None


def list_mirrors(
    kernel: Kernel, handle: Handle, names: Mapping[int, str], *, strangers: bool = False
) -> tuple[MirrorFilter, ...]:
    """All mirror filters of ours in a namespace; names maps ifindex to interface name. With strangers also those of
    others, as far as they are known here, without a cookie."""
    found: list[MirrorFilter] = []
    for index, qdisc in _qdiscs(kernel, handle):
        if index in names:
            for direction in _PARENTS[qdisc.kind]:
                present = _filters(kernel, handle, index, qdisc, direction)
                found += (
                    _mirrors(names[index], direction, present) if strangers else _ours(names[index], direction, present)
                )
    return tuple(found)


def add_mirror(
    kernel: Kernel, handle: Handle, source: int, target: int, directions: Iterable[str], cookie: bytes
) -> None:
    """Copies the traffic of the interface with index source to target. What is there already stays.

    Raises KernelError, OSError, BareQdisc; the caller takes back what was added by remove_mirrors() and remove_bare().
    """
    for direction in sorted(directions):
        qdisc = _qdisc_for(kernel, handle, source, direction)
        if qdisc is None:
            qdisc = _make_with_filter(kernel, handle, source, target, direction, cookie)
        if qdisc is None:
            continue
        present = _filters(kernel, handle, source, qdisc, direction)
        ours = [item for item in _ours("", direction, present) if item.belongs_to(cookie, "")]
        if any(item.target == target for item in ours):
            continue
        for item in ours:
            if not item.target:  # an interface that is gone, and has come again with another index
                _delete_filter(kernel, handle, source, qdisc, item)
        # Of this qdisc only: the other direction's may be a stranger's.
        is_made = any(item.cookie[-1] & MADE_QDISC for item in _all_ours(kernel, handle, source, qdisc))
        taken = {tc.priority_of(message.header["info"]) for message in present}
        parent = qdisc.handle | _PARENTS[qdisc.kind][direction]
        free = (number for number in range(_FIRST_PRIORITY[direction], _LAST_PRIORITY, 2) if number not in taken)
        _add_filter(kernel, handle, source, parent, target, _with_qdisc(cookie) if is_made else cookie, free)


def remove_mirrors(
    kernel: Kernel, handle: Handle, source: int, chosen: Callable[[MirrorFilter], bool]
) -> KernelError | None:
    """Removes the chosen filters of ours from an interface, and a qdisc of ours when no filter is left in it.

    Returns the first refusal; what is gone already counts as removed.
    """
    refusal: KernelError | None = None
    for qdisc in [qdisc for index, qdisc in _qdiscs(kernel, handle) if index == source]:
        gone = [item for item in _all_ours(kernel, handle, source, qdisc) if chosen(item)]
        if any(item.cookie[-1] & MADE_QDISC for item in gone) and _holds_only(kernel, handle, source, qdisc, gone):
            # With its filters, in one step: killed in between, we would leave a qdisc that nothing says is ours.
            answer = _ask(kernel, handle, _qdisc_request(tc.RTM_DELQDISC, source, qdisc))
            refusal = refusal or answer
            continue
        for item in gone:
            answer = _delete_filter(kernel, handle, source, qdisc, item)
            refusal = refusal or answer
    return refusal


def _holds_only(kernel: Kernel, handle: Handle, index: int, qdisc: _Qdisc, known: Iterable[MirrorFilter]) -> bool:
    """Whether a qdisc has no filter besides these."""
    filters = {(item.direction, item.info, item.handle) for item in known}
    priorities = {(direction, info) for direction, info, _ in filters}
    for direction in _PARENTS[qdisc.kind]:
        for message in _filters(kernel, handle, index, qdisc, direction):
            info, number = message.header["info"], message.header["handle"]
            # The priority itself, and u32's hash tables, are shown as filters too.
            is_filter = number & _U32_NODE if message.attributes.get("kind") == "u32" else number
            if (direction, info) not in priorities or (is_filter and (direction, info, number) not in filters):
                return False
    return True


def _delete_filter(kernel: Kernel, handle: Handle, index: int, qdisc: _Qdisc, item: MirrorFilter) -> KernelError | None:
    header = {"index": index, "parent": item.parent, "info": item.info, "handle": item.handle}
    if item.kind == "u32" and not _shares_priority(kernel, handle, index, qdisc, item):
        # u32_delete() takes the hash tables of a priority along with its last filter only when no other priority of
        # the qdisc, in either direction, is of u32. Without a handle all of the priority goes, in one step.
        del header["handle"]
    return _ask(kernel, handle, Request(tc.RTM_DELTFILTER, header, {"kind": item.kind}))


def _shares_priority(kernel: Kernel, handle: Handle, index: int, qdisc: _Qdisc, item: MirrorFilter) -> bool:
    """Whether there is another filter of the same priority."""
    return any(
        message.header["info"] == item.info and message.header["handle"] & _U32_NODE
        for message in _filters(kernel, handle, index, qdisc, item.direction)
        if message.header["handle"] != item.handle
    )


def set_mtu(kernel: Kernel, handle: Handle, index: int, mtu: int) -> None:
    """Sets an interface's MTU. Raises KernelError."""
    _do(kernel, handle, Request(RTM_SETLINK, {"index": index}, {"mtu": mtu}))


def _qdiscs(kernel: Kernel, handle: Handle) -> list[tuple[int, _Qdisc]]:
    """(ifindex, qdisc) of those that can hold our filters."""
    found: list[tuple[int, _Qdisc]] = []
    for message in kernel.dump(handle, _QDISCS):
        kind, header = message.attributes.get("kind", ""), message.header
        if kind in _PARENTS and (kind != "prio" or header["parent"] == tc.TC_H_ROOT):
            found.append((header["index"], _Qdisc(kind, header["handle"], header["parent"])))
    return found


def _filters(kernel: Kernel, handle: Handle, index: int, qdisc: _Qdisc, direction: str) -> list[Message]:
    parent = qdisc.handle | _PARENTS[qdisc.kind][direction]
    try:
        return kernel.dump(handle, Request(tc.RTM_GETTFILTER, {"index": index, "parent": parent}))
    except KernelError as error:
        if error.errno in (errno.EINVAL, errno.ENODEV, errno.ENOENT):  # the qdisc or its interface is gone
            return []
        raise


def _ours(ifname: str, direction: str, messages: Iterable[Message]) -> list[MirrorFilter]:
    return [item for item in _mirrors(ifname, direction, messages) if item.cookie]


def _mirrors(ifname: str, direction: str, messages: Iterable[Message]) -> list[MirrorFilter]:
    """The filters of ours, and those of others that send packets to an interface."""
    found: list[MirrorFilter] = []
    for message in messages:
        options = message.attributes.get("options")
        if not isinstance(options, dict):
            continue
        action = options.get("act", {}).get("first", {})
        cookie = action.get("cookie", b"")
        is_ours = owner_in(cookie) is not None
        if is_ours or _target_of(action):
            header = message.header
            found.append(
                MirrorFilter(
                    ifname,
                    direction,
                    cookie if is_ours else b"",
                    kind=message.attributes["kind"],
                    parent=header["parent"],
                    info=header["info"],
                    handle=header["handle"],
                    target=_target_of(action),
                )
            )
    return found


def _target_of(action: Mapping[str, object]) -> int:
    options = action.get("options")
    return tc.mirred_target(options.get("parms", b"")) if isinstance(options, dict) else 0


def _all_ours(kernel: Kernel, handle: Handle, index: int, qdisc: _Qdisc) -> list[MirrorFilter]:
    return [
        item
        for direction in _PARENTS[qdisc.kind]
        for item in _ours("", direction, _filters(kernel, handle, index, qdisc, direction))
    ]


def _qdisc_for(kernel: Kernel, handle: Handle, index: int, direction: str) -> _Qdisc | None:
    """A qdisc of the interface that can hold filters for the direction."""
    present = (qdisc for owner, qdisc in _qdiscs(kernel, handle) if owner == index)
    return next((qdisc for qdisc in present if direction in _PARENTS[qdisc.kind]), None)


def _make_with_filter(
    kernel: Kernel, handle: Handle, index: int, target: int, direction: str, cookie: bytes
) -> _Qdisc | None:
    """Makes a qdisc and the first filter in it. Returns the qdisc of someone who was faster, where the filter is yet to
    be added. Raises KernelError."""
    fallback = (
        _Qdisc("ingress", tc.CLSACT_HANDLE, tc.TC_H_CLSACT)
        if direction == "ingress"
        else _Qdisc("prio", _PRIO_HANDLE, tc.TC_H_ROOT)
    )
    candidates = [_Qdisc("clsact", tc.CLSACT_HANDLE, tc.TC_H_CLSACT), fallback]
    if any(qdisc.kind == "ingress" for owner, qdisc in _qdiscs(kernel, handle) if owner == index):
        del candidates[0]  # it stands where clsact would stand
    for qdisc in candidates:
        parent = qdisc.handle | _PARENTS[qdisc.kind][direction]
        shapes = _shapes(index, parent, _FIRST_PRIORITY[direction], target, _with_qdisc(cookie))
        # In one send, which the kernel carries out to its end: it is the filter that marks the qdisc as ours. Of the
        # filters, all of one priority, the kernel takes the first that it has.
        try:
            refusal, *refusals = kernel.send(handle, [_qdisc_request(tc.RTM_NEWQDISC, index, qdisc), *shapes])
        except OSError as error:
            raise BareQdisc(error, qdisc, is_ours=False) from error
        if refusal is None:
            if None in refusals:
                return None
            bare = BareQdisc(_reason(refusals), qdisc, is_ours=True)
            try:
                is_gone, _ = remove_bare(kernel, handle, index, bare)
            except (KernelError, OSError) as error:
                raise bare from error
            raise bare.refusal if is_gone else bare
        if refusal.errno == errno.EEXIST:
            return _other_qdisc(kernel, handle, index, direction, cookie, refusal)
        if refusal.errno not in _UNKNOWN_KIND:
            raise refusal
        if qdisc is candidates[-1]:
            raise _without(refusal, direction, beside_ingress=len(candidates) == 1)
    return None


def _without(refusal: KernelError, direction: str, *, beside_ingress: bool) -> KernelError:
    """Why there is no qdisc for a direction."""
    if direction == "ingress":
        return refusal
    why = "an ingress qdisc stands in the place of clsact" if beside_ingress else "this kernel has no clsact"
    cure = "replace it by clsact (tc qdisc), " if beside_ingress else ""
    text = f"what goes out cannot be mirrored: {why}, and this kernel has no prio; {cure}"
    return KernelError(refusal.errno, f"{text}mirror ingress only, or load sch_prio")


def _reason(refusals: Iterable[KernelError | None]) -> KernelError:
    # That the kernel has one of the classifiers not at all is not why the other one was refused.
    given = [refusal for refusal in refusals if refusal is not None]
    return next((refusal for refusal in given if refusal.errno not in _UNKNOWN_KIND), given[0])


def _other_qdisc(
    kernel: Kernel, handle: Handle, index: int, direction: str, cookie: bytes, refusal: KernelError
) -> _Qdisc:
    # Another worker, or someone else, was faster; our filter, which says that the qdisc is ours, may be in it.
    qdisc = _qdisc_for(kernel, handle, index, direction)
    if qdisc is None:
        text = "egress cannot be mirrored: without clsact it takes a prio qdisc, and another root qdisc is there"
        raise KernelError(refusal.errno, text) if direction == "egress" else refusal
    for item in _ours("", direction, _filters(kernel, handle, index, qdisc, direction)):
        if item.cookie == _with_qdisc(cookie):
            _delete_filter(kernel, handle, index, qdisc, item)
    return qdisc


def _with_qdisc(cookie: bytes) -> bytes:
    return cookie[:-1] + bytes((cookie[-1] | MADE_QDISC,))


def _qdisc_request(type: int, index: int, qdisc: _Qdisc) -> Request:
    attributes: dict[str, object] = {"kind": qdisc.kind}
    if qdisc.kind == "prio" and type == tc.RTM_NEWQDISC:
        attributes["options"] = tc.PRIO_OPTIONS
    header = {"index": index, "handle": qdisc.handle, "parent": qdisc.parent}
    return Request(type, header, attributes, NLM_F_CREATE | NLM_F_EXCL if type == tc.RTM_NEWQDISC else 0)


def _shapes(index: int, parent: int, priority: int, target: int, cookie: bytes) -> list[Request]:
    """The filter, by each classifier that can be it; the better one first."""
    action = {"kind": "mirred", "options": {"parms": tc.mirred(target)}, "cookie": cookie}
    header = {"index": index, "parent": parent, "info": tc.filter_info(priority)}
    shapes: list[tuple[str, dict[str, object]]] = [
        ("matchall", {"act": {"first": action}}),
        ("u32", {"sel": tc.U32_MATCH_ALL, "act": {"first": action}}),
    ]
    return [
        Request(tc.RTM_NEWTFILTER, header, {"kind": kind, "options": options}, NLM_F_CREATE | NLM_F_EXCL)
        for kind, options in shapes
    ]


def _add_filter(
    kernel: Kernel, handle: Handle, index: int, parent: int, target: int, cookie: bytes, priorities: Iterator[int]
) -> None:
    for priority in priorities:
        for request in _shapes(index, parent, priority, target, cookie):
            (refusal,) = kernel.send(handle, [request])
            if refusal is None:
                return
            if refusal.errno == errno.EEXIST:  # someone else took the priority meanwhile
                break
            if refusal.errno not in _UNKNOWN_KIND or request.attributes["kind"] == "u32":
                raise refusal
    raise KernelError(errno.ENOSPC, "all filter priorities of the interface are taken")


def _do(kernel: Kernel, handle: Handle, request: Request) -> None:
    (refusal,) = kernel.send(handle, [request])
    if refusal is not None:
        raise refusal


def _ask(kernel: Kernel, handle: Handle, request: Request) -> KernelError | None:
    (refusal,) = kernel.send(handle, [request])
    return None if refusal is None or refusal.errno in (errno.ENOENT, errno.ENODEV, errno.EINVAL) else refusal
