"""Wait for the ends of processes: pidfd_open(2), epoll(7)."""

from __future__ import annotations

import os
import select

from kokofast.host.namespaces import identity_at, of_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.host.namespaces import Identity


class ProcessEnds:
    """Waits for the ends of processes. Leaves out processes for which there are no more descriptors."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._pids: dict[int, tuple[int, Identity]] = {}  # descriptor -> pid, namespace
        self._fds: dict[tuple[int, Identity], int] = {}

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close all descriptors."""
        self.keep({})
        self._epoll.close()

    def keep(self, processes: Mapping[int, Identity]) -> set[int]:
        """Wait for these processes, which were in these namespaces, and for no others. Return those that have ended."""
        wanted = set(processes.items())
        ended: set[int] = set()
        for one in self._fds.keys() - wanted:
            self._forget(self._fds[one])
        for one in wanted - self._fds.keys():
            pid, identity = one
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                ended.add(pid)
                continue
            except OSError:
                continue
            # The number may be that of another process by now.
            if identity_at(of_process(pid)) != identity:
                os.close(fd)
                ended.add(pid)
                continue
            self._epoll.register(fd, select.EPOLLIN)
            self._pids[fd] = one
            self._fds[one] = fd
        return ended

    def receive(self) -> set[int]:
        """Return the processes that have ended."""
        ended: set[int] = set()
        for fd, _ in self._epoll.poll(0):
            ended.add(self._pids[fd][0])
            self._forget(fd)
        return ended

    def _forget(self, fd: int) -> None:
        del self._fds[self._pids.pop(fd)]
        self._epoll.unregister(fd)
        os.close(fd)
