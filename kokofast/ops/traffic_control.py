"""The traffic control of an interface: the qdiscs that can hold our filters, and these filters. Blocking."""

from __future__ import annotations

import errno
from heapq import heappop, heappush

from kokofast.plan.observed import MirrorFilter
from kokofast.plan.ownership import MADE_QDISC, owner_in
from kokofast.wire import tc
from kokofast.wire.message import NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, KernelError, Request
from kokofast.wire.rows import Rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.wire.message import Message

# The parent of filters of each direction, relative to the qdisc's handle.
PARENTS: dict[str, dict[str, int]] = {
    "clsact": {"ingress": tc.TC_H_MIN_INGRESS, "egress": tc.TC_H_MIN_EGRESS},
    "ingress": {"ingress": tc.TC_H_MIN_INGRESS},
    "prio": {"egress": 0},
}

# Before the priorities that tc(8) chooses (from 49152 on), behind the first few that users type. Even for ingress, odd
# for egress: u32 keeps the tables of both hooks of a qdisc in one list, by priority only, so a dump of one hook would
# show the filters of the other (net/sched/cls_u32.c u32_dump()).
FIRST_PRIORITY = {"ingress": 16, "egress": 17}
_LAST_PRIORITY = 0xBFFF

_QDISC_OF = 0xFFFF0000  # mask of the qdisc's handle in a filter's parent
_U32_NODE = 0xFFF  # TC_U32_NODE: bits of a handle that are set for a filter, not for a hash table

_GONE = (errno.EINVAL, errno.ENODEV, errno.ENOENT)  # there is no such qdisc, or interface

_KIND_ONLY = frozenset(("kind",))


# Rows of family, index, handle, parent, info: most namespaces have the kernel's default qdiscs only, without a handle.
_HANDLES = Request(tc.RTM_GETQDISC, {}, rows=Rows(tc.RTM_NEWQDISC))
_HANDLE = 2
_ALL_QDISCS = Request(tc.RTM_GETQDISC, {}, only=_KIND_ONLY)


class Qdisc:
    """A qdisc that can hold our filters."""

    __slots__ = ("handle", "kind", "parent")

    def __init__(self, kind: str, handle: int, parent: int) -> None:
        self.kind = kind
        self.handle = handle
        self.parent = parent


class _Priorities:
    """The free priorities of a direction of a qdisc, lowest first."""

    def __init__(self, first: int, taken: set[int]) -> None:
        self._next = first
        self._taken = taken
        self._released: list[int] = []  # all below _next

    def choose(self) -> int | None:
        if self._released:
            return heappop(self._released)
        while self._next in self._taken:
            self._next += 2
        if self._next >= _LAST_PRIORITY:
            return None
        self._next += 2
        return self._next - 2

    def release(self, priority: int) -> None:
        if priority < self._next:
            heappush(self._released, priority)
        self._taken.discard(priority)


class TrafficControl:
    """The last look at an interface, updated with our own changes.

    An interface can have thousands of filters, and a look reads all of them, so many operations share one. Others may
    change filters meanwhile: so read the priority of a filter again before deleting or relying on it.
    """

    def __init__(self, kernel: Kernel, handle: Handle, index: int) -> None:
        self.kernel = kernel
        self.handle = handle
        self.index = index
        self.is_fresh = False  # whether the present operation has looked
        self.is_outdated = True  # whether the next operation must look
        self.qdiscs: list[Qdisc] = []
        self._classifiers: Sequence[str] = ("matchall", "u32")  # then the one that the kernel has

    def begin(self) -> None:
        """Begin an operation, and look if needed."""
        if self.is_outdated:
            self.look()
        else:
            self.is_fresh = False

    def forget(self) -> None:
        """Make the next operation look: the result of the last request is not known."""
        self.is_outdated = True

    def look(self) -> None:
        """Read all qdiscs and filters. Raises KernelError, OSError."""
        self._by_cookie: dict[bytes, dict[MirrorFilter, None]] = {}
        self._ours: dict[int, int] = {}  # handle of a qdisc -> how many of our filters it has
        self._marked: dict[int, dict[MirrorFilter, None]] = {}  # filters that mark the qdisc as ours
        self._strange: set[int] = set()  # handles of qdiscs with filters of others
        self._priorities: dict[tuple[int, str], _Priorities] = {}
        self.is_outdated = True  # should this fail
        found = self._qdiscs()
        for qdisc in found:
            for direction in PARENTS[qdisc.kind]:
                parent = qdisc.handle | PARENTS[qdisc.kind][direction]
                messages = filters(self.kernel, self.handle, self.index, parent)
                ours = [item for item in mirrors_in("", direction, messages) if item.cookie]
                for item in ours:
                    self._learn(item)
                if _holds_others(messages, ours):
                    self._strange.add(qdisc.handle)
                taken = {tc.priority_of(message.header["info"]) for message in messages}
                self._priorities[qdisc.handle, direction] = _Priorities(FIRST_PRIORITY[direction], taken)
        self.qdiscs = found
        self.is_fresh, self.is_outdated = True, False

    def qdisc_for(self, direction: str) -> Qdisc | None:
        """Return a qdisc that can hold filters for the direction."""
        return next((qdisc for qdisc in self.qdiscs if direction in PARENTS[qdisc.kind]), None)

    def ours(self, cookie: bytes | None = None) -> list[MirrorFilter]:
        """Return our filters, those with this cookie or all."""
        if cookie is not None:
            return list(self._by_cookie.get(cookie[:-1], ()))
        return [item for items in self._by_cookie.values() for item in items]

    def holds_only(self, qdisc: Qdisc, known: Sequence[MirrorFilter]) -> bool:
        """Whether the qdisc had only these filters of ours at the last look."""
        inside = sum(is_in(item, qdisc) for item in known)
        return qdisc.handle not in self._strange and inside == self._ours.get(qdisc.handle, 0)

    def is_made_by_us(self, qdisc: Qdisc, *, besides: Sequence[MirrorFilter] = ()) -> bool:
        """Whether another filter than these marks the qdisc as ours, and still exists."""
        apart = set(besides)
        for item in list(self._marked.get(qdisc.handle, ())):
            if item in apart:
                continue
            if self.is_fresh or self._read(item)[0] is not None:
                return True
            self._drop(item)
        return False

    def add(self, qdisc: Qdisc, direction: str, target: int, cookie: bytes) -> None:
        """Add a filter with a priority of its own. Raises KernelError, OSError."""
        parent = qdisc.handle | PARENTS[qdisc.kind][direction]
        priorities = self._priorities[qdisc.handle, direction]
        while (priority := priorities.choose()) is not None:
            for request in shapes(self.index, parent, priority, target, cookie, self._classifiers):
                (refusal,) = self.kernel.send(self.handle, [request])
                kind = str(request.attributes["kind"])
                if refusal is None:
                    self._classifiers = (kind,)
                    info = tc.filter_info(priority)
                    self._learn(MirrorFilter("", direction, cookie, kind=kind, parent=parent, info=info, target=target))
                    return
                if refusal.errno == errno.EEXIST:  # someone else took the priority meanwhile
                    break
                if refusal.errno not in tc.UNKNOWN_KIND or kind == self._classifiers[-1]:
                    priorities.release(priority)
                    raise refusal
        raise KernelError(errno.ENOSPC, "all filter priorities of the interface are taken")

    def delete(self, item: MirrorFilter) -> KernelError | None:
        """Delete a filter of ours if it still exists. Raises KernelError, OSError when it cannot be read."""
        now, is_shared = self._read(item)
        refusal = None
        if now is not None:
            header = {"index": self.index, "parent": now.parent, "info": now.info, "handle": now.handle}
            if now.kind == "u32" and not is_shared:
                # u32_delete() deletes the hash tables of a priority with its last filter only when no other priority of
                # the qdisc, in either direction, has u32. Without a handle the whole priority goes.
                del header["handle"]
            request = Request(tc.RTM_DELTFILTER, header, {"kind": now.kind})
            refusal = self._delete(request, lambda: self._read(item)[0] is not None)
        if refusal is None:
            self._drop(item)
            if not is_shared:
                priorities = self._priorities.get((item.parent & _QDISC_OF, item.direction))
                if priorities is not None:
                    priorities.release(tc.priority_of(item.info))
        return refusal

    def delete_qdisc(self, qdisc: Qdisc) -> KernelError | None:
        """Delete a qdisc with all its filters."""
        self.is_outdated = True
        request = qdisc_request(tc.RTM_DELQDISC, self.index, qdisc)
        return self._delete(request, lambda: any(one.kind == qdisc.kind for one in self._qdiscs()))

    def _delete(self, request: Request, is_there: Callable[[], bool]) -> KernelError | None:
        """Send a deletion. Return the refusal, None if it is gone already, which may give EINVAL, too."""
        (refusal,) = self.kernel.send(self.handle, [request])
        return None if refusal is None or (refusal.errno in _GONE and not is_there()) else refusal

    def _qdiscs(self) -> list[Qdisc]:
        return list(_qdiscs_of(self.kernel, self.handle, self.index))

    def _read(self, item: MirrorFilter) -> tuple[MirrorFilter | None, bool]:
        """Return a filter of ours as it is now, None if it is gone; and whether another one has the same priority."""
        messages = filters(self.kernel, self.handle, self.index, item.parent, item.info)
        found = [one for one in mirrors_in("", item.direction, messages) if one.belongs_to(item.cookie, "")]
        now = next((one for one in found if item.handle in (0, one.handle)), None)
        if now is None:
            return None, bool(messages)
        return now, any(_is_filter(message) and message.header["handle"] != now.handle for message in messages)

    def _learn(self, item: MirrorFilter) -> None:
        handle = item.parent & _QDISC_OF
        self._by_cookie.setdefault(item.cookie[:-1], {})[item] = None
        self._ours[handle] = self._ours.get(handle, 0) + 1
        if item.cookie[-1] & MADE_QDISC:
            self._marked.setdefault(handle, {})[item] = None

    def _drop(self, item: MirrorFilter) -> None:
        handle = item.parent & _QDISC_OF
        if item in self._by_cookie.get(item.cookie[:-1], ()):
            del self._by_cookie[item.cookie[:-1]][item]
            self._ours[handle] -= 1
            self._marked.get(handle, {}).pop(item, None)


def is_in(item: MirrorFilter, qdisc: Qdisc) -> bool:
    """Whether a filter is in this qdisc."""
    return item.parent & _QDISC_OF == qdisc.handle


def all_qdiscs(kernel: Kernel, handle: Handle) -> list[tuple[int, Qdisc]]:
    """Return (ifindex, qdisc) of the qdiscs in a namespace that can hold our filters. Raises KernelError, OSError."""
    rows: Iterable[Any] = kernel.dump(handle, _HANDLES)
    if not any(row[_HANDLE] for row in rows):  # none that can hold filters
        return []
    return list(_known(kernel.dump(handle, _ALL_QDISCS)))


def _qdiscs_of(kernel: Kernel, handle: Handle, index: int) -> Iterator[Qdisc]:
    # A dump would have all interfaces of the namespace. The kernel answers this request only with NLM_F_ECHO.
    for parent in (tc.TC_H_ROOT, tc.TC_H_CLSACT):
        header = {"index": index, "parent": parent}
        try:
            found = kernel.ask(handle, Request(tc.RTM_GETQDISC, header, {}, NLM_F_ECHO, only=_KIND_ONLY))
        except KernelError as error:
            if error.errno not in _GONE:
                raise
            continue
        yield from (qdisc for _, qdisc in _known(found))


def _known(messages: Iterable[Message]) -> Iterator[tuple[int, Qdisc]]:
    for message in messages:
        kind, header = message.attributes.get("kind", ""), message.header
        if kind in PARENTS and (kind != "prio" or header["parent"] == tc.TC_H_ROOT):
            yield header["index"], Qdisc(kind, header["handle"], header["parent"])


def filters(kernel: Kernel, handle: Handle, index: int, parent: int, info: int = 0) -> list[Message]:
    """Dump the filters of a qdisc's direction, or of one priority in it. Raises KernelError, OSError."""
    try:
        found = kernel.dump(handle, Request(tc.RTM_GETTFILTER, {"index": index, "parent": parent, "info": info}))
    except KernelError as error:
        if error.errno in _GONE:
            return []
        raise
    return [message for message in found if info in (0, message.header["info"])]


def _holds_others(messages: Iterable[Message], ours: Iterable[MirrorFilter]) -> bool:
    known = {(item.info, item.handle) for item in ours}
    priorities = {info for info, _ in known}
    return any(
        message.header["info"] not in priorities
        or (_is_filter(message) and (message.header["info"], message.header["handle"]) not in known)
        for message in messages
    )


def _is_filter(message: Message) -> bool:
    # The kernel shows the priority itself, and u32's hash tables, as filters, too.
    number: int = message.header["handle"]
    return bool(number & _U32_NODE if message.attributes.get("kind") == "u32" else number)


def mirrors_in(ifname: str, direction: str, messages: Iterable[Message]) -> list[MirrorFilter]:
    """Return our filters, and those of others that send packets to an interface, with an empty cookie."""
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


def qdisc_request(type: int, index: int, qdisc: Qdisc) -> Request:
    """Return the request to make or delete a qdisc."""
    attributes: dict[str, object] = {"kind": qdisc.kind}
    if qdisc.kind == "prio" and type == tc.RTM_NEWQDISC:
        attributes["options"] = tc.PRIO_OPTIONS
    header = {"index": index, "handle": qdisc.handle, "parent": qdisc.parent}
    return Request(type, header, attributes, NLM_F_CREATE | NLM_F_EXCL if type == tc.RTM_NEWQDISC else 0)


def shapes(
    index: int, parent: int, priority: int, target: int, cookie: bytes, kinds: Sequence[str] = ("matchall", "u32")
) -> list[Request]:
    """Return the requests for a filter by each classifier, the preferred one first."""
    actions = {"first": {"kind": "mirred", "options": {"parms": tc.mirred(target)}, "cookie": cookie}}
    header = {"index": index, "parent": parent, "info": tc.filter_info(priority)}
    options: dict[str, dict[str, object]] = {
        "matchall": {"act": actions},
        "u32": {"sel": tc.U32_MATCH_ALL, "act": actions},
    }
    return [
        Request(tc.RTM_NEWTFILTER, header, {"kind": kind, "options": options[kind]}, NLM_F_CREATE | NLM_F_EXCL)
        for kind in kinds
    ]
