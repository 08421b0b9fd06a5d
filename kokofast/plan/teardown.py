"""Delete links with as few requests as possible: each one waits for RCU with the rtnl lock held.

A link is deleted with either of its ends, and one request deletes all links of a group in a namespace. So the
namespaces to ask are a vertex cover of the links, found greedily (busiest namespace first): for a chain every second
one. Links between two namespaces that are removed need no request: the kernel deletes them later, all at once. So a
namespace that is removed is asked only if most of its ends have to go now, as those of a segment's bridge. A link with
one end has to: its parent may stay, and until the kernel has ended the removed namespace, some time later, it would
refuse a tunnel of the same number or a second passthru macvlan on that parent.

A deletion by group is also safe: by the time of the request an ifindex may be that of another interface.
"""

from __future__ import annotations

import heapq

from kokofast.plan.operations import DeleteGroup, RemoveNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class OwnedEnd:
    """An interface to delete: its namespace, its lab (None: any lab), and its link, a number shared by both ends."""

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
    """Return deletions of links, and removals of namespaces, which wait for them.

    Args:
        ends: All interfaces to delete; both ends of a link if both were seen.
        removable: The names of those of our namespaces without anything of others in them.
    """
    by_link: dict[int, list[OwnedEnd]] = {}
    for end in ends:
        by_link.setdefault(end.link, []).append(end)
    links = {
        number: members
        for number, members in by_link.items()
        if len(members) == 1 or not all(end.ns in removable for end in members)
    }
    # The pairs are not known when more than two ends have one number: send a request for each.
    crowds = [end for members in links.values() if len(members) > 2 for end in members if end.ns not in removable]
    present: dict[tuple[int, int], list[OwnedEnd]] = {}
    for end in ends if links else ():
        present.setdefault((end.ns, end.group), []).append(end)
    places = dict.fromkeys((end.ns, end.group) for end in crowds)
    places |= dict.fromkeys(
        _cover({number: members for number, members in links.items() if len(members) <= 2}, removable, present)
    )
    # All interfaces known to be in the group, also both ends of one link, and ends that a request elsewhere deletes.
    deletions = [_deletion(*place, present[place]) for place in places]
    return deletions, [RemoveNamespace(ns, name) for ns, name in removable.items()]


def _deletion(ns: int, group: int, ends: Sequence[OwnedEnd]) -> DeleteGroup:
    labs = {end.lab for end in ends}
    lab = labs.pop() if len(labs) == 1 else None
    return DeleteGroup(ns, group, lab, tuple(end.ifindex for end in ends), tuple(end.link for end in ends))


def _cover(
    links: Mapping[int, list[OwnedEnd]],
    removable: Mapping[int, str],
    present: Mapping[tuple[int, int], Sequence[OwnedEnd]],
) -> list[tuple[int, int]]:
    at: dict[tuple[int, int], set[int]] = {}
    alone = {(members[0].ns, members[0].group) for members in links.values() if len(members) == 1}
    for members in links.values():
        for end in members:
            at.setdefault((end.ns, end.group), set()).add(end.link)
    for ns, group in list(at):
        if ns in removable and (ns, group) not in alone and 2 * len(at[ns, group]) <= len(present[ns, group]):
            del at[ns, group]
    heap = [(-len(members), place[0] in removable, place) for place, members in at.items()]
    heapq.heapify(heap)
    chosen: list[tuple[int, int]] = []
    while heap:
        count, goes, place = heapq.heappop(heap)
        here = at[place]
        if -count != len(here):
            if here:
                heapq.heappush(heap, (-len(here), goes, place))
            continue
        chosen.append(place)
        for link in list(here):
            for end in links[link]:
                at.get((end.ns, end.group), set()).discard(link)
    return chosen
