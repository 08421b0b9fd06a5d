"""The order of planning: a link before those that have it as their parent, or need it at an end."""

from __future__ import annotations

from kokofast.ends import ENDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kokofast.topology.model import Link


def needs_of(link: Link) -> Iterator[tuple[str, str]]:
    """Yield (node, interface) of what has to be there before a link: its parent, and what its ends name."""
    if link.parent is not None:
        yield link.parent
    for end in link.ends:
        for name, value in end.properties.items():
            for ifname in ENDS[name].needs(value):
                yield end.node, ifname


def parents_first(links: Sequence[Link], places: Mapping[str, int]) -> tuple[list[int], list[list[int]]]:
    """Sort the links topologically, otherwise in the order of the file.

    Args:
        links: The links of the file.
        places: The namespace of each node.

    Returns:
        The numbers of the links, parents first; and the cycles, each from its first link in the file. Links that depend
        on a cycle are in neither.
    """
    makers: dict[tuple[int, str], int] = {}
    for number, link in enumerate(links):
        for end in link.ends:
            makers.setdefault((places[end.node], end.ifname), number)
    waits_for: dict[int, list[int]] = {}
    for number, link in enumerate(links):
        found = [makers.get((places[node], ifname)) for node, ifname in needs_of(link)]
        if any(maker is not None for maker in found):
            waits_for[number] = [maker for maker in found if maker is not None]

    def awaited(number: int) -> int | None:
        return next((maker for maker in waits_for.get(number, ()) if not done[maker]), None)

    children: dict[int, list[int]] = {}
    order = []
    done = [False] * len(links)
    for first in range(len(links)):
        waiting = [first]
        for number in waiting:  # grows in the loop
            maker = awaited(number)
            if maker is not None:
                children.setdefault(maker, []).append(number)
                continue
            done[number] = True
            order.append(number)
            waiting += children.pop(number, ())
    left = {number: maker for number in waits_for if (maker := awaited(number)) is not None}
    return order, _cycles(left)


def _cycles(waits_for: Mapping[int, int]) -> list[list[int]]:
    found = []
    seen: set[int] = set()
    for first in waits_for:
        path: list[int] = []
        number = first
        while number not in seen:
            seen.add(number)
            path.append(number)
            number = waits_for[number]
        if number in path:
            cycle = path[path.index(number) :]
            at = cycle.index(min(cycle))
            found.append(cycle[at:] + cycle[:at])
    return found
