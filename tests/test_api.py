"""The public names of the library, and what it refuses before it touches anything."""

from __future__ import annotations

import asyncio
import inspect
import io
import pydoc
from collections.abc import Callable
from os import listdir
from pathlib import Path
from typing import Any

import pytest
import trio

import kokofast
from kokofast import api
from kokofast.api import checks
from kokofast.engine.result import Result
from kokofast.host import lock
from kokofast.topology.model import Topology


@pytest.fixture(autouse=True)
def _all_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "missing_capabilities", lambda _: [])


def test_the_names_are_shown() -> None:
    assert set(kokofast.__all__) <= set(dir(kokofast))
    text = io.StringIO()
    pydoc.Helper(output=text).help(kokofast)
    for name in ("apply", "destroy", "inspect", "deployed", "load", "ApplyError", "Result"):
        assert name in text.getvalue()
    # A module that is imported takes the place of a function of its name.
    others = {"__version__", "sync"}
    assert all(getattr(kokofast, name) is getattr(api, name) for name in kokofast.__all__ if name not in others)
    with pytest.raises(AttributeError, match="nosuch"):
        _ = kokofast.nosuch  # type: ignore[attr-defined]  # mypy finds it as well: it warns of an unused ignore


@pytest.mark.parametrize("lab", ["../x", "", ".", "a/b", "x" * 65])
async def test_a_name_that_is_no_labs_is_refused(lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path / "locks"))
    for call in (kokofast.destroy, kokofast.inspect):
        with pytest.raises(ValueError, match="cannot be the lab's name"):
            await call(lab)
    with pytest.raises(ValueError, match="cannot be the lab's name"):
        await kokofast.apply(Topology(lab, {}, ()))
    assert listdir(tmp_path) == []


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


LAB = Topology("lab1", {}, ())


async def called(_name: str, **options: Any) -> None:
    function: Callable[..., Any] = getattr(kokofast, _name)
    if _name == "load":
        function(**options)
    elif _name == "deployed":
        async with function(**options):
            raise AssertionError
    else:
        await function(**options)


@pytest.mark.parametrize(
    ("call", "options", "kind", "said"),
    [
        (call, {name: value}, TypeError, f"^{name} is True or False, not ")
        for call, names in (
            ("load", ["create"]),
            ("apply", ["keep_going", "dry_run", "prune", "replace"]),
            ("destroy", ["force", "all_labs"]),
        )
        for name in names
        for value in ("no", 1, None)
    ]
    + [
        (call, {"jobs": value}, kind, "^jobs is a whole number")
        for call in ("apply", "destroy", "deployed")
        for value, kind in ((0, ValueError), (-1, ValueError), ("x", TypeError), (1.0, TypeError), (True, TypeError))
    ]
    + [
        (call, {"runtime_timeout": value}, kind, "^runtime_timeout is a number of seconds")
        for call in ("apply", "deployed")
        for value, kind in (
            (0, ValueError),
            (-1, ValueError),
            (float("nan"), ValueError),
            (float("inf"), ValueError),
            ("1", TypeError),
            (None, TypeError),
        )
    ]
    + [(call, {"progress": 5}, TypeError, "^progress is a function") for call in ("apply", "destroy", "inspect")]
    + [
        ("load", {"name": 3}, TypeError, "a lab's name is a string, not int"),
        ("load", {"name": "a/b"}, ValueError, "cannot be the lab's name.*letter or digit first$"),
        ("load", {"format": 5}, TypeError, "^format is a string or None, not 5"),
        ("load", {"format": "jsn"}, ValueError, "^unknown format 'jsn'; did you mean 'json'"),
        ("load", {"distance_delay": 5}, TypeError, "^distance_delay is True or False, not 5"),
        ("load", {"runtime": "lxc"}, ValueError, "^runtime is one of docker, podman, not 'lxc'"),
        ("load", {"path": 5}, TypeError, "not int"),
        ("load", {"path": b"x.json"}, TypeError, "not bytes"),
        ("apply", {"result": {}}, TypeError, "^result is a Result or None, not {}"),
        ("apply", {"confirm_within": 0}, ValueError, "^confirm_within is a number of seconds above 0, not 0"),
        ("apply", {"confirm_within": "1"}, TypeError, "^confirm_within is a number of seconds"),
        ("apply", {"confirm_within": 1, "dry_run": True}, ValueError, "does not go with dry_run$"),
        ("apply", {"confirm_within": 1, "keep_going": True}, ValueError, "does not go with keep_going$"),
        ("apply", {"waiting": 1}, TypeError, "^waiting is a function of the seconds or None, not 1"),
        ("confirm", {"lab": None}, TypeError, "a lab's name is a string, not NoneType"),
        ("confirm", {"lab": "../x"}, ValueError, "cannot be the lab's name"),
        ("confirm", {"lab": "x", "revert": 1}, TypeError, "^revert is True or False, not 1"),
        ("destroy", {"topology": "x.json"}, TypeError, "^topology is a Topology or None, not 'x.json'"),
        ("inspect", {"lab": 3}, TypeError, "a lab's name is a string"),
        ("inspect", {"unseen": []}, TypeError, "^unseen is a dict or None"),
        ("inspect", {"namespaces": True}, TypeError, "^namespaces is a dict or None"),
        ("verify", {"source": 3}, TypeError, "a lab's name is a string"),
        ("verify", {"source": "a/b"}, ValueError, "cannot be the lab's name"),
        ("verify", {"patience": 0}, ValueError, "^patience is a number of seconds above 0, not 0"),
        ("verify", {"runtime_timeout": "1"}, TypeError, "^runtime_timeout is a number of seconds"),
        ("verify", {"unseen": []}, TypeError, "^unseen is a dict or None"),
        ("verify", {"errors": {}}, TypeError, "^errors is a list or None"),
        ("draw", {"source": None}, TypeError, "takes a topology or the name of a lab"),
        ("draw", {"source": "a/b"}, ValueError, "cannot be the lab's name"),
        ("draw", {"source": "lab1", "format": "png"}, ValueError, "unknown format 'png'; .*svg"),
        ("draw", {"source": "lab1", "states": False}, ValueError, "^states=False is for topologies"),
        ("draw", {"source": "lab1", "states": 1}, TypeError, "^states is"),
        ("deployed", {"dry_run": True}, TypeError, "takes no dry_run"),
        ("deployed", {"nosuch": True}, TypeError, "nosuch"),
    ],
)
async def test_an_argument_is_checked_as_the_command_line_checks_it(
    monkeypatch: pytest.MonkeyPatch, call: str, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    """Also before anybody asks for rights."""
    monkeypatch.setattr(checks, "missing_capabilities", lambda _: ["CAP_SYS_ADMIN"])
    first = {
        "load": {"path": "/nowhere.json"},
        "inspect": {},
        "verify": {},
        "draw": {},
        "destroy": {"lab": "lab1"},
        "confirm": {},
    }.get(call, {"topology": LAB})
    with pytest.raises(kind, match=said):
        await called(call, **{**first, **options})


def test_every_argument_is_checked() -> None:
    """One that is added here is also added to the table above."""
    known = {"path", "name", "create", "topology", "keep_going", "dry_run", "jobs", "runtime_timeout", "progress"}
    known |= {
        "format",
        "runtime",
        "distance_delay",
        "prune",
        "replace",
        "result",
        "lab",
        "all_labs",
        "force",
        "unseen",
        "namespaces",
        "options",
        "confirm_within",
        "waiting",
        "revert",
    }
    for name in ("load", "apply", "confirm", "destroy", "inspect", "deployed"):
        assert set(inspect.signature(getattr(kokofast, name)).parameters) <= known


def test_a_file_that_is_called_like_no_lab(tmp_path: Path) -> None:
    file = tmp_path / "my lab.json"
    file.write_text("[]")
    with pytest.raises(kokofast.TopologyError, match=r"cannot be the lab.s name.*; give another one with name=$"):
        kokofast.load(file)
    assert kokofast.load(file, name="mine").name == "mine"


async def test_destroy_takes_a_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    topology, seen = Topology("lab1", {}, ()), []

    async def destroyed(lab: str | None, *_: object, **options: object) -> Result:
        seen.append((lab, options["topology"]))
        return Result("lab1", "destroyed")

    monkeypatch.setattr("kokofast.engine.destroy.destroy", destroyed)
    await kokofast.destroy(topology)
    await kokofast.destroy(topology=topology)
    await kokofast.destroy("other", topology=topology)
    await kokofast.destroy(all_labs=True)
    assert seen == [("lab1", topology), ("lab1", topology), ("other", topology), (None, None)]


@pytest.mark.parametrize("name", ["apply", "destroy", "draw", "inspect", "verify"])
def test_outside_of_trio_the_error_says_how_to_call(name: str) -> None:
    function: Callable[..., Any] = getattr(kokofast, name)
    with pytest.raises(RuntimeError, match=rf"asyncio\.to_thread\(trio\.run, kokofast\.{name}"):
        asyncio.run(function("lab1"))


def test_rights_that_are_missing_are_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "missing_capabilities", lambda _: ["CAP_SYS_ADMIN"])
    calls: list[tuple[Callable[..., Any], object]] = [
        (kokofast.apply, Topology("lab1", {}, ())),
        (kokofast.destroy, "lab1"),
        (kokofast.inspect, None),
        (kokofast.verify, None),
        (kokofast.draw, "lab1"),
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


class TestSync:
    """kokofast.sync: the same functions, which block."""

    @pytest.fixture(autouse=True)
    def _engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def applied(*_: object, **options: Any) -> Result:
            return Result("lab1", "partial" if options["keep_going"] else "applied")

        async def destroyed(*_: object, **__: object) -> Result:
            result = Result("lab1", "partial")
            result.errors = [kokofast.Failure("a", "a link cannot be deleted: busy")]
            return result

        monkeypatch.setattr("kokofast.engine.apply.apply", applied)
        monkeypatch.setattr("kokofast.engine.destroy.destroy", destroyed)

    def test_it_blocks(self) -> None:
        assert kokofast.sync.apply(LAB).status == "applied"
        assert kokofast.sync.destroy("lab1").status == "partial"
        with pytest.raises(TypeError, match=r"^keep_going is True or False"):
            kokofast.sync.apply(LAB, keep_going="no")  # type: ignore[arg-type]

    async def test_under_trio_the_error_says_what_to_call(self) -> None:
        with pytest.raises(RuntimeError, match=r"would block the event loop of this thread: await kokofast\.apply\(\)"):
            kokofast.sync.apply(LAB)
        with pytest.raises(RuntimeError, match="would block"), kokofast.sync.deployed(LAB):
            pass
        # In a thread it may block.
        assert (await trio.to_thread.run_sync(kokofast.sync.apply, LAB)).status == "applied"

    def test_under_asyncio_the_error_says_what_to_call(self) -> None:
        async def main() -> Result:
            with pytest.raises(RuntimeError, match=r"await asyncio\.to_thread\(kokofast\.sync\.destroy, \.\.\.\)"):
                kokofast.sync.destroy("lab1")
            return await asyncio.to_thread(kokofast.sync.apply, LAB)

        assert asyncio.run(main()).status == "applied"

    def test_a_block(self) -> None:
        with pytest.raises(kokofast.DestroyError, match="busy"), kokofast.sync.deployed(LAB) as result:
            assert result.status == "applied"
        with pytest.raises(ZeroDivisionError) as failed, kokofast.sync.deployed(LAB):
            _ = 1 / 0
        assert failed.value.__notes__ == ["the lab lab1 is not destroyed: a: a link cannot be deleted: busy"]
        with pytest.raises(TypeError, match="dry_run"), kokofast.sync.deployed(LAB, dry_run=True):
            pass

    def test_the_functions_are_those_of_the_library(self) -> None:
        for name in kokofast.sync.__all__:
            assert name in kokofast.__all__
            blocking, awaited = (getattr(module, name) for module in (kokofast.sync, kokofast))
            assert inspect.signature(blocking).parameters == inspect.signature(awaited).parameters
            assert blocking.__doc__
