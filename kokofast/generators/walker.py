"""Generate a Walker constellation: the links of its satellites and ground stations, and how they change with time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kokofast.generators.orbits import LIGHT, Constellation, Station, Vector, check_range, elevation
from kokofast.generators.wiring import DEFAULT_SUBNET, argument, endpoint, pairs_of
from kokofast.topology.units import format_time, parse_rate
from kokofast.topology.values import check_netns_name, quote

ELEVATION_MIN = 25.0
_STEP_NS = 1_000  # delays are rounded to this

Links = dict[tuple[str, str], dict[str, Any]]


class _Isl(NamedTuple):
    """A link between two satellites, by their numbers."""

    a: int
    b: int
    ends: tuple[str, str]
    endpoints: list[str]


class Walker:
    """The lab of a constellation.

    Satellite 3 of plane 2 is the node s2-3. Its fore leads to the next one of the plane, its aft to the one before, its
    east to the satellite with its number in the next plane, its west to that in the plane before. The interface sat of
    a ground station leads to the nearest satellite, and there to ground0, ground1, ..., one for each station.

    Args:
        constellation: The satellites.
        stations: On the ground.
        elevation_min: Degrees above a station's horizon from which it sees a satellite.
        rate: The rate of each link; None for none.
        subnet: Where addresses come from; None for no addresses. A link has the same whenever it is there, a station
            has the same at all satellites.

    Raises:
        ValueError: An argument makes no sense, or the subnet is too small.
    """

    def __init__(
        self,
        constellation: Constellation,
        stations: Sequence[Station] = (),
        *,
        elevation_min: float = ELEVATION_MIN,
        rate: str | None = None,
        subnet: str | None = DEFAULT_SUBNET,
    ) -> None:
        check_range("minimum elevation", elevation_min, 0.0, 90.0, "degrees")
        self.constellation = constellation
        self.stations = stations
        self.elevation_min = elevation_min
        self._fields: dict[str, Any] = {}
        if rate is not None:
            argument("rate", parse_rate, rate)
            self._fields["rate"] = rate
        self._nodes = [f"s{p}-{s}" for p in range(constellation.planes) for s in range(constellation.per_plane)]
        names = {*self._nodes}
        for station in stations:
            check_range(f"latitude of {quote(station.name)}", station.latitude, -90.0, 90.0, "degrees")
            check_range(f"longitude of {quote(station.name)}", station.longitude, -180.0, 360.0, "degrees")
            if check_netns_name(station.name) in names:
                raise ValueError(f"{quote(station.name)} is the name of two nodes")
            names.add(station.name)
        grid = list(_grid(constellation))
        addresses = pairs_of(len(grid) + len(stations), subnet)
        self._isls = [
            _Isl(a, b, *_ends(f"{self._nodes[a]}:{out}", f"{self._nodes[b]}:{into}", next(addresses)))
            for a, b, out, into in grid
        ]
        self._ground = list(addresses)

    def topology(self) -> dict[str, Any]:
        """Return the topology at the start."""
        links = list(self.links(0.0).values())
        linked = {end.partition(":")[0] for link in links for end in link["endpoints"]}
        bare = [name for name in self._nodes if name not in linked]
        topology: dict[str, Any] = {"name": "walker"}
        if nodes := [*bare, *(one.name for one in self.stations)]:
            topology["nodes"] = {name: {"netns": name} for name in nodes}
        return {**topology, "links": links}

    def timeline(self, seconds: float, step: float = 1.0) -> Iterator[dict[str, Any]]:
        """Yield what changes, an epoch each step; those without a change are left out."""
        before = self.links(0.0)
        for number in range(1, math.floor(seconds / step + 1e-9) + 1):
            at = round(number * step, 9)
            links = self.links(at)
            changes: dict[str, list[dict[str, Any]]] = {
                "remove": [{"endpoints": [*ends]} for ends in before if ends not in links],
                "add": [link for ends, link in links.items() if ends not in before],
                "set": [
                    {"endpoints": [*ends], "delay": link["delay"]}
                    for ends, link in links.items()
                    if ends in before and before[ends]["delay"] != link["delay"]
                ],
            }
            if changes := {what: which for what, which in changes.items() if which}:
                yield {"at": at, **changes}
            before = links

    def links(self, at: float) -> Links:
        """Return the links of a time, by their ends without addresses."""
        places = self.constellation.positions(at)
        links: Links = {}
        for isl in self._isls:
            distance = math.dist(places[isl.a], places[isl.b])
            if distance <= self.constellation.sight:
                links[isl.ends] = self._link(isl.endpoints, distance)
        for number, station in enumerate(self.stations):
            place = station.position(at)
            distance, nearest = min(_distances(place, places))
            if elevation(place, places[nearest]) >= self.elevation_min:
                names = f"{station.name}:sat", f"{self._nodes[nearest]}:ground{number}"
                ends, endpoints = _ends(*names, self._ground[number])
                links[ends] = self._link(endpoints, distance)
        return links

    def _link(self, endpoints: list[str], distance: float) -> dict[str, Any]:
        delay = round(distance / LIGHT * 1e9 / _STEP_NS) * _STEP_NS
        return {"endpoints": endpoints, "delay": format_time(delay), **self._fields}


def parse_station(text: str) -> Station:
    """Parse NAME:LATITUDE:LONGITUDE, in degrees. Raises ValueError."""
    name, _, place = text.partition(":")
    latitude, _, longitude = place.partition(":")
    try:
        return Station(name, float(latitude), float(longitude))
    except ValueError:
        raise ValueError(f"{quote(text)} is not NAME:LATITUDE:LONGITUDE, such as paris:48.86:2.35") from None


def _grid(constellation: Constellation) -> Iterator[tuple[int, int, str, str]]:
    """Yield the +Grid: two satellites and the interfaces that link them.

    A ring of two has one link, not two. In a star the first and the last plane move in opposite directions: nothing
    links them. In a delta a plane after the last would be the first one, with the numbers shifted by the phasing.
    """
    planes, per_plane = constellation.planes, constellation.per_plane
    for plane in range(planes):
        for number in range(per_plane):
            here = plane * per_plane + number
            if number + 1 < per_plane:
                yield here, here + 1, "fore", "aft"
            elif per_plane > 2:
                yield here, plane * per_plane, "fore", "aft"
            if plane + 1 < planes:
                yield here, here + per_plane, "east", "west"
            elif planes > 2 and not constellation.star:
                yield here, (number + constellation.phasing) % per_plane, "east", "west"


def _ends(a: str, b: str, addresses: tuple[str | None, str | None]) -> tuple[tuple[str, str], list[str]]:
    """Return two ends without and with their addresses."""
    return (a, b), [endpoint(a, addresses[0]), endpoint(b, addresses[1])]


def _distances(place: Vector, satellites: Sequence[Vector]) -> Iterator[tuple[float, int]]:
    return ((math.dist(place, one), number) for number, one in enumerate(satellites))
