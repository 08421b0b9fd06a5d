"""A run comes to the same end by whichever driver."""

from __future__ import annotations

import errno
import importlib
import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from kokofast.drivers import Stop, Stopped, run_all, warmup
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.drivers.warmup import LoopError, WarmupDriver
from kokofast.drivers.work_queue import CHUNK, WorkerCount, WorkQueue
from kokofast.engine.result import UNCHANGED, Result
from kokofast.engine.trace import Trace
from kokofast.host.lock import LabLock
from kokofast.ops.executor import Executor
from kokofast.plan.operations import ConfigureEnd, CreateLink
from kokofast.topology.problems import Problem
from kokofast.wire.addr import RTM_NEWADDR
from kokofast.wire.link import RTM_NEWLINK
from tests.engine.conftest import (  # noqa: F401
    KernelFactory,
    _locks_of_their_own,
    _no_time_passes,
    make_kernel,
)
from tests.engine.fake import FakeKernel
from tests.engine.labs import BEFORE, MIXED, chain, lab, star, visible
from tests.runs import StopWhen, apply, destroy, inspect

if TYPE_CHECKING:
    from kokofast.ops.executor import OperationError
    from kokofast.plan.operations import Operation
    from kokofast.topology.model import Topology

Run = Callable[..., Result]


@pytest.fixture
async def machine(make_kernel: KernelFactory) -> Callable[[], FakeKernel]:  # noqa: F811
    """Makes kernels with namespaces a and b, and the links of BEFORE; requests are counted from there."""
    kernels = [make_kernel("a", "b") for _ in range(60)]
    for kernel in kernels:
        assert (await apply(lab(BEFORE), kernel=kernel)).status == "applied"
        kernel.count_from_here()
    return kernels.pop


def inline(kernel: FakeKernel, topology: Topology | None = None, stop: Stop | None = None, **options: Any) -> Result:
    """A run in the calling thread."""
    return drive(apply(topology or lab(MIXED), kernel=kernel, driver=InlineDriver(stop), **options))


def warm(kernel: FakeKernel, topology: Topology | None = None, stop: Stop | None = None, **options: Any) -> Result:
    """A run that begins in the calling thread and goes on under trio."""
    driver = WarmupDriver(stop or Stop())
    return in_thread(lambda: drive(apply(topology or lab(MIXED), kernel=kernel, driver=driver, jobs=2, **options)))


def in_thread(job: Callable[[], Result]) -> Result:
    """The tests' own event loop is in the way of another one in its thread."""
    found: list[Result | BaseException] = []

    def body() -> None:
        try:
            found.append(job())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


@pytest.fixture(params=[inline, warm])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.param
    return found


@pytest.mark.parametrize(
    "topology", [lab(MIXED), chain(4), star(30)], ids=["mixed", "with its namespaces", "in chunks"]
)
async def test_it_comes_to_the_same_end(make_kernel: KernelFactory, run: Run, topology: Topology) -> None:  # noqa: F811
    one, other = make_kernel("a", "b", budget=20), make_kernel("a", "b", budget=20)
    expected = await apply(topology, kernel=one, jobs=1)
    seen: list[tuple[str, int, int]] = []
    result = run(other, topology, progress=lambda *step: seen.append(step))
    assert result.as_dict() | {"seconds": 0, "workers": 1} == expected.as_dict() | {"seconds": 0}
    assert set(result.seconds) == {"survey", "plan", "apply"}
    assert visible(other) == visible(one)
    assert sorted(request.type for request in other.requests) == sorted(request.type for request in one.requests)
    applied = [(done, total) for stage, done, total in seen if stage == "apply"]
    assert applied == sorted(set(applied))
    assert applied[-1][0] == applied[-1][1]
    assert (await apply(topology, kernel=other)).status == "unchanged"


@pytest.mark.parametrize("topology", [lab(MIXED), chain(3)], ids=["mixed", "with its namespaces"])
async def test_all_or_nothing_whichever_request_is_refused_or_its_answer_lost(
    make_kernel: KernelFactory,  # noqa: F811
    run: Run,
    topology: Topology,
) -> None:
    kernel = make_kernel("a", "b")
    run(kernel, topology)
    total = len(kernel.requests)
    assert total >= 6
    for number in range(1, total + 1):
        for lost in (None, True, False):
            kernel = make_kernel("a", "b")
            before = kernel.state()
            if lost is None:
                kernel.refuse[number] = errno.EPERM
            else:
                kernel.lose[number] = lost
            result = run(kernel, topology)
            assert (result.status, result.left) == ("rolled_back", []), f"request {number}"
            assert kernel.state() == before, f"request {number}"
            assert result.errors[0].source.startswith("$.links["), f"request {number}"


@pytest.mark.parametrize("refused", [3, CHUNK + 3])
@pytest.mark.parametrize("keep_going", [False, True])
async def test_one_of_many_is_refused(
    make_kernel: KernelFactory,  # noqa: F811
    run: Run,
    refused: int,
    keep_going: bool,
) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    total = CHUNK + 50
    kernel.refuse[refused] = errno.EPERM
    seen: list[int] = []
    result = run(
        kernel,
        star(total),
        keep_going=keep_going,
        progress=lambda stage, done, _: seen.append(done) if stage == "apply" else None,
    )
    assert (result.links["failed"], result.left) == (1, [])
    # Each is asked for once, and the user never sees less than before.
    made = [request.header["index"] for request in kernel.requests if request.type == RTM_NEWLINK]
    assert len(made) == len(set(made))
    assert seen == sorted(seen)
    addresses = [
        (request.header["index"], request.attributes["local"])
        for request in kernel.requests
        if request.type == RTM_NEWADDR
    ]
    assert len(addresses) == len(set(addresses))
    if keep_going:
        assert (result.status, result.links["created"], len(made)) == ("partial", total - 1, total)
    else:
        assert result.status == "rolled_back"
        assert kernel.state() == before


@pytest.mark.parametrize("topology", [chain(4), star(30)], ids=["with its namespaces", "in chunks"])
async def test_it_is_stopped_and_taken_back(make_kernel: KernelFactory, run: Run, topology: Topology) -> None:  # noqa: F811
    for after in range(1, 60):
        kernel = make_kernel("a", "b", budget=20)
        before = kernel.state()
        looks = itertools.chain([False] * after, itertools.repeat(True))
        stop = Stop()

        def look(stop: Stop = stop, looks: Any = looks) -> bool:
            if next(looks) and not stop.caught:
                stop.on_signal(signal.SIGTERM)
            return bool(stop.caught)

        stop.came = look  # type: ignore[method-assign]
        result = Result("lab", UNCHANGED)
        try:
            run(kernel, topology, stop, result=result)
        except Stopped:
            assert (result.status, result.left) in [("rolled_back", []), ("unchanged", [])]
            assert kernel.state() == before
        else:
            assert result.status == "applied"
            break
    assert after >= 2


async def test_a_defect_is_raised_and_all_taken_back(
    make_kernel: KernelFactory,  # noqa: F811
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()
    real = Executor.execute

    def broken(self: Executor, operations: Sequence[Operation]) -> list[OperationError | None]:
        answers = real(self, operations)
        if isinstance(operations[0], ConfigureEnd):
            raise ZeroDivisionError
        return answers

    monkeypatch.setattr(Executor, "execute", broken)
    result = Result("lab", UNCHANGED)
    with pytest.raises(ZeroDivisionError):
        run(kernel, chain(3), result=result)
    assert (result.status, result.left) == ("rolled_back", [])
    assert len(kernel.made) == 4
    assert kernel.state() == before


async def test_a_namespace_that_was_replaced_is_found(
    make_kernel: KernelFactory,  # noqa: F811
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = make_kernel()
    stale = OSError(errno.ESTALE, "another one")
    monkeypatch.setattr(kernel, "misled", lambda handle: stale if handle.path.endswith("/n1") else None)
    result = run(kernel, chain(3))
    assert (result.status, result.left) == ("rolled_back", [])
    assert [error.errno for error in result.errors] == [errno.ESTALE] * 3
    # It is somebody else's now.
    assert sorted(kernel.removed) == ["n0", "n2", "n3"]


async def test_what_cannot_be_taken_back_is_told(machine: Callable[[], FakeKernel], run: Run) -> None:
    kernel = machine()
    kernel.refuse = dict.fromkeys(range(6, 300), errno.EPERM)
    result = run(kernel)
    assert result.status == "partial"
    assert any(line.startswith("link ") for line in result.left)


@pytest.mark.parametrize("fails", ["kokofast.engine.carry_out._recheck", "kokofast.engine.failures.failures_of"])
async def test_all_is_taken_back_where_the_last_look_or_the_words_for_it_fail(
    make_kernel: KernelFactory,  # noqa: F811
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
) -> None:
    kernel = make_kernel("a", "b")
    before = kernel.state()

    def fail(_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(fails, fail)
    kernel.refuse[3] = errno.EPERM
    if fails.endswith("_recheck"):
        kernel.refuse.clear()
    result = Result("lab", UNCHANGED)
    with pytest.raises(OSError, match="Too many"):
        run(kernel, star(3), result=result)
    assert (result.status, result.left) == ("rolled_back", [])
    assert kernel.state() == before


async def test_a_rollback_that_breaks_off_is_told(
    make_kernel: KernelFactory,  # noqa: F811
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("kokofast.engine.rollback.roll_back", fail)
    kernel = make_kernel("a", "b")
    kernel.refuse[3] = errno.EPERM
    result = Result("lab", UNCHANGED)
    with pytest.raises(OSError, match="Too many"):
        run(kernel, star(3), result=result)
    assert result.status == "partial"
    assert "was not completed" in result.left[0]


async def test_a_rollback_has_the_open_files_that_it_needs(
    make_kernel: KernelFactory,  # noqa: F811
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    real = Executor.execute

    def execute(self: Executor, operations: Sequence[Operation]) -> list[OperationError | None]:
        answers = real(self, operations)
        with suppress(OSError):
            while any(answers):  # something else takes all that are left
                taken.append(os.open("/", os.O_PATH))
        return answers

    monkeypatch.setattr(Executor, "execute", execute)
    monkeypatch.delattr("kokofast.engine.rollback")
    monkeypatch.delitem(sys.modules, "kokofast.engine.rollback")  # to import it takes a descriptor
    importlib.invalidate_caches()
    kernel = make_kernel("a", "b")
    before = kernel.state()
    kernel.refuse[3] = errno.EPERM
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        result = run(kernel, star(3))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert taken
    assert (result.status, result.left) == ("rolled_back", [])
    assert kernel.state() == before


async def test_nothing_to_do_needs_no_loop(
    machine: Callable[[], FakeKernel], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "import_trio", pytest.fail)
    missing = lab([{"endpoints": ["a:y", "nowhere:y"]}], create=False)
    problem = Problem("$.x", "is wrong")
    for topology, options, status in (
        (lab(BEFORE), {}, "unchanged"),
        (missing, {}, "invalid"),
        (lab(MIXED), {"problems": [problem]}, "invalid"),
        (lab(MIXED), {"dry_run": True}, "planned"),
    ):
        kernel = machine()
        result = run(kernel, topology, **options)
        assert (result.status, kernel.requests) == (status, [])
        assert bool(result.errors) == (status == "invalid")
        assert bool(result.planned) == (status == "planned")


async def test_a_run_waits_for_the_lab_and_a_signal_ends_the_wait(machine: Callable[[], FakeKernel], run: Run) -> None:
    lock = LabLock("lab")
    assert lock.acquire()
    waits: list[bool] = []
    stop = StopWhen(lambda: len(waits) > 0)
    kernel = machine()
    try:
        with pytest.raises(Stopped):
            run(kernel, stop=stop, waits=lambda: waits.append(True))
    finally:
        lock.release()
    assert (waits, kernel.requests) == ([True], [])
    assert run(kernel).status == "applied"


async def test_the_import_is_in_the_trace(machine: Callable[[], FakeKernel]) -> None:
    result = Result("lab", UNCHANGED)
    result.trace = trace = Trace()
    driver = WarmupDriver(Stop(), trace.around)
    in_thread(lambda: drive(apply(lab(MIXED), kernel=machine(), driver=driver, jobs=2, result=result)))
    events: Any = trace.as_dict()["traceEvents"]
    names = [event["name"] for event in events if event["ph"] == "X"]
    assert {"survey", "plan", "apply", "import"} <= set(names)
    created = sum(event["args"]["operations"] for event in events if event["name"] == f"execute: {CreateLink.verb}")
    assert created == 3


def test_the_command_line_needs_no_trio() -> None:
    modules = "kokofast.engine.apply, kokofast.engine.destroy, kokofast.engine.inspect, kokofast.engine.rollback"
    script = f"import sys, {modules}, kokofast.cli.main, kokofast.drivers.warmup; print('trio' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout == "False\n"


# Where the loop cannot be had.


def fail_to_import() -> None:
    raise LoopError("the event loop cannot be imported: ImportError: trio")


def test_the_loop_is_not_imported_with_too_little_memory() -> None:
    """OpenSSL ends the process if it finds no memory, so not even the beginning of trio is imported."""
    script = """
import re, resource, sys
import kokofast.cli.main
from kokofast.drivers import warmup
size = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + warmup.IMPORT_SIZE, resource.RLIM_INFINITY))
try:
    warmup.import_trio()
except warmup.LoopError as error:
    print(error, "trio" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("the event loop cannot be imported: not enough memory: the limit on ")
    assert done.stdout.endswith(" False\n")


async def test_without_a_loop_all_is_taken_back(
    make_kernel: KernelFactory,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warmup, "import_trio", fail_to_import)
    kernel = make_kernel("a", "b")
    before = kernel.state()
    result = Result("lab", UNCHANGED)
    with pytest.raises(LoopError, match="trio"):
        warm(kernel, star(2 * CHUNK + 50), result=result)
    assert (result.status, result.left) == ("rolled_back", [])
    assert sum(request.type == RTM_NEWLINK for request in kernel.requests) >= 100
    assert kernel.state() == before


async def test_without_a_loop_destroy_comes_to_its_end(
    make_kernel: KernelFactory,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warmup, "import_trio", fail_to_import)
    kernel = make_kernel(*(f"n{number}" for number in range(21)))
    before = kernel.state()
    await apply(chain(20), kernel=kernel)
    result = in_thread(lambda: drive(destroy("lab", kernel=kernel, driver=WarmupDriver(Stop()))))
    assert (result.status, result.links) == ("destroyed", {"removed": 20, "failed": 0})
    assert kernel.state() == before


def test_what_must_end_does_so_when_a_module_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise ImportError("mmap: cannot open shared object file: Too many open files")

    done: list[int] = []

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        done.extend(chosen)
        return chosen

    queue = WorkQueue(range(50), execute, lambda *_: None, workers=WorkerCount(2), chunk=10, must_end=True)
    monkeypatch.setattr("kokofast.drivers.trio_driver.no_room", fail)
    driver = WarmupDriver(Stop())
    driver._is_warm = True
    drive(driver.carry_out(queue))
    assert sorted(done) == list(range(50))


@pytest.mark.parametrize("must_end", [True, False])
def test_what_must_end_does_so_when_the_loop_breaks_down(monkeypatch: pytest.MonkeyPatch, must_end: bool) -> None:
    done: list[int] = []

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        done.extend(chosen)
        return chosen

    queue = WorkQueue(range(50), execute, lambda *_: None, workers=WorkerCount(2), chunk=10, must_end=must_end)

    def break_down(_: object) -> None:
        assert len(queue.take(10)) == 10  # what becomes of these nobody learns
        raise trio.TrioInternalError from MemoryError()

    monkeypatch.setattr(trio, "run", break_down)
    driver = WarmupDriver(Stop())
    driver._is_warm = True
    if must_end:
        drive(driver.carry_out(queue))
        assert done == list(range(50))
    else:
        with pytest.raises(LoopError, match="the event loop broke down: MemoryError"):
            drive(driver.carry_out(queue))
        assert done == []


# The warm-up by itself.


def numbers_queue(count: int, execute: Callable[[Sequence[int]], Sequence[int]], few: int = 0) -> WorkQueue:
    return WorkQueue(range(count), execute, lambda *_: None, workers=WorkerCount(2), chunk=10, few=few)


def test_one_chunk_is_done_here_at_least_and_more_while_trio_is_imported() -> None:
    home, threads = threading.get_ident(), []
    imported = threading.Event()

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        threads.append(threading.get_ident())
        if len(threads) == 3:
            imported.set()
        return chosen

    def slow(_: str, job: Callable[[], None]) -> Callable[[], None]:
        def wait() -> None:
            assert imported.wait(20)
            job()

        return wait

    drive(WarmupDriver(Stop(), slow).carry_out(numbers_queue(200, execute)))
    assert threads[:3] == [home] * 3
    assert len(threads) == 20


@pytest.mark.parametrize(("few", "workers", "is_short"), [(200, 2, True), (199, 2, False), (0, 1, True)])
def test_short_work_imports_nothing(few: int, workers: int, is_short: bool) -> None:
    imports: list[str] = []

    def note(name: str, job: Callable[[], None]) -> Callable[[], None]:
        def noted() -> None:
            imports.append(name)
            job()

        return noted

    done: list[int] = []

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        done.extend(chosen)
        return chosen

    queue = WorkQueue(range(200), execute, lambda *_: None, workers=WorkerCount(workers), chunk=10, few=few)
    drive(WarmupDriver(Stop(), note).carry_out(queue))
    assert sorted(done) == list(range(200))
    assert imports == ([] if is_short else ["import"])


def test_a_signal_stops_what_runs_under_trio() -> None:
    stop = Stop()
    done: list[int] = []

    def execute(chosen: Sequence[int]) -> Sequence[int]:
        done.extend(chosen)
        if len(done) == 100:
            stop.on_signal(signal.SIGTERM)
        return chosen

    driver = WarmupDriver(stop)
    driver._is_warm = True
    with pytest.raises(Stopped):
        drive(driver.carry_out(numbers_queue(5000, execute)))
    assert 100 <= len(done) < 5000


async def test_destroy_and_inspect_inline(make_kernel: KernelFactory) -> None:  # noqa: F811
    kernel = make_kernel()
    await apply(chain(9), kernel=kernel)
    shown = [link.as_dict() for link in await inspect("lab", kernel=kernel)]
    assert len(shown) == 9
    assert [link.as_dict() for link in drive(inspect("lab", kernel=kernel, driver=InlineDriver()))] == shown
    with closing(kernel):
        result = drive(destroy("lab", kernel=kernel, driver=InlineDriver()))
    assert (result.status, result.errors) == ("destroyed", [])
    assert (result.links, result.namespaces) == ({"removed": 9, "failed": 0}, {"removed": 10, "failed": 0})
    assert drive(destroy("lab", kernel=kernel, driver=InlineDriver())).status == "unchanged"


async def test_a_signal_in_between_leaves_the_rest_to_the_next_destroy(
    make_kernel: KernelFactory,  # noqa: F811
) -> None:
    from kokofast.engine.tear_down import REMOVE_CHUNK

    kernel = make_kernel()
    await apply(chain(REMOVE_CHUNK + 20), kernel=kernel)
    stop = StopWhen(lambda: bool(kernel.removed))
    with pytest.raises(Stopped):
        drive(destroy("lab", kernel=kernel, driver=InlineDriver(stop)))
    assert len(kernel.removed) == REMOVE_CHUNK
    assert (await destroy("lab", kernel=kernel)).namespaces == {"removed": 21, "failed": 0}


def test_run_all_of_nothing_asks_no_driver() -> None:
    drive(run_all(InlineDriver(), [], list, workers=1, chunk=1, report=lambda *_: pytest.fail("it was called")))
