"""What to delete, with the fewest requests: each deletion waits for RCU with the rtnl lock held, whatever it deletes.

A link goes with either of its ends, and all links of a group in a namespace go by one request. So the namespaces to
ask are a vertex cover of the links, found greedily (busiest namespace first), which for a chain is every second one.
Links between two namespaces that are removed themselves need no request. A link with one end does: it stands on an
interface that may stay, and until the kernel has ended the removed namespace, some time later, a tunnel of the same
number or a second passthru macvlan there would be refused.

A request by group also has the kernel itself see to it that nothing else goes: an ifindex may be another interface's by
the time that the request comes.
"""

from __future__ import annotations

import heapq

from kokofast.plan.operations import DeleteGroup, RemoveNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class OwnedEnd:
    """One interface to delete: where it is, whose (None: some lab's), and which link (any number, equal for both ends)
    it belongs to."""

    __slots__ = ("group", "ifindex", "lab", "link", "ns")

    def __init__(self, ns: int, ifindex: int, group: int, lab: str | None, link: int) -> None:
        self.ns = ns
        self.ifindex = ifindex
        self.group = group
        self.lab = lab
        self.link = link


def plan_teardown(
    ends: Sequence[OwnedEnd], removable: Mapping[int, str]
) -> tuple[list[DeleteGroup], list[RemoveNamespace]]:
    """(deletions of links, removals of namespaces): the second list waits for the first.

    ends are all interfaces to delete, both ends of a link where both were seen; removable maps a namespace of ours
    that nobody else lives in to its name.
    """
    by_link: dict[int, list[OwnedEnd]] = {}
    for end in ends:
        by_link.setdefault(end.link, []).append(end)
    links = {
        number: members
        for number, members in by_link.items()
        if len(members) == 1 or not all(end.ns in removable for end in members)
    }
    # More than two ends under one number: which go together cannot be told, so each is asked for.
    crowds = [end for members in links.values() if len(members) > 2 for end in members if end.ns not in removable]
    places = dict.fromkeys((end.ns, end.group) for end in crowds)
    places |= dict.fromkeys(
        _cover({number: members for number, members in links.items() if len(members) <= 2}, removable)
    )
    present: dict[tuple[int, int], list[OwnedEnd]] = {}
    for end in ends if places else ():
        present.setdefault((end.ns, end.group), []).append(end)
    # All that we know to be in the group: also both ends of one link, and ends whose link goes elsewhere.
    deletions = [_deletion(*place, present[place]) for place in places]
    return deletions, [RemoveNamespace(ns, name) for ns, name in removable.items()]


def _deletion(ns: int, group: int, ends: Sequence[OwnedEnd]) -> DeleteGroup:
    labs = {end.lab for end in ends}
    lab = labs.pop() if len(labs) == 1 else None
    return DeleteGroup(ns, group, lab, tuple(end.ifindex for end in ends), tuple(end.link for end in ends))


def _cover(links: Mapping[int, list[OwnedEnd]], removable: Mapping[int, str]) -> list[tuple[int, int]]:
    at: dict[tuple[int, int], set[int]] = {}
    for members in links.values():
        for end in members:
            # A removed namespace takes its ends along only some time later; the end that stays must go now.
            if end.ns not in removable or len(members) == 1:
                at.setdefault((end.ns, end.group), set()).add(end.link)
    heap = [(-len(members), place) for place, members in at.items()]
    heapq.heapify(heap)
    chosen: list[tuple[int, int]] = []
    while heap:
        count, place = heapq.heappop(heap)
        here = at[place]
        if -count != len(here):
            if here:
                heapq.heappush(heap, (-len(here), place))
            continue
        chosen.append(place)
        for link in list(here):
            for end in links[link]:
                at.get((end.ns, end.group), set()).discard(link)
    return chosen
