"""A netlink socket that prints what it sends and receives, for KOKOFAST_DEBUG=wire. Imported only then."""

from __future__ import annotations

import _socket as socket
import _thread
import os
import sys

from kokofast.wire.debug import lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_turn = _thread.allocate_lock()  # keeps the lines of one message together


class PrintingSocket(socket.socket):
    """Prints each send and receive to standard error, decoded. Ignores errors of printing."""

    def __init__(self, *args: int) -> None:
        super().__init__(*args)
        self._sent = b""
        try:
            self._namespace = os.readlink("/proc/thread-self/ns/net")
        except OSError:  # no /proc here
            self._namespace = "an unknown namespace"

    def send(self, data: Any, *args: Any) -> int:
        """Send, and print what was sent."""
        self._sent = bytes(data)
        self._print("sent", self._sent)
        return super().send(data, *args)

    def recvmsg(self, *args: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """Receive, and print what was received."""
        answer = super().recvmsg(*args)
        self._print("received", answer[0])
        return answer

    def _print(self, verb: str, data: bytes) -> None:
        if sys.__stderr__ is None:  # it was closed at the start, and its number may be another file's now
            return
        text = "\n".join([f"# {verb} in {self._namespace}, {len(data)} bytes", *lines(data, self._sent), "", ""])
        rest = text.encode("ascii", "backslashreplace")
        try:
            with _turn:
                while rest:
                    rest = rest[os.write(sys.__stderr__.fileno(), rest) :]
        except (OSError, ValueError):  # closed, disk full, no reader
            pass
