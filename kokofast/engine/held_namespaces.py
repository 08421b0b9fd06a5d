"""The namespaces of a session: what was seen in each, and which to look at again before they are used."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kokofast.drivers import POLL_SECONDS, run_all
from kokofast.engine.result import UNCHANGED, Result
from kokofast.engine.snapshot import LOOK_CHUNK, Survey
from kokofast.engine.survey import survey_nodes
from kokofast.ops.dumps import look_into
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence, Set

    from kokofast.drivers import Driver
    from kokofast.engine.survey import See
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.ops.dumps import Sight
    from kokofast.plan.observed import Namespace
    from kokofast.topology.live import LiveTopology
    from kokofast.topology.model import Node

END_POLLS = 40  # two seconds: the kernel ends a namespace within a tenth of one, if nothing else holds it


class HeldNamespaces:
    """The namespaces of a lab that is held open, by number.

    Args:
        live: The present topology.
        driver: Runs the blocking work.
        kernel: The kernel.
        see: Reads a namespace.
        survey: What the first run has seen.
        runtime_timeout: Seconds that a container daemon may be silent.

    ``stale`` has the numbers of those to look at before they are used again.
    """

    def __init__(
        self,
        live: LiveTopology,
        driver: Driver,
        kernel: Kernel,
        see: See,
        survey: Survey,
        *,
        runtime_timeout: float,
    ) -> None:
        self.survey = survey
        self.stale: set[int] = set()
        self._live = live
        self._driver = driver
        self._kernel = kernel
        self._see = see
        self._runtime_timeout = runtime_timeout

    def handle_of(self, node: str) -> Handle | None:
        """Return the namespace of a node."""
        return self.survey.handles[self.survey.places[node]]

    async def part(self, nodes: Mapping[str, Node], *, look: bool) -> tuple[Survey, list[int]]:
        """Return the survey of some nodes, and the numbers that its namespaces have here.

        Their namespaces are looked at before: all with look, otherwise only those that are stale.
        """
        survey = self.survey
        ended = {name for name, number in survey.places.items() if name in nodes and self._is_misled(number)}
        await self._let_go(ended)
        await self._resolve({name: node for name, node in nodes.items() if name in ended or name not in survey.places})
        numbers = sorted({survey.places[name] for name in nodes if name in survey.places})
        await self.look(numbers if look else self.stale.intersection(numbers))
        await self._lose_peers(ended, numbers)
        part = Survey()
        part.problems = survey.problems
        survey.problems = []
        new = {number: place for place, number in enumerate(numbers)}
        part.places = {name: new[survey.places[name]] for name in nodes if name in survey.places}
        part.handles = [survey.handles[number] for number in numbers]
        part.observed = [survey.observed[number] for number in numbers]
        return part, numbers

    def _is_misled(self, number: int) -> bool:
        handle = self.survey.handles[number]
        return number in self.stale and handle is not None and self._kernel.misled(handle) is not None

    async def _let_go(self, names: Set[str]) -> None:
        """Close the namespaces of nodes that were replaced, so that the kernel can end them."""
        chosen = {self.survey.places[name] for name in names}

        def execute(handles: Sequence[Handle]) -> list[None]:
            for handle in handles:
                with suppress(OSError, KernelError):  # we do not hold it, or cannot see its end
                    with self._kernel.using([handle], to_ask=False):
                        self._kernel.watch([handle])
                    self._kernel.forget(handle)
            self._kernel.outlived([handle for handle in handles if self._kernel.watches(handle)])
            return [None] * len(handles)

        handles = [handle for number in sorted(chosen) if (handle := self.survey.handles[number]) is not None]
        await run_all(self._driver, handles, execute, workers=1, chunk=LOOK_CHUNK, report=lambda *_: None)

    async def _lose_peers(self, names: Set[str], numbers: Collection[int]) -> None:
        """Look into namespaces until links from there to the nodes that were replaced are gone.

        The kernel ends the links of a namespace some time after the namespace.
        """
        survey = self.survey
        places = [
            (survey.places[end.node], end.ifname)
            for link in (self._live.links.values() if names else ())
            if not names.isdisjoint(end.node for end in link.ends)
            for end in link.ends
            if end.node not in names and survey.places.get(end.node) in numbers
        ]
        for _ in range(END_POLLS):
            left = {number for number, ifname in places if _has(survey.observed[number], ifname)}
            if not left:
                break
            await self._driver.sleep(POLL_SECONDS)
            await self.look(left)

    async def _resolve(self, nodes: Mapping[str, Node]) -> None:
        """Look into the namespaces of nodes that are new, or whose namespace was replaced."""
        if not nodes:
            return
        found = await survey_nodes(
            self._driver,
            self._kernel,
            nodes,
            self._see,
            Result(self._live.name, UNCHANGED),
            runtime_timeout=self._runtime_timeout,
        )
        survey = self.survey
        known = {handle.identity: number for number, handle in enumerate(survey.handles) if handle is not None}
        for name, number in found.places.items():
            handle, observed = found.handles[number], found.observed[number]
            place = known.get(handle.identity) if handle is not None else None
            if place is None:
                place = len(survey.handles)
                survey.handles.append(handle)
                survey.observed.append(observed)
                if handle is not None:
                    known[handle.identity] = place
            survey.places[name] = place
        survey.problems += found.problems

    async def look(self, numbers: Iterable[int]) -> None:
        """Look into namespaces again. One that has ended keeps what was seen, and its use then fails."""
        survey = self.survey
        chosen = [number for number in numbers if survey.handles[number] is not None]

        def execute(handles: Sequence[Handle]) -> list[Sight]:
            return [look_into(self._kernel, handle, self._see) for handle in handles]

        def report(place: int, sight: Sight) -> None:
            if not isinstance(sight, OSError):
                survey.observed[chosen[place]] = sight[1]
                self.stale.discard(chosen[place])

        handles = [handle for number in chosen if (handle := survey.handles[number]) is not None]
        chunk = max(min(LOOK_CHUNK, self._kernel.capacity), 1)
        await run_all(self._driver, handles, execute, workers=1, chunk=chunk, report=report)


def _has(namespace: Namespace | None, ifname: str) -> bool:
    return namespace is not None and ifname in namespace.interfaces
