"""What is sent over links, how often and how long, and what it means when it does not arrive."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Sequence

import pytest

from kokofast.verification.expect import probes_for
from kokofast.verification.judge import judge
from kokofast.verification.ports import CheckedLink, Finding, Impairment, Port
from kokofast.verification.probes import FULL, SHORT, Probe, Question, Shot
from kokofast.wire.probe import number_of

NONCE = bytes(16)
BOTH = SHORT | FULL


def port(ns: int, ifname: str, **more: object) -> Port:
    return Port(ns, ifname, f"n{ns}:{ifname}", mac=bytes([2, 0, 0, 0, 0, ns]), **more)  # type: ignore[arg-type]


def wire(first: Port, second: Port) -> CheckedLink:
    return CheckedLink("lab", "veth", f"{first.title} -- {second.title}", [first, second])


def shots_of(wires: Sequence[CheckedLink]) -> list[Shot]:
    probes = probes_for(wires)
    assert all(isinstance(one, Shot) for one in probes)
    return [one for one in probes if isinstance(one, Shot)]


def judged(probes: Sequence[Probe], timeout: float = 10.0) -> None:
    judge(probes, lambda ns, ifname: f"n{ns}:{ifname}", timeout)


def test_a_request_is_the_small_frame_of_its_way() -> None:
    a, b = ([(2, bytes([10, 0, 0, last]), 24)] for last in (1, 2))
    link = wire(port(0, "a", mtu=9000, addresses=a), port(1, "b", addresses=b))
    probes = probes_for([link])
    there, back = (probe for probe in probes if isinstance(probe, Shot))
    assert [one.sender.ns for one in probes if isinstance(one, Question)] == [0, 1]
    assert [len(frame) for frame in there.pending(NONCE)] == [9014]
    assert [len(frame) for frame in back.pending(NONCE)] == [1514]
    there.is_new = False
    assert [len(frame) for frame in there.pending(NONCE)] == [60, 9014]
    there.arrive(FULL, 1, "b")
    back.arrive(FULL, 0, "a")
    assert list(there.pending(NONCE)) == []
    judged([there, back])
    assert link.state == "ok"


def test_each_end_sends_both_sizes_to_the_other() -> None:
    link = wire(port(0, "a", mtu=9000), port(1, "b"))
    there, back = shots_of([link])
    frames = list(there.pending(NONCE))
    assert [len(frame) for frame in frames] == [60, 9014]
    assert [len(frame) for frame in back.pending(NONCE)] == [60, 1514]
    numbers = [number_of(frame, NONCE) for frame in [*frames, *back.pending(NONCE)]]
    assert len(set(numbers)) == 4
    assert frames[0][:12] == link.ports[1].mac + link.ports[0].mac
    there.arrive(SHORT, 1, "b")
    assert [len(frame) for frame in there.pending(NONCE)] == [9014]
    there.arrive(FULL, 1, "b")
    back.arrive(BOTH, 0, "a")
    assert there.is_done()
    assert back.is_done()
    judged([there, back])
    assert link.state == "ok"


@pytest.mark.parametrize(
    ("size", "stray", "finding"),
    [
        (0, None, Finding("carry", "frames from n0:a do not arrive at n1:b")),
        (0, "c", Finding("peer", "frames from n0:a do not arrive at n1:b, but at n2:c")),
        (
            SHORT,
            None,
            Finding("mtu", "frames of 9000 bytes from n0:a do not arrive at n1:b, small ones do: its MTU is 1500"),
        ),
    ],
)
def test_what_is_lost(size: int, stray: str | None, finding: Finding) -> None:
    link = wire(port(0, "a", mtu=9000), port(1, "b"))
    there, back = shots_of([link])
    back.arrive(BOTH, 0, "a")
    if size:
        there.arrive(size, 1, "b")
    if stray:
        there.arrive(BOTH, 2, stray)
    judged([there, back])
    assert link.problems == [finding]
    assert link.state == "failed"


def test_what_also_arrives_elsewhere_is_no_fault() -> None:
    link = wire(port(0, "a"), port(1, "b"))
    there, back = shots_of([link])
    for shot, receiver in ((there, link.ports[1]), (back, link.ports[0])):
        shot.arrive(BOTH, receiver.ns, receiver.ifname)
        shot.arrive(BOTH, 2, "tap")
    judged([there, back])
    assert link.state == "ok"


def test_an_interface_that_is_gone() -> None:
    link = wire(port(0, "a"), port(1, "b"))
    there, back = shots_of([link])
    back.arrive(BOTH, 0, "a")
    there.refusal = OSError(errno.ENODEV, "No such device")
    judged([there, back])
    assert link.problems == [Finding("carry", "nothing can be sent by n0:a: No such device")]


def test_the_same_is_said_once() -> None:
    link = wire(port(0, "a", addresses=[(2, b"\x0a\0\0\1", 8)]), port(1, "b", addresses=[(2, b"\x0a\0\0\2", 8)]))
    probes = probes_for([link])
    for probe in probes:
        if probe.sender.ns == 0:
            probe.refusal = OSError(errno.ENODEV, "No such device")
    judged(probes)
    assert [one.message for one in link.problems].count("nothing can be sent by n0:a: No such device") == 1


def test_ends_that_are_down_are_sent_nothing() -> None:
    link = wire(port(0, "a", up=False), port(1, "b"))
    assert probes_for([link]) == []
    assert [one.check for one in link.problems] == ["down"]
    quiet = wire(port(0, "a", up=False, is_to_be_up=False), port(1, "b"))
    assert probes_for([quiet]) == []
    assert (quiet.state, quiet.notes) == ("unchecked", ["n0:a is down, as the file has it"])


def test_a_link_with_one_end_is_not_checked() -> None:
    link = CheckedLink("lab", "macvlan", "n0:m", [port(0, "m")])
    assert probes_for([link]) == []
    assert link.state == "unchecked"


def single(kind: str, number: int, fields: dict[str, object], **more: object) -> CheckedLink:
    link = CheckedLink("lab", kind, f"n{number}:m", [port(number, "m", **more)])
    link.ports[0].place(kind, fields)
    return link


def test_an_end_without_a_carrier_does_not_work() -> None:
    link = single("macvlan", 0, {"parent": "up:eth0", "mode": "bridge"}, lower_up=False)
    assert probes_for([link]) == []
    assert link.problems == [Finding("down", "n0:m has no carrier: its parent up:eth0 is down, or has none")]
    assert link.notes == []


def test_an_end_that_is_not_there_was_not_looked_at() -> None:
    link = CheckedLink("lab", "macvlan", "n0:m", [])
    assert probes_for([link]) == []
    assert link.notes == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_macvlans_on_a_parent_send_around_a_ring(count: int) -> None:
    links = [single("macvlan", number, {"parent": "up:eth0", "mode": "bridge"}) for number in range(count)]
    others = [
        single("macvlan", 7, {"parent": "up:eth1", "mode": "bridge"}),
        single("macvlan", 8, {"parent": "up:eth0", "mode": "vepa"}),
        single("macvlan", 9, {"parent": None, "mode": "bridge"}),
    ]
    ways = [(shot.sender.ns, shot.paths[0].receiver.ns) for shot in shots_of([*links, *others])]
    assert ways == ([(number, (number + 1) % count) for number in range(count)] if count > 1 else [])
    state = "ok" if count > 1 else "unchecked"
    assert [link.state for link in [*links, *others]] == [state] * count + ["unchecked"] * 3


def tunnel(number: int, local: str, remote: object, vni: int = 5, **more: object) -> CheckedLink:
    return single("vxlan", number, {"vni": vni, "port": 4789, "local": local, "remote": remote}, **more)


@pytest.mark.parametrize(
    ("tunnels", "is_checked"),
    [
        ([tunnel(0, "192.0.2.1", "192.0.2.2"), tunnel(1, "192.0.2.2", "192.0.2.1")], True),
        ([tunnel(0, "192.0.2.1", "192.0.2.2"), tunnel(1, "192.0.2.2", "192.0.2.1", 6)], False),
        ([tunnel(0, "192.0.2.1", "192.0.2.2"), tunnel(1, "192.0.2.2", "192.0.2.3")], False),
        ([tunnel(0, "192.0.2.1", "192.0.2.2"), tunnel(1, "192.0.2.2", ["192.0.2.1", "192.0.2.3"])], False),
        # Two networks with the same addresses: who is whose other end?
        ([tunnel(0, "192.0.2.1", "192.0.2.2"), *[tunnel(n, "192.0.2.2", "192.0.2.1") for n in (1, 2)]], False),
        (
            [
                tunnel(0, "192.0.2.1", "192.0.2.2"),
                tunnel(1, "192.0.2.2", "192.0.2.1", impairment=Impairment(delay=1.0)),
            ],
            False,
        ),
    ],
)
def test_tunnels_to_each_other(tunnels: list[CheckedLink], is_checked: bool) -> None:
    ways = [(shot.sender.ns, shot.paths[0].receiver.ns) for shot in shots_of(tunnels)]
    assert ways == ([(0, 1), (1, 0)] if is_checked else [])
    assert {link.state for link in tunnels} == {"ok" if is_checked else "unchecked"}


def test_addresses_of_macvlans_are_asked_for() -> None:
    fields: dict[str, object] = {"parent": "up:eth0", "mode": "bridge"}
    links = [single("macvlan", n, fields, addresses=[(2, bytes([10, 0, 0, n]), 24)]) for n in (1, 2)]
    questions = [probe for probe in probes_for(links) if isinstance(probe, Question)]
    assert [(one.sender.ns, one.owner.ns) for one in questions] == [(1, 2), (2, 1)]


def first_of(impairment: Impairment) -> Shot:
    return shots_of([wire(port(0, "a", impairment=impairment), port(1, "b"))])[0]


def test_a_clean_link_is_given_less_than_a_second() -> None:
    shot = first_of(Impairment())
    assert shot.is_clean
    assert shot.seconds() == pytest.approx(0.7)


def test_an_interface_that_will_send_soon_is_given_some_seconds() -> None:
    for impairment in (Impairment(), Impairment(loss=0.5), Impairment(rate=1000)):
        end = port(0, "a", impairment=impairment)
        end.settling = True
        shot = shots_of([wire(end, port(1, "b"))])[0]
        assert shot.seconds() > first_of(impairment).seconds() + 2.9


def test_a_delay_is_waited_for() -> None:
    shot = first_of(Impairment(delay=3.0))
    assert not shot.is_clean
    assert shot.wait > 3.0


@pytest.mark.parametrize(("loss", "tries"), [(0.5, 20), (0.1, 6), (0.01, 3), (0.99, 200), (1.0, 200)])
def test_what_is_lost_by_design_is_sent_until_it_is_most_unlikely(loss: float, tries: int) -> None:
    shot = first_of(Impairment(loss=loss))
    assert shot.tries == tries
    if loss <= 0.9:
        assert loss**shot.tries <= 1.1e-6


def test_a_low_rate_is_not_overrun() -> None:
    shot = first_of(Impairment(rate=1000))  # bytes a second: both frames take 1.6 s
    assert shot.interval > 1.6
    assert shot.wait > 1.6


def test_a_loss_of_all_is_named() -> None:
    shot = first_of(Impairment(loss=1.0))
    judged([shot])
    assert shot.paths[0].wire.problems[0].message.endswith(": all of it is to be lost (loss 100%)")


def test_a_delay_beyond_the_limit_is_named() -> None:
    shot = first_of(Impairment(delay=20.0))
    judged([shot])
    (finding,) = shot.paths[0].wire.problems
    words = "within 10 s, and its delay, loss and rate may need 20.7 s; give --timeout"
    assert finding.message == f"frames from n0:a do not arrive at n1:b {words}"


def test_copies_of_a_mirror_are_expected_at_the_other_end_of_its_target() -> None:
    first = wire(port(0, "a"), port(1, "b"))
    copies = wire(port(0, "m", mirrors=[("a", "both")]), port(2, "m"))
    a_sends, b_sends, *_ = shots_of([first, copies])
    for shot in (a_sends, b_sends):
        shot.arrive(BOTH, shot.paths[0].receiver.ns, shot.paths[0].receiver.ifname)
        assert not shot.is_done()
    a_sends.arrive(BOTH, 2, "m")
    assert a_sends.is_done()
    judged([a_sends, b_sends])
    assert first.problems == []
    assert copies.problems == [Finding("mirror", "copies of what n0:a receives do not arrive at n2:m")]


def test_a_mirror_of_a_strange_interface_is_not_checked() -> None:
    copies = wire(port(0, "m", mirrors=[("eth0", "both")]), port(2, "m"))
    shots_of([copies])
    assert copies.notes == ["the mirror of eth0 was not checked: no link of the lab is known there"]


def lan(count: int, **more: object) -> list[CheckedLink]:
    """A bridge in namespace 200, with ends in others."""
    bridge = CheckedLink("lab", "bridge", "n200:br", [port(200, "br", ifindex=9)])
    ends = [port(number, "e", addresses=[(2, bytes([10, 0, 0, number]), 24)], **more) for number in range(count)]
    return [bridge, *(wire(end, port(200, f"brp{end.ns}", master=9)) for end in ends)]


@pytest.mark.parametrize(("count", "paths"), [(3, 3 * 2), (64, 64 * 63), (65, 64 + 64)])
def test_the_ends_of_a_lan_reach_each_other(count: int, paths: int) -> None:
    wires = lan(count)
    probes = probes_for(wires)
    shots = [one for one in probes if isinstance(one, Shot) and one.in_lan]
    assert len(shots) == count
    assert sum(len(shot.paths) for shot in shots) == paths
    assert {path.wire for shot in shots for path in shot.paths} == {wires[0]}
    questions = [one for one in probes if isinstance(one, Question)]
    assert [one.owner.ns for one in questions] == list(range(count))
    assert all(one.sender is not one.owner for one in questions)


def test_a_lan_that_is_dead_gets_few_findings() -> None:
    wires = lan(30)
    judged(probes_for(wires))
    messages = [one.message for one in wires[0].problems if one.check == "carry"]
    assert len(messages) == 11
    assert messages[-1] == "and 860 more like this"


def test_a_lan_of_one_end_is_not_checked() -> None:
    wires = lan(1)
    probes_for(wires)
    assert wires[0].state == "unchecked"
    assert wires[0].notes == ["fewer than two of its ends are up: there is nothing to send between"]


@pytest.mark.parametrize(
    ("first", "second", "asked"),
    [
        ("10.0.0.1/24", "10.0.0.2/24", True),
        ("10.0.0.0/31", "10.0.0.1/31", True),
        ("10.0.0.1/24", "10.0.0.2/16", True),
        ("10.0.0.1/24", "10.0.1.2/16", False),
        ("10.0.0.1/32", "10.0.0.2/32", False),
        ("2001:db8::1/64", "2001:db8::2/64", True),
        ("2001:db8::1/64", "10.0.0.2/24", False),
        ("0.0.0.1/0", "10.0.0.2/0", True),
    ],
)
def test_addresses_of_one_network_are_asked_for(first: str, second: str, asked: bool) -> None:
    given = [ipaddress.ip_interface(text) for text in (first, second)]
    packed = [(2 if one.version == 4 else 10, one.packed, one.network.prefixlen) for one in given]
    link = wire(port(0, "a", addresses=[packed[0]]), port(1, "b", addresses=[packed[1]]))
    probes = probes_for([link])
    questions = [one for one in probes if isinstance(one, Question)]
    assert [one.owner.ns for one in questions] == ([1, 0] if asked else [])
    assert all(one.seconds() > 3 for one in questions)
    judged(questions)
    if asked:
        text = f"n1:b does not answer for {given[1].ip} when n0:a asks"
        assert link.problems[0] == Finding("address", text)
