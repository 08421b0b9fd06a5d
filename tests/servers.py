"""Servers in threads of the test's process, which leave no thread and no descriptor behind."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any


class _Ending(socketserver.ThreadingMixIn):
    """Ends its connections before it waits for the threads that hold them: another test counts descriptors."""

    daemon_threads = False  # server_close() waits for those only that are none
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self._open: list[socket.socket] = []
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        for request in self._open:
            with contextlib.suppress(OSError):  # its handler has closed it
                request.shutdown(socket.SHUT_RDWR)
        super().server_close()


class UnixServer(_Ending, socketserver.UnixStreamServer):
    """Listens on a socket in the file system."""


class TCPServer(_Ending, socketserver.TCPServer):
    """Listens on an address."""


@contextlib.contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    """The server answers during the block; after it nothing of it is left."""
    # A short poll: shutdown() waits for it.
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def forward(source: socket.socket, target: socket.socket) -> None:
    """Copies both ways until source ends; target is closed for both then. That target ends, source is told."""
    back = threading.Thread(target=_copy, args=(target, source))
    back.start()
    _copy(source, target)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
    back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        # What waits for an answer of this side learns that there will be none.
        target.shutdown(socket.SHUT_WR)
