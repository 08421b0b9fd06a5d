"""Namespaces of ours that something else holds when their names are taken away: what nobody finds any more must hold no
link of ours."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from kokofast.host import libc
from kokofast.host.namespaces import NETNS_DIR, open_sockets
from kokofast.wire.link import RTM_GETLINK
from kokofast.wire.message import Request
from tests.conftest import RunKokofast, links
from tests.kernel.conftest import COMMAND, Lab, present, until

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


def names_at(path: str) -> list[str]:
    fd = opened(path)
    try:
        return names_in(fd)
    finally:
        os.close(fd)


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

    try:
        yield lambda: names_at(str(place))
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

    try:
        yield lambda: names_at(f"/proc/self/task/{own[0]}/ns/net")
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


def some_gone(names: list[str], process: subprocess.Popen[str]) -> bool:
    return present(names) < len(names) or process.poll() is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_midst_leaves_no_link_in_what_has_lost_its_name(
    lab: Lab, start: Callable[..., subprocess.Popen[str]], counts: Counter[str], tmp_path: Path, long: bool, number: int
) -> None:
    names = chain_of(lab, 400 if long else 80)
    for _ in range(20 if long else 2):
        lab.batch()
        with contextlib.ExitStack() as held:
            looks = [held.enter_context(by_descriptor(f"{NETNS_DIR}/{name}", tmp_path)) for name in names]
            command = [*COMMAND, "destroy", "--name", lab.name]
            process = start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until(partial(some_gone, names, process), "names go")
            process.send_signal(number)
            assert process.wait(60) in (0, 3)
            there = set(os.listdir(NETNS_DIR))
            nameless = [look for name, look in zip(names, looks, strict=True) if name not in there]
            assert nameless
            # A link whose other end is in a namespace that still has its name is found by that.
            lab.destroy()
            left = sum(len(look()) - 1 for look in nameless)
            counts["namespaces held"] += len(nameless)
            counts["left over"] += left
            assert left == 0


def test_force_takes_another_labs_links_along_but_not_from_what_is_held(
    lab: Lab, kokofast: RunKokofast, tmp_path: Path
) -> None:
    held, free = chain_of(lab, 2)
    lab.batch()
    aside = lab.node("aside")
    other, file = f"{lab.name}-other", tmp_path / "other.json"
    wanted = [{"endpoints": [f"{name}:{end}", f"{aside}:{end}"]} for name, end in ((held, "held"), (free, "free"))]
    file.write_text(json.dumps({"name": other, "links": wanted}))
    assert kokofast("batch", str(file)).returncode == 0
    try:
        with by_descriptor(f"{NETNS_DIR}/{held}", tmp_path) as look:
            assert kokofast("destroy", "--name", lab.name).returncode == 2
            assert sorted(look()) == ["e1", "held", "lo"]
            assert kokofast("destroy", "--name", lab.name, "--force").returncode == 0
            assert sorted(look()) == ["held", "lo"]
            until(lambda: set(links(aside)) == {"held"}, "the kernel has ended the other one")
        until(lambda: not links(aside), "it is let go, and ends")
    finally:
        kokofast("destroy", "--name", other)
