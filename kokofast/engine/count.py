"""What a run that came to its end has done, in its result."""

from __future__ import annotations

from kokofast.engine.crowd import crowded
from kokofast.engine.result import APPLIED, PARTIAL, PLANNED, UNCHANGED, failure_of
from kokofast.plan.operations import MakeNamespace
from kokofast.plan.plan import CREATE, UPDATE
from kokofast.topology.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.engine.applied import Applied
    from kokofast.engine.result import Result
    from kokofast.topology.model import Topology


def count_done(applied: Applied, result: Result, failed: set[int]) -> None:
    """Fills the counts in, but for the links in failed, and notes what the machine has too little of for them."""
    actions = applied.plan.actions
    result.links["created"] = sum(action == CREATE and number not in failed for number, action in enumerate(actions))
    result.links["updated"] = sum(action == UPDATE and number not in failed for number, action in enumerate(actions))
    result.links["failed"] = len(failed)
    result.namespaces["created"] = sum(
        isinstance(operation, MakeNamespace) and operation.ns not in applied.executor.adopted
        for operation in (applied.plan.operations[number] for number in applied.done)
    )
    result.notes += crowded(applied.topology)


def count_lost(topology: Topology, result: Result, missing: Mapping[str, Problem], lost: Mapping[str, int]) -> None:
    """Add what was left out of a run that keeps going: nodes that do not resolve, by their names, and how many links
    each of them takes along."""
    counted = [
        Problem(problem.place, problem.message + (f"; links that need it: {lost[node]:,}" if node in lost else ""))
        for node, problem in missing.items()
    ]
    result.errors[:0] = map(failure_of, topology.in_order(counted))
    number = sum(lost.values())
    result.links["total"] += number
    result.links["failed"] += number
    if result.status in (APPLIED, UNCHANGED, PLANNED):
        result.status = PARTIAL


def succeed(applied: Applied, result: Result) -> None:
    """All went well."""
    result.status = APPLIED
    result.left = []
    count_done(applied, result, set())
