"""The helper: a process with a single thread that forks a worker for each sandbox of a program, and ends with it."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import select
import socket
import subprocess
import sys
import threading

from kokofast.api.sandboxes import channel

# Without -S: an installation in place may have import hooks.
_PROGRAM = """\
import sys
sys.path[:] = sys.argv[3:]
from kokofast.api.sandboxes.helper import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""


class Helper:
    """The helper of this process, started at its first sandbox."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._process: subprocess.Popen[bytes] | None = None

    def make_worker(self) -> socket.socket:
        """Return the channel to the worker of a new sandbox. Raises OSError."""
        with self._lock:
            if self._owner != os.getpid() or self._process is None or self._process.poll() is not None:
                self._start()
            ours, theirs = socket.socketpair()
            with theirs:
                channel.send(self._channel, None, [theirs.fileno()])
            return ours

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # In a session of its own: Ctrl-C is for the program, which ends its sandboxes.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid()), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._channel, self._owner = ours, os.getpid()

    def close(self) -> None:
        """End the helper, and with it all sandboxes of this process."""
        if self._process is None or self._owner != os.getpid():
            return
        self._channel.close()
        self._process.wait()
        self._process = None


HELPER = Helper()
atexit.register(HELPER.close)


def main(descriptor: int, parent: int) -> None:
    """Be the helper, until the program closes its end of the channel or ends."""
    from kokofast.api.sandboxes import worker  # imports all that a run needs, before there is a sandbox

    requests = socket.socket(fileno=descriptor)
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        return
    if os.getppid() != parent:
        return
    # Other children of the program may have its descriptor, and outlive it: so watch the program, too.
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(watched, select.POLLIN)
    gc.collect()
    gc.freeze()
    while watched not in (ready := [fd for fd, _ in poll.poll()]):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if requests.fileno() not in ready:
            continue
        try:
            _, (theirs,) = channel.receive(requests)
        except (EOFError, OSError):
            break
        helper = os.getpid()
        if os.fork() == 0:
            requests.close()
            os.close(watched)
            worker.work(theirs, helper)
        os.close(theirs)
