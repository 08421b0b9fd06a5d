"""Namespaces of ours that something else holds when their names are taken away: what nobody finds any more must hold no
link of ours."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kokofast.host import libc
from kokofast.host.namespaces import NETNS_DIR, open_sockets
from kokofast.wire.link import RTM_GETLINK
from kokofast.wire.message import Request
from tests.conftest import RunKokofast
from tests.kernel.conftest import Lab

pytestmark = pytest.mark.usefixtures("requires_root")

Look = Callable[[], list[str]]  # the interfaces of what is held


def names_in(fd: int) -> list[str]:
    (socket,) = open_sockets([fd])
    try:
        return [message.attributes["ifname"] for message in socket.dump(Request(RTM_GETLINK, {}))]
    finally:
        socket.close()


def opened(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def by_descriptor(path: str, _: Path) -> Iterator[Look]:
    fd = opened(path)
    try:
        yield lambda: names_in(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def by_socket(path: str, _: Path) -> Iterator[Look]:
    fd = opened(path)
    (socket,) = open_sockets([fd])
    os.close(fd)
    try:
        yield lambda: [message.attributes["ifname"] for message in socket.dump(Request(RTM_GETLINK, {}))]
    finally:
        socket.close()


@contextlib.contextmanager
def by_mount(path: str, place: Path) -> Iterator[Look]:
    """Mounted outside of /run/netns, where a container engine keeps its own say."""
    place.touch()
    libc.mount(path, str(place), "none", libc.MS_BIND)

    def look() -> list[str]:
        fd = opened(str(place))
        try:
            return names_in(fd)
        finally:
            os.close(fd)

    try:
        yield look
    finally:
        libc.umount2(str(place), libc.MNT_DETACH)


@contextlib.contextmanager
def by_thread(path: str, _: Path) -> Iterator[Look]:
    """A thread that is not its process' main one: /proc/PID/ns/net does not show it."""
    inside, leave = threading.Event(), threading.Event()
    own: list[int] = []

    def body() -> None:
        fd = opened(path)
        libc.setns(fd, libc.CLONE_NEWNET)
        os.close(fd)
        own.append(threading.get_native_id())
        inside.set()
        leave.wait()

    thread = threading.Thread(target=body)
    thread.start()
    assert inside.wait(20)

    def look() -> list[str]:
        fd = opened(f"/proc/self/task/{own[0]}/ns/net")
        try:
            return names_in(fd)
        finally:
            os.close(fd)

    try:
        yield look
    finally:
        leave.set()
        thread.join()


HOLDERS = (by_descriptor, by_socket, by_mount, by_thread)


def chain_of(lab: Lab, count: int) -> list[str]:
    names = [lab.new(f"n{number}") for number in range(count)]
    links: list[object] = [{"endpoints": [f"{a}:e1", f"{b}:e0"]} for a, b in itertools.pairwise(names)]
    lab.write(links, defaults={"create": True})
    return names


@pytest.mark.parametrize("holder", HOLDERS)
def test_links_do_not_outlive_their_namespaces_names(
    holder: Callable[[str, Path], contextlib.AbstractContextManager[Look]],
    lab: Lab,
    kokofast: RunKokofast,
    counts: Counter[str],
    tmp_path: Path,
    long: bool,
) -> None:
    names = chain_of(lab, 40 if long else 5)
    lab.batch()
    with contextlib.ExitStack() as held:
        looks = [held.enter_context(holder(f"{NETNS_DIR}/{name}", tmp_path / name)) for name in names]
        assert all(len(look()) > 1 for look in looks)
        done = kokofast("destroy", lab.file, "--format", "json")
        counts["namespaces held"] += len(names)
        result = json.loads(done.stdout)
        left = sum(len(look()) - 1 for look in looks)
        counts["left over"] += left
        assert left == 0
        assert (done.returncode, result["status"]) == (0, "destroyed")
        assert result["links"] == {"removed": len(names) - 1, "failed": 0}
        assert result["namespaces"] == {"removed": len(names), "failed": 0}
        assert len([note for note in result["notes"] if "lives on" in note]) == len(names)
