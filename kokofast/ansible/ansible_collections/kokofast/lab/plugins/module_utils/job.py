"""A command in the background, which a supervisor ends when the controller stops renewing its lease.

The supervisor is a process of this module. The command gets SIGTERM when the lease expires, when the controller asks
the supervisor to stop it, and when the supervisor dies. The output of the command is kept in a folder until the
controller has read it. When the lease of an ended command expires, the folder is removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import signal
import stat
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FOLDER = "/run/kokofast-jobs"
NAME = re.compile(r"[0-9a-f]{8,64}\Z")
POLL = 0.1  # seconds
READ_MAX = 1 << 20  # bytes of output at a time
TAIL = 1 << 14  # bytes of messages
_PR_SET_PDEATHSIG = 1
KILLED = -9  # the exit code of a job whose supervisor was killed
OUTPUT, MESSAGES, LEASE, STOP, CODE = "output", "messages", "lease", "stop", "code"


class Look(NamedTuple):
    """What a job has come to: whole lines of its output since an offset, the next offset, its exit code at its end."""

    lines: list[str]
    offset: int
    code: int | None
    messages: str


class Job:
    """A job of a name, which is chosen by the controller. files are the names of what it is given. Raises OSError."""

    def __init__(self, name: str, files: Sequence[str], above: str = FOLDER) -> None:
        if not NAME.match(name):
            raise ValueError(f"{name[:80]!r} is no name of a job: 8 to 64 hexadecimal digits")
        self._above = above
        self._folder = os.path.join(above, name)
        self._files = (OUTPUT, MESSAGES, LEASE, STOP, CODE, f"{CODE}.new", *files)

    def start(self, command: Callable[[str], Sequence[str]], files: Mapping[str, str], lease: float) -> None:
        """Start a command, which is made of the folder with these files. It ends unless renew() is called in time."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._above, 0o700)
        found = os.lstat(self._above)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(f"{self._above} is not a folder of our own")
        os.mkdir(self._folder, 0o700)
        try:
            self._launch(command, files, lease)
        except BaseException:
            self.forget()  # nothing watches over it, and the disk may be full
            raise

    def _launch(self, command: Callable[[str], Sequence[str]], files: Mapping[str, str], lease: float) -> None:
        for name, text in {**files, OUTPUT: "", MESSAGES: "", LEASE: ""}.items():
            with open(self._path(name), "x", encoding="utf-8") as file:
                file.write(text)
        arguments = list(command(self._folder))
        # The lock is that of all processes that have inherited the descriptor, and goes with the last one.
        watched = os.open(self._path(LEASE), os.O_RDONLY)
        fcntl.flock(watched, fcntl.LOCK_EX)
        if os.fork() == 0:
            try:
                os.setsid()
                if os.fork() == 0:
                    _forget_descriptors(watched)
                    self._supervise(arguments, lease)
            finally:
                os._exit(0)  # nothing of the module's is to be cleaned up twice
        os.close(watched)
        os.wait()

    def renew(self) -> None:
        """Renew the lease."""
        os.utime(self._path(LEASE))

    def stop(self) -> None:
        """Have the command told to end."""
        with open(self._path(STOP), "w", encoding="utf-8"):
            pass

    def look(self, offset: int) -> Look:
        """Return what the command has printed since an offset, and its exit code if it has ended."""
        is_watched = self._is_watched()
        code = self._code()  # before the output: that is whole, then
        with open(self._path(OUTPUT), "rb") as output:
            output.seek(offset)
            data = output.read(READ_MAX)
        whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == READ_MAX else b"")
        with open(self._path(MESSAGES), "rb") as messages:
            messages.seek(max(os.fstat(messages.fileno()).st_size - TAIL, 0))
            told = messages.read().decode("utf-8", "replace")
        if code is None and not is_watched:
            code, told = KILLED, f"ended: its supervisor was killed\n{told}"
        is_end = offset + len(data) >= os.stat(self._path(OUTPUT)).st_size
        return Look(whole.decode("utf-8", "replace").splitlines(), offset + len(whole), code if is_end else None, told)

    def _code(self) -> int | None:
        with contextlib.suppress(FileNotFoundError), open(self._path(CODE), encoding="utf-8") as file:
            return int(file.read())
        return None

    def _is_watched(self) -> bool:
        fd = os.open(self._path(LEASE), os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def forget(self) -> None:
        """Remove what is kept of a job that has ended."""
        for name in self._files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(name))
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self._folder)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _supervise(self, command: Sequence[str], lease: float) -> None:
        with open(self._path(OUTPUT), "wb") as output, open(self._path(MESSAGES), "ab") as messages:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=messages,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,  # we have no threads
                )
            except OSError as error:
                messages.write(f"{command[0]}: {error.strerror}\n".encode())
                process = None
        holds = _Lease(self._path(LEASE), lease)
        code, is_told = (127, False) if process is None else (process.poll(), False)
        while code is None:
            assert process is not None
            if not is_told and (os.path.exists(self._path(STOP)) or not holds.is_valid()):
                is_told = True
                if not holds.is_valid():
                    self._tell(f"ended: its lease of {lease:g} s was not renewed; give a longer lease\n")
                process.terminate()
            time.sleep(POLL)
            code = process.poll()
        with open(self._path(f"{CODE}.new"), "w", encoding="utf-8") as file:
            file.write(str(code))
        os.rename(self._path(f"{CODE}.new"), self._path(CODE))
        holds.begin_again()
        while holds.is_valid():
            time.sleep(POLL)
        self.forget()

    def _tell(self, text: str) -> None:
        with contextlib.suppress(OSError), open(self._path(MESSAGES), "a", encoding="utf-8") as messages:
            messages.write(text)


class _Lease:
    """A lease for so many seconds, each time that the time of its file changes. Without its file it is over."""

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._seen = 0
        self.begin_again()

    def begin_again(self) -> None:
        self._renewed = time.monotonic()

    def is_valid(self) -> bool:
        try:
            found = os.stat(self._path).st_mtime_ns
        except OSError:
            return False
        if found != self._seen:
            self._seen = found
            self.begin_again()
        return time.monotonic() - self._renewed < self._seconds


def _forget_descriptors(kept: int) -> None:
    """Let go of all that our parent has open but one, so that the connection of the module can end."""
    os.closerange(3, kept)
    os.closerange(kept + 1, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
