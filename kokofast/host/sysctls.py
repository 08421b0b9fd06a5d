"""Sysctls of a network namespace."""

from __future__ import annotations

import _thread
import os

from kokofast.host import libc
from kokofast.host.threads import in_own_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

SYSCTL_BYTES = 4096  # more than any value that people write
NAMESPACES_A_PROCFS = 64  # measured: 16 to 64 take the same time, 256 takes half as much again


class Sysctls:
    """The files below /proc/sys/net of any network namespace: those of the namespace of the thread that opens them.

    In a procfs the entries of all namespaces have the same folder and name, such as net/ipv6. So they are in one chain
    of the kernel's hash table of names, and each look for one walks through those of all namespaces that were looked at
    (__d_lookup(), proc_sys_compare()). So this has a procfs of its own, mounted nowhere, and a new one for every few
    namespaces. Where it may not have one, it uses that at /proc.
    """

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._procfs: int | None = None
        self._left: float = 0  # namespaces that this procfs is for, besides those that have used it

    def close(self) -> None:
        """Close the procfs. It is opened again when it is needed."""
        with self._lock:
            self._close()

    def run(self, namespaces: Sequence[int], job: Callable[[int, NetSysctls], T]) -> list[T | OSError]:
        """Call job with the place and the sysctls of each namespace, in one thread, which is in that namespace then.

        Returns what it returned, or the OSError that it or the entry into the namespace has raised. Raises OSError
        EAGAIN or ENOMEM when no thread can be started.
        """

        def inside(place: int, namespace: int) -> T | OSError:
            try:
                libc.setns(namespace, libc.CLONE_NEWNET)
                net = self._open()
                try:
                    return job(place, NetSysctls(net))
                finally:
                    os.close(net)
            except OSError as error:
                return error

        return in_own_thread(lambda: [inside(place, namespace) for place, namespace in enumerate(namespaces)])

    def _open(self) -> int:
        with self._lock:
            if not self._left:
                self._close()
                self._procfs, self._left = _open_procfs()
            self._left -= 1
            return os.open("sys/net", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._procfs)

    def _close(self) -> None:
        if self._procfs is not None:
            os.close(self._procfs)
        self._procfs, self._left = None, 0


def _open_procfs() -> tuple[int, float]:
    """Return a procfs, and for how many namespaces it is."""
    # Where /proc/sys/net may not be written, somebody wants it so.
    if not os.statvfs("/proc/sys/net").f_flag & os.ST_RDONLY:
        try:
            return libc.new_mount("proc"), NAMESPACES_A_PROCFS
        except OSError:  # before Linux 5.2, or in a user namespace, or a filter of system calls forbids it
            pass
    return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), float("inf")


class NetSysctls:
    """The sysctls of the namespace that the thread is in. net is a descriptor of /proc/sys/net."""

    __slots__ = ("_net",)

    def __init__(self, net: int) -> None:
        self._net = net

    def write(self, path: str, value: str) -> str:
        """Write a sysctl, unless it has the value, and return the value before.

        Most of those that matter to all interfaces are written under the rtnl lock, which the kernel only tries to
        take: it repeats the system call until the lock is free (restart_syscall()), and others that wait in turn come
        first. Raises OSError.
        """
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._net)
        try:
            before = os.read(fd, SYSCTL_BYTES).decode().strip()
            if before.split() != value.split():
                os.pwrite(fd, value.encode(), 0)
        finally:
            os.close(fd)
        return before

    def read(self, paths: Iterable[str]) -> dict[str, str]:
        """Return the values of those that can be read."""
        found: dict[str, str] = {}
        for path in paths:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._net)
            except OSError:
                continue
            try:
                found[path] = os.read(fd, SYSCTL_BYTES).decode(errors="replace").strip()
            except OSError:
                pass
            finally:
                os.close(fd)
        return found

    def read_everywhere(self, family: str, key: str) -> dict[str, str]:
        """Return FAMILY/conf/NAME/KEY of the default and of all interfaces, by path. Raises OSError."""
        folder = os.open(f"{family}/conf", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._net)
        try:
            names = sorted(os.listdir(folder))
        finally:
            os.close(folder)
        return self.read(f"{family}/conf/{name}/{key}" for name in names if name != "all")
