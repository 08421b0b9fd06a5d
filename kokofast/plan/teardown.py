"""What to delete, with the fewest requests: each deletion waits for RCU with the rtnl lock held, whatever it deletes.

A link goes with either of its ends, and all links of a group in a namespace go by one request. So the namespaces to
ask are a vertex cover of the links, found greedily (busiest namespace first), which for a chain is every second one.
Links between two namespaces that are removed themselves need no request. A link with one end does: it stands on an
interface that may stay, and until the kernel has ended the removed namespace, some time later, a tunnel of the same
number or a second passthru macvlan there would be refused.
"""

from __future__ import annotations

import heapq

from kokofast.plan.operations import DeleteGroup, DeleteInterface, RemoveNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.plan.operations import Removal


class OwnedEnd:
    """One interface to delete: where it is, and which link (any number, equal for both ends) it belongs to."""

    __slots__ = ("group", "ifindex", "link", "ns")

    def __init__(self, ns: int, ifindex: int, group: int, link: int) -> None:
        self.ns = ns
        self.ifindex = ifindex
        self.group = group
        self.link = link


def plan_teardown(
    ends: Sequence[OwnedEnd], removable: Mapping[int, str], shared_groups: frozenset[tuple[int, int]] = frozenset()
) -> tuple[list[Removal], list[RemoveNamespace]]:
    """(deletions of links, removals of namespaces): the second list waits for the first.

    ends are all interfaces to delete, both ends of a link where both were seen; removable maps a namespace of ours
    that nobody else lives in to its name; shared_groups has the (namespace, group) pairs in which there is also an
    interface that must stay.
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
    deletions: list[Removal] = [DeleteInterface(end.ns, end.ifindex, end.group, end.link) for end in crowds]
    links = {number: members for number, members in links.items() if len(members) <= 2}
    present: dict[tuple[int, int], list[OwnedEnd]] = {}
    for end in ends:
        present.setdefault((end.ns, end.group), []).append(end)
    single: list[OwnedEnd] = []
    by_group: set[int] = set()
    for (ns, group), members in _cover(links, removable).items():
        if len(members) > 1 and (ns, group) not in shared_groups:
            # All that we know to be in the group: also both ends of one link, and ends whose link goes elsewhere.
            here = present[ns, group]
            indexes = tuple(end.ifindex for end in here)
            deletions.append(DeleteGroup(ns, group, indexes, tuple(end.link for end in here)))
            by_group.update(end.link for end in here)
        else:
            single += members
    deletions += [
        DeleteInterface(end.ns, end.ifindex, end.group, end.link) for end in single if end.link not in by_group
    ]
    return deletions, [RemoveNamespace(ns, name) for ns, name in removable.items()]


def _cover(links: Mapping[int, list[OwnedEnd]], removable: Mapping[int, str]) -> dict[tuple[int, int], list[OwnedEnd]]:
    at: dict[tuple[int, int], dict[int, OwnedEnd]] = {}
    for members in links.values():
        for end in members:
            # A removed namespace takes its ends along only some time later; the end that stays must go now.
            if end.ns not in removable or len(members) == 1:
                at.setdefault((end.ns, end.group), {})[end.link] = end
    heap = [(-len(members), place) for place, members in at.items()]
    heapq.heapify(heap)
    chosen: dict[tuple[int, int], list[OwnedEnd]] = {}
    while heap:
        count, place = heapq.heappop(heap)
        here = at[place]
        if -count != len(here):
            if here:
                heapq.heappush(heap, (-len(here), place))
            continue
        chosen[place] = list(here.values())
        for link in list(here):
            for end in links[link]:
                at.get((end.ns, end.group), {}).pop(link, None)
    return chosen
