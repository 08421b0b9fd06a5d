"""The lock of a lab: who waits, what is said of it, and what becomes of its file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from kokofast.drivers import LabLocked
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.host import lock
from kokofast.host.lock import LabLock


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the lock files are."""
    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path / "locks"))
    return tmp_path / "locks"


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@pytest.fixture
def lab() -> Iterator[LabLock]:
    """The lock of the lab, held by another run."""
    held = LabLock("lab")
    assert held.acquire()
    yield held
    held.release()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("wanted", ["lab", None])
async def test_a_wait_is_told_once_after_half_a_second(clock: MockClock, lab: LabLock, wanted: str | None) -> None:
    told: list[float] = []
    start = trio.current_time()

    async def end() -> None:
        await trio.sleep(30)
        lab.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        async with LabLocked(TrioDriver(), wanted, waits=lambda: told.append(trio.current_time() - start)):
            assert trio.current_time() - start == pytest.approx(30, abs=0.1)
    assert told == [pytest.approx(0.5)]


async def test_a_short_wait_is_not_told(clock: MockClock, lab: LabLock) -> None:
    async def end() -> None:
        await trio.sleep(0.4)
        lab.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        async with LabLocked(TrioDriver(), "lab", waits=lambda: pytest.fail("it was told")):
            pass


def test_the_file_goes_with_the_run(folder: Path) -> None:
    held = LabLock("lab")
    assert held.acquire()
    assert files(folder) == {".all.lock", "lab.lock"}
    held.release()
    assert files(folder) == {".all.lock"}


def test_who_waits_does_not_take_the_file_away(folder: Path, lab: LabLock) -> None:
    waiting = LabLock("lab")
    assert not waiting.acquire()
    waiting.release()
    assert files(folder) == {".all.lock", "lab.lock"}
    assert not LabLock("lab").acquire()


def test_the_lock_of_a_file_that_is_gone_keeps_nobody_off(folder: Path, lab: LabLock) -> None:
    second, third = LabLock("lab"), LabLock("lab")
    assert not second.acquire()  # it has the file open by now
    lab.release()
    assert third.acquire()  # another file of this name
    try:
        assert not second.acquire()
        third.release()
        assert second.acquire()
        assert os.path.samestat((folder / "lab.lock").stat(), os.fstat(second._fds[-1]))
    finally:
        third.release()
        second.release()


def test_files_of_killed_runs_go_with_the_removal_of_all_labs(folder: Path, lab: LabLock) -> None:
    (folder / "killed.lock").touch()
    (folder / "not-a-lock").touch()
    everything = LabLock(None)
    assert not everything.acquire()
    everything.release()
    assert "killed.lock" in files(folder)
    lab.release()
    assert everything.acquire()
    everything.release()
    assert files(folder) == {".all.lock", "not-a-lock"}
