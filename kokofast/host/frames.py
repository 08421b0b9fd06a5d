"""Packet sockets that send and receive the frames of verify, one in each network namespace; packet(7).

A socket receives from all interfaces of its namespace, before their traffic control, and before a bridge takes what
arrives at its port. A filter in the kernel passes nothing but the frames of one run.
"""

from __future__ import annotations

import _socket as socket
import errno
import struct
from functools import partial
from typing import TYPE_CHECKING

from kokofast.host import libc
from kokofast.host.namespaces import open_each
from kokofast.host.netlink import SO_RCVBUFFORCE
from kokofast.host.threads import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ETH_P_ALL = 0x0003
# struct sockaddr_ll: all protocols of all interfaces. socket.bind() takes the name of one.
_EVERYTHING = struct.pack("=H2siHBB8x", socket.AF_PACKET, ETH_P_ALL.to_bytes(2, "big"), 0, 0, 0, 0)
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
# Bytes. A frame of 1,500 bytes takes 2,304 of them: room for what comes in while another namespace is read.
RECEIVE_BUFFER = 4 << 20
LONGEST = 128  # bytes: more than is looked at

# The kernel waits for an RCU grace period when it closes a packet socket, 5 to 30 ms. Threads share it: 512 sockets
# take 0.15 s by 32 threads, beside the windows that follow. More threads are faster at that, but take the interpreter's
# lock from who sends: 128 take 0.5 s more of the processor for 10,000 links.
CLOSERS = 32


class FrameSocket:
    """A socket in the network namespace of the thread that makes it. program is the BPF program of what it receives."""

    __slots__ = ("_socket",)

    def __init__(self, program: bytes) -> None:
        # Of no protocol until the filter is there: it would receive everything.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        try:
            libc.attach_filter(sock.fileno(), program)
            sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            except PermissionError:  # root of a user namespace is bound to net.core.rmem_max
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            libc.bind(sock.fileno(), _EVERYTHING)
        except BaseException:
            sock.close()
            raise
        self._socket = sock

    def send(self, ifname: str, data: bytes) -> None:
        """Send a frame by an interface. Raises OSError: ENETDOWN when it is down, ENODEV when it is gone.

        A frame that its qdisc or the other end drops at once is only lost.
        """
        try:
            self._socket.sendto(data, (ifname, 0))
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # net_xmit_errno()
                raise
        except UnicodeError:
            raise OSError(errno.EILSEQ, "its name is not UTF-8") from None

    def receive(self) -> Iterator[tuple[str, bytes]]:
        """Yield (interface, the beginning of a frame) of what has arrived by now."""
        while True:
            try:
                data, address = self._socket.recvfrom(LONGEST)
            except BlockingIOError:
                return
            except UnicodeError:  # an interface whose name is not UTF-8 has got a frame
                continue
            yield address[0], data

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Frames:
    """Frame sockets in open namespaces, by their place in the sequence; an OSError where there is none.

    Raises OSError EAGAIN when no thread can be started.
    """

    def __init__(self, namespaces: Sequence[int], program: bytes) -> None:
        self.sockets = open_each(namespaces, partial(FrameSocket, program))
        self._closers: list[BackgroundThread] = []

    def begin_to_close(self) -> None:
        """Close the sockets in threads; wait() waits for that."""
        left = [one for one in self.sockets if isinstance(one, FrameSocket)]

        def close() -> None:
            while left:
                try:
                    one = left.pop()
                except IndexError:  # another thread was faster
                    return
                one.close()

        try:
            for _ in range(min(CLOSERS, len(left) // 4)):
                self._closers.append(BackgroundThread(close))
        except OSError:  # no more threads: these, or this one, take longer
            pass
        if not self._closers:
            close()

    def wait(self) -> None:
        """Wait until all is closed."""
        while self._closers:
            self._closers.pop().wait()
