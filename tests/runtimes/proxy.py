"""A proxy in front of a daemon's socket, which counts."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.servers import UnixServer, served

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
                    back = threading.Thread(target=self.answer, args=(other,))
                    back.start()
                    with contextlib.suppress(OSError):
                        while data := self.request.recv(65536):
                            # Whole requests arrive at once: they are short, and one is sent after the other's answer.
                            proxy.requests += [path.decode() for path in REQUEST.findall(data)]
                            other.sendall(data)
                    with contextlib.suppress(OSError):
                        other.shutdown(socket.SHUT_RDWR)
                    back.join()

            def answer(self, other: socket.socket) -> None:
                with contextlib.suppress(OSError):
                    while data := other.recv(65536):
                        self.request.sendall(data)

        with served(UnixServer(str(self.path), Handler)):
            yield
