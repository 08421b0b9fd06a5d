"""Decode a dump of tens of thousands of messages that are alike: each becomes a tuple.

The kernel writes one route like the next. Once a message was decoded, those behind it are read by one format for all of
a message, as long as they have the same headers and attributes of the same lengths.
"""

from __future__ import annotations

import struct
from _operator import itemgetter  # the C module: operator itself is a hundredth of a single link

from kokofast.wire.attributes import BYTES, NLA_TYPE_MASK, DecodeError
from kokofast.wire.decode import decode, walk
from kokofast.wire.message import NLM_F_DUMP_INTR, NLMSGHDR, format_of, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from kokofast.wire.attributes import Buffer

    Row = tuple[Any, ...]

MAX_FORMATS = 64  # of a kind of rows; the routes of a lab have a handful
_NOTHING = (None,)  # marks attributes that a message does not have


class Rows:
    """How to read messages of a type as tuples: the fields of the fixed header, then the values of some attributes.

    Args:
        type: nlmsg_type of the answers, known to message.format_of().
        names: The attributes. An attribute that a message does not have is None.
    """

    def __init__(self, type: int, *names: str) -> None:
        self.type = type
        self.names = names
        self._only = frozenset(names)
        self._formats: dict[int, _Format] = {}

    def split(self, data: Buffer, seq: int, rows: list[Any]) -> Iterator[tuple[int, int, int, int, memoryview]]:
        """Append what is known of a datagram to rows; yield the other messages, as message.split().

        Raises:
            DecodeError: A length is impossible.
        """
        view = memoryview(data)
        while len(view):
            format = self._formats.get(NLMSGHDR.unpack_from(view)[0]) if len(view) >= NLMSGHDR.size else None
            count = 0 if format is None else format.read(view, seq, rows)
            if format is not None and count:
                view = view[count * format.struct.size :]
                continue
            found = next(split(view))
            yield found
            view = view[(NLMSGHDR.size + len(found[-1]) + 3) & ~3 :]

    def decode(self, type: int, flags: int, body: memoryview) -> Row:
        """Decode a message, and remember how the next ones may be read. Raises DecodeError."""
        if type != self.type:
            raise DecodeError(f"a message of type {type} among those of type {self.type}")
        header, table = format_of(type)
        fields = header.unpack(body)
        values = decode(table, body, 0, self._only, header.size)
        if not flags & NLM_F_DUMP_INTR:
            self._learn(flags, body)
        return (*fields.values(), *map(values.get, self.names))

    def _learn(self, flags: int, body: memoryview) -> None:
        header, table = format_of(self.type)
        numbers, places = walk(body[header.size :], None)
        parts = [NLMSGHDR.format, header.struct.format[1:]]
        count = len(NLMSGHDR.unpack(bytes(NLMSGHDR.size))) + len(header.fields)
        checked: list[int] = []
        at: dict[str, int] = {}
        for type, start, stop in places:
            name, attr = table.by_type.get(type & NLA_TYPE_MASK, ("", None))
            padding = -(stop - start) & 3
            parts.append("HH")
            checked += (count, count + 1)
            count += 2
            if attr is None or name not in self._only:
                parts.append(f"{stop - start + padding}x")
                continue
            native = attr.codec.format
            if name in at or (attr.codec is not BYTES and (native is None or not native.format.startswith("="))):
                return
            parts.append(f"{stop - start}s" if native is None else native.format[1:])
            parts.append(f"{padding}x")
            at[name] = count
            count += 1
        if checked:
            fields = range(count - len(checked) - len(at) - len(header.fields), count - len(checked) - len(at))
            chosen = itemgetter(*fields, *(at.get(name, count) for name in self.names))
            if len(self._formats) >= MAX_FORMATS:
                self._formats.clear()
            length = NLMSGHDR.size + len(body)
            self._formats[length] = _Format(
                "".join(parts), (length, self.type, flags), itemgetter(*checked), tuple(numbers), chosen
            )


class _Format:
    """All of a message in one format: its first fields, where the headers of its attributes are, and what they were."""

    __slots__ = ("_checked", "_chosen", "_first", "_numbers", "struct")

    def __init__(
        self,
        format: str,
        first: tuple[int, int, int],
        checked: itemgetter[Any],
        numbers: tuple[int, ...],
        chosen: itemgetter[Any],
    ) -> None:
        self.struct = struct.Struct(format)
        self._first = first
        self._checked = checked
        self._numbers = numbers
        self._chosen = chosen

    def read(self, view: memoryview, seq: int, rows: list[Any]) -> int:
        """Append the rows of the messages at the beginning that are alike; return how many these are."""
        first, numbers, checked, chosen = (*self._first, seq), self._numbers, self._checked, self._chosen
        before = len(rows)
        for row in self.struct.iter_unpack(view[: len(view) // self.struct.size * self.struct.size]):
            if row[:4] != first or checked(row) != numbers:
                break
            rows.append(chosen(row + _NOTHING))
        return len(rows) - before
