"""watch: keep the kernel at what a topology says, by runs of batch after changes."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from kokofast.drivers.warmup import leaves
from kokofast.engine.apply import apply
from kokofast.engine.result import INVALID, Result
from kokofast.engine.watched_nodes import WatchedNodes
from kokofast.ops.registry import home_of
from kokofast.topology import TopologyError
from kokofast.watching.events import COUNTS, Event
from kokofast.watching.judge import Judge
from kokofast.watching.part import Parts
from kokofast.watching.patience import Patience
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kokofast.drivers import Driver
    from kokofast.engine.snapshot import Survey
    from kokofast.host.kernel import Kernel
    from kokofast.host.lock import Keeper
    from kokofast.ops.journal import Applied
    from kokofast.plan.plan import Plan
    from kokofast.plan.step import Step
    from kokofast.topology.model import Topology
    from kokofast.watching.senses import Senses

GATHER_SECONDS = 0.05
POLL_SECONDS = 1.0  # for missing nodes whose arrival no event shows
ATTEMPTS = 10  # runs, each without the links that have problems
WAITS = "another run works on the lab, or on all labs; waiting until it ends"
TOLD_MAX = 1000  # events about single steps of a run


class DestroyedError(Exception):
    """Another run has destroyed the lab."""


class _Observer:
    """What a run found and did."""

    def __init__(self, keeper: Keeper | None) -> None:
        self._keeper = keeper
        self.survey: Survey | None = None
        self.plan: Plan | None = None
        self.applied: Applied | None = None

    def begin(self) -> None:
        if self._keeper is not None and self._keeper.is_dismissed():
            raise DestroyedError

    def see(self, survey: Survey, plan: Plan, applied: Applied | None) -> None:
        self.survey, self.plan, self.applied = survey, plan, applied


class Watch:
    """Keeps a lab.

    Args:
        topology: The lab.
        driver: Runs the blocking work.
        senses: Where to learn of changes.
        kernel_of: Returns a kernel for a run; given True, one whose namespaces are watched.
        report: Called with each event.
        keeper: Says whether another run has destroyed the lab.
        load: Reads the file again: returns the topology, None if it has not changed. Raises TopologyError, OSError.
        prune: Remove links and namespaces of the lab that are not in the file.
        runtime_timeout: Seconds that a container daemon may be silent.
    """

    def __init__(
        self,
        topology: Topology,
        driver: Driver,
        senses: Senses,
        kernel_of: Callable[[bool], Kernel],
        report: Callable[[Event], object],
        *,
        keeper: Keeper | None = None,
        load: Callable[[], Topology | None] = lambda: None,
        prune: bool = False,
        runtime_timeout: float = 10.0,
    ) -> None:
        self._driver = driver
        self._senses = senses
        self._kernel_of = kernel_of
        self._report = report
        self._keeper = keeper
        self._load = load
        self._prune = prune
        self._runtime_timeout = runtime_timeout
        self._patience = Patience()
        self._take_in(topology)

    def _take_in(self, topology: Topology) -> None:
        self._topology = topology
        self._parts = Parts(topology)
        self._judge = Judge(topology)
        self._numbers = {link.title(): number for number, link in enumerate(topology.links)}
        self._nodes = WatchedNodes(topology, self._senses, self._judge, self._say)
        self._patience.begin_anew()
        self._senses.follow(topology)

    @property
    def is_whole(self) -> bool:
        """Whether all is as the file says."""
        return not self._nodes.waiting and not self._nodes.gone and not self._patience.left_alone()

    async def run(self, *, once: float | None = None) -> None:
        """Keep the lab until the run is stopped; or, with once, until it is whole, for this many seconds at most.

        Raises DestroyedError when another run has destroyed the lab.
        """
        end = None if once is None else self._senses.now() + once
        await self._look(None)
        self._say(
            "watching",
            links=len(self._topology.links),
            nodes=len(self._topology.nodes),
            waiting=len(self._nodes.waiting) + len(self._nodes.gone),
        )
        while end is None or (not self.is_whole and self._senses.now() < end):
            if await self._senses.wait(self._time_to_wait(end)):
                await self._driver.sleep(GATHER_SECONDS)
            nodes = self._digest()
            if nodes is None or nodes:
                await self._look_if_possible(nodes)

    async def _look_if_possible(self, nodes: set[str] | None) -> None:
        """Call _look(). If the machine fails, because memory or descriptors are short, try again later."""
        try:
            await self._look(nodes)
        except* (OSError, KernelError, MemoryError) as group:
            error = next(leaves(group))
            self._fail("", "", "not enough memory" if isinstance(error, MemoryError) else _words_of(error))

    def _time_to_wait(self, end: float | None) -> float | None:
        now = self._senses.now()
        ends = [end, self._patience.next_end(), now + POLL_SECONDS if self._nodes.waiting else None]
        times = [one - now for one in ends if one is not None]
        return max(min(times), 0.0) if times else None

    def _say(self, event: str, **fields: Any) -> None:
        self._report(Event(event, self._topology.name, fields))

    def _digest(self) -> set[str] | None:
        """Process the news; return the nodes to look at, None for all."""
        news = self._senses.take()
        if self._keeper is not None and self._keeper.is_dismissed():
            raise DestroyedError
        everything = news.everything
        for title, refusal in news.daemons:
            if refusal:
                self._say("daemon_lost", daemon=title, message=refusal)
            else:
                self._say("daemon_back", daemon=title)
        if news.file and self.reload():
            return None
        if news.kept.is_lost:
            self._say("overrun")
            everything = True
        nodes = set(news.nodes)
        changes = self._judge.changes(news.kept.take())
        for change in changes:
            self._say("changed", node=change.node, interface=change.ifname, change=change.what)
            nodes.add(change.node)
        for node in news.ended:
            nodes.add(node)
            self._nodes.end(node)
        nodes |= self._senses.appeared(self._nodes.waiting)
        renewed = nodes - {change.node for change in changes if change.ifname}
        self._patience.forgive_failures(link.title() for link in self._parts.links_of(renewed))
        for thing in self._patience.end_pauses(self._senses.now()):
            number = self._numbers.get(thing)
            if number is not None and not self._patience.has_failed(thing):
                self._say("resumed", link=thing)
            if number is None:
                everything = True
            else:
                nodes.add(self._topology.links[number].ends[0].node)
        return None if everything else nodes

    def reload(self) -> bool:
        """Read the file again; return whether it has changed."""
        try:
            topology = self._load()
            if topology is None:
                return False
            if topology.name != self._topology.name:
                self._say("file_refused", errors=[f"the lab's name is {topology.name} now: start a watch for that one"])
                return False
        except TopologyError as error:
            self._say("file_refused", errors=list(map(str, error.problems)))
            return False
        except OSError as error:
            self._say("file_refused", errors=[_words_of(error)])
            return False
        self._take_in(topology)
        self._say("reloaded", links=len(topology.links), nodes=len(topology.nodes))
        return True

    async def _look(self, nodes: set[str] | None) -> None:
        """Make these nodes, or all (None), what the file says."""
        if nodes is not None and self._topology.routing is not None:
            nodes = None  # the routes of each node depend on all links
        without = self._left_out()
        for _ in range(ATTEMPTS):
            part = self._parts.all(without) if nodes is None else self._parts.of_nodes(nodes, without)
            if self._nodes.gone:
                part = _without_nodes(part, self._nodes.gone)
            if not part.nodes:
                return
            result, observer = await self._apply(part)
            faulty = self._faulty(result, observer)
            if not faulty:
                break
            without |= self._parts.with_dependents(faulty)
        self._note(result, observer, everything=nodes is None)
        if self._prune and nodes is None and self.is_whole:
            self._note(*await self._apply(self._topology, prune=True), everything=True)

    def _left_out(self) -> set[int]:
        left = {self._numbers[thing] for thing in self._patience.left_alone() if thing in self._numbers}
        return self._parts.with_dependents(left) if left else set()

    async def _apply(self, part: Topology, *, prune: bool = False) -> tuple[Result, _Observer]:
        observer = _Observer(self._keeper)
        result = Result(part.name, "unchanged")
        # A prune opens all namespaces of the machine: do not watch those.
        with closing(self._kernel_of(not prune)) as kernel:
            await apply(
                part,
                self._driver,
                kernel,
                keep_going=True,
                prune=prune,
                runtime_timeout=self._runtime_timeout,
                result=result,
                waits=lambda: self._say("note", message=WAITS),
                observer=observer,
            )
        return result, observer

    def _faulty(self, result: Result, observer: _Observer) -> set[int]:
        """Return the links with problems, which keep all others from being made, and report them."""
        if result.status != INVALID or observer.plan is None or observer.survey is None:
            return set()
        found: set[int] = set()
        for problem in observer.plan.problems:
            if any(problem.message.startswith(f"node {name}: ") for name in observer.survey.unresolved):
                continue  # it is waited for
            for number in self._parts.at(problem):
                if number not in found:
                    found.add(number)
                    self._fail(self._topology.links[number].title(), problem.place, problem.message)
        return found

    def _fail(self, thing: str, source: str, message: str) -> None:
        seconds = self._patience.note_failure(thing, self._senses.now())
        self._say("failed", source=source, message=message, seconds=seconds)

    def _note(self, result: Result, observer: _Observer, *, everything: bool) -> None:
        """Take note of what a run found and did, and report it."""
        if observer.survey is None or observer.plan is None:
            return
        self._nodes.note(observer.survey, result)
        changed = any(result.links.get(count) for count in ("created", "updated", "removed", "failed"))
        if observer.applied is not None:
            self._note_work(observer.applied, tells=not everything)
        elif result.status == INVALID and not set(observer.survey.unresolved):
            self._fail("", "", "; ".join(map(str, result.errors)))
        if changed or observer.applied is not None:
            counts = {name: result.links.get(name, 0) for name in COUNTS}
            self._say("applied", **counts, seconds=round(sum(result.seconds.values()), 3), everything=everything)
        if everything:
            for note in result.notes if not self._prune else ():
                self._say("note", message=note)

    def _note_work(self, applied: Applied, *, tells: bool) -> None:
        """Report what was done, and take note of repairs and refusals."""
        now = self._senses.now()
        operations = applied.plan.operations
        failed = applied.failed_links()
        steps: dict[str, list[Step]] = {}
        repaired: dict[str, object] = {}
        for number in sorted(applied.done):
            operation = operations[number]
            if operation.link in failed:
                continue
            if operation.link is not None:
                link = applied.topology.links[operation.link]
                repaired[link.title()] = tuple(self._nodes.places.get(end.node) for end in link.ends)
            if tells and len(steps) < TOLD_MAX and (step := home_of(operation).describe(applied.plan, operation)):
                steps.setdefault(str(step), []).append(step)
        for text, (step, *_) in steps.items():
            for entry in step.as_dicts():
                self._say("done", action=step.action, kind=step.kind, object=text[2:], step=entry)
        for title, place in repaired.items() if tells else ():
            seconds = self._patience.note_repair(title, place, now)
            if seconds is not None:
                self._say("left_alone", link=title, seconds=seconds)
        told: set[int] = set()
        for number, refusal in applied.failures.items():
            position = operations[number].link
            if position is not None and position not in told:
                told.add(position)
                link = applied.topology.links[position]
                self._fail(link.title(), link.place, str(refusal))


def _words_of(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _without_nodes(topology: Topology, gone: set[str]) -> Topology:
    """Return the topology without some nodes and their links."""
    from kokofast.watching.part import nodes_of_link

    nodes = {name: node for name, node in topology.nodes.items() if name not in gone}
    links = tuple(link for link in topology.links if gone.isdisjoint(nodes_of_link(link)))
    return topology.part(nodes, links)
