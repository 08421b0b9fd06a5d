"""Sysctls are read and written in the given network namespace, through a procfs that is mounted nowhere."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kokofast.host import libc, sysctls
from kokofast.host.namespaces import named, open_namespace
from kokofast.host.sysctls import Sysctls
from tests.conftest import NamespaceFactory, ip
from tests.host.helpers import nothing_leaks, read_sysctls, with_sysctls, write_sysctl  # noqa: F401

pytestmark = pytest.mark.usefixtures("requires_root", "nothing_leaks")

TTL = "ipv4/ip_default_ttl"


def test_a_sysctl_is_written_in_its_namespace_only(netns: NamespaceFactory) -> None:
    name = netns()
    fd = open_namespace(named(name))
    mine = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    wanted = "0" if mine.strip() == "1" else "1"
    write_sysctl(fd, "ipv4/ip_forward", wanted)
    with pytest.raises(FileNotFoundError):
        write_sysctl(fd, "ipv4/conf/nosuch/forwarding", "1")
    os.close(fd)
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == mine
    assert ip(None, "netns", "exec", name, "cat", "/proc/sys/net/ipv4/ip_forward").strip() == wanted


def test_a_value_that_is_there_is_not_written_again(netns: NamespaceFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most writes need the rtnl lock, which the kernel tries to take again and again."""
    fd = open_namespace(named(netns()))
    write_sysctl(fd, "ipv6/conf/all/disable_ipv6", "0")
    written: list[bytes] = []
    pwrite = os.pwrite

    def write(file: int, value: bytes, offset: int) -> int:
        written.append(value)
        return pwrite(file, value, offset)

    monkeypatch.setattr(os, "pwrite", write)
    assert write_sysctl(fd, "ipv6/conf/all/disable_ipv6", "0") == "0"
    memory = read_sysctls(fd, ["ipv4/tcp_rmem"])["ipv4/tcp_rmem"]
    assert write_sysctl(fd, "ipv4/tcp_rmem", memory.replace("\t", " ")) == memory
    assert written == []
    assert write_sysctl(fd, "ipv6/conf/all/disable_ipv6", "1") == "0"
    assert write_sysctl(fd, "ipv6/conf/default/disable_ipv6", "1") == "1"  # set with that for all
    assert written == [b"1"]
    os.close(fd)


def test_a_sysctl_of_all_interfaces(netns: NamespaceFactory) -> None:
    name = netns()
    fd = open_namespace(named(name))
    ip(name, "link", "add", "e0", "type", "veth", "peer", "name", "e1")
    for path in ("all", "e1"):
        write_sysctl(fd, f"ipv4/conf/{path}/forwarding", {"all": "0", "e1": "1"}[path])
    found = with_sysctls(fd, lambda net: net.read_everywhere("ipv4", "forwarding"))
    assert found == {f"ipv4/conf/{name}/forwarding": str(int(name == "e1")) for name in ("default", "e0", "e1", "lo")}
    os.close(fd)


@pytest.fixture
def three(netns: NamespaceFactory) -> Iterator[list[int]]:
    """Three namespaces that differ in a sysctl."""
    fds = [open_namespace(named(netns())) for _ in range(3)]
    for number, fd in enumerate(fds):
        write_sysctl(fd, TTL, str(70 + number))
    yield fds
    for fd in fds:
        os.close(fd)


def ttls(fds: list[int], files: Sysctls) -> list[object]:
    return [
        found if isinstance(found, OSError) else found[TTL] for found in files.run(fds, lambda _, net: net.read([TTL]))
    ]


def test_a_new_procfs_for_every_few_namespaces(three: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel looks for a name of a namespace among those of all namespaces that the procfs was asked for."""
    monkeypatch.setattr(sysctls, "NAMESPACES_A_PROCFS", 2)
    made: list[int] = []
    new_mount = libc.new_mount

    def count(fstype: str) -> int:
        made.append(new_mount(fstype))
        return made[-1]

    monkeypatch.setattr(libc, "new_mount", count)
    mounts = Path("/proc/self/mountinfo").read_text()
    with contextlib.closing(Sysctls()) as files:
        assert ttls(three, files) == ["70", "71", "72"]
        assert len(made) == 2
        assert ttls(three, files) == ["70", "71", "72"]
        assert len(made) == 3
        assert Path("/proc/self/mountinfo").read_text() == mounts
        files.close()
        assert ttls(three, files) == ["70", "71", "72"]


@pytest.mark.parametrize("refusal", [errno.ENOSYS, errno.EPERM])
def test_without_a_procfs_of_its_own(three: list[int], refusal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 5.2 has no fsopen(2); in a container it is often forbidden."""
    asked: list[str] = []

    def refuse(fstype: str) -> int:
        asked.append(fstype)
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(libc, "new_mount", refuse)
    with contextlib.closing(Sysctls()) as files:
        assert ttls(three, files) == ["70", "71", "72"]
        assert ttls(three, files) == ["70", "71", "72"]
    assert asked == ["proc"]


def test_a_namespace_that_cannot_be_entered_is_told_alone(three: list[int]) -> None:
    with contextlib.closing(Sysctls()) as files, open("/dev/null", "rb") as nothing:
        first, refusal, last = ttls([three[0], nothing.fileno(), three[2]], files)
    assert (first, last) == ("70", "72")
    assert isinstance(refusal, OSError)
    assert refusal.errno == errno.EINVAL


def test_sysctls_that_somebody_protected_stay_protected(netns: NamespaceFactory) -> None:
    """/proc/sys is mounted read-only in most containers. A procfs of our own would not be."""
    name = netns()
    program = f"""
import contextlib, json
from kokofast.host.namespaces import named, open_namespace
from kokofast.host.sysctls import Sysctls
with contextlib.closing(Sysctls()) as files:
    (refusal,) = files.run([open_namespace({named(name)!r})], lambda _, net: net.write({TTL!r}, "33"))
print(json.dumps(refusal.errno))
"""
    protect = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", protect, "sh", sys.executable, "-c", program]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert json.loads(answer.stdout) == errno.EROFS
    assert ip(None, "netns", "exec", name, "cat", f"/proc/sys/net/{TTL}").strip() == "64"
