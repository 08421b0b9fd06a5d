"""Decode dumps of messages that are alike: each becomes a tuple.

The kernel writes one route like the next, and the interfaces of one namespace like those of another one. Once a message
was decoded, those like it, with the same headers and with attributes of the same lengths, are read by one format for
all of a message; and a datagram of a few messages by one format for all of it.
"""

from __future__ import annotations

import struct
from _operator import itemgetter  # the C module: operator itself is a hundredth of a single link

from kokofast.wire.attributes import BYTES, NLA_TYPE_MASK, DecodeError
from kokofast.wire.decode import MAX_ALIKE, MAX_KNOWN, MAX_KNOWN_BYTES, MAX_LAYOUT_ATTRIBUTES, decode, decode_one, walk
from kokofast.wire.message import NLM_F_DUMP_INTR, NLMSGHDR, format_of, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any

    from kokofast.wire.attributes import Attr, Buffer

    Row = tuple[Any, ...]
    # What is no number and no bytes: its position in a row, its name, its line in the table, values read before.
    Decoded = tuple[int, str, Attr, dict[bytes, object]]

MAX_FORMATS = 64  # lengths of a kind of rows; the routes of a lab have a handful
MAX_TOGETHER = 16  # messages of a datagram that are read by one format
_NOTHING = (None,)  # marks attributes that a message does not have
_SEQ_FIELD = 3  # of struct nlmsghdr


class Rows:
    """How to read messages of a type as tuples: the fields of the fixed header, then the values of some attributes.

    Args:
        type: nlmsg_type of the answers, known to message.format_of().
        names: The attributes. An attribute that a message does not have is None. Do not change nested values: rows may
            share them.
        only: Decode these of the attributes; the others are None. By default all of them.
    """

    def __init__(self, type: int, *names: str, only: Collection[str] | None = None) -> None:
        self.type = type
        self.names = names
        self.only = frozenset(names if only is None else only)
        self._formats: dict[int, list[_Format]] = {}  # by the length of a message
        self._together: dict[int, _Format] = {}  # by the length of a datagram
        self._known: dict[str, dict[bytes, object]] = {}

    def split(self, data: Buffer, seq: int, rows: list[Any]) -> Iterator[tuple[int, int, int, int, memoryview]]:
        """Append what is known of a datagram to rows; yield the other messages, as message.split().

        Raises:
            DecodeError: A length is impossible.
        """
        view = memoryview(data)
        size = len(view)
        together = self._together.get(size)
        if together is not None and together.read(view, seq, rows):
            return
        parts: list[_Format] = []
        is_known = together is None
        while len(view):
            for format in self._formats.get(NLMSGHDR.unpack_from(view)[0], ()) if len(view) >= NLMSGHDR.size else ():
                count = format.read(view, seq, rows)
                if count:
                    view = view[count * format.struct.size :]
                    is_known = is_known and len(parts) + count <= MAX_TOGETHER
                    parts += [format] * (count if is_known else 0)
                    break
            else:
                is_known = False
                found = next(split(view))
                yield found
                view = view[(NLMSGHDR.size + len(found[-1]) + 3) & ~3 :]
        if is_known and len(parts) > 1:
            if len(self._together) >= MAX_FORMATS:
                self._together.clear()
            self._together[size] = _joined(parts)

    def decode(self, type: int, flags: int, body: memoryview) -> Row:
        """Decode a message, and remember how the next ones may be read. Raises DecodeError."""
        if type != self.type:
            raise DecodeError(f"a message of type {type} among those of type {self.type}")
        header, table = format_of(type)
        fields = header.unpack(body)
        values = decode(table, body, 0, self.only, header.size)
        if not flags & NLM_F_DUMP_INTR:
            self._learn(flags, body)
        return (*fields.values(), *map(values.get, self.names))

    def _learn(self, flags: int, body: memoryview) -> None:
        header, table = format_of(self.type)
        _, places = walk(body[header.size :], None)
        if not places or len(places) > MAX_LAYOUT_ATTRIBUTES:
            return
        formats = [NLMSGHDR.format, header.struct.format[1:]]
        count = _HEADER_FIELDS + len(header.fields)
        length = NLMSGHDR.size + len(body)
        constants = {0: length, 1: self.type, 2: flags}
        at: dict[str, int] = {}
        decoded: list[Decoded] = []
        for type, start, stop in places:
            name, attr = table.by_type.get(type & NLA_TYPE_MASK, ("", None))
            padding = -(stop - start) & 3
            formats.append("HH")
            constants[count], constants[count + 1] = stop - start + 4, type
            count += 2
            if attr is None or name not in self.only:
                formats.append(f"{stop - start + padding}x")
                continue
            if name in at or attr.many or attr.select is not None:
                return
            native = attr.codec.format
            is_native = native is not None and native.format.startswith("=")
            formats.append(native.format[1:] if native is not None and is_native else f"{stop - start}s")
            formats.append(f"{padding}x")
            if not is_native and attr.codec is not BYTES:
                position = len(header.fields) + self.names.index(name)
                decoded.append((position, name, attr, self._known.setdefault(name, {})))
            at[name] = count
            count += 1
        chosen = (*range(_HEADER_FIELDS, _HEADER_FIELDS + len(header.fields)), *map(at.get, self.names))
        if len(self._formats) >= MAX_FORMATS:
            self._formats.clear()
        alike = self._formats.setdefault(length, [])
        if len(alike) >= MAX_ALIKE:
            alike.clear()
        alike.append(_Format("".join(formats), count, constants, (_SEQ_FIELD,), chosen, decoded, len(chosen)))


_HEADER_FIELDS = len(NLMSGHDR.unpack(bytes(NLMSGHDR.size)))


class _Format:
    """All of a message, or of several one behind the other, in one format.

    Args:
        format: As in the module struct.
        count: The number of its fields.
        constants: The fields that do not change, such as the headers of the attributes.
        seqs: The fields with the number of the request.
        chosen: The fields of the rows, None for those that are None.
        decoded: Those of the rows that are decoded by themselves.
        width: The number of fields of a row.
    """

    __slots__ = (
        "_checked",
        "_chosen",
        "_numbers",
        "chosen",
        "constants",
        "count",
        "decoded",
        "seqs",
        "struct",
        "width",
    )

    def __init__(
        self,
        format: str,
        count: int,
        constants: dict[int, int],
        seqs: tuple[int, ...],
        chosen: Sequence[int | None],
        decoded: Sequence[Decoded],
        width: int,
    ) -> None:
        self.struct = struct.Struct(format)
        self.count = count
        self.constants = constants
        self.seqs = seqs
        self.chosen = chosen
        self.decoded = decoded
        self.width = width
        self._checked = itemgetter(*seqs, *constants)
        self._numbers = tuple(constants.values())
        self._chosen = itemgetter(*(count if field is None else field for field in chosen))

    def read(self, view: memoryview, seq: int, rows: list[Any]) -> int:
        """Append the rows of the messages at the beginning that are alike; return how often the format fits."""
        wanted, checked, chosen = (seq,) * len(self.seqs) + self._numbers, self._checked, self._chosen
        decoded, width, is_one = self.decoded, self.width, len(self.seqs) == 1
        times = 0
        for row in self.struct.iter_unpack(view[: len(view) // self.struct.size * self.struct.size]):
            if checked(row) != wanted:
                break
            found = chosen(row + _NOTHING)
            if decoded:
                found = list(found)
                try:
                    for position, name, attr, known in decoded:
                        raw = found[position]
                        found[position] = known.get(raw) or _decode(name, attr, known, raw)
                except DecodeError:  # whoever decodes it by itself reports that
                    break
            if is_one:
                rows.append(tuple(found))
            else:
                rows.extend(zip(*(iter(found),) * width, strict=True))
            times += 1
        return times


def _decode(name: str, attr: Attr, known: dict[bytes, object], raw: bytes) -> object:
    value = decode_one(name, attr, attr.table, raw, 0)
    if len(known) < MAX_KNOWN and len(raw) <= MAX_KNOWN_BYTES:
        known[raw] = value
    return value


def _joined(parts: Sequence[_Format]) -> _Format:
    """Return one format for messages that come one behind the other."""
    formats, count = ["="], 0
    constants: dict[int, int] = {}
    seqs: list[int] = []
    chosen: list[int | None] = []
    decoded: list[Decoded] = []
    for part in parts:
        formats.append(part.struct.format[1:])
        constants.update({count + field: value for field, value in part.constants.items()})
        seqs += [count + field for field in part.seqs]
        decoded += [(len(chosen) + position, name, attr, known) for position, name, attr, known in part.decoded]
        chosen += [None if field is None else count + field for field in part.chosen]
        count += part.count
    return _Format("".join(formats), count, constants, tuple(seqs), chosen, decoded, parts[0].width)
