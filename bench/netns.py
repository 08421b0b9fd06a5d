"""Network namespaces for the benchmark: made fast, watched until the kernel has really removed them.

Independent of kokofast on purpose: a benchmark must not find its subject right by the subject's own code.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

DIRECTORY = Path("/run/netns")
REMOVAL_TIMEOUT = 900.0  # 10,000 namespaces with links take a minute; a hub of 10,000 keeps the rtnl lock longer still

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 0x2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def enter(name: str) -> None:
    """Move the calling thread into a namespace. Only for the threads of for_each(), which end afterwards."""
    descriptor = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, _CLONE_NEWNET), f"setns {name}")
    finally:
        os.close(descriptor)


def for_each(count: int, job: Callable[[int], None], threads: int = 2) -> None:
    """Call job(0) to job(count - 1) in threads, and wait until they have ended.

    Raises the first exception of a job, when all threads have ended.
    """
    errors: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for number in range(start, count, threads):
                if errors:
                    return
                job(number)
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(start,)) for start in range(threads)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    except BaseException as interruption:  # Ctrl-C: nothing may be made any more while the caller cleans up
        errors.insert(0, interruption)
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    if errors:
        raise errors[0]


def socket_in(
    name: str, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM, protocol: int = 0
) -> socket.socket:
    """Open a socket in a namespace. It stays there whichever thread uses it."""
    made: list[socket.socket] = []

    def make(_: int) -> None:
        enter(name)
        made.append(socket.socket(family, kind, protocol))

    for_each(1, make, threads=1)
    return made[0]


def ip(*arguments: str) -> None:
    """Run ``ip``. Raises CalledProcessError when it fails; its message goes to standard error."""
    subprocess.run(["ip", *arguments], check=True, timeout=REMOVAL_TIMEOUT)


def remove_interfaces(name: str, prefix: str) -> None:
    """Delete the interfaces of a namespace whose names have this prefix."""

    def remove(_: int) -> None:
        enter(name)
        for interface in [one for _, one in socket.if_nameindex() if one.startswith(prefix)]:
            # The other end of one before may have been in here as well.
            subprocess.run(["ip", "link", "delete", interface], check=False, timeout=60, stderr=subprocess.DEVNULL)

    for_each(1, remove, threads=1)


class Namespaces:
    """Named namespaces that the benchmark makes. remove() touches no others."""

    def __init__(self, names: Sequence[str], watch: str) -> None:
        self._names = names
        self._watch = (f"{watch}w0", f"{watch}w1")
        self._made: set[str] = set()

    def make(self, only_watch: bool = False) -> None:
        """Make the namespaces.

        Args:
            only_watch: The contender makes them, and perhaps removes them; make only those that remove() watches.
        """
        for name in self._watch:
            # By ip, and first: it makes /run/netns a mount point of its own, as everybody expects it.
            self._made.add(name)  # before: Ctrl-C may come while ip is at work
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError:
                self._made.discard(name)
                raise
        if only_watch:
            self._made.update(self._names)
            return
        for_each(len(self._names), lambda number: self._make_one(self._names[number]))

    def _make_one(self, name: str) -> None:
        path = DIRECTORY / name
        path.touch(mode=0o444, exist_ok=False)
        self._made.add(name)
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        _check(_libc.mount(b"/proc/thread-self/ns/net", os.fsencode(path), None, _MS_BIND, None), f"mount {path}")

    def remove(self) -> None:
        """Remove what make() made, also after it failed half-way, and wait until the kernel has ended it.

        The kernel ends namespaces later, in batches, and would be busy with that during the next measurement. When a
        namespace ends, so do its links. The first one watched ends with the last batch. The second one is deleted only
        then, and ends with a later batch, which begins when the one before is complete.
        """
        watched = self._can_watch()
        for name in sorted(self._made - set(self._watch)):
            self._unlink(name)
        for name in self._watch:
            self._unlink(name)
            if watched:
                _wait_until_gone(name)

    def _can_watch(self) -> bool:
        try:
            for name in self._watch:
                if name not in self._made:
                    return False
                ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        except subprocess.CalledProcessError:
            return False
        return True

    def _unlink(self, name: str) -> None:
        if name not in self._made:
            return
        path = DIRECTORY / name
        _libc.umount2(os.fsencode(path), _MNT_DETACH)  # EINVAL when making it failed before the mount
        path.unlink(missing_ok=True)
        self._made.discard(name)


def _wait_until_gone(interface: str) -> None:
    deadline = time.monotonic() + REMOVAL_TIMEOUT
    while interface in {name for _, name in socket.if_nameindex()}:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the kernel has not removed {interface} after {REMOVAL_TIMEOUT:.0f} s")
        time.sleep(0.005)
