"""Run commands in network namespaces, without a shell."""

from __future__ import annotations

import os
import signal
import time

from kokofast.host import libc
from kokofast.host.threads import in_own_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 2.0  # how long a command has to end after SIGTERM


def start(namespace: int, command: Sequence[str]) -> int:
    """Start a command in an open namespace, in a session of its own, and return its pid.

    Its standard input is empty, its standard output is our standard error. Raises OSError.
    """
    # posix_spawn() copies the calling thread, and so the namespace that it is in.
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]

    def job() -> int:
        libc.setns(namespace, libc.CLONE_NEWNET)
        return os.posix_spawnp(
            command[0].encode(),
            [word.encode() for word in command],  # as the timeline has them, whatever the locale is
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE),
        )

    return in_own_thread(job)


class Children:
    """The commands that were started and still run, by pid, each with a title. The end of the block ends them."""

    def __init__(self) -> None:
        self._running: dict[int, str] = {}

    def __enter__(self) -> Children:
        # If our parent ignores it, the kernel forgets a child that ends, and its number may be another process's soon.
        self._before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        signal.signal(signal.SIGCHLD, self._before)

    def add(self, pid: int, title: str) -> None:
        """Add a command."""
        self._running[pid] = title

    def __bool__(self) -> bool:
        """Whether one of them is not known to have ended."""
        return bool(self._running)

    def ended(self) -> list[tuple[str, int]]:
        """Return the commands that have ended since the last call, and their exit codes: -n for signal n."""
        found: list[tuple[str, int]] = []
        for pid in list(self._running):
            there, status = os.waitpid(pid, os.WNOHANG)
            if there:
                found.append((self._running.pop(pid), os.waitstatus_to_exitcode(status)))
        return found

    def end(self) -> None:
        """End what still runs, with all processes of its session that are in its process group."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._running:
                try:  # noqa: SIM105 - see threads.py: no contextlib
                    os.killpg(pid, number)
                except OSError:  # it has ended; or it is another user's by now, and we may not end it
                    pass
            deadline = time.monotonic() + PATIENCE_SECONDS
            while self._running and time.monotonic() < deadline:
                self.ended()
                time.sleep(POLL_SECONDS)
