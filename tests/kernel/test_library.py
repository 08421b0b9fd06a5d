"""The library, on the real kernel."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from functools import partial
from typing import Any

import pytest
import trio

import kokofast
from kokofast.api import ApplyError, deployed
from kokofast.engine.result import Result
from kokofast.host.kernel import LinuxKernel
from kokofast.topology import load
from kokofast.topology.model import Topology
from tests.conftest import NamespaceFactory, addresses, ip, links
from tests.kernel.conftest import Lab, present, refused_by_the_kernel, state
from tests.runs import apply, destroy, inspect

# More namespaces than a rollback removes in one step.
MANY = 1000

pytestmark = [pytest.mark.usefixtures("requires_root"), pytest.mark.native]


def topology_of(lab: Lab, create: bool = False) -> Topology:
    with open(lab.file, "rb") as file:
        return load(file.read(), filename=lab.file, create=create)


async def test_apply_inspect_destroy(lab: Lab) -> None:
    names = lab.chain(20)
    topology = topology_of(lab, create=True)
    seen: list[tuple[str, int, int]] = []
    result = await apply(topology, progress=lambda *what: seen.append(what))
    assert (result.status, result.links["created"], result.errors) == ("applied", 20, [])
    assert seen[-1][0] == "apply"
    assert seen[-1][1] == seen[-1][2]
    assert len(await inspect(lab.name)) == 20
    assert (await apply(topology)).status == "unchanged"
    assert (await destroy(lab.name, topology=topology)).namespaces["removed"] == 21
    assert present(names) == 0


@pytest.mark.parametrize("budget", [4, 10])
async def test_a_small_budget_of_descriptors(lab: Lab, budget: int) -> None:
    lab.chain(30)
    kernel = LinuxKernel(budget)
    try:
        result = await apply(topology_of(lab, create=True), kernel=kernel, jobs=4)
        assert (result.status, result.errors) == ("applied", [])
    finally:
        kernel.close()
    assert len(lab.inspect()) == 30


async def test_cancelled_by_its_caller(lab: Lab) -> None:
    a, b = lab.bundle(200)
    before = state(a, b)
    result = Result(lab.name, "unchanged")
    with trio.CancelScope() as scope:

        def progress(stage: str, done: int, total: int) -> None:
            if stage == "apply" and done > 100:
                scope.cancel()

        await apply(topology_of(lab), progress=progress, result=result)
    assert scope.cancelled_caught
    assert (result.status, result.left) == ("rolled_back", [])
    assert state(a, b) == before


async def test_two_labs_at_a_time_in_the_same_namespaces(lab: Lab) -> None:
    a, b = lab.bundle(60)
    one = topology_of(lab)
    lab.write([{"endpoints": [f"{a}:x{i}:10.1.{i}.1/24", f"{b}:x{i}"]} for i in range(60)], name=f"{lab.name}x")
    other = topology_of(lab)
    results: list[Result] = []

    async def run(topology: Topology) -> None:
        results.append(await apply(topology))

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, one)
            nursery.start_soon(run, other)
        assert [result.errors for result in results] == [[], []]
        assert len(links(a)) == 120
        assert addresses(a, "x7") == ["10.1.7.1/24"]
    finally:
        await destroy(f"{lab.name}x")


async def test_no_thread_is_left_in_another_namespace(lab: Lab) -> None:
    lab.chain(10)
    await apply(topology_of(lab, create=True))

    def look() -> int:
        return os.stat("/proc/thread-self/ns/net").st_ino

    home = look()
    gate = threading.Barrier(4)
    found: list[int] = []

    def job() -> None:
        gate.wait(20)
        found.append(look())

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(trio.to_thread.run_sync, job)
    assert found == [home] * 4


async def test_deployed_with_keep_going_has_what_works_and_leaves_nothing(lab: Lab) -> None:
    a, b = lab.bundle(3)
    good = {"endpoints": [f"{a}:ok0", f"{b}:ok1"]}
    lab.write([good, refused_by_the_kernel(a)])
    before = state(a, b)
    topology = topology_of(lab)
    with pytest.raises(ApplyError) as refused:
        async with deployed(topology):
            pytest.fail("the block ran")
    assert (refused.value.result.status, refused.value.result.left) == ("rolled_back", [])
    async with deployed(topology, keep_going=True) as result:
        assert (result.status, len(result.errors)) == ("partial", 1)
        assert "ok0" in links(a)
        assert "x" not in links(a)
    assert state(a, b) == before


def test_from_asyncio_by_a_thread(lab: Lab) -> None:
    names = lab.chain(5)
    topology = topology_of(lab, create=True)

    run: Any = trio.run  # no type checker finds the types of a function behind two others

    async def main() -> tuple[Result, Result]:
        made: Result = await asyncio.to_thread(run, kokofast.apply, topology)
        return made, await asyncio.to_thread(run, kokofast.destroy, topology)

    made, gone = asyncio.run(main())
    assert (made.status, gone.status) == ("applied", "destroyed")
    assert present(names) == 0


@pytest.mark.parametrize("again", [0, 1, 200])
def test_ctrl_c_is_a_keyboard_interrupt_and_nothing_is_left(
    lab: Lab, again: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = lab.chain(MANY)
    interrupted: list[str] = []
    remove = LinuxKernel.remove

    def interrupt_rollback(kernel: LinuxKernel, name: str, expected: tuple[int, int] | None) -> None:
        # In a worker thread: the main one gets the signal while it waits for it, or a moment later.
        if len(interrupted) < again:
            interrupted.append(name)
            os.kill(os.getpid(), signal.SIGINT)
        remove(kernel, name, expected)

    monkeypatch.setattr(LinuxKernel, "remove", interrupt_rollback)

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "apply" and 100 < done < total:
            signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(partial(kokofast.apply, topology_of(lab, create=True), progress=progress))
    finally:
        signal.signal(signal.SIGINT, previous)
    assert len(interrupted) == again
    assert present(names) == 0


def test_a_lab_from_code_without_an_event_loop(netns: NamespaceFactory) -> None:
    name, a, b = netns.reserve("lab"), netns.reserve("a"), netns.reserve("b")
    topology = kokofast.Topology(
        name,
        links=[kokofast.Link(f"{a}:eth0:10.0.0.0/31", f"{b}:eth0:10.0.0.1/31", mtu=9000)],
        nodes=[kokofast.Node(a, netns=a, create=True), kokofast.Node(b, netns=b, create=True)],
    )
    with kokofast.sync.deployed(topology) as result:
        assert (result.status, result.links["created"]) == ("applied", 1)
        (seen,) = kokofast.sync.inspect(name)
        assert seen.kind == "veth"
        assert links(a)["eth0"]["mtu"] == 9000
        assert [link.state for link in kokofast.sync.verify(name)] == ["ok"]
        ip(b, "link", "set", "eth0", "mtu", "1500")
        ip(b, "link", "set", "eth0", "down")
        assert f'"{a}:eth0 -- {b}:eth0\\nveth, down' in kokofast.sync.draw(name, format="dot")
        assert kokofast.sync.draw(topology).startswith("<svg ")
        assert "veth, not looked at" in kokofast.sync.draw(topology, format="dot", states=False)
        ip(b, "link", "set", "eth0", "up")
        (checked,) = kokofast.sync.verify(topology, patience=1.0)
        assert [problem.check for problem in checked.problems] == ["different", "mtu"]
        ip(b, "link", "set", "eth0", "mtu", "9000")
        again = kokofast.sync.apply(topology, dry_run=True)
        assert again.status == "unchanged"
    assert present([a, b]) == 0


def test_a_node_that_is_missing_and_has_no_link(netns: NamespaceFactory) -> None:
    name, gone = netns.reserve("lab"), netns.reserve("gone")
    errors: list[kokofast.Failure] = []
    topology = kokofast.Topology(name, links=[], nodes=[kokofast.Node(gone, netns=gone)])
    assert kokofast.sync.verify(topology, errors=errors) == []
    assert [f"there is no network namespace '{gone}'" in error.message for error in errors] == [True]


def test_a_refusal_of_the_kernel_names_the_line_of_the_link(lab: Lab) -> None:
    a, _ = lab.bundle(1)
    refused: Any = refused_by_the_kernel(a)
    topology = kokofast.Topology(lab.name, [kokofast.Link(refused.pop("endpoint"), **refused)])
    result = kokofast.sync.apply(topology)
    assert result.status == "rolled_back"
    (error,) = result.errors
    assert error.source.startswith("links[0]")
    assert error.position.startswith(f"{__file__}:")


def test_a_run_of_the_library_waits_to_be_confirmed(lab: Lab) -> None:
    lab.chain(2)
    topology = topology_of(lab, create=True)
    results: list[Any] = []

    async def ask(*, revert: bool) -> None:
        results.append(await kokofast.confirm(lab.name, revert=revert))

    async def both(*, revert: bool) -> None:
        async with trio.open_nursery() as nursery:
            waiting = partial(nursery.start_soon, partial(ask, revert=revert))
            results.append(await kokofast.apply(topology, confirm_within=300, waiting=lambda _: waiting()))

    for revert, status in ((True, "rolled_back"), (False, "applied")):
        trio.run(partial(both, revert=revert))
        assert [result.as_dict() for result in results] == [results[0].as_dict()] * 2
        assert results[0].status == status
        results.clear()
        assert bool(lab.inspect()) is not revert
    with pytest.raises(ProcessLookupError, match=r"no batch of the lab .* waits"):
        kokofast.sync.confirm(lab.name)


def test_who_has_asked_learns_that_the_caller_has_cancelled_the_run(lab: Lab) -> None:
    lab.chain(2)
    topology = topology_of(lab, create=True)
    results: list[Any] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                # Heard with the end of the run only: it was cancelled before it could read.
                scope.cancel()
                results.append(await kokofast.confirm(lab.name))

            with trio.CancelScope() as scope:
                await kokofast.apply(topology, confirm_within=300, waiting=lambda _: nursery.start_soon(ask))

    trio.run(main)
    (result,) = results
    assert result.status in ("rolled_back", "applied")
    assert bool(lab.inspect()) is (result.status == "applied")
    if result.status == "rolled_back":
        assert [error.message for error in result.errors] == ["ended by Cancelled"]
