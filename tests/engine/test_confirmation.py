"""A run that waits to be confirmed: nothing that cannot be taken back is done before."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from kokofast.drivers import Stop, Stopped
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.drivers.trio_driver import TrioDriver
from kokofast.engine.confirmation import Confirmation, confirm, look, result_of
from kokofast.engine.result import UNCHANGED, Failure, Result
from kokofast.host import lock
from kokofast.host.confirmation import CLIENTS, Inlet
from kokofast.topology.model import Topology
from kokofast.wire.link import RTM_DELLINK
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import BEFORE, MIXED, Links, lab
from tests.runs import apply

AB: Links = [{"endpoints": ["a:e0", "b:e0"]}]
CD: Links = [{"endpoints": ["c:e0", "d:e0"]}]
AC: Links = [{"endpoints": ["a:e0", "c:e0"]}]
WIDE: Links = [{"endpoints": ["a:e0", "b:e0"], "queues": 3}]

# What is there, what is asked for, and how.
CASES: dict[str, tuple[Links, Links, dict[str, bool]]] = {
    "new": ([], AB, {}),
    "changed": (BEFORE, MIXED, {}),
    "replaced": (AB, WIDE, {"replace": True}),
    "pruned": ([*AB, *CD], [*AB, {"endpoints": ["a:e1", "x:e1"]}], {"prune": True}),
    "pruned only": ([*AB, *CD], AB, {"prune": True}),
    "superseded": (AB, AC, {"prune": True}),
    "all": ([*AB, *CD], [*WIDE, {"endpoints": ["c:e0", "x:e0"]}], {"prune": True, "replace": True}),
}


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@pytest.fixture(params=CASES)
async def case(
    request: pytest.FixtureRequest, make_kernel: KernelFactory
) -> tuple[FakeKernel, Topology, dict[str, bool]]:
    there, wanted, options = CASES[request.param]
    kernel = make_kernel("a", "b")
    if there:
        assert (await apply(lab(there), kernel=kernel)).status == "applied"
    kernel.count_from_here()
    return kernel, lab(wanted), options


def nobody(_: float) -> None:
    pytest.fail("it waits")


class Answer:
    """What a client does when the run waits, in a task of its own; its answer."""

    def __init__(self, nursery: trio.Nursery, *, revert: bool = False, after: float = 0) -> None:
        self.results: list[Result] = []
        self.waited: list[float] = []
        self._nursery = nursery
        self._revert = revert
        self._after = after

    def told(self, seconds: float) -> None:
        self.waited.append(seconds)
        self._nursery.start_soon(self._ask)

    async def _ask(self) -> None:
        await trio.sleep(self._after)
        self.results.append(await confirm("lab", TrioDriver(), revert=self._revert))


async def run(
    kernel: FakeKernel,
    topology: Topology,
    options: dict[str, Any],
    told: Callable[[float], object] = lambda _: None,
    seconds: float = 60,
) -> Result:
    confirmation = Confirmation("lab", seconds, told)
    result = Result("lab", UNCHANGED)
    try:
        return await apply(topology, kernel=kernel, confirmation=confirmation, result=result, **options)
    finally:
        confirmation.answer(result)


Case = tuple[FakeKernel, Topology, dict[str, bool]]


async def test_what_is_confirmed_is_as_without(case: Case, clock: MockClock, make_kernel: KernelFactory) -> None:
    kernel, topology, options = case
    async with trio.open_nursery() as nursery:
        answer = Answer(nursery, after=59)
        result = await run(kernel, topology, options, answer.told)
    assert (result.status, answer.waited) == ("applied", [60])
    assert [one.as_dict() for one in answer.results] == [result.as_dict()]
    assert (await run(kernel, topology, options, nobody)).status == "unchanged"


@pytest.mark.parametrize("how", ["time", "revert"])
async def test_what_is_not_confirmed_is_as_before(case: Case, clock: MockClock, how: str) -> None:
    kernel, topology, options = case
    before = kernel.state()
    async with trio.open_nursery() as nursery:
        answer = Answer(nursery, revert=True)
        told = answer.told if how == "revert" else answer.waited.append
        result = await run(kernel, topology, options, told)
    said = {
        "time": "not confirmed within 60 s; run 'kokofast confirm lab' in time",
        "revert": "not kept: 'kokofast confirm lab --revert' was run",
    }
    assert (result.status, result.left, list(map(str, result.errors))) == ("rolled_back", [], [said[how]])
    assert answer.waited == [60]
    assert kernel.state() == before
    assert [one.as_dict() for one in answer.results] == ([result.as_dict()] if how == "revert" else [])


async def test_an_interface_that_was_set_down_to_be_renamed_has_its_addresses_again(
    make_kernel: KernelFactory, clock: MockClock
) -> None:
    """Kernels before 6.2 rename only what is down, and what goes down loses its IPv6 addresses."""
    kernel = make_kernel("a", "b")
    kernel.rtnl.renames_what_is_up = False
    there: Links = [{"endpoints": ["a:e0:2001:db8::1/64", "b:e0:2001:db8::2/64"]}]
    assert (await apply(lab(there), kernel=kernel)).status == "applied"
    before = kernel.state()
    result = await run(kernel, lab(AC), {"prune": True}, lambda _: None)
    assert (result.status, result.left) == ("rolled_back", [])
    assert kernel.state() == before


async def test_an_interface_that_could_not_be_renamed_is_up_again(make_kernel: KernelFactory) -> None:
    """Whichever request is refused, on a kernel that renames only what is down."""
    there: Links = [{"endpoints": ["a:e0:2001:db8::1/64", "b:e0:2001:db8::2/64"]}]
    lowered = 0
    for number in range(1, 100):
        kernel = make_kernel("a", "b")
        kernel.rtnl.renames_what_is_up = False
        assert (await apply(lab(there), kernel=kernel)).status == "applied"
        before = kernel.state()
        kernel.count_from_here()
        kernel.refuse[number] = errno.EPERM
        result = await apply(lab(AC), kernel=kernel, prune=True)
        if kernel.refuse:
            break
        if result.status == "rolled_back":
            assert kernel.state() == before, number
            lowered += any(path.endswith("keep_addr_on_down") for path, _ in kernel.sysctls)
    assert kernel.refuse
    assert lowered > 1


async def test_a_cancelled_wait_takes_all_back(case: Case, clock: MockClock) -> None:
    kernel, topology, options = case
    before = kernel.state()
    with trio.CancelScope() as scope:
        await run(kernel, topology, options, lambda _: scope.cancel())
    assert scope.cancelled_caught
    assert kernel.state() == before


async def test_a_teller_that_fails_takes_all_back(case: Case, clock: MockClock) -> None:
    kernel, topology, options = case
    before = kernel.state()

    def tell(_: float) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await run(kernel, topology, options, tell)
    assert kernel.state() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_wait_inline(case: Case, number: int) -> None:
    kernel, topology, options = case
    before = kernel.state()
    stop = Stop()
    result = Result("lab", UNCHANGED)
    confirmation = Confirmation("lab", 3600, lambda _: threading.Thread(target=stop.on_signal, args=[number]).start())
    run = apply(topology, kernel=kernel, driver=InlineDriver(stop), confirmation=confirmation, result=result, **options)
    with pytest.raises(Stopped):
        drive(run)
    assert (result.status, result.left) in [("rolled_back", []), ("unchanged", [])]
    assert kernel.state() == before
    confirmation.answer(result, "interrupted")


async def test_the_word_of_a_client_ends_the_wait_inline(case: Case) -> None:
    kernel, topology, options = case
    answers: list[Result] = []
    clients: list[threading.Thread] = []

    def told(_: float) -> None:
        clients.append(threading.Thread(target=lambda: answers.append(drive(confirm("lab", InlineDriver())))))
        clients[0].start()

    confirmation = Confirmation("lab", 3600, told)
    more: dict[str, Any] = {**options, "confirmation": confirmation}
    result = drive(apply(topology, kernel=kernel, driver=InlineDriver(), **more))
    confirmation.answer(result)
    clients[0].join()
    assert [one.as_dict() for one in answers] == [result.as_dict()]
    assert result.status == "applied"


async def test_nothing_is_deleted_before(make_kernel: KernelFactory, clock: MockClock) -> None:
    kernel = make_kernel("a", "b")
    await apply(lab([*AB, *CD]), kernel=kernel)
    kernel.count_from_here()
    seen: list[tuple[int, list[str]]] = []

    def told(_: float) -> None:
        deletions = sum(request.type == RTM_DELLINK for request in kernel.requests)
        seen.append((deletions, sorted(kernel.removed)))

    await run(kernel, lab([*AB, {"endpoints": ["a:e1", "x:e1"]}]), {"prune": True}, told)
    assert seen == [(0, [])]


@pytest.mark.parametrize("options", [{}, {"prune": True}, {"replace": True, "prune": True}])
async def test_with_nothing_to_do_nobody_is_asked(
    make_kernel: KernelFactory, clock: MockClock, options: dict[str, bool]
) -> None:
    kernel = make_kernel("a", "b")
    await apply(lab(AB), kernel=kernel)
    result = await run(kernel, lab(AB), options, nobody)
    assert (result.status, "confirm" in result.seconds) == ("unchanged", False)
    assert os.listdir(lock.LOCK_DIR) == [lock.ALL]


async def test_who_fails_or_is_refused_asks_nobody(make_kernel: KernelFactory, clock: MockClock) -> None:
    kernel = make_kernel("a", "b")
    kernel.refuse[1] = errno.EPERM
    assert (await run(kernel, lab(AB), {}, nobody)).status == "rolled_back"
    kernel.count_from_here()
    missing = lab([{"endpoints": ["a:y", "nowhere:y"]}], create=False)
    assert (await run(kernel, missing, {"prune": True}, nobody)).status == "invalid"
    assert kernel.requests == []


async def test_links_that_others_have_made_meanwhile_are_not_pruned(
    make_kernel: KernelFactory, clock: MockClock
) -> None:
    """Another lab uses a namespace that is to go."""
    kernel = make_kernel("a", "b")
    await apply(lab([*AB, *CD]), kernel=kernel)
    async with trio.open_nursery() as nursery:
        answer = Answer(nursery)

        async def intrude(seconds: float) -> None:
            other = await apply(lab([{"endpoints": ["c:x", "b:x"]}], name="other", create=False), kernel=kernel)
            assert other.status == "applied"
            answer.told(seconds)

        wanted = lab([*AB, {"endpoints": ["a:e1", "b:e1"]}])
        # The clock jumps while threads work.
        result = await run(kernel, wanted, {"prune": True}, lambda s: nursery.start_soon(intrude, s), seconds=1e9)
    (error,) = result.errors
    assert result.status == "partial"
    assert error.message.startswith("1 link of the lab other would be removed too (")
    assert result.links["created"] == 1
    assert kernel.links_of("c") == ["e0", "x"]
    assert answer.results[0].as_dict() == result.as_dict()


async def test_who_only_looks_decides_nothing(make_kernel: KernelFactory, clock: MockClock) -> None:
    kernel = make_kernel("a", "b")
    seen: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            for _ in range(2):
                await trio.sleep(20.25)
                seen.append(await look("lab", TrioDriver()))

        result = await run(kernel, lab(AB), {}, lambda _: nursery.start_soon(watch))
    assert result.status == "rolled_back"
    assert seen == [{"event": "waiting", "lab": "lab", "seconds": seconds} for seconds in (39.75, 19.5)]
    with pytest.raises(ProcessLookupError, match="no batch of the lab lab waits"):
        await look("lab", TrioDriver())


async def test_a_word_that_was_said_before_the_time_is_over_counts(
    make_kernel: KernelFactory, mock_clock: MockClock
) -> None:
    """Also where the run could not hear it until then."""
    kernel = make_kernel("a", "b")
    with closing(socket.socket(socket.AF_UNIX)) as client:

        def told(_: float) -> None:
            client.connect(f"{lock.LOCK_DIR}/lab{lock.CONFIRM_SUFFIX}")
            client.sendall(b"keep\n")
            mock_clock.jump(61)

        assert (await run(kernel, lab(AB), {}, told)).status == "applied"


async def test_without_the_lock_nothing_is_begun(
    make_kernel: KernelFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(lock, "LOCK_DIR", str(tmp_path / "file" / "locks"))
    with pytest.raises(OSError, match=r"could not be confirmed: without a lock other runs may interfere: .*Not a dir"):
        await run(kernel, lab(AB), {}, nobody)
    assert kernel.state() == before


async def test_what_is_in_the_way_of_the_socket(make_kernel: KernelFactory, clock: MockClock, tmp_path: Path) -> None:
    """A socket that a killed run has left gives way; nothing is begun where a folder does not."""
    kernel = make_kernel("a", "b")
    path = Path(f"{lock.LOCK_DIR}/lab{lock.CONFIRM_SUFFIX}")
    path.parent.mkdir()
    with closing(socket.socket(socket.AF_UNIX)) as old:
        old.bind(str(path))
    assert (await run(kernel, lab(AB), {})).status == "rolled_back"
    assert list(path.parent.iterdir()) == [path.parent / lock.ALL]
    other = tmp_path / "other"
    other.write_text("")
    os.symlink(other, path)
    assert (await run(kernel, lab(AB), {})).status == "rolled_back"
    assert other.exists()
    os.mkdir(path)
    before = kernel.state()
    with pytest.raises(OSError, match=r"this run could not be confirmed: .*/lab\.confirm: Is a directory"):
        await run(kernel, lab(AB), {})
    assert kernel.state() == before


async def test_destroy_of_all_removes_sockets_of_killed_runs() -> None:
    os.makedirs(lock.LOCK_DIR)
    with closing(socket.socket(socket.AF_UNIX)) as old:
        old.bind(f"{lock.LOCK_DIR}/lab{lock.CONFIRM_SUFFIX}")
    held = lock.LabLock(None)
    assert held.acquire()
    held.release()
    assert os.listdir(lock.LOCK_DIR) == [lock.ALL]


async def test_a_batch_that_is_killed_gives_no_result(clock: MockClock) -> None:
    os.makedirs(lock.LOCK_DIR)
    inlet = Inlet("lab")
    with pytest.raises(ProcessLookupError):  # it does not listen yet
        await confirm("lab", TrioDriver())
    inlet.listen()
    async with trio.open_nursery() as nursery:

        async def end() -> None:
            await TrioDriver().wait_readable(inlet.fileno(), 60)
            inlet.close()

        nursery.start_soon(end)
        with pytest.raises(ConnectionResetError, match="ended without a result; 'kokofast inspect lab' shows"):
            await confirm("lab", TrioDriver())


async def test_silent_clients_go_when_there_are_too_many(clock: MockClock) -> None:
    os.makedirs(lock.LOCK_DIR)
    path = f"{lock.LOCK_DIR}/lab{lock.CONFIRM_SUFFIX}"
    inlet = Inlet("lab")
    inlet.listen()
    clients = []
    for _ in range(3 * CLIENTS):
        clients.append(socket.socket(socket.AF_UNIX))
        clients[-1].connect(path)
        clients[-1].settimeout(0)
        assert list(inlet.receive()) == []
    assert [client.recv(1) for client in clients[: 2 * CLIENTS]] == [b""] * 2 * CLIENTS
    clients[-1].sendall(b"keep\n")
    (heard,) = inlet.receive()
    assert heard[1] == "keep"
    assert list(inlet.receive()) == []  # once
    inlet.answer_all("x" * (3 << 20))
    # All of it, although nobody reads meanwhile.
    clients[-1].settimeout(60)
    assert sum(len(part) for part in iter(lambda: clients[-1].recv(1 << 20), b"")) == 3 << 20
    inlet.remove()
    inlet.close()
    for client in clients:
        client.close()


def test_a_result_comes_over_as_it_is() -> None:
    result = Result("lab", "partial")
    result.links, result.namespaces, result.seconds = {"total": 2, "failed": 1}, {"created": 1}, {"apply": 1.25}
    result.errors = [Failure("$.links[0]", "no", errno.EPERM, "x.json:1:2"), Failure("", "and no")]
    result.left, result.notes, result.workers = ["a"], ["b"], 3
    assert result_of(json.loads(json.dumps(result.as_dict()))).as_dict() == result.as_dict()
