"""What a run that came to its end has done, in its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.engine.crowd import crowded
from kokofast.engine.result import APPLIED, INVALID, PARTIAL, PLANNED, UNCHANGED, Failure
from kokofast.plan.operations import MakeNamespace
from kokofast.plan.plan import CREATE, UPDATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.engine.applied import Applied
    from kokofast.engine.result import Result
    from kokofast.topology.problems import Problem


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


def count_lost(result: Result, missing: Sequence[Problem], lost: Sequence[Failure]) -> None:
    """Adds what was left out of a run that keeps going: nodes that do not resolve, and the links that need them."""
    result.errors[:0] = [Failure(problem.place, problem.message) for problem in missing]
    if result.status == INVALID:
        return
    result.errors += lost
    result.links["total"] += len(lost)
    result.links["failed"] += len(lost)
    if result.status in (APPLIED, UNCHANGED, PLANNED):
        result.status = PARTIAL


def succeed(applied: Applied, result: Result) -> None:
    """All went well."""
    result.status = APPLIED
    result.left = []
    count_done(applied, result, set())
