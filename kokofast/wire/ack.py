"""Netlink acknowledgements: what they say, and which attribute the kernel has refused.

Source: include/uapi/linux/netlink.h; netlink_ack() in net/netlink/af_netlink.c; netlink(7).
"""

from __future__ import annotations

import struct

from kokofast.wire.attributes import STRING, U32, Attr, DecodeError, Table
from kokofast.wire.decode import decode, path_at
from kokofast.wire.message import FORMATS, HEADER_SIZE, NLMSG_ERROR, NLMSGHDR, KernelError, all_formats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.wire.attributes import Buffer

NLM_F_CAPPED = 0x100  # in an acknowledgement: the request is not echoed (NETLINK_CAP_ACK)
NLM_F_ACK_TLVS = 0x200  # in an acknowledgement: attributes follow (NETLINK_EXT_ACK)
_CAPPED_ACK = struct.Struct("=IHHIIi16x")  # struct nlmsgerr: the error, the header of the request
_ERRNO = struct.Struct("=i")
MAX_ERRNO = 4095  # include/linux/err.h: no error number is larger

EXT_ACK = Table("extended ACK", {"message": Attr(1, STRING), "offset": Attr(2, U32), "miss_type": Attr(5, U32)})


class Ack:
    """The kernel's answer to one request.

    Args:
        seq: The number of the request.
        errno: 0 for success.
        message: The kernel's sentence; may be empty.
        offset: In bytes, of the refused attribute in the request; None when the kernel did not say.
    """

    __slots__ = ("errno", "message", "offset", "seq")

    def __init__(self, seq: int, errno: int, message: str = "", offset: int | None = None) -> None:
        self.seq = seq
        self.errno = errno
        self.message = message
        self.offset = offset


def short_ack(data: Buffer) -> tuple[int, int] | None:
    """Decode a datagram that is one acknowledgement without attributes (NETLINK_CAP_ACK).

    Returns:
        (sequence number, errno); None when it is anything else.
    """
    if len(data) != _CAPPED_ACK.size:
        return None
    length, type, _, seq, _, error = _CAPPED_ACK.unpack(data)
    return (seq, -error) if type == NLMSG_ERROR and length == len(data) and -MAX_ERRNO <= error <= 0 else None


def unpack_ack(flags: int, seq: int, body: Buffer, *, echoes: bool = True) -> Ack:
    """Decode an acknowledgement: the body of NLMSG_ERROR or NLMSG_DONE.

    Args:
        flags: nlmsg_flags.
        seq: nlmsg_seq.
        body: What follows struct nlmsghdr.
        echoes: Whether the header of the request follows the error, as in NLMSG_ERROR.

    Raises:
        DecodeError: The body is malformed.
    """
    view = memoryview(body)
    if len(view) < 4:
        raise DecodeError(f"an acknowledgement of {len(view)} bytes")
    code = -_ERRNO.unpack_from(view)[0]
    if not 0 <= code <= MAX_ERRNO:
        raise DecodeError(f"an acknowledgement with the impossible error {-code}")
    if not flags & NLM_F_ACK_TLVS:
        return Ack(seq, code)
    found = decode(EXT_ACK, view[ack_attributes(flags, view, echoes=echoes) :])
    return Ack(seq, code, found.get("message", ""), found.get("offset"))


def ack_attributes(flags: int, body: Buffer, *, echoes: bool) -> int:
    """Return the offset of the attributes in the body of an acknowledgement; its length when there are none.

    Raises:
        DecodeError: The body is malformed.
    """
    view = memoryview(body)
    if not flags & NLM_F_ACK_TLVS:
        return len(view)
    if not echoes:
        return 4
    if len(view) < 4 + HEADER_SIZE:
        raise DecodeError(f"an extended acknowledgement of {len(view)} bytes")
    echoed = HEADER_SIZE if flags & NLM_F_CAPPED else NLMSGHDR.unpack_from(view, 4)[0]
    start = 4 + ((echoed + 3) & ~3)
    if echoed < HEADER_SIZE or start > len(view):
        raise DecodeError(f"an acknowledgement that echoes {echoed} of {len(view)} bytes")
    return int(start)


def explain(request: Buffer, ack: Ack) -> KernelError:
    """Return the error of a refused request, with the names of the attribute that the kernel refused.

    Args:
        request: The bytes of the request, struct nlmsghdr included.
        ack: The answer.
    """
    view = memoryview(request)
    type = NLMSGHDR.unpack_from(view)[1]
    path: tuple[str, ...] = ()
    if ack.offset is not None and type in all_formats():
        header, table = FORMATS[type]
        start = HEADER_SIZE + header.size
        path = path_at(table, view[start:], ack.offset - start)
    return KernelError(ack.errno, ack.message, path)
