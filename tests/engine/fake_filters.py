"""The traffic control of an interface of the fake kernel: qdiscs, and filters with their mirred actions.

Sources: net/sched/sch_api.c, cls_api.c, cls_u32.c, cls_matchall.c, act_mirred.c.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kokofast.wire.message import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, KernelError, Message
from kokofast.wire.tc import (
    CLSACT_HANDLE,
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    TC_H_CLSACT,
    TC_H_MIN_EGRESS,
    TC_H_MIN_INGRESS,
    TC_H_ROOT,
    priority_of,
)

if TYPE_CHECKING:
    from tests.engine.fake_links import FakeLink

CHANGES = (RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER, RTM_DELTFILTER)
MAJOR = 0xFFFF0000  # of a handle: the qdisc
MINOR = 0x0000FFFF
DEFAULT_QUEUE = 1000
PROTOCOL = 0x0000FFFF  # of the info of a filter
MIRRED = struct.Struct("=IIiiiiI")


class QdiscKind:
    """A kind of qdisc.

    Args:
        hooks: The minor numbers of the parents that its filters have; none where it takes no filters.
        is_root: Whether it is attached as the root; else where clsact is.
        needs_options: Whether it is refused without options.
    """

    def __init__(self, *hooks: int, is_root: bool = True, needs_options: bool = False) -> None:
        self.hooks = hooks
        self.is_root = is_root
        self.needs_options = needs_options


# One line for each kind of qdisc.
QDISCS: dict[str, QdiscKind] = {
    "clsact": QdiscKind(TC_H_MIN_INGRESS, TC_H_MIN_EGRESS, is_root=False),
    "ingress": QdiscKind(TC_H_MIN_INGRESS, is_root=False),
    "prio": QdiscKind(0, needs_options=True),
    "htb": QdiscKind(0, needs_options=True),
    "tbf": QdiscKind(needs_options=True),
    "netem": QdiscKind(needs_options=True),
    "pfifo": QdiscKind(),
}
CLASSIFIERS = ("u32", "matchall")


class _Table:
    """A hash table of u32: all of a qdisc are in one list, whatever hook they belong to."""

    def __init__(self, handle: int, priority: int) -> None:
        self.handle = handle
        self.priority = priority
        self.nodes: dict[int, dict[str, Any]] = {}  # handle -> options


class _Priority:
    """The filters of one priority of a hook: struct tcf_proto."""

    def __init__(self, kind: str, table: _Table) -> None:
        self.kind = kind
        self.table = table


class FakeQdisc:
    """A qdisc with its filters."""

    def __init__(self, kind: str, handle: int, parent: int, options: object) -> None:
        self.kind = kind
        self.handle = handle
        self.parent = parent
        self.options = options
        self.priorities: dict[tuple[int, int], _Priority] = {}  # (hook, info)
        self.tables: list[_Table] = []  # of u32, the newest first
        self.parents: dict[int, int] = {}  # hook -> the parent that its filters are shown with
        self._next_table = 1

    def begin(self, kind: str, priority: int) -> _Table:
        """A table for a new priority."""
        if kind != "u32":
            return _Table(0, priority)
        number = 0
        if self.tables:
            number, self._next_table = self._next_table, self._next_table + 1
        else:
            self._next_table = 1
        table = _Table((number | 0x800) << 20, priority)
        self.tables.insert(0, table)
        return table

    def end(self, key: tuple[int, int]) -> None:
        """Takes away a priority with all that is in it."""
        gone = self.priorities.pop(key).table
        self.tables = [table for table in self.tables if table is not gone]

    def add(self, priority: _Priority, options: dict[str, Any]) -> None:
        nodes = priority.table.nodes
        if priority.kind == "matchall":
            if nodes:
                raise KernelError(errno.EEXIST)
            nodes[1] = options
            return
        handle = priority.table.handle | 0x800
        while handle in nodes:
            handle += 1
        nodes[handle] = {**options, "hash": priority.table.handle}

    def remove(self, key: tuple[int, int], handle: int) -> None:
        """Takes away one filter, or without a handle all of the priority."""
        priority = self.priorities[key]
        if handle == 0:
            self.end(key)
            return
        tables = [priority.table] if priority.kind != "u32" else self.tables
        table = next((table for table in tables if handle in table.nodes), None)
        if table is None:
            raise KernelError(errno.ENOENT, "Specified filter handle not found")
        del table.nodes[handle]
        # u32_delete(): the priority goes with its last filter only where it is alone.
        if priority.kind != "u32" or (len(self.tables) == 1 and not table.nodes):
            self.end(key)


class FakeControl:
    """The traffic control of one interface."""

    def __init__(self, link: FakeLink) -> None:
        self._link = link
        self.qdiscs: dict[int, FakeQdisc] = {}  # by where they are attached
        self.has_begun = False  # whether the interface was up, and got a qdisc by itself
        self.had_ingress = False

    def begin(self) -> None:
        """The interface is set up."""
        self.has_begun = True

    @property
    def filters(self) -> dict[tuple[int, int, int], dict[str, Any]]:
        """All filters, as (parent, info, handle) -> options."""
        return {
            (qdisc.handle | hook, info, handle): options
            for qdisc in self.qdiscs.values()
            for (hook, info), priority in qdisc.priorities.items()
            for handle, options in priority.table.nodes.items()
        }

    def state(self) -> object:
        """What can be compared: the qdiscs and filters, without the numbers that the kernel chose."""
        qdiscs = sorted((one.parent, one.kind, one.handle, str(one.options)) for one in self.qdiscs.values())
        shown = [(parent, info, _without_numbers(options)) for (parent, info, _), options in self.filters.items()]
        return qdiscs, sorted(shown, key=str)

    def carry_out(
        self,
        type: int,
        header: Mapping[str, Any],
        attributes: Mapping[str, Any],
        flags: int = NLM_F_CREATE | NLM_F_EXCL,
        *,
        lacks: Collection[str] = (),
        indexes: Collection[int] | None = None,
    ) -> None:
        """Carries out one of CHANGES. Raises KernelError. indexes are those that packets can be sent to."""
        parent, handle = header["parent"], header.get("handle", 0)
        if type == RTM_NEWQDISC:
            self._new_qdisc(parent, handle, attributes, flags, lacks)
        elif type == RTM_DELQDISC:
            self._delete_qdisc(parent, handle, attributes)
        else:
            qdisc, hook = self._holder(parent)
            if type == RTM_NEWTFILTER:
                qdisc.parents[hook] = parent
                self._new_filter(qdisc, (hook, header["info"]), attributes, lacks, indexes)
            else:
                self._delete_filter(qdisc, (hook, header["info"]), handle, attributes)

    def _new_qdisc(
        self, parent: int, handle: int, attributes: Mapping[str, Any], flags: int, lacks: Collection[str]
    ) -> None:
        """tc_modify_qdisc(), qdisc_create()."""
        name = attributes["kind"]
        is_ingress = parent == TC_H_CLSACT
        self.had_ingress = self.had_ingress or is_ingress
        there = self.qdiscs.get(parent)
        if there is not None and handle and there.handle != handle and not flags & NLM_F_REPLACE:
            raise KernelError(errno.EEXIST, "NLM_F_REPLACE needed to override")
        if there is not None and flags & NLM_F_EXCL:
            raise KernelError(errno.EEXIST, "Exclusivity flag on, cannot modify")
        if there is not None and there.handle == handle:  # qdisc_change()
            if there.kind != name:
                raise KernelError(errno.EINVAL, "Invalid qdisc name: must match existing qdisc")
            if "options" in attributes:
                there.options = attributes["options"]
            return
        if not flags & NLM_F_CREATE:
            raise KernelError(errno.ENOENT, "Qdisc not found. To create specify NLM_F_CREATE flag")
        kind = None if name in lacks else QDISCS.get(name)
        if kind is None:
            raise KernelError(errno.ENOENT, "Specified qdisc kind is unknown")
        if is_ingress and kind.is_root:
            raise KernelError(errno.EINVAL, "Specified parent ID is reserved for ingress and clsact Qdiscs")
        self._link.txqlen = self._link.txqlen or DEFAULT_QUEUE  # a qdisc wants a queue
        if not is_ingress and not kind.is_root:
            raise KernelError(errno.EOPNOTSUPP)
        if kind.needs_options and "options" not in attributes:
            raise KernelError(errno.EINVAL)
        number = CLSACT_HANDLE if is_ingress else handle or 0x80010000
        self.qdiscs[parent] = FakeQdisc(name, number, parent, attributes.get("options"))

    def _delete_qdisc(self, parent: int, handle: int, attributes: Mapping[str, Any]) -> None:
        """tc_get_qdisc()."""
        there = self.qdiscs.get(parent)
        if there is None and parent == TC_H_CLSACT and not self.had_ingress:
            raise KernelError(errno.ENOENT, "Cannot find specified qdisc on specified device")
        if handle and (there is None or there.handle != handle):
            raise KernelError(errno.EINVAL, "Invalid handle")
        if there is None:
            default = "noqueue" if self.has_begun and parent == TC_H_ROOT else "noop"
            if attributes.get("kind", default) != default:
                raise KernelError(errno.EINVAL, "Invalid qdisc name: must match existing qdisc")
            raise KernelError(errno.ENOENT, "Cannot delete qdisc with handle of zero")
        if attributes.get("kind", there.kind) != there.kind:
            raise KernelError(errno.EINVAL, "Invalid qdisc name: must match existing qdisc")
        del self.qdiscs[parent]

    def _holder(self, parent: int) -> tuple[FakeQdisc, int]:
        """__tcf_qdisc_find(): the qdisc and the hook of a filter."""
        qdisc = next((one for one in self.qdiscs.values() if one.handle == parent & MAJOR), None)
        if qdisc is None:
            raise KernelError(errno.EINVAL, "Parent Qdisc doesn't exists")
        hooks = QDISCS[qdisc.kind].hooks
        if not hooks:
            raise KernelError(errno.EINVAL, "Qdisc not classful")
        # ingress has one place for filters, whatever is asked for.
        hook = parent & MINOR if qdisc.kind != "ingress" else TC_H_MIN_INGRESS
        if hook not in hooks:
            raise KernelError(errno.ENOENT, "Specified class doesn't exist")
        return qdisc, hook

    def _new_filter(
        self,
        qdisc: FakeQdisc,
        key: tuple[int, int],
        attributes: Mapping[str, Any],
        lacks: Collection[str],
        indexes: Collection[int] | None,
    ) -> None:
        """tc_new_tfilter()."""
        kind = attributes["kind"]
        priority = qdisc.priorities.get(key)
        is_new = priority is None
        if priority is None:
            if kind in lacks or kind not in CLASSIFIERS:
                raise KernelError(errno.ENOENT, "TC classifier not found")
            priority = qdisc.priorities[key] = _Priority(kind, qdisc.begin(kind, priority_of(key[1])))
        if priority.kind != kind:
            raise KernelError(errno.EINVAL, "Specified filter kind does not match existing one")
        try:
            options = attributes["options"]
            if indexes is not None and target_of(options) not in indexes:
                raise KernelError(errno.ENODEV)
            qdisc.add(priority, options)
        except KernelError:
            if is_new:
                qdisc.end(key)
            raise

    def _delete_filter(
        self, qdisc: FakeQdisc, key: tuple[int, int], handle: int, attributes: Mapping[str, Any]
    ) -> None:
        """tc_del_tfilter()."""
        if not any(hook == key[0] for hook, _ in qdisc.priorities):
            raise KernelError(errno.ENOENT, "Cannot find specified filter chain")
        priority = qdisc.priorities.get(key)
        if priority is None:
            raise KernelError(errno.ENOENT, "Filter with specified priority/protocol not found")
        if attributes.get("kind", priority.kind) != priority.kind:
            raise KernelError(errno.EINVAL, "Specified filter kind does not match existing one")
        qdisc.remove(key, handle)

    def forget_target(self, index: int) -> None:
        """An interface has gone: mirred_device_event()."""
        for qdisc in self.qdiscs.values():
            for priority in qdisc.priorities.values():
                nodes = priority.table.nodes
                for handle, options in nodes.items():
                    if target_of(options) == index:
                        nodes[handle] = _with_target(options, 0)

    def root_kind(self) -> str:
        """IFLA_QDISC."""
        found = self.qdiscs.get(TC_H_ROOT)
        return found.kind if found is not None else "noqueue" if self.has_begun else "noop"

    def show_qdiscs(self, index: int, parent: int = 0) -> list[Message]:
        """Those at a place, or all."""
        found = [one for one in self.qdiscs.values() if parent in (0, one.parent)]
        messages = [_qdisc_message(index, one.handle, one.parent, one.kind, one.options) for one in found]
        if self.has_begun and TC_H_ROOT not in self.qdiscs and parent in (0, TC_H_ROOT):
            messages.append(_qdisc_message(index, 0, TC_H_ROOT, "noqueue"))
        return messages

    def ask_qdisc(self, index: int, parent: int) -> list[Message]:
        """The answer to a question for the one at a place. Raises KernelError."""
        if parent == TC_H_CLSACT and not self.had_ingress:
            raise KernelError(errno.ENOENT, "Cannot find specified qdisc on specified device")
        return self.show_qdiscs(index, parent)

    def show_filters(self, index: int, parent: int, info: int) -> list[Message]:
        """tc_dump_tfilter(): those of a hook, or of one priority of it."""
        try:
            qdisc, hook = self._holder(parent)
        except KernelError:
            return []
        messages: list[Message] = []
        for (where, number), priority in sorted(qdisc.priorities.items(), key=lambda item: item[0]):
            if where != hook or (priority_of(info) and priority_of(info) != priority_of(number)):
                continue
            if info & PROTOCOL and info & PROTOCOL != number & PROTOCOL:
                continue
            for handle, options in [(0, None), *_shown(qdisc, priority)]:
                header = {"index": index, "handle": handle, "parent": qdisc.parents[hook], "info": number}
                attributes: dict[str, Any] = {"kind": priority.kind, "chain": 0}
                if options is not None:
                    attributes["options"] = options
                messages.append(Message(RTM_NEWTFILTER, 0, 0, 0, header, attributes))
        return messages


def _shown(qdisc: FakeQdisc, priority: _Priority) -> Iterator[tuple[int, dict[str, Any] | None]]:
    if priority.kind != "u32":
        yield from sorted(priority.table.nodes.items())
        return
    for table in qdisc.tables:  # u32_walk(): those of the other hook too, when they have the same priority
        if table.priority == priority.table.priority:
            yield table.handle, {}
            yield from sorted(table.nodes.items())


def _qdisc_message(index: int, handle: int, parent: int, kind: str, options: object = None) -> Message:
    attributes = {"kind": kind} if options is None else {"kind": kind, "options": options}
    return Message(RTM_NEWQDISC, 0, 0, 0, {"index": index, "handle": handle, "parent": parent}, attributes)


def target_of(options: Mapping[str, Any]) -> int:
    """The ifindex that a filter sends packets to."""
    *_, index = MIRRED.unpack(options["act"]["first"]["options"]["parms"])
    return int(index)


def _with_target(options: Mapping[str, Any], index: int) -> dict[str, Any]:
    action = options["act"]["first"]
    *rest, _ = MIRRED.unpack(action["options"]["parms"])
    changed = {**action, "options": {"parms": MIRRED.pack(*rest, index)}}
    return {**options, "act": {"first": changed}}


def _without_numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "hash"}
