"""A pool of open network namespaces, within the limit on open files. Blocking and thread-safe.

A namespace takes two descriptors: its own, and a netlink socket in it. One that is not in use stays open until others
need its descriptors, and is opened again at its next use.
"""

from __future__ import annotations

import _thread
import errno
import os

from kokofast.host.namespaces import identity, list_processes, open_each, open_namespace, open_sockets
from kokofast.host.netlink import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from kokofast.host.watch import Remote

DESCRIPTORS_EACH = 2  # the namespace and a netlink socket in it
_NOWHERE = (errno.ENOENT, errno.ESRCH, errno.EINVAL)


class Handle:
    """A network namespace, which the pool may close between two uses.

    When it is opened again, identity (device, inode) and cookie show whether the path still leads to it. The inode
    alone does not: while it is closed the namespace may end, and a new one gets the lowest free number.
    """

    __slots__ = ("cookie", "fd", "identity", "lock", "path", "remote", "socket", "users")

    def __init__(self, path: str, identity: tuple[int, int], fd: int | None, socket: Socket | None = None) -> None:
        self.remote: Remote | None = None  # see LinuxKernel.outlived()
        self.path = path
        self.identity = identity
        self.cookie: int | None = None  # read when it is closed
        self.fd = fd
        self.socket = socket
        self.users = 0
        self.lock = _thread.allocate_lock()  # one exchange at a time on a socket

    def __repr__(self) -> str:
        return f"Handle({self.path})"


class Pool:
    """The namespaces that are open, within a budget of descriptors.

    Args:
        budget: How many descriptors may be open at a time; None raises the limit on open files and takes it.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.budget = _all_open_files() if budget is None else budget
        self._lock = _thread.allocate_lock()
        self._idle: dict[Handle, None] = {}  # those to be closed first: least recently used, but see rewind()
        self._open = 0

    @property
    def capacity(self) -> int:
        """Return how many namespaces all workers together may hold open at a time."""
        return max(self.budget // DESCRIPTORS_EACH - 1, 2)

    def expect(self, namespaces: int) -> None:
        """Make room for the descriptors of this many namespaces, if possible before there is a second thread."""
        from kokofast.host.limits import RESERVED, make_room

        make_room(min(namespaces * DESCRIPTORS_EACH, self.budget) + RESERVED - 1)

    def open_all(self, paths: Sequence[str]) -> list[Handle | OSError]:
        """Open namespaces by path. Their descriptors stay open while the budget allows."""
        self._reserve(len(paths))
        found: list[Handle | OSError] = []
        ready: list[Handle] = []
        try:
            for path in paths:
                try:
                    fd, found_there = _open(path)
                except OSError as error:
                    found.append(error)
                    continue
                found.append(Handle(path, found_there, fd))
            opened = [item for item in found if isinstance(item, Handle)]
            refused: dict[Handle, OSError] = {}
            for handle, socket in zip(opened, self._sockets(opened), strict=True):
                if isinstance(socket, OSError):
                    _close_fd(handle)
                    refused[handle] = socket
                else:
                    handle.socket = socket
                    ready.append(handle)
            found = [refused.get(item, item) if isinstance(item, Handle) else item for item in found]
        finally:
            self._settle(len(paths), ready)
        return found

    def _sockets(self, handles: Sequence[Handle]) -> list[Socket | OSError]:
        try:
            return open_each([handle.fd for handle in handles if handle.fd is not None], Socket) if handles else []
        except OSError as error:
            return [error] * len(handles)
        except BaseException:
            for handle in handles:
                _close_fd(handle)
            raise

    def using(self, handles: Sequence[Handle], *, to_ask: bool = True) -> AbstractContextManager[None]:
        """Return a context manager that holds these namespaces open, with to_ask also their sockets.

        Entering it raises OSError: ESTALE when a path leads to another namespace now.
        """
        return _Use(self, list(dict.fromkeys(handles)), to_ask)

    def rewind(self) -> None:
        """Close those first that were used last, as all are about to be used again in the same order.

        Otherwise, where the budget is a little short, each would be closed just before its use.
        """
        with self._lock:
            self._idle = dict.fromkeys(reversed(self._idle))

    def _take(self, handles: Sequence[Handle], to_ask: bool) -> None:
        with self._lock:
            for handle in handles:
                handle.users += 1
                self._idle.pop(handle, None)
        try:
            closed = [handle for handle in handles if handle.socket is None and handle.remote is None]
            if closed:
                self._reopen([handle for handle in closed if to_ask or handle.fd is None])
        except BaseException:
            self._give_back(handles)
            raise

    def _give_back(self, handles: Sequence[Handle]) -> None:
        with self._lock:
            for handle in handles:
                handle.users -= 1
                if handle.users == 0 and handle.fd is not None:
                    self._idle[handle] = None
            self._evict(0)

    def _reopen(self, closed: Sequence[Handle]) -> None:
        half = {handle: handle.fd for handle in closed if handle.fd is not None}  # see watch()
        for handle, socket in zip(half, open_sockets(half.values()) if half else (), strict=True):
            if handle.socket is None:
                handle.socket = socket
            else:  # another worker was faster
                socket.close()
        closed = [handle for handle in closed if handle.fd is None]
        if not closed:
            return
        self._reserve(len(closed))
        fds: list[int] = []
        sockets: list[Socket] = []
        try:
            processes: dict[tuple[int, int], int] = {}
            for handle in closed:
                fds.append(_open_again(handle, processes))
            sockets = open_sockets(fds)
            for handle, socket in zip(closed, sockets, strict=True):
                if socket.namespace_cookie() != handle.cookie:
                    raise _stale(handle)
        except BaseException:
            for fd in fds:
                os.close(fd)
            for socket in sockets:
                socket.close()
            with self._lock:
                self._open -= len(closed)
            raise
        with self._lock:
            for handle, fd, socket in zip(closed, fds, sockets, strict=True):
                if handle.socket is None:
                    handle.fd, handle.socket = fd, socket
                else:  # another worker was faster
                    os.close(fd)
                    socket.close()
                    self._open -= 1

    def _reserve(self, wanted: int) -> None:
        # Counted before opening: two workers must not both take the last descriptors.
        with self._lock:
            self._evict(wanted)
            self._open += wanted

    def _settle(self, reserved: int, ready: Sequence[Handle]) -> None:
        # Only these of the reserved ones were opened.
        with self._lock:
            self._open -= reserved - len(ready)
            self._idle.update(dict.fromkeys(ready))

    def _evict(self, wanted: int) -> None:
        # Called with the lock held. Namespaces in use stay open: workers take no more than their share of the capacity.
        while self._idle and (self._open + wanted) * DESCRIPTORS_EACH > self.budget:
            handle = next(iter(self._idle))
            del self._idle[handle]
            self._close(handle)

    def _close(self, handle: Handle) -> None:
        if handle.fd is not None:
            os.close(handle.fd)
        close_socket(handle)
        handle.fd = None
        self._open -= 1

    def forget(self, handle: Handle) -> None:
        """Close a namespace for good, so that the kernel can end it."""
        with self._lock:
            if handle in self._idle:
                del self._idle[handle]
                self._close(handle)

    def close(self) -> None:
        """Close all namespaces that are not in use."""
        with self._lock:
            while self._idle:
                handle, _ = self._idle.popitem()
                self._close(handle)


class _Use:
    # Not contextlib's decorator: see threads.py.
    __slots__ = ("_handles", "_pool", "_to_ask")

    def __init__(self, pool: Pool, handles: Sequence[Handle], to_ask: bool) -> None:
        self._to_ask = to_ask
        self._pool = pool
        self._handles = handles

    def __enter__(self) -> None:
        self._pool._take(self._handles, self._to_ask)

    def __exit__(self, *_: object) -> None:
        self._pool._give_back(self._handles)


def close_socket(handle: Handle) -> None:
    """Close the socket of a namespace, which can be opened again."""
    if handle.socket is not None:
        handle.cookie = handle.socket.namespace_cookie()
        handle.socket.close()
        handle.socket = None


def _close_fd(handle: Handle) -> None:
    if handle.fd is not None:
        os.close(handle.fd)
        handle.fd = None


def _open(path: str) -> tuple[int, tuple[int, int]]:
    fd = open_namespace(path)
    try:
        return fd, identity(fd)
    except BaseException:
        os.close(fd)
        raise


def _open_again(handle: Handle, processes: dict[tuple[int, int], int]) -> int:
    """Open a namespace by its path, or, if that no longer leads to it, by a process in it. Raises OSError.

    processes maps namespaces to processes, and is filled when needed.
    """
    refusal: OSError | None = None
    for path in _paths_of(handle, processes):
        try:
            fd, found = _open(path)
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            refusal = refusal or error
            continue
        if found == handle.identity:
            return fd
        os.close(fd)
    raise refusal or _stale(handle)


def _paths_of(handle: Handle, processes: dict[tuple[int, int], int]) -> Iterator[str]:
    yield handle.path
    if not processes:
        processes.update((identity, pid) for pid, identity in list_processes())
    if handle.identity in processes:
        yield f"/proc/{processes[handle.identity]}/ns/net"


def _all_open_files() -> int:
    from kokofast.host.limits import raise_open_files

    return raise_open_files()


def _stale(handle: Handle) -> OSError:
    return OSError(errno.ESTALE, "the name leads to another network namespace by now", handle.path)
