"""Resolve the nodes of a topology, containers included, and look into their namespaces."""

from __future__ import annotations

from kokofast.engine.groundwork import Paths, record_unresolved
from kokofast.engine.snapshot import Survey
from kokofast.topology.node_kinds import NODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kokofast.drivers import Driver
    from kokofast.engine.result import Result
    from kokofast.engine.result_types import Progress
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.topology.model import Node

    See = Callable[[Kernel, Handle], Namespace]

DEFAULT_RUNTIME_TIMEOUT = 10.0


async def survey_nodes(
    driver: Driver,
    kernel: Kernel,
    nodes: Mapping[str, Node],
    see: See,
    result: Result,
    *,
    from_file: bool = True,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    progress: Progress | None = None,
) -> Survey:
    """Look into the namespaces of a lab's nodes, by ``see``.

    A node that does not resolve is a problem, unless it may be created. from_file: nodes are from a file, in which the
    user could allow that. Containers are resolved before the look and confirmed after it, in the stage "resolve" of the
    result; runtime_timeout is how many seconds a daemon may be silent.
    """
    survey = Survey()

    async def look_at(pids: Mapping[str, int]) -> dict[str, str]:
        paths = Paths(result.lab, nodes, pids, from_file=from_file)
        with result.stage("survey"):
            paths.take_in(survey, await paths.look(kernel, driver, see, progress))
        return paths.unresolved

    containers = [node for node in nodes.values() if NODES[node.kind].daemon]
    if not containers:
        record_unresolved(survey, nodes, await look_at({}), from_file=from_file)
        return survey
    async with driver.containers(containers, runtime_timeout) as daemons:
        with result.stage("resolve"):
            pids, refused = await daemons.resolve()
        unresolved = await look_at(pids)
        with result.stage("resolve"):
            # A daemon's refusal is a better reason than a process that has ended.
            unresolved |= refused | await daemons.confirm()
    record_unresolved(survey, nodes, unresolved, from_file=from_file)
    return survey
