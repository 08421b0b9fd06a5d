"""What is planned in the namespaces of nodes, beside their links."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from kokofast.plan.node_change import Router
from kokofast.plan.nodes import lans_of
from kokofast.plan.observed import Interface, Namespace
from kokofast.plan.operations import ConfigureEnd, ConfigureNode, CreateLink, MakeNamespace, SetSysctls
from kokofast.plan.ownership import address_mark, marks_of_nodes, node_mark
from kokofast.plan.plan import Plan, Situation, nodes_to_look_at
from kokofast.plan.planner import make_plan
from kokofast.topology.model import AF_INET, AF_INET6, Link, Node, Route, Routing, Topology
from kokofast.topology.sysctls import DISABLE_IPV6
from kokofast.topology.values import parse_address, parse_ip_or_network
from tests.plan.builders import BOOT, LAB, end, identity_of, interface, link_alias, namespace, veth

A_B = veth(end("a:eth0", addresses=("10.0.0.0/31",)), end("b:eth0", addresses=("10.0.0.1/31",)))
B_C = veth(end("b:eth1", addresses=("10.0.0.2/31",)), end("c:eth0", addresses=("10.0.0.3/31",)))
NET_0 = AF_INET, bytes([10, 0, 0, 0]), 31, 0
NET_2 = AF_INET, bytes([10, 0, 0, 2]), 31, 0
NO_IPV6 = dict.fromkeys(DISABLE_IPV6, "1")
VIA_B = (("eth0", bytes([10, 0, 0, 1])),)


def topology(
    *links: Link, routing: bool = True, create: bool = False, multipath: bool = False, **nodes: Mapping[str, Any]
) -> Topology:
    names = dict.fromkeys(item.node for link in links for item in link.ends)
    made = {
        name: Node(name, "netns", name, create=create, place=f"$.nodes.{name}", **nodes.get(name, {})) for name in names
    }
    return Topology(LAB, made, links, Routing(multipath) if routing else None)


def route(to: str, via: str | None = None, dev: str | None = None, metric: int | None = None) -> Route:
    return Route(parse_ip_or_network(to), None if via is None else parse_ip_or_network(via), dev, metric)


def plan(wanted: Topology, *observed: Namespace | None, routers: Mapping[int, Router] | None = None) -> Plan:
    situation = Situation({name: number for number, name in enumerate(wanted.nodes)}, observed, BOOT)
    situation.routers = routers or {}
    return make_plan(wanted, situation)


def there(*links: Link, marked: tuple[int, ...] = (), lo_up: bool = True) -> list[Namespace]:
    """The namespaces of a lab that is up, as a look finds them."""
    names = list(dict.fromkeys(item.node for link in links for item in link.ends))
    found: dict[str, list[Interface]] = {name: [] for name in names}
    for number, link in enumerate(links):
        for position, item in enumerate(link.ends):
            one, other = 100 + 2 * number + position, 100 + 2 * number + 1 - position
            addresses = {address.text: True for address in item.addresses}
            found[item.node].append(interface(item.ifname, one, other, link_alias(link), addresses=addresses))
    made = []
    for number, name in enumerate(names):
        seen = namespace(number, *found[name])
        altnames = (node_mark(LAB),) if number in marked else ()
        lo = Interface(1, "lo", mtu=65536, up=lo_up, more={"prop_list": {"alt_ifname": list(altnames)}})
        made.append(Namespace(identity_of(number), {**seen.interfaces, "lo": lo}))
    return made


def changes(made: Plan) -> dict[str, ConfigureNode]:
    return {item.node: item for item in made.operations if isinstance(item, ConfigureNode)}


def sysctls(made: Plan) -> list[tuple[str, dict[str, str]]]:
    return [(item.node, dict(item.values)) for item in made.operations if isinstance(item, SetSysctls)]


def test_without_any_of_it_nothing_is_looked_at() -> None:
    wanted = topology(A_B, routing=False)
    situation = Situation({"a": 0, "b": 1}, there(A_B), BOOT)
    assert nodes_to_look_at(wanted, situation) == []
    assert plan(wanted, *there(A_B)).operations == []


def test_looked_at_are_nodes_of_such_a_file_and_those_that_were() -> None:
    situation = Situation({"a": 0, "b": 1}, there(A_B, marked=(1,)), BOOT)
    assert nodes_to_look_at(topology(A_B, routing=False), situation) == [1]
    assert nodes_to_look_at(topology(A_B), situation) == [0, 1]
    assert nodes_to_look_at(topology(A_B), Situation({"a": 0, "b": 1}, [None, None], BOOT)) == []


def test_in_new_namespaces_sysctls_come_before_links_and_routes_behind() -> None:
    made = plan(topology(A_B, B_C, create=True), None, None, None)
    kinds = [type(item) for item in made.operations]
    assert kinds[:4] == [MakeNamespace, MakeNamespace, MakeNamespace, SetSysctls]
    assert sysctls(made) == [("b", {"ipv4/ip_forward": "1"})]
    for number, item in enumerate(made.operations):
        before = {type(made.operations[other]) for other in made.after[number]}
        if isinstance(item, CreateLink):
            assert SetSysctls in before  # each of them has an end in b
        if isinstance(item, ConfigureNode):
            assert ConfigureEnd in before
    found = changes(made)
    assert found["a"].change.add_routes == {NET_2: VIA_B}
    assert found["a"].change.mark is True
    assert "b" not in found  # all is next to it
    assert made.routes == {0: 1, 2: 1}


def test_what_is_right_stays() -> None:
    routers = {0: Router({}, {NET_2: VIA_B}), 1: Router(sysctls={"ipv4/ip_forward": "1"}), 2: Router({}, {
        NET_0: (("eth0", bytes([10, 0, 0, 2])),)})}  # fmt: skip
    made = plan(topology(A_B, B_C), *there(A_B, B_C, marked=(0, 2)), routers=routers)
    assert made.operations == []


def test_routes_of_others_are_read_only_where_a_route_is_new() -> None:
    asked: list[int] = []

    def strangers(number: int) -> dict[Any, str]:
        asked.append(number)
        return {}

    there_are: dict[int, Any] = {0: {NET_2: VIA_B}, 2: {NET_0: (("eth0", bytes([10, 0, 0, 2])),)}}
    for missing in (None, 0, 2):
        asked.clear()
        routers = {
            ns: Router({}, {} if ns == missing else found, partial(strangers, ns)) for ns, found in there_are.items()
        }
        plan(topology(A_B, B_C), *there(A_B, B_C, marked=(0, 2)), routers=routers)
        assert asked == [one for one in (missing,) if one is not None]


def test_what_differs_is_replaced_and_what_is_not_wanted_removed() -> None:
    other = (("eth0", bytes([10, 0, 0, 9])),)
    gone = AF_INET, bytes([192, 0, 2, 0]), 24, 0
    addresses = {parse_address("10.255.0.1"): True, parse_address("10.254.0.1"): False}
    routers = {0: Router(addresses, {NET_2: other, gone: VIA_B})}
    made = plan(topology(A_B, B_C), *there(A_B, B_C, marked=(0,)), routers=routers)
    change = changes(made)["a"].change
    assert change.remove_routes == {NET_2: other, gone: VIA_B}
    assert change.add_routes == {NET_2: VIA_B}
    assert [address.text for address in change.remove] == ["10.255.0.1"]
    assert change.mark is None
    back = change.reversed()
    assert (back.add_routes, back.remove_routes) == (change.remove_routes, change.add_routes)
    assert (back.add, back.remove, back.mark) == (change.remove, change.add, None)


def test_what_left_the_file_goes_with_its_mark() -> None:
    made = plan(topology(A_B, routing=False), *there(A_B, marked=(0,)), routers={0: Router({}, {NET_2: VIA_B})})
    change = changes(made)["a"].change
    assert (change.mark, change.remove_routes, change.add_routes) == (False, {NET_2: VIA_B}, {})


def test_several_hops_in_any_order_are_the_same() -> None:
    again = veth(end("a:eth9", addresses=("10.1.0.0/31",)), end("b:eth9", addresses=("10.1.0.1/31",)))
    hops = ("eth9", bytes([10, 1, 0, 1])), ("eth0", bytes([10, 0, 0, 1]))
    links = A_B, again, B_C
    made = plan(topology(*links, multipath=True), *there(*links, marked=(0, 2)), routers={0: Router({}, {NET_2: hops})})
    assert "a" not in changes(made)


def test_a_strangers_route_is_a_problem() -> None:
    routers = {0: Router({}, {}, lambda: {NET_2: "via 10.0.0.1 dev eth0 proto static"})}
    (problem,) = plan(topology(A_B, B_C), *there(A_B, B_C), routers=routers).problems
    assert (problem.place, problem.message) == (
        "$.routing",
        "a already has a route to 10.0.0.2/31 (via 10.0.0.1 dev eth0 proto static), which is not ours; remove that",
    )
    given = topology(A_B, routing=False, a={"routes": (route("10.0.0.2/31", "10.0.0.1"),)})
    (problem,) = plan(given, *there(A_B), routers=routers).problems
    assert problem.place == "$.nodes.a.routes[0]"
    assert problem.message.endswith("remove that, or give the node's routes to 10.0.0.2/31 another metric")


def test_the_files_own_routes_come_before_those_of_routing() -> None:
    given = route("10.0.0.2/31", dev="eth0")
    more = route("::/0", "fe80::1", "eth0")
    change = changes(plan(topology(A_B, B_C, a={"routes": (given, more)}), *there(A_B, B_C)))["a"].change
    assert change.add_routes == {
        NET_2: (("eth0", b""),),
        (AF_INET6, bytes(16), 0, 1024): (("eth0", parse_ip_or_network("fe80::1").packed),),
    }


def test_addresses_of_others_stay_theirs() -> None:
    wanted = tuple(map(parse_address, ("10.254.0.1", "10.255.0.1")))
    routers = {0: Router({parse_address("10.254.0.1"): False})}
    change = changes(plan(topology(A_B, a={"addresses": wanted}), *there(A_B), routers=routers))["a"].change
    assert [address.text for address in change.add] == ["10.255.0.1"]
    assert list(change.remove) == []
    assert (change.mark, change.up) == (True, None)


def test_a_loopback_with_addresses_is_set_up() -> None:
    wanted = topology(A_B, routing=False, a={"addresses": (parse_address("10.255.0.1"),)})
    change = changes(plan(wanted, *there(A_B, lo_up=False)))["a"].change
    assert change.up is True
    assert change.reversed().up is False


def test_another_length_of_an_ipv6_address_is_a_problem() -> None:
    wanted = topology(A_B, routing=False, a={"addresses": (parse_address("2001:db8::1/128"),)})
    (problem,) = plan(wanted, *there(A_B), routers={0: Router({parse_address("2001:db8::1/64"): False})}).problems
    assert problem.place == "$.nodes.a.addresses[0]"
    assert "already with the prefix length 64; remove it first" in problem.message


def test_sysctls_of_the_file_come_before_those_of_routing() -> None:
    wanted = topology(A_B, B_C, b={"sysctls": {"ipv4/ip_forward": "0", "ipv4/conf/eth0/rp_filter": "2"}})
    made = plan(wanted, *there(A_B, B_C), routers={1: Router(sysctls={"ipv4/ip_forward": "1"})})
    assert sysctls(made) == [("b", {"ipv4/ip_forward": "0"}), ("b", {"ipv4/conf/eth0/rp_filter": "2"})]


def test_ipv6_goes_only_where_no_address_is_lost() -> None:
    wanted = topology(veth("a:x", "b:x"), routing=False, create=True, a={"sysctls": NO_IPV6, "ipv6": False})
    assert sysctls(plan(wanted, None, None)) == [("a", NO_IPV6)]
    on = Router(sysctls=dict.fromkeys(DISABLE_IPV6, "0"))
    on.ipv6 = ["eth7"]
    (problem,) = plan(wanted, namespace(0), None, routers={0: on}).problems
    lost = "a has IPv6 addresses (eth7), which would be lost; remove them first"
    assert (problem.place, problem.message) == ("$.nodes.a.ipv6", lost)
    off = Router(sysctls=NO_IPV6)
    assert sysctls(plan(wanted, namespace(0), None, routers={0: off})) == []


def test_numbers_are_compared_as_numbers() -> None:
    wanted = topology(A_B, routing=False, a={"sysctls": {"ipv4/tcp_rmem": "4096 009 99", "ipv4/x": "reno"}})
    routers = {0: Router(sysctls={"ipv4/tcp_rmem": "4096\t9\t99", "ipv4/x": "reno"})}
    assert plan(wanted, *there(A_B), routers=routers).operations == []


def test_a_link_that_carries_no_routes_is_noted() -> None:
    made = plan(topology(veth("a:x", "b:x"), veth("b:y", "c:y"), A_B, create=True), None, None, None)
    assert made.notes == [
        "no route leads over a:x--b:x, and 1 more link: both ends need addresses of one network (subnet)"
    ]


def test_marks_tell_labs_apart() -> None:
    names = [node_mark("x"), "kokofast:y", node_mark("lab.7"), "eth0", "kokofast:/:node"]
    lo = Interface(1, "lo", more={"prop_list": {"alt_ifname": names}})
    assert marks_of_nodes(Namespace((4, 1), {"lo": lo})) == ["x", "lab.7"]
    assert marks_of_nodes(Namespace((4, 1), {})) == marks_of_nodes(None) == []
    marks = {address_mark(f"lab{number}") for number in range(100)}
    assert len(marks) == 100
    assert {mark >> 24 for mark in marks} == {0x4B}


def port(title: str, master: str) -> Any:
    return end(title, properties={"master": master})


def test_the_ports_of_a_bridge_are_one_lan() -> None:
    bridge = Link("bridge", (end("s:br0", addresses=("10.5.0.9/24",)),), options={"stp": False, "group_fwd_mask": 0})
    links = [
        bridge,
        *(
            veth(end(f"{n}:eth0", addresses=(f"10.5.0.{i}/24",)), port(f"s:p{i}", "br0"))
            for i, n in enumerate("abc", 1)
        ),
        veth(end("c:eth1", addresses=("10.6.0.0/31",)), end("d:eth0", addresses=("10.6.0.1/31",))),
    ]
    change = changes(plan(topology(*links, create=True), None, None, None, None, None))
    far = AF_INET, bytes([10, 6, 0, 0]), 31, 0
    for name in "abs":
        ifname = "br0" if name == "s" else "eth0"
        assert change[name].change.add_routes == {far: ((ifname, bytes([10, 5, 0, 3])),)}
    near = AF_INET, bytes([10, 5, 0, 0]), 24, 0
    assert change["d"].change.add_routes == {near: (("eth0", bytes([10, 6, 0, 0])),)}


def test_two_bridges_with_a_link_between_them_are_one_lan() -> None:
    links = [
        veth(end("a:eth0", addresses=("10.5.0.1/24",)), port("s:p0", "br0")),
        veth(end("b:eth0", addresses=("10.5.0.2/24",)), port("t:p0", "br1")),
        veth(port("s:x", "br0"), port("t:x", "br1")),
        veth(end("b:eth1", addresses=("10.6.0.0/31",)), end("c:eth0", addresses=("10.6.0.1/31",))),
    ]
    places = {name: number for number, name in enumerate("asbtc")}
    firsts, found = lans_of(topology(*links), places)
    assert [[item.node for _, item, _ in ends] for ends in found] == [["a", "b"], [], ["b", "c"]]
    assert firsts[0] is links[0]
