"""Hearing of changes: the kernel's notifications from several namespaces, files, ends of processes."""

from __future__ import annotations

import errno
import os
import select
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from kokofast.host import listener as home
from kokofast.host.inotify import Inotify
from kokofast.host.kernel import LinuxKernel
from kokofast.host.listener import HeardKernel, Listener
from kokofast.host.namespaces import HERE, identity_at, of_process
from kokofast.host.netlink import Socket
from kokofast.host.pool import Handle
from kokofast.host.process_ends import ProcessEnds
from kokofast.wire.groups import ALWAYS
from kokofast.wire.link import RTM_DELLINK, RTM_NEWLINK
from kokofast.wire.message import KernelError, Message, Request, split
from kokofast.wire.netns import RTM_DELNSID
from tests.conftest import NamespaceFactory, ip

SECONDS = 30.0


def ready(source: Listener | Inotify | ProcessEnds) -> bool:
    return bool(select.select([source.fileno()], [], [], SECONDS)[0])


def heard(listener: Listener, type: int, nsid: int | None) -> bool:
    """Whether a message of this type comes from a namespace."""
    while ready(listener):
        datagrams, lost = listener.receive()
        assert not lost
        if any(where == nsid and type in [found[0] for found in split(data)] for where, data in datagrams):
            return True
    return False


def open_both(kernel: HeardKernel, *names: str) -> list[Handle]:
    found = kernel.open_all([f"/run/netns/{name}" for name in names])
    return [item for item in found if isinstance(item, Handle)]


@pytest.fixture
def listener(requires_root: None) -> Iterator[Listener]:
    with closing(Listener(ALWAYS)) as made:
        yield made


def test_links_of_several_namespaces_and_their_ends(listener: Listener, netns: NamespaceFactory) -> None:
    a, b = netns("a"), netns("b")
    with closing(HeardKernel(listener)) as kernel:
        first, second = open_both(kernel, a, b)
        again, _ = open_both(kernel, a, a)
        numbers = [listener.number_of(handle.identity) for handle in (first, second)]
        assert listener.number_of(again.identity) == numbers[0] != numbers[1]
        assert None not in numbers
    ip(a, "link", "add", "x", "type", "veth", "peer", "name", "y", "netns", b)
    assert heard(listener, RTM_NEWLINK, numbers[1])
    ip(b, "link", "delete", "y")
    assert heard(listener, RTM_DELLINK, numbers[0])
    # The numbers keep no namespace alive.
    ip(None, "netns", "delete", b)
    assert heard(listener, RTM_DELNSID, None)


def test_a_new_namespace_with_the_same_name_is_heard_of(listener: Listener, netns: NamespaceFactory) -> None:
    name = netns("a")
    for _ in range(3):
        with closing(HeardKernel(listener)) as kernel:
            (handle,) = open_both(kernel, name)
        number = listener.number_of(handle.identity)
        ip(name, "link", "add", "x", "type", "veth", "peer", "name", "y")
        assert heard(listener, RTM_NEWLINK, number)
        ip(None, "netns", "delete", name)
        assert heard(listener, RTM_DELNSID, None)
        ip(None, "netns", "add", name)


class Failing:
    """A socket of which the first answers are lost, or which does not send at all at first."""

    def __init__(self, socket: Socket, *, sends: bool) -> None:
        self.socket = socket
        self.sends = sends
        self.has_failed = False

    def send(self, requests: Sequence[Request]) -> list[KernelError | None]:
        if self.has_failed:
            return self.socket.send(requests)
        self.has_failed = True
        if self.sends:
            self.socket.send(requests)
        raise OSError(errno.ENOBUFS, "No buffer space available")

    def ask(self, request: Request) -> list[Message]:
        return self.socket.ask(request)


@pytest.mark.parametrize("sends", [True, False])
def test_a_namespace_is_heard_of_after_a_failure(listener: Listener, netns: NamespaceFactory, sends: bool) -> None:
    name = netns("a")
    asker = listener._asker
    assert asker is not None
    listener._asker = Failing(asker, sends=sends)  # type: ignore[assignment]
    with closing(HeardKernel(listener)) as kernel:
        with pytest.raises(OSError, match="No buffer space"):
            open_both(kernel, name)
        (handle,) = open_both(kernel, name)
    listener._asker = asker
    ip(name, "link", "add", "x", "type", "veth", "peer", "name", "y")
    assert heard(listener, RTM_NEWLINK, listener.number_of(handle.identity))


def test_a_namespace_stays_open_until_it_is_heard_of(
    listener: Listener, netns: NamespaceFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, other = netns("a"), netns("b")
    with closing(HeardKernel(listener)) as kernel, closing(LinuxKernel()) as beside:
        (second,) = (one for one in beside.open_all([f"/run/netns/{other}"]) if isinstance(one, Handle))
        add = listener.add

        def add_late(handles: Iterable[Handle]) -> None:
            kernel.budget = 0  # another worker needs all descriptors
            with kernel.using([second]):
                pass
            add(handles)

        monkeypatch.setattr(listener, "add", add_late)
        (handle,) = open_both(kernel, name)
    assert listener.number_of(handle.identity) is not None


def test_lost_notifications_are_noticed(monkeypatch: pytest.MonkeyPatch, netns: NamespaceFactory) -> None:
    monkeypatch.setattr(home, "BUFFER", 1 << 12)
    name = netns("a")
    with closing(Listener(ALWAYS)) as listener, closing(HeardKernel(listener)) as kernel:
        open_both(kernel, name)
        for number in range(20):
            ip(name, "link", "set", "lo", "mtu", str(2000 + number))
        assert any(listener.receive()[1] for _ in range(3))


def test_the_namespace_of_the_listener_sends_creations(listener: Listener) -> None:
    for _ in range(2):
        with closing(HeardKernel(listener)) as kernel:
            assert kernel.scratch() is listener.scratch
            with kernel.using([kernel.scratch()]):
                pass
        assert listener.scratch.socket is not None


def test_files_are_heard_of(tmp_path: Path) -> None:
    with closing(Inotify()) as inotify:
        assert not inotify.add(str(tmp_path / "missing"))
        assert inotify.add(str(tmp_path))
        assert inotify.add(str(tmp_path))  # again
        assert inotify.receive() == ({}, False)
        (tmp_path / "x").write_text("")
        (tmp_path / "y").mkdir()
        (tmp_path / "x").rename(tmp_path / "z")
        names: set[str] = set()
        while names != {"x", "y", "z"} and ready(inotify):
            found, lost = inotify.receive()
            assert not lost
            assert {directory for directory, _ in found} == {str(tmp_path)}
            names |= {name for _, name in found}
        assert names == {"x", "y", "z"}


def test_a_directory_is_heard_of_by_each_of_its_names(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.symlink_to(here)
    with closing(Inotify()) as inotify:
        assert inotify.add(str(here))
        assert inotify.add(str(there))
        os.mkfifo(here / "x")
        assert ready(inotify)
        assert inotify.receive() == ({(str(here), "x"): True, (str(there), "x"): True}, False)


@pytest.mark.parametrize("moves", [True, False])
def test_a_directory_that_is_gone_is_heard_of(tmp_path: Path, moves: bool) -> None:
    here = tmp_path / "here"
    here.mkdir()
    with closing(Inotify()) as inotify:
        assert inotify.add(str(here))
        if moves:
            here.rename(tmp_path / "elsewhere")
        else:
            here.rmdir()
        assert ready(inotify)
        assert inotify.receive() == ({(str(here), ""): False}, False)
        if moves:  # what is in there is not under this name
            (tmp_path / "elsewhere" / "x").touch()
            assert inotify.receive() == ({}, False)
        here.mkdir()
        assert inotify.add(str(here))
        os.mkfifo(here / "y")
        assert ready(inotify)
        assert inotify.receive() == ({(str(here), "y"): True}, False)


def test_ends_of_processes_are_heard_of() -> None:
    own = identity_at(HERE)
    assert own is not None
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        with closing(ProcessEnds()) as ends:
            assert ends.keep({sleeper.pid: own}) == set()
            assert ends.keep({sleeper.pid: own}) == set()
            # A number that is used again: the process is in another namespace.
            assert ends.keep({sleeper.pid: (0, 0)}) == {sleeper.pid}
            assert ends.keep({sleeper.pid: own}) == set()
            sleeper.kill()
            assert ready(ends)
            assert ends.receive() == {sleeper.pid}
            assert ends.receive() == set()
            sleeper.wait()
            assert ends.keep({sleeper.pid: own}) == {sleeper.pid}
    finally:
        sleeper.kill()
        sleeper.wait()
    assert identity_at(of_process(os.getpid())) == own
