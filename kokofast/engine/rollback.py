"""Undo what a run made: all of it, or some of its links."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kokofast.ends import names_of
from kokofast.engine.tear_down import HELD, tear_down
from kokofast.ops.registry import AFTER_DELETION, MODULES, home
from kokofast.plan.operations import ConfigureEnd
from kokofast.wire.message import words_of

if TYPE_CHECKING:
    from kokofast.drivers import Driver
    from kokofast.engine.result_types import Progress
    from kokofast.ops.journal import Applied


def _needless(applied: Applied, failed: set[int]) -> set[int]:
    """Return the SetAside operations whose names no link needs any more, as the links that needed them failed."""
    operations = applied.plan.operations
    asides = [
        (number, applied.operation(number))
        for number, one in enumerate(operations)
        if MODULES[type(one)] in AFTER_DELETION
    ]
    if not asides:
        return set()
    stay = [operations[number] for number in applied.done if operations[number].link not in failed]
    links = applied.topology.links
    taken = {
        (one.interface.ns, name)
        for one in stay
        if isinstance(one, ConfigureEnd)
        for name in names_of(links[one.link].ends[one.end])
    }
    needed = {one.title for _, one in asides if not taken.isdisjoint((one.ns, name) for name in one.names)}
    return {number for number, one in asides if one.title not in needed}


async def roll_back(
    applied: Applied, only: set[int] | None, driver: Driver, progress: Progress | None = None
) -> list[str]:
    """Undo what a run made: all of it, or with ``only`` these links (then its namespaces stay).

    Return a line for each thing that could not be undone. Namespaces that something else keeps alive are only noted.
    """
    executor = applied.executor
    chosen: dict[str, list[int]] = {}
    needless = set() if only is None else _needless(applied, only)
    for number, operation in enumerate(applied.plan.operations):
        is_chosen = only is None or operation.link in only or number not in applied.done or number in needless
        if is_chosen and operation in executor.begun:
            chosen.setdefault(MODULES[type(operation)], []).append(number)
    left: list[str] = []
    for name in dict.fromkeys(MODULES.values()):
        if name in chosen and name not in AFTER_DELETION:
            left += home(name).undo(applied, chosen[name])
    ends, removable = applied.ends, applied.removable
    lab = applied.topology.name
    done = await tear_down(executor, ends, removable, driver, progress=progress, lab=lab, stage="rollback")
    for name in AFTER_DELETION:
        if name in chosen:
            left += home(name).undo(applied, chosen[name])
    links = applied.topology.links
    # ESTALE: the name is of another namespace now, and ours ends with its last descriptor.
    stay = {name: why for name, why in done.failed_namespaces.items() if why.errno != errno.ESTALE}
    # Do not list the links in a namespace that is listed.
    seen = {end.link for end in ends if removable.get(end.ns) not in stay}
    refused = [(link, refusal) for link, refusal in sorted(done.failed_links.items()) if link in seen]
    left += [f"link {links[link].title()}: {words_of(refusal)}" for link, refusal in refused]
    left += [f"namespace {name}: {getattr(why, 'strerror', None) or why}" for name, why in sorted(stay.items())]
    applied.notes += [f"namespace {name}: its name and its links are gone, but {HELD}" for name in sorted(done.held)]
    if applied.replacement is not None:
        from kokofast.engine.give_back import give_back

        left += give_back(applied, only)
    return left
