"""What two hosts send to each other over a link, by a channel that may lose: that both end, and what they say."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from kokofast.verification.crossing import Across, Crossing, Far, read_across
from kokofast.verification.ports import NONE, CheckedLink, Finding, Impairment, Port
from kokofast.wire.probe import AF_INET, ETHERNET_HEADER, SMALL, number_of

NONCE = bytes(range(16))
MACS = (b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02")
TICK, WITHIN = 0.05, 30.0
MTU = 1450
NUMBER = 70_000


def end(side: int, *addresses: str, impairment: Impairment = NONE) -> Crossing:
    """One end of a link whose other end has these addresses."""
    own = [(AF_INET, bytes((10, 0, 0, 1 + side)), 24)]
    port = Port(0, "eth0", f"n{side}:eth0", mac=MACS[side], mtu=MTU, addresses=own, impairment=impairment)
    packed = [(AF_INET, bytes(map(int, one.split("."))), 24) for one in addresses]
    far = Far(NUMBER, side, f"n{1 - side}:eth0 on h{1 - side}", f"h{1 - side}", packed)
    return Crossing(CheckedLink("lab", "vxlan", port.title, [port]), port, far)


Loses = Callable[[int, bytes], bool]  # side of the sender, frame


def exchange(ends: list[Crossing], loses: Loses = lambda *_: False, begins: tuple[float, float] = (0.0, 0.0)) -> float:
    """Let both send until they are over or the time is; return when that was."""
    now = 0.0
    while now < WITHIN and not all(one.is_over() for one in ends):
        for side, one in enumerate(ends):
            if now < begins[side] or not one.is_due(now):
                continue
            for data in one.pending(NONCE):
                there = ends[1 - side]
                if now < begins[1 - side] or loses(side, data):
                    continue
                number = number_of(data, NONCE)
                if number is None:  # a question
                    one.unanswered = set()
                elif one.key(number) == (there.far.number, there.far.side):
                    there.arrive(number, data[6:12], data[:6])
        now += TICK
    for one in ends:
        one.judge(now)
    return now


def checks(one: Crossing) -> list[str]:
    return [found.check for found in one.wire.problems]


def test_both_ends_learn_of_each_other_and_end_soon() -> None:
    ends = [end(0, "10.0.0.2"), end(1, "10.0.0.1")]
    assert exchange(ends) < 2
    assert [one.wire.state for one in ends] == ["ok", "ok"]


def test_one_host_begins_later() -> None:
    ends = [end(0), end(1)]
    assert 20 < exchange(ends, begins=(0.0, 20.0)) < 23
    assert [one.wire.state for one in ends] == ["ok", "ok"]


@pytest.mark.parametrize("seed", range(20))
def test_half_of_all_frames_may_be_lost(seed: int) -> None:
    draw = random.Random(seed)
    ends = [end(0, impairment=Impairment(loss=0.5)), end(1, impairment=Impairment(loss=0.5))]
    exchange(ends, lambda *_: draw.random() < 0.5)
    assert [one.wire.state for one in ends] == ["ok", "ok"]


def is_full(data: bytes) -> bool:
    return len(data) == MTU + ETHERNET_HEADER


def is_broadcast(data: bytes) -> bool:
    return data[:6] == b"\xff" * 6


@pytest.mark.parametrize(
    ("loses", "found"),
    [
        (lambda *_: True, (["carry"], ["carry"])),
        (lambda side, _: side == 0, (["carry"], ["carry"])),  # n0 hears greetings, which nobody answers
        (lambda side, data: side == 0 and is_full(data), ([], ["mtu"])),
        (lambda _, data: is_full(data), (["mtu"], ["mtu"])),
        (lambda side, data: side == 0 and not is_broadcast(data), ([], ["carry"])),
    ],
)
def test_who_does_not_receive_says_so(loses: Loses, found: tuple[list[str], list[str]]) -> None:
    ends = [end(0), end(1)]
    assert exchange(ends, loses) >= WITHIN
    assert tuple(map(checks, ends)) == found


def test_the_messages() -> None:
    ends = [end(0), end(1)]
    exchange(ends, lambda side, data: side == 0 or is_full(data))
    assert ends[1].wire.problems == [
        Finding("carry", "frames from n0:eth0 on h0 do not arrive at n1:eth0, within 30 s")
    ]
    assert ends[0].wire.problems == [
        Finding("carry", "broadcasts from n1:eth0 on h1 arrive at n0:eth0, and no answer to frames from n0:eth0 does")
    ]


def test_addresses_that_are_not_in_a_network_of_the_end_are_not_asked_for() -> None:
    assert end(0, "10.0.0.2", "10.9.0.2").unanswered == {(AF_INET, bytes((10, 0, 0, 2)))}


def test_an_address_that_nobody_answers_for() -> None:
    ends = [end(0, "10.0.0.2"), end(1)]
    exchange(ends, lambda _, data: number_of(data, NONCE) is None)
    assert ends[0].wire.problems == [Finding("address", "n1:eth0 on h1 does not answer for 10.0.0.2 when n0:eth0 asks")]
    assert ends[1].wire.problems == []


def test_what_cannot_be_sent_is_said() -> None:
    one = end(0)
    one.refusal = OSError(100, "Network is down")
    one.judge(1.0)
    assert one.wire.problems == [Finding("carry", "nothing can be sent by n0:eth0: Network is down")]


def test_the_first_frame_is_small_and_for_all() -> None:
    (greeting,) = end(0).pending(NONCE)
    assert (len(greeting), is_broadcast(greeting)) == (SMALL, True)


GIVEN: dict[str, Any] = {
    "nonce": NONCE.hex(),
    "within": 23.0,
    "links": [{"end": "a:x", "number": 3, "side": 1, "host": "h2", "far": "b:y", "addresses": ["10.0.0.1/30"]}],
}


def test_what_hosts_verify_hands_over() -> None:
    far = Far(3, 1, "b:y on h2", "h2", [(AF_INET, b"\x0a\0\0\x01", 30)])
    assert read_across(json.dumps(GIVEN).encode()) == Across(NONCE, 23.0, {"a:x": far})


LINK: dict[str, Any] = GIVEN["links"][0]
WRONG_KIND = "not what 'hosts verify' gives"


def wrong(key: str, values: Iterable[object], message: str) -> list[tuple[dict[str, Any], str]]:
    """Return the same mistake in several forms."""
    return [({key: value}, message) for value in values]


def in_link(key: str) -> list[object]:
    """Return lists of a link, of which this value is none that it can have."""
    bad: tuple[object, ...] = (1.0, True, None, {})
    return [[{**LINK, key: value}] for value in bad]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonce": "12"}, "nonce must be of 16 bytes"),
        ({"nonce": "xy"}, "nonce: non-hexadecimal"),
        ({"nonce": 5}, f"nonce: {WRONG_KIND}: int"),
        *wrong("within", (0, -1, 10**400, 1e308, math.nan), "within a number of seconds up to"),
        *wrong("within", ("5", True, None, []), f"within: {WRONG_KIND}"),
        *wrong("links", (5, "", {}, None), f"links: {WRONG_KIND}"),
        *wrong("links", ([5], [[]], [{}], [None]), r"lacks what 'hosts verify' gives: links\[0\]\.number"),
        ({"links": [LINK, {"end": "a:x"}]}, r"lacks what 'hosts verify' gives: links\[1\]\.number"),
        ({"links": [{**LINK, "side": 2}]}, "side 0 or 1"),
        ({"links": [{**LINK, "number": 1 << 27}]}, "number must be from 0 to 134217727"),
        ({"links": [{**LINK, "addresses": ["x"]}]}, "does not appear to be an IPv4 or IPv6"),
        ({"links": [{**LINK, "addresses": [5]}]}, r"links\[0\]\.addresses: '5' does not appear"),
        *[one for key in LINK for one in wrong("links", in_link(key), rf"links\[0\]\.{key}: {WRONG_KIND}")],
    ],
)
def test_what_is_wrong_with_it(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_across(json.dumps({**GIVEN, **change}).encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "Expecting"),
        (b"", "Expecting"),
        (b"\xff", "utf-8"),
        (b"[1]", "lacks what 'hosts verify' gives: nonce"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_not_such_a_file(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_across(text)
