"""Resolve container nodes to processes: ask the daemons, once for each container, concurrently.

The daemons' libraries need asyncio; Containers runs them on any Loop. This module is imported only for topologies with
container nodes, and each library only for its node kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar

from kokofast.endpoints import cri, docker, process
from kokofast.endpoints.errors import ResolveError
from kokofast.topology.model import Node
from kokofast.topology.node_kinds import NODES
from kokofast.topology.values import quote

T = TypeVar("T")

# By NodeKind.daemon.
_MODULES: dict[str, Any] = {"docker": docker, "cri": cri}

DEFAULT_TIMEOUT = 10.0
CONNECTIONS = 8  # to each daemon; they answer in half a millisecond, so that more are no faster


class Found(NamedTuple):
    """A running container: its full id, its first process, and when that started (clock ticks after boot)."""

    identity: str
    pid: int
    started: int


class Key(NamedTuple):
    """A container as the file names it. address is "" when the socket has to be found."""

    kind: str
    address: str
    target: str


class Container(Protocol):
    """A daemon's answer."""

    @property
    def identity(self) -> str:
        """Return the full id."""

    @property
    def pid(self) -> int:
        """Return the process id of the first process."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the ids that the process may be known by: the container's, its pod's."""


class Daemon(Protocol):
    """A container daemon. All methods raise ResolveError, with a sentence for the user."""

    @property
    def title(self) -> str:
        """Return ``the docker daemon at /run/docker.sock``."""

    async def connect(self, targets: Iterable[str]) -> None:
        """Connect, and fetch what is needed to find these containers."""

    async def find(self, target: str, called: str) -> Container:
        """Return the running container of this name or id. Errors call it by the user's name for it."""

    def changes(self) -> AsyncIterator[None]:
        """Connect, and yield then and whenever a container has started, until the daemon breaks off."""

    async def close(self) -> None:
        """Close the connection."""


def key_of(node: Node) -> Key:
    """Return the container that a node means. Raises ResolveError when the daemon's address cannot be used."""
    return Key(node.kind, _MODULES[NODES[node.kind].daemon].address_of(node), node.target)


def daemon_of(kind: str, address: str) -> Daemon:
    """Return the daemon at an address."""
    found: Daemon = _MODULES[NODES[kind].daemon].daemon(kind, address)
    return found


class Resolver:
    """Asks the daemons. Keeps their connections from resolve() to confirm(), until close()."""

    def __init__(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._timeout = timeout
        self._daemons: dict[tuple[str, str], Daemon] = {}

    async def resolve(self, nodes: Iterable[Node]) -> dict[str, Found | ResolveError]:
        """Return the container of each node, by the node's name."""
        keys: dict[str, Key] = {}
        found: dict[str, Found | ResolveError] = {}
        for node in nodes:
            try:
                keys[node.name] = key_of(node)
            except ResolveError as refusal:
                found[node.name] = refusal
        wanted = dict.fromkeys(keys.values())
        answers = await self._ask(wanted, lambda daemon, key: _look_up(daemon, key.target))
        return found | {name: answers[key] for name, key in keys.items()}

    async def confirm(self, nodes: Iterable[Node], found: Mapping[str, Found]) -> dict[str, ResolveError]:
        """Ask again, after the namespaces were opened; return the nodes whose container was restarted, and why.

        A pid can be used again. If the same process was the container's first one before and after the namespace was
        opened, that is the container's namespace.
        """
        known = {key_of(node): found[node.name] for node in nodes if node.name in found}
        answers = await self._ask(known, lambda daemon, key: _look_again(daemon, key.target, known[key]))
        checked = {node.name: answers[key_of(node)] for node in nodes if node.name in found}
        return {name: answer for name, answer in checked.items() if isinstance(answer, ResolveError)}

    async def close(self) -> None:
        """Close all connections."""
        daemons = list(self._daemons.values())
        self._daemons.clear()
        for daemon in daemons:
            await daemon.close()

    async def _ask(
        self, keys: Iterable[Key], question: Callable[[Daemon, Key], Awaitable[Found]]
    ) -> dict[Key, Found | ResolveError]:
        groups: dict[tuple[str, str], list[Key]] = {}
        for key in keys:
            groups.setdefault((key.kind, key.address), []).append(key)
        answers: dict[Key, Found | ResolveError] = {}
        async with asyncio.TaskGroup() as group:
            for (kind, address), same in groups.items():
                group.create_task(self._ask_daemon(kind, address, same, question, answers))
        return answers

    async def _ask_daemon(
        self,
        kind: str,
        address: str,
        keys: list[Key],
        question: Callable[[Daemon, Key], Awaitable[Found]],
        answers: dict[Key, Found | ResolveError],
    ) -> None:
        """Put an answer for each key into answers.

        The time limit starts anew with each answer: thousands of containers may take long, and one that hangs, as with
        docker at times, fails alone.
        """
        loop = asyncio.get_running_loop()
        slots = asyncio.Semaphore(CONNECTIONS)
        daemon = self._daemons.get((kind, address))
        connected = daemon is not None
        daemon = daemon or daemon_of(kind, address)
        self._daemons[kind, address] = daemon

        async def ask(key: Key) -> None:
            async with slots:
                try:
                    answers[key] = await question(daemon, key)
                except ResolveError as refusal:
                    answers[key] = refusal
                if not deadline.expired():
                    deadline.reschedule(loop.time() + self._timeout)

        try:
            async with asyncio.timeout(self._timeout) as deadline:
                if not connected:
                    await daemon.connect([key.target for key in keys])
                    deadline.reschedule(loop.time() + self._timeout)
                async with asyncio.TaskGroup() as group:
                    for key in keys:
                        group.create_task(ask(key))
        except TimeoutError:
            refusal = ResolveError(f"{daemon.title} did not answer in {self._timeout:g} s")
            answers.update((key, refusal) for key in keys if key not in answers)
        except ResolveError as refusal:  # by connect()
            answers.update(dict.fromkeys(keys, refusal))


class Loop(Protocol):
    """Runs asyncio functions for callers that are not asyncio's; ends with the block."""

    async def __aenter__(self) -> Loop: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...
    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
        """Run the function, and return its result or raise its exception."""

    async def finish(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the function to its end, also when the run is cancelled."""


class Containers:
    """Use it as ``async with Containers(...) as daemons``: resolve(), open the namespaces, confirm()."""

    def __init__(self, nodes: Sequence[Node], timeout: float, loop: Loop) -> None:
        self._nodes = nodes
        self._resolver = Resolver(timeout)
        self._loop = loop
        self._found: dict[str, Found] = {}

    async def __aenter__(self) -> Containers:
        await self._loop.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._loop.finish(self._resolver.close)
        finally:
            await self._loop.__aexit__(kind, error, traceback)

    async def resolve(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return, by the nodes' names, the pids of the containers found, and why others were not."""
        answers = await self._loop.call(self._resolver.resolve, self._nodes)
        self._found = {name: answer for name, answer in answers.items() if isinstance(answer, Found)}
        refused = {name: str(answer) for name, answer in answers.items() if not isinstance(answer, Found)}
        return {name: found.pid for name, found in self._found.items()}, refused

    async def confirm(self) -> dict[str, str]:
        """Return, by the nodes' names, why namespaces opened since resolve() are not those of the containers."""
        refused = await self._loop.call(self._resolver.confirm, self._nodes, self._found)
        return {name: str(refusal) for name, refusal in refused.items()}


async def _look_up(daemon: Daemon, target: str) -> Found:
    container = await daemon.find(target, target)
    started = process.started(container.pid)
    if started is None or not process.belongs_to(container.pid, container.names):
        # It may have ended just now: ask again.
        again = await daemon.find(container.identity, target)
        if (again.identity, again.pid) != (container.identity, container.pid):
            raise ResolveError(f"container {quote(target)} was restarted while it was looked up; try again")
        raise ResolveError(
            f"process {container.pid} of this machine is not that of container {quote(target)}: {daemon.title} seems "
            "to run on another machine, or this process in another pid namespace"
        )
    return Found(container.identity, container.pid, started)


async def _look_again(daemon: Daemon, target: str, before: Found) -> Found:
    # Before asking the daemon: a process that starts later cannot be the one whose namespace was opened.
    started = process.started(before.pid)
    now = await daemon.find(before.identity, target)
    if now.identity != before.identity or now.pid != before.pid or started != before.started:
        raise ResolveError(
            f"container {quote(target)} was restarted while its namespace was opened (process {before.pid}, then "
            f"{now.pid}); try again"
        )
    return before
