"""Sysctls of a network namespace."""

from __future__ import annotations

import os

from kokofast.host import libc
from kokofast.host.threads import in_own_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SYSCTL_BYTES = 4096  # more than any value that people write


def write_sysctl(namespace: int, path: str, value: str) -> str:
    """Write /proc/sys/net/PATH of a namespace, unless it has the value, and return the value before.

    The file is that of the namespace of the thread that opens it. Most of those that matter to all interfaces are
    written under the rtnl lock, which the kernel only tries to take: it repeats the system call until the lock is free
    (restart_syscall()), and others that wait in turn come first. Raises OSError.
    """

    def job() -> str:
        libc.setns(namespace, libc.CLONE_NEWNET)
        fd = os.open(f"/proc/sys/net/{path}", os.O_RDWR | os.O_CLOEXEC)
        try:
            before = os.read(fd, SYSCTL_BYTES).decode().strip()
            if before.split() != value.split():
                os.pwrite(fd, value.encode(), 0)
        finally:
            os.close(fd)
        return before

    return in_own_thread(job)


def read_sysctls(namespace: int, paths: Iterable[str]) -> dict[str, str]:
    """Return what is in /proc/sys/net/PATH of a namespace, of those that can be read."""

    def job() -> dict[str, str]:
        libc.setns(namespace, libc.CLONE_NEWNET)
        return _read_sysctls(paths)

    return in_own_thread(job)


def read_sysctl_everywhere(namespace: int, family: str, key: str) -> dict[str, str]:
    """Return what is in /proc/sys/net/FAMILY/conf/NAME/KEY of a namespace, for the default and all interfaces."""

    def job() -> dict[str, str]:
        libc.setns(namespace, libc.CLONE_NEWNET)
        names = sorted(os.listdir(f"/proc/sys/net/{family}/conf"))
        return _read_sysctls(f"{family}/conf/{name}/{key}" for name in names if name != "all")

    return in_own_thread(job)


def _read_sysctls(paths: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        try:
            fd = os.open(f"/proc/sys/net/{path}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            found[path] = os.read(fd, SYSCTL_BYTES).decode(errors="replace").strip()
        except OSError:
            pass
        finally:
            os.close(fd)
    return found
