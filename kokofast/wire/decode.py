"""Decode netlink attributes by a table; fast where bytes of the same layout were decoded before."""

from __future__ import annotations

import struct

from kokofast.wire.attributes import BYTES, FLAG, NLA_TYPE_MASK, NLATTR, STRING, DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokofast.wire.attributes import Attr, Buffer, Table

# The kernel's own parsers stop at a handful of levels; a limit keeps hostile input from exhausting the stack.
MAX_DEPTH = 16
MAX_LAYOUTS = 256
MAX_ALIKE = 8  # layouts of the same length: names of other lengths make up for each other
MAX_LAYOUT_ATTRIBUTES = 256  # an interface has some seventy; what has thousands is not worth the memory
# Values of a nested attribute that were read before: thousands of interfaces are of one kind.
MAX_KNOWN = 64
MAX_KNOWN_BYTES = 64


# (table, length of the bytes, names asked for) -> the layouts of such bytes so far.
LAYOUTS: dict[tuple[Table, int, frozenset[str] | None], list[Layout]] = {}


def decode(
    table: Table, data: Buffer, depth: int = 0, only: frozenset[str] | None = None, start: int = 0
) -> dict[Any, Any]:
    """Decode a list of attributes.

    An attribute that repeats without being ``many`` has its last value, as in the kernel's nla_parse().

    Args:
        table: What the numbers mean.
        data: The attributes, with their padding.
        depth: How many nests these are in.
        only: Skip attributes of other names: a dump of ten thousand namespaces has half a million of them.
        start: Where the attributes begin in data.

    Returns:
        The values by name; by number where the table does not have the attribute. Do not change it: results may share
        nested values.

    Raises:
        DecodeError: data is not a list of attributes.
    """
    if depth > MAX_DEPTH:
        raise DecodeError(f"attributes nested deeper than {MAX_DEPTH}")
    for layout in LAYOUTS.get((table, len(data) - start, only), ()):
        if layout.headers.unpack_from(data, start) == layout.numbers:
            return layout.read(data, depth, start)
    view = memoryview(data)[start:]
    layout = Layout(table, *walk(view, None if only is None else table.types_of(only)))
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
        value = decode_one(name, attr, attr.table, payload, depth)
        if attr.many:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    for name, attr, payload in later:
        values[name] = decode_one(name, attr, attr.inside(values), payload, depth)
    layout.keep(len(view), only)
    return values


def walk(view: memoryview, types: frozenset[int] | None) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Find the attributes in a list of them.

    Args:
        view: The attributes.
        types: Return the places of these numbers only; None for all.

    Returns:
        nla_len and nla_type of every attribute, in one flat list; and its place: nla_type with its flags, start and end
        of the payload.

    Raises:
        DecodeError: A length is impossible.
    """
    end = len(view)
    offset = 0
    numbers: list[int] = []
    places: list[tuple[int, int, int]] = []
    while end - offset >= 4:
        length, type = NLATTR.unpack_from(view, offset)
        if length < 4 or length > end - offset:
            raise DecodeError(f"attribute {type & NLA_TYPE_MASK} says {length} of {end - offset} bytes")
        if types is None or type & NLA_TYPE_MASK in types:
            places.append((type, offset + 4, offset + length))
        numbers += (length, type)
        offset += (length + 3) & ~3
    if offset < end:
        raise DecodeError(f"{end - offset} bytes left over after the last attribute")
    return numbers, places


class Layout:
    """Where the attributes are in bytes that were decoded before.

    Bytes of the same length with the same attribute headers have them in the same places. A dump of thousands of
    namespaces has few layouts. One call compares a layout, instead of fifty; another one extracts all numbers, strings
    and bytes.
    """

    __slots__ = ("_names", "_rest", "_strings", "_values", "headers", "numbers", "places", "table")

    def __init__(self, table: Table, numbers: list[int], places: list[tuple[int, int, int]]) -> None:
        self.table = table
        self.numbers = tuple(numbers)
        self.places = places

    def keep(self, size: int, only: frozenset[str] | None) -> None:
        """Remember how to read bytes of this layout, unless it is too long or not worth it.

        Call it only after these bytes were decoded without an error.

        Args:
            size: The length of the bytes.
            only: The names that were asked for.
        """
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
        self._rest: list[tuple[str, Attr, dict[bytes, object]]] = []
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
                    self._rest.append((name, attr, {}))
            formats.append(f"{start - position}x{payload}")
            position = stop
        self._names = tuple(names)
        self._values = struct.Struct("=" + "".join(formats))
        # The sibling that says what is inside comes first.
        self._rest.sort(key=lambda one: one[1].select is not None)
        if len(LAYOUTS) >= MAX_LAYOUTS:
            LAYOUTS.clear()
        alike = LAYOUTS.setdefault((self.table, size, only), [])
        if len(alike) >= MAX_ALIKE:
            alike.clear()
        alike.append(self)

    def read(self, data: Buffer, depth: int, start: int) -> dict[Any, Any]:
        """Decode bytes of this layout, as decode() would. Results may share nested values."""
        values: dict[Any, Any] = dict(zip(self._names, self._values.unpack_from(data, start), strict=True))
        for name in self._strings:
            values[name] = _text(values[name])
        for name, attr, known in self._rest:
            raw = values[name]
            # Inside others it may be deeper than MAX_DEPTH, which is for decode() to find.
            value = known.get(raw) if depth == 0 else None
            if value is None:
                table = attr.table if attr.select is None else attr.inside(values)
                value = decode_one(name, attr, table, raw, depth)
                if depth == 0 and attr.select is None and len(known) < MAX_KNOWN and len(raw) <= MAX_KNOWN_BYTES:
                    known[raw] = value
            values[name] = value
        return values


def _text(raw: bytes) -> str:
    # The kernel ends strings with one NUL; some senders leave it out, which nla_strscpy() also takes.
    return (raw[:-1] if raw.endswith(b"\0") else raw).decode("utf-8", "surrogateescape")


def decode_one(name: str, attr: Attr, table: Table | None, payload: bytes | memoryview, depth: int) -> object:
    """Decode the payload of one attribute.

    Args:
        name: For the error.
        attr: Its line in the table.
        table: Of a NEST, what is inside; None leaves bytes.
        payload: Without padding.
        depth: How many nests it is in.

    Raises:
        DecodeError: The payload does not have the codec's size, or is no list of attributes.
    """
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
    if table.header is None:
        return decode(table, payload, depth + 1)
    header = table.header.unpack(payload)
    return {"header": header, **decode(table, payload[table.header.size :], depth + 1)}


def path_at(table: Table, data: Buffer, offset: int, depth: int = 0) -> tuple[str, ...]:
    """Return the names on the way to the attribute at an offset, outermost first; () when there is none.

    An extended ACK has the offset of a refused attribute's header (NLMSGERR_ATTR_OFFS). Never raises: deeper than
    MAX_DEPTH the path ends.

    Args:
        table: What the numbers mean.
        data: The attributes of a request.
        offset: In bytes, from the start of data.
        depth: How many nests these are in.
    """
    view = memoryview(data)
    position = 0
    kinds: dict[str, object] = {}
    while len(view) - position >= 4:
        length, raw_type = NLATTR.unpack_from(view, position)
        if length < 4 or length > len(view) - position:
            return ()
        name, attr = table.by_type.get(raw_type & NLA_TYPE_MASK, (str(raw_type & NLA_TYPE_MASK), None))
        payload = view[position + 4 : position + length]
        if offset == position:
            return (name,)
        if position < offset < position + length and attr is not None:
            inner = attr.inside(kinds)
            if inner is None or depth >= MAX_DEPTH:
                return (name,)
            skip = inner.header.size if inner.header is not None else 0
            return (name, *path_at(inner, payload[skip:], offset - position - 4 - skip, depth + 1))
        if attr is not None and attr.codec is STRING:
            kinds[name] = bytes(payload).rstrip(b"\0").decode("utf-8", "replace")
        position += (length + 3) & ~3
    return ()
