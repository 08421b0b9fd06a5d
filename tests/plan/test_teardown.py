"""Everything goes, with as few requests as can be, and nothing else does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.plan.operations import RemoveNamespace
from kokofast.plan.teardown import OwnedEnd, plan_teardown

GROUP = 0x4B000001
LAB = "lab"


def ends_of(*pairs: tuple[int, int], group: int = GROUP) -> list[OwnedEnd]:
    """Links between namespaces; the ifindex is 100 times the link's number and the end."""
    return [
        OwnedEnd(ns, 100 * (number + 1) + position, group, LAB, number)
        for number, pair in enumerate(pairs)
        for position, ns in enumerate(pair)
    ]


def chain(length: int) -> list[OwnedEnd]:
    return ends_of(*((number, number + 1) for number in range(length)))


def requests(ends: Sequence[OwnedEnd], removable: Mapping[int, str] | None = None) -> list[tuple[object, ...]]:
    """(namespace, group, (ifindex, link) of each) of the deletions."""
    deletions, removals = plan_teardown(ends, removable or {})
    assert [(item.ns, item.name) for item in removals if isinstance(item, RemoveNamespace)] == list(
        (removable or {}).items()
    )
    return [
        (item.ns, item.group, sorted(zip(item.ifindexes, item.links, strict=True)))
        for item in deletions
        if item.lab == LAB
    ]


def test_nothing_to_do() -> None:
    assert requests([]) == []
    assert requests([], {3: "r3"}) == []


def test_a_single_link_is_one_request() -> None:
    (request,) = requests(ends_of((0, 1)))
    assert request in [(0, GROUP, [(100, 0)]), (1, GROUP, [(101, 0)])]


def test_a_link_of_which_one_end_was_seen() -> None:
    assert requests([OwnedEnd(4, 7, GROUP, LAB, 0)]) == [(4, GROUP, [(7, 0)])]


def test_a_link_with_one_end_is_asked_for_also_where_its_namespace_goes() -> None:
    tunnels = [OwnedEnd(1, 7, GROUP, LAB, 5), OwnedEnd(2, 8, GROUP, LAB, 6), OwnedEnd(2, 9, GROUP, LAB, 7)]
    found = requests([*ends_of((1, 2)), *tunnels], {1: "r1", 2: "r2"})
    assert sorted(found) == [(1, GROUP, [(7, 5), (100, 0)]), (2, GROUP, [(8, 6), (9, 7), (101, 0)])]


def test_a_chain_takes_every_second_namespace() -> None:
    found = requests(chain(10))
    assert len(found) <= 6
    places = [request[0] for request in found]
    assert len(set(places)) == len(places)
    long = requests(chain(1000))
    assert len(long) <= 667  # greedy; 500 would be the fewest


def test_a_star_is_one_request() -> None:
    leaves = [(0, number) for number in range(1, 50)]
    (request,) = requests(ends_of(*leaves))
    assert request == (0, GROUP, [(100 * (number + 1), number) for number in range(49)])


def test_all_in_one_namespace_is_one_request_that_knows_both_ends() -> None:
    # Were only one end of each known, the other would look like a stranger in the group.
    (request,) = requests(ends_of((0, 0), (0, 0), (0, 0)))
    assert request == (0, GROUP, [(100, 0), (101, 0), (200, 1), (201, 1), (300, 2), (301, 2)])


def test_one_link_with_both_ends_in_one_namespace() -> None:
    assert requests(ends_of((0, 0))) == [(0, GROUP, [(100, 0), (101, 0)])]


def test_a_group_request_knows_the_ends_that_go_with_another_one() -> None:
    # Everyone joined to everyone: whichever namespace is asked first, the second still sees its end of that link.
    pairs = [(a, b) for a in range(5) for b in range(a)]
    ends = ends_of(*pairs)
    for request in requests(ends):
        assert request[2] == sorted((end.ifindex, end.link) for end in ends if end.ns == request[0])


def test_between_removable_namespaces_nothing_is_asked() -> None:
    assert requests(chain(3), {0: "r0", 1: "r1", 2: "r2", 3: "r3"}) == []


def test_where_one_end_stays_it_is_asked_there() -> None:
    assert requests(ends_of((0, 1)), {1: "r1"}) == [(0, GROUP, [(100, 0)])]
    assert requests(ends_of((0, 1), (0, 2)), {1: "r1", 2: "r2"}) == [(0, GROUP, [(100, 0), (200, 1)])]


def test_a_namespace_that_goes_is_asked_where_most_of_its_ends_have_to_go_now() -> None:
    """As that of a segment's bridge, whose other ends are in namespaces that stay."""
    everything = [(100, 0), (200, 1), (300, 2)]
    assert requests(ends_of((0, 1), (0, 2), (0, 3)), {0: "r0"}) == [(0, GROUP, everything)]
    # Here most go with the namespaces, all at once, and the others are asked where their ends stay.
    ends = ends_of((0, 1), (0, 2), (0, 4), (0, 4), (0, 4))
    assert sorted(requests(ends, {0: "r0", 4: "r4"})) == [(1, GROUP, [(101, 0)]), (2, GROUP, [(201, 1)])]


def test_two_labs_in_one_namespace_are_two_groups() -> None:
    ends = ends_of((0, 1), (0, 2)) + [
        OwnedEnd(end.ns, end.ifindex + 1000, GROUP + 1, LAB, end.link + 10) for end in ends_of((0, 1), (0, 2))
    ]
    assert sorted(request[:2] for request in requests(ends)) == [(0, GROUP), (0, GROUP + 1)]


def test_of_two_labs_in_one_group_any_of_ours_goes() -> None:
    ends = [OwnedEnd(0, 7, GROUP, "lab", 1), OwnedEnd(0, 8, GROUP, None, 2), OwnedEnd(1, 9, GROUP, "lab", 3)]
    deletions, _ = plan_teardown(ends, {})
    assert {item.ns: item.lab for item in deletions} == {0: None, 1: "lab"}


def test_three_interfaces_under_one_number_are_each_asked_for() -> None:
    ends = [OwnedEnd(ns, 10 + ns, GROUP, LAB, 7) for ns in range(3)]
    assert sorted(requests(ends)) == [(0, GROUP, [(10, 7)]), (1, GROUP, [(11, 7)]), (2, GROUP, [(12, 7)])]
    assert sorted(requests(ends, {1: "r1"})) == [(0, GROUP, [(10, 7)]), (2, GROUP, [(12, 7)])]
    assert requests(ends, {0: "r0", 1: "r1", 2: "r2"}) == []


@st.composite
def labs(draw: st.DrawFn) -> tuple[list[OwnedEnd], dict[int, str]]:
    """Any links among a few namespaces, of some only one end seen, some namespaces to be removed."""
    places = st.integers(0, 7)
    ends: list[OwnedEnd] = []
    for number, pair in enumerate(draw(st.lists(st.tuples(places, places), max_size=25))):
        group = GROUP + draw(st.integers(0, 1))
        seen = draw(st.sampled_from([(0,), (1,), (0, 1), (0, 1), (0, 1)]))
        ends += [OwnedEnd(pair[position], 2 * number + position + 2, group, LAB, number) for position in seen]
    removable = {ns: f"r{ns}" for ns in draw(st.sets(places))}
    return ends, removable


def needed(ends: Sequence[OwnedEnd], removable: Mapping[int, str]) -> set[int]:
    """The links that do not go with the removed namespaces at once."""
    seen = Counter(end.link for end in ends)
    return {end.link for end in ends if end.ns not in removable or seen[end.link] == 1}


@given(labs())
@settings(max_examples=200)
def test_all_goes_and_nothing_else(lab: tuple[list[OwnedEnd], dict[int, str]]) -> None:
    ends, removable = lab
    deletions, removals = plan_teardown(ends, removable)
    asked: set[int] = set()
    places: list[object] = []
    for item in deletions:
        # All of ours in the group and nothing else, for the engine compares it with what is there.
        here = {(end.ifindex, end.link) for end in ends if (end.ns, end.group) == (item.ns, item.group)}
        assert set(zip(item.ifindexes, item.links, strict=True)) == here
        places.append((item.ns, item.group))
        asked |= {link for _, link in here}
    assert len(set(places)) == len(places)
    assert needed(ends, removable) <= asked
    # A removed namespace is asked only for what stands on something elsewhere, or if most of it has to go now.
    alone = {end.ns for end in ends if sum(other.link == end.link for other in ends) == 1}
    for item in deletions:
        if item.ns in removable and item.ns not in alone:
            assert 2 * len(set(item.links) & needed(ends, removable)) > len(item.links)
    assert {item.ns for item in removals if isinstance(item, RemoveNamespace)} == set(removable)


@given(labs())
@settings(max_examples=100)
def test_never_more_requests_than_links(lab: tuple[list[OwnedEnd], dict[int, str]]) -> None:
    ends, removable = lab
    deletions, _ = plan_teardown(ends, removable)
    assert len(deletions) <= len(needed(ends, removable))
