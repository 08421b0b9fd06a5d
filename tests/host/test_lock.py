"""The lock of a lab, where it cannot be had."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from kokofast.host import lock
from kokofast.host.lock import Keeper, LabLock, dismiss_keepers


def test_a_filter_that_refuses_flock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", refuse)
    refused = LabLock("lab")
    assert refused.acquire()
    assert refused.notes() == [f"without a lock other runs may interfere: {tmp_path}: Operation not permitted"]


def test_only_the_file_that_is_held_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path))
    first, second, third = LabLock("lab"), LabLock("lab"), LabLock("lab")
    assert first.acquire()
    (tmp_path / "lab.lock").unlink()  # by hand
    assert second.acquire()
    first.release()
    assert not third.acquire()
    second.release()
    assert third.acquire()
    third.release()
    assert not (tmp_path / "lab.lock").exists()


def test_who_has_opened_a_file_of_all_labs_that_is_gone_opens_the_new_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path))
    run, all_labs = LabLock("lab"), LabLock(None)
    run._open()
    (tmp_path / lock.ALL).unlink()  # by hand
    assert run.acquire()
    assert not all_labs.acquire()
    run.release()
    assert all_labs.acquire()
    all_labs.release()


def test_all_watches_are_dismissed_also_while_one_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path))
    keeper = Keeper("b")
    assert keeper.acquire()
    monkeypatch.setattr(os, "listdir", lambda _: ["a.watch", "b.watch"])  # the first one has just gone
    dismiss_keepers(None)
    assert keeper.is_dismissed()
    monkeypatch.setattr(lock, "_leads_to", lambda *_: True)  # dismissed just after that was looked at
    keeper.release()


def test_a_watch_where_flock_is_refused_keeps_no_descriptor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PermissionError):
        Keeper("lab").acquire()
    assert len(os.listdir("/proc/self/fd")) == before
