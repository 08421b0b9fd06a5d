"""Read what is set on nodes: addresses of loopbacks, routes and sysctls. Imported where a lab sets some."""

from __future__ import annotations

from functools import partial

from kokofast.ops.routers import observe_router
from kokofast.plan.nodes import sysctls_of
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kokofast.engine.snapshot import Survey
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.node_change import Router
    from kokofast.plan.observed import Namespace
    from kokofast.plan.operations import SetAside
    from kokofast.topology.model import Topology

    Place = tuple[int, Handle, Namespace]

CHUNK = 256  # namespaces whose sysctls one thread reads


def read_routers(
    numbers: Iterable[int], topology: Topology, survey: Survey, kernel: Kernel, leaving: Sequence[SetAside]
) -> dict[int, Router]:
    """Return what is set in the namespaces of these numbers. Those that cannot be read become problems of the survey.

    leaving has the operations that rename interfaces first.
    """
    reader = _Reader(topology, survey, kernel, leaving)
    places = [
        (number, handle, namespace)
        for number in numbers
        if (handle := survey.handles[number]) is not None and (namespace := survey.observed[number]) is not None
    ]
    size = min(CHUNK, kernel.capacity)
    for start in range(0, len(places), size):
        chunk = places[start : start + size]
        try:
            reader.read(chunk)
        except OSError:  # find out which of them it is
            for place in chunk:
                try:
                    reader.read([place])
                except OSError as error:
                    reader.report(place[0], error)
    kernel.rewind()
    return reader.found


class _Reader:
    def __init__(self, topology: Topology, survey: Survey, kernel: Kernel, leaving: Sequence[SetAside]) -> None:
        self._topology = topology
        self._survey = survey
        self._kernel = kernel
        self._sysctls = sysctls_of(topology, survey.places)
        self._given_away: dict[int, set[str]] = {}  # names that new interfaces get
        for one in leaving:
            self._given_away.setdefault(one.ns, set()).add(one.ifname)
        self.found: dict[int, Router] = {}

    def read(self, places: Sequence[Place]) -> None:
        """Read these namespaces. Raises OSError when one cannot be opened, or no thread can be started."""
        handles = [handle for _, handle, _ in places]
        with self._kernel.using(handles):
            for (number, handle, namespace), sysctls in zip(places, self._read_sysctls(places), strict=True):
                report = partial(self.report, number)
                if isinstance(sysctls, OSError):
                    report(sysctls)
                    continue
                try:
                    self.found[number] = observe_router(
                        self._kernel, handle, namespace, self._topology.name, sysctls, unreadable=report
                    )
                except OSError as error:
                    report(error)

    def report(self, number: int, error: OSError) -> None:
        """Add the problem of a namespace that cannot be read."""
        node = next(node for name, node in self._topology.nodes.items() if self._survey.places[name] == number)
        why = f"node {node.name}: its routes cannot be read: {error.strerror or error}"
        self._survey.problems.append(Problem(node.place, why))

    def _read_sysctls(self, places: Sequence[Place]) -> Sequence[Mapping[str, str] | OSError]:
        found: list[Mapping[str, str] | OSError] = [{} for _ in places]
        paths = [self._paths(number) for number, _, _ in places]
        chosen = [place for place, wanted in enumerate(paths) if wanted]
        if chosen:
            handles = [places[place][1] for place in chosen]
            answers = self._kernel.with_sysctls(handles, lambda number, net: net.read(paths[chosen[number]]))
            for place, answer in zip(chosen, answers, strict=True):
                found[place] = answer
        return found

    def _paths(self, number: int) -> list[str]:
        given_away = self._given_away.get(number, set())
        return [path for path in self._sysctls.get(number, ()) if given_away.isdisjoint(path.split("/"))]
