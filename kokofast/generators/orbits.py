"""Where the satellites of a Walker constellation are, and what they see. Distances are in km, times in seconds.

The constellation is i:T/P/F of J. G. Walker, "Satellite constellations", Journal of the British Interplanetary Society
37 (1984), 559-571: T satellites in P planes of inclination i, and each plane's satellites are F * 360 / T degrees ahead
of those of the plane before. Orbits are circular, by Kepler's third law, around a round Earth with the radius, the
gravity and the rotation of WGS 84. Nothing disturbs them. At 0 seconds the first plane's ascending node is at
longitude 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

EARTH_RADIUS = 6378.137  # at the equator
EARTH_GRAVITY = 398600.4418  # km^3 / s^2
EARTH_ROTATION = 7.292115e-5  # radians a second
LIGHT = 299792.458  # km a second
ATMOSPHERE = 80.0  # light between satellites passes above it

ALTITUDE_MAX = 1_000_000.0

Vector = tuple[float, float, float]


class Station(NamedTuple):
    """A place on the ground."""

    name: str
    latitude: float  # degrees, north is positive
    longitude: float  # degrees, east is positive

    def position(self, at: float) -> Vector:
        """Return where the Earth's rotation has carried it."""
        latitude, longitude = math.radians(self.latitude), math.radians(self.longitude) + EARTH_ROTATION * at
        across = EARTH_RADIUS * math.cos(latitude)
        return across * math.cos(longitude), across * math.sin(longitude), EARTH_RADIUS * math.sin(latitude)


class Constellation:
    """The satellites of a Walker constellation, numbered plane by plane.

    Args:
        planes: P. Their ascending nodes are spread over 360 degrees, in a star over 180.
        per_plane: Satellites in each plane, T / P.
        altitude: Above the equator.
        inclination: Of the planes, in degrees.
        phasing: F, from 0 to P - 1.
        star: Whether it is a Walker star, not a Walker delta.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self, planes: int, per_plane: int, altitude: float, inclination: float, phasing: int = 0, *, star: bool = False
    ) -> None:
        if not 0 <= phasing < planes:
            raise ValueError(f"the phasing must be from 0 to {planes - 1}, as there are {planes} planes, not {phasing}")
        check_range("altitude", altitude, ATMOSPHERE, ALTITUDE_MAX, "km")
        check_range("inclination", inclination, 0.0, 180.0, "degrees")
        self.planes = planes
        self.per_plane = per_plane
        self.phasing = phasing
        self.star = star
        self.radius = EARTH_RADIUS + altitude
        self.period = 2 * math.pi * math.sqrt(self.radius**3 / EARTH_GRAVITY)
        # The longest line between two satellites that does not touch the atmosphere.
        self.sight = 2 * math.sqrt(self.radius**2 - (EARTH_RADIUS + ATMOSPHERE) ** 2)
        self._orbits = [
            _orbit(
                self.radius,
                inclination=math.radians(inclination),
                node=math.radians((180 if star else 360) * plane / planes),
                argument=2 * math.pi * (number + phasing * plane / planes) / per_plane,
            )
            for plane in range(planes)
            for number in range(per_plane)
        ]

    def positions(self, at: float) -> list[Vector]:
        """Return where the satellites are."""
        angle = 2 * math.pi * at / self.period
        cos, sin = math.cos(angle), math.sin(angle)
        return [
            (cos * ax + sin * bx, cos * ay + sin * by, cos * az + sin * bz) for ax, ay, az, bx, by, bz in self._orbits
        ]


def _orbit(
    radius: float, *, inclination: float, node: float, argument: float
) -> tuple[float, float, float, float, float, float]:
    """Return where a satellite is at first, and where it is a quarter of a period later."""

    def place(along: float) -> Vector:
        cos, sin = math.cos(along), math.sin(along)
        flat = sin * math.cos(inclination)  # of the way, what leads along the equator
        return (
            radius * (cos * math.cos(node) - flat * math.sin(node)),
            radius * (cos * math.sin(node) + flat * math.cos(node)),
            radius * sin * math.sin(inclination),
        )

    return *place(argument), *place(argument + math.pi / 2)


def elevation(place: Vector, satellite: Vector) -> float:
    """Return the degrees of a satellite above the horizon of a place on the ground."""
    up = sum(one * (other - one) for one, other in zip(place, satellite, strict=True))
    sine = up / (EARTH_RADIUS * math.dist(place, satellite))
    return math.degrees(math.asin(max(-1.0, min(sine, 1.0))))  # rounding may lead beyond the zenith


def check_range(what: str, value: float, lowest: float, highest: float, unit: str) -> None:
    """Raise ValueError when a number is out of a range."""
    if not lowest <= value <= highest:  # nan is in no range
        raise ValueError(f"the {what} must be from {lowest:g} to {highest:.0f} {unit}, not {value:g}")
