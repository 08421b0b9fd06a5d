"""Docker, and Podman through its Docker-compatible service, by aiodocker."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote as quote_url

from kokofast.endpoints.process import is_identity
from kokofast.endpoints.refusal import Refused, unreachable, words
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
NO_CONNECTION = 900  # aiodocker's status for it
LONGEST_ANSWER = 4 << 20  # what docker tells of a container are some ten thousand bytes


class Container(NamedTuple):
    identity: str
    pid: int
    names: tuple[str, ...]


def address_of(node: Node) -> str:
    """The URL of the daemon that knows the node's container: the node's socket, the variable of docker's or podman's
    own command line, or the usual place."""
    if node.socket is not None:
        return UNIX + node.socket
    variable = VARIABLES[node.kind]
    address = os.environ.get(variable, "")
    if address:
        if not address.startswith(SCHEMES):
            raise Refused(f"{variable} is {quote(address)}: only unix:// and tcp:// addresses can be used")
        return address
    if node.kind == "docker":
        return UNIX + DOCKER_SOCKET
    own = os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "podman", "podman.sock")
    return UNIX + (own if os.path.exists(own) and not os.path.exists(PODMAN_SOCKET) else PODMAN_SOCKET)


class DockerDaemon:
    """A daemon that speaks Docker's API; kind is docker or podman."""

    def __init__(self, kind: str, address: str) -> None:
        self._kind = kind
        self._address = address
        self._client: aiodocker.Docker | None = None
        self.title = f"{TITLES[kind]} at {words(address.removeprefix(UNIX))}"

    async def connect(self, targets: Iterable[str]) -> None:
        """Asks for the version of the API once. No version can be pinned: docker 20.10 knows none above 1.41, docker
        29 none below 1.44. And left to itself aiodocker would ask before each of the first concurrent questions."""
        import aiodocker  # 0.2 s: only those who have docker nodes pay

        with self._translated():
            self._client = aiodocker.Docker(url=self._address)
            # aiodocker makes its session together with the connector, and lets nobody choose the session's options.
            self._client.session.detach()
            self._client.session = _bounded_session(self._client.connector)
            await self._client.version()

    async def find(self, target: str, called: str) -> Container:
        """The running container of that name, id or id prefix; called is what complaints call it."""
        assert self._client is not None
        try:
            check_container(target)  # it becomes a part of a URL
        except ValueError as error:
            raise Refused(str(error)) from None
        with self._translated(called):
            facts = await self._client.containers.container(quote_url(target, safe="")).show()
            identity, state = facts["Id"], facts["State"]
            pid, status = int(state["Pid"]), state.get("Status", "stopped")
            if not is_identity(identity):
                raise ValueError("no id of 64 hexadecimal digits")
        if pid <= 0:
            raise Refused(f"the {self._kind} container {quote(called)} is not running (it is {words(status)})")
        return Container(identity, pid, (identity,))

    async def close(self) -> None:
        """Ends the connections."""
        if self._client is not None:
            await self._client.close()

    @contextlib.contextmanager
    def _translated(self, called: str = "") -> Iterator[None]:
        """aiodocker's and aiohttp's exceptions as Refused."""
        import aiodocker
        import aiohttp

        try:
            yield
        except aiodocker.DockerError as error:
            raise self._refusal(error, called) from None
        except aiohttp.ClientError as error:
            raise self._nonsense(error) from None
        except OSError as error:  # files of DOCKER_CERT_PATH
            raise Refused(f"{self.title} cannot be used: {words(error)}") from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            # What the libraries and we stumble over in an answer that has another shape than Docker's.
            raise self._nonsense(error) from None

    def _refusal(self, error: aiodocker.DockerError, called: str) -> Refused:
        cause = error.__context__
        if error.status == NO_CONNECTION:
            reason = getattr(cause, "os_error", cause)
            if isinstance(reason, OSError):
                hint = "systemctl start podman.socket" if self._kind == "podman" else ""
                return unreachable(self.title, reason, hint)
            return Refused(f"{self.title} closed the connection without an answer")
        if error.status == 404 and called:
            return Refused(f"{self.title} knows no container {quote(called)}")
        return Refused(f"{self.title} refuses: {words(error.message)} (HTTP {error.status})")

    def _nonsense(self, error: Exception) -> Refused:
        return Refused(
            f"{self.title} gave an answer that is not of Docker's API: {words(f'{type(error).__name__}: {error}')}"
        )


def _bounded_session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """A session that reads no more of an answer than is of use, unpacks nothing, and asks nobody else."""
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
