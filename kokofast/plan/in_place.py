"""Plan changes of properties that are set in place, and of nothing else: a timeline has thousands a second."""

from __future__ import annotations

from kokofast.ends import ENDS
from kokofast.ends.property import NOW
from kokofast.plan.operations import Change, ConfigureEnd, IfRef, Setting
from kokofast.plan.ownership import alias_of, group_of
from kokofast.plan.plan import UNCHANGED, UPDATE, Plan
from kokofast.plan.properties import Properties

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.plan.plan import Situation
    from kokofast.topology.model import Topology


def plan_in_place(topology: Topology, situation: Situation) -> Plan | None:
    """Return the plan that make_plan() would make, in a third of the time; None if only make_plan() can.

    The caller must know that everything else of these links is up to date.
    """
    plan = Plan(topology)
    plan.actions = [UNCHANGED] * len(topology.links)
    properties = Properties(topology, situation)
    group = group_of(topology.name)
    for number, link in enumerate(topology.links):
        if link.parent is not None:
            return None
        alias = alias_of(topology.name, link)
        for position, end in enumerate(link.ends):
            reference = IfRef(situation.places[end.node], end.ifname)
            interface = situation.find(reference)
            if interface is None or interface.group != group or interface.alias != alias or interface.txqlen == 0:
                return None
            mtu = end.mtu if end.mtu is not None else interface.mtu
            settings, problems = properties.plan(link, end, reference, interface, mtu)
            plan.problems += problems
            if any(one.restarts or ENDS[one.name].stage != NOW for one in settings):
                return None
            if settings:
                back = tuple(Setting(one.name, one.before, one.value) for one in settings)
                change, undo = Change(properties=settings), Change(properties=back)
                plan.actions[number] = UPDATE
                plan.add(ConfigureEnd(number, position, reference, change, undo))
    plan.last = plan.final = len(plan.operations)
    if plan.problems:
        plan.rest, plan.operations, plan.after = plan.operations, [], []
    return plan
