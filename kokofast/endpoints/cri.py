"""The Container Runtime Interface of Kubernetes (CRI-O, containerd): gRPC on a unix socket.

For the fields read here v1 and v1alpha2 differ only in the name of the service, so both use the messages of v1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote as quote_url

from kokofast.endpoints.errors import ResolveError, unreachable, words
from kokofast.endpoints.process import is_identity
from kokofast.topology.values import quote

if TYPE_CHECKING:
    import grpc.aio
    from cri_api.v1 import api_pb2
    from google.protobuf.message import Message

    from kokofast.topology.model import Node

    Answer = TypeVar("Answer", bound=Message)

SOCKETS = ("/run/crio/crio.sock", "/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
VERSIONS = ("v1", "v1alpha2")
RUNNING = 1  # ContainerState.CONTAINER_RUNNING
STATES = {0: "created", 1: "running", 2: "exited"}
OPTIONS = (
    # The default is the socket's path, percent-encoded, which Go's HTTP/2 refuses.
    ("grpc.default_authority", "localhost"),
    # As kubelet has it: the default of 4 MB is too small for thousands of containers. Limits the unpacked size.
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.enable_http_proxy", 0),
)
LONGEST_STATUS = 2 << 20  # bytes of an answer that is no list
MOST_FIELDS = 1 << 16  # of a list: an empty container takes 2 bytes, but 300 when decoded
POLL_SECONDS = 0.3
POLL_SHARE = 100
VARINT, LENGTH_DELIMITED, FIXED = 0, 2, {1: 8, 5: 4}  # protobuf's wire types


class Container(NamedTuple):
    """A running container; names are its own id and its pod's."""

    identity: str
    pid: int
    names: tuple[str, ...]


def address_of(node: Node) -> str:
    """Return the socket's path: the node's, or that of crictl's variable; "" to look in SOCKETS."""
    if node.socket is not None:
        return node.socket
    address = os.environ.get("CONTAINER_RUNTIME_ENDPOINT", "")
    path = address.removeprefix("unix://")
    if address and not path.startswith("/"):
        raise ResolveError(f"CONTAINER_RUNTIME_ENDPOINT is {quote(address)}: only unix:// addresses can be used")
    return path


def daemon(kind: str, address: str) -> CriRuntime:
    """Return the runtime at an address."""
    return CriRuntime(address)


class CriRuntime:
    """The runtime at a socket; without a path at the first of SOCKETS that exists and speaks CRI."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._version = VERSIONS[0]
        self._channel: grpc.aio.Channel | None = None
        self._containers: list[api_pb2.Container] = []
        self._pods: dict[str, tuple[str, str]] = {}  # sandbox id -> namespace, name
        self.title = _title(path or SOCKETS[0])

    async def connect(self, targets: Iterable[str]) -> None:
        """Find the socket and the API version, and list all containers: CRI cannot look one up by name."""
        paths = [self._path] if self._path else _sockets_here()
        if not paths:
            raise ResolveError(
                f"there is no CRI runtime here: none of {', '.join(SOCKETS)} exists; "
                'give the path of its socket as "socket"'
            )
        refusals: list[ResolveError] = []
        for path in paths:
            try:
                await self._open(path)
                break
            except ResolveError as refusal:
                refusals.append(refusal)
                await self.close()
        else:
            raise ResolveError("; ".join(map(str, refusals)))
        from cri_api.v1 import api_pb2

        await self._list()
        if any("/" in target for target in targets):
            pods = await self._call("ListPodSandbox", api_pb2.ListPodSandboxRequest(), api_pb2.ListPodSandboxResponse)
            self._pods = {pod.id: (pod.metadata.namespace, pod.metadata.name) for pod in pods.items}

    async def find(self, target: str, called: str) -> Container:
        """Return the running container of an id, a prefix of one, a name, or namespace/pod/name.

        called is its name in errors.
        """
        from cri_api.v1 import api_pb2

        identity = self._match(target)
        request = api_pb2.ContainerStatusRequest(container_id=identity, verbose=True)
        answer = await self._call("ContainerStatus", request, api_pb2.ContainerStatusResponse, called)
        # CRI-O still has a pid for a container that has exited.
        if answer.status.state != RUNNING:
            state = STATES.get(answer.status.state, "in an unknown state")
            raise ResolveError(f"the CRI container {quote(called)} is not running (it is {state})")
        pid, sandbox = self._read_info(answer.info, called)
        if pid <= 0:
            raise ResolveError(f"the CRI container {quote(called)} is not running (it has no process)")
        identity = answer.status.id or identity
        if not is_identity(identity) or (sandbox and not is_identity(sandbox)):
            raise ResolveError(
                f"{self.title} gave an id of container {quote(called)} that is not 64 hexadecimal digits"
            )
        return Container(identity, pid, (identity, sandbox))

    async def changes(self) -> AsyncIterator[None]:
        """Connect, and yield then and whenever containers may have started, until the runtime breaks off.

        Older runtimes (containerd 1, CRI-O before 1.26) have no events: their list is compared again and again.
        """
        await self.connect(())
        yield
        with contextlib.suppress(_UnimplementedError):
            async for _ in self._events():
                yield
        loop = asyncio.get_running_loop()
        before = self._states()
        while True:
            start = loop.time()
            await self._list()
            now = self._states()
            if now != before:
                yield
            before = now
            # A long list takes long: at most a hundredth of the time.
            await asyncio.sleep(max(POLL_SECONDS, POLL_SHARE * (loop.time() - start)))

    async def _events(self) -> AsyncIterator[None]:
        from cri_api.v1 import api_pb2

        assert self._channel is not None
        request = api_pb2.GetEventsRequest()
        call: Callable[[Message], Any] = self._channel.unary_stream(
            f"/runtime.{self._version}.RuntimeService/GetContainerEvents",
            request_serializer=type(request).SerializeToString,
        )
        with self._translated(""):
            async for _ in call(request):
                yield

    def _states(self) -> set[tuple[str, int]]:
        return {(container.id, container.state) for container in self._containers}

    async def _list(self) -> None:
        from cri_api.v1 import api_pb2

        answer = await self._call("ListContainers", api_pb2.ListContainersRequest(), api_pb2.ListContainersResponse)
        self._containers = list(answer.containers)

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    async def _open(self, path: str) -> None:
        # Keep gRPC's core from logging to standard error.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        import grpc.aio
        from cri_api.v1 import api_pb2

        self.title = _title(path)
        try:
            # Connect once without gRPC, which gives no errno.
            _, writer = await asyncio.open_unix_connection(path)
            writer.close()
        except OSError as error:
            raise unreachable(self.title, error) from None
        self._channel = grpc.aio.insecure_channel(f"unix:{quote_url(path)}", options=OPTIONS)
        for self._version in VERSIONS:
            with contextlib.suppress(_UnimplementedError):
                await self._call("Version", api_pb2.VersionRequest(), api_pb2.VersionResponse)
                return
        raise ResolveError(
            f"{self.title} does not speak CRI (containerd's plugin for it can be disabled in config.toml)"
        )

    async def _call(self, method: str, request: Message, answer: type[Answer], called: str = "") -> Answer:
        assert self._channel is not None
        call: Callable[[Message], Any] = self._channel.unary_unary(
            f"/runtime.{self._version}.RuntimeService/{method}",
            request_serializer=type(request).SerializeToString,
        )
        with self._translated(called):
            data: bytes = await call(request)
        if not _is_short(data) if method.startswith("List") else len(data) > LONGEST_STATUS:
            raise ResolveError(f"{self.title} gave an answer to {method} that is longer than any of CRI")
        from google.protobuf.message import DecodeError

        try:
            return answer.FromString(data)
        except DecodeError:
            raise ResolveError(f"{self.title} gave an answer to {method} that is not of CRI") from None

    @contextlib.contextmanager
    def _translated(self, called: str) -> Iterator[None]:
        """Turn gRPC's exceptions into ResolveError."""
        import grpc
        import grpc.aio

        try:
            yield
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), words(error.details() or "it does not say why")
            if code is grpc.StatusCode.UNIMPLEMENTED:
                raise _UnimplementedError(f"{self.title} lacks a part of CRI: {details}") from None
            if code is grpc.StatusCode.NOT_FOUND and called:
                raise self._missing(called) from None
            if code is grpc.StatusCode.PERMISSION_DENIED:
                raise ResolveError(f"no permission to use {self.title}: {details}") from None
            if code is grpc.StatusCode.UNAVAILABLE:
                raise ResolveError(f"{self.title} broke off, or does not speak gRPC: {details}") from None
            raise ResolveError(f"{self.title} refuses: {details} ({code.name})") from None

    def _missing(self, called: str) -> ResolveError:
        return ResolveError(f"{self.title} knows no container {quote(called)}")

    def _match(self, target: str) -> str:
        """Return the full id. As with docker, try ids first, then names, then prefixes of ids."""
        if any(container.id == target for container in self._containers):
            return target
        if "/" in target:
            named = [one for one in self._containers if self._full_name(one) == target]
        else:
            named = [one for one in self._containers if one.metadata.name == target]
        if named:
            # kubelet keeps earlier attempts of a container under the same name.
            return self._only([one for one in named if one.state == RUNNING] or named[-1:], target)
        begin = [one for one in self._containers if target and one.id.startswith(target)]
        if not begin:
            raise self._missing(target)
        return self._only(begin, target)

    def _only(self, containers: Sequence[api_pb2.Container], target: str) -> str:
        if len(containers) == 1:
            return containers[0].id
        ids = [words(container.id[:13]) for container in containers]
        some = ", ".join(ids[:4] + ["..."] * (len(ids) > 4))
        raise ResolveError(
            f"{quote(target)} can mean {len(ids)} containers of {self.title} ({some}): give more of the id, or "
            "namespace/pod/name"
        )

    def _full_name(self, container: api_pb2.Container) -> str:
        return "/".join((*self._pods.get(container.pod_sandbox_id, ("", "")), container.metadata.name))

    def _read_info(self, info: Any, called: str) -> tuple[int, str]:
        """Return the pid and the sandbox's id. "info" holds JSON; CRI-O before 1.18 had "pid" instead, as text."""
        try:
            if "info" not in info:
                return int(info["pid"]), ""
            facts = json.loads(info["info"])
            return int(facts["pid"]), str(facts.get("sandboxID", ""))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            raise ResolveError(f"{self.title} does not give the process of container {quote(called)}") from None


def _is_short(data: bytes) -> bool:
    """Whether a message has at most MOST_FIELDS fields, items of lists included, without decoding them.

    Malformed messages are left to the decoder.
    """
    position = 0
    for _ in range(MOST_FIELDS):
        if position >= len(data):
            return True
        tag, position = _varint(data, position)
        way = tag & 7
        if way == LENGTH_DELIMITED:
            length, position = _varint(data, position)
            position += length
        elif way == VARINT:
            _, position = _varint(data, position)
        elif way in FIXED:
            position += FIXED[way]
        else:  # a group: CRI has none
            return False
    return position >= len(data)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Decode a number of seven bits a byte; return it and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position] if position < len(data) else 0
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            break
    return value, position


def _sockets_here() -> list[str]:
    return [path for path in SOCKETS if os.path.exists(path)]


class _UnimplementedError(ResolveError):
    """The runtime does not know the service or the method."""


def _title(path: str) -> str:
    return f"the CRI runtime at {words(path)}"
