"""batch --replace: delete links that cannot be changed in place, before their successors are made.

After a failure they are made again, with all that they had (engine.give_back).
"""

from __future__ import annotations

from kokofast.ends import ATTRIBUTES
from kokofast.engine import elsewhere
from kokofast.engine.result import Failure
from kokofast.engine.tear_down import tear_down
from kokofast.ops import offload
from kokofast.ops.dumps import look_into
from kokofast.ops.foreign import find_foreign
from kokofast.ops.link_local import settings_of
from kokofast.plan.observed import lower_of
from kokofast.plan.obstacles import report_obstacles
from kokofast.plan.ownership import cookie_of, is_marked
from kokofast.plan.planner import make_plan
from kokofast.plan.remainder import without
from kokofast.plan.replacement import Replacement
from kokofast.plan.teardown import OwnedEnd
from kokofast.topology.problems import Problem
from kokofast.wire.link import ADDR_GEN_MODE_NONE
from kokofast.wire.message import KernelError, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.engine.snapshot import Survey
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.ops.journal import Applied
    from kokofast.plan.observed import Namespace
    from kokofast.plan.plan import Conflict, Plan, Situation
    from kokofast.topology.model import Topology

    See = Callable[[Kernel, Handle], Namespace]

# Deleting a link may uncover another conflict, and a namespace that is found may have another link.
ATTEMPTS = 4


def plan_replacing(
    plan: Plan, topology: Topology, situation: Situation, survey: Survey, kernel: Kernel, see: See
) -> Plan:
    """Return the plan to make after the links in the way have been deleted.

    It has the problems of those that cannot be replaced. The survey gets the namespaces in which further ends were
    found, and has what will be there when the links are deleted.
    """
    conflicts: list[Conflict] = []
    titles: dict[int, str] = {}
    for _ in range(ATTEMPTS):
        conflicts += plan.conflicts
        found = _find(conflicts, topology, situation, survey, kernel, see, titles)
        after = without(found)
        plan = make_plan(topology, after)
        if not plan.conflicts:
            break
    found.finish()
    report_obstacles(found)
    _find_foreign(found, survey, kernel)
    found.settle(plan)
    survey.replacement = found
    survey.observed = list(after.observed)
    return plan


def _find(
    conflicts: list[Conflict],
    topology: Topology,
    situation: Situation,
    survey: Survey,
    kernel: Kernel,
    see: See,
    titles: dict[int, str],
) -> Replacement:
    """Find the links in the way, with all that is on them, wherever it is."""
    nsids: dict[tuple[int, int], int | None] = {}
    unknown: set[tuple[int, int]] = set()

    def has_nsid(here: int, there: int, nsid: int) -> bool:
        """Whether a namespace has this nsid in another one, as far as that is known."""
        if (here, there) not in nsids:
            try:
                nsids[here, there] = survey.nsid(kernel, here, there)
            except (KernelError, OSError):
                nsids[here, there] = None
                unknown.add((here, there))
        return (here, there) in unknown or nsids[here, there] == nsid

    while True:
        found = Replacement(topology, situation, has_nsid)
        found.titles |= titles
        found.add(conflicts)
        if not _look_elsewhere(found, survey, kernel, see, titles):
            break
    for ns in titles:
        namespace, handle = survey.observed[ns], survey.handles[ns]
        if handle is not None and namespace is not None and is_marked(namespace, topology.name):
            from kokofast.ops.routers import observe_router

            with kernel.using([handle]):
                found.routers[ns] = observe_router(kernel, handle, namespace, topology.name)
    return found


def _look_elsewhere(found: Replacement, survey: Survey, kernel: Kernel, see: See, titles: dict[int, str]) -> bool:
    """Add the namespaces with a peer, a parent or a child of a replaced interface; return whether there are some."""
    wanted, replaced = found.missing()
    known = {handle.identity for handle in survey.handles if handle is not None}
    paths = [
        (title, handle.path)
        for title, handle, namespace in elsewhere.everywhere(kernel, known)
        if any(item.ifindex in wanted or lower_of(item) in replaced for item in namespace.interfaces.values())
    ]
    before = len(titles)
    for title, path in paths:
        sight = look_into(kernel, kernel.open_all([path])[0], see)
        if not isinstance(sight, OSError):
            titles[survey.add(*sight)] = title
    return len(titles) > before


def _find_foreign(found: Replacement, survey: Survey, kernel: Kernel) -> None:
    """Report what others have put on the interfaces."""
    for ns, indexes in found.indexes().items():
        handle = survey.handles[ns]
        assert handle is not None
        ends = {item.ifindex: (old, item) for old in found.old for there, item in old.ends if there == ns}
        interfaces = {index: ends[index][1] for index in indexes}
        try:
            with kernel.using([handle]):
                modes = settings_of(kernel, handle, interfaces)
                for index, features in offload.settings_of(kernel, handle, interfaces).items():
                    interfaces[index].more = {**interfaces[index].more, ATTRIBUTES["offload"]: features}
            found.without_link_local.update(
                (ns, index) for index, one in modes.items() if one.mode == ADDR_GEN_MODE_NONE
            )
            for index, fact, cure in find_foreign(kernel, handle, interfaces, found.topology.name):
                found.report(ends[index][0], ns, ends[index][1], fact, cure)
        except (KernelError, OSError) as error:
            old = next(old for old, _ in ends.values())
            why = getattr(error, "strerror", None) or error
            text = f"what is in the namespace of a link to be replaced cannot be read: {why}"
            found.problems.append(Problem(found.where(old), text))


async def remove_replaced(applied: Applied, driver: Driver, progress: Progress | None) -> list[Failure]:
    """Delete the links that are replaced, and the mirrors to them; return what could not be deleted."""
    found = applied.replacement
    assert found is not None
    executor, lab = applied.executor, found.topology.name
    failures: list[Failure] = []
    cookies = {cookie_of(lab, item.alias)[:-1] for old in found.old for _, item in old.ends}
    for ns in sorted({ns for ns, mirror in found.mirrors() if mirror.cookie[:-1] in cookies}):
        from kokofast.ops.mirror import remove_all

        refusal = remove_all(executor, ns, lambda item: item.cookie[:-1] in cookies)
        if refusal is not None:
            failures.append(
                Failure("", f"{found.titles[ns]}: a mirror cannot be removed: {words_of(refusal)}", refusal.errno)
            )
    if failures:
        return failures
    # The kernel deletes a link together with its parent.
    roots = [old for old in found.old if old.parent is None or not found.is_replaced(old.parent.ns, old.parent.ifname)]
    ends = [
        OwnedEnd(ns, item.ifindex, item.group, lab, number) for number, old in enumerate(roots) for ns, item in old.ends
    ]
    done = await tear_down(executor, ends, {}, driver, progress=progress)
    return [
        Failure(
            found.where(roots[number]),
            f"{found.name_of(roots[number])} cannot be deleted: {words_of(refusal)}",
            refusal.errno,
        )
        for number, refusal in sorted(done.failed_links.items())
    ]
