"""koko's command line and batch keep off each other, and neither works in a namespace that has lost its name, or on an
interface that is another one by now."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from kokofast.host.lock import LOCK_DIR, LabLock
from kokofast.ops.delete_group import delete_one
from kokofast.ops.executor import Executor
from tests.conftest import NamespaceFactory, ip, links
from tests.faults.test_koko_faults import koko
from tests.kernel.conftest import until

if TYPE_CHECKING:
    from kokofast.ops.executor import OperationError
    from kokofast.plan.operations import Operation

pytestmark = pytest.mark.usefixtures("requires_root")


def waits_or_ended(process: subprocess.Popen[bytes], lock: str) -> bool:
    """Whether it has the lock's file open, or is no more."""
    descriptors = f"/proc/{process.pid}/fd"
    try:
        return any(os.readlink(f"{descriptors}/{fd}") == lock for fd in os.listdir(descriptors))
    except OSError:
        return process.poll() is not None


def test_a_link_waits_for_whoever_has_the_lab(netns: NamespaceFactory) -> None:
    a, b = netns("a"), netns("b")
    for command, before, after in (
        (["-n", f"{a},k0", "-n", f"{b},k0"], set(), {"k0"}),
        (["-N", f"{a},k0"], {"k0"}, set()),
    ):
        lock = LabLock("koko")
        until(lock.acquire, "nobody else has the lock")
        process = subprocess.Popen([sys.executable, "-m", "kokofast", *command])
        try:
            until(partial(waits_or_ended, process, f"{LOCK_DIR}/koko.lock"), "it waits")
            assert process.poll() is None
            assert set(links(a)) == before
        finally:
            lock.release()
            code = process.wait()
        assert code == 0
        assert set(links(a)) == after


def test_a_namespace_that_was_replaced_meanwhile(
    netns: NamespaceFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    a, b = netns("a"), netns("b")
    execute: Callable[[Executor, Sequence[Operation]], list[OperationError | None]] = Executor.execute

    def replace(executor: Executor, operations: Sequence[Operation]) -> list[OperationError | None]:
        if not executor.begun:
            ip(None, "netns", "delete", a)
            ip(None, "netns", "add", a)
        return execute(executor, operations)

    monkeypatch.setattr(Executor, "execute", replace)
    assert koko(["-n", f"{a},k0", "-n", f"{b},k0"]) == 1
    assert f"/run/netns/{a} leads to another network namespace by now" in capfd.readouterr().err
    assert (links(a), links(b)) == ({}, {})


@pytest.mark.parametrize(
    ("change", "stays", "code", "words"),
    [
        ("name k1", {"k1"}, 1, "k0 cannot be deleted: it was renamed or changed since it was looked at"),
        ("netns {c}", set(), 1, "k0 cannot be deleted: it was moved to {c} since it was looked at"),
        ("", set(), 0, ""),
    ],
    ids=["renamed", "moved", "deleted"],
)
def test_an_interface_that_changes_just_before_it_is_deleted(
    netns: NamespaceFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    change: str,
    stays: set[str],
    code: int,
    words: str,
) -> None:
    a, b, c = netns("a"), netns("b"), netns("c")
    assert koko(["-n", f"{a},k0", "-n", f"{b},k0"]) == 0

    def meddle(*arguments: Any) -> OperationError | None:
        if change:
            ip(a, "link", "set", "k0", *change.format(c=c).split())
        else:
            ip(a, "link", "delete", "k0")
        return delete_one(*arguments)

    monkeypatch.setattr("kokofast.koko.delete.delete_one", meddle)
    assert koko(["-N", f"{a},k0"]) == code
    assert set(links(a)) == stays
    assert set(links(b)) == ({"k0"} if code else set())
    assert words.format(c=c) in capfd.readouterr().err


def test_a_rollback_that_breaks_off_is_told(
    netns: NamespaceFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    a, b = netns("a"), netns("b")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("kokofast.engine.carry_out._recheck", fail)
    monkeypatch.setattr("kokofast.engine.rollback.tear_down", fail)
    assert koko(["-n", f"{a},k0", "-n", f"{b},k0"]) == 3
    assert "'kokofast destroy --name koko' removes what is left" in capfd.readouterr().err
    monkeypatch.undo()
    assert koko(["-N", f"{a},k0"]) == 0
