"""What the attributes of nodes and edges in graph files mean: rates, times, costs, coordinates.

Names of attributes are compared without case. What has no clear meaning is left out, and noted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal

from kokofast.topology.document import InvalidNumber
from kokofast.topology.shapes import COST_MAX
from kokofast.topology.units import RATE_MAX, format_rate, format_time, parse_share, parse_time

LABELS = ("label", "name")
COORDINATES = (("latitude", "lat"), ("longitude", "lon", "lng", "long"))
DELAYS = ("delay", "latency")
RATES = ("rate", "bandwidth", "bw", "capacity", "linkspeedraw")
COSTS = ("cost", "weight", "metric")
# Attributes that say how others are to be read, or nothing.
SILENT = frozenset(("id", "key", "index", "linkspeedunits"))

EARTH_RADIUS = 6371.0  # km, the mean one
FIBRE = 5_000  # nanoseconds for a km of fibre: light is slower there by the refractive index, 1.47

_NUMBER = re.compile(r"\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([-+]?[0-9]{1,2}))?", re.ASCII)
# Network operators write Mbps for megabits; a capital B is a byte, and is not read.
_UNIT = re.compile(r"\s*([kKmMgGtT]?)(?:b|bit|bits|bps|bit/s|bits/s|b/s)?", re.ASCII)
_POWERS = {"": 0, "k": 3, "m": 6, "g": 9, "t": 12}
_LONGEST = 40  # characters of a number


def text_of(value: object) -> str:
    """Return a value as the file has it."""
    return value.text if isinstance(value, InvalidNumber) else str(value).strip()


def lower_keys(attributes: Mapping[str, object]) -> dict[str, object]:
    """Return attributes by their names in lower case, without empty ones."""
    return {key.lower(): value for key, value in attributes.items() if value is not None and text_of(value) != ""}


def link_fields(attributes: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Return the fields of a link, and the names of the attributes that have no meaning for it."""
    given = lower_keys(attributes)
    fields: dict[str, object] = {}
    used: set[str] = set()
    for field, names, parse in (("delay", DELAYS, _delay), ("loss", ("loss",), _loss), ("cost", COSTS, _cost)):
        for name in names:
            value = parse(text_of(given[name])) if name in given and field not in fields else None
            if value is not None:
                fields[field] = value
                used.add(name)
    for name in (*RATES, "linkspeed", "linklabel"):
        if name in given and "rate" not in fields:
            rate = _rate(text_of(given[name]), _unit(name, given))
            if rate is not None:
                fields["rate"] = rate
                used |= {name, "linkspeed"}
    return fields, [key for key in attributes if key.lower() in given and key.lower() not in used | SILENT]


def _unit(name: str, given: Mapping[str, object]) -> str | None:
    """Return the unit of a rate without one; None when it is unknown."""
    if name == "linkspeed":
        return text_of(given.get("linkspeedunits", "?")).lower()
    return {"linkspeedraw": "", "bw": "m"}.get(name)  # bw is Mininet's, in Mbit/s


def number_of(text: str) -> Decimal | None:
    """Return a number that is not negative; None for anything else."""
    found = _NUMBER.fullmatch(text) if len(text) <= _LONGEST else None
    return None if found is None else Decimal(text)


def _rate(text: str, unit: str | None) -> str | None:
    found = _NUMBER.match(text) if len(text) <= _LONGEST else None
    rest = _UNIT.fullmatch(text, found.end()) if found is not None else None
    if found is None or rest is None:
        return None
    scale = rest[1].lower() if text[found.end() :].strip() else unit
    if scale not in _POWERS:
        return None
    rate = int(Decimal(found[0]).scaleb(_POWERS[scale])) // 8
    return format_rate(rate) if 0 < rate <= RATE_MAX else None


def _delay(text: str) -> str | None:
    text = text.replace(" ", "")
    try:
        parse_time(text)
    except ValueError:
        return None
    return text


def _loss(text: str) -> str | None:
    text = text.replace(" ", "")
    try:
        parse_share(text)
    except ValueError:
        return None
    return text


def _cost(text: str) -> int | None:
    number = number_of(text)
    whole = number is not None and 1 <= number <= COST_MAX and number == int(number)
    return int(number) if number is not None and whole else None


def coordinates(attributes: Mapping[str, object]) -> tuple[float, float] | None:
    """Return latitude and longitude in degrees."""
    found = []
    for names, most in zip(COORDINATES, (90.0, 180.0), strict=True):
        text = next((text_of(attributes[name]) for name in names if name in attributes), "")
        number = number_of(text.removeprefix("-"))
        if number is None or number > most:
            return None
        found.append(float(number) * (-1 if text.startswith("-") else 1))
    return found[0], found[1]


def delay_between(one: tuple[float, float], other: tuple[float, float]) -> str:
    """Return the time that light takes in fibre along the great circle between two places, to the microsecond."""
    (south, west), (north, east) = (tuple(map(math.radians, place)) for place in (one, other))
    half = math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * math.sin((east - west) / 2) ** 2
    distance = 2 * EARTH_RADIUS * math.asin(min(1.0, math.sqrt(half)))
    return format_time(round(distance * FIBRE / 1000) * 1000)
