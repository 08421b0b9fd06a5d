"""The traffic control of an interface of the fake kernel: qdiscs, and u32 filters with their actions."""

from __future__ import annotations

import errno
from typing import Any

from kokofast.wire.message import KernelError, Message
from kokofast.wire.tc import RTM_DELQDISC, RTM_DELTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER

CHANGES = (RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER, RTM_DELTFILTER)
QDISC = 0xFFFF0000  # of a filter's parent


class FakeFilters:
    def __init__(self) -> None:
        self.qdiscs: dict[int, tuple[str, int]] = {}  # where it is attached -> kind, handle
        self.filters: dict[tuple[int, int, int], dict[str, Any]] = {}  # parent, info, handle -> options
        self.numbers = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FakeFilters) and (self.qdiscs, self.filters) == (other.qdiscs, other.filters)

    __hash__ = None  # type: ignore[assignment]

    def carry_out(self, type: int, header: dict[str, Any], attributes: dict[str, Any]) -> KernelError | None:
        parent, info, handle = header["parent"], header.get("info", 0), header.get("handle", 0)
        if type == RTM_NEWQDISC:
            if parent in self.qdiscs:
                return KernelError(errno.EEXIST)
            self.qdiscs[parent] = attributes["kind"], handle
            return None
        if type == RTM_DELQDISC:
            if parent not in self.qdiscs:
                return KernelError(errno.ENOENT)
            gone = self.qdiscs.pop(parent)
            self.filters = {key: value for key, value in self.filters.items() if key[0] & QDISC != gone[1]}
            return None
        if parent & QDISC not in [handle for _, handle in self.qdiscs.values()]:
            return KernelError(errno.EINVAL)
        if type == RTM_NEWTFILTER:
            if attributes["kind"] != "u32":
                return KernelError(errno.ENOENT)
            self.numbers += 1
            self.filters[parent, info, 0x80000000 + self.numbers] = attributes["options"]
            return None
        doomed = [key for key in self.filters if key[:2] == (parent, info) and handle in (0, key[2])]
        for key in doomed:
            del self.filters[key]
        return None if doomed else KernelError(errno.ENOENT)

    def show_qdiscs(self, index: int, parent: int = 0) -> list[Message]:
        return [
            Message(RTM_NEWQDISC, 0, 0, 0, {"index": index, "handle": handle, "parent": place}, {"kind": kind})
            for place, (kind, handle) in self.qdiscs.items()
            if parent in (0, place)
        ]

    def show_filters(self, index: int, parent: int, info: int) -> list[Message]:
        return [
            Message(
                *(RTM_NEWTFILTER, 0, 0, 0),
                {"index": index, "handle": key[2], "parent": parent, "info": key[1]},
                {"kind": "u32", "options": options},
            )
            for key, options in self.filters.items()
            if key[0] == parent and info in (0, key[1])
        ]
