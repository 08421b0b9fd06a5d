"""What the planner decides, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from kokofast.plan.observed import Interface, MirrorFilter, Namespace
from kokofast.plan.operations import Change, ConfigureEnd, CreateLink, IfRef, MakeNamespace, MarkRef, NsRef
from kokofast.plan.ownership import BROADCAST, cookie_of, group_of, number_of
from kokofast.plan.plan import CREATE, UNCHANGED, UPDATE, Plan
from kokofast.topology.model import Link, Mirror, Node, Topology
from kokofast.topology.values import parse_address
from tests.plan.builders import (
    LAB,
    address,
    end,
    interface,
    link_alias,
    mark_of,
    namespace,
    plan,
    topology,
    unmarked,
    veth,
)

LINK = veth("r1:eth1", "r2:eth1")
ALIAS = link_alias(LINK)


def there(**fields: Any) -> tuple[Namespace, Namespace]:
    """LINK as it is after a run; fields are of its first end."""
    return namespace(0, interface("eth1", 5, 6, ALIAS, **fields)), namespace(1, interface("eth1", 6, 5, ALIAS))


def complaints(found: Plan) -> list[str]:
    assert found.operations == []
    assert found.after == []
    return [str(problem) for problem in found.problems]


def only_change(found: Plan) -> ConfigureEnd:
    assert found.problems == []
    assert found.actions == [UPDATE]
    (operation,) = found.operations
    assert isinstance(operation, ConfigureEnd)
    assert found.after == [()]
    assert operation.undo is not None
    return operation


def test_a_link_that_is_not_there_is_created() -> None:
    first = end(
        "r1:eth1", mtu=1400, mac=b"\2\0\0\0\0\1", txqlen=50, queues=2, addresses=["192.0.2.1/24", "2001:db8::1/64"]
    )
    second = end("r2:eth1", up=False, queues=None)
    link = veth(first, second)
    found = plan(topology(link), namespace(0), namespace(1))
    assert found.problems == []
    assert found.actions == [CREATE]
    assert found.after == [(), (0,), (0,)]
    create, left, right = found.operations
    assert isinstance(create, CreateLink)
    assert (create.link, create.sender) == (0, None)
    assert [(item.ns, item.ifname) for item in create.makes] == [(0, "eth1"), (1, "eth1")]
    attributes: Any = create.attributes
    info = attributes["linkinfo"]
    assert info["kind"] == "veth"
    peer = info["data"]["peer"]
    for ns, values in enumerate((attributes, peer)):
        # The address of the first end is the user's.
        name = "address" if ns else "broadcast"
        index, mark, place = values["header"]["index"], values[name], values["net_ns_fd"]
        assert isinstance(index, IfRef)
        assert isinstance(mark, MarkRef)
        assert isinstance(place, NsRef)
        assert (index.ns, index.ifname, place.ns) == (ns, "eth1", ns)
        assert (mark.interface is index, mark.group, mark.lab) == (True, group_of(LAB), number_of(LAB))
        assert values["group"] == group_of(LAB)
        assert values["ifname"] == "eth1"
    assert (attributes["mtu"], attributes["address"]) == (1400, b"\2\0\0\0\0\1")
    assert attributes["num_tx_queues"] == attributes["num_rx_queues"] == 2
    assert not {"mtu", "broadcast", "num_tx_queues", "num_rx_queues"} & set(peer)
    assert isinstance(left, ConfigureEnd)
    assert isinstance(right, ConfigureEnd)
    assert (left.end, left.interface.ns, left.undo) == (0, 0, None)
    assert left.change.attributes == {"ifalias": link_alias(link), "broadcast": BROADCAST}
    assert (left.change.up, left.change.add, left.change.remove) == (True, first.addresses, ())
    assert (right.end, right.interface.ns, right.undo) == (1, 1, None)
    assert right.change.attributes == {"ifalias": link_alias(link)}
    assert (right.change.up, right.change.add) == (None, ())


def test_a_link_that_is_as_wanted_stays() -> None:
    found = plan(topology(LINK), *there())
    assert (found.problems, found.actions, found.operations) == ([], [UNCHANGED], [])


def test_everything_as_wanted_stays() -> None:
    wanted = end("r1:eth1", mtu=1400, mac=b"\2\0\0\0\0\1", txqlen=50, queues=3, addresses=["192.0.2.1/24"])
    have = there(mtu=1400, mac=b"\2\0\0\0\0\1", txqlen=50, queues=3, addresses={"192.0.2.1/24": True})
    found = plan(topology(veth(wanted, "r2:eth1")), *have)
    assert (found.problems, found.actions, found.operations) == ([], [UNCHANGED], [])


@pytest.mark.parametrize(
    ("wanted", "have", "attributes", "before"),
    [
        ({"mtu": 1400}, {}, {"mtu": 1400}, {"mtu": 1500}),
        ({"txqlen": 50}, {}, {"txqlen": 50}, {"txqlen": 1000}),
        ({"mac": b"\2\0\0\0\0\1"}, {}, {"address": b"\2\0\0\0\0\1"}, {"address": bytes.fromhex("02aabbccdd00")}),
        ({"mtu": 1500, "txqlen": 50}, {}, {"txqlen": 50}, {"txqlen": 1000}),
        ({}, {"mtu": 9000, "txqlen": 5, "mac": b"\2\0\0\0\0\2"}, {}, {}),  # not given: whatever it is stays
    ],
)
def test_an_attribute_that_differs_is_set_and_can_be_set_back(
    wanted: dict[str, Any], have: dict[str, Any], attributes: dict[str, Any], before: dict[str, Any]
) -> None:
    found = plan(topology(veth(end("r1:eth1", **wanted), "r2:eth1")), *there(**have))
    if not attributes:
        assert (found.actions, found.operations) == ([UNCHANGED], [])
        return
    operation = only_change(found)
    assert (operation.link, operation.end, operation.interface.ns, operation.interface.ifname) == (0, 0, 0, "eth1")
    assert operation.undo is not None
    assert operation.change.attributes == attributes
    assert operation.undo.attributes == before
    assert operation.change.up is operation.undo.up is None


@pytest.mark.parametrize("up", [True, False])
def test_up_and_down(up: bool) -> None:
    operation = only_change(plan(topology(veth(end("r1:eth1", up=up), "r2:eth1")), *there(up=not up)))
    assert operation.undo is not None
    assert (operation.change.up, operation.undo.up) == (up, not up)
    assert operation.change.attributes == operation.undo.attributes == {}


@pytest.mark.parametrize(
    ("wanted", "have", "add", "remove"),
    [
        (["192.0.2.1/24"], {}, ["192.0.2.1/24"], []),
        ([], {"192.0.2.1/24": True}, [], ["192.0.2.1/24"]),
        (["192.0.2.2/24"], {"192.0.2.1/24": True}, ["192.0.2.2/24"], ["192.0.2.1/24"]),
        # The prefix length is part of it.
        (["192.0.2.1/25"], {"192.0.2.1/24": True}, ["192.0.2.1/25"], ["192.0.2.1/24"]),
        # Others' addresses stay.
        (["192.0.2.1/24"], {"198.51.100.1/24": False, "fe80::1/64": False}, ["192.0.2.1/24"], []),
        # However it is written.
        (["2001:DB8:0::1/64"], {"2001:db8::1/64": True, "2001:db8::2/64": True}, [], ["2001:db8::2/64"]),
    ],
)
def test_addresses(wanted: list[str], have: dict[str, bool], add: list[str], remove: list[str]) -> None:
    link = veth(end("r1:eth1", addresses=wanted), "r2:eth1")
    found = plan(topology(link), *there(addresses=have))
    assert (found.problems, found.actions) == ([], [UPDATE])
    operations = [item for item in found.operations if isinstance(item, ConfigureEnd)]
    assert [item.change.add for item in operations if item.change.add] == ([tuple(map(address, add))] if add else [])
    removals = [item.change.remove for item in operations if item.change.remove]
    assert removals == ([tuple(map(address, remove))] if remove else [])
    for item in operations:
        assert item.undo is not None
        assert (item.undo.add, item.undo.remove) == (item.change.remove, item.change.add)


def test_addresses_are_removed_when_all_else_is_done() -> None:
    link = veth(end("r1:eth1", addresses=["192.0.2.2/24"]), end("r2:eth1", mtu=1400))
    found = plan(topology(link), *there(addresses={"192.0.2.1/24": True, "192.0.2.3/24": True}))
    _, last, lowered = found.operations
    assert isinstance(last, ConfigureEnd)
    assert last.change.remove == tuple(map(address, ["192.0.2.1/24", "192.0.2.3/24"]))
    # So is what lowers an MTU: others may stand on the interface, and would stay low.
    assert isinstance(lowered, ConfigureEnd)
    assert lowered.change.attributes == {"mtu": 1400}
    assert (found.last, found.final) == (1, 1)


def test_an_ipv6_address_of_another_prefix_length_makes_room_first() -> None:
    link = veth(end("r1:eth1", addresses=["2001:db8::1/128"]), "r2:eth1")
    operation = only_change(plan(topology(link), *there(addresses={"2001:db8::1/64": True})))
    assert operation.change.add == (address("2001:db8::1/128"),)
    assert operation.change.remove == (address("2001:db8::1/64"),)


def test_an_address_that_someone_else_set_is_as_good_as_ours() -> None:
    link = veth(end("r1:eth1", addresses=["192.0.2.1/24"]), "r2:eth1")
    assert plan(topology(link), *there(addresses={"192.0.2.1/24": False})).actions == [UNCHANGED]


def test_addresses_keep_their_order() -> None:
    # The first of a subnet is the primary one.
    texts = ["192.0.2.9/24", "192.0.2.1/24", "192.0.2.5/24"]
    operation = only_change(plan(topology(veth(end("r1:eth1", addresses=texts), "r2:eth1")), *there()))
    assert operation.change.add == tuple(map(address, texts))


def test_both_ends_may_change() -> None:
    link = veth(end("r1:eth1", mtu=1400), end("r2:eth1", mtu=1400))
    found = plan(topology(link), *there())
    assert found.actions == [UPDATE]
    assert [(item.end, item.interface.ns) for item in found.operations if isinstance(item, ConfigureEnd)] == [
        (0, 0),
        (1, 1),
    ]


STRANGERS = {
    "plain": Interface(5, "eth1", kind="veth", peer=6),
    "of another kind": Interface(5, "eth1", kind="dummy"),
    "in our group by chance": interface("eth1", 5, 6, ""),
    "with its own words": interface("eth1", 5, 6, "uplink"),
    "of another lab": interface("eth1", 5, 6, "kokofast:other:r1:eth1--r2:eth1", group=group_of("other")),
    "with a copied alias": interface("eth1", 5, 6, ALIAS, group=0),
    "just made by another lab": interface("eth1", 5, 6, "", group=group_of("other"), broadcast=mark_of(0, 5, "other")),
    "marked in another place": unmarked("eth1", 5, 6, 1),
}


@pytest.mark.parametrize("who", STRANGERS)
def test_a_strangers_interface_is_left_alone(who: str) -> None:
    found = plan(topology(LINK), namespace(0, STRANGERS[who]), namespace(1))
    whose = {"of another lab": "of the lab other", "just made by another lab": "of another lab"}.get(who, "not ours")
    assert complaints(found) == [f"r1:eth1.ifname: r1 already has an interface eth1, {whose}"]


def test_one_problem_stops_the_whole_plan_and_all_are_told() -> None:
    links = [veth(f"r1:eth{number}", f"r2:eth{number}") for number in range(4)]
    strangers = [Interface(5 + number, f"eth{number}") for number in (1, 3)]
    found = plan(topology(*links), namespace(0, *strangers), None)
    assert complaints(found) == [
        "r1:eth1.ifname: r1 already has an interface eth1, not ours",
        "r1:eth3.ifname: r1 already has an interface eth3, not ours",
    ]


OTHER = link_alias(veth("r1:eth1", "r3:eth1"))


@pytest.mark.parametrize(
    ("left", "right", "now"),
    [
        # Only one end is there, and says what it is part of.
        (interface("eth1", 5, 6, OTHER), None, OTHER),
        (unmarked("eth1", 5, 6, 0), None, "a link without its alias yet"),
        # Both are there, but are not each other's peer.
        (interface("eth1", 5, 9, ALIAS), interface("eth1", 6, 5, ALIAS), ALIAS),
        (interface("eth1", 5, 6, ALIAS), interface("eth1", 6, 9, ALIAS), ALIAS),
        # Peers by number, but each part of another link: the numbers are those of two namespaces.
        (interface("eth1", 5, 6, OTHER), interface("eth1", 6, 5, ALIAS), OTHER),
        (interface("eth1", 5, 6, OTHER), unmarked("eth1", 6, 5, 1), OTHER),
    ],
)
def test_part_of_another_link_of_the_lab(left: Interface, right: Interface | None, now: str) -> None:
    found = plan(topology(LINK), namespace(0, left), namespace(1, *([right] if right is not None else [])))
    (complaint,) = complaints(found)
    assert complaint.startswith("r1:eth1.ifname: r1:eth1 is there as part of another link of this lab")
    assert now in complaint


@pytest.mark.parametrize(
    ("left", "right", "place", "what"),
    [
        (("eth1",), ("eth9",), "r2:eth1", "r2:eth1 of this link was renamed or moved: it is r2:eth9 by now"),
        (("eth8",), ("eth1",), "r1:eth1", "r1:eth1 of this link was renamed or moved: it is r1:eth8 by now"),
        (("eth1", "eth2"), (), "r2:eth1", "r2:eth1 of this link was renamed or moved: it is r1:eth2 by now"),
        (("eth1",), (), "r2:eth1", "r2:eth1 of this link was renamed or moved: it has left the namespaces of the file"),
        (
            ("eth8",),
            ("eth9",),
            "r1:eth1",
            "r1:eth1 and r2:eth1 of this link was renamed or moved: it is r1:eth8 and r2:eth9 by now",
        ),
    ],
)
def test_ends_that_someone_renamed_or_moved(
    left: tuple[str, ...], right: tuple[str, ...], place: str, what: str
) -> None:
    there = [
        namespace(ns, *(interface(name, 5 + n, 6 - n, ALIAS) for n, name in enumerate(names)))
        for ns, names in enumerate((left, right))
    ]
    (complaint,) = complaints(plan(topology(LINK), *there))
    assert complaint.startswith(f"{place}.ifname: {what}; put it back, or delete the link")
    # An end that is there: the one in its place, where there is one.
    ends = [(number, name) for number, names in enumerate((left, right)) for name in names]
    number, name = min(ends, key=lambda one: one[1] != "eth1")
    assert f"(kokofast -N netns-r{number + 1},{name}) or the whole lab (kokofast destroy --name {LAB})" in complaint


def test_ends_the_other_way_round_are_the_same_link() -> None:
    mirror = Mirror("lo", "both")
    for first, second in (
        (end("r1:eth1", mirror=mirror), end("r2:eth1")),
        (end("r2:eth1"), end("r1:eth1", mirror=mirror)),
    ):
        cookie = cookie_of(LAB, ALIAS)
        there = namespace(0, interface("eth1", 5, 6, ALIAS))
        there.mirrors = tuple(MirrorFilter("lo", way, cookie, target=5) for way in ("ingress", "egress"))
        other = namespace(1, interface("eth1", 6, 5, ALIAS))
        found = plan(topology(veth(first, second)), there, other, places={"r1": 0, "r2": 1})
        assert (found.problems, found.operations, found.actions) == ([], [], [UNCHANGED])


def test_ends_the_other_way_round_that_a_killed_run_left() -> None:
    turned = veth("r2:eth1", "r1:eth1")
    there = namespace(0, interface("eth1", 5, 6, ALIAS)), namespace(1, unmarked("eth1", 6, 5, 1))
    found = plan(topology(turned), *there, places={"r1": 0, "r2": 1})
    assert found.problems == []
    given = [item.change.attributes.get("ifalias") for item in found.operations if isinstance(item, ConfigureEnd)]
    assert given == [ALIAS]


def test_an_alias_without_the_group_is_no_end_of_ours_elsewhere() -> None:
    found = plan(topology(LINK), namespace(0, interface("copy", 5, 6, ALIAS, group=0)), namespace(1))
    assert (found.problems, found.actions) == ([], [CREATE])


def test_a_strangers_interface_in_the_place_of_one_that_was_moved() -> None:
    found = plan(
        topology(LINK), namespace(0, interface("eth1", 5, 6, ALIAS)), namespace(1, Interface(9, "eth1", kind="bridge"))
    )
    assert complaints(found) == ["r2:eth1.ifname: r2 already has an interface eth1, not ours"]


def test_a_run_killed_after_the_creation_is_finished() -> None:
    link = veth(end("r1:eth1", addresses=["192.0.2.1/24"]), "r2:eth1")
    found = plan(topology(link), namespace(0, unmarked("eth1", 5, 6, 0)), namespace(1, unmarked("eth1", 6, 5, 1)))
    assert (found.problems, found.actions) == ([], [UPDATE])
    for operation, ns, index in zip(found.operations, (0, 1), (5, 6), strict=True):
        assert isinstance(operation, ConfigureEnd)
        assert operation.undo is not None
        assert operation.change.attributes == {"ifalias": ALIAS, "broadcast": BROADCAST}
        assert operation.change.up is True
        # Set back, it is again what the next run knows as ours.
        assert operation.undo.attributes == {"ifalias": "", "broadcast": mark_of(ns, index)}
        assert operation.undo.up is False


def test_a_run_killed_between_the_aliases_is_finished() -> None:
    found = plan(topology(LINK), namespace(0, interface("eth1", 5, 6, ALIAS)), namespace(1, unmarked("eth1", 6, 5, 1)))
    operation = only_change(found)
    assert (operation.end, operation.interface.ns) == (1, 1)
    assert operation.change.attributes == {"ifalias": ALIAS, "broadcast": BROADCAST}


def test_what_is_finished_is_complete() -> None:
    # What the two tests above ask for, carried out: nothing is left to do.
    assert plan(topology(LINK), *there(broadcast=BROADCAST)).actions == [UNCHANGED]


@pytest.mark.parametrize(("wanted", "have", "fine"), [(1, 1, True), (1, 2, False), (4, 1, False), (None, 7, True)])
def test_queues_cannot_be_changed(wanted: int | None, have: int, fine: bool) -> None:
    found = plan(topology(veth(end("r1:eth1", queues=wanted), "r2:eth1")), *there(queues=have))
    if fine:
        assert found.actions == [UNCHANGED]
        assert found.problems == []
    else:
        (complaint,) = complaints(found)
        assert complaint.startswith(f"r1:eth1.queues: r1:eth1 is there with {have} queues")


def test_another_kind_cannot_become_this_one() -> None:
    found = plan(topology(LINK), *there(kind="macvlan"))
    (complaint,) = complaints(found)
    assert complaint.startswith("link.type: r1:eth1 is there as macvlan")


def test_two_nodes_that_are_one_namespace() -> None:
    links = veth("r1:eth1", "r2:eth1"), veth("alias-of-r1:eth1", "r2:eth2")
    places = {"r1": 0, "r2": 1, "alias-of-r1": 0}
    found = plan(topology(*links), namespace(0), namespace(1), places=places)
    assert complaints(found) == [
        "alias-of-r1:eth1.ifname: interface eth1 of node alias-of-r1 is already used by r1:eth1.ifname"
        " (node r1 is the same namespace)"
    ]


def test_two_ends_of_one_link_in_one_namespace() -> None:
    found = plan(topology(veth("r1:eth1", "same:eth1")), namespace(0), places={"r1": 0, "same": 0})
    assert len(complaints(found)) == 1
    found = plan(topology(veth("r1:eth1", "same:eth2")), namespace(0), places={"r1": 0, "same": 0})
    assert found.actions == [CREATE]


def test_namespaces_are_made_first_and_only_once() -> None:
    links = veth("r1:eth1", "r2:eth1"), veth("r2:eth2", "r3:eth1"), veth("r3:eth2", "r4:eth1")
    wanted = topology(*links, create=True)
    found = plan(wanted, namespace(0), None, None, namespace(3))
    assert found.problems == []
    made = [item for item in found.operations if isinstance(item, MakeNamespace)]
    assert [(item.ns, item.name, item.alias) for item in made] == [
        (1, "netns-r2", f"kokofast:{LAB}:namespace"),
        (2, "netns-r3", f"kokofast:{LAB}:namespace"),
    ]
    position = {id(item): number for number, item in enumerate(found.operations)}
    waits = {
        item.link: found.after[number] for number, item in enumerate(found.operations) if isinstance(item, CreateLink)
    }
    two, three = (position[id(item)] for item in made)
    assert waits == {0: (two,), 1: (two, three), 2: (three,)}
    assert found.after[two] == found.after[three] == ()


def test_one_new_namespace_under_two_names_is_made_once() -> None:
    nodes = {name: Node(name, "netns", "same", create=True) for name in ("r1", "r2")}
    wanted = Topology(LAB, nodes, (veth("r1:eth1", "r2:eth2"),))
    found = plan(wanted, None, places={"r1": 0, "r2": 0})
    assert [type(item) for item in found.operations] == [MakeNamespace, CreateLink, ConfigureEnd, ConfigureEnd]
    assert found.after[1] == (0,)


def test_everything_waits_only_for_what_stands_before_it() -> None:
    links = tuple(veth(f"r{number}:a", f"r{number + 1}:b") for number in range(30))
    found = plan(topology(*links, create=True), *[None] * 31)
    assert found.actions == [CREATE] * 30
    assert len(found.after) == len(found.operations) == 31 + 3 * 30
    assert all(other < number for number, after in enumerate(found.after) for other in after)
    for number, item in enumerate(found.operations):
        if isinstance(item, ConfigureEnd):
            (creation,) = (found.operations[other] for other in found.after[number])
            assert isinstance(creation, CreateLink)
            assert creation.link == item.link


def test_no_links_no_plan() -> None:
    found = plan(Topology(LAB, {}, ()))
    assert (found.operations, found.after, found.actions, found.problems) == ([], [], [], [])
    lonely = Topology(LAB, {"r1": Node("r1", "netns", "r1", create=True)}, ())
    assert [type(item) for item in plan(lonely, None).operations] == [MakeNamespace]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Change(), False),
        (Change({"mtu": 1}), True),
        (Change(up=False), True),
        (Change(up=True), True),
        (Change(add=(address("192.0.2.1/24"),)), True),
        (Change(remove=(address("192.0.2.1/24"),)), True),
    ],
)
def test_an_empty_change_is_none(change: Change, says: bool) -> None:
    assert bool(change) is says


def test_some_created_some_changed_some_left() -> None:
    links: tuple[Link, ...] = (
        veth("r1:eth0", "r2:eth0"),
        veth(end("r1:eth1", mtu=1400), "r2:eth1"),
        veth("r1:eth2", "r2:eth2"),
    )
    aliases = [link_alias(link) for link in links]
    left = namespace(0, interface("eth1", 5, 6, aliases[1]), interface("eth2", 7, 8, aliases[2]))
    right = namespace(1, interface("eth1", 6, 5, aliases[1]), interface("eth2", 8, 7, aliases[2]))
    found = plan(topology(*links), left, right)
    assert found.actions == [CREATE, UPDATE, UNCHANGED]
    assert [item.link for item in found.operations if not isinstance(item, MakeNamespace)] == [0, 0, 0, 1]


def test_what_may_be_refused_comes_before_what_cannot_be_given_back() -> None:
    link = veth(end("r1:eth1", up=False, mac=bytes(6), addresses=["2001:db8::1/64", "2001:db8::2/64"]), "r2:eth1")
    found = plan(topology(link), *there(addresses={"2001:db8::1/64": True, "192.0.2.1/24": True}))
    assert (found.problems, found.stages()) == ([], [(0, 1), (1, 2), (2, 3)])
    now, mac, down = found.operations
    assert isinstance(now, ConfigureEnd)
    assert isinstance(mac, ConfigureEnd)
    assert isinstance(down, ConfigureEnd)
    assert now.undo is not None
    assert down.undo is not None
    old, new, ipv4 = map(address, ["2001:db8::1/64", "2001:db8::2/64", "192.0.2.1/24"])
    assert (now.change.add, now.undo.remove) == ((new,), (new,))
    assert list(mac.change.attributes) == ["address"]
    assert (down.change.up, down.change.add, down.change.remove) == (False, (old, new), (ipv4,))
    # Not the new one: it is taken back by the first step.
    assert (down.undo.up, down.undo.add, down.undo.remove) == (True, (ipv4, old), ())


def test_without_duplicate_address_detection() -> None:
    """addr_gen_mode none, and a link-local address of our own; then there is nothing to do."""
    link = veth(end("r1:eth1", dad=False), "r2:eth1")
    found = plan(topology(link), namespace(0), namespace(1))
    (own,) = [item.change for item in found.operations if isinstance(item, ConfigureEnd) and item.end == 0]
    assert own.attributes["af_spec"] == {"inet6": {"addr_gen_mode": 1}}
    (made,) = own.add
    assert (made.packed[:8], made.prefixlen) == (b"\xfe\x80" + bytes(6), 64)
    assert parse_address(made.text) == made
    (other,) = [item.change for item in found.operations if isinstance(item, ConfigureEnd) and item.end == 1]
    assert (other.add, "af_spec" in other.attributes) == ((), False)

    for wanted in (link, LINK):  # what has left the file stays as it is
        again = plan(topology(wanted), *there(addresses={made.text: True}))
        assert (again.problems, again.operations) == ([], [])
    refused = plan(topology(veth(end("r1:eth1", dad=True), "r2:eth1")), *there(addresses={made.text: True}))
    assert "which batch does not change back" in str(refused.problems)


def test_a_link_local_address_of_the_file_is_the_only_one() -> None:
    link = veth(end("r1:eth1", dad=False, addresses=["fe80::1/64"]), "r2:eth1")
    found = plan(topology(link), namespace(0), namespace(1))
    (own,) = [item.change for item in found.operations if isinstance(item, ConfigureEnd) and item.end == 0]
    assert own.add == (address("fe80::1/64"),)
    assert "af_spec" in own.attributes


def test_on_a_link_that_is_there() -> None:
    link = veth(end("r1:eth1", dad=False), "r2:eth1")
    change = only_change(plan(topology(link), *there(addresses={"fe80::a8bb:ccff:fedd:0/64": False})))
    assert change.change.attributes == {"af_spec": {"inet6": {"addr_gen_mode": 1}}}
    assert (len(change.change.add), change.change.remove) == (1, ())
    assert change.undo is not None
    assert change.undo.attributes == {"af_spec": {"inet6": {"addr_gen_mode": 0}}}
    assert change.undo.remove == change.change.add
