"""Opens namespaces and looks into them, in worker threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.endpoints import local
from kokofast.engine.observe import observe
from kokofast.engine.scheduler import run_all
from kokofast.host import namespaces as host
from kokofast.topology.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.engine.result import Progress
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.topology.model import Node

    Sight = tuple[Handle, Namespace] | OSError

SURVEY_WORKERS = 2
SURVEY_CHUNK = 128


class Survey:
    """Namespaces by number, each once, whatever names lead to it. None stands for one that is to be made."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.handles: list[Handle | None] = []
        self.observed: list[Namespace | None] = []
        self.problems: list[Problem] = []
        self._numbers: dict[tuple[int, int], int] = {}

    def add(self, handle: Handle, namespace: Namespace) -> int:
        """The number of a namespace that was looked into."""
        number = self._numbers.setdefault(handle.identity, len(self.handles))
        if number == len(self.handles):
            self.handles.append(handle)
            self.observed.append(namespace)
        return number

    def add_missing(self) -> int:
        """The number of a namespace that does not exist yet."""
        self.handles.append(None)
        self.observed.append(None)
        return len(self.handles) - 1


async def look(
    kernel: Kernel, paths: Sequence[str], *, stage: str = "survey", progress: Progress | None = None
) -> list[Sight]:
    """Opens and observes the namespace at each path; an OSError for those that cannot be."""
    sights: list[Sight] = [OSError()] * len(paths)
    chunk = max(min(SURVEY_CHUNK, kernel.capacity // SURVEY_WORKERS), 1)
    done = 0

    def execute(chosen: Sequence[str]) -> list[Sight]:
        return [_look_into(kernel, item) for item in kernel.open_all(chosen)]

    def report(number: int, sight: Sight) -> None:
        nonlocal done
        sights[number] = sight
        done += 1
        if progress is not None:
            progress(stage, done, len(paths))

    await run_all(paths, execute, workers=SURVEY_WORKERS, chunk=chunk, report=report)
    return sights


def _look_into(kernel: Kernel, item: Handle | OSError) -> Sight:
    if isinstance(item, OSError):
        return item
    try:
        with kernel.using([item]):
            return item, observe(kernel, item)
    except OSError as error:
        return error


async def survey_nodes(
    kernel: Kernel, nodes: Mapping[str, Node], *, missing_is_fine: bool = False, progress: Progress | None = None
) -> Survey:
    """The namespaces of a topology's nodes. A node that does not resolve is a problem, unless it is to be created
    or missing_is_fine (it then has no place)."""
    survey = Survey()
    paths: dict[str, list[Node]] = {}
    for node in nodes.values():
        try:
            paths.setdefault(local.path_of(node), []).append(node)
        except ValueError as error:
            survey.problems.append(Problem(node.place, str(error)))
    sights = await look(kernel, list(paths), progress=progress)
    for (path, same), sight in zip(paths.items(), sights, strict=True):
        if not isinstance(sight, OSError):
            number = survey.add(*sight)
            survey.places.update((node.name, number) for node in same)
        elif _can_be_made(path, same, sight):
            number = survey.add_missing()
            survey.places.update((node.name, number) for node in same)
        elif not missing_is_fine:
            survey.problems += [Problem(node.place, f"node {node.name}: {local.explain(node, sight)}") for node in same]
    return survey


def _can_be_made(path: str, nodes: Sequence[Node], error: OSError) -> bool:
    if not any(node.create for node in nodes):
        return False
    # A name that a killed run claimed, without a namespace behind it yet, is as good as missing.
    return isinstance(error, FileNotFoundError) or host.claimed(path) is not None
