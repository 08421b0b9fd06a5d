"""The short way of planning changes in place decides as the long one does, or leaves the decision to that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.ends.impairments import RootQdisc
from kokofast.ends.shaping import shaper_for
from kokofast.plan.in_place import plan_in_place
from kokofast.plan.observed import Interface, Namespace
from kokofast.plan.operations import ConfigureEnd
from kokofast.plan.ownership import alias_of, group_of, root_handle
from kokofast.plan.plan import Plan, Situation
from kokofast.plan.planner import make_plan
from kokofast.topology import load
from kokofast.topology.model import Topology

HANDLE = root_handle("lab")


def topology(first: Mapping[str, object], second: Mapping[str, object], **link: object) -> Topology:
    ends = [{"node": "a", "interface": "e0", **first}, {"node": "b", "interface": "e0", **second}]
    return load(json.dumps({"name": "lab", "links": [{"endpoints": ends, **link}]}).encode(), filename="lab.json")


def situation(wanted: Topology, roots: tuple[RootQdisc | None, RootQdisc | None], **more: Any) -> Situation:
    """The link is there, with these root qdiscs."""
    found = []
    for number, root in enumerate(roots):
        values = {"alias": alias_of("lab", wanted.links[0]), "group": group_of("lab"), "txqlen": 1000, **more}
        interface = Interface(5, "e0", kind="veth", mtu=1500, up=True, peer=5, more={"qdisc": root}, **values)
        found.append(Namespace((4, number), {"e0": interface}))
    return Situation({"a": 0, "b": 1}, found, "boot")


def shown(plan: Plan) -> object:
    operations = [
        (one.link, one.end, str(one.interface), [(s.name, s.value, s.before) for s in change.properties])
        for one in plan.operations
        if isinstance(one, ConfigureEnd)
        for change in (one.change, one.undo)
        if change is not None
    ]
    return plan.actions, operations, plan.problems, plan.stages(), plan.after


def root_of(values: dict[str, int] | None, handle: int = HANDLE) -> RootQdisc | None:
    shaper = shaper_for(values, 1500) if values is not None else None
    return None if shaper is None else RootQdisc(shaper.kind, handle, shaper)


FIELDS = st.fixed_dictionaries(
    {}, optional={"rate": st.sampled_from(["0bit", "1mbit", "2mbit"]), "delay": st.sampled_from(["1ms", "20ms"])}
)
ROOTS = st.one_of(
    st.none(),
    st.builds(root_of, st.fixed_dictionaries({"rate": st.sampled_from([125_000, 250_000])})),
    st.builds(root_of, st.just({"delay": 10**6})),
    st.just(RootQdisc("fq", 0x80010000, None)),
)


@given(FIELDS, FIELDS, ROOTS, ROOTS)
def test_both_decide_alike(
    first: dict[str, object], second: dict[str, object], one: RootQdisc | None, other: RootQdisc | None
) -> None:
    wanted = topology(first, second)
    short = plan_in_place(wanted, situation(wanted, (one, other)))
    assert short is not None
    assert shown(short) == shown(make_plan(wanted, situation(wanted, (one, other))))


@pytest.mark.parametrize("more", [{"alias": "kokofast:lab:x"}, {"alias": ""}, {"group": 0}, {"txqlen": 0}])
def test_what_is_not_as_it_should_be_is_for_the_other(more: dict[str, object]) -> None:
    wanted = topology({"rate": "1mbit"}, {})
    assert plan_in_place(wanted, situation(wanted, (None, None), **more)) is None


def test_a_link_that_is_not_there_is_for_the_other() -> None:
    wanted = topology({"rate": "1mbit"}, {})
    there = situation(wanted, (None, None))
    there.observed[1].interfaces.clear()  # type: ignore[union-attr]
    assert plan_in_place(wanted, there) is None
