"""Turn refusals of the kernel into failures of the result: the place in the file, and a sentence."""

from __future__ import annotations

from contextlib import suppress

from kokofast.engine.result import Failure, failure_of
from kokofast.ops.registry import home_of
from kokofast.plan.operations import NodeOperation
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from kokofast.ops.journal import Applied


def failures_of(applied: Applied) -> list[Failure]:
    """Return a failure for each operation that was refused."""
    found = []
    told = _obstacles(applied)
    for number, refusal in sorted(applied.failures.items()):
        operation = applied.plan.operations[number]
        problem = home_of(operation).locate(applied, operation, refusal, told.get(number, ("", "")))
        found.append((problem, refusal.errno))
    _locate(applied, [problem for problem, _ in found])
    return [failure_of(problem, code) for problem, code in found]


def failures_of_dependents(applied: Applied, links: Collection[int]) -> list[Failure]:
    """Return one failure for all links that were done, but depend on refused ones."""
    if not links:
        return []
    first = applied.topology.links[min(links)]
    more = f"; the same is true of {len(links) - 1:,} more links" if len(links) > 1 else ""
    problem = Problem(first.place, f"{first.title()}: its parent, or what it mirrors, was not made{more}")
    _locate(applied, [problem])
    return [failure_of(problem)]


def failures_of_nodes(applied: Applied) -> list[Failure]:
    """Return a failure for each node whose routes, addresses or sysctls were not set because a link failed."""
    left_out = {
        operation.node: None
        for number, operation in applied.plan.of_type(NodeOperation)
        if number not in applied.done and number not in applied.failures
    }
    problems = [
        Problem(
            applied.topology.nodes[name].place, f"{name}: its routes, addresses or sysctls were not set: a link failed"
        )
        for name in left_out
    ]
    _locate(applied, problems)
    return list(map(failure_of, problems))


def _locate(applied: Applied, problems: list[Problem]) -> None:
    """Set the positions of problems, if there are descriptors and memory left for it."""
    with suppress(OSError, MemoryError):
        applied.topology.in_order(problems)


def _obstacles(applied: Applied) -> dict[int, tuple[str, str]]:
    with suppress(OSError, MemoryError):  # then the kernel's message is all there is
        from kokofast.engine.elsewhere import obstacles  # needed for failures only

        return obstacles(applied)
    return {}
