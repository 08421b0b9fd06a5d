"""Netlink attributes: tables with one line per attribute, and the encoder and decoder that read them.

Layout (include/uapi/linux/netlink.h): ``struct nlattr { __u16 nla_len; __u16 nla_type; }`` in host byte order, then
the payload, padded to 4 bytes. nla_len counts header and payload, not the padding. The two top bits of nla_type are
flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).

A mapping of names to values stands for a list of attributes:

=========  =============================================================================================
codec      Python value
=========  =============================================================================================
U8 .. U64  int; in encode also a typed reference, which the caller's ``resolve`` turns into one
S32        int, signed
U16_BE ..  int, in network byte order on the wire
STRING     str, a NUL at the end on the wire; bytes the kernel holds that are not UTF-8 keep their value by
           surrogateescape
BYTES      bytes; in encode also a typed reference
FLAG       True; present without payload
NEST       mapping, by the table of the Attr (or the one chosen by a sibling attribute, see Attr.select)
=========  =============================================================================================

An attribute the table does not know is decoded as ``{int(nla_type): bytes}`` with its flag bits, and encodes back
to the same bytes.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Buffer = bytes | bytearray | memoryview
    # A typed reference (an interface whose index is not known yet) -> the int or bytes it stands for now.
    Resolve = Callable[[object], Any]

NLA_F_NESTED = 1 << 15
NLA_F_NET_BYTEORDER = 1 << 14
NLA_TYPE_MASK = ~(NLA_F_NESTED | NLA_F_NET_BYTEORDER) & 0xFFFF

# The kernel's own parsers stop at a handful of levels; a limit keeps hostile input from exhausting the stack.
MAX_DEPTH = 16

_NLATTR = struct.Struct("=HH")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


class EncodeError(ValueError):
    """A request that cannot be written: an unknown name, or a value that does not fit. A defect of the caller."""


class DecodeError(ValueError):
    """Bytes that are not what the kernel would send."""


class Codec:
    """How one kind of payload is written and read; scalars carry their struct format."""

    __slots__ = ("format", "name")

    def __init__(self, name: str, format: struct.Struct | None = None) -> None:
        self.name = name
        self.format = format

    def __repr__(self) -> str:
        return self.name


U8 = Codec("U8", struct.Struct("=B"))
U16 = Codec("U16", struct.Struct("=H"))
U32 = Codec("U32", struct.Struct("=I"))
U64 = Codec("U64", struct.Struct("=Q"))
S32 = Codec("S32", struct.Struct("=i"))
U16_BE = Codec("U16_BE", struct.Struct(">H"))
U32_BE = Codec("U32_BE", struct.Struct(">I"))
STRING = Codec("STRING")
BYTES = Codec("BYTES")
FLAG = Codec("FLAG")
NEST = Codec("NEST")


class Header:
    """A fixed struct in front of attributes. Fields have names; those not given are 0, padding is ``x``."""

    __slots__ = ("_positions", "fields", "name", "struct")

    def __init__(self, name: str, format: str, fields: str) -> None:
        self.name = name
        self.struct = struct.Struct("=" + format)
        self.fields = tuple(fields.split())
        self._positions = {name: position for position, name in enumerate(self.fields)}

    @property
    def size(self) -> int:
        return self.struct.size

    def row(self, values: Mapping[str, object], resolve: Resolve | None = None) -> list[Any]:
        """The fields in order. Raises EncodeError on an unknown one."""
        row: list[Any] = [0] * len(self.fields)
        positions = self._positions
        for name, value in values.items():
            position = positions.get(name)
            if position is None:
                raise EncodeError(f"{self.name} has no field {name!r}")
            row[position] = value if type(value) is int or resolve is None else resolve(value)
        return row

    def pack(self, values: Mapping[str, object], resolve: Resolve | None = None) -> bytes:
        """The header's bytes. Raises EncodeError on an unknown field or a value that does not fit."""
        try:
            return self.struct.pack(*self.row(values, resolve))
        except struct.error as error:
            raise EncodeError(f"{self.name} {dict(values)}: {error}") from error

    def unpack(self, data: Buffer, offset: int = 0) -> dict[str, int]:
        """The fields at offset. Raises DecodeError when the bytes end before the header does."""
        try:
            return dict(zip(self.fields, self.struct.unpack_from(data, offset), strict=True))
        except struct.error as error:
            raise DecodeError(f"{self.name} is cut short at {len(data) - offset} of {self.size} bytes") from error


class Attr:
    """One line of a table: the attribute's number, its codec and, for NEST, what is inside.

    header: a fixed struct that stands before the nested attributes (VETH_INFO_PEER holds an ifinfomsg); its fields
    are given under the key "header" of the nested mapping.
    select: the name of a sibling attribute whose value chooses the table out of ``tables`` (IFLA_INFO_KIND chooses
    what IFLA_INFO_DATA holds); with an unknown value the payload stays bytes.
    many: the attribute may repeat; its value is a list.
    """

    __slots__ = ("codec", "header", "known", "many", "select", "table", "tables", "type")

    def __init__(
        self,
        type: int,
        codec: Codec,
        table: Table | None = None,
        *,
        header: Header | None = None,
        select: str | None = None,
        tables: Mapping[str, Table] | None = None,
        many: bool = False,
    ) -> None:
        self.type = type
        self.codec = codec
        self.table = table
        self.header = header
        self.select = select
        self.tables = tables
        self.many = many
        # Bytes of values that were written before: a queue count or a kind is the same in thousands of messages.
        self.known: dict[object, bytes] = {}

    def inside(self, siblings: Mapping[Any, object]) -> Table | None:
        """The table of a nested attribute, given the attributes beside it; None when it is not known."""
        if self.select is None:
            return self.table
        chosen = siblings.get(self.select)
        return self.tables.get(chosen) if self.tables is not None and isinstance(chosen, str) else None


class Table:
    """The attributes that may stand together. Rows may be added after creation, so that tables can hold each other."""

    __slots__ = ("_types", "by_type", "name", "rows")

    def __init__(self, name: str, rows: Mapping[str, Attr]) -> None:
        self.name = name
        self.rows: dict[str, Attr] = {}
        self.by_type: dict[int, tuple[str, Attr]] = {}
        self._types: dict[frozenset[str], frozenset[int]] = {}
        self.add(rows)

    def add(self, rows: Mapping[str, Attr]) -> None:
        """Adds rows; a number or a name that is taken is a defect of the table and raises ValueError."""
        for name, attr in rows.items():
            if name in self.rows or attr.type in self.by_type:
                raise ValueError(f"{self.name}: {name} ({attr.type}) is there already")
            self.rows[name] = attr
            self.by_type[attr.type] = (name, attr)
        _layouts.clear()

    def types_of(self, names: frozenset[str]) -> frozenset[int]:
        """The numbers of these attributes."""
        types = self._types.get(names)
        if types is None:
            types = self._types[names] = frozenset(self.rows[name].type for name in names)
        return types


def encode(table: Table, values: Mapping[Any, object], resolve: Resolve | None = None) -> bytes:
    """The attributes of a mapping, in its order.

    Raises EncodeError on a name that the table does not have or a value that its codec cannot hold.
    """
    parts: list[bytes] = []
    rows = table.rows
    for name, value in values.items():
        attr = rows.get(name)
        if attr is None:
            if isinstance(name, int) and isinstance(value, bytes):
                parts.append(_attribute(name, value))
                continue
            raise EncodeError(f"{table.name} has no attribute {name!r}")
        try:
            if attr.many:
                parts.extend(_encode_one(attr, item, values, resolve) for item in value)  # type: ignore[attr-defined]
            else:
                parts.append(_encode_one(attr, value, values, resolve))
        except (struct.error, TypeError, AttributeError, UnicodeError) as error:
            raise EncodeError(f"{table.name} {name}: {value!r} is not a {attr.codec}: {error}") from error
    return b"".join(parts)


def _attribute(type: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    if length > 0xFFFF:
        raise EncodeError(f"attribute {type} has {len(payload)} bytes, nla_len holds 65535 at most")
    if not 0 <= type <= 0xFFFF:
        raise EncodeError(f"{type} is not an attribute's number, nla_type has 16 bits")
    return _NLATTR.pack(length, type) + payload + _PAD[length & 3]


_PLAIN = frozenset((int, str, bytes))
MAX_KNOWN = 64


def _encode_one(attr: Attr, value: Any, siblings: Mapping[Any, object], resolve: Resolve | None) -> bytes:
    if type(value) not in _PLAIN:
        return _write(attr, value, siblings, resolve)
    written = attr.known.get(value)
    if written is None:
        written = _write(attr, value, siblings, resolve)
        if len(attr.known) < MAX_KNOWN:
            attr.known[value] = written
    return written


def _write(attr: Attr, value: Any, siblings: Mapping[Any, object], resolve: Resolve | None) -> bytes:
    codec = attr.codec
    if codec.format is not None:
        if type(value) is not int and resolve is not None:
            value = resolve(value)
        return _attribute(attr.type, codec.format.pack(value))
    if codec is STRING:
        raw = value.encode("utf-8", "surrogateescape")
        if b"\0" in raw:
            raise EncodeError(f"{value!r} has a NUL inside")
        return _attribute(attr.type, raw + b"\0")
    if codec is FLAG:
        return _attribute(attr.type, b"") if value else b""
    if codec is BYTES or isinstance(value, bytes):
        if resolve is not None and not isinstance(value, bytes):
            value = resolve(value)
        return _attribute(attr.type, bytes(memoryview(value)))
    table = attr.inside(siblings)
    if table is None:
        raise EncodeError(f"attribute {attr.type} needs its sibling {attr.select!r} to say what is inside")
    if attr.header is None:
        return _attribute(attr.type, encode(table, value, resolve))
    inner = dict(value)
    header = attr.header.pack(inner.pop("header", {}), resolve)
    return _attribute(attr.type, header + encode(table, inner, resolve))


def decode(table: Table, data: Buffer, depth: int = 0, only: frozenset[str] | None = None) -> dict[Any, Any]:
    """The mapping that these bytes stand for. Raises DecodeError on anything that is not a list of attributes.

    Of an attribute that stands twice without being ``many`` the last wins, as in the kernel's nla_parse(). With only,
    attributes of other names are passed over: a dump of ten thousand namespaces has half a million of them.
    """
    if depth > MAX_DEPTH:
        raise DecodeError(f"attributes nested deeper than {MAX_DEPTH}")
    layout = _layouts.get((len(data), table, only))
    if layout is not None and layout.headers.unpack_from(data) == layout.numbers:
        return layout.read(data, depth)
    view = memoryview(data)
    layout = _Layout(table, *_walk(view, None if only is None else table.types_of(only)))
    values: dict[Any, Any] = {}
    later: list[tuple[str, Attr, memoryview]] = []
    for raw_type, start, stop in layout.places:
        payload = view[start:stop]
        known = table.by_type.get(raw_type & NLA_TYPE_MASK)
        if known is None:
            values[raw_type] = bytes(payload)
            continue
        name, attr = known
        if attr.select is not None:
            # The sibling that says what is inside may come after it.
            values[name] = None
            later.append((name, attr, payload))
            continue
        value = _decode_one(name, attr, attr.table, payload, depth)
        if attr.many:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    for name, attr, payload in later:
        values[name] = _decode_one(name, attr, attr.inside(values), payload, depth)
    layout.keep(len(view), only)
    return values


def _walk(view: memoryview, types: frozenset[int] | None) -> tuple[list[int], list[tuple[int, int, int]]]:
    """nla_len and nla_type of each attribute in turn; and (nla_type with its flags, start and end of the payload) of
    each, or of those of some types. Raises DecodeError on a length that cannot be."""
    end = len(view)
    offset = 0
    numbers: list[int] = []
    places: list[tuple[int, int, int]] = []
    while end - offset >= 4:
        length, type = _NLATTR.unpack_from(view, offset)
        if length < 4 or length > end - offset:
            raise DecodeError(f"attribute {type & NLA_TYPE_MASK} says {length} of {end - offset} bytes")
        if types is None or type & NLA_TYPE_MASK in types:
            places.append((type, offset + 4, offset + length))
        numbers += (length, type)
        offset += (length + 3) & ~3
    if offset < end:
        raise DecodeError(f"{end - offset} bytes left over after the last attribute")
    return numbers, places


class _Layout:
    """Where attributes stood in bytes seen before: those of the same length with the same headers have them there too.

    A dump of thousands of namespaces has few layouts. Checking one is a single call instead of fifty, and another one
    takes out all numbers, strings and bytes."""

    __slots__ = ("_names", "_rest", "_strings", "_values", "headers", "numbers", "places", "table")

    def __init__(self, table: Table, numbers: list[int], places: list[tuple[int, int, int]]) -> None:
        self.table = table
        self.numbers = tuple(numbers)
        self.places = places

    def keep(self, size: int, only: frozenset[str] | None) -> None:
        """Notes how to read all bytes of this layout, this many, when it is one that will come again; those that it was
        made of have been read without an error."""
        if len(self.numbers) > 2 * MAX_LAYOUT_ATTRIBUTES:
            return
        headers: list[str] = []
        for length in self.numbers[::2]:
            headers.append(f"HH{((length + 3) & ~3) - 4}x")
        self.headers = struct.Struct("=" + "".join(headers))
        if self.headers.size != size:  # its last padding is missing: the kernel always has it
            return
        names: list[str] = []
        formats: list[str] = []
        self._strings: list[str] = []
        self._rest: list[tuple[str, Attr]] = []
        position = 0
        for type, start, stop in self.places:
            name, attr = self.table.by_type.get(type & NLA_TYPE_MASK, ("", None))
            if attr is None or attr.many or name in names:
                return
            names.append(name)
            native = attr.codec.format
            if native is not None and native.format.startswith("="):
                payload = native.format[1:]
            else:
                payload = f"{stop - start}s"
                if attr.codec is STRING:
                    self._strings.append(name)
                elif attr.codec is not BYTES:
                    self._rest.append((name, attr))
            formats.append(f"{start - position}x{payload}")
            position = stop
        self._names = tuple(names)
        self._values = struct.Struct("=" + "".join(formats))
        # The sibling that says what is inside comes first.
        self._rest.sort(key=lambda one: one[1].select is not None)
        if len(_layouts) >= MAX_LAYOUTS:
            _layouts.clear()
        _layouts[size, self.table, only] = self

    def read(self, data: Buffer, depth: int) -> dict[Any, Any]:
        """What decode() returns for bytes of this layout."""
        values: dict[Any, Any] = dict(zip(self._names, self._values.unpack_from(data), strict=True))
        for name in self._strings:
            values[name] = _text(values[name])
        for name, attr in self._rest:
            table = attr.table if attr.select is None else attr.inside(values)
            values[name] = _decode_one(name, attr, table, memoryview(values[name]), depth)
        return values


MAX_LAYOUTS = 256
MAX_LAYOUT_ATTRIBUTES = 256  # an interface has some seventy; what has thousands is not worth the memory
_layouts: dict[tuple[int, Table, frozenset[str] | None], _Layout] = {}


def _text(raw: bytes) -> str:
    # The kernel ends strings with one NUL; some senders leave it out, which nla_strscpy() also takes.
    return (raw[:-1] if raw.endswith(b"\0") else raw).decode("utf-8", "surrogateescape")


def _decode_one(name: str, attr: Attr, table: Table | None, payload: memoryview, depth: int) -> object:
    codec = attr.codec
    if codec.format is not None:
        if len(payload) != codec.format.size:
            raise DecodeError(f"{name} has {len(payload)} bytes, a {codec} has {codec.format.size}")
        return codec.format.unpack(payload)[0]
    if codec is STRING:
        return _text(bytes(payload))
    if codec is FLAG:
        return True
    if codec is BYTES or table is None:
        return bytes(payload)
    if attr.header is None:
        return decode(table, payload, depth + 1)
    header = attr.header.unpack(payload)
    return {"header": header, **decode(table, payload[attr.header.size :], depth + 1)}


def path_at(table: Table, data: Buffer, offset: int, depth: int = 0) -> tuple[str, ...]:
    """The names on the way to the attribute that stands at this offset, outermost first; () when none does. Never
    raises: deeper than MAX_DEPTH the path just ends.

    This is what an extended ACK's NLMSGERR_ATTR_OFFS asks for: the offset of an attribute's header in our request.
    """
    view = memoryview(data)
    position = 0
    kinds: dict[str, object] = {}
    while len(view) - position >= 4:
        length, raw_type = _NLATTR.unpack_from(view, position)
        if length < 4 or length > len(view) - position:
            return ()
        name, attr = table.by_type.get(raw_type & NLA_TYPE_MASK, (str(raw_type & NLA_TYPE_MASK), None))
        payload = view[position + 4 : position + length]
        if offset == position:
            return (name,)
        if position < offset < position + length and attr is not None:
            inner = attr.inside(kinds)
            skip = attr.header.size if attr.header is not None else 0
            if inner is None or depth >= MAX_DEPTH:
                return (name,)
            return (name, *path_at(inner, payload[skip:], offset - position - 4 - skip, depth + 1))
        if attr is not None and attr.codec is STRING:
            kinds[name] = bytes(payload).rstrip(b"\0").decode("utf-8", "replace")
        position += (length + 3) & ~3
    return ()
