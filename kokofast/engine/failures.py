"""What the kernel refused, in the user's words: the place in the file, and a sentence."""

from __future__ import annotations

from contextlib import suppress

from kokofast.engine.result import Failure, failure_of
from kokofast.ops.registry import home_of
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from kokofast.ops.applied import Applied


def failures_of(applied: Applied) -> list[Failure]:
    """One entry for each operation that was refused."""
    found = []
    told = _obstacles(applied)
    for number, refusal in sorted(applied.failures.items()):
        operation = applied.plan.operations[number]
        problem = home_of(operation).locate(applied, operation, refusal, told.get(number, ("", "")))
        found.append((problem, refusal.errno))
    _locate(applied, [problem for problem, _ in found])
    return [failure_of(problem, code) for problem, code in found]


def failures_of_bereft(applied: Applied, links: Collection[int]) -> list[Failure]:
    """One entry for all links that were done, and go with what was refused."""
    if not links:
        return []
    first = applied.topology.links[min(links)]
    more = f"; the same is true of {len(links) - 1:,} more links" if len(links) > 1 else ""
    problem = Problem(first.place, f"{first.title()}: what it stands on was not made{more}")
    _locate(applied, [problem])
    return [failure_of(problem)]


def _locate(applied: Applied, problems: list[Problem]) -> None:
    """Give problems their positions. Without a descriptor or memory left the places have to do: the rollback is to
    come."""
    with suppress(OSError, MemoryError):
        applied.topology.in_order(problems)


def _obstacles(applied: Applied) -> dict[int, tuple[str, str]]:
    with suppress(OSError, MemoryError):  # the kernel's own words have to do
        from kokofast.engine.elsewhere import obstacles  # only failures pay for it

        return obstacles(applied)
    return {}
