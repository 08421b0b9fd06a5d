"""A NETLINK_ROUTE socket: batches of requests, their acknowledgements, dumps.

rtnetlink does its work inside send(2): when it returns, the answers are in the receive buffer. So a receive never
waits; its time limit is for lost answers. Sources: netlink(7), rtnetlink(7).
"""

from __future__ import annotations

# The C module: the enums of socket would cost koko's command line 3 ms.
import _socket as socket
import errno
import os
import struct
import sys
import time

from kokofast.wire.ack import explain, short_ack, unpack_ack
from kokofast.wire.attributes import DecodeError
from kokofast.wire.message import (
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    KernelError,
    is_end,
    pack,
    pack_dump,
    split,
    unpack,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from kokofast.wire.attributes import Resolve
    from kokofast.wire.message import Message, Request

NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
SO_NETNS_COOKIE = 71
MEMINFO_RMEM_ALLOC_SIZE = 4  # of SK_MEMINFO_RMEM_ALLOC, bytes in the queue, in include/uapi/linux/sock_diag.h

# Bytes, enough for a send whose messages are all refused. Normally only the last one is acknowledged.
RECEIVE_BUFFER = 1 << 20
ANSWER = 2 << 10  # bytes that a refusal takes of the buffer at most: an skb counts as 1,280
MAX_MESSAGES = 256  # of a send, or as many as the buffer has room for refusals
MAX_SEND = 64 << 10  # bytes
SEND_BUFFER = 128 << 10  # bytes; less than the default of a socket (net.core.wmem_default is 208 KiB)
# Dumps come in pieces of the reader's buffer size, at most 32 KiB. Source: net/netlink/af_netlink.c netlink_dump().
DATAGRAM = 32 << 10
# But an interface is one message, even with hundreds of alternative names or accepted MAC addresses.
LONGEST_DATAGRAM = 4 << 20
# Another run that fills the same namespace disturbs each dump of it for some tenths of a second.
DUMP_ATTEMPTS = 60
DUMP_ATTEMPTS_AT_ONCE = 20
DUMP_PAUSE_SECONDS = 0.001  # longer each time
DUMP_MESSAGES = 1 << 20  # of one dump, which may be endless when interfaces are made faster than they are read
TOO_FAST = "the interfaces change too fast to be read consistently"
FORGET_ATTEMPTS = 10_000  # pieces of a dump: more than the interfaces of a namespace take
# Requests take some tens of milliseconds, but may wait long for the rtnl lock of a busy machine.
TIMEOUT_SECONDS = 120

_ON = struct.pack("=i", 1)
_SUCCESS = struct.pack("=i", 0)  # the end of a successful dump
_TIMEVAL = struct.pack("@ll", TIMEOUT_SECONDS, 0)


_raw_socket: type[socket.socket] = socket.socket
if os.environ.get("KOKOFAST_DEBUG") == "wire":  # see CONTRIBUTING.md; here, so that sends do not check it
    from kokofast.host.debug import PrintingSocket

    _raw_socket = PrintingSocket


class _TruncatedError(DecodeError):
    """A datagram did not fit into the buffer. Its rest is lost: send the request again."""


class UnreadableError(OSError):
    """A dump could not be read completely; messages has what was read.

    Anybody with CAP_NET_ADMIN in a namespace can bring that about.
    """

    def __init__(self, errno: int, text: str, messages: list[Message]) -> None:
        super().__init__(errno, text)
        self.messages = messages


class Socket:
    """A netlink socket in the network namespace of the thread that made it. Not thread-safe.

    Args:
        raw: The class of the socket below it.
        protocol: NETLINK_ROUTE, or another one whose requests are carried out inside send(2).

    It is connected to the kernel, so that other processes with CAP_NET_ADMIN in the namespace cannot fill its buffer.
    """

    __slots__ = ("_longest", "_messages", "_seq", "_socket")

    def __init__(self, raw: type[socket.socket] = _raw_socket, protocol: int = NETLINK_ROUTE) -> None:
        sock = raw(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._messages = MAX_MESSAGES
        self._longest = DATAGRAM
        try:
            sock.connect((0, 0))
            for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK):
                sock.setsockopt(SOL_NETLINK, option, _ON)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL)
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            except PermissionError:  # root of a user namespace is bound to net.core.rmem_max
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
                room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                self._messages = min(max(room // ANSWER, 1), MAX_MESSAGES)
            self._socket = sock
            self._seq = 0
            # The socket has a port before it is connected: drop what others sent in between.
            if any(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO_RMEM_ALLOC_SIZE)):
                self._forget()
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def be_short(self) -> None:
        """Turn extended ACKs off, where only the errno of thousands of answers is needed."""
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, struct.pack("=i", 0))

    def namespace_cookie(self) -> int:
        """Return the number of the socket's namespace, unique until the next boot; 0 before Linux 5.14."""
        try:
            return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError:
            return 0

    def send(
        self, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        """Send all requests. The kernel carries them out in order, also those after a refused one.

        With whole all go by one send(2): the process cannot be killed between two of them.

        Returns:
            One entry a request: None if it was done, else the refusal.

        Raises:
            OSError: The socket failed, and which requests were done is not known; but with EMSGSIZE, too many for
                whole, none was done.
        """
        results: list[KernelError | None] = []
        batch: list[bytes] = []
        size = 0
        for position, request in enumerate(requests, 1):
            last = position == len(requests)
            # The kernel always reports errors. One acknowledgement at the end shows that all were processed.
            full = last or (not whole and (len(batch) + 1 >= self._messages or size > MAX_SEND))
            self._seq += 1
            data = pack(request, self._seq, ack=full, resolve=resolve)
            batch.append(data)
            size += len(data)
            if full:
                if size > SEND_BUFFER:
                    self._make_room(size)
                try:
                    results += self._exchange(batch)
                except DecodeError as error:
                    self._forget()
                    raise OSError(errno.EBADMSG, _unreadable(error)) from error
                except OSError:
                    # After an overflow the kernel drops all answers until the buffer is empty.
                    self._forget()
                    raise
                batch, size = [], 0
        return results

    def _make_room(self, size: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size)
        except PermissionError:  # as in __init__(); send(2) may fail with EMSGSIZE then
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def _exchange(self, batch: list[bytes]) -> list[KernelError | None]:
        self._socket.send(b"".join(batch))
        first = self._seq - len(batch) + 1
        results: list[KernelError | None] = [None] * len(batch)
        while True:
            data = self._receive()
            ack = short_ack(data)
            if ack is not None:  # most acknowledgements
                seq, code = ack
                if code and first <= seq <= self._seq:
                    results[seq - first] = KernelError(code)
                if seq == self._seq:
                    return results
                continue
            for type, flags, seq, _pid, body in split(data):
                if type != NLMSG_ERROR or not first <= seq <= self._seq:
                    continue
                whole = unpack_ack(flags, seq, body)
                if whole.errno:
                    results[seq - first] = explain(batch[seq - first], whole)
                if seq == self._seq:
                    return results

    def _receive(self) -> bytes:
        try:
            data, _, flags, address = self._socket.recvmsg(self._longest)
        except BlockingIOError:
            raise TimeoutError(
                errno.ETIMEDOUT, f"the kernel did not acknowledge a netlink request in {TIMEOUT_SECONDS} s"
            ) from None
        if address[0] != 0:  # port 0 is the kernel
            return b""
        if flags & socket.MSG_TRUNC:
            raise _TruncatedError("a netlink message was longer than the buffer")
        return data

    def dump(self, request: Request) -> list[Message]:
        """Return all messages of a dump. Repeat it while it is inconsistent, unless request.accept accepts it.

        Raises:
            KernelError: The kernel refuses the dump.
            UnreadableError: The answer stays inconsistent (EBUSY), has no end (EFBIG), has a message that is too long
                for the kernel (EMSGSIZE), or cannot be decoded, twice
                (EBADMSG).
            OSError: The socket fails.
        """
        before: list[Message] | None = None
        was_unreadable = False
        for attempt in range(DUMP_ATTEMPTS):
            if attempt >= DUMP_ATTEMPTS_AT_ONCE:
                time.sleep((attempt - DUMP_ATTEMPTS_AT_ONCE) * DUMP_PAUSE_SECONDS)
            messages: list[Message] = []
            try:
                self._seq += 1
                consistent = self._answer(pack_dump(request, self._seq), request, messages)
            except _TruncatedError as error:
                self._forget()
                if self._longest >= LONGEST_DATAGRAM:
                    raise UnreadableError(errno.EBADMSG, _unreadable(error), messages) from error
                self._longest <<= 2
                continue
            except DecodeError as error:
                self._forget()
                if was_unreadable:
                    raise UnreadableError(errno.EBADMSG, _unreadable(error), messages) from error
                was_unreadable = True  # an answer that was cut may arrive whole; what somebody has made stays as it is
                continue
            except KernelError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                # An interface or filter does not fit into one message of the kernel.
                raise UnreadableError(errno.EMSGSIZE, str(error), messages) from error
            except OSError:
                self._forget()
                raise
            if consistent or (request.accept is not None and request.accept(messages, before)):
                return messages
            before = messages
        raise UnreadableError(errno.EBUSY, TOO_FAST, before or [])

    def _forget(self) -> None:
        # Drop pending answers. The kernel begins no other dump on the socket (EBUSY) until one is read to its end.
        for _ in range(FORGET_ATTEMPTS):
            try:
                self._socket.recvmsg(DATAGRAM, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS is reported once; further answers can still be read
                continue

    def ask(self, request: Request, resolve: Resolve | None = None) -> list[Message]:
        """Return the answer to a request that is no dump. Raises KernelError, OSError as dump()."""
        self._seq += 1
        messages: list[Message] = []
        try:
            self._answer(pack(request, self._seq, ack=True, resolve=resolve), request, messages)
        except DecodeError as error:
            self._forget()
            raise OSError(errno.EBADMSG, _unreadable(error)) from error
        return messages

    def _answer(self, asked: bytes, request: Request, messages: list[Any]) -> bool:
        """Append the messages of the answer; return whether it is consistent."""
        self._socket.send(asked)
        consistent = True
        malformed: DecodeError | None = None
        rows = request.rows
        while True:
            data = self._receive()
            if is_end(data, self._seq) and malformed is None:  # most dumps end by such a datagram
                return consistent
            for type, flags, seq, pid, body in split(data) if rows is None else rows.split(data, self._seq, messages):
                if seq != self._seq:
                    continue
                consistent = consistent and not flags & NLM_F_DUMP_INTR
                if type in (NLMSG_ERROR, NLMSG_DONE):
                    if len(body) and body != _SUCCESS:
                        ack = unpack_ack(flags, seq, body, echoes=type == NLMSG_ERROR)
                        if ack.errno:
                            raise explain(asked, ack)
                    if malformed is not None:
                        raise malformed
                    return consistent
                try:
                    if rows is not None:
                        messages.append(rows.decode(type, flags, body))
                    else:
                        messages.append(unpack(type, flags, seq, pid, body, request.only, request.where))
                except DecodeError as error:  # such as an interface with more attributes than a length field can count
                    malformed = error
            if len(messages) > DUMP_MESSAGES:
                raise UnreadableError(errno.EFBIG, f"a dump has not ended after {DUMP_MESSAGES:,} messages", messages)


def _unreadable(error: DecodeError) -> str:
    # For the caller the same as a lost answer: what was done is not known.
    return f"the kernel's answer cannot be read: {error}"
