"""Links on parents and mirrors: what comes first, what fits, what has to go."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from kokofast.kinds import KINDS
from kokofast.kinds.fields import Field
from kokofast.kinds.kind import Kind
from kokofast.plan.diff import CURE
from kokofast.plan.observed import Interface, MirrorFilter, Namespace
from kokofast.plan.operations import AddMirror, ConfigureEnd, CreateLink, IfRef, RemoveMirror
from kokofast.plan.ownership import cookie_of
from kokofast.plan.plan import CREATE, UNCHANGED, UPDATE, Plan, nodes_of
from kokofast.topology.model import CALLER, Address, End, Link, Mirror, Node, Topology
from tests.plan.builders import LAB, end, identity_of, interface, link_alias, namespace, plan, veth
from tests.steps import Steps

REMOTE = Address(2, bytes((192, 0, 2, 2)), 32, "192.0.2.2")


def on(kind: str, where: End | str, parent: str, **options: object) -> Link:
    """A link of one end."""
    one = end(where) if isinstance(where, str) else where
    defaults: dict[str, object] = {field.name: field.default for field in KINDS[kind].fields}
    if kind == "vxlan":
        defaults |= {"remote": REMOTE, "vni": 7}
    return Link(
        kind,
        (one,),
        options={**defaults, "parent": parent, **options},
        place="link",
        places={name: f"link.{name}" for name in (*defaults, "type")},
    )


def nodes(*links: Link) -> Topology:
    """The topology of these links; the nodes of parents count as well."""
    names = [item.node for link in links for item in link.ends]
    names += [str(link.options["parent"]).rpartition(":")[0] for link in links if "parent" in link.options]
    return Topology(LAB, {name: Node(name, "netns", name) for name in dict.fromkeys(filter(None, names))}, links)


def host(number: int, **mtus: int) -> Namespace:
    """A namespace with interfaces of nobody's, by name and MTU; their indexes count from 2."""
    return namespace(
        number, *(Interface(index, name, mtu=mtu, up=True) for index, (name, mtu) in enumerate(mtus.items(), 2))
    )


def positions(found: Plan) -> dict[str, int]:
    """Where the creation of each interface stands among the operations."""
    return {
        item.makes[0].ifname: number for number, item in enumerate(found.operations) if isinstance(item, CreateLink)
    }


def texts(found: Plan) -> list[str]:
    return [f"{problem.place}: {problem.message}" for problem in found.problems]


class TestParents:
    def test_the_request_goes_out_where_the_parent_is(self) -> None:
        found = plan(nodes(on("macvlan", "c:eth0", "h:up0")), namespace(0), host(1, up0=1500))
        create = found.operations[0]
        assert isinstance(create, CreateLink)
        assert (create.sender, [end.ns for end in create.makes]) == (1, [0])
        parent = create.attributes["link"]
        assert isinstance(parent, IfRef)
        assert (parent.ns, parent.ifname) == (1, "up0")

    def test_a_parent_without_a_node_is_the_callers(self) -> None:
        wanted = nodes(on("macvlan", "c:eth0", "up0"))
        assert list(nodes_of(wanted)) == ["c", CALLER]
        assert list(nodes_of(nodes(on("macvlan", "c:eth0", "h:up0")))) == ["c", "h"]
        assert list(nodes_of(nodes(veth("a:x", "b:x")))) == ["a", "b"]
        found = plan(wanted, namespace(0), host(1, up0=1500), places={"c": 0, CALLER: 1})
        assert isinstance(found.operations[0], CreateLink)
        assert found.operations[0].sender == 1

    def test_a_parent_that_is_nowhere(self) -> None:
        found = plan(nodes(on("macvlan", "c:eth0", "h:up1")), namespace(0), host(1, up0=1500))
        assert texts(found) == ["link.parent: parent interface up1 not found in h"]
        assert found.operations == []

    def test_what_stands_on_what_is_nowhere_is_named_once(self) -> None:
        rows = on("macvlan", "c:m1", "c:m0"), on("macvlan", "c:m0", "h:up1")
        assert texts(plan(nodes(*rows), namespace(0), host(1))) == ["link.parent: parent interface up1 not found in h"]

    def test_links_that_stand_on_each_other(self) -> None:
        rows = on("macvlan", "c:m2", "c:m1"), on("macvlan", "c:m1", "c:m0"), on("macvlan", "c:m0", "c:m1")
        found = plan(nodes(*rows), namespace(0))
        assert texts(found) == ["link.parent: parent cycle: c:m1 -> c:m0 -> c:m1"]
        assert found.operations == []

    def test_a_link_on_itself(self) -> None:
        assert texts(plan(nodes(on("macvlan", "c:m0", "c:m0")), namespace(0))) == [
            "link.parent: parent cycle: c:m0 -> c:m0"
        ]

    def test_two_cycles_and_a_missing_parent(self) -> None:
        pairs = [("m1", "m0"), ("m0", "m1"), ("m4", "m3"), ("m3", "up1"), ("m5", "m5")]
        found = plan(nodes(*(on("macvlan", f"c:{name}", f"c:{parent}") for name, parent in pairs)), namespace(0))
        assert sorted(text.removeprefix("link.parent: ") for text in texts(found)) == [
            "parent cycle: c:m1 -> c:m0 -> c:m1",
            "parent cycle: c:m5 -> c:m5",
            "parent interface up1 not found in c",
        ]

    def test_a_long_cycle_names_some_of_its_links(self) -> None:
        rows = [on("macvlan", f"c:m{number}", f"c:m{(number + 1) % 100}") for number in range(100)]
        (text,) = texts(plan(nodes(*rows), namespace(0)))
        assert text == (
            "link.parent: parent cycle: c:m0 -> c:m1 -> c:m2 -> c:m3 -> c:m4 -> c:m5 -> c:m6 -> c:m7 -> 92 more -> c:m0"
        )

    @pytest.mark.parametrize("form", ["a cycle", "in reverse order", "nowhere", "on one parent", "beside others"])
    def test_the_work_grows_with_the_number_of_links(self, form: str) -> None:
        taken = []
        for count in (100, 200, 400):
            numbers = range(count)
            parents = {
                "a cycle": [f"m{(number + 1) % count}" for number in numbers],
                "in reverse order": [f"m{number}" for number in numbers[1:]] + ["up0"],
                "nowhere": [f"m{number + 1}" for number in numbers],
                "beside others": ["up0"] * count,
                "on one parent": [f"m{number + 1}" if number % 2 else "up0" for number in numbers],
            }[form]
            rows = [on("macvlan", f"c:m{number}", f"c:{parents[number]}") for number in numbers]
            others = count if form == "beside others" else 0
            there = host(0, up0=1500)
            data = {"mode": 4}
            there.interfaces = {
                **there.interfaces,
                **{f"o{n}": Interface(n, f"o{n}", kind="macvlan", peer=2, data=data) for n in range(10, 10 + others)},
            }
            with Steps() as steps:
                plan(nodes(*rows), there)
            taken.append(steps.count)
        assert taken[2] - taken[1] < 2.2 * (taken[1] - taken[0])

    def test_a_parent_of_a_later_row_comes_first(self) -> None:
        rows = (
            on("macvlan", "c:m1", "c:vx0"),
            on("vxlan", "c:vx0", "a:up0"),
            veth("a:up0", "b:up0"),
        )
        found = plan(nodes(*rows), namespace(0), namespace(1), namespace(2))
        at = positions(found)
        assert at["up0"] < at["vx0"] < at["m1"]
        for child, parent in (("vx0", "up0"), ("m1", "vx0")):
            (waited,) = found.after[at[child]]
            configured = found.operations[waited]
            assert isinstance(configured, ConfigureEnd)
            assert configured.interface.ifname == parent
        assert found.actions == [CREATE] * 3


class TestMtu:
    @pytest.mark.parametrize(("mtu", "fits"), [(1450, True), (1451, False)])
    def test_on_a_parent_that_is_there(self, mtu: int, fits: bool) -> None:
        found = plan(nodes(on("vxlan", end("c:vx0", mtu=mtu), "h:up0")), namespace(0), host(1, up0=1500))
        problem = "c:vx0.mtu: mtu 1451 does not fit on up0: its mtu is 1500, which leaves 1450"
        assert texts(found) == ([] if fits else [problem])

    @pytest.mark.parametrize(("mtu", "room"), [(None, 1450), (1400, 1350)])
    def test_on_a_parent_of_the_same_file(self, mtu: int | None, room: int) -> None:
        parent = veth(end("a:up0", mtu=mtu), end("b:up0"))
        for size, problems in ((room, 0), (room + 1, 1)):
            rows = on("vxlan", end("c:vx0", mtu=size), "a:up0"), parent
            assert len(plan(nodes(*rows), namespace(0), namespace(1), namespace(2)).problems) == problems
            above = on("macvlan", end("c:m0", mtu=size), "c:vx0"), on("vxlan", "c:vx0", "a:up0"), parent
            assert len(plan(nodes(*above), namespace(0), namespace(1), namespace(2)).problems) == problems

    def test_on_a_parent_that_grows_in_the_same_run(self) -> None:
        grown = veth(end("a:up0", mtu=9000), end("b:up0", mtu=9000))
        there = [interface("up0", 2, 2, link_alias(grown)) for _ in range(2)]
        rows = on("vxlan", end("c:vx0", mtu=8950), "a:up0"), grown
        found = plan(nodes(*rows), namespace(0), namespace(1, there[0]), namespace(2, there[1]))
        assert texts(found) == []
        assert found.actions == [CREATE, UPDATE]
        (waited,) = found.after[positions(found)["vx0"]]
        first = found.operations[waited]
        assert isinstance(first, ConfigureEnd)
        assert (first.interface.ifname, first.change.attributes) == ("up0", {"mtu": 9000})


class TestFollowingTheParent:
    """What a link without an mtu gets from its parent when it is made, it has after every run."""

    @pytest.mark.parametrize("parent", [1300, 9000])
    @pytest.mark.parametrize(("kind", "overhead"), [("vxlan", 50), ("macvlan", 0), ("vlan", 0), ("ipvlan", 0)])
    def test_a_parent_that_somebody_has_set(self, kind: str, overhead: int, parent: int) -> None:
        link = on(kind, "c:x0", "h:up0", **({"id": 5} if kind == "vlan" else {}))
        found = plan(nodes(link), namespace(0, made(link, 1500 - overhead)), host(1, up0=parent))
        assert (texts(found), found.actions) == ([], [UPDATE])
        (change,) = [item for item in found.operations if isinstance(item, ConfigureEnd)]
        assert change.change.attributes == {"mtu": parent - overhead}
        assert change.undo is not None
        assert change.undo.attributes == {"mtu": 1500 - overhead}
        again = plan(nodes(link), namespace(0, made(link, parent - overhead)), host(1, up0=parent))
        assert (texts(again), again.operations) == ([], [])

    def test_an_mtu_of_the_file_stays(self) -> None:
        link = on("vxlan", end("c:x0", mtu=1000), "h:up0")
        assert plan(nodes(link), namespace(0, made(link, 1000)), host(1, up0=1300)).operations == []

    @pytest.mark.parametrize(("mtu", "final"), [(1300, True), (9000, False)])
    def test_a_parent_of_the_same_file(self, mtu: int, final: bool) -> None:
        carrier = veth(end("a:up0", mtu=mtu), end("b:up0", mtu=mtu))
        link = on("vxlan", "c:x0", "a:up0")
        there = [interface("up0", 2, 2, link_alias(carrier)) for _ in range(2)]
        found = plan(
            nodes(link, carrier), namespace(0, made(link, 1450)), namespace(1, there[0]), namespace(2, there[1])
        )
        assert texts(found) == []
        order = [(item.interface.ifname, item.change.attributes) for item in found.operations]  # type: ignore[union-attr]
        assert order.index(("up0", {"mtu": mtu})) < order.index(("x0", {"mtu": mtu - 50})) or final
        assert found.final == (0 if final else 3)

    def test_ipv6_addresses_that_would_go(self) -> None:
        link = on("vxlan", end("c:x0", addresses=["2001:db8::1/64"]), "h:up0")
        there = made(link, 1450, addresses={"2001:db8::1/64": True})
        assert texts(plan(nodes(link), namespace(0, there), host(1, up0=1300))) == [
            "c:x0.mtu: with an mtu of 1250 (its parent leaves no more) the kernel removes the IPv6 addresses of "
            "c:x0, which need 1280, and it has 1; remove them first"
        ]

    def test_a_parent_that_a_mirror_lowers(self) -> None:
        """The first run gives what the second one would."""
        carrier = veth("h:up0", "b:up0")
        tap = on("vxlan", end("h:tap", mirror=Mirror("up0", "both")), "h:eth0")
        links = carrier, on("macvlan", "c:m0", "h:up0"), on("vxlan", "c:x0", "c:m0"), tap
        found = plan(nodes(*links), host(0, eth0=1500), namespace(1), namespace(2))
        assert texts(found) == []
        last = found.operations[found.final :]
        assert ("x0", {"mtu": 1400}) in [(item.interface.ifname, item.change.attributes) for item in last]  # type: ignore[union-attr]


def made(link: Link, mtu: int, **fields: Any) -> Interface:
    """The interface of a link of one end as it is after a run, on the interface with index 2."""
    linkinfo: Any = KINDS[link.kind].create(link, ({},), 2)["linkinfo"]
    data = {"ttl": 0, **linkinfo["data"]}
    return interface(link.ends[0].ifname, 9, 2, link_alias(link), kind=link.kind, data=data, mtu=mtu, **fields)


def stands(link: Link, data: Mapping[str, object] = MappingProxyType({}), parent: int = 2) -> Interface:
    """The interface of a vxlan link as it is after a run."""
    made: Any = KINDS["vxlan"].create(link, ({},), parent)["linkinfo"]
    return interface("vx0", 9, 0, link_alias(link), kind="vxlan", mtu=1450, data={"ttl": 0, **made["data"], **data})


class TestAnotherRun:
    def test_the_same(self) -> None:
        link = on("vxlan", "c:vx0", "h:up0")
        found = plan(nodes(link), namespace(0, stands(link)), host(1, up0=1500))
        assert (texts(found), found.operations, found.actions) == ([], [], [UNCHANGED])

    @pytest.mark.parametrize(
        ("data", "field"),
        [
            ({"id": 8}, "vni"),
            ({"group": bytes((192, 0, 2, 3))}, "remote"),
            ({"port": 8472}, "port"),
            ({"learning": 0}, "learning"),
            ({"local": bytes((192, 0, 2, 1))}, "local"),
            ({"group6": bytes(15) + b"\1", "group": None}, "remote"),
        ],
    )
    def test_what_cannot_be_changed(self, data: dict[str, object], field: str) -> None:
        link = on("vxlan", "c:vx0", "h:up0")
        found = plan(nodes(link), namespace(0, stands(link, data)), host(1, up0=1500))
        assert texts(found) == [
            f"link.{field}: c:vx0 is there with another {field}, which batch does not change; {CURE}"
        ]

    def test_another_parent(self) -> None:
        link = on("vxlan", "c:vx0", "h:up0")
        found = plan(nodes(link), namespace(0, stands(link, parent=3)), host(1, up0=1500))
        assert texts(found) == [f"link.parent: c:vx0 is there on another parent interface; {CURE}"]


@pytest.mark.parametrize("ends", [1, 2])
@pytest.mark.parametrize(("have", "same"), [(1, True), (0, False), (None, False)])
def test_the_own_fields_of_a_kind_without_a_parent(
    monkeypatch: pytest.MonkeyPatch, ends: int, have: int | None, same: bool
) -> None:
    def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
        data = {"stp_state": int(bool(link.options["stp"])), **({"peer": ends[1]} if len(ends) > 1 else {})}
        return {**ends[0], "linkinfo": {"kind": "bridge", "data": data}}

    fields = (Field("stp", "bool", "spanning tree"),)
    kind = Kind("bridge", ends=ends, fields=fields, mtu=(68, 65535), create=create, names={"stp_state": "stp"})
    monkeypatch.setitem(KINDS, "bridge", kind)
    titles = ["c:br0", "d:br0"][:ends]
    link = Link("bridge", tuple(map(end, titles)), options={"stp": True}, place="link", places={"stp": "link.stp"})
    data = {} if have is None else {"stp_state": have}
    there = [
        namespace(number, interface("br0", 9, 9 if ends > 1 else 0, link_alias(link), kind="bridge", data=data))
        for number in range(ends)
    ]
    problem = f"link.stp: c:br0 is there with another stp, which batch does not change; {CURE}"
    assert texts(plan(nodes(link), *there)) == ([] if same else [problem])


def tapping(direction: str | None, source: str = "eth0") -> Link:
    mirror = None if direction is None else Mirror(source, direction)
    return veth(end("r:tap", mirror=mirror), end("w:tap"))


def tapped(link: Link, *mirrors: tuple[str, str, int]) -> tuple[Namespace, Namespace]:
    """Both ends of the link there, with these filters: (interface, direction, ifindex of the target)."""
    alias = link_alias(link)
    cookie = cookie_of(LAB, alias)
    interfaces = {"lo": Interface(1, "lo"), "eth0": Interface(2, "eth0", mtu=1500), "eth1": Interface(3, "eth1")}
    interfaces["tap"] = interface("tap", 4, 5, alias)
    filters = tuple(MirrorFilter(ifname, way, cookie[:-1] + b"\1", target=target) for ifname, way, target in mirrors)
    return Namespace(identity_of(0), interfaces, mirrors=filters), namespace(1, interface("tap", 5, 4, alias))


def mirroring(found: Plan) -> list[tuple[str, str, list[str]]]:
    return [
        ("add" if isinstance(item, AddMirror) else "remove", item.source.ifname, sorted(item.directions))
        for item in found.operations
        if isinstance(item, (AddMirror, RemoveMirror))
    ]


class TestMirrors:
    def test_a_mirror_waits_for_both_interfaces(self) -> None:
        rows = tapping("both"), veth("r:eth0", "s:eth0")
        found = plan(nodes(*rows), namespace(0), namespace(1), namespace(2))
        assert mirroring(found) == [("add", "eth0", ["egress", "ingress"])]
        waited = [found.operations[number] for number in found.after[-1]]
        assert [item.interface.ifname for item in waited if isinstance(item, ConfigureEnd)] == ["tap", "eth0"]

    def test_a_source_that_is_nowhere(self) -> None:
        found = plan(nodes(tapping("both", "eth9")), namespace(0), namespace(1))
        assert texts(found) == ["r:tap: there is no interface eth9 in r to mirror"]
        assert found.operations == []

    def test_a_mirror_of_itself(self) -> None:
        found = plan(nodes(tapping("both", "tap")), namespace(0), namespace(1))
        assert texts(found) == ["r:tap: tap is the copy's own target, not an interface to mirror"]

    @pytest.mark.parametrize(
        ("wanted", "there", "expected"),
        [
            (("both", "eth0"), [("eth0", "ingress"), ("eth0", "egress")], []),
            (("both", "eth0"), [], [("add", "eth0", ["egress", "ingress"])]),
            (("both", "eth0"), [("eth0", "ingress")], [("add", "eth0", ["egress"])]),
            (("ingress", "eth0"), [("eth0", "ingress"), ("eth0", "egress")], [("remove", "eth0", ["egress"])]),
            (
                ("ingress", "eth1"),
                [("eth0", "ingress")],
                [("remove", "eth0", ["ingress"]), ("add", "eth1", ["ingress"])],
            ),
            ((None, "eth0"), [("eth0", "egress")], [("remove", "eth0", ["egress"])]),
        ],
    )
    def test_what_comes_and_what_goes(
        self,
        wanted: tuple[str | None, str],
        there: list[tuple[str, str]],
        expected: list[tuple[str, str, list[str]]],
    ) -> None:
        link = tapping(*wanted)
        found = plan(nodes(link), *tapped(link, *((ifname, way, 4) for ifname, way in there)))
        assert mirroring(found) == expected
        assert found.actions == [UPDATE if expected else UNCHANGED]

    def test_a_filter_that_leads_nowhere_does_not_count(self) -> None:
        link = tapping("ingress")
        assert mirroring(plan(nodes(link), *tapped(link, ("eth0", "ingress", 0)))) == [("add", "eth0", ["ingress"])]

    @pytest.mark.parametrize(("mtu", "lowered"), [(1500, (1450, 1500)), (1450, None), (1400, None)])
    def test_into_a_tunnel_the_mtu_is_lowered(self, mtu: int, lowered: tuple[int, int] | None) -> None:
        link = on("vxlan", end("h:vx0", mirror=Mirror("eth0", "both")), "h:up0")
        found = plan(nodes(link), host(0, up0=1500, eth0=mtu))
        (add,) = [item for item in found.operations if isinstance(item, AddMirror)]
        assert add.mtu == lowered
        note = "the mtu of h:eth0 is lowered from 1500 to 1450, so that its packets fit into vx0"
        assert found.notes == ([] if lowered is None else [note])


def watched(*more: Link, **fields: object) -> tuple[Link, ...]:
    """A tunnel into which h:eth0 is copied, which is one end of a link to w."""
    tunnel = on("vxlan", end("h:vx0", mirror=Mirror("eth0", "both")), "h:up0")
    return tunnel, veth(end("h:eth0", **fields), end("w:eth0", **fields)), *more


def mtus(found: Plan) -> list[tuple[str, object, object]]:
    """(interface, MTU, MTU when it is taken back) of all that the last stage sets."""
    return [
        (item.interface.ifname, item.change.attributes["mtu"], item.undo and item.undo.attributes["mtu"])
        for item in found.operations[found.final :]
        if isinstance(item, ConfigureEnd) and "mtu" in item.change.attributes
    ]


class TestBothEndsOfAMirroredLink:
    """The kernel drops what is larger than the MTU of the end that it comes to."""

    def test_are_lowered_together(self) -> None:
        rows = watched()
        found = plan(nodes(*rows), host(0, up0=1500), namespace(1))
        assert mtus(found) == [("eth0", 1450, None)]
        note = "the mtu of w:eth0, the other end of h:eth0, is lowered from 1500 to 1450 as well"
        assert found.notes[1:] == [note]

    @pytest.mark.parametrize("given", [{}, {"mtu": 1500}])
    def test_where_only_one_was_lowered(self, given: dict[str, int]) -> None:
        """As versions before left it; and then nothing is to be done."""
        rows = watched(**given)
        alias = link_alias(rows[1])
        cookie = cookie_of(LAB, link_alias(rows[0]))
        for other, expected in ((1500, [("eth0", 1450, 1500)]), (1450, [])):
            there = host(0, up0=1500)
            tunnel = stands(rows[0])
            tunnel.mtu = 1450
            filters = tuple(MirrorFilter("eth0", way, cookie, target=tunnel.ifindex) for way in ("ingress", "egress"))
            ends = [tunnel, interface("eth0", 40, 41, alias, mtu=1450)]
            interfaces = {**there.interfaces, **{item.ifname: item for item in ends}}
            here = Namespace(there.identity, interfaces, mirrors=filters)
            found = plan(nodes(*rows), here, namespace(1, interface("eth0", 41, 40, alias, mtu=other)))
            assert texts(found) == []
            assert sorted(set(mtus(found))) == expected
            assert bool(found.operations) == bool(expected)

    def test_what_stands_on_the_other_end_is_not_made_too_large(self) -> None:
        rows = watched(on("macvlan", end("w:m0", mtu=1500), "w:eth0"))
        found = plan(nodes(*rows), host(0, up0=1500), namespace(1))
        assert texts(found) == [
            "h:vx0: w:eth0 would be lowered to an mtu of 1450 with its other end, but w:m0, whose parent it is, "
            "needs more: lower the mtu of that link"
        ]

    def test_a_stranger_is_named(self) -> None:
        (tunnel, _) = watched()
        theirs = [
            Interface(40 + number, name, kind="veth", mtu=1500, peer=41 - number)
            for number, name in enumerate(("eth0", "out0"))
        ]
        there = host(0, up0=1500)
        here = Namespace(there.identity, {**there.interfaces, **{item.ifname: item for item in theirs}})
        found = plan(nodes(tunnel), here)
        assert found.notes[1:] == [
            "the other end of h:eth0, h:out0, is not ours and keeps its mtu: what it sends that is larger than 1450 "
            "bytes is lost until that is lowered too (ip link set ... mtu 1450)"
        ]

    def test_a_link_of_another_file_is_refused(self) -> None:
        (tunnel, other) = watched()
        there = host(0, up0=1500)
        theirs = interface("eth0", 40, 41, link_alias(other))
        found = plan(nodes(tunnel), Namespace(there.identity, {**there.interfaces, "eth0": theirs}))
        assert texts(found) == [
            "h:vx0: h:eth0 would be lowered to an mtu of 1450, so that its packets fit into vx0, and its other end is "
            f"not in this file: give that link ({link_alias(other)}) an mtu of 1450 first"
        ]


@pytest.mark.parametrize(("mtu", "lost"), [(9000, True), (1500, False)])
def test_copies_that_do_not_fit_are_told(mtu: int, lost: bool) -> None:
    rows = tapping("ingress"), veth(end("r:eth0", mtu=mtu), end("s:eth0", mtu=mtu))
    found = plan(nodes(*rows), namespace(0), namespace(1), namespace(2))
    note = (
        "copies of r:eth0 that are larger than 1500 bytes are lost on their way to r:tap: it has an mtu of 9000, "
        "give this link as much"
    )
    assert found.notes == ([note] if lost else [])


def test_copies_that_the_far_end_drops_are_told() -> None:
    tap = veth(end("r:tap", mirror=Mirror("eth0", "ingress"), mtu=9000), end("w:tap", mtu=3000))
    rows = tap, veth(end("r:eth0", mtu=9000), end("s:eth0", mtu=9000))
    (note,) = plan(nodes(*rows), namespace(0), namespace(1), namespace(2)).notes
    assert note.startswith("copies of r:eth0 that are larger than 3000 bytes are lost")


def test_the_parent_of_a_tunnel_that_it_is_copied_into_keeps_its_mtu() -> None:
    tunnel = on("vxlan", end("h:vx0", mirror=Mirror("up0", "ingress")), "h:up0")
    link = veth(end("h:up0", mtu=1500), end("w:up0", mtu=1500))
    alias = link_alias(link)
    cookie = cookie_of(LAB, link_alias(tunnel))
    up, far = interface("up0", 9, 41, alias), interface("up0", 41, 9, alias)
    there = stands(tunnel, parent=9)
    here = namespace(0, up, there)
    here.mirrors = (MirrorFilter("up0", "ingress", cookie, target=there.ifindex),)
    assert plan(nodes(tunnel, link), here, namespace(1, far)).operations == []


def theirs(ifname: str, ifindex: int, kind: str, parent: int = 2, **data: object) -> Interface:
    return Interface(ifindex, ifname, kind=kind, mtu=1500, peer=parent, data=data)


def obstacles(link: Link, *there: Interface, **fields: object) -> list[str]:
    """What is said of a link on h:up0 (number 2), beside these interfaces."""
    up0 = Interface(2, "up0", mtu=1500, **fields)  # type: ignore[arg-type]
    found = plan(nodes(link), namespace(0), namespace(1, up0, *there))
    return texts(found)


class TestWhatKeepsALinkFromItsParent:
    """The kernel refuses each of these with a bare EBUSY, EINVAL or EEXIST."""

    @pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
    def test_a_port_of_a_bridge(self, kind: str) -> None:
        bridge = Interface(7, "br0", kind="bridge")
        assert obstacles(on(kind, "c:e0", "h:up0"), bridge, more={"master": 7}) == [
            f"link.parent: up0 is a port of the bridge br0, and cannot be the parent of a {kind}: use br0, or take up0 "
            "out of it (ip link set up0 nomaster)"
        ]
        assert obstacles(on("vxlan", "c:e0", "h:up0"), bridge, more={"master": 7}) == []
        assert obstacles(on(kind, "c:e0", "h:up0"), Interface(7, "red", kind="vrf"), more={"master": 7}) == []

    @pytest.mark.parametrize(("kind", "other"), [("macvlan", "ipvlan"), ("ipvlan", "macvlan")])
    def test_the_other_kind(self, kind: str, other: str) -> None:
        (said,) = obstacles(on(kind, "c:e0", "h:up0"), theirs("x0", 9, other))
        assert said == f"link.parent: up0 is the parent of the {other} x0, and cannot have a {kind}, too"
        assert obstacles(on(kind, "c:e0", "h:up0"), theirs("x0", 9, other, parent=5)) == []

    @pytest.mark.parametrize(
        ("mode", "there", "refused"),
        [("passthru", 4, "this one"), ("bridge", 8, "that one"), ("bridge", 4, "")],
    )
    def test_passthru(self, mode: str, there: int, refused: str) -> None:
        found = obstacles(on("macvlan", "c:e0", "h:up0", mode=mode), theirs("x0", 9, "macvlan", mode=there))
        assert [f"mode passthru of {refused}" in said for said in found] == ([True] if refused else [])

    def test_a_loopback(self) -> None:
        assert obstacles(on("macvlan", "c:e0", "h:lo")) == [
            "link.parent: a loopback interface cannot be the parent of a macvlan"
        ]

    def test_a_tunnel_of_the_same_number(self) -> None:
        link = on("vxlan", "c:e0", "h:up0")
        made: Any = KINDS["vxlan"].create(link, ({},), 2)["linkinfo"]
        data = {**made["data"], "link": 5}  # on another parent: a namespace has each number once
        said = ["link.vni: x0, a vxlan whose parent is in the same namespace, has this vni already"]
        assert obstacles(link, theirs("x0", 9, "vxlan", 0, **data)) == said
        assert obstacles(link, theirs("x0", 9, "vxlan", 0, **{**data, "id": 8})) == []
        assert obstacles(link, theirs("x0", 9, "vxlan", 0, **{**data, "group6": bytes(15) + b"\1"})) == []

    def test_a_vlan_of_the_same_number(self) -> None:
        link = on("vlan", "c:e0", "h:up0", id=5)
        data = {"id": 5, "protocol": 0x8100}
        said = ["link.id: x0, a vlan on up0, has this id already"]
        assert obstacles(link, theirs("x0", 9, "vlan", **data)) == said
        assert obstacles(link, theirs("x0", 9, "vlan", parent=5, **data)) == []

    def test_an_alternative_name(self) -> None:
        up0 = Interface(2, "up0", mtu=1500, more={"prop_list": {"alt_ifname": ["uplink", "enp1s0"]}})
        there = namespace(0), namespace(1, up0)
        hint = "; it is another name (altname) of up0, use that"
        found = plan(nodes(on("macvlan", "c:e0", "h:uplink")), *there)
        assert texts(found) == [f"link.parent: parent interface uplink not found in h{hint}"]
        tap = veth("c:t", end("h:t", mirror=Mirror("uplink", "ingress")))
        assert texts(plan(nodes(tap), *there)) == [f"h:t: there is no interface uplink in h to mirror{hint}"]
        found = plan(nodes(veth("c:t", "h:uplink")), *there)
        assert texts(found) == ["h:uplink.ifname: uplink is another name (altname) of the interface up0 in h"]
