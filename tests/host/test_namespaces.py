"""Namespaces by path and by name: opened without surprise, made and removed as ip-netns(8) does."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from kokofast.host import libc, namespaces
from kokofast.host.kernel import LinuxKernel
from kokofast.host.namespaces import (
    NewNamespace,
    check_name,
    claimed,
    identity,
    list_named,
    list_processes,
    named,
    open_namespace,
    open_sockets,
)
from kokofast.host.netlink import Socket
from kokofast.host.netns_dir import make_namespaces, prepare_directory, remove_namespace
from kokofast.host.threads import in_own_thread
from kokofast.wire.link import RTM_SETLINK
from kokofast.wire.message import KernelError, Request
from tests.conftest import NamespaceFactory, ip, ip_json
from tests.host.helpers import descriptors, nothing_leaks, own_namespace  # noqa: F401

CLAIM = "kokofast:lab:namespace"


def mark_nothing(socket: Socket, claim: str) -> None:
    pass


def identity_of(path: str) -> tuple[int, int]:
    fd = open_namespace(path)
    try:
        return identity(fd)
    finally:
        os.close(fd)


def leave(name: str, content: str) -> Path:
    """A file under a name, as a run leaves it that is killed between its claim and the mount."""
    prepare_directory()
    path = Path(named(name))
    path.write_text(content)
    path.chmod(0o444)
    return path


def make(*jobs: tuple[str, str]) -> list[OSError | KernelError | None]:
    """Makes namespaces and closes what came of it: None, or why not, of each."""
    prepare_directory()
    results: list[OSError | KernelError | None] = []
    for item in make_namespaces(jobs, mark_nothing):
        if isinstance(item, NewNamespace):
            os.close(item.fd)
            item.socket.close()
            results.append(None)
        else:
            results.append(item)
    return results


# -- opening


def test_a_namespace_is_itself_by_every_name(netns: NamespaceFactory, tmp_path: Path) -> None:
    name = netns()
    (tmp_path / "link").symlink_to(named(name))
    found = identity_of(named(name))
    assert identity_of(str(tmp_path / "link")) == found
    assert identity_of(named(netns())) != found
    assert identity_of("/proc/self/ns/net") == identity_of(f"/proc/{os.getpid()}/ns/net")
    status = os.stat(named(name))
    assert found == (status.st_dev, status.st_ino)


@pytest.mark.parametrize("kind", ["directory", "file", "device", "socket", "mnt", "user", "proc"])
def test_what_is_no_network_namespace_is_refused(kind: str, tmp_path: Path) -> None:
    path = {
        "directory": "/run",
        "device": "/dev/zero",
        "mnt": "/proc/self/ns/mnt",
        "user": "/proc/self/ns/user",
        "proc": "/proc/self/status",
    }.get(kind, str(tmp_path / kind))
    if kind == "file":
        Path(path).write_text("")
    if kind == "socket":
        os.mknod(path, 0o140600)
    with pytest.raises(OSError, match="not a network namespace") as caught:
        open_namespace(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, path)


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    refused: list[int | None] = []

    def attempt() -> None:
        try:
            open_namespace(str(tmp_path / "fifo"))
        except OSError as error:
            refused.append(error.errno)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(30)
    assert refused == [errno.EINVAL]


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, code in (("dangling", errno.ENOENT), ("nothing", errno.ENOENT), ("loop", errno.ELOOP)):
        with pytest.raises(OSError, match=name) as caught:
            open_namespace(str(tmp_path / name))
        assert caught.value.errno == code


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0b", "x" * 256, "é" * 128])
def test_a_name_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        check_name(name)
    with pytest.raises(ValueError, match="cannot be the name"):
        remove_namespace(name, None)


# -- sockets


def test_open_sockets_leaves_the_thread_where_it_is(netns: NamespaceFactory) -> None:
    fds = [open_namespace(named(netns())) for _ in range(3)]
    before = own_namespace()
    sockets = open_sockets(fds)
    assert own_namespace() == before
    assert len({socket.namespace_cookie() for socket in sockets}) == 3
    for socket in sockets:
        socket.close()
    open_files = len(descriptors())
    with Path("/proc/self/ns/mnt").open() as wrong, pytest.raises(OSError, match="Invalid argument"):
        open_sockets([*fds, wrong.fileno()])
    with pytest.raises(OSError, match="Bad file descriptor"):
        open_sockets([fds[0], 1 << 20])
    assert own_namespace() == before
    assert len(descriptors()) == open_files
    for fd in fds:
        os.close(fd)


def test_a_job_in_its_own_thread_changes_nothing_here(netns: NamespaceFactory) -> None:
    fd = open_namespace(named(netns()))
    before = own_namespace()

    def job() -> str:
        libc.setns(fd, libc.CLONE_NEWNET)
        return own_namespace()

    def failing() -> None:
        job()
        raise KeyError("of the job")

    assert in_own_thread(job) != before
    with pytest.raises(KeyError, match="of the job"):
        in_own_thread(failing)
    assert own_namespace() == before
    os.close(fd)


# -- making


def test_ip_netns_sees_what_we_make(netns: NamespaceFactory) -> None:
    names = [netns.reserve("ours") for _ in range(3)]
    kernel = LinuxKernel(budget=64)
    handles = kernel.make([(name, f"kokofast:lab-{name}:namespace") for name in names])
    kernel.close()
    assert len(handles) == 3
    listed = {line.split()[0] for line in ip(None, "netns", "list").splitlines()}
    assert set(names) <= listed
    assert set(names) <= set(list_named())
    inodes = set()
    for name in names:
        (lo,) = ip_json(name, "link", "show", "lo")
        assert "UP" in lo["flags"]
        assert lo["ifalias"] == f"kokofast:lab-{name}:namespace"
        assert "lo" in ip(None, "netns", "exec", name, "ip", "link", "show")
        inodes.add(identity_of(named(name)))
    assert len(inodes) == 3


def test_the_mark_is_there_before_the_name(netns: NamespaceFactory) -> None:
    name = netns.reserve()
    seen: list[bool] = []

    def mark(socket: Socket, claim: str) -> None:
        seen.append(os.path.exists(named(name)))
        assert claim == CLAIM

    prepare_directory()
    (made,) = make_namespaces([(name, CLAIM)], mark)
    assert isinstance(made, NewNamespace)
    os.close(made.fd)
    made.socket.close()
    assert seen == [False]


def test_a_namespace_that_cannot_be_marked_gets_no_name(netns: NamespaceFactory) -> None:
    names = [netns.reserve() for _ in range(3)]

    def mark(socket: Socket, claim: str) -> None:
        (refusal,) = socket.send([Request(RTM_SETLINK, {"index": int(claim)}, {"txqlen": 5})])
        if refusal is not None:
            raise refusal

    prepare_directory()
    good, bad, other = make_namespaces(list(zip(names, ["1", "999", "1"], strict=True)), mark)
    assert isinstance(bad, KernelError)
    assert bad.errno == errno.ENODEV
    for item in (good, other):
        assert isinstance(item, NewNamespace)
        os.close(item.fd)
        item.socket.close()
    assert [os.path.exists(named(name)) for name in names] == [True, False, True]


def test_a_name_that_is_taken_stays_what_it_is(netns: NamespaceFactory, tmp_path: Path) -> None:
    taken, file, link, free = netns(), netns.reserve(), netns.reserve(), netns.reserve()
    before = identity_of(named(taken))
    path = leave(file, "somebody's notes")
    os.symlink(tmp_path / "nothing", named(link))
    try:
        results = make((taken, CLAIM), (file, CLAIM), (link, CLAIM), (free, CLAIM))
        assert [item and item.errno for item in results] == [errno.EEXIST] * 3 + [None]
        assert identity_of(named(taken)) == before
        assert path.read_text() == "somebody's notes"
        assert os.readlink(named(link)) == str(tmp_path / "nothing")
        assert not (tmp_path / "nothing").exists()
    finally:
        path.unlink()
        os.unlink(named(link))


def test_a_leftover_of_ours_is_taken_over(netns: NamespaceFactory) -> None:
    name = netns.reserve()
    leave(name, CLAIM)
    assert claimed(named(name)) == CLAIM
    with pytest.raises(OSError, match="not a network namespace"):
        open_namespace(named(name))
    assert make((name, CLAIM)) == [None]
    assert claimed(named(name)) is None
    ip(name, "link", "show", "lo")


@pytest.mark.parametrize("content", ["kokofast:other:namespace", "kokofast:lab:namespace2", "", "x" * 5000])
def test_a_leftover_of_another_is_not(netns: NamespaceFactory, content: str) -> None:
    name = netns.reserve()
    path = leave(name, content)
    try:
        (refusal,) = make((name, CLAIM))
        assert refusal is not None
        assert refusal.errno == errno.EEXIST
        assert path.read_text() == content
    finally:
        path.unlink()


def test_a_claim_is_a_plain_file_with_our_words(tmp_path: Path) -> None:
    (tmp_path / "ours").write_text(CLAIM)
    (tmp_path / "other").write_text("other")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    os.mkfifo(tmp_path / "fifo")
    found = {path.name: claimed(str(path)) for path in tmp_path.iterdir()}
    assert found == {"ours": CLAIM, "other": None, "binary": None, "link": None, "fifo": None}
    assert claimed(str(tmp_path / "nothing")) is None
    assert claimed("/proc/self/ns/net") is None
    assert claimed(str(tmp_path)) is None


def test_when_the_mount_fails_the_name_goes(netns: NamespaceFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    name = netns.reserve()
    prepare_directory()

    def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
        raise PermissionError(errno.EPERM, "not today", target)

    monkeypatch.setattr(libc, "mount", mount)
    (refusal,) = make_namespaces([(name, CLAIM)], mark_nothing)
    assert isinstance(refusal, PermissionError)
    assert not os.path.exists(named(name))


def test_preparing_the_directory_again_adds_no_mount(requires_root: None) -> None:
    prepare_directory()
    before = Path("/proc/self/mountinfo").read_text().count(" /run/netns ")
    prepare_directory()
    assert Path("/proc/self/mountinfo").read_text().count(" /run/netns ") == before >= 1


# -- removing


def test_ip_netns_removes_ours_and_we_remove_its(netns: NamespaceFactory) -> None:
    ours, theirs = netns.reserve("ours"), netns("theirs")
    assert make((ours, CLAIM)) == [None]
    ip(None, "netns", "delete", ours)
    assert not os.path.lexists(named(ours))
    remove_namespace(theirs, identity_of(named(theirs)))
    assert not os.path.lexists(named(theirs))
    assert theirs not in Path("/proc/self/mountinfo").read_text()


def test_a_name_that_is_gone_is_what_was_wanted(netns: NamespaceFactory) -> None:
    name = netns.reserve()
    remove_namespace(name, (4, 4711))
    remove_namespace(name, None)


def test_another_namespace_under_the_name_stays(netns: NamespaceFactory) -> None:
    name, other = netns(), netns()
    before = identity_of(named(name))
    with pytest.raises(OSError, match="another namespace") as caught:
        remove_namespace(name, identity_of(named(other)))
    assert caught.value.errno == errno.ESTALE
    assert identity_of(named(name)) == before


def test_only_claims_are_removed_as_leftovers(netns: NamespaceFactory) -> None:
    leftover, file, namespace = netns.reserve(), netns.reserve(), netns()
    leave(leftover, CLAIM)
    path = leave(file, "somebody's notes")
    try:
        for name in (leftover, file, namespace):
            remove_namespace(name, None)
        assert [os.path.exists(named(name)) for name in (leftover, file, namespace)] == [False, True, True]
        with pytest.raises(OSError, match="not a network namespace"):
            remove_namespace(file, (4, 4711))
        assert path.read_text() == "somebody's notes"
    finally:
        path.unlink()


def test_a_namespace_that_someone_holds_only_loses_its_name(netns: NamespaceFactory) -> None:
    name = netns()
    fd = open_namespace(named(name))
    remove_namespace(name, identity(fd))
    assert not os.path.lexists(named(name))
    (socket,) = open_sockets([fd])
    assert socket.send([Request(RTM_SETLINK, {"index": 1}, {"txqlen": 5})]) == [None]
    socket.close()
    os.close(fd)


# -- listing


def test_processes_are_found_by_their_namespace(netns: NamespaceFactory) -> None:
    name = netns()
    wanted = identity_of(named(name))
    command = ["ip", "netns", "exec", name, "sh", "-c", "echo ready; cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        found = list(list_processes())
        assert (process.pid, wanted) in found
        assert len({key for _, key in found}) == len(found)
        assert identity_of("/proc/self/ns/net") in {key for _, key in found}
        process.communicate()
    assert wanted not in {key for _, key in list_processes()}


def test_no_directory_no_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(namespaces, "NETNS_DIR", str(tmp_path / "nothing"))
    assert list_named() == {}
    (tmp_path / "nothing").mkdir()
    for name in "cab":
        (tmp_path / "nothing" / name).touch()
    (tmp_path / "nothing" / "aa").symlink_to("c")
    assert list(list_named().items()) == [("a", False), ("b", False), ("c", False), ("aa", True)]
