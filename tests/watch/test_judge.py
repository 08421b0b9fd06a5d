"""What the kernel's notifications mean for a lab: one line each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kokofast.plan.ownership import alias_of
from kokofast.topology import load
from kokofast.topology.model import Topology
from kokofast.watching.judge import Change, Judge, groups_for
from kokofast.watching.news import KEPT_MAX, News
from kokofast.wire import groups
from kokofast.wire.addr import AF_INET, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import IFF_UP, RTM_DELLINK, RTM_NEWLINK
from kokofast.wire.message import NLM_F_REPLACE, Request, pack
from kokofast.wire.netns import RTM_DELNSID, RTM_NEWNSID
from kokofast.wire.route import RTM_DELROUTE, RTM_NEWROUTE, RTPROT_KOKOFAST
from kokofast.wire.tc import RTM_DELQDISC, RTM_DELTFILTER, TC_H_ROOT

HERE, THERE, STRANGE = 3, 4, 9  # nsids
INDEX = 500
AF_BRIDGE = 7
ADDRESS = bytes((10, 0, 0, 1))


def lab(*links: dict[str, Any], **more: object) -> Topology:
    return load(json.dumps({"name": "lab", "links": links, **more}).encode(), filename="lab.json")


PLAIN = lab({"endpoints": ["a:e0:10.0.0.1/24", "b:e0"], "mtu": 1400}, {"endpoints": ["a:e1", "b:e1"]})
MASTERED = lab({"type": "bridge", "endpoint": "a:br0"}, {"endpoints": ["a:e0", "b:e0"], "master": "br0"})
ROUTED = lab(
    {"endpoints": ["a:e0:10.0.0.1/24", "b:e0:10.0.0.2/24"]},
    nodes={"a": {"netns": "a", "addresses": ["10.9.0.1/32"]}},
)
MIRRORED = lab(
    {"endpoints": [{"node": "a", "interface": "e0", "mirror": {"from": "e1", "direction": "both"}}, "b:e0"]},
    {"endpoints": ["a:e1", "b:e1"]},
)

Message = tuple[int, bytes]


def message(type: int, header: dict[str, object], attributes: dict[str, object], flags: int = 0) -> bytes:
    """One notification."""
    return pack(Request(type, header, attributes, flags), 0, ack=False)


def shown(
    topology: Topology = PLAIN, number: int = 0, type: int = RTM_NEWLINK, up: bool = True, **changed: object
) -> bytes:
    """What is told of a:e0 of a topology."""
    alias = alias_of("lab", topology.links[number])
    family = changed.pop("family", 0)
    index = changed.pop("index", INDEX)
    attributes = {"ifname": f"e{number}", "ifalias": alias, "mtu": 1400, **changed}
    header: dict[str, object] = {"family": family, "index": index, "flags": IFF_UP if up else 0}
    return message(type, header, attributes)


def address(type: int, packed: bytes = ADDRESS, prefixlen: int = 24, index: int = INDEX) -> bytes:
    header: dict[str, object] = {"family": AF_INET, "prefixlen": prefixlen, "index": index}
    return message(type, header, {"local": packed})


def route(type: int, protocol: int, flags: int = 0) -> bytes:
    return message(type, {"family": AF_INET, "protocol": protocol}, {}, flags)


def changes(topology: Topology, datagrams: Sequence[tuple[int | None, bytes]]) -> list[Change]:
    """What a judge finds who knows a and b, and the interfaces of a."""
    judge = Judge(topology)
    judge.learn(HERE, ["a"], {INDEX: "e0", INDEX + 1: "e1", 1: "lo"})
    judge.learn(THERE, ["b"], {})
    news = News()
    for nsid, datagram in datagrams:
        news.kept.add(nsid, datagram)
    return judge.changes(news.kept.take())


@pytest.mark.parametrize(
    ("datagram", "what"),
    [
        (shown(), None),
        (shown(up=False), "set down"),
        (shown(mtu=1300), "another mtu"),
        (shown(ifalias="mine"), "another alias"),
        (shown(ifname="foo"), "renamed to foo"),
        (shown(ifname="foo", ifalias="mine"), "renamed to foo"),
        (shown(ifname="foo", ifalias="mine", index=INDEX + 7), None),
        (shown(type=RTM_DELLINK), "deleted"),
        (shown(ifname="eth0", type=RTM_DELLINK), "deleted"),  # it was renamed before
        (shown(ifname="eth0", type=RTM_DELLINK, index=INDEX + 7), None),
        (shown(family=AF_BRIDGE, type=RTM_DELLINK), None),
        (address(RTM_DELADDR), "address removed"),
        (address(RTM_NEWADDR), None),
        (address(RTM_DELADDR, prefixlen=16), None),
        (address(RTM_DELADDR, bytes((10, 0, 0, 9))), None),
        (address(RTM_DELADDR, index=INDEX + 1), None),
    ],
)
def test_what_a_notification_means(datagram: bytes, what: str | None) -> None:
    assert changes(PLAIN, [(HERE, datagram)]) == ([] if what is None else [Change("a", "e0", what)])
    assert changes(PLAIN, [(STRANGE, datagram)]) == []


def test_an_address_of_an_unknown_interface_is_looked_at() -> None:
    assert changes(PLAIN, [(HERE, address(RTM_DELADDR, index=77))]) == [Change("a", "", "address removed")]


def test_the_last_state_counts() -> None:
    gone, down, again = shown(type=RTM_DELLINK), shown(up=False, index=INDEX + 9), shown(index=INDEX + 9)
    assert changes(PLAIN, [(HERE, one) for one in (gone, down, again)]) == []
    assert changes(PLAIN, [(HERE, one) for one in (again, gone)]) == [Change("a", "e0", "deleted")]


def test_what_goes_with_an_interface_is_not_reported_beside_it() -> None:
    datagrams = [(HERE, address(RTM_DELADDR)), (HERE, shown(type=RTM_DELLINK))]
    assert changes(PLAIN, datagrams) == [Change("a", "e0", "deleted")]


def test_the_end_of_a_namespace() -> None:
    ended = message(RTM_DELNSID, {}, {"nsid": THERE})
    assert changes(PLAIN, [(None, ended)]) == [Change("b", "", "namespace ended")]
    # The numbers that other namespaces give, and those that we give.
    assert changes(PLAIN, [(HERE, ended), (None, message(RTM_NEWNSID, {}, {"nsid": THERE}))]) == []


def test_what_is_known_of_interfaces_is_that_of_living_namespaces() -> None:
    judge = Judge(PLAIN)
    for nsid in range(100):  # a container that is restarted: each namespace has a new number
        judge.learn(nsid, ["a"], {index: f"e{index}" for index in range(50)})
        judge.learn(nsid, ["a"], {1: "lo"})  # the others are gone, and what said so was lost
        news = News()
        news.kept.add(nsid, shown())
        news.kept.add(None, message(RTM_DELNSID, {}, {"nsid": nsid}))
        judge.changes(news.kept.take())
        assert len(f"{judge._names}{judge._nodes}") < 100


@pytest.mark.parametrize(
    ("datagram", "found"),
    [
        (route(RTM_DELROUTE, RTPROT_KOKOFAST), True),
        (route(RTM_DELROUTE, 4), False),
        (route(RTM_NEWROUTE, RTPROT_KOKOFAST), False),
        (route(RTM_NEWROUTE, 4), False),
        (route(RTM_NEWROUTE, 4, NLM_F_REPLACE), True),
    ],
)
def test_routes(datagram: bytes, found: bool) -> None:
    assert changes(ROUTED, [(HERE, datagram)]) == ([Change("a", "", "routes changed")] if found else [])


def test_the_loopback_of_a_node() -> None:
    gone = address(RTM_DELADDR, bytes((10, 9, 0, 1)), 32, index=1)
    assert changes(ROUTED, [(HERE, gone)]) == [Change("a", "lo", "address removed")]


def test_qdiscs_and_filters_of_a_lab_that_has_some() -> None:
    qdisc = message(RTM_DELQDISC, {"index": INDEX, "parent": TC_H_ROOT}, {"kind": "tbf"})
    filter = message(RTM_DELTFILTER, {"index": INDEX}, {"kind": "matchall"})
    assert changes(PLAIN, [(HERE, qdisc), (HERE, filter)]) == []
    assert changes(MASTERED, [(HERE, qdisc)]) == [Change("a", "e0", "qdisc changed")]
    assert Change("a", "", "filter deleted") in changes(MIRRORED, [(HERE, filter)])


def test_a_port_that_left_its_bridge() -> None:
    left = shown(MASTERED, 0, family=AF_BRIDGE, type=RTM_DELLINK)
    assert changes(MASTERED, [(HERE, left)]) == [Change("a", "e0", "left its bridge")]


def test_an_end_with_properties_is_looked_at_when_what_is_shown_of_them_changes() -> None:
    judge = Judge(MASTERED)
    judge.learn(HERE, ["a"], {})
    alias = alias_of("lab", MASTERED.links[1])
    for master, differs in ((5, True), (5, False), (6, True), (6, False)):
        news = News()
        news.kept.add(HERE, shown(MASTERED, 0, ifalias=alias, master=master))
        assert bool(judge.changes(news.kept.take())) == differs


@pytest.mark.parametrize(
    ("topology", "more"),
    [
        (PLAIN, ()),
        (MASTERED, groups.OF_QUEUES),
        (MIRRORED, groups.OF_QUEUES),
        (ROUTED, groups.OF_ROUTES),
    ],
)
def test_a_watch_hears_of_no_more_than_the_file_has(topology: Topology, more: tuple[int, ...]) -> None:
    assert groups_for(topology) == (*groups.ALWAYS, *more)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kokofast.watching.news.KEPT_MAX", 10)
    assert KEPT_MAX > 10
    news = News()
    for _ in range(100):
        news.kept.add(HERE, shown(index=1))  # the same one
        assert not news.kept.is_lost
    for index in range(11):
        news.kept.add(HERE, shown(index=index))
    assert news.kept.is_lost
    news.kept.take()
    assert not news


def test_bytes_that_are_no_messages_are_as_lost_ones() -> None:
    news = News()
    news.kept.add(HERE, b"\x20\0\0\0")
    assert news.kept.is_lost


Make = Callable[[], bytes]


def test_a_malformed_message_is_looked_at() -> None:
    datagram = bytearray(shown())
    datagram[32:34] = b"\xff\x00"  # the length of the first attribute
    found = changes(PLAIN, [(HERE, bytes(datagram))])
    assert [change.node for change in found] == ["a"]
