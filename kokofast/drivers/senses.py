"""Learn of changes under trio: notifications, files, ends of processes, container daemons."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from kokofast.endpoints import local
from kokofast.endpoints.errors import ResolveError
from kokofast.host.inotify import Inotify
from kokofast.host.namespaces import HERE, NETNS_DIR, identity_at
from kokofast.host.process_ends import ProcessEnds
from kokofast.topology.node_kinds import NODES
from kokofast.watching.news import News

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kokofast.drivers.asyncio_thread import AsyncioThread
    from kokofast.host.listener import Listener
    from kokofast.topology.model import Node, Topology

FLOOD_SECONDS = 0.02  # between two reads: what one namespace sends without end takes no whole processor
SEEK_SECONDS = 1.0  # between two looks for a directory that is gone
RECONNECT_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0)


class TrioSenses:
    """See watching.senses.Senses. file is the topology's, None for standard input."""

    def __init__(self, listener: Listener, file: str | None = None) -> None:
        self._listener = listener
        self._file = file
        self._files: set[tuple[str, str]] = set()  # (directory, name) of the file, and of what it links to
        self._news = News()
        self._wake = trio.Event()
        self._inotify = Inotify()
        self._ends = ProcessEnds()
        self._topology: Topology
        self._nodes_of: dict[int, list[str]] = {}  # process -> nodes
        self._names: dict[tuple[str, str], list[str]] = {}  # (directory, name) -> nodes
        self._nodes_at: dict[tuple[str, str], list[str]] = {}  # (kind, address) of a daemon -> nodes
        self._followed: dict[tuple[str, str], trio.CancelScope] = {}
        self._nursery: trio.Nursery
        self._token = trio.lowlevel.current_trio_token()
        self._thread: AsyncioThread | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Watch for changes in this block."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._read, self._listener, self._hear)
                nursery.start_soon(self._read, self._inotify, self._hear_files)
                nursery.start_soon(self._read, self._ends, self._hear_ends)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()
        finally:
            if self._thread is not None:
                await self._thread.__aexit__(None, None, None)
            self._inotify.close()
            self._ends.close()

    def now(self) -> float:
        """See Senses."""
        return trio.current_time()

    async def wait(self, seconds: float | None) -> bool:
        """See Senses."""
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            await self._wake.wait()
        return bool(self._news)

    def take(self) -> News:
        """See Senses."""
        news, self._news = self._news, News()
        self._wake = trio.Event()
        return news

    def read_file(self) -> None:
        """Have the file read again. Any thread may call it: signals have one of their own."""

        def note() -> None:
            self._news.file = True
            self._wake.set()

        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(note)

    def number_of(self, identity: tuple[int, int]) -> int | None:
        """See Senses."""
        return self._listener.number_of(identity)

    def follow(self, topology: Topology) -> None:
        """See Senses."""
        self._topology = topology
        self._names = {}
        self._nodes_of = {}  # attend() reports processes that have ended again
        self._follow_file()
        for node in topology.nodes.values():
            if NODES[node.kind].is_file:
                self._names.setdefault(os.path.split(local.path_of(node)), []).append(node.name)
        for directory in dict.fromkeys(directory for directory, _ in self._names):
            self._inotify.add(directory)
        daemons: dict[tuple[str, str], list[str]] = {}
        for node in topology.nodes.values():
            if NODES[node.kind].daemon:
                from kokofast.endpoints.containers import key_of

                try:
                    key = key_of(node)
                except ResolveError:
                    continue
                daemons.setdefault((key.kind, key.address), []).append(node.name)
        self._nodes_at = daemons
        for one in self._followed.keys() - daemons.keys():
            self._followed.pop(one).cancel()
        for one in daemons.keys() - self._followed.keys():
            self._followed[one] = scope = trio.CancelScope()
            self._nursery.start_soon(self._follow_daemon, *one, scope)

    def attend(self, places: Mapping[str, tuple[str, tuple[int, int]]]) -> None:
        """See Senses."""
        self._inotify.add(NETNS_DIR)  # it may be new
        self._nodes_of = {}
        processes: dict[int, tuple[int, int]] = {}
        for name, (path, identity) in places.items():
            kind = self._topology.nodes[name].kind if name in self._topology.nodes else "host"
            if NODES[kind].is_process or NODES[kind].daemon:
                pid = int(path.split("/")[2])  # /proc/PID/ns/net
                processes[pid] = identity
                self._nodes_of.setdefault(pid, []).append(name)
        self._note_ends(self._ends.keep(processes))

    def appeared(self, nodes: Iterable[str]) -> set[str]:
        """See Senses."""
        return {name for name in nodes if name in self._topology.nodes and _is_there(self._topology.nodes[name])}

    # What comes

    async def _read(self, source: Listener | Inotify | ProcessEnds, hear: Callable[[], None]) -> None:
        while True:
            await trio.lowlevel.wait_readable(source.fileno())
            hear()
            if self._news:
                self._wake.set()
            await trio.sleep(FLOOD_SECONDS)

    def _hear(self) -> None:
        datagrams, lost = self._listener.receive()
        for nsid, datagram in datagrams:
            self._news.kept.add(nsid, datagram)
        if lost:
            self._news.kept.lose()

    def _follow_file(self) -> None:
        if self._file is not None:
            self._files = {os.path.split(self._file), os.path.split(os.path.realpath(self._file))}
            for directory, _ in self._files:
                self._inotify.add(directory)

    def _hear_files(self) -> None:
        names, lost = self._inotify.receive()
        self._news.everything = self._news.everything or lost
        is_file = lost
        for name, is_new in names.items():
            if not name[1]:
                self._nursery.start_soon(self._find_directory, name[0])
            self._news.nodes.update(self._names.get(name, ()))
            is_file = is_file or (name in self._files and not (is_new and _is_being_written(name)))
        if is_file and self._file is not None:
            self._news.file = True
            self._follow_file()  # it may be another link now

    async def _find_directory(self, directory: str) -> None:
        """Wait for a directory that replaces a lost one, and look at what it has."""
        while not self._inotify.add(directory):
            await trio.sleep(SEEK_SECONDS)
            if directory not in {place[0] for place in (*self._names, *self._files)}:
                return
        self._news.file = self._news.file or any(place[0] == directory for place in self._files)
        for place, nodes in self._names.items():
            if place[0] == directory:
                self._news.nodes.update(nodes)
        self._wake.set()

    def _hear_ends(self) -> None:
        self._note_ends(self._ends.receive())

    def _note_ends(self, processes: Iterable[int]) -> None:
        for pid in processes:
            self._news.ended.update(self._nodes_of.get(pid, ()))
        if self._news:
            self._wake.set()

    async def _follow_daemon(self, kind: str, address: str, scope: trio.CancelScope) -> None:
        from kokofast.drivers.asyncio_thread import AsyncioThread
        from kokofast.endpoints.containers import daemon_of

        if self._thread is None:
            self._thread = AsyncioThread()
            await self._thread.__aenter__()
        token = trio.lowlevel.current_trio_token()
        attempt = 0
        refusal = ""

        def changed() -> None:
            nonlocal refusal
            if refusal:
                self._news.daemons.append((daemon.title, ""))
            refusal = ""
            self._news.nodes.update(self._nodes_at.get((kind, address), ()))
            self._wake.set()

        async def stream() -> None:
            try:
                async for _ in daemon.changes():
                    token.run_sync_soon(changed, idempotent=True)  # a flood of events makes no queue
            finally:
                await daemon.close()

        with scope:
            while True:
                daemon = daemon_of(kind, address)
                begun = self.now()
                try:
                    await self._thread.call(stream)
                    reason = "the daemon has ended its events"
                except ResolveError as error:
                    reason = str(error)
                if not refusal:
                    self._news.daemons.append((daemon.title, reason))
                    self._wake.set()
                refusal = reason
                if self.now() - begun > RECONNECT_SECONDS[-1]:  # not one that breaks off whenever it is reached
                    attempt = 0
                await trio.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])
                attempt += 1


def _is_being_written(place: tuple[str, str]) -> bool:
    """Whether the writer of a new file is still to close it: it is neither a symbolic link nor a hard link."""
    try:
        found = os.lstat(os.path.join(*place))
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _is_there(node: Node) -> bool:
    if NODES[node.kind].daemon:
        return False
    found, own = identity_at(local.path_of(node)), identity_at(HERE)
    return found is not None and own is not None and found[0] == own[0]  # all namespaces are on one file system
