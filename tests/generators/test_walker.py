"""The lab of a constellation: its links, and that its timeline leads from each state to the next."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.generators.orbits import EARTH_RADIUS, LIGHT, Constellation, Station, elevation
from kokofast.generators.walker import Links, Walker, parse_station
from kokofast.topology import dump_json, load
from kokofast.topology.change import CHANGES, make_change
from kokofast.topology.live import LiveTopology
from kokofast.topology.model import End
from kokofast.topology.units import parse_time
from tests.generators.test_orbits import constellations

PARIS, LIMA = Station("paris", 48.86, 2.35), Station("lima", -12.05, -77.04)


@st.composite
def walkers(draw: st.DrawFn) -> Walker:
    stations = [
        Station(f"g{number}", draw(st.floats(-90, 90)), draw(st.floats(-180, 180)))
        for number in range(draw(st.integers(0, 2)))
    ]
    rate = draw(st.sampled_from([None, "1gbit"]))
    return Walker(draw(constellations()), stations, elevation_min=draw(st.floats(0, 60)), rate=rate)


def ends_of(link: dict[str, Any]) -> tuple[str, ...]:
    return tuple(":".join(end.split(":")[:2]) for end in link["endpoints"])


def delay_of(end: End) -> int:
    impairments: Any = end.properties["impairments"]
    return int(impairments["delay"])


def play(links: Links, epoch: dict[str, Any]) -> Links:
    """The links after an epoch. It must change what is there, and change it."""
    after = {**links}
    for link in epoch.get("remove", ()):
        del after[ends_of(link)]  # type: ignore[arg-type]
    for link in epoch.get("add", ()):
        ends = ends_of(link)
        assert ends not in after
        after[ends] = link  # type: ignore[index]
    for change in epoch.get("set", ()):
        ends = ends_of(change)
        assert after[ends]["delay"] != change["delay"]  # type: ignore[index]
        after[ends] = {**after[ends], "delay": change["delay"]}  # type: ignore[index]
    return after


def test_a_small_constellation() -> None:
    """Two planes of three: two rings, a link between neighbours in the two planes, and a station."""
    walker = Walker(Constellation(2, 3, 20_000, 60, 1), [PARIS], elevation_min=0, rate="1gbit")
    assert list(dump_json(walker.topology())) == [
        "{",
        '  "name": "walker",',
        '  "nodes": {',
        '    "paris": {"netns": "paris"}',
        "  },",
        '  "links": [',
        *(
            f'    {{"endpoints": ["{a}:10.0.0.{2 * number}/31", "{b}:10.0.0.{2 * number + 1}/31"], '
            f'"delay": "{delay}", "rate": "1gbit"}}{"," if number < 9 else ""}'
            for number, (a, b, delay) in enumerate(
                [
                    ("s0-0:fore", "s0-1:aft", "152.4ms"),
                    ("s0-0:east", "s1-0:west", "152.4ms"),
                    ("s0-1:fore", "s0-2:aft", "152.4ms"),
                    ("s0-1:east", "s1-1:west", "152.4ms"),
                    ("s0-2:fore", "s0-0:aft", "152.4ms"),
                    ("s0-2:east", "s1-2:west", "76.2ms"),
                    ("s1-0:fore", "s1-1:aft", "152.4ms"),
                    ("s1-1:fore", "s1-2:aft", "152.4ms"),
                    ("s1-2:fore", "s1-0:aft", "152.4ms"),
                    ("paris:sat", "s0-0:ground0", "75.72ms"),
                ]
            )
        ),
        "  ]",
        "}",
    ]


def test_starlink() -> None:
    """The first shell: 1,584 satellites, four links each; 22 neighbours in a plane are 1,972 km apart."""
    walker = Walker(Constellation(72, 22, 550, 53, 39), [PARIS, LIMA])
    links = walker.topology()["links"]
    assert len(links) == 2 * 1584 + 2
    used = Counter(end.partition(":")[0] for link in links[:-2] for end in link["endpoints"])
    assert len(used) == 1584
    assert set(used.values()) == {4}
    assert {link["delay"] for link in links if ":fore:" in link["endpoints"][0]} == {"6.578ms"}
    assert [end.partition(":")[0] for link in links[-2:] for end in link["endpoints"]][::2] == ["paris", "lima"]


def test_a_star_has_a_seam() -> None:
    links = Walker(Constellation(6, 11, 780, 86.4, 2, star=True)).links(0)
    assert len(links) == 6 * 11 + 5 * 11
    assert not any(a.startswith("s5-") and b.startswith("s0-") for a, b in links)


@given(constellations(), st.integers(0, 7))
def test_the_last_plane_of_a_delta_meets_the_first_as_the_others_meet(
    constellation: Constellation, number: int
) -> None:
    """How far apart two neighbours are depends only on where in its orbit the first one is."""
    planes, per_plane = constellation.planes, constellation.per_plane
    if constellation.star or planes < 3:
        return
    number %= per_plane
    last, first = (planes - 1) * per_plane + number, (number + constellation.phasing) % per_plane
    there = constellation.period * (number + constellation.phasing * (planes - 1) / planes) / per_plane
    now, later = constellation.positions(0), constellation.positions(there)
    assert math.dist(now[last], now[first]) == pytest.approx(math.dist(later[0], later[per_plane]), abs=1e-3)
    walker = Walker(constellation)
    walker.constellation.sight = math.inf
    assert (f"s{planes - 1}-{number}:east", f"s0-{first}:west") in walker.links(0)


@given(walkers())
def test_what_is_generated_is_loaded(walker: Walker) -> None:
    topology = load("\n".join(dump_json(walker.topology())).encode(), filename="w.json", create=True)
    count = walker.constellation.planes * walker.constellation.per_plane + len(walker.stations)
    assert len(topology.nodes) == count
    assert len(
        {address.packed for link in topology.links for end in link.ends for address in end.addresses}
    ) == 2 * len(topology.links)


@given(walkers(), st.floats(1, 600))
def test_the_timeline_leads_from_each_state_to_the_next(walker: Walker, step: float) -> None:
    links = walker.links(0)
    epochs = list(walker.timeline(5 * step + step / 2, step))
    assert [epoch["at"] for epoch in epochs] == sorted({epoch["at"] for epoch in epochs})
    by_time = {epoch["at"]: epoch for epoch in epochs}
    for number in range(1, 6):
        at = round(number * step, 9)
        epoch = by_time.pop(at, {"at": at})
        assert all(epoch.values())
        links = play(links, epoch)
        assert links == walker.links(at)
    assert not by_time


@given(walkers(), st.floats(1, 600))
def test_a_session_takes_the_timeline(walker: Walker, step: float) -> None:
    text = "\n".join(dump_json(walker.topology()))
    live = LiveTopology(load(text.encode(), filename="w.json", create=True))
    for epoch in walker.timeline(5 * step, step):
        make_change(live, {what: epoch[what] for what in CHANGES if what in epoch}, "$.{}".format)
        wanted = walker.links(epoch["at"])
        found = {
            tuple(f"{end.node}:{end.ifname}" for end in link.ends): {delay_of(end) for end in link.ends}
            for link in live.whole().links
        }
        assert found == {ends: {parse_time(link["delay"])} for ends, link in wanted.items()}


@given(walkers(), st.floats(0, 1e5))
def test_stations_have_the_nearest_satellite_that_they_see(walker: Walker, at: float) -> None:
    places = walker.constellation.positions(at)
    links = {a: (b, link) for (a, b), link in walker.links(at).items()}
    for number, station in enumerate(walker.stations):
        here = station.position(at)
        seen = [place for place in places if elevation(here, place) >= walker.elevation_min]
        assert (f"{station.name}:sat" in links) == bool(seen)
        if seen:
            end, link = links[f"{station.name}:sat"]
            plane, satellite = map(int, end.removesuffix(f":ground{number}")[1:].split("-"))
            place = places[plane * walker.constellation.per_plane + satellite]
            assert math.dist(here, place) == min(math.dist(here, one) for one in places)
            assert parse_time(link["delay"]) == pytest.approx(math.dist(here, place) / LIGHT * 1e9, abs=501)


@given(walkers(), st.floats(0, 1e5))
def test_light_between_satellites_does_not_cross_the_earth(walker: Walker, at: float) -> None:
    places = walker.constellation.positions(at)
    names = [f"s{p}-{s}" for p in range(walker.constellation.planes) for s in range(walker.constellation.per_plane)]
    where = dict(zip(names, places, strict=True))
    for a, b in walker.links(at):
        one, two = where.get(a.partition(":")[0]), where.get(b.partition(":")[0])
        if one is None or two is None:
            continue
        middle = [(x + y) / 2 for x, y in zip(one, two, strict=True)]
        assert math.hypot(*middle) >= EARTH_RADIUS + 79.999


def test_a_handover_keeps_the_interface_and_the_addresses_of_the_station() -> None:
    walker = Walker(Constellation(72, 22, 550, 53, 39), [PARIS], rate="50mbit")
    (epoch,) = (one for one in walker.timeline(60) if "remove" in one)
    (before,), (after,) = epoch["remove"], epoch["add"]
    first, then = before["endpoints"], after["endpoints"]
    assert first[0] == "paris:sat"
    assert then[0] == next(one["endpoints"][0] for one in walker.topology()["links"] if "paris" in one["endpoints"][0])
    assert first[1] != ":".join(then[1].split(":")[:2])
    assert after["rate"] == "50mbit"


def test_nodes_without_a_link_are_in_the_file() -> None:
    """Four satellites do not see each other, and the pole sees none of the equator's."""
    topology = Walker(Constellation(1, 4, 550, 0), [Station("pole", 90, 0)]).topology()
    assert list(topology["nodes"]) == ["s0-0", "s0-1", "s0-2", "s0-3", "pole"]
    assert topology["links"] == []


def test_without_addresses() -> None:
    walker = Walker(Constellation(1, 3, 20_000, 0), subnet=None)
    assert walker.topology()["links"][0]["endpoints"] == ["s0-0:fore", "s0-1:aft"]


@pytest.mark.parametrize(
    ("stations", "more", "words"),
    [
        ([PARIS, PARIS], {}, "'paris' is the name of two nodes"),
        ([Station("s0-1", 0, 0)], {}, "'s0-1' is the name of two nodes"),
        ([Station("", 0, 0)], {}, "empty|name"),
        ([Station("x", 90.1, 0)], {}, "latitude of 'x' must be from -90 to 90"),
        ([Station("x", math.nan, 0)], {}, "latitude"),
        ([Station("x", 0, -180.1)], {}, "longitude of 'x' must be from -180 to 360"),
        ([], {"elevation_min": 90.1}, "minimum elevation must be from 0 to 90"),
        ([], {"rate": "fast"}, "'fast' is not a rate"),
        ([], {"subnet": "10.0.0.0/30"}, "has them for 2"),
    ],
)
def test_refused(stations: list[Station], more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Walker(Constellation(2, 3, 780, 86.4), stations, **more)


@pytest.mark.parametrize("text", ["", "paris", "paris:48", "paris:x:2", "paris:48:2:1", "paris:48:\x1b"])
def test_no_station(text: str) -> None:
    with pytest.raises(ValueError, match="is not NAME:LATITUDE:LONGITUDE, such as paris"):
        parse_station(text)


def test_a_station() -> None:
    assert parse_station("lima:-12.05:-77.04") == LIMA
