"""Find ends whose master is below them, which would be a loop: __netdev_upper_dev_link() in net/core/dev.c."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping

from kokofast.topology.model import End, Link

MASTER = "master"
SHOWN = 8  # interfaces of a loop that a message names

Place = tuple[Hashable, str]  # a namespace, and an interface in it


def may_have_loops(links: Iterable[Link]) -> bool:
    """Return whether there are masters, and links with a parent."""
    return any(link.parent is not None for link in links) and any(
        MASTER in end.properties for link in links for end in link.ends
    )


def find_loops(
    links: Iterable[Link], namespaces: Mapping[str, Hashable], there: Mapping[Place, Iterable[Place]]
) -> Iterator[tuple[End, str]]:
    """Yield ends whose master is below them, one of each loop, with a sentence.

    Args:
        links: The links of the file.
        namespaces: The identity of each node, and of CALLER.
        there: What is below each existing interface: its parent, or its ports.
    """
    below: dict[Place, list[Place]] = {place: list(others) for place, others in there.items()}
    titles: dict[Place, str] = {}
    for link in links:
        for end in link.ends:
            place = namespaces[end.node], end.ifname
            titles[place] = f"{end.node}:{end.ifname}"
            if link.parent is not None:
                below.setdefault(place, []).append((namespaces.get(link.parent[0]), link.parent[1]))
            if MASTER in end.properties:
                below.setdefault((place[0], str(end.properties[MASTER])), []).append(place)
    told: set[Place] = set()
    for link in links:
        for end in link.ends if link.parent is not None else ():
            if MASTER not in end.properties:
                continue
            place = namespaces[end.node], end.ifname
            master = place[0], str(end.properties[MASTER])
            way = _way(place, master, below)
            if way and told.isdisjoint(way):
                told.update(way)
                names = [titles.get(one, one[1]) for one in way]
                if len(names) > SHOWN:
                    names[SHOWN // 2 : -SHOWN // 2] = [f"{len(names) - SHOWN:,} more"]
                chain = " -> ".join(names)
                yield end, f"a port of {master[1]} cannot be above it ({chain}); give it another master or parent"


def _way(start: Place, goal: Place, below: Mapping[Place, Iterable[Place]]) -> list[Place]:
    """Return the interfaces from one down to another one, with both; none if that is not below it."""
    before: dict[Place, Place] = {}
    waiting = [start]
    for place in waiting:  # grows in the loop
        for lower in below.get(place, ()):
            if lower not in before and lower != start:
                before[lower] = place
                waiting.append(lower)
    if goal not in before:
        return []
    way = [goal]
    while way[-1] != start:
        way.append(before[way[-1]])
    return way[::-1]
