"""A proxy in front of a daemon's socket, which counts."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

REQUEST = re.compile(rb"^GET (\S+) HTTP/1\.1\r$", re.MULTILINE)


class Proxy:
    """Forwards connections; requests holds the path of every GET."""

    def __init__(self, target: Path, path: Path) -> None:
        self.target = target
        self.path = path
        self.connections = 0
        self.requests: list[str] = []

    @contextlib.contextmanager
    def serve(self) -> Iterator[None]:
        """Listens for the block."""
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy.connections += 1
                with socket.socket(socket.AF_UNIX) as other:
                    other.connect(str(proxy.target))
                    threading.Thread(target=self.answer, args=(other,), daemon=True).start()
                    while data := self.request.recv(65536):
                        # Whole requests arrive at once: they are short, and one is sent after the other's answer.
                        proxy.requests += [path.decode() for path in REQUEST.findall(data)]
                        other.sendall(data)

            def answer(self, other: socket.socket) -> None:
                with contextlib.suppress(OSError):
                    while data := other.recv(65536):
                        self.request.sendall(data)

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

        with Server(str(self.path), Handler) as server:
            thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()
