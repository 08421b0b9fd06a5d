"""-d and -e: asks the daemons. Imported only for them, because asyncio and what stands on it take their time."""

from __future__ import annotations

import asyncio

from kokofast.endpoints.containers import Found, Resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kokofast.topology.model import Node


def with_containers(nodes: Sequence[Node], look: Callable[[Mapping[str, int]], None]) -> dict[str, str]:
    """Calls look(pids by the nodes' names), which opens the namespaces, while the daemons are at hand.

    Returns why nodes could not be had; those that look() opened were confirmed to be the containers' afterwards.
    """
    return asyncio.run(_with_containers(nodes, look))


async def _with_containers(nodes: Sequence[Node], look: Callable[[Mapping[str, int]], None]) -> dict[str, str]:
    resolver = Resolver()
    try:
        answers = await resolver.resolve(nodes)
        found = {name: answer for name, answer in answers.items() if isinstance(answer, Found)}
        refused = {name: str(answer) for name, answer in answers.items() if not isinstance(answer, Found)}
        if not refused:  # one that is missing is reason enough to do nothing
            look({name: container.pid for name, container in found.items()})
            again = await resolver.confirm(nodes, found)
            refused = {name: str(refusal) for name, refusal in again.items()}
        return refused
    finally:
        await resolver.close()
