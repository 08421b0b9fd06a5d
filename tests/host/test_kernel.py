"""Many namespaces with few descriptors."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from kokofast.host import libc, pool
from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.host.namespaces import identity, named, open_namespace
from kokofast.wire.link import RTM_GETLINK, RTM_SETLINK
from kokofast.wire.message import Request
from tests import ROOT
from tests.conftest import NamespaceFactory, ip
from tests.host.helpers import descriptors, nothing_leaks, open_namespaces, own_namespace  # noqa: F401
from tests.kernel.conftest import until

ALIAS = "kokofast:lab:namespace"
LINKS = Request(RTM_GETLINK, {})


def opened(kernel: LinuxKernel, names: Sequence[str]) -> list[Handle]:
    handles: list[Handle] = []
    step = max(kernel.capacity // 2, 1)
    for start in range(0, len(names), step):
        for item in kernel.open_all([named(name) for name in names[start : start + step]]):
            assert isinstance(item, Handle), item
            handles.append(item)
    return handles


def made(kernel: LinuxKernel, names: Sequence[str]) -> list[Handle]:
    handles: list[Handle] = []
    step = max(kernel.capacity // 2, 1)
    for start in range(0, len(names), step):
        for item in kernel.make([(name, ALIAS) for name in names[start : start + step]]):
            assert isinstance(item, Handle), item
            handles.append(item)
    return handles


def loopback(kernel: LinuxKernel, handle: Handle) -> int:
    """The queue length of lo: asked in one namespace, told apart from the others by it."""
    with kernel.using([handle]):
        assert handle.fd is not None
        assert identity(handle.fd) == handle.identity
        (lo,) = [message for message in kernel.dump(handle, LINKS) if message.header["index"] == 1]
        txqlen = lo.attributes["txqlen"]
        assert isinstance(txqlen, int)
        return txqlen


def number(kernel: LinuxKernel, handles: Sequence[Handle]) -> None:
    """Gives lo of each namespace its own queue length."""
    for count, handle in enumerate(handles):
        with kernel.using([handle]):
            assert kernel.send(handle, [Request(RTM_SETLINK, {"index": 1}, {"txqlen": count})]) == [None]


def test_what_cannot_be_opened_stands_at_its_place(netns: NamespaceFactory) -> None:
    name = netns()
    kernel = LinuxKernel(budget=16)
    first, second, third, fourth = kernel.open_all([named(name), "/run/netns/no-such-name", "/dev/null", named(name)])
    assert isinstance(first, Handle)
    assert isinstance(fourth, Handle)
    assert isinstance(second, OSError)
    assert isinstance(third, OSError)
    assert (second.errno, third.errno) == (errno.ENOENT, errno.EINVAL)
    assert first.identity == fourth.identity
    kernel.close()
    assert kernel.open_all([]) == []


@pytest.mark.usefixtures("requires_root")
def test_one_that_may_not_be_entered_keeps_no_other_from_it(
    netns: NamespaceFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [netns() for _ in range(3)]
    denied = os.stat(named(names[1])).st_ino
    setns = libc.setns

    def refuse(fd: int, kind: int) -> None:
        if os.fstat(fd).st_ino == denied:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        setns(fd, kind)

    monkeypatch.setattr(libc, "setns", refuse)
    kernel = LinuxKernel(budget=16)
    before = len(descriptors())
    first, second, third = kernel.open_all([named(name) for name in names])
    assert isinstance(first, Handle)
    assert isinstance(second, PermissionError)
    assert isinstance(third, Handle)
    for handle in (first, third):
        with kernel.using([handle]):
            assert kernel.dump(handle, LINKS)
    assert len(descriptors()) == before + 4
    kernel.close()


def test_two_hundred_with_sixteen_descriptors(netns: NamespaceFactory) -> None:
    names = [netns.reserve() for _ in range(200)]
    kernel = LinuxKernel(budget=16)
    before = len(descriptors())
    handles = made(kernel, names)
    number(kernel, handles)
    assert len(descriptors()) <= before + 16
    order = list(range(200))
    random.Random(1).shuffle(order)
    assert [loopback(kernel, handles[count]) for count in order] == order
    again = opened(kernel, names)
    assert [handle.identity for handle in again] == [handle.identity for handle in handles]
    assert len(descriptors()) <= before + 16
    for name, handle in zip(names, handles, strict=True):
        kernel.remove(name, handle.identity)
    kernel.close()


def test_two_hundred_where_a_process_may_open_sixty_four(netns: NamespaceFactory) -> None:
    names = [netns.reserve() for _ in range(200)]
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from kokofast.host import libc
from kokofast.host.kernel import Handle, LinuxKernel
from tests.host.test_kernel import loopback, made, number
kernel = LinuxKernel()
handles = made(kernel, sys.argv[1:])
number(kernel, handles)
print([loopback(kernel, handle) for handle in handles] == list(range(len(handles))))
for name, handle in zip(sys.argv[1:], handles, strict=True):
    kernel.remove(name, handle.identity)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_using_opens_again_what_was_closed(netns: NamespaceFactory) -> None:
    names = [netns() for _ in range(12)]
    kernel = LinuxKernel(budget=16)
    handles = opened(kernel, names)
    number(kernel, handles)
    closed = [handle for handle in handles if handle.fd is None]
    assert len(closed) >= 4
    assert open_namespaces() <= 8
    assert [loopback(kernel, handle) for handle in handles] == list(range(12))
    kernel.close()
    assert all(handle.fd is None and handle.socket is None for handle in handles)
    # Also after close() a handle can be used; it is opened again.
    assert loopback(kernel, handles[3]) == 3
    kernel.close()


def test_a_second_pass_opens_few_again(netns: NamespaceFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each would be closed just before its use, as it was not used for the longest time."""
    kernel = LinuxKernel(budget=24)
    handles = opened(kernel, [netns() for _ in range(16)])
    again: list[str] = []
    open_again = pool._open_again

    def count(handle: Handle, processes: dict[tuple[int, int], int]) -> int:
        again.append(handle.path)
        return open_again(handle, processes)

    monkeypatch.setattr(pool, "_open_again", count)
    for _ in range(3):
        kernel.rewind()
        number(kernel, handles)
    assert len(again) <= 3 * 2 * 4  # four do not fit; without rewind() it is all 16 each time
    assert open_namespaces() <= 12
    kernel.close()


def test_the_same_handle_twice_and_one_in_another(netns: NamespaceFactory) -> None:
    kernel = LinuxKernel(budget=16)
    (handle,) = opened(kernel, [netns()])
    with kernel.using([handle, handle]):
        with kernel.using([handle]):
            pass
        kernel.forget(handle)  # in use: stays
        assert kernel.send(handle, [Request(RTM_SETLINK, {"index": 1}, {"txqlen": 5})]) == [None]
    kernel.forget(handle)
    assert handle.fd is None
    kernel.forget(handle)
    kernel.close()


def test_a_name_that_leads_elsewhere_by_now(netns: NamespaceFactory) -> None:
    name, other = netns(), netns()
    kernel = LinuxKernel(budget=16)
    handle, kept = opened(kernel, [name, other])
    kernel.close()
    for reused in (False, True):
        ip(None, "netns", "delete", name)
        ip(None, "netns", "add", name)
        if reused:
            # The kernel gives a new namespace the lowest inode number that is free, often the old one's.
            status = os.stat(named(name))
            handle.identity = status.st_dev, status.st_ino
        with pytest.raises(OSError, match="leads to another") as caught, kernel.using([kept, handle]):
            pytest.fail("this is not the namespace that was opened")
        assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, named(name))
        assert handle.users == kept.users == 0
    ip(None, "netns", "delete", name)
    with pytest.raises(FileNotFoundError), kernel.using([handle]):
        pytest.fail("there is no such namespace")
    # One that failed does not keep others from being used.
    with kernel.using([kept]):
        assert kernel.dump(kept, LINKS)
    kernel.close()


def test_a_process_that_has_ended_and_another_one_in_its_namespace(netns: NamespaceFactory) -> None:
    name = netns()
    command = ["ip", "netns", "exec", name, "sleep", "60"]
    with subprocess.Popen(command) as first, subprocess.Popen(command) as second:
        kernel = LinuxKernel(budget=16)
        try:
            path = f"/proc/{first.pid}/ns/net"
            for one in (first, second):
                until(partial(os.path.samefile, named(name), f"/proc/{one.pid}/ns/net"), "it is in there")
            (handle,) = kernel.open_all([path])
            assert isinstance(handle, Handle)
            kernel.close()  # as where descriptors are short
            first.kill()
            first.wait()
            with kernel.using([handle]):
                assert kernel.send(handle, [Request(RTM_SETLINK, {"index": 1}, {"txqlen": 5})]) == [None]
            kernel.close()
            second.kill()
            second.wait()
            with pytest.raises(FileNotFoundError), kernel.using([handle]):
                pytest.fail("no process lives in it")
        finally:
            first.kill()
            second.kill()
            kernel.close()


def test_after_a_failure_the_budget_is_what_it_was(netns: NamespaceFactory) -> None:
    names = [netns() for _ in range(3)]
    kernel = LinuxKernel(budget=16)
    handles = opened(kernel, names)
    for _ in range(20):
        kernel.open_all(["/run/netns/no-such-name"] * 3)
        kernel.make([(names[0], ALIAS)])  # taken
    # Nothing of that counts as open: the three are still held.
    assert all(handle.fd is not None for handle in handles)
    kernel.close()


def test_two_that_open_at_once_do_not_both_take_the_last(
    netns: NamespaceFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = LinuxKernel(budget=16)
    before = open_namespaces()
    handles = opened(kernel, [netns() for _ in range(4)])
    kernel.close()
    idle = opened(kernel, [netns() for _ in range(6)])
    assert open_namespaces() == before + 6
    meeting = threading.Barrier(2, timeout=60)

    def meet(path: str) -> int:
        meeting.wait()  # both have looked how much room there is, neither has taken it
        return open_namespace(path)

    monkeypatch.setattr("kokofast.host.pool.open_namespace", meet)
    most: list[int] = []

    def work(mine: Sequence[Handle]) -> None:
        with kernel.using(mine):
            meeting.wait()
            most.append(open_namespaces() - before)
            meeting.wait()

    workers = [threading.Thread(target=work, args=(handles[start : start + 2],)) for start in (0, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [8, 8]
    assert sum(handle.fd is None for handle in idle) == 2
    kernel.close()


@pytest.mark.parametrize("budget", [8, 16])
def test_many_threads_and_few_descriptors(netns: NamespaceFactory, budget: int) -> None:
    names = [netns() for _ in range(10)]
    kernel = LinuxKernel(budget=budget)
    handles = opened(kernel, names)
    number(kernel, handles)
    threads = 3
    share = max(kernel.capacity // threads, 1)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(120):
                chosen = chance.sample(range(10), share)
                with kernel.using([handles[count] for count in chosen]):
                    for count in chosen:
                        assert loopback(kernel, handles[count]) == count
                        assert handles[count].users > 0
                if chance.random() < 0.1:
                    kernel.forget(handles[chance.randrange(10)])
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures, failures
    assert 2 * sum(handle.fd is not None for handle in handles) <= budget
    assert all(handle.users == 0 for handle in handles)
    kernel.close()


def test_the_scratch_namespace_is_empty_and_our_own(requires_root: None) -> None:
    kernel = LinuxKernel(budget=16)
    scratch = kernel.scratch()
    assert scratch is kernel.scratch()
    assert scratch.fd is not None
    assert os.readlink(f"/proc/self/fd/{scratch.fd}") != own_namespace()
    assert {message.header["index"] for message in kernel.dump(scratch, LINKS)} >= {1}
    kernel.close()
    kernel.close()


def test_a_sysctl_through_a_handle(netns: NamespaceFactory) -> None:
    name = netns()
    kernel = LinuxKernel(budget=16)
    (handle,) = opened(kernel, [name])
    with kernel.using([handle]):
        kernel.write_sysctl(handle, "ipv4/ip_forward", "1")
    kernel.close()
    assert ip(None, "netns", "exec", name, "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"


def test_the_boot_has_a_name() -> None:
    assert LinuxKernel(budget=16).boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize("budget", [0, 2, 8, 16, 1000])
def test_the_capacity_leaves_room_for_the_scratch_namespace(budget: int) -> None:
    capacity = LinuxKernel(budget=budget).capacity
    assert capacity >= 2
    assert (capacity + 1) * 2 <= max(budget, 6)
