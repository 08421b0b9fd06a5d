"""Opens namespaces and looks into them, in worker threads."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from kokofast.endpoints import local
from kokofast.endpoints.process import namespace_path
from kokofast.engine.observe import BESIDE_OURS, observe
from kokofast.engine.scheduler import run_all
from kokofast.engine.seen import Survey, look_into
from kokofast.host import namespaces as host
from kokofast.topology.model import CONTAINER_KINDS
from kokofast.topology.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from kokofast.engine.result import Progress
    from kokofast.engine.seen import Sight
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.topology.model import Node

# Looking is a dozen short system calls a namespace: two threads hand the interpreter's lock to and fro, and take
# twice as long as one.
SURVEY_WORKERS = 1
SURVEY_CHUNK = 512
DEFAULT_RUNTIME_TIMEOUT = 10.0


async def look(
    kernel: Kernel,
    paths: Sequence[str],
    *,
    stage: str = "survey",
    see: Callable[[Kernel, Handle], Namespace] = observe,
    progress: Progress | None = None,
) -> list[Sight]:
    """Opens the namespace at each path and looks into it in the way of ``see``; an OSError for those that cannot be."""
    kernel.expect(len(paths))
    sights: list[Sight] = [OSError()] * len(paths)
    chunk = max(min(SURVEY_CHUNK, kernel.capacity // SURVEY_WORKERS), 1)
    done = 0

    def execute(chosen: Sequence[str]) -> list[Sight]:
        return [look_into(kernel, item, see) for item in kernel.open_all(chosen)]

    def report(number: int, sight: Sight) -> None:
        nonlocal done
        sights[number] = sight
        done += 1
        if progress is not None:
            progress(stage, done, len(paths))

    await run_all(paths, execute, workers=SURVEY_WORKERS, chunk=chunk, report=report)
    return sights


async def survey_nodes(
    kernel: Kernel,
    nodes: Mapping[str, Node],
    *,
    runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
    timed: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    progress: Progress | None = None,
) -> Survey:
    """The namespaces of a topology's nodes. A node that does not resolve is a problem, unless it is to be created.

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
                await _survey(survey, kernel, nodes, pids, unresolved, progress)
            with timed("resolve"):
                # Why the daemon says no goes before what is seen of a process that has ended.
                unresolved |= refused | await daemons.confirm()
    else:
        with timed("survey"):
            await _survey(survey, kernel, nodes, {}, unresolved, progress)
    for node in nodes.values():
        if node.name in unresolved:
            survey.places.pop(node.name, None)
            survey.problems.append(Problem(node.place, f"node {node.name}: {unresolved[node.name]}"))
    return survey


async def _survey(
    survey: Survey,
    kernel: Kernel,
    nodes: Mapping[str, Node],
    pids: Mapping[str, int],
    unresolved: dict[str, str],
    progress: Progress | None,
) -> None:
    """Puts the nodes' namespaces into survey, those of containers by the pid in pids, and why not into unresolved."""
    paths: dict[str, list[Node]] = {}
    for node in nodes.values():
        try:
            if node.kind not in CONTAINER_KINDS:
                paths.setdefault(local.path_of(node), []).append(node)
            elif node.name in pids:
                paths.setdefault(namespace_path(pids[node.name]), []).append(node)
        except ValueError as error:
            unresolved[node.name] = str(error)
    sights = await look(kernel, list(paths), see=partial(observe, mirrors=BESIDE_OURS), progress=progress)
    for (path, same), sight in zip(paths.items(), sights, strict=True):
        if not isinstance(sight, OSError):
            number = survey.add(*sight)
            survey.places.update((node.name, number) for node in same)
        elif _can_be_made(path, same, sight):
            number = survey.add_missing()
            survey.places.update((node.name, number) for node in same)
        else:
            unresolved |= {node.name: local.explain(node, sight) for node in same}


def _can_be_made(path: str, nodes: Sequence[Node], error: OSError) -> bool:
    if not any(node.create for node in nodes):
        return False
    # A name that a killed run claimed, without a namespace behind it yet, is as good as missing.
    return isinstance(error, FileNotFoundError) or host.claimed(path) is not None
