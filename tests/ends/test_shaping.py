"""Which qdisc impairments ask for, with which queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.ends import shaping
from kokofast.ends.shaping import IMPAIRMENTS, JITTER_MAX, Shaper, contradiction, options_of, shaper_for, shaper_in
from kokofast.topology.units import DAY_NS, RATE_MAX, SHARE_MAX, parse_rate, parse_share, parse_time

MS = 10**6
MBIT = 10**6 // 8


def shaper(mtu: int = 1500, **wanted: int) -> Shaper:
    found = shaper_for(wanted, mtu)
    assert found is not None
    return found


def test_nothing_asked_is_no_qdisc() -> None:
    assert shaper_for({}, 1500) is None
    assert shaper_for(dict.fromkeys(IMPAIRMENTS, 0), 1500) is None


def test_a_rate_alone_is_tbf() -> None:
    assert shaper(rate=10 * MBIT).kind == "tbf"
    assert shaper(rate=10 * MBIT, delay=0, loss=0).kind == "tbf"


@pytest.mark.parametrize("name", [name for name in IMPAIRMENTS if name != "rate"])
def test_anything_else_is_netem(name: str) -> None:
    assert shaper(**{name: 1}).kind == "netem"
    assert shaper(**{name: 1, "rate": 10 * MBIT}).kind == "netem"


@pytest.mark.parametrize(
    ("rate", "mtu", "burst", "limit"),
    [
        ("64kbit", 1500, 2 * 1514, 2 * 1514 + 10 * 1514),
        ("10mbit", 1500, 12_500, 12_500 + 62_500),
        ("64kbit", 1280, 2 * 1514, 2 * 1514 + 10 * 1514),
        ("10mbit", 9000, 2 * 9014, 2 * 9014 + 10 * 9014),
        ("100mbit", 1500, 125_000, 125_000 + 625_000),
        ("1gbit", 1500, 131_072, 131_072 + 6_250_000),
        ("10gbit", 1500, 1_250_000, 1_250_000 + 62_500_000),
        ("10tbit", 1500, 1_250_000_000, 0xFFFFFFFF),
    ],
)
def test_the_bucket_and_the_queue_of_tbf(rate: str, mtu: int, burst: int, limit: int) -> None:
    assert shaper(mtu, rate=parse_rate(rate)).numbers == {"rate": parse_rate(rate), "burst": burst, "limit": limit}


@given(st.integers(1, RATE_MAX), st.integers(68, 65535))
def test_tbf_lets_the_largest_packet_through(rate: int, mtu: int) -> None:
    found = shaper(mtu, rate=rate)
    if found.kind == "netem":
        assert rate < 500
        return
    assert found.numbers["burst"] >= mtu + 14
    assert found.numbers["limit"] >= found.numbers["burst"]
    options: Any = options_of(found)
    assert options["parms"]["header"]["buffer"] <= 0xFFFFFFFF


def test_a_rate_of_some_bits_is_netem() -> None:
    """The burst of tbf would be longer than the kernel can show."""
    assert shaper(rate=11).kind == "netem"
    assert shaper(rate=12).kind == "tbf"
    assert shaper(65_535, rate=476).kind == "netem"
    assert shaper(65_535, rate=477).kind == "tbf"


@pytest.mark.parametrize(
    ("wanted", "limit"),
    [
        ({"loss": "10%"}, 1000),
        ({"delay": "20ms", "rate": "1mbit"}, 1000),
        # 10 Gbit/s x 50 ms is 41,282 packets on the way, and as many in the queue.
        ({"delay": "50ms", "rate": "10gbit"}, 82_563),
        ({"delay": "50ms", "jitter": "50ms", "rate": "10gbit"}, 123_845),
        ({"delay": "50ms"}, 41_282),
        ({"delay": "50ms", "limit": "100"}, 100),
        ({"delay": "86400s", "rate": "10tbit"}, 0xFFFFFFFF),
    ],
)
def test_the_queue_of_netem(wanted: dict[str, str], limit: int) -> None:
    parsers: dict[str, Callable[[str], int]]
    parsers = {"delay": parse_time, "jitter": parse_time, "rate": parse_rate, "limit": int}
    numbers = {name: parsers.get(name, parse_share)(text) for name, text in wanted.items()}
    assert shaper(**numbers).numbers["limit"] == limit


def test_a_reorder_has_its_gap() -> None:
    assert shaper(delay=20 * MS, reorder=SHARE_MAX // 4).numbers["gap"] == 1
    assert shaper(delay=20 * MS).numbers["gap"] == 0


@pytest.mark.parametrize(
    ("wanted", "field", "needed"),
    [
        ({"jitter": 1}, "jitter", "delay"),
        ({"jitter": 1, "delay": 0}, "jitter", "delay"),
        ({"reorder": 1, "rate": 1}, "reorder", "delay"),
        ({"delay_correlation": 1, "delay": 1}, "delay_correlation", "jitter"),
        ({"loss_correlation": 1}, "loss_correlation", "loss"),
        ({"duplicate_correlation": 1}, "duplicate_correlation", "duplicate"),
        ({"corrupt_correlation": 1}, "corrupt_correlation", "corrupt"),
        ({"reorder_correlation": 1, "delay": 1}, "reorder_correlation", "reorder"),
        ({"limit": 10, "loss": 1}, "limit", "a delay or a rate"),
        ({"delay": 1, "jitter": JITTER_MAX + 1}, "jitter", "2.147483647s at most"),
    ],
)
def test_what_has_no_effect_by_itself(wanted: dict[str, int], field: str, needed: str) -> None:
    found = contradiction(wanted)
    assert found is not None
    assert found[0] == field
    assert needed in found[1]


@pytest.mark.parametrize(
    "wanted", [{}, {"delay": 1, "jitter": 2}, {"limit": 1, "rate": 1}, dict.fromkeys(IMPAIRMENTS, 1)]
)
def test_what_has_an_effect(wanted: dict[str, int]) -> None:
    assert contradiction(wanted) is None


@st.composite
def impairments(draw: st.DrawFn) -> dict[str, int]:
    most = {"delay": DAY_NS, "jitter": JITTER_MAX, "rate": RATE_MAX, "limit": 0xFFFFFFFF}
    names = draw(st.lists(st.sampled_from(IMPAIRMENTS), unique=True, min_size=1))
    return {name: draw(st.integers(1, most.get(name, SHARE_MAX))) for name in names}


@given(impairments() | st.builds(lambda rate: {"rate": rate}, st.integers(1, RATE_MAX)), st.integers(68, 65535))
def test_what_is_written_is_what_is_read(wanted: dict[str, int], mtu: int) -> None:
    asked = shaper(mtu, **wanted)
    found = shaper_in(asked.kind, options_of(asked))
    assert found.is_like(asked)
    assert asked.is_like(found)
    # So a rollback gives back what was there: the burst as the time that the kernel keeps, its bytes are rounded.
    ours, theirs = options_of(asked), options_of(found)
    ours.pop("burst", None)
    theirs.pop("burst", None)
    assert theirs == ours


@pytest.mark.parametrize("name", [*IMPAIRMENTS, "gap"])
def test_any_other_number_is_another_netem(name: str) -> None:
    first = shaper(**dict.fromkeys(IMPAIRMENTS, 10**6))
    assert not first.is_like(Shaper("netem", {**first.numbers, name: 10**6 + 1 if name != "gap" else 0}))


@pytest.mark.parametrize("rate", ["64kbit", "10mbit", "10gbit", "10tbit"])
def test_another_tbf(rate: str) -> None:
    first = shaper(rate=parse_rate(rate))
    burst = first.numbers["burst"]
    for name, number in (
        ("rate", parse_rate(rate) - 1),
        ("limit", 1),
        ("burst", burst // 2),
        ("burst", burst * 9 // 8),
    ):
        assert not first.is_like(Shaper("tbf", {**first.numbers, name: number})), name
    assert not first.is_like(shaper(rate=parse_rate(rate), loss=1))


def test_ends_with_the_same_impairments_share_what_was_computed() -> None:
    first = shaper_for({"rate": 1000, "delay": 5}, 1500)
    assert shaper_for({"rate": 1000, "delay": 5}, 1500) is first
    for other, mtu in (({"rate": 1000}, 1500), ({"rate": 1000, "delay": 5}, 9000), ({"delay": 1000, "rate": 5}, 1500)):
        found = shaper_for(other, mtu)
        assert found is not None
        assert found is not first
        assert found.numbers["rate"] == other["rate"]
    for number in range(1, 1000):  # what is kept is bounded
        found = shaper_for({"rate": number}, 1500)
        assert found is not None
        assert found.numbers["rate"] == number
    assert len(shaping._SHAPERS) <= shaping._MAX_SHAPERS
