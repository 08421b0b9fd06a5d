"""What a watch perceives, without a kernel's notifications."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from kokofast.drivers import senses as module
from kokofast.drivers.senses import TrioSenses
from kokofast.endpoints import containers
from kokofast.host.namespaces import identity_at, of_process
from kokofast.topology import load
from kokofast.topology.model import Topology


class SilentListener:
    def __init__(self) -> None:
        self.ends = os.pipe()

    def fileno(self) -> int:
        return self.ends[0]

    def close(self) -> None:
        for fd in self.ends:
            os.close(fd)


@asynccontextmanager
async def perceiving(file: Path | None = None) -> AsyncIterator[TrioSenses]:
    listener = SilentListener()
    try:
        found = TrioSenses(listener, None if file is None else str(file))  # type: ignore[arg-type]
        with trio.fail_after(10):
            async with found.listening():
                yield found
    finally:
        listener.close()


def topology_of(nodes: dict[str, dict[str, object]]) -> Topology:
    return load(json.dumps({"nodes": nodes, "links": []}).encode(), filename="lab.json")


class FakeDaemon:
    """Yields a given number of events. Then it fails, or sends nothing more."""

    title = "the daemon"
    made = 0

    def __init__(self, events: int, *, stays: bool = True) -> None:
        self.events = events
        self.stays = stays
        FakeDaemon.made += 1

    async def changes(self) -> AsyncIterator[None]:
        import asyncio

        for _ in range(self.events):
            yield
        if self.stays:
            await asyncio.Event().wait()

    async def close(self) -> None:
        pass


def follow_fakes(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    FakeDaemon.made = 0
    monkeypatch.setattr(containers, "daemon_of", lambda kind, address: FakeDaemon(**options))


async def test_a_node_whose_daemon_has_no_address_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://elsewhere")
    follow_fakes(monkeypatch, events=1)
    async with perceiving() as senses:
        senses.follow(topology_of({"a": {"docker": "a", "socket": f"{tmp_path}/socket"}, "b": {"docker": "b"}}))
        assert await senses.wait(None)
        assert senses.take().nodes == {"a"}


async def test_a_flood_of_events_makes_no_queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    follow_fakes(monkeypatch, events=10_000)
    calls = 0

    class Token:
        """Counts what is left to do while trio is busy."""

        def __init__(self, real: trio.lowlevel.TrioToken) -> None:
            self.real = real

        def run_sync_soon(self, function: Any, *arguments: Any, idempotent: bool = False) -> None:
            nonlocal calls
            calls += not idempotent
            self.real.run_sync_soon(function, *arguments, idempotent=idempotent)

    async with perceiving() as senses:
        real = trio.lowlevel.current_trio_token()
        monkeypatch.setattr(trio.lowlevel, "current_trio_token", lambda: Token(real))
        senses.follow(topology_of({"a": {"docker": "a", "socket": f"{tmp_path}/socket"}}))
        assert await senses.wait(None)
        assert senses.take().nodes == {"a"}
    assert calls < 10


async def test_a_daemon_that_breaks_off_at_once_is_asked_less_and_less(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    follow_fakes(monkeypatch, events=1, stays=False)
    monkeypatch.setattr(module, "RECONNECT_SECONDS", (0.0, 0.0, 3600.0))
    async with perceiving() as senses:
        senses.follow(topology_of({"a": {"docker": "a", "socket": f"{tmp_path}/socket"}}))
        while FakeDaemon.made < 3:  # noqa: ASYNC110 - another thread counts
            await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert FakeDaemon.made == 3


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as found:
        yield found
        found.kill()


async def test_the_end_of_a_process_that_the_file_does_not_name_any_more_is_no_news(
    process: subprocess.Popen[bytes],
) -> None:
    pid = process.pid
    async with perceiving() as senses:
        senses.follow(topology_of({"a": {"pid": pid}}))
        found = identity_at(of_process(pid))
        assert found is not None
        senses.attend({"a": (of_process(pid), found)})
        senses.follow(topology_of({"b": {"netns": "b"}}))
        process.kill()
        await senses.wait(0.2)
        assert not senses.take().ended


async def file_is_news(senses: TrioSenses) -> bool:
    """Whether the file is to be read again, by what has happened so far."""
    await trio.testing.wait_all_tasks_blocked(3 * module.FLOOD_SECONDS)
    return senses.take().file


async def test_the_file_is_news_when_it_is_written_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "lab.csv"
    async with perceiving(file) as senses:
        senses.follow(topology_of({}))
        with file.open("x") as writing:
            writing.write("a_node,b_node\n")
            writing.flush()
            assert not await file_is_news(senses)  # half a table is a valid one, too
        assert await file_is_news(senses)
        file.rename(tmp_path / "other.csv")
        assert await file_is_news(senses)
        os.link(tmp_path / "other.csv", file)
        assert await file_is_news(senses)
        assert not await file_is_news(senses)


async def test_the_file_that_a_link_leads_to(tmp_path: Path) -> None:
    # As Kubernetes mounts a ConfigMap.
    file = tmp_path / "lab.json"
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "lab.json").write_text("1")
    (tmp_path / "data").symlink_to("v1")
    file.symlink_to("data/lab.json")
    async with perceiving(file) as senses:
        senses.follow(topology_of({}))
        (tmp_path / "v1" / "lab.json").write_text("2")
        assert await file_is_news(senses)
        (tmp_path / "new").symlink_to("v2")
        (tmp_path / "new").rename(tmp_path / "data")
        shutil.rmtree(tmp_path / "v1")
        assert await file_is_news(senses)
        (tmp_path / "v2" / "lab.json").write_text("3")
        assert await file_is_news(senses)


@pytest.mark.parametrize("moves", [True, False])
async def test_a_directory_that_another_one_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    monkeypatch.setattr(module, "SEEK_SECONDS", 0.2)
    here = tmp_path / "here"
    here.mkdir()
    async with perceiving(here / "lab.json") as senses:
        senses.follow(topology_of({"a": {"path": str(here / "a")}}))
        if moves:
            here.rename(tmp_path / "elsewhere")
        else:
            here.rmdir()
        await trio.testing.wait_all_tasks_blocked(3 * module.FLOOD_SECONDS)
        senses.take()
        here.mkdir()
        while not senses.take().nodes:
            await senses.wait(None)
        (here / "lab.json").touch()
        assert await file_is_news(senses)


async def test_lost_events_may_be_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with perceiving(tmp_path / "lab.json") as senses:
        senses.follow(topology_of({}))
        receive = senses._inotify.receive
        monkeypatch.setattr(senses._inotify, "receive", lambda: ({}, bool(receive())))
        (tmp_path / "x").touch()
        assert await file_is_news(senses)
