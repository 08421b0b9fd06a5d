"""Of a lab with more ends than the machine keeps neighbours this is said.

That packets are lost then is not tested, the table is that of the whole machine; docs/limits.md has what was
measured.
"""

from __future__ import annotations

import pytest

from kokofast.engine.neighbour_limits import crowded
from tests.engine.labs import Links, lab

NAMES = {family: f"net.{family}.neigh.default.gc_thresh3" for family in ("ipv4", "ipv6")}
# Four ends, three of them with an IPv4 address, two with IPv6; no address counts twice.
LINKS: Links = [
    {"endpoints": ["a:e0:10.0.0.1/24,10.0.1.1/24,2001:db8::1/64", "b:e0:10.0.0.2/24,2001:db8::2/64,2001:db8:1::2/64"]},
    {"endpoints": ["a:e1", "c:e0:10.0.2.2/24"]},
]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, []),  # not shown: not the machine's first namespace
        ({"ipv4": 3, "ipv6": 2}, []),
        ({"ipv4": 4, "ipv6": 4}, []),
        ({"ipv4": 2, "ipv6": 2}, [(3, "IPv4", 2, "ipv4")]),
        ({"ipv4": 1024, "ipv6": 1}, [(2, "IPv6", 1, "ipv6")]),
        ({"ipv6": 0}, [(2, "IPv6", 0, "ipv6")]),
        ({"ipv4": 0, "ipv6": 1}, [(3, "IPv4", 0, "ipv4"), (2, "IPv6", 1, "ipv6")]),
    ],
)
def test_more_ends_with_addresses_than_neighbours(
    limits: dict[str, int], expected: list[tuple[int, str, int, str]]
) -> None:
    notes = crowded(lab(LINKS), lambda family: (NAMES[family], limits[family]) if family in limits else None)
    assert len(notes) == len(expected)
    for note, (ends, title, limit, family) in zip(notes, expected, strict=True):
        assert note.startswith(f"{ends} ends have {title} addresses, and the machine keeps {limit} neighbours ")
        assert note.endswith(f"raise it: sysctl -w {NAMES[family]}=NUMBER")


def test_a_lab_without_links_needs_none() -> None:
    assert crowded(lab([]), lambda family: (NAMES[family], 0)) == []
