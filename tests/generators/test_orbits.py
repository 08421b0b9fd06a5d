"""Orbits against published figures, and against what must hold in any constellation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.generators.orbits import EARTH_RADIUS, LIGHT, Constellation, Station, elevation

SIDEREAL_DAY = 86164.1
STARLINK = Constellation(72, 22, 550, 53, 39)


@st.composite
def constellations(draw: st.DrawFn) -> Constellation:
    planes = draw(st.integers(1, 8))
    return Constellation(
        planes,
        draw(st.integers(1, 8)),
        draw(st.floats(200, 36_000)),
        draw(st.floats(0, 180)),
        draw(st.integers(0, planes - 1)),
        star=draw(st.booleans()),
    )


@pytest.mark.parametrize(
    ("altitude", "seconds", "within"),
    [
        (550, 95.6 * 60, 6),  # Starlink's first shell
        (780, 100.4 * 60, 6),  # Iridium
        (23_222, 10 * SIDEREAL_DAY / 17, 5),  # Galileo: 17 orbits in 10 sidereal days
        (35_786, SIDEREAL_DAY, 1),  # geostationary
    ],
)
def test_periods(altitude: float, seconds: float, within: float) -> None:
    assert Constellation(1, 1, altitude, 53).period == pytest.approx(seconds, abs=within)


def test_neighbours_in_a_plane_of_starlink() -> None:
    places = STARLINK.positions(1234.5)
    distance = math.dist(places[22], places[23])
    assert distance == pytest.approx(2 * 6928.137 * math.sin(math.pi / 22)) == pytest.approx(1972, abs=1)
    assert distance / LIGHT * 1000 == pytest.approx(6.58, abs=0.01)


def test_the_longest_link_of_starlink() -> None:
    # Hypatia (Kassing and others, IMC 2020) lets no link dip below 80 km: 5,016 km at the altitude of 550.
    assert pytest.approx(5016, abs=1) == STARLINK.sight


def test_what_starlink_covers() -> None:
    """SpaceX to the FCC, SAT-MOD-20190830-00087: from 550 km, a radius of 940.7 km for elevations from 25 degrees."""
    satellite = Constellation(1, 1, 550, 0).positions(0)[0]  # above latitude 0, longitude 0

    def seen_from(kilometres: float) -> float:
        return elevation(Station("x", math.degrees(kilometres / EARTH_RADIUS), 0).position(0), satellite)

    assert seen_from(940.2) > 25 > seen_from(941.2)


@pytest.mark.parametrize("hours", [1, 6, 23])
def test_a_geostationary_satellite_stays_above_its_place(hours: float) -> None:
    station, geostationary = Station("x", 48.86, 2.35), Constellation(1, 1, 35_786, 0)
    seen = [elevation(station.position(at), geostationary.positions(at)[0]) for at in (0.0, 3600.0 * hours)]
    assert seen[1] == pytest.approx(seen[0], abs=0.02)
    # 48.86 degrees from the place below it: the usual formula, with 6.6107 radii to the satellite.
    assert seen[0] == pytest.approx(33.97, abs=0.1)


def test_the_nodes_of_delta_and_star() -> None:
    def longitudes(star: bool) -> list[float]:
        places = Constellation(6, 1, 780, 86.4, star=star).positions(0)
        return [round(math.degrees(math.atan2(y, x)) % 360, 9) for x, y, _ in places]

    assert longitudes(star=False) == [0, 60, 120, 180, 240, 300]
    assert longitudes(star=True) == [0, 30, 60, 90, 120, 150]


@given(constellations(), st.floats(0, 1e6))
def test_orbits_are_circles_of_their_inclination(constellation: Constellation, at: float) -> None:
    places = constellation.positions(at)
    assert len(places) == constellation.planes * constellation.per_plane
    for place in places:
        assert math.hypot(*place) == pytest.approx(constellation.radius)
    for place, later in zip(places, constellation.positions(at + constellation.period), strict=True):
        assert math.dist(place, later) < 1e-3


@given(constellations(), st.floats(0, 1e5))
def test_satellites_fly_in_their_direction(constellation: Constellation, at: float) -> None:
    """The momentum of each points to the pole of its orbit, at the inclination from the Earth's pole."""
    one, two = (constellation.positions(at + more) for more in (0, constellation.period / 4))
    tilts = {round((a[0] * b[1] - a[1] * b[0]) / constellation.radius**2, 6) for a, b in zip(one, two, strict=True)}
    (cosine,) = tilts
    assert -1 <= cosine <= 1


@given(constellations(), st.floats(0, 1e5))
def test_a_plane_is_ahead_of_the_one_before_by_the_phasing(constellation: Constellation, at: float) -> None:
    planes, per_plane = constellation.planes, constellation.per_plane
    ahead = constellation.phasing * constellation.period / (planes * per_plane)
    heights = [place[2] for place in constellation.positions(at)]
    earlier = [place[2] for place in constellation.positions(at + ahead)]
    assert heights[per_plane:] == pytest.approx(earlier[:-per_plane], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((6, 11, 780, 86.4, 6), "phasing must be from 0 to 5"),
        ((6, 11, 780, 86.4, -1), "phasing"),
        ((6, 11, 79, 86.4), "altitude must be from 80 to 1000000 km, not 79"),
        ((6, 11, math.nan, 86.4), "altitude"),
        ((6, 11, math.inf, 86.4), "altitude"),
        ((6, 11, 780, -0.1), "inclination must be from 0 to 180 degrees"),
        ((6, 11, 780, 180.1), "inclination"),
    ],
)
def test_refused(arguments: tuple[int, int, float, float, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Constellation(*arguments)


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(200, 40_000))
def test_a_satellite_at_the_zenith_is_at_90_degrees(latitude: float, longitude: float, altitude: float) -> None:
    x, y, z = Station("here", latitude, longitude).position(0)
    scale = (EARTH_RADIUS + altitude) / EARTH_RADIUS
    assert elevation((x, y, z), (scale * x, scale * y, scale * z)) == pytest.approx(90, abs=1e-4)
