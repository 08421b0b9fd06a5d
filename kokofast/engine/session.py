"""A session: a lab that is held open while its links change. A change costs only what it touches."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kokofast.drivers import LabLocked
from kokofast.ends import IN_PLACE
from kokofast.engine.apply import Run
from kokofast.engine.carry_out import PlanRun
from kokofast.engine.groundwork import is_to_do, needed_by, plan_of, see_for
from kokofast.engine.held_namespaces import HeldNamespaces
from kokofast.engine.result import APPLIED, INVALID, UNCHANGED, Failure, Result
from kokofast.engine.snapshot import Survey
from kokofast.engine.superseded import Superseded, supersede
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.ops.executor import Executor
from kokofast.ops.journal import Applied
from kokofast.ops.registry import load, note
from kokofast.plan.in_place import plan_in_place
from kokofast.plan.plan import Situation, nodes_of
from kokofast.topology.change import make_change
from kokofast.topology.collector import collector_paused
from kokofast.topology.delta import is_same_link
from kokofast.topology.live import LiveTopology
from kokofast.topology.model import Link, Node
from kokofast.topology.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.host.kernel import Kernel
    from kokofast.topology.delta import Delta
    from kokofast.topology.locations import At
    from kokofast.topology.model import Topology


class Prepared:
    """A change whose plan is made. With the status "invalid" of ``result`` it cannot be carried out."""

    def __init__(self, delta: Delta, result: Result) -> None:
        self.delta = delta
        self.result = result
        self.part: Survey
        self.numbers: list[int] = []  # of the namespaces of the part in the session
        self.applied: Applied | None = None
        self.superseded = Superseded()


class Session:
    """A block that holds a lab's lock, and brings the lab up. Its methods are called one after the other.

    Args:
        topology: The lab.
        driver: Runs the blocking work.
        kernel: The kernel.
        jobs: As for apply().
        runtime_timeout: As for apply().
        progress: Called with (stage, done, total) while the lab is brought up.
        result: Filled in: with another status than "applied" or "unchanged" the session cannot be used.
        waits: As for apply().

    ``live`` is the present topology.
    """

    def __init__(
        self,
        topology: Topology,
        driver: Driver,
        kernel: Kernel,
        *,
        jobs: int | None = None,
        runtime_timeout: float = DEFAULT_RUNTIME_TIMEOUT,
        progress: Progress | None = None,
        result: Result | None = None,
        waits: Callable[[], object] | None = None,
    ) -> None:
        self.live = LiveTopology(topology)
        self.result = result if result is not None else Result(topology.name, UNCHANGED)
        self._lock = LabLocked(driver, topology.name, waits=waits)
        self._progress = progress
        self._topology = topology
        self._driver = driver
        self._kernel = kernel
        self._jobs = jobs
        self._runtime_timeout = runtime_timeout
        self._is_alone = False
        self.has_ended = False  # the lab's lock is free
        self._held: HeldNamespaces
        self._has_mirrors = self._is_stacked = False

    async def __aenter__(self) -> Session:
        notes = await self._lock.__aenter__()
        try:
            self._is_alone = not notes
            await self._begin(notes)
        except BaseException:
            await self._lock.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.has_ended = True
        await self._lock.__aexit__()

    async def _begin(self, notes: Sequence[str]) -> None:
        result = self.result
        run = Run(self._topology, self._driver, self._kernel, result)
        run.jobs, run.runtime_timeout = self._jobs, self._runtime_timeout
        run.progress, run.prune = self._progress, True
        await run.go(notes, is_alone=self._is_alone)
        if result.status not in (APPLIED, UNCHANGED):
            return
        self._held = HeldNamespaces(
            self.live,
            self._driver,
            self._kernel,
            see_for(self._topology),
            run.survey,
            runtime_timeout=self._runtime_timeout,
        )
        self._learn(self._topology.links)
        self._is_stacked |= self._topology.routing is not None or any(
            node.addresses or node.routes or node.sysctls for node in self._topology.nodes.values()
        )
        if result.status == APPLIED:
            self._held.stale.update(range(len(run.survey.handles)))
            await self._held.look(self._held.stale)

    async def apply(self, changes: Mapping[str, object], at: At) -> Result:
        """Carry out a change, all or nothing. Raises TopologyError when the topology cannot have it."""
        return await self.carry_out(await self.prepare(make_change(self.live, changes, at)))

    async def prepare(self, delta: Delta) -> Prepared:
        """Plan a change of the live topology: only carry_out() changes anything in the kernel."""
        result = Result(self.live.name, UNCHANGED)
        prepared = Prepared(delta, result)
        try:
            with result.stage("plan"), collector_paused():
                await self._plan(prepared, result)
        except BaseException:
            self.live.undo(delta)
            raise
        if result.status == INVALID:
            self.live.undo(delta)
        return prepared

    async def carry_out(self, prepared: Prepared) -> Result:
        """Carry out a change that was prepared last, or take it back and undo it in the live topology."""
        result, applied = prepared.result, prepared.applied
        if result.status == INVALID:
            return result
        try:
            if applied is not None:
                await PlanRun(applied, result, self._driver, jobs=self._jobs).go()
        except BaseException:
            self.live.undo(prepared.delta)
            self._held.stale.update(prepared.numbers)
            raise
        if applied is not None and applied.failures:
            self.live.undo(prepared.delta)
            self._held.stale.update(prepared.numbers)
            return result
        self._keep(prepared)
        if prepared.superseded.ends:
            await self._delete(prepared)
        return result

    def start(self, node: str, command: Sequence[str]) -> int:
        """Start a command in the namespace of a node; return its pid. Raises OSError."""
        from kokofast.host.commands import start

        handle = self._held.handle_of(node)
        if handle is None:
            raise OSError(errno.ENOENT, "its node has no namespace")
        with self._kernel.using([handle]):
            assert handle.fd is not None
            return start(handle.fd, command)

    async def restore(self, topology: Topology, place: str) -> Prepared:
        """Prepare the change that brings the lab to this topology."""
        return await self.prepare(self.live.difference(topology, place))

    # Planning

    async def _plan(self, prepared: Prepared, result: Result) -> None:
        delta, live = prepared.delta, self.live
        links = [link for _, link in delta.links.values() if link is not None]
        gone = [
            (before, delta.places.get(key, ""))
            for key, (before, after) in delta.links.items()
            if before is not None and (after is None or not is_same_link(before, after))
        ]
        self._learn(links)
        in_place = delta.only_sets(IN_PLACE)
        whole = self._has_mirrors or (self._is_stacked and not in_place)
        topology = live.whole() if whole else live.part(_bare(self._nodes_of(links, gone)), links)
        survey, prepared.numbers = await self._held.part(nodes_of(topology), look=not in_place)
        prepared.part = survey
        if survey.problems:
            result.status, result.errors = INVALID, _failures(survey.problems)
            return
        problems = supersede(prepared.superseded, survey, live.name, self._kernel.boot_id(), gone, links)
        if whole:
            problems += _still_needed(topology, gone)
        plan = None
        if in_place and not whole:
            plan = plan_in_place(topology, Situation(survey.places, survey.observed, self._kernel.boot_id()))
        if plan is None:
            superseded = prepared.superseded
            plan = plan_of(
                topology,
                survey,
                self._kernel,
                leaving=superseded.asides,
                going=superseded.places(),
                links_only=not whole,
            )
        plan.problems += problems
        if is_to_do(topology, plan, result):
            load(plan.operations)
            executor = Executor(self._kernel, survey.handles, survey.observed, is_alone=self._is_alone)
            prepared.applied = Applied(topology, plan, executor)
            executor.encode_ahead(plan.operations)
        await self._driver.sleep(0)  # raises when the run was stopped

    def _nodes_of(self, links: Iterable[Link], gone: Iterable[tuple[Link, str]]) -> dict[str, Node]:
        names = {end.node for link in [*links, *(link for link, _ in gone)] for end in link.ends}
        names |= {link.parent[0] for link in links if link.parent is not None}
        return {name: node for name in names if (node := self.live.nodes.get(name)) is not None}

    def _learn(self, links: Iterable[Link]) -> None:
        """Note whether links depend on each other, so that all have to be planned together."""
        for link in links:
            if link.parent is not None:
                self._is_stacked = True
            for end in link.ends:
                if end.mirror is not None:
                    self._has_mirrors = True
                if end.properties and not end.properties.keys() <= IN_PLACE:
                    self._is_stacked = True

    # Afterwards

    def _keep(self, prepared: Prepared) -> None:
        """Remember what is in the namespaces after a change."""
        applied = prepared.applied
        for place, number in enumerate(prepared.numbers):
            self._held.survey.handles[number] = prepared.part.handles[place]
        if prepared.superseded.ends:
            self._held.stale.update(prepared.numbers)
        if applied is not None:
            unknown = note(applied.plan.operations, prepared.part.observed)
            self._held.stale.update(prepared.numbers[ns] for operation in unknown for ns in operation.namespaces)

    async def _delete(self, prepared: Prepared) -> None:
        """Delete the removed links. One that cannot be deleted is an error; the rest of the change stays."""
        result = prepared.result
        executor = (
            prepared.applied.executor
            if prepared.applied is not None
            else Executor(self._kernel, prepared.part.handles, prepared.part.observed, is_alone=self._is_alone)
        )
        result.status = APPLIED
        result.links["removed"] = await prepared.superseded.delete(executor, self._driver, result)


def _bare(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Return the nodes without their addresses, routes and sysctls."""
    return {
        name: Node(name, node.kind, node.target, create=node.create, socket=node.socket, place=node.place)
        for name, node in nodes.items()
    }


def _failures(problems: Iterable[Problem]) -> list[Failure]:
    return [Failure(problem.place, problem.message, None, problem.position) for problem in problems]


def _still_needed(topology: Topology, gone: Sequence[tuple[Link, str]]) -> list[Problem]:
    """Return a problem for each removed link that another one needs, unless the change makes it again."""
    made = {(end.node, end.ifname) for link in topology.links for end in link.ends}
    going = {(end.node, end.ifname): (link, place) for link, place in gone for end in link.ends}
    problems: list[Problem] = []
    for link in topology.links if going else ():
        for need in needed_by(link):
            if need in going and need not in made:
                removed, place = going[need]
                problems.append(Problem(place, f"{link.title()} needs {removed.title()}: remove that first"))
    return problems
