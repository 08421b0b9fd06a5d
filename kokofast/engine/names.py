"""Find which end of a link is which: both ends have the same alias, with the names of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.kinds import KINDS
from kokofast.plan.ownership import ends_of_alias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kokofast.engine.inspect import SeenEnd, SeenLink


def name_ends(links: Iterable[SeenLink]) -> None:
    """Set the nodes of ends, and put the ends into the file's order, as far as possible.

    The interface or the namespace of an end shows which one it is. If not (two containers, eth1 in each), other links
    of these namespaces may; otherwise the ends keep the machine's names.
    """
    nodes: dict[int, set[str]] = {}  # the names of each namespace's nodes
    waiting: dict[int, list[SeenLink]] = {}
    todo = list(links)
    while todo:
        link = todo.pop()
        if not _name(link, nodes):
            for end in link.ends:
                waiting.setdefault(end.ns, []).append(link)
            continue
        for end in link.ends:
            known = nodes.setdefault(end.ns, {end.namespace})
            if end.node not in known:
                known.add(end.node)
                todo += waiting.pop(end.ns, ())


def _name(link: SeenLink, nodes: Mapping[int, set[str]]) -> bool:
    """Set the nodes of a link's ends; return False if that is not possible yet."""
    ends = link.ends
    kind = KINDS.get(link.kind)
    best: list[tuple[tuple[int, int], list[tuple[str, SeenEnd]]]] = []
    for way in ends_of_alias(ends[0].interface.alias, len(ends) if kind is None else kind.ends):
        for sides in (way, way[::-1])[: len(way)]:
            pairs = list(zip(sides, ends, strict=False))
            same = sum(ifname == end.interface.ifname for (_, ifname), end in pairs)
            known = sum(node in nodes.get(end.ns, (end.namespace,)) for (node, _), end in pairs)
            named = [(node, end) for (node, _), end in pairs]
            best.append(((same, known), named if sides is way else named[::-1]))
    if not best:
        return True
    most = max(score for score, _ in best)
    chosen = [named for score, named in best if score == most]
    if len(chosen) > 1:
        return False
    for node, end in chosen[0]:
        end.node = node
    link.ends = [end for _, end in chosen[0]]
    return True
