"""Parse and format times, rates and shares as tc(8) writes them. The parsers raise ValueError.

All arithmetic is in whole numbers. Parsing a formatted value gives the same value. Unlike in tc a unit is required.
"""

from __future__ import annotations

from kokofast.topology.values import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.kinds.fields import Field

NS = 10**9  # a second
DAY_NS = 86_400 * NS
SHARE_MAX = 0xFFFFFFFF  # 100 %
RATE_MAX = 10**13 // 8  # 10tbit, in bytes a second

_TIME_UNITS = {
    unit: ns
    for units, ns in (
        (("ns", "nsec", "nsecs"), 1),
        (("us", "usec", "usecs"), 10**3),
        (("ms", "msec", "msecs"), 10**6),
        (("s", "sec", "secs"), NS),
    )
    for unit in units
}
# In bits a second. "bps" is bytes a second, as in tc.
_RATE_UNITS = {
    f"{prefix}{unit}": factor * bits
    for prefix, factor in (
        ("", 1),
        *((letter, 1000**power) for power, letter in enumerate("kmgt", 1)),
        *((f"{letter}i", 1024**power) for power, letter in enumerate("kmgt", 1)),
    )
    for unit, bits in (("bit", 1), ("bps", 8))
}

_LONGEST = 40  # characters of a quantity


def parse_time(text: str) -> int:
    """Return the nanoseconds of a time, such as 20ms."""
    number, scale, parts = _quantity(text, _TIME_UNITS, 'a time: write for instance "20ms", "1.5s" or "100us"')
    nanoseconds, rest = divmod(number * scale, parts)
    if rest:
        raise ValueError(f"{quote(text)} has a part of a nanosecond")
    if nanoseconds > DAY_NS:
        raise ValueError(f"{quote(text)} is longer than a day, {format_time(DAY_NS)}")
    return nanoseconds


def parse_rate(text: str) -> int:
    """Return the bytes a second of a rate, such as 10mbit; rounded down, as tc does."""
    number, scale, parts = _quantity(
        text, _RATE_UNITS, 'a rate: write for instance "10mbit", "1.5gbit" or "512kbit" (mbps is megabytes a second)'
    )
    rate = number * scale // (8 * parts)
    if number and not rate:
        raise ValueError(f"{quote(text)} is less than a byte a second, 8bit")
    if rate > RATE_MAX:
        raise ValueError(f"{quote(text)} is more than {format_rate(RATE_MAX)}")
    return rate


def parse_share(text: str) -> int:
    """Return a share, such as 0.1%, in parts of SHARE_MAX."""
    number, scale, parts = _quantity(text, {"%": SHARE_MAX}, 'a percentage: write for instance "0.1%" or "25%"')
    share = _round(number * scale, 100 * parts)
    if share > SHARE_MAX:
        raise ValueError(f"{quote(text)} is more than 100%")
    if number and not share:
        raise ValueError(f"{quote(text)} is less than the kernel can tell from 0, {format_share(1)}")
    return share


def format_time(nanoseconds: int) -> str:
    """Format a time in the largest unit that fits into it."""
    unit, scale = next((one for one in (("s", NS), ("ms", 10**6), ("us", 10**3)) if nanoseconds >= one[1]), ("ns", 1))
    return _decimal(nanoseconds, scale) + unit


def format_rate(rate: int) -> str:
    """Format a rate in the largest decimal unit that fits into it."""
    bits = 8 * rate
    units = (("tbit", 10**12), ("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3))
    unit, scale = next((one for one in units if bits >= one[1]), ("bit", 1))
    return _decimal(bits, scale) + unit


def format_share(share: int) -> str:
    """Format a share in percent, with the digits needed to tell it from its neighbours."""
    places = 0
    while True:
        scale: int = 10**places
        number = _round(100 * share * scale, SHARE_MAX)
        if _round(number * SHARE_MAX, 100 * scale) == share:
            return _decimal(number, scale) + "%"
        places += 1


_FORMATS: dict[str, Callable[[int], str]] = {"time": format_time, "rate": format_rate, "share": format_share}


def as_in_file(field: Field, value: object) -> object:
    """Return the value of a field as the file has it."""
    return _FORMATS[field.type](value) if field.type in _FORMATS and isinstance(value, int) else value


def _quantity(text: str, units: dict[str, int], wanted: str) -> tuple[int, int, int]:
    """Parse n/d units; return (n, unit, d)."""
    unit = text.lstrip("0123456789.")
    number = text.removesuffix(unit) if unit else text
    whole, _, part = number.partition(".")
    known = units.get(unit.lower()) if unit.isascii() else None
    if known is None or not number[:1].isdigit() or "." in part or number.endswith(".") or len(text) > _LONGEST:
        raise ValueError(f"{quote(text)} is not {wanted}")
    return int(whole + part), known, 10 ** len(part)


def _decimal(number: int, scale: int) -> str:
    """Format number / scale, a power of ten, without trailing zeros."""
    whole, rest = divmod(number, scale)
    digits = f"{rest + scale}"[1:].rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _round(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
