"""Netlink bytes as text for people: hex, and beside it what the tables make of it. Imported only to debug.

The text has the form of tests/golden/*.hex: a ``#`` starts a comment, the rest is every byte in order.
"""

from __future__ import annotations

from ipaddress import ip_address

from kokofast.wire import addr, ethtool, link, message, netns, route, tc
from kokofast.wire.ack import EXT_ACK, Ack, ack_attributes, explain, unpack_ack
from kokofast.wire.attributes import NEST, NLA_TYPE_MASK, STRING, DecodeError
from kokofast.wire.decode import MAX_DEPTH, decode_one, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.wire.attributes import Attr, Buffer, Header, Table

TYPES: dict[int, str] = {
    value: name
    for module in (addr, link, message, netns, route, tc)
    for name, value in vars(module).items()
    if name.startswith(("RTM_", "NLMSG_"))
} | {ethtool.CTRL: "GENL_ID_CTRL", ethtool.ETHTOOL: "ethtool"}

# Bits of nlmsg_flags. What the upper ones mean depends on the message.
_FLAGS = {"REQUEST": 0x01, "MULTI": 0x02, "ACK": 0x04, "ECHO": 0x08, "DUMP_INTR": 0x10}
_UPPER_FLAGS = {
    "NLMSG_": {"CAPPED": 0x100, "ACK_TLVS": 0x200},
    "RTM_GET": {"ROOT": 0x100, "MATCH": 0x200},
    "RTM_NEW": {"REPLACE": 0x100, "EXCL": 0x200, "CREATE": 0x400, "APPEND": 0x800},
}
# Attributes with an IP address, where they have 4 or 16 bytes.
_ADDRESSES = {"address", "local", "broadcast", "dst", "src", "gateway", "prefsrc", "group", "group6", "local6"}

BYTES_A_LINE = 16
MAC_BYTES = 6


def lines(data: Buffer, sent: Buffer = b"") -> Iterator[str]:
    """Describe all messages of a datagram, a line for each header and each attribute.

    Bytes that cannot be decoded are shown as hex, with the reason. Never raises.

    Args:
        data: The bytes of one send or one receive.
        sent: The bytes of the send before, to look up the attribute that an extended ACK points at.
    """
    view = memoryview(data)
    end = 0
    try:
        for start, end, type, flags, seq, pid in _messages(view):
            body = start + message.HEADER_SIZE
            name = TYPES.get(type, f"type {type}")
            about = f"{name} seq {seq} pid {pid} flags {_flags(name, flags)}, {end - start} bytes"
            yield from _row(view[start:body], about)
            if type in (message.NLMSG_ERROR, message.NLMSG_DONE):
                yield from _ack(type, flags, seq, view[body:end], sent)
            elif type in message.all_formats():
                header, table = message.FORMATS[type]
                yield from _nest(table, view[body:end], "", header)
            else:
                yield from _row(view[body:end], "payload")
            yield from _row(view[end : _aligned(end)], "padding")
    except DecodeError as error:
        yield from _row(view[_aligned(end) :], f"cannot be decoded: {error}")


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _messages(data: memoryview) -> Iterator[tuple[int, int, int, int, int, int]]:
    # (start, end, type, flags, seq, pid); the end is without the padding.
    start = 0
    for type, flags, seq, pid, body in message.split(data):
        end = start + message.HEADER_SIZE + len(body)
        yield start, end, type, flags, seq, pid
        start = _aligned(end)


def _row(data: Buffer, comment: str) -> Iterator[str]:
    for start in range(0, len(data), BYTES_A_LINE):
        text = bytes(data[start : start + BYTES_A_LINE]).hex(" ")
        yield f"{text:<{3 * BYTES_A_LINE - 1}}  # {comment}" if start == 0 else text


def _flags(name: str, flags: int) -> str:
    known = dict(_FLAGS)
    for prefix, upper in _UPPER_FLAGS.items():
        if name.startswith(prefix):
            known |= upper
    found = [word for word, bit in known.items() if flags & bit]
    rest = flags & ~sum(known.values())
    return "|".join([*found, *([f"{rest:#x}"] if rest else [])]) or "0"


def _ack(type: int, flags: int, seq: int, body: memoryview, sent: Buffer) -> Iterator[str]:
    echoes = type == message.NLMSG_ERROR
    try:
        ack = unpack_ack(flags, seq, body, echoes=echoes)
        start = ack_attributes(flags, body, echoes=echoes)
    except DecodeError as error:
        yield from _row(body, f"cannot be decoded: {error}")
        return
    yield from _row(body[:4], f"error {-ack.errno}" if ack.errno else "no error")
    yield from _row(body[4:start], "the request")
    yield from _attributes(EXT_ACK, body[start:], "", 0)
    if ack.errno:
        refusal = _refusal(ack, memoryview(sent))
        where = f"{'.'.join(refusal.path)}: " if refusal.path else ""
        yield f"# refused: {where}{ascii(str(refusal))[1:-1]}"


def _refusal(ack: Ack, sent: memoryview) -> message.KernelError:
    try:
        for start, end, *_, seq, _ in _messages(sent):
            if seq == ack.seq:
                return explain(sent[start:end], ack)
    except DecodeError:
        pass
    return message.KernelError(ack.errno, ack.message)


def _nest(table: Table, data: memoryview, path: str, header: Header | None, depth: int = 0) -> Iterator[str]:
    if header is not None:
        try:
            fields = header.unpack(data)
        except DecodeError as error:
            yield from _row(data, f"cannot be decoded: {error}")
            return
        yield from _row(data[: header.size], " ".join([header.name, *(f"{k} {v}" for k, v in fields.items())]))
        data = data[header.size :]
    yield from _attributes(table, data, path, depth)


def _attributes(table: Table, data: memoryview, path: str, depth: int) -> Iterator[str]:
    try:
        _, places = walk(data, None)
    except DecodeError as error:
        yield from _row(data, f"{path}: cannot be decoded: {error}")
        return
    found = [(table.by_type.get(type & NLA_TYPE_MASK), type, start, stop) for type, start, stop in places]
    # Siblings that say what is inside of a nest.
    words = {
        known[0]: decode_one(*known, None, data[start:stop], depth)
        for known, _, start, stop in found
        if known is not None and known[1].codec is STRING
    }
    for known, type, start, stop in found:
        name, attr = known or (str(type), None)
        whole = data[start - 4 : _aligned(stop)]
        inner = attr.inside(words) if attr is not None and attr.codec is NEST and depth < MAX_DEPTH else None
        if attr is None:
            yield from _row(whole, f"{path}{name} is not known")
        elif inner is None:
            yield from _row(whole, f"{path}{name} {_text(name, attr, data[start:stop])}")
        else:
            yield from _row(whole[:4], f"{path}{name}, {stop - start} bytes")
            yield from _nest(inner, data[start:stop], f"{path}{name}.", inner.header, depth + 1)
            yield from _row(data[stop : _aligned(stop)], "padding")


def _text(name: str, attr: Attr, payload: memoryview) -> str:
    try:
        value = decode_one(name, attr, None, payload, 0)
    except DecodeError as error:
        return f"cannot be decoded: {error}"
    if not isinstance(value, bytes):
        return "" if value is True else ascii(value)
    if name in _ADDRESSES and len(value) in (4, 16):
        return str(ip_address(value))
    return value.hex(":") if len(value) == MAC_BYTES else f"{len(value)} bytes"
