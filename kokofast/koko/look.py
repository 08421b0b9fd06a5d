"""Opens the namespaces of a few nodes and looks into them, one after the other."""

from __future__ import annotations

import errno

from kokofast.endpoints import local
from kokofast.endpoints.process import namespace_path
from kokofast.engine.observe import ALL_MIRRORS, NO_MIRRORS, observe
from kokofast.engine.seen import Survey, look_into
from kokofast.topology.model import CONTAINER_KINDS
from kokofast.topology.problems import Problem
from kokofast.topology.values import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Namespace
    from kokofast.topology.model import Node


def look_at(kernel: Kernel, nodes: Iterable[Node], *, mirrors: bool = False) -> Survey:
    """The namespaces of these nodes; those that cannot be had are in its problems."""
    survey = Survey()
    nodes = list(nodes)
    containers = [node for node in nodes if node.kind in CONTAINER_KINDS]
    if not containers:
        _look(survey, kernel, nodes, {}, mirrors)
        return survey
    from kokofast.koko.containers import with_containers

    def look(pids: Mapping[str, int]) -> None:
        _look(survey, kernel, nodes, pids, mirrors)

    refused = with_containers(containers, look)
    if refused:
        # What the daemon says goes before what is seen of a process that has ended.
        survey.problems = [Problem(node.place, refused[node.name]) for node in containers if node.name in refused]
    return survey


def _look(survey: Survey, kernel: Kernel, nodes: Iterable[Node], pids: Mapping[str, int], mirrors: bool) -> None:
    def see(kernel: Kernel, handle: Handle) -> Namespace:
        return observe(kernel, handle, mirrors=ALL_MIRRORS if mirrors else NO_MIRRORS)

    paths: dict[str, list[Node]] = {}
    for node in nodes:
        path = namespace_path(pids[node.name]) if node.name in pids else local.path_of(node)
        paths.setdefault(path, []).append(node)
    for item, same in zip(kernel.open_all(list(paths)), paths.values(), strict=True):
        sight = look_into(kernel, item, see)
        if isinstance(sight, OSError):
            survey.problems += [Problem(node.place, _explain(node, sight)) for node in same]
        else:
            number = survey.add(*sight)
            survey.places.update((node.name, number) for node in same)


def _explain(node: Node, error: OSError) -> str:
    if node.kind == "netns" and error.errno == errno.ENOENT and local.stale(node.target) is None:
        # Not the words of local: a batch can have it made, koko's command line cannot.
        return f"there is no network namespace {quote(node.target)}; make it with 'ip netns add'"
    return local.explain(node, error)
