"""Container nodes resolved from trio: the daemons are asked in an asyncio thread."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import trio

from kokofast.endpoints.asyncio_thread import AsyncioThread
from kokofast.endpoints.containers import Found, Resolver
from kokofast.topology.model import Node


class Containers:
    """``async with Containers(nodes, timeout) as daemons``: resolve(), open the namespaces, confirm()."""

    def __init__(self, nodes: Sequence[Node], timeout: float) -> None:
        self._nodes = nodes
        self._resolver = Resolver(timeout)
        self._thread = AsyncioThread()
        self._found: dict[str, Found] = {}

    async def __aenter__(self) -> Containers:
        await self._thread.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with trio.CancelScope(shield=True):
                await self._thread.call(self._resolver.close)
        finally:
            await self._thread.__aexit__(kind, error, traceback)

    async def resolve(self) -> tuple[dict[str, int], dict[str, str]]:
        """By the nodes' names: the pids of those that were found, and why the others were not."""
        answers = await self._thread.call(self._resolver.resolve, self._nodes)
        self._found = {name: answer for name, answer in answers.items() if isinstance(answer, Found)}
        refused = {name: str(answer) for name, answer in answers.items() if not isinstance(answer, Found)}
        return {name: found.pid for name, found in self._found.items()}, refused

    async def confirm(self) -> dict[str, str]:
        """Why the namespaces that were opened since resolve() are not those of the containers: by the nodes' names."""
        refused = await self._thread.call(self._resolver.confirm, self._nodes, self._found)
        return {name: str(refusal) for name, refusal in refused.items()}
