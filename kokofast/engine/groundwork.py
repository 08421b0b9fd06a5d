"""From what was seen of the nodes' namespaces to the plan. Blocking nothing and without an event loop: a run with a
head start has no loop yet."""

from __future__ import annotations

import errno
import os
from collections import Counter
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from kokofast.endpoints import local
from kokofast.endpoints.process import namespace_path
from kokofast.engine.crowd import crowded
from kokofast.engine.observe import ALL_MIRRORS, BESIDE_OURS, observe
from kokofast.engine.result import INVALID, PLANNED, UNCHANGED, failure_of
from kokofast.engine.seen import look
from kokofast.host import namespaces as host
from kokofast.host.lock import is_locked
from kokofast.plan.operations import AddMirror, CreateLink, MakeNamespace, RemoveMirror
from kokofast.plan.ownership import lab_of_alias
from kokofast.plan.plan import CREATE, UPDATE, Situation, parents_elsewhere
from kokofast.plan.plan import UNCHANGED as LINK_UNCHANGED
from kokofast.plan.planner import make_plan
from kokofast.topology.model import CONTAINER_KINDS
from kokofast.topology.order import ancestors
from kokofast.topology.problems import Problem
from kokofast.wire.message import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kokofast.engine.at_once import RunAll
    from kokofast.engine.result import Progress, Result
    from kokofast.engine.seen import Sight, Survey
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.operations import ConfigureEnd, Operation
    from kokofast.plan.plan import Plan
    from kokofast.topology.model import Link, Node, Topology

    See = Callable[[Kernel, Handle], Namespace]


def see_for(topology: Topology) -> See:
    """How a batch looks into a namespace: who makes mirrors has to know all that are there (see topology.copies)."""
    mirrors = any(end.mirror is not None for link in topology.links for end in link.ends)
    return partial(observe, mirrors=ALL_MIRRORS if mirrors else BESIDE_OURS)


class Paths:
    """Where the namespaces of nodes are, containers by their pids; and why some nodes have none, by name."""

    def __init__(self, lab: str, nodes: Mapping[str, Node], pids: Mapping[str, int]) -> None:
        self._lab = lab
        self.nodes: dict[str, list[Node]] = {}
        self.unresolved: dict[str, str] = {}
        for node in nodes.values():
            try:
                if node.kind not in CONTAINER_KINDS:
                    self.nodes.setdefault(local.path_of(node), []).append(node)
                elif node.name in pids:
                    self.nodes.setdefault(namespace_path(pids[node.name]), []).append(node)
            except ValueError as error:
                self.unresolved[node.name] = str(error)

    async def look(self, kernel: Kernel, run: RunAll, see: See, progress: Progress | None) -> list[Sight]:
        """What is to be seen at each path."""
        return await look(kernel, list(self.nodes), run, see=see, settle=self._settle, progress=progress)

    def take_in(self, survey: Survey, sights: Sequence[Sight]) -> None:
        """Puts what was seen at each path into the survey."""
        for (path, same), sight in zip(self.nodes.items(), sights, strict=True):
            if not isinstance(sight, OSError):
                number = survey.add(*sight)
                survey.places.update((node.name, number) for node in same)
            elif (
                isinstance(sight, FileNotFoundError) and any(node.create for node in same) and not os.path.islink(path)
            ):
                number = survey.add_missing()
                survey.places.update((node.name, number) for node in same)
            else:
                self.unresolved |= {node.name: local.explain(node, sight) for node in same}

    def _settle(self, path: str, error: OSError) -> OSError | None:
        """Why there is no namespace at a path: ENOENT where one can be made. None while somebody is making or removing
        one there, so that a second look is needed."""
        nodes = self.nodes[path]
        if error.errno not in (errno.EINVAL, errno.ESTALE) or all(node.kind != "netns" for node in nodes):
            return error
        if error.errno == errno.ESTALE:
            return None
        claim = host.claimed(path)
        if claim is None:  # gone or a namespace by now; or empty, as 'ip netns add' makes it first
            return None if host.read_plain(path) in (None, "") else error
        lab = lab_of_alias(claim)
        # What a killed run of this lab has claimed is taken over; what another run is about to make is waited for.
        if lab is not None and (lab == self._lab or is_locked(lab)):
            return FileNotFoundError(errno.ENOENT, claim, path) if any(node.create for node in nodes) else error
        return error if host.claimed(path) == claim else None


def blame(survey: Survey, nodes: Mapping[str, Node], unresolved: Mapping[str, str]) -> None:
    """Makes problems of the nodes that do not resolve."""
    for node in nodes.values():
        if node.name in unresolved:
            survey.places.pop(node.name, None)
            survey.unresolved.append(node.name)
            survey.problems.append(Problem(node.place, f"node {node.name}: {unresolved[node.name]}"))


def plan_of(topology: Topology, survey: Survey, kernel: Kernel, dry_run: bool = False) -> Plan:
    """The plan, or the problems of nodes and links. That of a dry run knows what is on parents from any namespace, else
    it is those of the file: what the kernel refuses is looked for then."""
    if survey.problems:
        # Links between nodes that do resolve are checked all the same: every error of the file is shown at once.
        topology, _ = leave_out(topology, survey)
    situation = Situation(survey.places, survey.observed, kernel.boot_id())
    pairs, new = parents_elsewhere(topology, situation)
    situation.nsids = _nsids(pairs, survey, kernel)
    situation.elsewhere = _elsewhere(new, survey, kernel, everywhere=dry_run) if new else {}
    plan = make_plan(topology, situation)
    plan.problems[:0] = survey.problems
    return plan


def _nsids(pairs: Iterable[tuple[int, int]], survey: Survey, kernel: Kernel) -> dict[tuple[int, int], int | None]:
    found: dict[tuple[int, int], int | None] = {}
    for here, there in pairs:
        if survey.handles[there] is not None:
            try:
                found[here, there] = survey.nsid(kernel, here, there)
            except (KernelError, OSError):  # then the index has to do
                continue
    return found


def _elsewhere(
    parents: Iterable[int], survey: Survey, kernel: Kernel, *, everywhere: bool
) -> dict[int, list[tuple[str, Interface]]]:
    from kokofast.engine import elsewhere  # only who makes links on parents pays for it

    titles = {number: name for name, number in reversed([*survey.places.items()])}
    seen = [
        (titles.get(number) or "this namespace", handle, namespace)
        for number, (handle, namespace) in enumerate(zip(survey.handles, survey.observed, strict=True))
        if handle is not None and namespace is not None
    ]
    handles = {number: handle for number in parents if (handle := survey.handles[number]) is not None}
    more = elsewhere.everywhere(kernel, {handle.identity for _, handle, _ in seen}) if everywhere else ()
    return elsewhere.on_parents(kernel, handles, chain(seen, more))


def leave_out(topology: Topology, survey: Survey) -> tuple[Topology, Counter[str]]:
    """The topology without the nodes that do not resolve and the links that cannot be made without them; and how many
    of those each node has. Links whose parent, or what they mirror, is an end of such a link are among them."""
    reasons: dict[int, str] = {}
    waiting: list[int] = []
    leaning: dict[tuple[int, str], list[int]] = {}
    for number, link in enumerate(topology.links):
        missing = [node for node in _nodes(link) if node not in survey.places]
        if missing:
            reasons[number] = missing[0]
            waiting.append(number)
        for node, ifname in _needs(link):
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
    return topology.part(nodes, tuple(links)), Counter(reasons.values())


def _needs(link: Link) -> list[tuple[str, str]]:
    """(node, interface) of what has to be there before the link: its parent, and what its ends mirror."""
    parent = link.parent
    mirrored = [(end.node, end.mirror.source) for end in link.ends if end.mirror is not None]
    return mirrored if parent is None else [parent, *mirrored]


def _nodes(link: Link) -> list[str]:
    parent = link.parent
    return [end.node for end in link.ends] + ([] if parent is None else [parent[0]])


def is_to_do(topology: Topology, plan: Plan, result: Result, dry_run: bool = False) -> bool:
    """Puts into the result what is known before the work; whether there is some."""
    _count(result, plan)
    if plan.problems:
        result.status = INVALID
        result.errors = list(map(failure_of, topology.in_order(plan.problems)))
        if dry_run:
            result.planned = _rest_of(plan)
        return False
    if dry_run:
        result.status = PLANNED if plan.operations else UNCHANGED
        result.links["created"] = plan.actions.count(CREATE)
        result.links["updated"] = plan.actions.count(UPDATE)
        result.namespaces["created"] = sum(isinstance(one, MakeNamespace) for one in plan.operations)
        result.planned = describe(plan, plan.operations)
        result.notes = plan.notes + (crowded(topology) if plan.operations else [])
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


def _rest_of(plan: Plan) -> list[str]:
    """What there would be to do for the links without a problem, as lines for people."""
    faulty = {place for problem in plan.problems for place in ancestors(problem.place)}
    links = plan.topology.links
    return describe(
        plan,
        [
            one
            for one in plan.rest or plan.operations  # those, where the plan itself has no problems
            if isinstance(one, MakeNamespace) or links[one.link].place not in faulty
        ],
    )


def describe(plan: Plan, operations: Sequence[Operation]) -> list[str]:
    """Operations of a plan as lines for people: + for what comes, ~ for what changes."""
    topology = plan.topology
    lines: list[str] = []
    changed: set[int] = set()
    for operation in operations:
        if isinstance(operation, MakeNamespace):
            lines.append(f"+ namespace {operation.name}")
        elif isinstance(operation, CreateLink):
            link = topology.links[operation.link]
            lines.append(f"+ {link.kind} {link.title()}")
        elif isinstance(operation, AddMirror) and not operation.directions and operation.mtu is not None:
            end = topology.links[operation.link].ends[operation.end]
            lines.append(f"~ {end.node}:{operation.source.ifname} mtu {operation.mtu[1]} -> {operation.mtu[0]}")
        elif isinstance(operation, (AddMirror, RemoveMirror)):
            end = topology.links[operation.link].ends[operation.end]
            sign = "+" if isinstance(operation, AddMirror) else "-"
            way = " and ".join(sorted(operation.directions))
            lines.append(f"{sign} mirror {way} of {end.node}:{operation.source.ifname} to {end.ifname}")
        elif plan.actions[operation.link] == UPDATE:
            changed.add(operation.link)
            end = topology.links[operation.link].ends[operation.end]
            lines.append(f"~ {end.node}:{end.ifname} {_describe_change(operation)}")
    return lines


def _describe_change(operation: ConfigureEnd) -> str:
    change = operation.change
    before = operation.undo.attributes if operation.undo is not None else {}
    parts = [_describe_value(name, before.get(name), value) for name, value in change.attributes.items()]
    if change.up is not None:
        parts.append("up" if change.up else "down")
    parts += [f"+{_text(address.packed, address.prefixlen)}" for address in change.add]
    parts += [f"-{_text(address.packed, address.prefixlen)}" for address in change.remove]
    return ", ".join(parts)


def _describe_value(name: str, before: object, value: object) -> str:
    if isinstance(value, bytes) and isinstance(before, bytes):
        return f"{'mac' if name == 'address' else name} {before.hex(':')} -> {value.hex(':')}"
    if isinstance(value, dict):
        return "addr_gen_mode"
    return name if isinstance(value, str) else f"{name} {before} -> {value}"


def _text(packed: bytes, prefixlen: int) -> str:
    import ipaddress

    return f"{ipaddress.ip_address(packed)}/{prefixlen}"
