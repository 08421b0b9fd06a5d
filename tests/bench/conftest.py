"""What is compiled, once; and tiny scenarios on fresh namespaces."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.contender import Contender
from bench.contenders import compile_floor, contenders, remove_locks
from bench.peers.golang import LIBRARY, Go
from bench.scenario import SCENARIOS, Containers, Mesh, Scenario
from tests.conftest import namespaces

LINKS = 4  # the mesh begins again after three
PREFIX = f"kfbt{os.getpid()}-"

Fresh = Callable[[str], Scenario]


def lacking(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI=true allows no skipping for lack of it")
    pytest.skip(what)


@pytest.fixture(scope="session")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which(os.environ.get("CC", "cc")) is None and shutil.which("gcc") is None:
        lacking("no C compiler here, and the floor is written in C")
    compiled = compile_floor(tmp_path_factory.mktemp("floor"))
    assert compiled is not None, "floor.c does not compile"
    return compiled


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None or not LIBRARY.is_dir():
        lacking("no Go, or not its netlink library, here")
    compiled = Go.compile(tmp_path_factory.mktemp("go"))
    assert compiled is not None, "links.go does not compile"
    return compiled


@pytest.fixture
def everyone(request: pytest.FixtureRequest) -> Callable[[str], Contender]:
    """The contender of a name; what it is compiled from is compiled for it only."""

    def find(name: str) -> Contender:
        compiled = {kind: request.getfixturevalue(kind) for kind in ("floor", "go") if name.startswith(kind)}
        return contenders(**compiled)[name]

    return find


@pytest.fixture
def fresh(requires_root: None) -> Iterator[Fresh]:
    """``fresh(name)``: the scenario of that name, its namespaces there."""
    with ExitStack() as stack:

        def make(name: str) -> Scenario:
            kind = SCENARIOS[name]
            if issubclass(kind, Mesh):
                scenario: Scenario = kind(PREFIX, LINKS, 2 if kind is Containers else 3)
            else:
                scenario = kind(PREFIX, 1 if name == "single" else LINKS)
            if missing := scenario.absent():
                lacking(missing)
            stack.enter_context(scenario.setting())
            stack.enter_context(scenario.fresh())
            return scenario

        yield make
    remove_locks(PREFIX)
    assert not [name for name in namespaces() if name.startswith(PREFIX)]
