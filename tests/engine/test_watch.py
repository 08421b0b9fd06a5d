"""A watch on a kernel in memory: what it looks at, and how often."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from kokofast.drivers.trio_driver import TrioDriver
from kokofast.drivers.work_queue import WorkQueue
from kokofast.engine.watch import DestroyedError, Watch
from kokofast.host.lock import Keeper, LabLock, dismiss_keepers
from kokofast.topology.model import Topology
from kokofast.topology.problems import Problem, TopologyError
from kokofast.watching.events import Event
from kokofast.watching.news import News
from kokofast.watching.patience import FAILURE_PAUSES, FIGHT_PAUSES, MOST
from kokofast.wire.link import RTM_NEWLINK
from kokofast.wire.message import KernelError, Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.labs import chain, lab, star, wire

Identity = tuple[int, int]


class FakeSenses:
    """Perceives what a test tells."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.news = News()
        self.places: Mapping[str, tuple[str, Identity]] = {}
        self.followed: list[Topology] = []
        self._wake = trio.Event()

    def now(self) -> float:
        return trio.current_time()

    async def wait(self, seconds: float | None) -> bool:
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            await self._wake.wait()
        return bool(self.news)

    def take(self) -> News:
        news, self.news = self.news, News()
        self._wake = trio.Event()
        return news

    def tell(self, *nodes: str, everything: bool = False, file: bool = False, ended: str = "") -> None:
        self.news.nodes.update(nodes)
        self.news.everything, self.news.file = everything, file
        self.news.ended.update(ended)
        self._wake.set()

    def follow(self, topology: Topology) -> None:
        self.followed.append(topology)

    def attend(self, places: Mapping[str, tuple[str, Identity]]) -> None:
        self.places = dict(places)

    def number_of(self, identity: Identity) -> int | None:
        return None

    def appeared(self, nodes: Iterable[str]) -> set[str]:
        return {node for node in nodes if f"/run/netns/{node}" in self.kernel.namespaces}


class OneThread(TrioDriver):
    """All work in the calling thread: the clock goes on while a thread works."""

    async def carry_out(self, queue: WorkQueue) -> None:
        while queue:
            numbers = queue.take(queue.chunk)
            queue.finish(numbers, queue.execute(numbers))


class Machine:
    """A watch on a kernel in memory, its events, and how many runs it made."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.senses = FakeSenses(kernel)
        self.events: list[Event] = []
        self.runs = 0

    def watch(self, topology: Topology, **options: Any) -> Watch:
        def kernel_of(is_heard: bool) -> FakeKernel:
            self.runs += is_heard
            return self.kernel

        return Watch(topology, OneThread(), self.senses, kernel_of, self.events.append, **options)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one.fields for one in self.events if one.event == event]

    def delete(self, node: str, ifname: str) -> None:
        """What a stranger does."""
        link = self.kernel[node].by_name(ifname)
        assert link is not None
        self.kernel.rtnl.unlink(self.kernel[node], link)

    async def settle(self, seconds: float = 0.2) -> None:
        await trio.sleep(seconds)


NewMachine = Callable[..., Machine]


@pytest.fixture
def machine(make_kernel: KernelFactory) -> NewMachine:
    return lambda *names, **options: Machine(make_kernel(*names, **options))


@asynccontextmanager
async def keeping(machine: Machine, topology: Topology, **options: Any) -> AsyncIterator[None]:
    """A watch that has made its first run."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.watch(topology, **options).run)
        await machine.settle()
        yield
        nursery.cancel_scope.cancel()


async def test_a_run_looks_at_what_has_changed_only(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine(*(f"n{i}" for i in range(11)))
    async with keeping(found, chain(10, create=False)):
        assert found.of("watching") == [{"links": 10, "nodes": 11, "waiting": 0}]
        found.kernel.count_from_here()
        found.delete("n3", "e0")
        found.senses.tell("n3")
        await found.settle()
        assert len([one for one in found.kernel.requests if one.type == RTM_NEWLINK]) == 1
        assert found.kernel.links_of("n3") == ["e0", "e1"]
        assert [(one["action"], one["kind"], one["object"]) for one in found.of("done")] == [
            ("create", "link", "veth n2:e1--n3:e0")
        ]
        assert found.of("applied")[-1]["unchanged"] == 1  # the other link of n3
        assert found.runs == 2


async def test_nothing_to_do_is_no_reason_to_look_again(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    async with keeping(found, star(2)):
        for _ in range(3):
            found.senses.tell("a")
            await found.settle(100)
        assert found.runs == 4
        await found.settle(10_000)
        assert found.runs == 4
        assert [one.event for one in found.events] == ["applied", "watching"]


async def test_a_burst_is_one_run(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    async with keeping(found, star(20)):
        for number in range(20):
            found.delete("a", f"e{number}")
            found.senses.tell("a")
            await trio.sleep(0.002)
        await found.settle()
        assert found.runs == 2
        assert len(found.kernel.links_of("a")) == 20


async def test_a_node_that_is_not_there_is_waited_for(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    topology = lab([{"endpoints": ["a:e0", "c:e0"]}, {"endpoints": ["a:e1", "b:e1"]}], create=False)
    async with keeping(found, topology):
        (waiting,) = found.of("waiting")
        assert waiting["node"] == "c"
        assert "there is no network namespace 'c'" in waiting["message"]
        assert found.kernel.links_of("a") == ["e1"]
        runs = found.runs
        await found.settle(100)  # nobody tells of it: it is looked for by stat(2) only
        assert found.runs == runs
        found.kernel.namespaces["/run/netns/c"] = found.kernel._new()
        await found.settle(2)
        assert found.of("found") == [{"node": "c"}]
        assert found.kernel.links_of("a") == ["e0", "e1"]


async def test_a_lab_of_which_no_node_is_there(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine()
    async with keeping(found, lab([{"endpoints": ["a:e0", "b:e0"]}], create=False)):
        assert {one["node"] for one in found.of("waiting")} == {"a", "b"}
        assert found.of("failed") == []
        for name in "ab":
            found.kernel.namespaces[f"/run/netns/{name}"] = found.kernel._new()
        await found.settle(2)
        assert found.kernel.links_of("a") == ["e0"]


async def test_what_is_deleted_again_and_again_is_left_alone(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    async with keeping(found, star(2)):
        for _ in range(MOST):
            found.delete("a", "e0")
            found.senses.tell("a")
            await found.settle()
        assert found.of("left_alone") == [{"link": "a:e0--b:e0", "seconds": FIGHT_PAUSES[0]}]
        found.delete("a", "e0")
        found.delete("a", "e1")
        found.senses.tell("a")
        await found.settle()
        assert found.kernel.links_of("a") == ["e1"]
        await found.settle(FIGHT_PAUSES[0])
        assert found.of("resumed") == [{"link": "a:e0--b:e0"}]
        assert found.kernel.links_of("a") == ["e0", "e1"]


async def test_a_namespace_that_is_replaced_again_and_again_is_no_fight(
    machine: NewMachine, autojump_clock: MockClock
) -> None:
    found = machine("a", "b")
    async with keeping(found, star(1)):
        for _ in range(2 * MOST):
            found.delete("a", "e0")
            found.kernel.replace("a")
            found.senses.tell("a")
            await found.settle()
            assert found.kernel.links_of("a") == ["e0"]
        assert found.of("left_alone") == []


async def test_a_link_with_a_problem_does_not_keep_the_others_back(
    machine: NewMachine, autojump_clock: MockClock
) -> None:
    found = machine("a", "b")
    wire(found.kernel, "a", "b", "e0")  # a stranger's
    async with keeping(found, star(3)):
        assert found.kernel.links_of("a") == ["e0", "e1", "e2"]
        assert [one["seconds"] for one in found.of("failed")] == [FAILURE_PAUSES[0]]
        stranger = found.kernel["a"].by_name("e0")
        assert stranger is not None
        assert stranger.alias == ""
        await found.settle(sum(FAILURE_PAUSES[:4]) + 0.5)
        assert [one["seconds"] for one in found.of("failed")] == list(FAILURE_PAUSES[:5])
        found.delete("a", "e0")
        await found.settle(FAILURE_PAUSES[4])
        stranger = found.kernel["a"].by_name("e0")
        assert stranger is not None
        assert stranger.alias == "kokofast:lab:a:e0--b:e0"
        found.events.clear()
        await found.settle(1000)
        assert found.events == []


async def test_a_problem_and_a_node_that_is_not_there(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    wire(found.kernel, "a", "b", "e0")
    topology = lab([["a:e0", "b:e0"], ["a:e1", "b:e1"], ["a:e2", "c:e0"]], create=False)  # type: ignore[list-item]
    async with keeping(found, topology):
        assert found.kernel.links_of("a") == ["e0", "e1"]
        assert [one["node"] for one in found.of("waiting")] == ["c"]
        assert len(found.of("failed")) == 1


async def test_a_link_that_the_kernel_refuses_is_tried_again_ever_later(
    machine: NewMachine, autojump_clock: MockClock
) -> None:
    found = machine("a", "b")
    async with keeping(found, star(2)):
        found.delete("a", "e0")
        found.kernel.count_from_here()
        found.kernel.before = lambda request: _refuse_new_links(found.kernel, request)
        found.senses.tell("a")
        await found.settle(sum(FAILURE_PAUSES[:4]) + 0.5)
        assert [one["seconds"] for one in found.of("failed")] == list(FAILURE_PAUSES[:5])
        assert found.kernel.links_of("a") == ["e1"]
        found.kernel.before = None
        await found.settle(FAILURE_PAUSES[4])
        assert found.kernel.links_of("a") == ["e0", "e1"]


def _refuse_new_links(kernel: FakeKernel, request: Request) -> None:
    if request.type == RTM_NEWLINK:
        kernel.refuse[len(kernel.requests)] = errno.ENOMEM


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), MemoryError(), KernelError(errno.ENOBUFS)]
)
async def test_a_machine_that_fails_for_some_time_does_not_end_it(
    machine: NewMachine, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    found = machine("a", "b")
    async with keeping(found, star(1)):
        with monkeypatch.context() as patch:

            def fail(_: object) -> None:
                raise error

            patch.setattr(found.kernel, "open_all", fail)
            found.delete("a", "e0")
            found.senses.tell("a")
            await found.settle(0.6)
        assert [fields["seconds"] for fields in found.of("failed")] == list(FAILURE_PAUSES[:2])
        assert found.of("failed")[0]["message"]
        await found.settle(3.0)
        assert found.kernel.links_of("a") == ["e0"]


async def test_a_new_file(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    files: list[Topology | Exception | None] = []

    def read() -> Topology | None:
        answer = files.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with keeping(found, star(1), load=read):
        runs = found.runs
        for refused, error in (
            (TopologyError([Problem("$.links", "is bad")]), "$.links: is bad"),
            (FileNotFoundError(errno.ENOENT, "No such file or directory"), "No such file or directory"),
            (lab([], name="other"), "the lab's name is other now: start a watch for that one"),
        ):
            files.append(refused)
            found.senses.tell(file=True)
            await found.settle()
            assert found.of("file_refused")[-1] == {"errors": [error]}
        files.append(None)
        found.senses.tell(file=True)
        await found.settle()
        assert found.runs == runs
        files.append(star(2))
        found.senses.tell(file=True)
        await found.settle()
        assert found.of("reloaded") == [{"links": 2, "nodes": 2}]
        assert found.kernel.links_of("a") == ["e0", "e1"]
        assert len(found.senses.followed) == 2


async def test_links_that_left_the_file_stay_unless_pruned(machine: NewMachine, autojump_clock: MockClock) -> None:
    for prune, left in ((False, ["e0", "e1"]), (True, ["e0"])):
        found = machine("a", "b")
        files = [star(1)]
        async with keeping(found, star(2), load=files.pop, prune=prune):
            found.senses.tell(file=True)
            await found.settle()
            assert found.kernel.links_of("a") == left


async def test_lost_notifications_have_everything_looked_at(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    async with keeping(found, star(2)):
        found.delete("a", "e1")
        found.senses.news.kept.lose()
        found.senses.tell()
        await found.settle()
        assert found.of("overrun") == [{}]
        assert found.kernel.links_of("a") == ["e0", "e1"]


async def test_a_process_that_has_ended_is_not_found_again_by_its_number(
    machine: NewMachine, autojump_clock: MockClock
) -> None:
    found = machine("b")
    found.kernel.namespaces["/proc/4711/ns/net"] = found.kernel._new()
    topology = lab([{"endpoints": ["a:e0", "b:e0"]}], create=False, nodes={"a": {"pid": 4711}})
    async with keeping(found, topology):
        assert found.kernel.links_of("b") == ["e0"]
        found.delete("b", "e0")
        found.senses.tell("a", "b", ended="a")  # another process has the number by now
        await found.settle()
        assert "process 4711 has ended" in found.of("waiting")[0]["message"]
        assert found.kernel.links_of("b") == []
        # Otherwise its end would be news after each run, and a reason for the next run.
        assert found.senses.places.keys() == {"b"}
        found.senses.tell("b", ended="a")
        await found.settle()
        assert len(found.of("waiting")) == 1


async def test_a_process_that_was_never_there_is_not_waited_for(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    nodes: dict[str, dict[str, object]] = {"p": {"pid": 4711}}
    topology = lab([{"endpoints": ["p:e0", "a:e0"]}, {"endpoints": ["a:e1", "b:e1"]}], create=False, nodes=nodes)
    async with keeping(found, topology):
        assert "there is no process 4711" in found.of("waiting")[0]["message"]
        assert found.kernel.links_of("b") == ["e1"]
        found.kernel.namespaces["/proc/4711/ns/net"] = found.kernel._new()  # a process that has nothing to do with it
        found.senses.tell(everything=True)
        await found.settle(3.0)
        assert found.kernel.links_of("a") == ["e1"]
        assert len(found.of("waiting")) == 1


async def test_nodes_in_one_namespace_have_each_its_own_process(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    for pid in (4711, 4712):
        found.kernel.namespaces[f"/proc/{pid}/ns/net"] = found.kernel.namespaces["/run/netns/a"]
    nodes: dict[str, dict[str, object]] = {"a": {"netns": "a"}, "p": {"pid": 4711}, "q": {"pid": 4712}}
    async with keeping(found, lab([{"endpoints": ["q:e0", "b:e0"]}], create=False, nodes=nodes)):
        assert {name: path for name, (path, _) in found.senses.places.items()} == {
            "a": "/run/netns/a",
            "b": "/run/netns/b",
            "p": "/proc/4711/ns/net",
            "q": "/proc/4712/ns/net",
        }


async def test_a_lab_that_another_run_destroys_is_not_made_again(
    machine: NewMachine, autojump_clock: MockClock
) -> None:
    found = machine("a", "b")
    keeper, second = Keeper("lab"), Keeper("lab")
    assert keeper.acquire()
    assert not second.acquire()
    watch = found.watch(star(1), keeper=keeper)

    async def destroy() -> None:
        await found.settle()
        dismiss_keepers("lab")
        found.delete("a", "e0")
        found.senses.tell("a", "b")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(destroy)
            with pytest.raises(DestroyedError):
                await watch.run()
    assert found.kernel.links_of("a") == []
    # Also if it is noticed only when the lab's lock is there.
    with pytest.raises(DestroyedError):
        await found.watch(star(1), keeper=keeper).run()
    assert found.kernel.links_of("a") == []
    keeper.release()
    assert second.acquire()
    second.release()


async def test_it_says_that_another_run_holds_the_lab(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a", "b")
    other = LabLock("lab")
    assert other.acquire()
    async with keeping(found, star(1)):
        await found.settle(0.8)
        assert ["another run works on the lab" in one["message"] for one in found.of("note")] == [True]
        assert found.of("watching") == []
        other.release()
        await found.settle()
        assert found.kernel.links_of("a") == ["e0"]


async def test_once_waits_for_nodes_for_some_time(machine: NewMachine, autojump_clock: MockClock) -> None:
    found = machine("a")
    topology = lab([{"endpoints": ["a:e0", "b:e0"]}], create=False)
    watch = found.watch(topology)
    start = trio.current_time()
    await watch.run(once=0)
    assert (watch.is_whole, trio.current_time() - start) == (False, 0)
    await watch.run(once=7)
    assert (watch.is_whole, round(trio.current_time() - start)) == (False, 7)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await found.settle(3)
        nursery.cancel_scope.cancel()
    found.kernel.namespaces["/run/netns/b"] = found.kernel._new()
    await watch.run(once=7)
    assert watch.is_whole
    assert round(trio.current_time() - start) == 10
