"""The judge sees every kind of damage, on real namespaces."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import judge
from bench.contender import ROOT, Contender
from bench.links import WrongState
from bench.measure import run
from bench.scenario import Scenario
from tests.bench.conftest import Fresh
from tests.conftest import ip

Everyone = Callable[[str], Contender]
Made = Callable[[str], Scenario]


@pytest.fixture
def made(everyone: Everyone, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """``made(name)``: a scenario that is up."""
    monkeypatch.setattr("bench.judge.DATAGRAM_TIMEOUT", 1.5)  # one ARP repetition

    def make(name: str) -> Scenario:
        scenario = fresh(name)
        run(everyone("floor").up(scenario, tmp_path), tmp_path)
        scenario.verify_up()
        return scenario

    return make


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (("link", "set", "eth0", "down"), "eth0 is down"),
        (("link", "set", "eth0", "name", "x0", "down"), r"too many, lacks \['eth0'\]"),
        (("address", "delete", "10.0.0.1/31", "dev", "eth0"), "eth0 has no address"),
        (("link", "add", "eth7", "type", "veth", "peer", "name", "x7"), r"has \['eth7'\] too many"),
        (("link", "set", "eth1", "arp", "off", "address", "02:00:00:00:00:01"), "no datagram from "),
    ],
)
def test_in_a_chain(made: Made, damage: tuple[str, ...], complaint: str) -> None:
    chain = made("chain")
    ip(f"{chain.prefix}1", *damage)
    with pytest.raises(WrongState, match=complaint):
        chain.verify_up()


def test_a_second_queue_unless_one_cannot_choose(made: Made) -> None:
    chain = made("chain")
    ip(f"{chain.prefix}0", "link", "delete", "eth1")
    ends = ("numtxqueues", "2", "numrxqueues", "2"), ("peer", "name", "eth0", "netns", f"{chain.prefix}1")
    ip(f"{chain.prefix}0", "link", "add", "eth1", "up", *ends[0], "type", "veth", *ends[1])
    ip(f"{chain.prefix}0", "address", "add", "10.0.0.0/31", "dev", "eth1")
    ip(f"{chain.prefix}1", "link", "set", "eth0", "up")
    ip(f"{chain.prefix}1", "address", "add", "10.0.0.1/31", "dev", "eth0")
    with pytest.raises(WrongState, match=r"has \(2, 2\) queues, should have \(1, 1\)"):
        chain.verify_up()
    chain.verify_up(queues=None)


def test_a_link_that_is_left(made: Made) -> None:
    with pytest.raises(WrongState, match="too many"):
        made("mesh").verify_gone()


def test_a_namespace_that_is_left(made: Made) -> None:
    with pytest.raises(WrongState, match="5 namespaces are still there"):
        made("chain-create").verify_gone()


def test_two_links_that_have_each_others_ends(made: Made) -> None:
    bundle = made("bundle")
    first, second = bundle.link(0), bundle.link(1)
    assert first.b is not None
    assert second.b is not None
    judge.check_peer(first.a, first.b)
    with pytest.raises(WrongState, match="the other end of eth0 is eth1, should be eth3"):
        judge.check_peer(first.a, second.b)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("id", "9", "remote", "192.0.2.1", "dstport", "4789", "dev", "up0"), "is a vxlan of .9,"),
        (("id", "1", "remote", "192.0.2.9", "dstport", "4789", "dev", "up0"), "is a vxlan of .1, '192.0.2.9'"),
        (("id", "1", "remote", "192.0.2.1", "dstport", "4789", "dev", "up1"), "stands on "),
        (("id", "1", "remote", "192.0.2.1", "dstport", "4789"), "stands on None"),
    ],
)
def test_a_vxlan_to_elsewhere(made: Made, options: tuple[str, ...], complaint: str) -> None:
    vxlan = made("vxlan")
    ip(f"{vxlan.prefix}1", "link", "delete", "eth0")
    ip(f"{vxlan.prefix}0", "link", "add", "eth0", "netns", f"{vxlan.prefix}1", "type", "vxlan", *options)
    ip(f"{vxlan.prefix}1", "link", "set", "eth0", "up")
    ip(f"{vxlan.prefix}1", "address", "add", "10.0.0.0/31", "dev", "eth0")
    with pytest.raises(WrongState, match=complaint):
        vxlan.verify_up()


@pytest.mark.parametrize("hook", ["ingress", "egress"])
def test_a_mirror_of_one_direction(made: Made, hook: str) -> None:
    mirror = made("mirror")
    subprocess.run(["tc", "-n", f"{mirror.prefix}0", "filter", "delete", "dev", "lo", hook], check=True)
    with pytest.raises(WrongState, match="got 1 copies of a datagram"):
        mirror.verify_up()


def test_a_mirror_that_is_left(made: Made) -> None:
    mirror = made("mirror")
    for number in range(mirror.size):
        ip(f"{mirror.prefix}{number}", "link", "delete", "eth1")
    with pytest.raises(WrongState, match=r"lo still has .*\n?.*clsact"):
        mirror.verify_gone()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("qdisc delete dev eth0 root", "eth0 has the rate None, should have 1250000"),
        ("qdisc replace dev eth0 root tbf rate 5mbit burst 16k limit 64k", "eth0 has the rate 625000, should"),
    ],
)
def test_a_rate_that_is_not_as_it_should_be(
    everyone: Everyone, fresh: Fresh, tmp_path: Path, damage: str, complaint: str
) -> None:
    rated, ours = fresh("chain-rate"), everyone("kokofast")
    run(ours.up(rated, tmp_path), ROOT)
    rated.verify_up()
    with pytest.raises(WrongState, match="has the rate 1250000, should have 2500000"):
        rated.verify_changed()
    subprocess.run(["tc", "-n", f"{rated.prefix}1", *damage.split()], check=True)
    with pytest.raises(WrongState, match=complaint):
        rated.verify_up()


def test_a_route_too_few_and_one_of_somebody_else(everyone: Everyone, fresh: Fresh, tmp_path: Path) -> None:
    routes, ours = fresh("routes"), everyone("kokofast")
    run(ours.up(routes, tmp_path), ROOT)
    with pytest.raises(WrongState, match="has 0 routes to 0 networks, should have 2"):
        routes.verify_changed()
    change = ours.change(routes, tmp_path)
    assert change is not None
    run(change, ROOT)
    routes.verify_changed()
    ip(f"{routes.prefix}0", "route", "delete", "10.0.0.2/31")
    with pytest.raises(WrongState, match="has 1 routes to 1 networks, should have 2"):
        routes.verify_changed()
    ip(f"{routes.prefix}0", "route", "add", "10.0.0.2/31", "via", "10.0.0.1")
    with pytest.raises(WrongState, match="has 1 routes to 1 networks, should have 2"):
        routes.verify_changed()


def test_ends_of_a_segment_that_are_not_joined(
    everyone: Everyone, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.judge.DATAGRAM_TIMEOUT", 1.5)
    segment = fresh("segment")
    run(everyone("kokofast").up(segment, tmp_path), ROOT)
    segment.verify_up()
    with pytest.raises(WrongState, match="too many"):
        segment.verify_gone()
    ip(f"{segment.prefix}segment-segments", "link", "set", "br0p3", "nomaster")
    with pytest.raises(WrongState, match="no datagram from "):
        segment.verify_up()
    run(everyone("kokofast").destroy(segment, tmp_path), ROOT)
    segment.verify_gone()
