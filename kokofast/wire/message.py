"""Netlink messages: the header, requests and dumps.

Source: include/uapi/linux/netlink.h; netlink_dump() in net/netlink/af_netlink.c; netlink(7).
"""

from __future__ import annotations

import errno
import os
import struct

from kokofast.wire import addr, link
from kokofast.wire.attributes import DecodeError, EncodeError, Header, Table, encode
from kokofast.wire.decode import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol

    from kokofast.wire.attributes import Buffer, Resolve

    class Rows(Protocol):
        """Reads messages as tuples, as kokofast.wire.rows.Rows."""

        def split(self, data: Buffer, seq: int, rows: list[Any]) -> Iterator[tuple[int, int, int, int, memoryview]]:
            """Append what is known of a datagram to rows; yield the other messages."""

        def decode(self, type: int, flags: int, body: memoryview) -> tuple[Any, ...]:
            """Decode a message."""


NLMSG_ERROR = 2
NLMSG_DONE = 3
GENERIC = 0xF0  # types from here on are not of rtnetlink, which ends far below: see ethtool.py

NLM_F_REQUEST = 0x01
NLM_F_MULTI = 0x02
NLM_F_ACK = 0x04
NLM_F_ECHO = 0x08
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300  # NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

NLMSGHDR = struct.Struct("=IHHII")
_SEQ = struct.Struct("=I")
_SEQ_OFFSET = 8
HEADER_SIZE = NLMSGHDR.size
_END = struct.Struct("=IHHIIi")  # the header of NLMSG_DONE, and the error

# What follows struct nlmsghdr, by message type: one line each.
FORMATS: dict[int, tuple[Header, Table]] = {
    **dict.fromkeys(link.TYPES, (link.IFINFOMSG, link.LINK)),
    addr.RTM_NEWADDR: (addr.IFADDRMSG, addr.ADDR),
    addr.RTM_DELADDR: (addr.IFADDRMSG, addr.ADDR),
    addr.RTM_GETADDR: (addr.IFADDRMSG, addr.ADDR),
}


def all_formats() -> dict[int, tuple[Header, Table]]:
    """Return FORMATS, including those of modules that a single link does not need."""
    if len(FORMATS) == _LOADED_FIRST:
        from kokofast.wire import ethtool, neigh, netns, route, tc

        FORMATS.update(
            {
                route.RTM_NEWROUTE: (route.RTMSG, route.ROUTE),
                route.RTM_DELROUTE: (route.RTMSG, route.ROUTE),
                route.RTM_GETROUTE: (route.RTMSG, route.ROUTE),
                tc.RTM_NEWQDISC: (tc.TCMSG, tc.QDISC),
                tc.RTM_DELQDISC: (tc.TCMSG, tc.QDISC),
                tc.RTM_GETQDISC: (tc.TCMSG, tc.QDISC),
                tc.RTM_NEWTFILTER: (tc.TCMSG, tc.FILTER),
                tc.RTM_DELTFILTER: (tc.TCMSG, tc.FILTER),
                tc.RTM_GETTFILTER: (tc.TCMSG, tc.FILTER),
                neigh.RTM_NEWNEIGH: (neigh.NDMSG, neigh.NEIGH),
                neigh.RTM_DELNEIGH: (neigh.NDMSG, neigh.NEIGH),
                neigh.RTM_GETNEIGH: (neigh.NDMSG, neigh.NEIGH),
                netns.RTM_NEWNSID: (netns.RTGENMSG, netns.NSID),
                netns.RTM_DELNSID: (netns.RTGENMSG, netns.NSID),
                netns.RTM_GETNSID: (netns.RTGENMSG, netns.NSID),
                ethtool.CTRL: (ethtool.GENLMSGHDR, ethtool.FAMILY),
                ethtool.ETHTOOL: (ethtool.GENLMSGHDR, ethtool.FEATURES),
            }
        )
    return FORMATS


_LOADED_FIRST = len(FORMATS)


def format_of(type: int) -> tuple[Header, Table]:
    """Return the fixed header and the attributes of a message type. Raises KeyError."""
    return FORMATS.get(type) or all_formats()[type]


class Request:
    """One message to send, as data.

    Values may be typed references (an interface that has no index yet). They are resolved when the request is encoded.

    Args:
        type: nlmsg_type, one of all_formats().
        header: Fields of the fixed header.
        attributes: By name, as in attributes.encode().
        flags: nlmsg_flags without NLM_F_REQUEST, NLM_F_ACK and NLM_F_DUMP.
        only: Of the answers to a dump, decode these attributes; None for all.
        where: Of the answers to a dump, decode only attributes of those whose fixed header passes.
        rows: Read the answers to a dump as tuples, in place of only and where.
        accept: Whether to accept a dump that changed while it was read (NLM_F_DUMP_INTR), given it and the attempt
            before it (None: there was none). By default no such dump is accepted.

    ``body``: what follows struct nlmsghdr, where a caller has encoded it. It is used in place of header and attributes.
    """

    __slots__ = ("_dump", "accept", "attributes", "body", "flags", "header", "only", "rows", "type", "where")

    def __init__(
        self,
        type: int,
        header: Mapping[str, object],
        attributes: Mapping[str, object] | None = None,
        flags: int = 0,
        *,
        only: frozenset[str] | None = None,
        where: Callable[[dict[str, int]], bool] | None = None,
        rows: Rows | None = None,
        accept: Callable[[list[Message], list[Message] | None], bool] | None = None,
    ) -> None:
        self.only = only
        self.rows = rows
        self.where = where
        self.accept = accept
        self.body: bytes | None = None
        self._dump: bytes | None = None
        self.type = type
        self.flags = flags
        self.header = header
        self.attributes: Mapping[str, object] = attributes if attributes is not None else {}

    def __repr__(self) -> str:
        return f"Request({self.type}, {dict(self.header)}, {dict(self.attributes)}, flags={self.flags:#x})"


def at_second_attempt(messages: list[Message], before: list[Message] | None) -> bool:
    """Accept an inconsistent dump at the second attempt: for Request.accept."""
    return before is not None


class Message:
    """A received message: the fields of nlmsghdr, those of the fixed header, and the attributes by name."""

    __slots__ = ("attributes", "flags", "header", "pid", "seq", "type")

    def __init__(
        self, type: int, flags: int, seq: int, pid: int, header: dict[str, int], attributes: dict[Any, Any]
    ) -> None:
        self.type = type
        self.flags = flags
        self.seq = seq
        self.pid = pid
        self.header = header
        self.attributes = attributes


class KernelError(Exception):
    """A request that the kernel refused.

    Args:
        errno: The kernel's number.
        message: The kernel's sentence; may be empty.
        path: The names of the refused attribute, outermost first; may be empty.

    ``request`` is the refused request, where the sender noted it.
    """

    def __init__(self, errno: int, message: str = "", path: tuple[str, ...] = ()) -> None:
        super().__init__(errno, message, path)
        self.request: Request | None = None
        self.errno = errno
        self.message = message
        self.path = path

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{self.message or os.strerror(self.errno)} ({name})"


def words_of(refusal: KernelError | OSError) -> str:
    """Return the sentence of a refusal, without Python's errno."""
    return str(refusal) if isinstance(refusal, KernelError) else f"{refusal.strerror or refusal}"


def encode_body(request: Request, resolve: Resolve | None, known: dict[int, bytes] | None = None) -> bytes:
    """Encode what follows struct nlmsghdr.

    Args:
        request: The request.
        resolve: As for pack().
        known: The encoded attributes by their identity, for requests that share them; it is added to.

    Raises:
        EncodeError: As pack().
    """
    try:
        header, table = format_of(request.type)
    except KeyError:
        raise EncodeError(f"message type {request.type} is not known") from None
    attributes = known.get(id(request.attributes)) if known is not None else None
    if attributes is None:
        attributes = encode(table, request.attributes, resolve)
        if known is not None:
            known[id(request.attributes)] = attributes
    return header.pack(request.header, resolve) + attributes


def pack(request: Request, seq: int, *, ack: bool, resolve: Resolve | None = None) -> bytes:
    """Encode a request.

    Args:
        request: The request. Where ``body`` has bytes, they are used as they are.
        seq: nlmsg_seq.
        ack: Ask for an acknowledgement. (The kernel always reports refusals.)
        resolve: Turns a typed reference into the int or bytes that it stands for.

    Raises:
        EncodeError: The tables do not know a name, or a value does not fit.
    """
    body = request.body if request.body is not None else encode_body(request, resolve)
    flags = NLM_F_REQUEST | request.flags | (NLM_F_ACK if ack else 0)
    return NLMSGHDR.pack(HEADER_SIZE + len(body), request.type, flags, seq, 0) + body


def pack_dump(request: Request, seq: int) -> bytes:
    """Encode a request for a dump.

    All bytes but the number are kept: the same request goes to thousands of namespaces.
    """
    rest = request._dump
    if rest is None:
        asked = Request(request.type, request.header, request.attributes, request.flags | NLM_F_DUMP)
        rest = request._dump = pack(asked, 0, ack=False)
    return rest[:_SEQ_OFFSET] + _SEQ.pack(seq) + rest[_SEQ_OFFSET + _SEQ.size :]


def is_end(data: Buffer, seq: int) -> bool:
    """Return whether a datagram is the end of a dump, and nothing else: without an error, and of a consistent dump."""
    if len(data) != _END.size:
        return False
    length, type, flags, number, _, code = _END.unpack(data)
    return (length, type, flags, number, code) == (_END.size, NLMSG_DONE, NLM_F_MULTI, seq, 0)


def split(data: Buffer) -> Iterator[tuple[int, int, int, int, memoryview]]:
    """Yield (type, flags, seq, pid, body) of each message in a datagram.

    Raises:
        DecodeError: A length is impossible.
    """
    view = memoryview(data)
    offset, end = 0, len(view)
    while offset < end:
        if end - offset < HEADER_SIZE:
            raise DecodeError(f"{end - offset} bytes where a message header of {HEADER_SIZE} should be")
        length, type, flags, seq, pid = NLMSGHDR.unpack_from(view, offset)
        if length < HEADER_SIZE or length > end - offset:
            raise DecodeError(f"message of type {type} says {length} of {end - offset} bytes")
        yield type, flags, seq, pid, view[offset + HEADER_SIZE : offset + length]
        offset += (length + 3) & ~3


def unpack(
    type: int,
    flags: int,
    seq: int,
    pid: int,
    body: Buffer,
    only: frozenset[str] | None = None,
    where: Callable[[dict[str, int]], bool] | None = None,
) -> Message:
    """Decode one message.

    Args:
        type: nlmsg_type.
        flags: nlmsg_flags.
        seq: nlmsg_seq.
        pid: nlmsg_pid.
        body: What follows struct nlmsghdr.
        only: Decode these attributes; None for all.
        where: Decode no attributes unless the fixed header passes.

    Raises:
        DecodeError: FORMATS does not have the type, or the body is malformed.
    """
    try:
        header, table = format_of(type)
    except KeyError:
        raise DecodeError(f"message type {type} is not known") from None
    fields = header.unpack(body)
    if where is not None and not where(fields):
        return Message(type, flags, seq, pid, fields, {})
    return Message(type, flags, seq, pid, fields, decode(table, body, 0, only, header.size))
