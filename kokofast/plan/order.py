"""The order of planning: a link before those that have it as their parent."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.topology.model import Link


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
    waits_for: dict[int, int] = {}
    for number, link in enumerate(links):
        parent = link.parent
        if parent is not None and (parent_place := (places[parent[0]], parent[1])) in makers:
            waits_for[number] = makers[parent_place]
    children: dict[int, list[int]] = {}
    order = []
    done = [False] * len(links)
    for first in range(len(links)):
        waiting = [first]
        for number in waiting:  # grows in the loop
            maker = waits_for.get(number)
            if maker is not None and not done[maker]:
                children.setdefault(maker, []).append(number)
                continue
            done[number] = True
            order.append(number)
            waiting += children.pop(number, ())
    return order, _cycles({number: maker for number, maker in waits_for.items() if not done[number]})


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
