"""A NETLINK_ROUTE socket: batches of requests out, acknowledgements in, dumps.

rtnetlink does its work inside send(): when it returns, the answers are in the receive buffer. So the receive never
waits, and a time limit on it only guards against an answer that was lost. Sources: netlink(7), rtnetlink(7).
"""

from __future__ import annotations

# The C part of socket alone has all that is used here, without the enums that cost koko's command line 3 ms.
import _socket as socket
import errno
import os
import struct
import sys
import time

from kokofast.wire.attributes import DecodeError
from kokofast.wire.message import (
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    KernelError,
    explain,
    pack,
    pack_dump,
    short_ack,
    split,
    unpack,
    unpack_ack,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.wire.attributes import Resolve
    from kokofast.wire.message import Message, Request

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
SO_NETNS_COOKIE = 71
MEMINFO_RMEM_ALLOC_SIZE = 4  # the first number of include/uapi/linux/sock_diag.h SK_MEMINFO_*: bytes in the queue

# Only the last message of a send is acknowledged when all goes well; room is for the case that all are refused.
RECEIVE_BUFFER = 1 << 20
ANSWER = 2 << 10  # what a refusal takes of the buffer at most: an skb is charged with 1,280 bytes
MAX_MESSAGES = 256  # of a send, or as many as the buffer has room for their refusals
MAX_SEND = 64 << 10
SEND_BUFFER = 128 << 10  # less than a socket has (net.core.wmem_default is 208 KiB)
# The kernel writes dumps in pieces as large as the reader's buffer, 32 KiB at most (netlink_dump()).
DATAGRAM = 32 << 10
# But an interface with hundreds of alternative names or accepted MAC addresses is one message, as long as it takes.
LONGEST_DATAGRAM = 4 << 20
# Another run that fills the same namespace disturbs every dump of it for some tenths of a second.
DUMP_ATTEMPTS = 60
DUMP_ATTEMPTS_AT_ONCE = 20
DUMP_PAUSE_SECONDS = 0.001  # longer each time
DUMP_MESSAGES = 1 << 20  # of one dump: who makes interfaces faster than they are read would never let it end
TOO_FAST = "the interfaces change too fast to be read consistently"
FORGET_ATTEMPTS = 10_000  # pieces of a dump: more than the interfaces of a namespace take
# No request of ours takes longer than some tens of milliseconds; the rtnl lock of a busy machine may.
TIMEOUT_SECONDS = 120

_ON = struct.pack("=i", 1)
_SUCCESS = struct.pack("=i", 0)  # all that the end of a dump says when it went well
_TIMEVAL = struct.pack("@ll", TIMEOUT_SECONDS, 0)


_raw_socket: type[socket.socket] = socket.socket
if os.environ.get("KOKOFAST_DEBUG") == "wire":  # see CONTRIBUTING.md; asked once, so that no send pays for it
    from kokofast.host.debug import PrintingSocket

    _raw_socket = PrintingSocket


class _TruncatedError(DecodeError):
    """A datagram that did not fit; there is no other way to the rest of it than to ask again."""


class UnreadableError(OSError):
    """A dump that cannot be had whole. Who has CAP_NET_ADMIN in a namespace can see to that. messages is what was
    read."""

    def __init__(self, errno: int, text: str, messages: list[Message]) -> None:
        super().__init__(errno, text)
        self.messages = messages


class Socket:
    """One netlink socket. It stays in the network namespace of the thread that made it, whoever uses it later.

    It is connected to the kernel, which refuses what other processes send to it: whoever has CAP_NET_ADMIN in the
    namespace could else fill its buffer. Not for use by two threads at a time.
    """

    __slots__ = ("_longest", "_messages", "_seq", "_socket")

    def __init__(self) -> None:
        sock = _raw_socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._messages = MAX_MESSAGES
        self._longest = DATAGRAM
        try:
            sock.connect((0, 0))
            for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK):
                sock.setsockopt(SOL_NETLINK, option, _ON)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL)
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            except PermissionError:  # a user namespace's root may not pass the system's limit
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
                room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                self._messages = min(max(room // ANSWER, 1), MAX_MESSAGES)
            self._socket = sock
            self._seq = 0
            # The kernel gives the socket its port before it is connected: what came in between is thrown away.
            if any(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO_RMEM_ALLOC_SIZE)):
                self._forget()
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def be_short(self) -> None:
        """Has the kernel leave its words out of refusals: who asks thousands of times only wants the number."""
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, struct.pack("=i", 0))

    def namespace_cookie(self) -> int:
        """The number of the socket's namespace, which no other gets until the next boot; 0 before Linux 5.14."""
        try:
            return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError:
            return 0

    def send(
        self, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        """Has the kernel carry out all requests, in order; a refused one does not stop those after it.

        Returns one entry a request: None for done, else why not. Raises OSError when the socket itself fails, which
        leaves open which of the requests were done. With whole they all go by one send(2), in which no signal comes
        between two of them; OSError EMSGSIZE says that they are too many for that, and that none was done.
        """
        results: list[KernelError | None] = []
        batch: list[bytes] = []
        size = 0
        for position, request in enumerate(requests, 1):
            last = position == len(requests)
            # Errors are always reported; one acknowledgement at the end says that the kernel came this far.
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
                    # Until the buffer is empty the kernel drops every further answer, and says so only once.
                    self._forget()
                    raise
                batch, size = [], 0
        return results

    def _make_room(self, size: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size)
        except PermissionError:  # as above; send(2) may say EMSGSIZE then
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def _exchange(self, batch: list[bytes]) -> list[KernelError | None]:
        self._socket.send(b"".join(batch))
        first = self._seq - len(batch) + 1
        results: list[KernelError | None] = [None] * len(batch)
        while True:
            data = self._receive()
            ack = short_ack(data)
            if ack is not None:  # all there is to most of them
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
        """All messages of a dump, asked again when the kernel says that the answer is not consistent, unless the
        request believes it all the same.

        Raises KernelError when the kernel refuses it, OSError when the socket fails, UnreadableError when the answer
        never is consistent (EBUSY), has no end (EFBIG), or cannot be decoded (EBADMSG).
        """
        before: list[Message] | None = None
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
                raise UnreadableError(errno.EBADMSG, _unreadable(error), messages) from error
            except KernelError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                # One interface, or filter, has more to it than the kernel has room for in a message.
                raise UnreadableError(errno.EMSGSIZE, str(error), messages) from error
            except OSError:
                self._forget()
                raise
            if consistent or (request.believe is not None and request.believe(messages, before)):
                return messages
            before = messages
        raise UnreadableError(errno.EBUSY, TOO_FAST, before or [])

    def _forget(self) -> None:
        # What is left of answers. While a dump is not read to its end the kernel begins no other on the socket (EBUSY).
        for _ in range(FORGET_ATTEMPTS):
            try:
                self._socket.recvmsg(DATAGRAM, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: what was lost is said once, what was not is still to be read
                continue

    def ask(self, request: Request, resolve: Resolve | None = None) -> list[Message]:
        """The answer to a question that is no dump. Raises KernelError, OSError as dump()."""
        self._seq += 1
        messages: list[Message] = []
        try:
            self._answer(pack(request, self._seq, ack=True, resolve=resolve), request, messages)
        except DecodeError as error:
            self._forget()
            raise OSError(errno.EBADMSG, _unreadable(error)) from error
        return messages

    def _answer(self, data: bytes, request: Request, messages: list[Message]) -> bool:
        """Adds the messages of the answer; returns whether it is consistent."""
        self._socket.send(data)
        consistent = True
        malformed: DecodeError | None = None
        while True:
            for type, flags, seq, pid, body in split(self._receive()):
                if seq != self._seq:
                    continue
                consistent = consistent and not flags & NLM_F_DUMP_INTR
                if type in (NLMSG_ERROR, NLMSG_DONE):
                    if len(body) and body != _SUCCESS:
                        ack = unpack_ack(flags, seq, body, echoes=type == NLMSG_ERROR)
                        if ack.errno:
                            raise explain(data, ack)
                    if malformed is not None:
                        raise malformed
                    return consistent
                try:
                    messages.append(unpack(type, flags, seq, pid, body, request.only, request.where))
                except DecodeError as error:  # of one interface, say, whose attributes are too many for their lengths
                    malformed = error
            if len(messages) > DUMP_MESSAGES:
                raise UnreadableError(errno.EFBIG, f"a dump has not ended after {DUMP_MESSAGES:,} messages", messages)


def _unreadable(error: DecodeError) -> str:
    # For who asked it is the same as a lost answer: what was done is not known.
    return f"the kernel's answer cannot be read: {error}"
