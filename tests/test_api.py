"""The public names of the library, and what it refuses before it touches anything."""

from __future__ import annotations

import asyncio
import io
import os
import pydoc
from collections.abc import Callable
from typing import Any

import pytest
import trio

import kokofast
from kokofast import api
from kokofast.engine.result import Result
from kokofast.host.lock import LOCK_DIR
from kokofast.topology.model import Topology


def locks() -> set[str]:
    return set(os.listdir(LOCK_DIR)) if os.path.isdir(LOCK_DIR) else set()


@pytest.fixture(autouse=True)
def _all_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "missing_capabilities", lambda _: [])


def test_the_names_are_shown() -> None:
    assert set(kokofast.__all__) <= set(dir(kokofast))
    text = io.StringIO()
    pydoc.Helper(output=text).help(kokofast)
    for name in ("apply", "destroy", "inspect", "deployed", "load", "ApplyError", "Result"):
        assert name in text.getvalue()
    assert all(getattr(kokofast, name) for name in kokofast.__all__)
    with pytest.raises(AttributeError, match="nosuch"):
        _ = kokofast.nosuch  # type: ignore[attr-defined]  # mypy finds it as well: it warns of an unused ignore


@pytest.mark.parametrize("lab", ["../x", "", ".", "a/b", "x" * 65])
async def test_a_name_that_is_no_labs_is_refused(lab: str) -> None:
    before = locks()
    for call in (kokofast.destroy, kokofast.inspect):
        with pytest.raises(ValueError, match="cannot be the lab's name"):
            await call(lab)
    with pytest.raises(ValueError, match="cannot be the lab's name"):
        await kokofast.apply(Topology(lab, {}, ()))
    assert locks() == before


@pytest.mark.parametrize(
    "options",
    [{}, {"lab": None}, {"lab": "x", "all_labs": True}, {"topology": Topology("x", {}, ()), "all_labs": True}],
)
async def test_destroy_of_nothing_named_does_not_destroy_all(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="all_labs=True"):
        await kokofast.destroy(**options)


async def test_what_is_no_topology_or_name_is_refused() -> None:
    wrong: Any = ["links.json"]
    for call in (kokofast.apply, kokofast.destroy, kokofast.inspect):
        with pytest.raises(TypeError, match="list"):
            await call(wrong)


async def test_destroy_takes_a_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    topology, seen = Topology("lab1", {}, ()), []

    async def destroyed(lab: str | None, **options: object) -> Result:
        seen.append((lab, options["topology"]))
        return Result("lab1", "destroyed")

    monkeypatch.setattr("kokofast.engine.destroy.destroy", destroyed)
    await kokofast.destroy(topology)
    await kokofast.destroy(topology=topology)
    await kokofast.destroy("other", topology=topology)
    await kokofast.destroy(all_labs=True)
    assert seen == [("lab1", topology), ("lab1", topology), ("other", topology), (None, None)]


@pytest.mark.parametrize("name", ["apply", "destroy", "inspect"])
def test_outside_of_trio_the_error_says_how_to_call(name: str) -> None:
    function: Callable[..., Any] = getattr(kokofast, name)
    with pytest.raises(RuntimeError, match=rf"asyncio\.to_thread\(trio\.run, kokofast\.{name}"):
        asyncio.run(function("lab1"))


def test_rights_that_are_missing_are_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "missing_capabilities", lambda _: ["CAP_SYS_ADMIN"])
    calls: list[tuple[Callable[..., Any], object]] = [
        (kokofast.apply, Topology("lab1", {}, ())),
        (kokofast.destroy, "lab1"),
        (kokofast.inspect, None),
    ]
    for function, argument in calls:
        with pytest.raises(PermissionError, match="CAP_SYS_ADMIN"):
            trio.run(function, argument)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
async def test_a_group_of_one_is_a_plain_exception(monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]) -> None:
    async def broken(*_: object, **__: object) -> Result:
        async with trio.open_nursery() as outer:
            async with trio.open_nursery():
                raise kind("came")
            outer.cancel_scope.cancel()
        raise AssertionError

    monkeypatch.setattr("kokofast.engine.apply.apply", broken)
    with pytest.raises(kind, match="came"):
        await kokofast.apply(Topology("lab1", {}, ()))


class TestDeployed:
    @pytest.fixture(autouse=True)
    def _engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def applied(*_: object, **__: object) -> Result:
            return Result("lab1", "applied")

        async def half_destroyed(*_: object, **__: object) -> Result:
            result = Result("lab1", "partial")
            result.errors = [kokofast.Failure("a", "a link cannot be deleted: busy")]
            return result

        monkeypatch.setattr("kokofast.engine.apply.apply", applied)
        monkeypatch.setattr("kokofast.engine.destroy.destroy", half_destroyed)

    async def test_a_destroy_that_failed_is_raised(self) -> None:
        with pytest.raises(kokofast.DestroyError, match="busy") as failed:
            async with kokofast.deployed(Topology("lab1", {}, ())):
                pass
        assert failed.value.result.status == "partial"

    async def test_the_blocks_own_exception_goes_first(self) -> None:
        with pytest.raises(ZeroDivisionError) as failed:
            async with kokofast.deployed(Topology("lab1", {}, ())):
                _ = 1 / 0
        assert failed.value.__notes__ == ["the lab lab1 is not destroyed: a: a link cannot be deleted: busy"]


def test_a_result_shows_what_it_is() -> None:
    result = Result("lab1", "applied")
    result.links = {"total": 3, "created": 3}
    assert repr(result) == "<Result of 'lab1': applied; links: 3 total, 3 created; 0 errors>"
