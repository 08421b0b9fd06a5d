"""Commands in the namespaces of a sandbox."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

from kokofast.api.sandboxes import channel
from kokofast.api.sandboxes.worker import ENDED, NO_NODE

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK_BYTES = 1 << 20


class Process:
    """A command in a sandbox, from Sandbox.start(). The end of a ``with`` block, and of the sandbox, kills it.

    Attributes:
        args (list[str]): The command.
        returncode: Its exit code, -n if signal n ended it, None while it runs.
    """

    def __init__(self, args: Sequence[str], control: socket.socket, stdout: int, stderr: int) -> None:
        self.args = list(args)
        self.returncode: int | None = None
        self._control = control
        self._stdout = stdout
        self._stderr = stderr
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Process {self.args!r}: {'running' if self.returncode is None else self.returncode}>"

    def poll(self) -> int | None:
        """Return the exit code, or None while the command runs. Raises OSError and LookupError as wait()."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when the command has ended.

        Args:
            timeout: Seconds to wait at most; None waits to the end.

        Raises:
            subprocess.TimeoutExpired: It still runs.
            LookupError: The sandbox has no such node.
            OSError: It could not be started: FileNotFoundError and others.
        """
        if self.returncode is not None:
            return self.returncode
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if not poll.poll(None if timeout is None else math.ceil(timeout * 1000)):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        with self._lock:  # another thread may wait, too
            if self.returncode is not None:
                return self.returncode
            try:
                what, found = channel.receive(self._control)[0]
            except (EOFError, ConnectionError):  # with the sandbox
                what, found = ENDED, -signal.SIGKILL
            self.returncode = found if what == ENDED else 127
            if what == ENDED:
                return self.returncode
            code, text, name = found
            if what == NO_NODE:
                raise LookupError(f"there is no node {os.path.basename(name or '')!r} in the sandbox: {text}")
            raise OSError(code, text, self.args[0] if name is None else name)

    def send_signal(self, number: int) -> None:
        """Send the signal of this number to the command and its process group; nothing if it has ended."""
        if self.poll() is None:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                self._control.send(bytes([number]))

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    @property
    def stdout(self) -> str:
        """What the command has written to standard output so far; bytes that are no UTF-8 are escaped."""
        return _text(self._stdout)

    @property
    def stderr(self) -> str:
        """What the command has written to standard error so far."""
        return _text(self._stderr)

    def close(self) -> None:
        """Kill the command if it still runs; keep what it has written."""
        if self.poll() is None:
            self.kill()
            self.wait()
        self._control.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        for fd in (self._stdout, self._stderr):
            os.close(fd)


def memory(name: str, content: str = "") -> int:
    """Return the descriptor of a new file in memory, at its beginning."""
    fd = os.memfd_create(f"kokofast-{name}", os.MFD_CLOEXEC)
    data = memoryview(content.encode("utf-8", "surrogateescape"))
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _text(fd: int) -> str:
    chunks: list[bytes] = []
    at = 0
    while chunk := os.pread(fd, CHUNK_BYTES, at):  # the command has the offset
        chunks.append(chunk)
        at += len(chunk)
    return b"".join(chunks).decode("utf-8", "backslashreplace")
