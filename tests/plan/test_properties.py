"""End properties in a plan: what waits for what, in which stage, what is refused. Here are also bonds and VRFs."""

from __future__ import annotations

from typing import Any

import pytest

from kokofast.ends import ATTRIBUTES, ENDS
from kokofast.ends.link_local import LinkLocal
from kokofast.ends.offload import ALL, FEATURES, USUAL
from kokofast.ops.configure_end import _requests_of
from kokofast.plan.observed import Interface, Namespace
from kokofast.plan.operations import ConfigureEnd, CreateLink, IfRef
from kokofast.plan.plan import Plan
from kokofast.topology.model import Link
from kokofast.wire.addr import RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import RTM_DELLINKPROP, RTM_NEWLINKPROP, RTM_SETLINK
from tests.plan.builders import end, interface, link_alias, namespace, plan, topology, veth


def port(**fields: Any) -> Link:
    return veth(end("r1:e0", **fields), "r2:e0")


def master(kind: str, ifindex: int = 7) -> Interface:
    return Interface(ifindex, f"m{ifindex}", kind=kind, mtu=1500)


def there(link: Link, *more: Interface, **fields: Any) -> tuple[Namespace, Namespace]:
    """The link, and more interfaces in its first namespace; fields are of its first end."""
    alias = link_alias(link)
    return namespace(0, interface("e0", 5, 6, alias, **fields), *more), namespace(1, interface("e0", 6, 5, alias))


def said(found: Plan) -> list[tuple[str, str]]:
    return [(problem.place, problem.message) for problem in found.problems]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_registered_property_is_whole(name: str) -> None:
    found = ENDS[name]
    assert bool(found.fields) != hasattr(found, "field")
    assert found.fields or found.field.name == name
    assert ENDS[name].present(None) == ENDS[name].nothing
    assert ENDS[name].shown(ENDS[name].nothing, str) in (None, [], {})


class TestMaster:
    @pytest.mark.parametrize("kind", ["bridge", "bond", "vrf"])
    def test_a_new_end_gets_it_before_it_is_up(self, kind: str) -> None:
        found = plan(topology(port(properties={"master": "m7"})), namespace(0, master(kind)), namespace(1))
        assert said(found) == []
        (configured,) = (one for one in found.operations if isinstance(one, ConfigureEnd) and one.end == 0)
        (setting,) = configured.change.properties
        assert (setting.name, str(setting.value), setting.before) == ("master", str(IfRef(0, "m7")), 0)
        assert configured.change.up

    def test_a_master_of_the_file_comes_first(self) -> None:
        bridge = Link("bridge", (end("r1:sw"),), options={"stp": False, "group_fwd_mask": 0}, place="bridge")
        wanted = topology(port(properties={"master": "sw"}), bridge, create=True)
        found = plan(wanted, None, None)
        assert said(found) == []
        numbers = {id(one): number for number, one in enumerate(found.operations)}
        made, configured = (
            next(one for one in found.operations if isinstance(one, ConfigureEnd) and one.link == link)
            for link in (1, 0)
        )
        assert numbers[id(made)] in found.after[numbers[id(configured)]]
        assert [one.link for one in found.operations if isinstance(one, CreateLink)] == [1, 0]

    def test_a_new_bridge_comes_up_behind_its_ports_and_they_before_their_other_ends(self) -> None:
        sw = end("r1:sw", addresses=("10.0.0.1/24",))
        bridge = Link("bridge", (sw,), options={"stp": False, "group_fwd_mask": 0}, place="bridge")
        ports = [veth(f"r2:e{n}", end(f"r1:p{n}", properties={"master": "sw"})) for n in range(2)]
        found = plan(topology(bridge, *ports, create=True), None, None)
        of = {
            (one.interface.ifname, one.change.up): (number, set(found.after[number]), one.change)
            for number, one in enumerate(found.operations)
            if isinstance(one, ConfigureEnd)
        }
        (first, _, attributes), (_, behind, last) = of["sw", None], of["sw", True]
        assert (attributes.add, last.add) == ((), sw.addresses)
        for n in range(2):
            joined, after, _ = of[f"p{n}", True]
            assert first in after
            assert joined in of[f"e{n}", True][1] & behind

    def test_a_bridge_that_is_a_parent_is_up_at_once(self) -> None:
        bridge = Link("bridge", (end("r1:sw"),), options={"stp": False, "group_fwd_mask": 0}, place="bridge")
        above = Link("macvlan", (end("r2:m0"),), options={"parent": "r1:sw", "mode": "bridge"}, place="above")
        found = plan(topology(bridge, port(properties={"master": "sw"}), above, create=True), None, None)
        changes = [one.change for one in found.operations if isinstance(one, ConfigureEnd) and one.link == 0]
        assert [change.up for change in changes] == [True]

    def test_a_new_port_needs_one_request_before_it_is_up(self) -> None:
        found = plan(topology(port(properties={"master": "m7"})), namespace(0, master("bridge")), namespace(1))
        (configured,) = (one for one in found.operations if isinstance(one, ConfigureEnd) and one.end == 0)
        first, second = _requests_of(configured.interface, configured.change)
        assert first.attributes.keys() == {"master", "ifalias"}
        assert (second.attributes, second.header["flags"]) == ({}, 1)

    def test_a_cycle_has_the_place_of_the_end_that_needs_it(self) -> None:
        second = end("r2:e0", properties={"master": "e0"})
        found = plan(topology(veth("r1:e0", second)), namespace(0), namespace(1))
        assert said(found) == [(second.where("master"), "master cycle: r1:e0--r2:e0 -> r1:e0--r2:e0")]

    def test_another_one_is_set_behind_what_can_be_undone(self) -> None:
        link = port(properties={"master": "m8"}, txqlen=5)
        found = plan(topology(link), *there(link, master("bridge"), master("bridge", 8), more={"master": 7}))
        now, last = found.operations
        assert isinstance(now, ConfigureEnd)
        assert isinstance(last, ConfigureEnd)
        assert (found.last, found.final) == (1, 2)
        assert now.change.properties == ()
        assert last.undo is not None
        assert [(one.value, one.before is None) for one in last.undo.properties] == [(7, False)]
        assert (last.change.add, last.undo.add) == ((), ())

    @pytest.mark.parametrize("kinds", [("vrf", "bridge"), ("bridge", "vrf")])
    def test_addresses_come_back_that_a_vrf_takes_away(self, kinds: tuple[str, str]) -> None:
        link = port(properties={"master": "m8"}, addresses=["2001:db8::1/64"])
        ours = {"2001:db8::1/64": True, "2001:db8::2/64": False}
        before = there(link, *map(master, kinds, (7, 8)), more={"master": 7}, addresses=ours)
        (change,) = plan(topology(link), *before).operations
        assert isinstance(change, ConfigureEnd)
        assert change.undo is not None
        texts = [str(one.packed[-1]) for one in (*change.change.add, *change.undo.add)]
        assert texts == ["1", "1"]
        assert change.change.properties[0].restarts
        assert change.undo.properties[0].restarts

    def test_the_right_one_is_no_change(self) -> None:
        link = port(properties={"master": "m7"})
        assert plan(topology(link), *there(link, master("bond"), more={"master": 7})).operations == []

    def test_what_a_bond_does_to_its_ports(self) -> None:
        link = port(properties={"master": "m7"}, mac=b"\2\0\0\0\0\1", mtu=1400, up=False)
        found = plan(topology(link), namespace(0, master("bond")), namespace(1))
        assert said(found) == [
            ("r1:e0.mac", "r1:e0: the bond m7 gives its ports its own mac; leave mac out"),
            ("r1:e0.mtu", "r1:e0: the bond m7 gives its ports its own mtu; leave mtu out"),
            ("r1:e0", "r1:e0: the bond m7 sets its ports up; leave up out"),
        ]

    def test_a_bond_takes_nothing_that_is_up(self) -> None:
        link = port(properties={"master": "m7"})
        (problem,) = said(plan(topology(link), *there(link, master("bond"))))
        assert problem[1].endswith("takes no interface that is up; destroy the link first (or ip link set e0 down)")

    def test_without_the_field_it_stays(self) -> None:
        link = port()
        assert plan(topology(link), *there(link, master("bridge"), more={"master": 7})).operations == []


class TestAltnames:
    def test_only_what_differs_is_sent(self) -> None:
        link = port(properties={"altnames": ["c", "b"]})
        (change,) = plan(topology(link), *there(link, more={"prop_list": {"alt_ifname": ["a", "b"]}})).operations
        assert isinstance(change, ConfigureEnd)
        assert change.undo is not None
        sent = [
            [
                (request.type, request.attributes["prop_list"]["alt_ifname"])  # type: ignore[index]
                for one in found.properties
                for request in ENDS[one.name].requests(5, one.value, one.before)
            ]
            for found in (change.change, change.undo)
        ]
        assert sent == [
            [(RTM_DELLINKPROP, ["a"]), (RTM_NEWLINKPROP, ["c"])],
            [(RTM_DELLINKPROP, ["c"]), (RTM_NEWLINKPROP, ["a"])],
        ]

    def test_the_right_ones_in_another_order_are_no_change(self) -> None:
        link = port(properties={"altnames": ["b", "a"]})
        assert plan(topology(link), *there(link, more={"prop_list": {"alt_ifname": ["a", "b"]}})).operations == []

    @pytest.mark.parametrize(
        ("names", "path", "words"),
        [
            ([""], "[0]", "is empty"),
            (["x", "a" * 128], "[1]", "128 bytes, the limit is 127"),
            (["\u00e9" * 64], "[0]", "128 bytes"),
            (["a b"], "[0]", "white space"),
            (["a/b"], "[0]", "'a/b' is no name"),
            (["a\x1bb"], "[0]", r"'a\x1bb' is no name"),
            ([".."], "[0]", "is no name"),
            (["x", "y", "x"], "[2]", "given twice"),
            ([f"n{i}" for i in range(33)], "", "33 alternative names, the limit is 32"),
        ],
    )
    def test_bad_names(self, names: list[str], path: str, words: str) -> None:
        check = ENDS["altnames"].field.check
        assert check is not None
        ((where, said_of_it),) = check(names)
        assert where == path
        assert words in said_of_it
        assert not list(check([f"n{i}" for i in range(32)]))


class TestLinkLocal:
    OWN = b"\xfe\x80" + bytes(13) + b"\1"

    def plan(self, value: bool, present: LinkLocal | None, **fields: Any) -> Plan:
        link = port(properties={"link_local": value}, **fields)
        return plan(topology(link), *there(link, more={"af_spec": present}))

    def test_a_new_end_has_it_before_it_is_up(self) -> None:
        for value, mode in ((False, 1), (True, 0)):
            found = plan(topology(port(properties={"link_local": value})), namespace(0), namespace(1))
            (configured,) = (one for one in found.operations if isinstance(one, ConfigureEnd) and one.end == 0)
            sent = [(one.type, dict(one.attributes)) for one in _requests_of(configured.interface, configured.change)]
            assert sent[0] == (RTM_SETLINK, {"af_spec": {"inet6": {"addr_gen_mode": mode}}})
            assert "ifalias" in sent[1][1]

    @pytest.mark.parametrize(
        ("value", "present"), [(False, LinkLocal(1)), (True, LinkLocal(0, (OWN,))), (True, LinkLocal(3))]
    )
    def test_what_is_right_is_no_change(self, value: bool, present: LinkLocal) -> None:
        assert self.plan(value, present).operations == []

    @pytest.mark.parametrize(
        ("value", "present", "sent"),
        [
            (False, LinkLocal(0, (OWN,)), [RTM_SETLINK, RTM_DELADDR]),
            (False, LinkLocal(1, (OWN,)), [RTM_DELADDR]),
            (False, LinkLocal(3), [RTM_SETLINK]),
            (True, LinkLocal(1, (), (OWN,)), [RTM_SETLINK, RTM_NEWADDR]),
        ],
    )
    def test_in_place_and_back(self, value: bool, present: LinkLocal, sent: list[int]) -> None:
        (change,) = self.plan(value, present).operations
        assert isinstance(change, ConfigureEnd)
        assert change.undo is not None
        assert [one.type for one in _requests_of(change.interface, change.change)] == sent
        turned = {RTM_DELADDR: RTM_NEWADDR, RTM_NEWADDR: RTM_DELADDR}
        assert [one.type for one in _requests_of(change.interface, change.undo)] == [
            turned.get(one, one) for one in sent
        ]

    def test_an_interface_without_ipv6(self) -> None:
        assert self.plan(False, LinkLocal(None), mtu=1000).operations[0].change.properties == ()  # type: ignore[union-attr]
        assert "it exists without IPv6" in said(self.plan(False, LinkLocal(None)))[0][1]

    @pytest.mark.parametrize(
        ("value", "addresses", "is_wrong"),
        [(True, [], True), (False, [], True), (False, ["fe80::1/64"], False), (True, ["fe80::1/64"], True)],
    )
    def test_dad_false_has_another_one(self, value: bool, addresses: list[str], is_wrong: bool) -> None:
        found = ENDS["link_local"].contradiction(end("r1:e0", dad=False, addresses=addresses), value)
        assert (found is not None) == is_wrong
        assert ENDS["link_local"].contradiction(end("r1:e0"), value) is None


class TestOffload:
    def plan(self, value: object, present: frozenset[str] | None) -> Plan:
        link = port(properties={"offload": value})
        return plan(topology(link), *there(link, more={"wanted": present}))

    @pytest.mark.parametrize(
        ("value", "present"),
        [
            (False, frozenset()),
            (True, USUAL),
            (True, frozenset(ALL)),
            ({"gro": False}, frozenset()),
            ({"tx": True}, frozenset(FEATURES["tx"])),
        ],
    )
    def test_what_is_right_is_no_change(self, value: object, present: frozenset[str]) -> None:
        assert self.plan(value, present).operations == []

    def test_only_what_differs_is_set_and_given_back(self) -> None:
        (change,) = self.plan(False, frozenset(("rx-gro", "tx-tcp6-segmentation"))).operations
        assert isinstance(change, ConfigureEnd)
        assert change.undo is not None
        sent = [_requests_of(change.interface, one) for one in (change.change, change.undo)]
        bits = [request.attributes["wanted"] for (request,) in sent]
        names = [{"name": "tx-tcp6-segmentation"}, {"name": "rx-gro"}]
        assert bits[0] == {"bits": {"bit": names}}
        assert bits[1] == {"bits": {"bit": [{**one, "value": True} for one in names]}}

    @pytest.mark.parametrize(
        ("setting", "shown"),
        [
            (None, None),
            (frozenset(), False),
            (USUAL, True),
            (frozenset(FEATURES["tx"]), {"tx": True, "tso": False, "gso": False, "gro": False}),
        ],
    )
    def test_shown(self, setting: frozenset[str] | None, shown: object) -> None:
        assert ENDS["offload"].shown(setting, str) == shown
