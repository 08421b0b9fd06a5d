"""Nodes that do not resolve, a stopped container say, and what becomes of the links of the others with keep_going."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kokofast.engine.failures import failures_of_dependents
from kokofast.engine.groundwork import leave_out
from kokofast.engine.snapshot import Survey
from kokofast.plan.observed import Namespace
from kokofast.topology.model import Topology
from tests.engine.conftest import KernelFactory
from tests.engine.labs import Links, lab
from tests.runs import apply

MISSING = (
    "node b: there is no network namespace 'b'; make it with 'ip netns add', or have it made by \"create\": true in "
)
LINKS: Links = [
    {"endpoints": ["a:e0", "b:e0"]},
    {"endpoints": ["a:e1", "c:e1"]},
    {"endpoints": ["b:e2", "b:e3"]},
    {"endpoints": ["c:e4", "a:e4"]},
]


def wanted(links: Links = LINKS) -> Topology:
    return lab(links, create=False)


async def test_links_of_nodes_that_are_there_are_made(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "c")
    for status in ("created", "unchanged"):  # and the next run has nothing to do for them
        result = await apply(wanted(), kernel=kernel, keep_going=True)
        assert result.status == "partial"
        assert result.links == {"total": 4, "created": 0, "updated": 0, "unchanged": 0, "failed": 2, status: 2}
        (told,) = result.errors
        assert (told.source, told.message[: len(MISSING)]) == ("$.links[0].endpoints[1]", MISSING)
        assert told.message.endswith("; links that need it: 2")
        assert (told.position, told.errno) == ("lab.json:1:81", None)
        assert kernel.links_of("a") == ["e1", "e4"]
        assert result.left == []
    kernel.namespaces["/run/netns/b"] = kernel._new()
    result = await apply(wanted(), kernel=kernel, keep_going=True)
    assert (result.status, result.links["created"], result.links["unchanged"]) == ("applied", 2, 2)


async def test_without_keep_going_nothing_is_touched(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "c")
    result = await apply(wanted(), kernel=kernel)
    assert (result.status, [error.source for error in result.errors]) == ("invalid", ["$.links[0].endpoints[1]"])
    assert kernel.links_of("a") == []


async def test_a_dry_run_shows_the_rest(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "c")
    result = await apply(wanted(), kernel=kernel, keep_going=True, dry_run=True)
    assert (result.status, len(result.errors)) == ("partial", 1)
    assert list(map(str, result.planned)) == ["+ veth a:e1--c:e1", "+ veth c:e4--a:e4"]
    assert kernel.links_of("a") == []


async def test_a_dry_run_without_keep_going_shows_the_rest_too(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "c")
    result = await apply(wanted(), kernel=kernel, dry_run=True)
    assert (result.status, len(result.errors)) == ("invalid", 1)
    assert list(map(str, result.planned)) == ["+ veth a:e1--c:e1", "+ veth c:e4--a:e4"]


async def test_where_no_link_is_left_nothing_is_done(make_kernel: KernelFactory) -> None:
    result = await apply(wanted(LINKS[:1]), kernel=make_kernel("a"), keep_going=True)
    assert (result.status, len(result.errors)) == ("invalid", 1)


async def test_what_else_is_wrong_is_told_with_it(make_kernel: KernelFactory) -> None:
    kernel = make_kernel("a", "c")
    kernel["a"].add("e1")
    result = await apply(wanted(), kernel=kernel, keep_going=True)
    assert result.status == "invalid"
    assert [error.message[: len(MISSING)] for error in result.errors] == [
        MISSING,
        "a already has an interface e1, not ours",
    ]
    assert all(error.position for error in result.errors)
    assert kernel.links_of("a") == ["e1"]


def survey(links: Links, *missing: str, **there: Any) -> tuple[list[str], dict[str, int]]:
    """The links that are left, and how many each node takes along."""
    topology = lab(links, create=False)
    found = Survey()
    for name in topology.nodes:
        if name not in missing:
            found.places[name] = len(found.observed)
            found.handles.append(None)
            found.observed.append(Namespace((4, len(found.observed)), there.get(name, {})))
    rest, lost = leave_out(topology, found)
    assert not set(missing) & set(rest.nodes)
    return [link.title() for link in rest.links], lost


STACKED: Links = [
    {"type": "macvlan", "endpoint": "c:m1", "parent": "a:m0"},
    {"type": "macvlan", "endpoint": "a:m0", "parent": "a:e0"},
    {"endpoints": ["a:e0", "b:e0"]},
    {"endpoints": [{"node": "c", "interface": "x", "mirror": {"from": "m1", "direction": "ingress"}}, "a:x"]},
    {"type": "macvlan", "endpoint": "c:m2", "parent": "c:up"},
]


def test_links_that_stand_on_one_that_is_left_out_are_left_out() -> None:
    assert survey(STACKED, "b") == (["c:m2"], {"b": 4})


def test_what_is_there_bears_them_all_the_same() -> None:
    rest, lost = survey(STACKED, "b", a={"e0": object()})
    assert len(rest) == 4
    assert lost == {"b": 1}


def test_a_long_stack_is_left_out() -> None:
    count = 2000
    stack: Links = [{"type": "macvlan", "endpoint": f"a:m{n}", "parent": f"a:m{n + 1}"} for n in range(count)]
    rest, lost = survey([*stack, {"endpoints": [f"a:m{count}", "b:e0"]}, {"endpoints": ["a:y", "a:z"]}], "b")
    assert (rest, lost) == (["a:y--a:z"], {"b": count + 1})


def test_what_goes_with_a_refused_link_is_one_error_with_its_position() -> None:
    topology = lab([{"endpoints": [f"a:x{number}", f"b:x{number}"]} for number in range(9)])
    applied: Any = SimpleNamespace(topology=topology)
    assert failures_of_dependents(applied, set()) == []
    (told,) = failures_of_dependents(applied, {7, 3, 4})
    assert (told.source, told.message) == (
        "$.links[3]",
        "a:x3--b:x3: its parent, or what it mirrors, was not made; the same is true of 2 more links",
    )
    assert told.position.startswith("lab.json:1:")
