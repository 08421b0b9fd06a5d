"""Docker, and Podman by its Docker-compatible service, through aiodocker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote as quote_url

from kokofast.endpoints.errors import ResolveError, unreachable, words
from kokofast.endpoints.process import is_identity
from kokofast.topology.values import check_container, quote

if TYPE_CHECKING:
    import aiodocker
    import aiohttp

    from kokofast.topology.model import Node

UNIX = "unix://"
SCHEMES = (UNIX, "tcp://", "http://", "https://")
DOCKER_SOCKET = "/var/run/docker.sock"  # where the docker command looks, too
PODMAN_SOCKET = "/run/podman/podman.sock"
TITLES = {"docker": "the docker daemon", "podman": "the podman service"}
VARIABLES = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
API_VERSION = re.compile("[0-9]{1,3}[.][0-9]{1,3}")
CONNECT_SECONDS = 10.0
NO_CONNECTION = 900  # aiodocker's status
LONGEST_ANSWER = 4 << 20  # bytes; docker describes a container in some 10,000


class Container(NamedTuple):
    """A running container; names has its id."""

    identity: str
    pid: int
    names: tuple[str, ...]


def address_of(node: Node) -> str:
    """Return the daemon's URL: the node's socket, DOCKER_HOST or CONTAINER_HOST, or the default socket.

    Raises ResolveError.
    """
    if node.socket is not None:
        return UNIX + node.socket
    variable = VARIABLES[node.kind]
    address = os.environ.get(variable, "")
    if address:
        if not address.startswith(SCHEMES):
            raise ResolveError(f"{variable} is {quote(address)}: only unix:// and tcp:// addresses can be used")
        return address
    if node.kind == "docker":
        return UNIX + DOCKER_SOCKET
    own = os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "podman", "podman.sock")
    return UNIX + (own if os.path.exists(own) and not os.path.exists(PODMAN_SOCKET) else PODMAN_SOCKET)


def daemon(kind: str, address: str) -> DockerDaemon:
    """Return the daemon at an address; kind is docker or podman."""
    return DockerDaemon(kind, address)


class DockerDaemon:
    """A daemon that speaks Docker's API; kind is docker or podman."""

    def __init__(self, kind: str, address: str) -> None:
        self._kind = kind
        self._address = address
        self._client: aiodocker.Docker | None = None
        self.title = f"{TITLES[kind]} at {words(address.removeprefix(UNIX))}"

    async def connect(self, targets: Iterable[str]) -> None:
        """Connect, and ask for the API version.

        No version can be fixed: docker 20.10 ends at 1.41, docker 29 begins at 1.44. Asked here, because aiodocker
        would ask before each of the first concurrent requests.
        """
        import aiodocker  # takes 0.2 s

        with self._translated():
            self._client = aiodocker.Docker(url=self._address)
            # aiodocker takes no options for its session.
            self._client.session.detach()
            self._client.session = _bounded_session(self._client.connector)
            if not await self._take_version(self._client):
                await self._client.version()

    async def _take_version(self, client: aiodocker.Docker) -> bool:
        """Take the API version from the header of /_ping, if it is there: /version takes Podman a second."""
        import aiodocker

        try:
            async with client._query("_ping", versioned_api=False) as answer:
                version = answer.headers.get("Api-Version", "")
                await answer.read()
        except aiodocker.DockerError as error:
            if error.status == NO_CONNECTION:
                raise
            return False  # /version says what is wrong
        if not API_VERSION.fullmatch(version):
            return False
        client.api_version = f"v{version}"
        return True

    async def find(self, target: str, called: str) -> Container:
        """Return the running container of a name, id or prefix of an id; called is its name in errors."""
        assert self._client is not None
        try:
            check_container(target)  # it becomes a part of a URL
        except ValueError as error:
            raise ResolveError(str(error)) from None
        with self._translated(called):
            facts = await self._client.containers.container(quote_url(target, safe="")).show()
            identity, state = facts["Id"], facts["State"]
            pid, status = int(state["Pid"]), state.get("Status", "stopped")
            if not is_identity(identity):
                raise ValueError("no id of 64 hexadecimal digits")
        if pid <= 0:
            raise ResolveError(f"the {self._kind} container {quote(called)} is not running (it is {words(status)})")
        return Container(identity, pid, (identity,))

    async def changes(self) -> AsyncIterator[None]:
        """Connect, and yield then and whenever a container has started, until the daemon breaks off.

        What the daemon says of the container is not read: the next run asks for it.
        """
        import aiohttp

        await self.connect(())
        assert self._client is not None
        filters = json.dumps({"type": ["container"], "event": ["start"]})
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        with self._translated():
            query = self._client._query("events", params={"filters": filters}, timeout=limits)
            async with query as answer, answer:
                yield
                async for _ in answer.content.iter_any():
                    yield

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    @contextlib.contextmanager
    def _translated(self, called: str = "") -> Iterator[None]:
        """Turn aiodocker's and aiohttp's exceptions into ResolveError."""
        import aiodocker
        import aiohttp

        try:
            yield
        except aiodocker.DockerError as error:
            raise self._refusal(error, called) from None
        except aiohttp.ClientError as error:
            raise self._nonsense(error) from None
        except OSError as error:  # files of DOCKER_CERT_PATH
            raise ResolveError(f"{self.title} cannot be used: {words(error)}") from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            # An answer of another shape than Docker's, met by the libraries or by us.
            raise self._nonsense(error) from None

    def _refusal(self, error: aiodocker.DockerError, called: str) -> ResolveError:
        cause = error.__context__
        if error.status == NO_CONNECTION:
            reason = getattr(cause, "os_error", cause)
            if isinstance(reason, OSError):
                hint = "systemctl start podman.socket" if self._kind == "podman" else ""
                return unreachable(self.title, reason, hint)
            return ResolveError(f"{self.title} closed the connection without an answer")
        if error.status == 404 and called:
            return ResolveError(f"{self.title} knows no container {quote(called)}")
        return ResolveError(f"{self.title} refuses: {words(error.message)} (HTTP {error.status})")

    def _nonsense(self, error: Exception) -> ResolveError:
        return ResolveError(
            f"{self.title} gave an answer that is not of Docker's API: {words(f'{type(error).__name__}: {error}')}"
        )


def _bounded_session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """Return a session that limits the length of answers, unpacks nothing, and follows no redirection."""
    import aiohttp

    class BoundedResponse(aiohttp.ClientResponse):
        async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
            await super().start(connection)
            if 300 <= self.status < 400:
                raise aiohttp.ClientPayloadError("a redirection")
            if self.content_type.endswith("tar"):  # aiodocker would unpack it
                raise aiohttp.ClientPayloadError("an archive")
            return self

        async def read(self) -> bytes:
            if self._body is None:
                try:
                    await self.content.readexactly(LONGEST_ANSWER + 1)
                except asyncio.IncompleteReadError as whole:
                    self._body = whole.partial
                except BaseException:
                    self.close()
                    raise
                else:
                    self.close()
                    raise aiohttp.ClientPayloadError(f"more than {LONGEST_ANSWER >> 20} MiB")
            return await super().read()

    return aiohttp.ClientSession(
        connector=connector,
        response_class=BoundedResponse,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )
