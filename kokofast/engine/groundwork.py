"""Look into the namespaces of the nodes, and make the plan."""

from __future__ import annotations

import errno
import os

from kokofast.endpoints import local
from kokofast.ends import CLOSER
from kokofast.engine.result import INVALID, PLANNED, UNCHANGED, failure_of
from kokofast.engine.snapshot import look
from kokofast.host import namespaces as host
from kokofast.host.lock import is_locked
from kokofast.ops.dumps import ALL_MIRRORS, BESIDE_OURS, observe
from kokofast.ops.registry import home_of
from kokofast.plan.operations import MakeNamespace
from kokofast.plan.ownership import lab_of, lab_of_alias
from kokofast.plan.plan import CREATE, REPLACE, UPDATE, Situation, nodes_to_look_at, parents_elsewhere
from kokofast.plan.plan import UNCHANGED as LINK_UNCHANGED
from kokofast.plan.planner import make_plan
from kokofast.topology.node_kinds import NODES
from kokofast.topology.problems import Problem
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result import Result
    from kokofast.engine.result_types import Progress
    from kokofast.engine.snapshot import Survey
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.ops.dumps import Sight
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import Operation, SetAside
    from kokofast.plan.plan import Plan
    from kokofast.plan.step import Step
    from kokofast.topology.model import Link, Node, Topology

    See = Callable[[Kernel, Handle], Namespace]


def see_for(topology: Topology) -> See:
    """Return how to read a namespace. A topology with mirrors needs all existing ones (see topology.copies)."""
    has_mirrors = any(end.mirror is not None for link in topology.links for end in link.ends)
    mirrors = ALL_MIRRORS if has_mirrors else BESIDE_OURS
    closer = CLOSER.intersection(name for link in topology.links for end in link.ends for name in end.properties)

    def see(kernel: Kernel, handle: Handle) -> Namespace:
        return observe(kernel, handle, mirrors=mirrors, closer=closer)

    return see


class Paths:
    """The paths of nodes' namespaces, of containers by their pids; and why some nodes have none."""

    def __init__(self, lab: str, nodes: Mapping[str, Node], pids: Mapping[str, int], *, from_file: bool = True) -> None:
        self._lab = lab
        self._from_file = from_file
        self.nodes: dict[str, list[Node]] = {}
        self.unresolved: dict[str, str] = {}
        for node in nodes.values():
            try:
                if not NODES[node.kind].daemon:
                    self.nodes.setdefault(local.path_of(node), []).append(node)
                elif node.name in pids:
                    self.nodes.setdefault(host.of_process(pids[node.name]), []).append(node)
            except ValueError as error:
                self.unresolved[node.name] = str(error)

    async def look(self, kernel: Kernel, driver: Driver, see: See, progress: Progress | None) -> list[Sight]:
        """Return what is at each path."""
        return await look(kernel, list(self.nodes), driver, see=see, settle=self._settle, progress=progress)

    def take_in(self, survey: Survey, sights: Sequence[Sight]) -> None:
        """Put what was found at each path into the survey."""
        for (path, same), sight in zip(self.nodes.items(), sights, strict=True):
            survey.paths.update((node.name, path) for node in same)
            if not isinstance(sight, OSError):
                number = survey.add(*sight)
                survey.places.update((node.name, number) for node in same)
            elif (
                isinstance(sight, FileNotFoundError) and any(node.create for node in same) and not os.path.islink(path)
            ):
                number = survey.add_missing()
                survey.places.update((node.name, number) for node in same)
            else:
                self.unresolved |= {node.name: local.explain(node, sight, can_create=self._from_file) for node in same}

    def _settle(self, path: str, error: OSError) -> OSError | None:
        """Return why there is no namespace at a path: ENOENT if one can be made there.

        None while another program is making or removing one there: look again.
        """
        nodes = self.nodes[path]
        if error.errno not in (errno.EINVAL, errno.ESTALE) or not any(NODES[node.kind].is_named for node in nodes):
            return error
        if error.errno == errno.ESTALE:
            return None
        claim = host.claimed(path)
        if claim is None:  # gone, or a namespace now; or an empty file, the first step of 'ip netns add'
            return None if host.read_plain(path) in (None, "") else error
        lab = lab_of_alias(claim)
        # Take over the claim of a killed run of this lab; wait for what another run is about to make.
        if lab is not None and (lab == self._lab or is_locked(lab)):
            return FileNotFoundError(errno.ENOENT, claim, path) if any(node.create for node in nodes) else error
        return error if host.claimed(path) == claim else None


def record_unresolved(
    survey: Survey, nodes: Mapping[str, Node], unresolved: Mapping[str, str], *, from_file: bool
) -> None:
    """Add the problems of nodes that do not resolve, with their names if they are from a file."""
    for node in nodes.values():
        if node.name in unresolved:
            survey.places.pop(node.name, None)
            survey.unresolved.append(node.name)
            why = unresolved[node.name]
            survey.problems.append(Problem(node.place, f"node {node.name}: {why}" if from_file else why))


def plan_of(
    topology: Topology,
    survey: Survey,
    kernel: Kernel,
    dry_run: bool = False,
    *,
    leaving: Sequence[SetAside] = (),
    going: Collection[tuple[int, int]] = (),
    links_only: bool = False,
    replace: bool = False,
) -> Plan:
    """Make the plan, with the problems of nodes and links.

    leaving has the operations that rename interfaces first, going the interfaces that are deleted last. With
    links_only read no addresses, routes and sysctls of nodes. A dry run looks for conflicts on parents in all
    namespaces. A real run looks in those of the file, and after a refusal in the others. With replace plan as if the
    links in the way had been deleted.
    """
    if survey.problems:
        # Still check the links between nodes that resolve, to show all errors at once.
        topology, _ = leave_out(topology, survey)
    situation = Situation(survey.places, survey.observed, kernel.boot_id())
    pairs, new = parents_elsewhere(topology, situation)
    situation.nsids = _nsids(pairs, survey, kernel)
    situation.elsewhere = _elsewhere(new, survey, kernel, everywhere=dry_run) if new else {}
    situation.leaving, situation.going = leaving, going
    if not links_only and (numbers := nodes_to_look_at(topology, situation)):
        from kokofast.engine.routers import read_routers  # few files set something on nodes

        situation.routers = read_routers(numbers, topology, survey, kernel, leaving)
    plan = make_plan(topology, situation)
    if replace and plan.conflicts:
        from kokofast.engine.replace import plan_replacing  # only --replace needs it

        plan = plan_replacing(plan, topology, situation, survey, kernel, see_for(topology))
    plan.problems[:0] = survey.problems
    return plan


def only_new(plan: Plan, survey: Survey, boot: str) -> None:
    """Refuse changes of existing links; send creations from the namespace of an end, not from an empty one."""
    if survey.problems:
        return
    if plan.problems or plan.operations:
        plan.problems = _there(plan.topology, survey, boot) or plan.problems
    plan.send_from_ends(survey.observed)


def _there(topology: Topology, survey: Survey, boot: str) -> list[Problem]:
    """Return a problem for each end that exists already, also if it is ours."""
    problems: list[Problem] = []
    for end in (end for link in topology.links for end in link.ends):
        namespace = survey.observed[survey.places[end.node]]
        if namespace is not None and end.ifname in namespace.interfaces:
            from kokofast.plan.existing import deletion  # needed for this problem only

            lab = lab_of(namespace.interfaces[end.ifname], namespace, boot)
            command = deletion(topology.nodes[end.node], end.ifname) if lab is not None else ""
            ours = "of a link that differs" if lab == topology.name else f"of the lab {lab}"
            whose = "not ours" if lab is None else ours
            cure = f"delete it ({command})" if command else "delete it"
            text = f"there is an interface {end.ifname} already, {whose}; {cure} or take another name"
            problems.append(Problem(end.place, text))
    return problems


def _nsids(pairs: Iterable[tuple[int, int]], survey: Survey, kernel: Kernel) -> dict[tuple[int, int], int | None]:
    found: dict[tuple[int, int], int | None] = {}
    for here, there in pairs:
        if survey.handles[there] is not None:
            try:
                found[here, there] = survey.nsid(kernel, here, there)
            except (KernelError, OSError):  # then compare the ifindex only
                continue
    return found


def _elsewhere(
    parents: Iterable[int], survey: Survey, kernel: Kernel, *, everywhere: bool
) -> dict[int, list[tuple[str, Interface]]]:
    from kokofast.engine import elsewhere  # needed for links with parents only

    titles = {number: name for name, number in reversed([*survey.places.items()])}
    seen = [
        (titles.get(number) or "this namespace", handle, namespace)
        for number, (handle, namespace) in enumerate(zip(survey.handles, survey.observed, strict=True))
        if handle is not None and namespace is not None
    ]
    handles = {number: handle for number in parents if (handle := survey.handles[number]) is not None}
    more = elsewhere.everywhere(kernel, {handle.identity for _, handle, _ in seen}) if everywhere else ()
    return elsewhere.on_parents(kernel, handles, seen, more)


def leave_out(topology: Topology, survey: Survey) -> tuple[Topology, dict[str, int]]:
    """Leave out nodes that do not resolve and links that need them; return the rest, and how many links need each node.

    A link also needs the link that makes its parent, or what it mirrors.
    """
    reasons: dict[int, str] = {}
    waiting: list[int] = []
    leaning: dict[tuple[int, str], list[int]] = {}
    for number, link in enumerate(topology.links):
        missing = [node for node in _nodes(link) if node not in survey.places]
        if missing:
            reasons[number] = missing[0]
            waiting.append(number)
        for node, ifname in needed_by(link):
            if node in survey.places:
                leaning.setdefault((survey.places[node], ifname), []).append(number)
    while waiting:
        lost = waiting.pop()
        for end in topology.links[lost].ends:
            ns = survey.places.get(end.node)
            namespace = survey.observed[ns] if ns is not None else None
            if ns is None or (namespace is not None and end.ifname in namespace.interfaces):
                continue
            for number in leaning.pop((ns, end.ifname), ()):
                if number not in reasons:
                    reasons[number] = reasons[lost]
                    waiting.append(number)
    links = [link for number, link in enumerate(topology.links) if number not in reasons]
    nodes = {name: node for name, node in topology.nodes.items() if name in survey.places}
    counts: dict[str, int] = {}
    for node in reasons.values():
        counts[node] = counts.get(node, 0) + 1
    return topology.part(nodes, tuple(links)), counts


def needed_by(link: Link) -> list[tuple[str, str]]:
    """Return (node, interface) of all that must exist before the link: its parent, and what its ends mirror."""
    from kokofast.plan.order import needs_of  # only a run that leaves something out needs it

    mirrored = [(end.node, end.mirror.source) for end in link.ends if end.mirror is not None]
    return [*needs_of(link), *mirrored]


def _nodes(link: Link) -> list[str]:
    parent = link.parent
    return [end.node for end in link.ends] + ([] if parent is None else [parent[0]])


def is_to_do(topology: Topology, plan: Plan, result: Result, dry_run: bool = False) -> bool:
    """Fill in what is known before the work; return whether there is work."""
    _count(result, plan)
    if plan.problems:
        result.status = INVALID
        result.errors = list(map(failure_of, topology.in_order(plan.problems)))
        if dry_run:
            from kokofast.topology.order import ancestors

            faulty = {place for problem in plan.problems for place in ancestors(problem.place)}
            rest = plan.rest or plan.operations  # the latter if only the file or its nodes have problems
            links = plan.topology.links
            chosen = [one for one in rest if one.link is None or links[one.link].place not in faulty]
            result.planned = _describe(plan, chosen)
        return False
    if dry_run:
        result.status = PLANNED if plan.operations else UNCHANGED
        result.links["created"] = plan.actions.count(CREATE)
        result.links["updated"] = plan.actions.count(UPDATE)
        if plan.replaced:
            result.links["replaced"] = plan.actions.count(REPLACE)
        result.namespaces["created"] = sum(1 for _ in plan.of_type(MakeNamespace))
        from kokofast.engine.neighbour_limits import crowded

        result.planned = _describe(plan, plan.operations)
        result.notes = plan.notes + (crowded(topology) if plan.operations else [])
        if plan.routes:
            result.notes.append(f"{sum(plan.routes.values()):,} routes in {len(plan.routes):,} nodes")
        return False
    if plan.operations:
        result.notes = list(plan.notes)
    return bool(plan.operations)


def _count(result: Result, plan: Plan) -> None:
    result.links = {
        "total": len(plan.actions),
        "created": 0,
        "updated": 0,
        "unchanged": 0 if plan.problems else plan.actions.count(LINK_UNCHANGED),
        "failed": 0,
    }
    result.namespaces = {"created": 0}


def _describe(plan: Plan, operations: Iterable[Operation]) -> list[Step]:
    """Return what a dry run shows."""
    found = (home_of(operation).describe(plan, operation) for operation in operations)
    return [step for step in found if step is not None]
