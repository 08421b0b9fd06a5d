"""Delete links of the lab whose names others need, and those that a killed run had begun to delete."""

from __future__ import annotations

from kokofast.ends import ATTRIBUTES
from kokofast.plan.diff import are_peers
from kokofast.plan.left_over import names_in_file
from kokofast.plan.observed import Interface, Namespace
from kokofast.plan.operations import SetAside
from kokofast.plan.ownership import ALIAS_PREFIX, APART, alias_of, cookie_owner, group_of, lab_of, owner_in
from kokofast.plan.teardown import OwnedEnd
from kokofast.topology.model import Link
from kokofast.topology.problems import Problem
from kokofast.wire.message import words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from kokofast.drivers import Driver
    from kokofast.engine.result import Result
    from kokofast.engine.result_types import Progress
    from kokofast.engine.snapshot import Survey
    from kokofast.ops.executor import Executor, OperationError
    from kokofast.ops.journal import Applied
    from kokofast.plan.observed import MirrorFilter
    from kokofast.topology.model import Topology


class Superseded:
    """Links to delete when everything else has succeeded.

    Attributes:
        asides: Their interfaces whose names are needed.
        ends: All of their interfaces that were seen.
        titles: The title of each link.
    """

    def __init__(self) -> None:
        self.asides: list[SetAside] = []
        self.ends: list[OwnedEnd] = []
        self.titles: list[str] = []

    def add(
        self,
        survey: Survey,
        number: int,
        interface: Interface,
        lab: str,
        *,
        is_needed: bool,
        place: str,
        link: int | None = None,
    ) -> None:
        """Add an interface of a link, by default of the last one. If its name is needed, rename it in the survey."""
        link = len(self.titles) - 1 if link is None else link
        group = interface.group
        if is_needed:
            aside = SetAside(number, interface, self.titles[link], place)
            self.asides.append(aside)
            survey.observed[number] = _renamed(survey.observed[number], interface, aside)
        in_group = group | APART if is_needed else group
        self.ends.append(OwnedEnd(number, interface.ifindex, in_group, lab, link))

    def places(self) -> set[tuple[int, int]]:
        """Return (namespace, ifindex) of all interfaces."""
        return {(end.ns, end.ifindex) for end in self.ends}

    def keep_whole(self, applied: Applied | None) -> bool:
        """After a partial failure do not delete links that have kept all their names; return whether there are any."""
        before = len(self.titles)
        done = {applied.operation(number) for number in applied.done} if applied is not None else set()
        parted = {(aside.ns, aside.ifindex) for aside in self.asides if aside in done}
        links = {end.link for end in self.ends if (end.ns, end.ifindex) in parted}
        self.ends = [end for end in self.ends if end.link in links]
        return len(links) < before

    async def delete(self, executor: Executor, driver: Driver, result: Result, progress: Progress | None = None) -> int:
        """Delete the links, and return how many are gone. What cannot be deleted is an error of the result."""
        from kokofast.engine.result import PARTIAL, Failure  # few runs delete any
        from kokofast.engine.tear_down import tear_down

        with driver.shielded(), result.stage("delete"):
            kept = self._remove_mirrors(executor)
            done = await tear_down(executor, self.ends, {}, driver, progress=progress)
        failures = [(link, f"its mirror cannot be removed: {words_of(refusal)}", refusal) for link, refusal in kept]
        failures += [
            (link, f"the link cannot be deleted: {words_of(refusal)}", refusal)
            for link, refusal in sorted(done.failed_links.items())
        ]
        result.errors += [Failure(self.titles[link], words, refusal.errno) for link, words, refusal in failures]
        if failures:
            result.status = PARTIAL
        return len(done.links)

    def _remove_mirrors(self, executor: Executor) -> list[tuple[int, OperationError]]:
        """Remove the lab's mirrors to the interfaces: their filters are on interfaces that may stay."""
        going = {(end.ns, end.ifindex): end for end in self.ends}
        refusals: list[tuple[int, OperationError]] = []
        for ns, namespace in enumerate(executor.observed):

            def copies_to(mirror: MirrorFilter, ns: int = ns) -> bool:
                end = going.get((ns, mirror.target))
                return end is not None and owner_in(mirror.cookie) == cookie_owner(str(end.lab))

            chosen = [mirror for mirror in namespace.mirrors if copies_to(mirror)] if namespace is not None else ()
            if not chosen:
                continue
            from kokofast.ops.mirror import remove_all

            refusal = remove_all(executor, ns, copies_to)
            if refusal is not None:
                refusals.append((going[ns, chosen[0].target].link, refusal))
        return refusals


def is_needed(needed: Container[tuple[int, str]], ns: int, interface: Interface) -> bool:
    """Whether one of the names of an interface is needed: names_in_file()."""
    return any((ns, name) in needed for name in (interface.ifname, *interface.altnames))


def supersede(
    found: Superseded,
    survey: Survey,
    lab: str,
    boot: str,
    gone: Sequence[tuple[Link, str]],
    links: Sequence[Link],
) -> list[Problem]:
    """Add links that are removed, each with the place that says so. Those whose names the other links need give way.

    Return a problem for each interface that is not of its link any more.
    """
    needed = names_in_file(links, survey.places)
    problems: list[Problem] = []
    for link, place in gone:
        aliases = alias_of(lab, link), alias_of(lab, Link(link.kind, link.ends[::-1]))
        found.titles.append(link.title())
        for end in link.ends:
            number = survey.places[end.node]
            namespace = survey.observed[number]
            interface = namespace.interfaces.get(end.ifname) if namespace is not None else None
            if namespace is None or interface is None:  # it is gone already
                continue
            if lab_of(interface, namespace, boot, lab) != lab or interface.alias not in aliases:
                problems.append(Problem(place, f"{end.node}:{end.ifname} is not of this link any more; it stays"))
                continue
            in_the_way = is_needed(needed, number, interface)
            found.add(survey, number, interface, lab, is_needed=in_the_way, place=place)
    return problems


def find_superseded(topology: Topology, survey: Survey, boot: str, *, prune: bool) -> Superseded:
    """Find the links in the namespaces of a file that a killed run had begun to delete.

    With prune find those whose names the file needs for other links; engine.prune finds the rest.
    """
    lab = topology.name
    found = Superseded()
    group = group_of(lab)
    ours = [
        (number, interface)
        for number, namespace in enumerate(survey.observed)
        if namespace is not None
        for interface in namespace.interfaces.values()
        if interface.group == group | APART or (prune and interface.group == group)
    ]
    if not ours:
        return found
    if prune:
        known = {alias_of(lab, one) for link in topology.links for one in (link, Link(link.kind, link.ends[::-1]))}
        aliases = {interface.alias for _, interface in ours if interface.group != group or interface.alias not in known}
    else:
        aliases = {interface.alias for _, interface in ours}
    needed = names_in_file(topology.links, survey.places) if aliases - {""} else set()
    by_alias: dict[str, list[tuple[int, Interface]]] = {alias: [] for alias in sorted(aliases - {""})}
    for number, namespace in enumerate(survey.observed) if by_alias else ():
        for interface in namespace.interfaces.values() if namespace is not None else ():
            assert namespace is not None
            if interface.alias in by_alias and lab_of(interface, namespace, boot, lab) == lab:
                by_alias[interface.alias].append((number, interface))
    for alias, ends in by_alias.items():
        if prune and not any(is_needed(needed, *end) for end in ends):
            continue
        if ends:
            found.titles.append(alias.removeprefix(f"{ALIAS_PREFIX}{lab}:"))
        for number, interface in ends:
            in_the_way = is_needed(needed, number, interface)
            found.add(survey, number, interface, lab, is_needed=in_the_way, place=found.titles[-1])
    if prune and any(not interface.alias for _, interface in ours):
        _add_unnamed(found, topology, survey, boot)
    return found


def _add_unnamed(found: Superseded, topology: Topology, survey: Survey, boot: str) -> None:
    """Add links without an alias yet, made by a run that was killed, that are not those of the file."""
    lab = topology.name
    links: dict[tuple[int, int], int] = {}  # the indexes of both ends -> the index of the title
    for link in topology.links:
        places = [survey.places[end.node] for end in link.ends]
        there = [_at(survey, ns, end.ifname) for ns, end in zip(places, link.ends, strict=True)]
        present = [interface for interface in there if interface is not None]
        if all(interface.alias for interface in present):
            continue
        if len(present) == len(there) and (len(there) == 1 or are_peers(present)):
            continue
        for ns, interface in zip(places, there, strict=True):
            namespace = survey.observed[ns]
            if interface is None or interface.alias or namespace is None:
                continue
            if lab_of(interface, namespace, boot, lab) != lab:
                continue
            pair = min(interface.ifindex, interface.peer), max(interface.ifindex, interface.peer)
            if pair not in links:
                links[pair] = len(found.titles)
                found.titles.append(f"{topology.name}: {interface.ifname}")
            found.add(survey, ns, interface, lab, is_needed=True, place=link.place, link=links[pair])


def _at(survey: Survey, ns: int, ifname: str) -> Interface | None:
    namespace = survey.observed[ns]
    return namespace.interfaces.get(ifname) if namespace is not None else None


def _renamed(namespace: Namespace | None, interface: Interface, aside: SetAside) -> Namespace:
    """Return what is in a namespace after an interface was set aside."""
    from copy import copy  # few runs set an interface aside

    assert namespace is not None
    interfaces = {aside.other_name if name == aside.ifname else name: one for name, one in namespace.interfaces.items()}
    other = copy(interface)
    other.ifname, other.group = aside.other_name, aside.group | APART
    other.more = {key: value for key, value in other.more.items() if key != ATTRIBUTES["altnames"]}
    interfaces[aside.other_name] = other
    # Its mirrors are deleted with it: they are not those of the new interface with its name.
    mirrors = tuple(mirror for mirror in namespace.mirrors if mirror.ifname != aside.ifname)
    return Namespace(namespace.identity, interfaces, namespace.loopback_alias, mirrors)
