"""Named namespaces that other runs make, or take away, at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
import trio

from kokofast.drivers import Stopped
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.drivers.trio_threads import is_cancelled
from kokofast.engine import groundwork
from kokofast.engine.apply import ATTEMPTS
from kokofast.host import lock
from kokofast.host import namespaces as host
from kokofast.host.kernel import Handle
from kokofast.host.lock import LabLock
from kokofast.host.netns_dir import DirectoryLockedError
from kokofast.ops import dumps, make_namespace
from kokofast.plan.ownership import group_of
from kokofast.wire.message import KernelError, Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import chain
from tests.runs import StopWhen, apply

if TYPE_CHECKING:
    from kokofast.wire.attributes import Resolve

OTHER = "kokofast:other:namespace"


class Meddler(FakeKernel):
    """meddle(names) is called before names are made; calls has how many each time."""

    calls: list[int]

    def meddle(self, names: Sequence[str]) -> None: ...

    def make(self, jobs: Sequence[tuple[str, str]]) -> list[Handle | OSError | KernelError]:
        self.calls.append(len(jobs))
        self.meddle([name for name, _ in jobs])
        return super().make(jobs)


class Claimer(Meddler):
    """Another run has claimed all names since we looked, and gets no further."""

    def meddle(self, names: Sequence[str]) -> None:
        self.claims.update({f"/run/netns/{name}": OTHER for name in names})


def meddling(kernel: FakeKernel, kind: type[Meddler]) -> Meddler:
    kernel.__class__ = kind
    assert isinstance(kernel, kind)
    kernel.calls = []
    return kernel


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without their time."""
    found: list[float] = []

    def note(seconds: float) -> None:
        if seconds:  # else it only looks whether it is to stop
            found.append(seconds)

    async def sleep(_: TrioDriver, seconds: float) -> None:
        note(seconds)

    monkeypatch.setattr(time, "sleep", note)
    monkeypatch.setattr(TrioDriver, "sleep", sleep)
    return found


async def test_a_name_that_is_gone_again_is_made(make_kernel: KernelFactory, pauses: list[float]) -> None:
    kernel = make_kernel()
    kernel.refuse_to_make[1] = FileExistsError(errno.EEXIST, "File exists")
    result = await apply(chain(200), kernel=kernel)
    assert (result.status, result.namespaces) == ("applied", {"created": 201})
    assert pauses == []


async def test_a_namespace_of_another_lab_is_taken_as_it_is(make_kernel: KernelFactory, pauses: list[float]) -> None:
    class Faster(Meddler):
        def meddle(self, names: Sequence[str]) -> None:
            for name in set(names) & {"n1", "n2"}:
                self.namespaces[f"/run/netns/{name}"] = made = self._new()
                made.links[1].alias = OTHER

    kernel = meddling(make_kernel(), Faster)
    result = await apply(chain(3), kernel=kernel)
    assert (result.status, result.namespaces) == ("applied", {"created": 2})
    assert pauses == []


async def test_names_without_a_namespace_are_waited_for_together(
    make_kernel: KernelFactory, pauses: list[float]
) -> None:
    kernel = meddling(make_kernel(), Claimer)
    result = await apply(chain(250), kernel=kernel, jobs=1)
    assert result.status == "rolled_back"
    assert kernel.calls == [251]
    assert len(pauses) <= dumps.ATTEMPTS
    assert len(result.errors) == 251
    assert all(error.message.endswith("'kokofast destroy --name other'") for error in result.errors)


async def test_a_run_that_waits_for_names_can_be_ended(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = meddling(make_kernel(), Claimer)
    pauses: list[float] = []
    token, moment = trio.lowlevel.current_trio_token(), threading.Event()
    with trio.CancelScope() as scope:

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            trio.from_thread.run_sync(scope.cancel, trio_token=token)
            while not is_cancelled():
                moment.wait(0.001)

        monkeypatch.setattr(time, "sleep", sleep)
        await apply(chain(250), kernel=kernel)
    assert scope.cancelled_caught
    assert len(pauses) == 1


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_leftover_claim_of_another_lab_is_told_before_anything_is_touched(
    make_kernel: KernelFactory, dry_run: bool
) -> None:
    kernel = make_kernel()
    kernel.claims["/run/netns/n1"] = OTHER
    before = kernel.state()
    result = await apply(chain(2), kernel=kernel, dry_run=dry_run)
    assert result.status == "invalid"
    (error,) = result.errors
    assert error.source == "$.links[0].endpoints[1]"
    assert "the lab 'other' has claimed its name" in error.message
    assert error.message.endswith("remove the claim with 'kokofast destroy --name other'")
    assert kernel.state() == before


async def test_a_claim_of_a_run_that_works_is_waited_for(make_kernel: KernelFactory, pauses: list[float]) -> None:
    class Slow(Meddler):
        def open_all(self, paths: Sequence[str]) -> list[Handle | OSError]:
            if len(pauses) == 3 and self.claims.pop("/run/netns/n1", ""):
                self.namespaces["/run/netns/n1"] = self._new()
            return super().open_all(paths)

    kernel = meddling(make_kernel(), Slow)
    kernel.claims["/run/netns/n1"] = OTHER
    other = LabLock("other")
    assert other.acquire()
    try:
        result = await apply(chain(2), kernel=kernel)
    finally:
        other.release()
    assert (result.status, result.namespaces) == ("applied", {"created": 2})
    assert len(pauses) == 3


class Hasty(FakeKernel):
    """At the first look n1 has a name and no namespace; ``become`` says what it is from then on."""

    looks: int
    become: Callable[[Hasty], object]

    def open_all(self, paths: Sequence[str]) -> list[Handle | OSError]:
        found = super().open_all(paths)
        if "/run/netns/n1" in paths:
            self.looks += 1
            self.become(self)
        return found


def hasty(kernel: FakeKernel, become: Callable[[Hasty], object]) -> Hasty:
    kernel.__class__ = Hasty
    assert isinstance(kernel, Hasty)
    kernel.looks, kernel.become = 0, become
    return kernel


def mounted(kernel: FakeKernel) -> None:
    if kernel.claims.pop("/run/netns/n1", ""):
        kernel.namespaces["/run/netns/n1"] = made = kernel._new()
        made.links[1].alias = OTHER


def given_up(kernel: FakeKernel) -> None:
    kernel.claims.pop("/run/netns/n1", "")


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(("become", "created"), [(mounted, 2), (given_up, 3)])
async def test_a_name_that_changes_while_it_is_looked_at_is_looked_at_again(
    make_kernel: KernelFactory,
    pauses: list[float],
    become: Callable[[Hasty], object],
    created: int,
    dry_run: bool,
) -> None:
    kernel = hasty(make_kernel(), become)
    kernel.claims["/run/netns/n1"] = OTHER
    result = await apply(chain(2), kernel=kernel, dry_run=dry_run)
    assert result.errors == []
    assert result.status == ("planned" if dry_run else "applied")
    if not dry_run:
        assert result.namespaces == {"created": created}
    assert len(pauses) == 1


async def test_a_claim_whose_run_ends_while_it_is_looked_at_is_looked_at_again(
    make_kernel: KernelFactory, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel()
    kernel.claims["/run/netns/n1"] = OTHER

    def ended(lab: str) -> bool:
        assert lab == "other"
        given_up(kernel)
        return False

    monkeypatch.setattr(groundwork, "is_locked", ended)
    result = await apply(chain(2), kernel=kernel)
    assert (result.status, result.namespaces) == ("applied", {"created": 3})
    assert len(pauses) == 1


def empty(path: str) -> str | None:
    return "" if path == "/run/netns/n1" else None


async def test_an_empty_file_is_waited_for_and_then_told(
    make_kernel: KernelFactory, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel()
    kernel.claims["/run/netns/n1"] = ""
    monkeypatch.setattr(host, "claimed", lambda _: None)
    monkeypatch.setattr(host, "read_plain", empty)
    result = await apply(chain(2), kernel=kernel)
    assert result.status == "invalid"
    assert "is an empty file and no namespace" in result.errors[0].message
    assert len(pauses) == dumps.ATTEMPTS


async def test_a_namespace_that_ip_is_making_is_waited_for(
    make_kernel: KernelFactory, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_at_last(kernel: Hasty) -> None:
        if kernel.looks == 3:
            del kernel.claims["/run/netns/n1"]
            kernel.namespaces["/run/netns/n1"] = kernel._new()

    kernel = hasty(make_kernel(), made_at_last)
    kernel.claims["/run/netns/n1"] = ""
    monkeypatch.setattr(host, "claimed", lambda _: None)
    monkeypatch.setattr(host, "read_plain", empty)
    result = await apply(chain(2), kernel=kernel)
    assert (result.status, result.namespaces) == ("applied", {"created": 2})
    assert len(pauses) == 3


def test_the_wait_for_a_name_can_be_ended(
    make_kernel: KernelFactory, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = make_kernel()
    kernel.claims["/run/netns/n1"] = ""
    monkeypatch.setattr(host, "claimed", lambda _: None)
    monkeypatch.setattr(host, "read_plain", empty)
    stop = StopWhen(lambda: len(pauses) > 2)
    with pytest.raises(Stopped):
        drive(apply(chain(2), kernel=kernel, driver=InlineDriver(stop)))
    assert len(pauses) == 3


class Locked(FakeKernel):
    """Somebody holds the lock of the directory for so many attempts."""

    times: int

    def make(self, jobs: Sequence[tuple[str, str]]) -> list[Handle | OSError | KernelError]:
        self.times -= 1
        if self.times >= 0:
            raise DirectoryLockedError(errno.EBUSY, "another program holds its lock", "/run/netns")
        return super().make(jobs)


@pytest.mark.parametrize(("times", "status"), [(3, "applied"), (100, "applied"), (10**6, "rolled_back")])
async def test_the_lock_of_the_directory_is_waited_for(
    make_kernel: KernelFactory, pauses: list[float], times: int, status: str
) -> None:
    kernel = make_kernel()
    kernel.__class__ = Locked
    assert isinstance(kernel, Locked)
    kernel.times = times
    told: list[str] = []
    kernel.waits = told.append
    result = await apply(chain(2), kernel=kernel, jobs=1)
    assert result.status == status
    assert len(pauses) == min(times, make_namespace.LOCK_ATTEMPTS - 1)
    assert told == ["another program has locked /run/netns; waiting until it is unlocked"] * (times > 50)
    assert all("another program holds its lock" in error.message for error in result.errors)


class Retreat(FakeKernel):
    """Another lab, which has made n1, takes it back as often as ``times`` says, when we have begun."""

    times = 1

    def give(self) -> None:
        self.namespaces["/run/netns/n1"] = made = self._new()
        made.links[1].alias = OTHER

    def send(
        self, handle: Handle, requests: Sequence[Request], resolve: Resolve | None = None, *, whole: bool = False
    ) -> list[KernelError | None]:
        if self.times and "/run/netns/n1" in self.namespaces and self["n1"].links[1].alias == OTHER:
            self.times -= 1
            del self.namespaces["/run/netns/n1"]
            if self.times:
                self.give()
        return super().send(handle, requests, resolve, whole=whole)


@pytest.mark.parametrize(("times", "status"), [(1, "applied"), (ATTEMPTS - 1, "applied"), (100, "rolled_back")])
async def test_namespaces_that_another_lab_takes_back_are_made(
    make_kernel: KernelFactory, times: int, status: str
) -> None:
    kernel = make_kernel()
    kernel.__class__ = Retreat
    assert isinstance(kernel, Retreat)
    kernel.times = times
    kernel.give()
    result = await apply(chain(2), kernel=kernel)
    assert result.status == status
    assert bool(result.errors) == (status == "rolled_back")


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_namespace_in_which_another_lab_has_links_is_not_taken_back(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    kernel = make_kernel()

    def settle(_: Request | None = None) -> None:
        if "/run/netns/n1" in kernel.namespaces and kernel["n1"].by_name("theirs") is None:
            kernel["n1"].add("theirs", index=99, group=group_of("other"), alias="kokofast:other:a:b--c:d")

    kernel.before = settle
    monkeypatch.setattr(kernel, "_unlink", lambda *_: None)  # while it is held it lives on without its name
    if is_late:  # between the look and the end of the name
        kernel.before = None
        remove = kernel.remove

        def settle_and_remove(name: str, expected: tuple[int, int] | None) -> None:
            settle()
            remove(name, expected)

        monkeypatch.setattr(kernel, "remove", settle_and_remove)
    else:  # who is killed now leaves it its name
        monkeypatch.setattr(kernel, "give_name", None)
    kernel.refuse[3] = errno.EPERM
    result = await apply(chain(2), kernel=kernel)
    assert result.status == "partial"
    assert result.left == ["namespace n1: links of the lab other are in it"]
    assert [path for path in kernel.namespaces if path.startswith("/run/netns/")] == ["/run/netns/n1"]
    assert kernel["n1"].by_name("theirs")
    assert kernel["n1"].links[1].alias == "kokofast:lab:namespace"


@pytest.mark.parametrize("lab", ["", "..", ".all", "a/../b", "../x", "a\0b"])
def test_a_lab_that_has_no_lock(lab: str) -> None:
    os.makedirs(lock.LOCK_DIR)
    for name in (".all", "x"):
        with open(f"{lock.LOCK_DIR}/{name}.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert not lock.is_locked(lab)
