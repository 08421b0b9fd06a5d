"""The namespaces of a topology's nodes, containers included; looked into by worker threads."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from kokofast.engine.groundwork import Paths, blame
from kokofast.engine.scheduler import run_all
from kokofast.engine.seen import Survey
from kokofast.topology.model import CONTAINER_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from kokofast.engine.result import Progress
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.topology.model import Node

    See = Callable[[Kernel, Handle], Namespace]

DEFAULT_RUNTIME_TIMEOUT = 10.0


async def survey_nodes(
    kernel: Kernel,
    lab: str,
    nodes: Mapping[str, Node],
    see: See,
    *,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    timed: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    progress: Progress | None = None,
) -> Survey:
    """The namespaces of a lab's nodes, looked into in the way of ``see``. A node that does not resolve is a problem,
    unless it is to be created.

    Containers are looked up before and confirmed after the look into the namespaces, both under the name "resolve" in
    timed; runtime_timeout is how many seconds a daemon may be silent.
    """
    survey = Survey()
    unresolved: dict[str, str] = {}
    containers = [node for node in nodes.values() if node.kind in CONTAINER_KINDS]
    if containers:
        # Only who has containers pays for asyncio, and for what stands on it.
        from kokofast.endpoints.from_trio import Containers

        async with Containers(containers, runtime_timeout) as daemons:
            with timed("resolve"):
                pids, refused = await daemons.resolve()
            with timed("survey"):
                await _survey(survey, kernel, Paths(lab, nodes, pids), see, unresolved, progress)
            with timed("resolve"):
                # Why the daemon says no goes before what is seen of a process that has ended.
                unresolved |= refused | await daemons.confirm()
    else:
        with timed("survey"):
            await _survey(survey, kernel, Paths(lab, nodes, {}), see, unresolved, progress)
    blame(survey, nodes, unresolved)
    return survey


async def _survey(
    survey: Survey,
    kernel: Kernel,
    paths: Paths,
    see: See,
    unresolved: dict[str, str],
    progress: Progress | None,
) -> None:
    """Puts the nodes' namespaces into survey, and why there are none into unresolved."""
    paths.take_in(survey, await paths.look(kernel, run_all, see, progress))
    unresolved |= paths.unresolved
