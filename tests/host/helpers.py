"""Helpers of the tests in this folder."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import pytest

from kokofast.host.sysctls import NetSysctls, Sysctls

T = TypeVar("T")


def with_sysctls(fd: int, job: Callable[[NetSysctls], T]) -> T:
    """Call job with the sysctls of one namespace."""
    with contextlib.closing(Sysctls()) as sysctls:
        (result,) = sysctls.run([fd], lambda _, net: job(net))
    if isinstance(result, OSError):
        raise result
    return result


def write_sysctl(fd: int, path: str, value: str) -> str:
    return with_sysctls(fd, lambda net: net.write(path, value))


def read_sysctls(fd: int, paths: Iterable[str]) -> dict[str, str]:
    return with_sysctls(fd, lambda net: net.read(paths))


def own_namespace() -> str:
    """The network namespace of the calling thread."""
    return os.readlink("/proc/thread-self/ns/net")


def descriptors() -> dict[str, str]:
    """This process's open descriptors and what they lead to; none of those that only wait to be collected, of a test
    before that failed on purpose, say."""
    gc.collect()
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed the directory
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def open_namespaces() -> int:
    """How many descriptors of namespaces this process has."""
    # Not by name: one that was opened by its path in /run/netns shows that path.
    nsfs = os.stat("/proc/self/ns/net").st_dev
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.stat(f"/proc/self/fd/{fd}").st_dev == nsfs
    return count


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """No descriptor stays open, and the thread is in its namespace still."""
    namespace, before = own_namespace(), len(descriptors())
    yield
    assert own_namespace() == namespace
    assert len(descriptors()) == before, descriptors()
