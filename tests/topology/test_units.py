"""Times, rates and shares: what is a quantity, what it is, and that writing undoes reading."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.topology.units import (
    DAY_NS,
    RATE_MAX,
    SHARE_MAX,
    format_rate,
    format_share,
    format_time,
    parse_rate,
    parse_share,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0s", 0),
        ("1ns", 1),
        ("100us", 100_000),
        ("20ms", 20_000_000),
        ("1s", 10**9),
        ("1.5s", 1_500_000_000),
        ("2.000000001secs", 2_000_000_001),
        ("20MSEC", 20_000_000),
        ("007msecs", 7_000_000),
        ("0.5us", 500),
        ("3usecs", 3000),
        ("5nsec", 5),
        ("86400s", DAY_NS),
    ],
)
def test_a_time(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == nanoseconds


# Bytes a second. What tc 6.1 sends for these; see also tests/kernel/test_shaping.py.
@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0bit", 0),
        ("8bit", 1),
        ("15bit", 1),
        ("10mbit", 1_250_000),
        ("10Mbit", 1_250_000),
        ("1gbit", 125_000_000),
        ("1.5gbit", 187_500_000),
        ("1tbit", 125 * 10**9),
        ("64kbit", 8000),
        ("1mibit", 131_072),
        ("1kibit", 128),
        ("1gibit", 1 << 27),
        ("1tibit", 1 << 37),
        ("1bps", 1),
        ("1kbps", 1000),
        ("1mbps", 1_000_000),
        ("1mibps", 1 << 20),
        ("1gibps", 1 << 30),
        ("10tbit", RATE_MAX),
    ],
)
def test_a_rate(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("0%", 0),
        ("0.1%", 0x00418937),
        ("1%", 0x028F5C29),
        ("5%", 0x0CCCCCCD),
        ("25%", 0x40000000),
        ("50%", 0x80000000),
        ("100%", SHARE_MAX),
        ("0.00000003%", 1),
    ],
)
def test_a_share(text: str, share: int) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize(
    "text", ["20 sec", "20", "", "ms", "-1ms", "+1ms", "1e3ms", ".5s", "5.s", "1.2.3s", "1h", "20%"]
)
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not a time: write for instance "20ms", "1.5s" or "100us"$'):
        parse_time(text)


@pytest.mark.parametrize(
    "text", ["10", "10 mbit", "10m", "10mb", "10mbit/s", "10mbits", "0x10bit", "-1bit", "10%", "1\u212abit", "٣bit"]
)
def test_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not a rate: write for instance "10mbit", .*mbps is megabytes a second'):
        parse_rate(text)


@pytest.mark.parametrize("text", ["1", "0.1", "1 %", "-1%", "%", "1%%", "one%", "0.1percent"])
def test_no_share(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not a percentage: write for instance "0.1%" or "25%"$'):
        parse_share(text)


@pytest.mark.parametrize(
    ("parse", "text", "sentence"),
    [
        (parse_time, "1.5ns", "has a part of a nanosecond"),
        (parse_time, "86400.1s", "is longer than a day, 86400s"),
        (parse_rate, "7bit", "is less than a byte a second, 8bit"),
        (parse_rate, "10.1tbit", "is more than 10tbit"),
        (parse_share, "100.1%", "is more than 100%"),
        (parse_share, "0.00000001%", "is less than the kernel can tell from 0, 0.00000002%"),
        (parse_time, "9" * 5000 + "s", "is not a time: write"),
        (parse_rate, "9" * 37 + "bit", "is more than 10tbit"),
    ],
)
def test_out_of_range(parse: Callable[[str], int], text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(text)


@pytest.mark.parametrize(
    ("format", "value", "text"),
    [
        (format_time, 0, "0ns"),
        (format_time, 999, "999ns"),
        (format_time, 20_000_000, "20ms"),
        (format_time, 1_500, "1.5us"),
        (format_time, 10**9, "1s"),
        (format_time, 2_000_000_001, "2.000000001s"),
        (format_rate, 0, "0bit"),
        (format_rate, 1_250_000, "10mbit"),
        (format_rate, 131_072, "1.048576mbit"),
        (format_rate, 1, "8bit"),
        (format_rate, 5 * 10**9, "40gbit"),
        (format_share, 0, "0%"),
        (format_share, 0x00418937, "0.1%"),
        (format_share, 0x028F5C29, "1%"),
        (format_share, SHARE_MAX, "100%"),
        (format_share, SHARE_MAX - 1, "99.99999998%"),
    ],
)
def test_the_text_of_a_value(format: Callable[[int], str], value: int, text: str) -> None:
    assert format(value) == text


@pytest.mark.parametrize(
    ("parse", "format", "most"),
    [(parse_time, format_time, DAY_NS), (parse_rate, format_rate, RATE_MAX), (parse_share, format_share, SHARE_MAX)],
)
@given(st.data())
def test_writing_undoes_reading(
    parse: Callable[[str], int], format: Callable[[int], str], most: int, data: st.DataObject
) -> None:
    value = data.draw(st.integers(0, most))
    assert parse(format(value)) == value


@pytest.mark.parametrize("parse", [parse_time, parse_rate, parse_share])
@given(
    st.one_of(st.text(max_size=50), st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,20})?(ms|s|mbit|kibps|%)", fullmatch=True))
)
def test_nothing_else_is_raised(parse: Callable[[str], int], text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse(text) >= 0
