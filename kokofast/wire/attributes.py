"""Netlink attributes: tables with one line per attribute, and the encoder that reads them; decode.py has the decoder.

Layout (include/uapi/linux/netlink.h): ``struct nlattr { __u16 nla_len; __u16 nla_type; }`` in host byte order, then
the payload, padded to 4 bytes. nla_len counts header and payload, not the padding. The two top bits of nla_type are
flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).

A mapping of names to values represents a list of attributes:

=========  =============================================================================================
codec      Python value
=========  =============================================================================================
U8 .. U64  int; in encode also a typed reference, which the caller's ``resolve`` turns into one
S32        int, signed
U16_BE ..  int, in network byte order on the wire
STRING     str, with a NUL at its end on the wire; bytes that are not UTF-8 are kept by surrogateescape
BYTES      bytes; in encode also a typed reference
FLAG       True; an attribute without payload
NEST       mapping, by the table of the Attr (or the one that a sibling attribute chooses, see Attr.select)
=========  =============================================================================================

An attribute that the table does not have is decoded as ``{int(nla_type): bytes}``, flag bits included, and encodes to
the same bytes.
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

NLATTR = struct.Struct("=HH")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


class EncodeError(ValueError):
    """A request that cannot be encoded: an unknown name, or a value that does not fit. A defect of the caller."""


class DecodeError(ValueError):
    """Bytes that the kernel would not send."""


class Codec:
    """How one kind of payload is encoded and decoded.

    Args:
        name: As the tables call it; for messages.
        format: The struct format of a number; None for the other codecs.
    """

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
STRING = Codec("STRING")
BYTES = Codec("BYTES")
FLAG = Codec("FLAG")
NEST = Codec("NEST")


class Header:
    """A fixed struct in front of attributes. Fields that are not given are 0.

    Args:
        name: The kernel's name of the struct.
        format: As in the module struct, host byte order without padding of its own; ``x`` is padding.
        fields: The names of the fields, separated by spaces.
    """

    __slots__ = ("_positions", "fields", "name", "size", "struct")

    def __init__(self, name: str, format: str, fields: str) -> None:
        self.name = name
        self.struct = struct.Struct("=" + format)
        self.size = self.struct.size
        self.fields = tuple(fields.split())
        self._positions = {name: position for position, name in enumerate(self.fields)}

    def row(self, values: Mapping[str, object], resolve: Resolve | None = None) -> list[Any]:
        """Return the values of all fields, in order.

        Raises:
            EncodeError: A field is not known.
        """
        row: list[Any] = [0] * len(self.fields)
        positions = self._positions
        for name, value in values.items():
            position = positions.get(name)
            if position is None:
                raise EncodeError(f"{self.name} has no field {name!r}")
            row[position] = value if type(value) is int or resolve is None else resolve(value)
        return row

    def pack(self, values: Mapping[str, object], resolve: Resolve | None = None) -> bytes:
        """Encode the header.

        Raises:
            EncodeError: A field is not known, or a value does not fit.
        """
        try:
            return self.struct.pack(*self.row(values, resolve))
        except struct.error as error:
            raise EncodeError(f"{self.name} {dict(values)}: {error}") from error

    def unpack(self, data: Buffer, offset: int = 0) -> dict[str, int]:
        """Decode the header at an offset.

        Raises:
            DecodeError: The bytes end before the header does.
        """
        try:
            return dict(zip(self.fields, self.struct.unpack_from(data, offset), strict=True))
        except struct.error as error:
            raise DecodeError(f"{self.name} is cut short at {len(data) - offset} of {self.size} bytes") from error


class Attr:
    """One line of a table: an attribute's number, its codec and, for NEST, what is inside.

    Args:
        type: The number: nla_type without flags.
        codec: How the payload is encoded.
        table: Of a NEST, the attributes inside; None when select chooses them.
        select: The sibling attribute whose value chooses one of ``tables`` (IFLA_INFO_KIND chooses what IFLA_INFO_DATA
            holds). With an unknown value the payload stays bytes.
        tables: What select chooses from.
        many: The attribute may repeat; its value is a list.
        flagged: The kernel wants NLA_F_NESTED on this nest. It does so for nests that were added late.
    """

    __slots__ = ("codec", "flags", "known", "many", "select", "table", "tables", "type")

    def __init__(
        self,
        type: int,
        codec: Codec,
        table: Table | None = None,
        *,
        select: str | None = None,
        tables: Mapping[str, Table] | None = None,
        many: bool = False,
        flagged: bool = False,
    ) -> None:
        self.flags = NLA_F_NESTED if flagged else 0
        self.type = type
        self.codec = codec
        self.table = table
        self.select = select
        self.tables = tables
        self.many = many
        # Bytes of values that were written before: a queue count or a kind is the same in thousands of messages.
        self.known: dict[object, bytes] = {}

    def inside(self, siblings: Mapping[Any, object]) -> Table | None:
        """Return the table of a nested attribute; None when it is not known.

        Args:
            siblings: The decoded attributes beside it.
        """
        if self.select is None:
            return self.table
        chosen = siblings.get(self.select)
        return self.tables.get(chosen) if self.tables is not None and isinstance(chosen, str) else None


class Table:
    """The attributes of one level of a message.

    Args:
        name: For messages.
        rows: The attributes by name.
        header: Of a nest: a fixed struct before its attributes (VETH_INFO_PEER holds an ifinfomsg, TCA_OPTIONS of netem
            a tc_netem_qopt). The nested mapping has its fields under the key "header".

    Raises:
        ValueError: Two attributes have one number.
    """

    __slots__ = ("_types", "by_type", "header", "name", "rows")

    def __init__(self, name: str, rows: Mapping[str, Attr], *, header: Header | None = None) -> None:
        self.name = name
        self.header = header
        self.rows = rows
        self.by_type = {attr.type: (name, attr) for name, attr in rows.items()}
        self._types: dict[frozenset[str], frozenset[int]] = {}
        if len(self.by_type) < len(rows):
            raise ValueError(f"{name}: two attributes have one number")

    def types_of(self, names: frozenset[str]) -> frozenset[int]:
        """Return the numbers of these attributes."""
        types = self._types.get(names)
        if types is None:
            types = self._types[names] = frozenset(self.rows[name].type for name in names)
        return types


def encode(table: Table, values: Mapping[Any, object], resolve: Resolve | None = None) -> bytes:
    """Encode the attributes of a mapping, in its order.

    Args:
        table: What the names mean.
        values: The attributes; see the table of codecs above.
        resolve: Turns a typed reference into the int or bytes that it stands for.

    Raises:
        EncodeError: The table does not have a name, or a codec cannot hold its value.
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
    return NLATTR.pack(length, type) + payload + _PAD[length & 3]


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
    if table.header is None:
        return _attribute(attr.type | attr.flags, encode(table, value, resolve))
    inner = dict(value)
    header = table.header.pack(inner.pop("header", {}), resolve)
    return _attribute(attr.type, header + encode(table, inner, resolve))
