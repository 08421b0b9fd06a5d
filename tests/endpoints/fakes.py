"""Daemons that say what a test wants, on real unix sockets; and a /proc with the processes a test wants."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import grpc
import trio
from google.protobuf.message import Message

from kokofast.drivers.trio_driver import TrioDriver
from kokofast.topology.model import Node
from tests.servers import UnixServer, served

Reply = tuple[int, object]
NOBODY = 65534


async def resolve(*nodes: Node, patience: float = 30) -> tuple[dict[str, int], dict[str, str]]:
    """What from_trio says of the nodes: pids, and why not."""
    async with TrioDriver().containers(nodes, patience) as daemons:
        return await daemons.resolve()


async def refusal(node: Node, *, patience: float = 30) -> str:
    """Why this one does not resolve."""
    pids, refused = await resolve(node, patience=patience)
    assert pids == {}
    return refused[node.name]


def whole(name: str) -> str:
    """An id as runtimes choose them."""
    return hashlib.sha256(name.encode()).hexdigest()


class FakeProc:
    """A /proc: processes with a start time and a control group."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, pid: int, identity: str, started: int = 4711) -> None:
        """A process of the container with this id."""
        place = self.root / str(pid)
        place.mkdir(exist_ok=True)
        # The name is as nasty as a process can choose it.
        (place / "stat").write_text(f"{pid} (a) S (b c) S 1 2 3 {' 0' * 15} {started} 0 0\n")
        (place / "cgroup").write_text(f"0::/system.slice/docker-{identity}.scope\n")
        (place / "mountinfo").write_text("")

    def remove(self, pid: int) -> None:
        """The process ends."""
        for name in ("stat", "cgroup", "mountinfo"):
            (self.root / str(pid) / name).unlink()
        (self.root / str(pid)).rmdir()


class FakeDocker:
    """Docker's API as far as it is used here. answers: container -> (status, what is sent as JSON), or a function
    that gives it; bytes are sent as they are, as text/plain. requests and connections are for the test to look at."""

    def __init__(self) -> None:
        self.answers: dict[str, Reply | Callable[[], Reply]] = {}
        self.slow: dict[str, Callable[[], Reply]] = {}  # asked only for what is asked for
        self.version: Reply = (200, {"ApiVersion": "1.41"})
        self.requests: list[str] = []
        self.connections = 0

    def add(self, name: str, pid: int, identity: str | None = None, status: str = "running") -> None:
        """A container that runs, or with pid 0 does not."""
        self.answers[name] = (200, {"Id": identity or whole(name), "State": {"Pid": pid, "Status": status}})

    def reply(self, path: str) -> Reply:
        """The answer to GET path."""
        self.requests.append(path)
        if path == "/_ping":  # without the header that tells the version
            return 200, {}
        if path.endswith("/version"):
            return self.version
        name = path.removeprefix("/v1.41/containers/").removesuffix("/json")
        if name in self.slow:
            return self.slow[name]()
        for known, answer in self.answers.items():
            found = answer() if callable(answer) else answer
            if name == known or (isinstance(found[1], dict) and found[1].get("Id") == name):
                return found
        return 404, {"message": f"No such container: {name}"}

    @contextlib.contextmanager
    def serve(self, path: Path) -> Iterator[None]:
        """Listens on the socket for the block."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                fake.connections += 1
                self.client_address = ("", 0)

            def do_GET(self) -> None:
                status, body = fake.reply(self.path)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(body, bytes) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

            def log_message(self, format: str, *arguments: object) -> None: ...

        with served(UnixServer(str(path), Handler)):
            yield


class RawServer:
    """Accepts; says something or nothing; keeps the connection or not. accepted and closed tell what the client did."""

    def __init__(self, *, say: bytes | None = None, keep: bool = True) -> None:
        self.accepted = threading.Event()
        self.closed = threading.Event()
        self._say = say
        self._keep = keep

    @contextlib.contextmanager
    def serve(self, path: Path) -> Iterator[None]:
        """Listens on the socket for the block."""
        fake = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                fake.accepted.set()
                if fake._say is not None:
                    # Not before the question: a client may ask first, and complain of what comes too early.
                    self.request.recv(65536)
                    self.request.sendall(fake._say)
                while fake._keep and self.request.recv(65536):
                    if fake._say is not None:
                        self.request.sendall(fake._say)
                fake.closed.set()

        with served(UnixServer(str(path), Handler)):
            yield


class EndlessDocker:
    """A docker daemon whose answer about a container begins with head and goes on with piece for ever. sent is how many
    bytes were taken of it."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self.sent = 0
        self._head = head
        self._piece = piece

    @contextlib.contextmanager
    def serve(self, path: Path) -> Iterator[None]:
        """Listens on the socket for the block."""
        fake = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                while asked := self.request.recv(65536):
                    if b"/version" in asked:
                        body = b'{"ApiVersion": "1.41"}'
                        self.request.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                        continue
                    with contextlib.suppress(OSError):
                        self.request.sendall(fake._head)
                        while True:
                            self.request.sendall(fake._piece)
                            fake.sent += len(fake._piece)

        with served(UnixServer(str(path), Handler)):
            yield


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def wait_for(event: threading.Event) -> None:
    """Waits for what another thread does; fails the test instead of hanging it."""
    assert await trio.to_thread.run_sync(lambda: event.wait(30))


@contextlib.contextmanager
def unprivileged(path: Path) -> Iterator[None]:
    """For the block nobody may use this socket, not even root."""
    path.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(os.getuid())


def dead_socket(path: Path) -> None:
    """The file of a socket whose owner has gone."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


class FakeCri:
    """A gRPC server with some methods of CRI's RuntimeService, in these versions of the API. answers: method ->
    function of the request's bytes and the context that gives the answer, a message or its bytes."""

    def __init__(self, *versions: str) -> None:
        self.answers: dict[str, Callable[[bytes, grpc.ServicerContext], Message | bytes]] = {}
        self.calls: list[str] = []
        self._versions = versions or ("v1",)

    @contextlib.contextmanager
    def serve(self, path: Path) -> Iterator[None]:
        """Listens on the socket for the block."""
        server = grpc.server(ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((_Handlers(self, self._versions),))
        server.add_insecure_port(f"unix:{path}")
        server.start()
        try:
            yield
        finally:
            server.stop(None).wait()


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, fake: FakeCri, versions: tuple[str, ...]) -> None:
        self._fake = fake
        self._versions = versions

    def service(self, details: Any) -> grpc.RpcMethodHandler[Any, Any] | None:
        service, _, method = details.method.lstrip("/").partition("/")
        answer = self._fake.answers.get(method)
        if service not in {f"runtime.{version}.RuntimeService" for version in self._versions} or answer is None:
            return None

        def call(request: bytes, context: grpc.ServicerContext) -> Message | bytes:
            self._fake.calls.append(details.method)
            return answer(request, context)

        return grpc.unary_unary_rpc_method_handler(
            call, response_serializer=lambda reply: reply if isinstance(reply, bytes) else reply.SerializeToString()
        )
