"""The last two stages of a plan: what cannot be undone exactly, and what cannot be undone."""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.operations import Change, ConfigureEnd
from kokofast.plan.plan import UNCHANGED, UPDATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.plan.plan import Plan, Situation
    from kokofast.plan.planned_state import Prospect


def add_last(
    plan: Plan, situation: Situation, prospect: Prospect, last: Sequence[ConfigureEnd], final: list[ConfigureEnd]
) -> None:
    """Add the operations of the last two stages to the plan, after all others.

    The kernel may refuse the changes in last, and does not refuse those in final.
    """
    plan.last = len(plan.operations)
    for mirror, after in prospect.mirrors_last:
        plan.add(mirror, after)
    for operation in last:
        plan.add(operation)
    plan.final = len(plan.operations)
    for peer in prospect.lowered_peers.values():
        lower = Change({"mtu": prospect.cap_of(peer.reference)})
        undo = Change({"mtu": peer.interface.mtu}) if peer.interface is not None else None
        plan.add(ConfigureEnd(peer.number, peer.position, peer.reference, lower, undo))
    if prospect.mirrors_last:
        _follow_lowered_parents(plan, situation, prospect, final)
    for operation in final:
        change = operation.change
        room = prospect.cap_of(operation.interface)
        if room is not None and "mtu" in change.attributes:  # a mirror lowers it before
            mtu = min(room, change.attributes["mtu"])  # type: ignore[call-overload]
            change = Change({**change.attributes, "mtu": mtu}, change.up, change.add, change.remove, change.properties)
        plan.add(ConfigureEnd(operation.link, operation.end, operation.interface, change, operation.undo))


def _follow_lowered_parents(plan: Plan, situation: Situation, prospect: Prospect, final: list[ConfigureEnd]) -> None:
    """Lower the links that get their MTU from a parent which a mirror lowers."""
    for planned in prospect.ends:  # parents first
        parent = situation.parent_of(planned.link)
        room = None if parent is None else prospect.cap_of(parent)
        before = prospect.mtu_of(planned.reference)
        if room is None or before is None or planned.link.ends[planned.position].mtu is not None:
            continue
        kind = KINDS[planned.link.kind]
        overhead = kind.overhead(planned.link)
        mtu = max(room - overhead, kind.mtu[0])
        if mtu < before:
            prospect.lowers(planned.reference, mtu)
            if not overhead:  # the kernel lowers it with its parent
                continue
            undo = None if planned.interface is None else Change({"mtu": planned.interface.mtu})
            change = Change({"mtu": mtu})
            final.append(ConfigureEnd(planned.number, planned.position, planned.reference, change, undo))
            if plan.actions[planned.number] == UNCHANGED:
                plan.actions[planned.number] = UPDATE
