"""An operation is a class in a plan and a module in kokofast.ops. All else goes by what these two say."""

from __future__ import annotations

import errno
import importlib
import inspect
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from kokofast.engine import apply as engine
from kokofast.engine.groundwork import plan_of
from kokofast.ops import registry
from kokofast.plan import operations
from kokofast.plan.operations import DeleteGroup, RemoveNamespace
from kokofast.plan.plan import Plan
from kokofast.plan.step import Step
from kokofast.topology.problems import Problem
from tests.engine.conftest import KernelFactory
from tests.engine.labs import chain
from tests.runs import apply

FUNCTIONS = {
    "execute": ["executor", "operations"],
    "undo": ["applied", "numbers"],
    "locate": ["applied", "operation", "refusal", "obstacle"],
    "describe": ["plan", "operation"],
}
OF_A_PLAN = [
    found
    for _, found in inspect.getmembers(operations, inspect.isclass)
    if hasattr(found, "verb") and found not in (DeleteGroup, RemoveNamespace)  # those are what undoes, and destroys
]


def test_every_operation_of_a_plan_is_registered() -> None:
    assert set(registry.MODULES) == set(OF_A_PLAN)


@pytest.mark.parametrize("operation", OF_A_PLAN)
def test_the_module_of_an_operation_has_all_functions(operation: type[object]) -> None:
    module = importlib.import_module(f"kokofast.ops.{registry.MODULES[operation]}")
    found = {name: list(inspect.signature(getattr(module, name)).parameters) for name in FUNCTIONS}
    assert found == FUNCTIONS
    assert all(hasattr(operation, name) for name in ("verb", "link", "namespaces", "makes", "requires"))


class Greet:
    """An operation that the product does not know."""

    verb = "greet"
    makes = requires = ()

    def __init__(self, link: int, ns: int) -> None:
        self.link = link
        self.namespaces = (ns,)


@pytest.fixture
def greeted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is called of the module of Greet, which is the last operation of each plan, on link 0."""
    calls: list[str] = []
    module: Any = ModuleType("kokofast.ops.greet")

    def execute(executor: object, found: Sequence[Greet]) -> list[OSError | None]:
        calls.append(f"execute {len(found)}")
        return [OSError(errno.EPERM, "nobody greets here")]

    def undo(applied: object, numbers: Sequence[int]) -> list[str]:
        calls.append(f"undo {len(numbers)}")
        return ["the greeting stays"]

    module.execute, module.undo = execute, undo
    module.locate = lambda applied, operation, refusal, obstacle: Problem("$.links[0]", refusal.strerror)
    module.describe = lambda plan, operation: Step("create", "greeting", name="hello")

    def with_greeting(*arguments: Any, **more: Any) -> Plan:
        plan = plan_of(*arguments, **more)
        plan.last = plan.final = plan.add(Greet(0, 0)) + 1  # type: ignore[arg-type]
        return plan

    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry.MODULES, Greet, "greet")
    monkeypatch.setattr(engine, "plan_of", with_greeting)
    return calls


async def test_a_registered_operation_needs_nothing_else(make_kernel: KernelFactory, greeted: list[str]) -> None:
    kernel = make_kernel("n0", "n1")
    before = kernel.state()
    result = await apply(chain(1), kernel=kernel, dry_run=True)
    assert str(result.planned[-1]) == "+ greeting hello"
    assert greeted == []
    result = await apply(chain(1), kernel=kernel, jobs=1)
    assert greeted == ["execute 1", "undo 1"]
    assert [(one.source, one.message) for one in result.errors] == [("$.links[0]", "nobody greets here")]
    assert result.left == ["the greeting stays"]
    assert kernel.state() == before


async def test_a_module_that_cannot_be_imported_fails_before_anything_is_made(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kokofast.ops.configure_end", None)
    kernel = make_kernel("n0", "n1")
    kernel.count_from_here()
    with pytest.raises(ImportError):
        await apply(chain(1), kernel=kernel)
    assert kernel.requests == []
