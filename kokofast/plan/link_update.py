"""The operations that change an existing link. Imported where one is there."""

from __future__ import annotations

from kokofast.plan.diff import CURE, destructive_changes, difference, is_up_to_date
from kokofast.plan.operations import Change, ConfigureEnd
from kokofast.plan.plan import UPDATE, Conflict
from kokofast.plan.planned_state import PlannedEnd
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.plan.diff import Difference, Step
    from kokofast.plan.link_operations import LinkOperations
    from kokofast.plan.observed import Interface
    from kokofast.plan.operations import IfRef, Setting
    from kokofast.topology.model import End, Link


class PresentLink:
    """A link of the file, and the interfaces that are there under its names.

    Args:
        number: The link's in the topology.
        link: The link.
        references: Its ends.
        interfaces: Those of the ends that exist.
        parent: Its parent interface, None for none.
        alias: The alias of its ends.
    """

    __slots__ = ("alias", "interfaces", "link", "number", "parent", "references")

    def __init__(
        self,
        number: int,
        link: Link,
        references: Sequence[IfRef],
        interfaces: Sequence[Interface],
        parent: IfRef | None,
        alias: str,
    ) -> None:
        self.number = number
        self.link = link
        self.references = references
        self.interfaces = interfaces
        self.parent = parent
        self.alias = alias


def update_link(operations: LinkOperations, there: PresentLink) -> None:
    """Add the operations that an existing link needs, or problems."""
    number, link, references, parent, alias = there.number, there.link, there.references, there.parent, there.alias
    wait = () if parent is None else operations.prospect.ready((parent,))
    follows = operations.prospect.mtu_on(link, parent)
    if operations.freed:
        wait = *wait, *operations.freed_for(link, references)
    for position, (reference, end, interface) in enumerate(zip(references, link.ends, there.interfaces, strict=True)):
        given, end = end, operations.with_link_local(end, alias, interface)
        if end.dad and end is not given:
            _report_dad(operations, number, references, end)
        place = reference.ns, reference.ifname
        most, carries = operations.caps.get(place), place in operations.carriers
        settings: tuple[Setting, ...] = ()
        if end.properties or interface.more:
            most_sent = end.mtu if end.mtu is not None else follows if follows is not None else interface.mtu
            settings = operations.settings(link, end, reference, interface, most_sent)
        is_right = is_up_to_date(end, interface, alias, most, follows)
        if settings or not is_right:
            operations.plan.actions[number] = UPDATE
            found = None
            if not is_right:
                for where, message in destructive_changes(end, interface, most, follows):
                    operations.plan.problems.append(Problem(where, message))
                found = difference(end, interface, alias, most=most, follows=follows, carries=carries)
            steps = _steps_of(found, settings, end, interface)
            now, last, final = (ConfigureEnd(number, position, reference, *step) for step in steps)
            operations.last += [last] if last.change else []
            operations.final += [final] if final.change else []
            if now.change:
                after = (*wait, *operations.prospect.ready(now.requires)) if settings else wait
                operations.prospect.completes(operations.plan.add(now, after), reference)
        mtu = end.mtu if end.mtu is not None else follows
        if mtu is not None:
            mtu = mtu if most is None else min(mtu, most)
            operations.prospect.sets_mtu(reference, mtu, at_first=max(mtu, interface.mtu) if not carries else mtu)
        operations.prospect.ends.append(PlannedEnd(number, position, link, reference, interface, alias))


def _report_dad(operations: LinkOperations, number: int, references: Sequence[IfRef], end: End) -> None:
    """Add the problem that an end has a link-local address of ours, and the file has it no longer."""
    place, there = end.where("dad"), [(reference.ns, reference.ifname) for reference in references]
    operations.plan.conflicts.append(Conflict(number, there, place, [("dad", False, True)]))
    text = f"is there without duplicate address detection, which batch does not change back; {CURE}"
    operations.plan.problems.append(Problem(place, f"{end.node}:{end.ifname} {text}"))


def _steps_of(found: Difference | None, settings: Sequence[Setting], end: End, interface: Interface) -> Sequence[Step]:
    """Return the changes of an end, of its attributes and its properties, each with its undo, by stage."""
    steps = [(Change(), Change()) for _ in range(3)] if found is None else [found.now, found.last, found.final]
    if settings:
        from kokofast.plan.properties import add_to_steps

        add_to_steps(settings, steps, end, interface)
    return steps
