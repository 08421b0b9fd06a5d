"""Locks: one run at a time on a lab, and none while all labs are removed.

They are file locks (flock(2)), which the kernel drops when their holder ends, however that happens. The files are
empty. A run removes its lab's file at its end. Whoever then gets the lock of the removed file opens the path again.
"""

from __future__ import annotations

import fcntl
import os

LOCK_DIR = "/run/kokofast"
ALL = ".all.lock"  # held by every run, shared; exclusively while all labs are removed. Never removed
SUFFIX = ".lock"
KEEPER_SUFFIX = ".watch"
CONFIRM_SUFFIX = ".confirm"  # a socket, see host.confirmation


def is_locked(lab: str) -> bool:
    """Whether a run works on the lab now. The name is not trusted: an interface's alias may have it."""
    if "/" in lab or "\0" in lab or lab.startswith("."):
        return False
    try:
        fd = os.open(f"{LOCK_DIR}/{lab}.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a seccomp filter forbids flock(2), so nobody holds it
        return False
    finally:
        os.close(fd)
    return False


class LabLock:
    """The lock of a lab, or of all labs (None), held from acquire() to release().

    Where locking is impossible (no CAP_DAC_OVERRIDE, a read-only /run, a seccomp filter without flock(2)) acquire()
    succeeds without a lock, and refusal says why.
    """

    def __init__(self, lab: str | None) -> None:
        # A lab's name has no slash and does not start with a dot.
        self._files = [(f"{LOCK_DIR}/{ALL}", fcntl.LOCK_EX if lab is None else fcntl.LOCK_SH)]
        self._own = None if lab is None else f"{LOCK_DIR}/{lab}{SUFFIX}"
        if self._own is not None:
            self._files.append((self._own, fcntl.LOCK_EX))
        self._fds: list[int] = []
        self._is_held = False
        self.refusal = ""

    def acquire(self) -> bool:
        """Take the lock without waiting; return False when another run holds it."""
        try:
            while not self._is_held:
                self._open()
                for fd, (_, way) in zip(self._fds, self._files, strict=True):
                    fcntl.flock(fd, way | fcntl.LOCK_NB)
                pairs = zip(self._fds, self._files, strict=True)
                self._is_held = all(_leads_to(path, fd) for fd, (path, _) in pairs)
                if not self._is_held:  # the file was removed before we got its lock
                    self._close()
        except BlockingIOError:
            return False
        except OSError as error:
            self._close()
            self.refusal = f"{LOCK_DIR}: {error.strerror}"
        return True

    def notes(self) -> list[str]:
        """Return a line for the user where locking is impossible."""
        return [f"without a lock other runs may interfere: {self.refusal}"] if self.refusal else []

    def release(self) -> None:
        """Release the lock."""
        try:
            if self._is_held:
                self._remove_files()
        finally:
            self._is_held = False
            self._close()

    def _open(self) -> None:
        if not self._fds:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.makedirs(LOCK_DIR, mode=0o700, exist_ok=True)
            for path, _ in self._files:
                self._fds.append(os.open(path, flags, 0o600))

    def _remove_files(self) -> None:
        # Nobody else holds these locks now. The exclusive lock of ALL covers the files of killed runs, too.
        try:
            if self._own is None:
                for path in _left_over():
                    os.unlink(path)
            elif _leads_to(self._own, self._fds[-1]):  # else another file is there now
                os.unlink(self._own)
        except OSError:  # not permitted: the file is used again
            pass

    def _close(self) -> None:
        while self._fds:
            try:  # noqa: SIM105 - contextlib costs koko's command line more than this module
                os.close(self._fds.pop())
            except OSError:
                pass


class Keeper:
    """A locked file that shows that a watch keeps a lab.

    destroy removes it before it deletes anything. So the watch does not make again what the user has destroyed.
    """

    def __init__(self, lab: str) -> None:
        self._path = f"{LOCK_DIR}/{lab}{KEEPER_SUFFIX}"
        self._fd = -1

    def acquire(self) -> bool:
        """Return False when another watch keeps the lab. Raises OSError."""
        os.makedirs(LOCK_DIR, mode=0o700, exist_ok=True)
        while True:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._fd)
                self._fd = -1
                if isinstance(error, BlockingIOError):
                    return False
                raise
            if _leads_to(self._path, self._fd):
                return True
            os.close(self._fd)  # removed before we got its lock

    def is_dismissed(self) -> bool:
        """Whether a run of destroy has removed the file."""
        return not _leads_to(self._path, self._fd)

    def release(self) -> None:
        """Remove the file."""
        if self._fd >= 0:
            if _leads_to(self._path, self._fd):
                _unlink(self._path)
            os.close(self._fd)
            self._fd = -1


def dismiss_keepers(lab: str | None) -> None:
    """Tell the watch that keeps the lab, or all labs (None), that the lab is destroyed."""
    try:
        names = os.listdir(LOCK_DIR) if lab is None else [lab + KEEPER_SUFFIX]
    except OSError:  # no run had a lock
        names = []
    for name in names:
        if name.endswith(KEEPER_SUFFIX):
            _unlink(f"{LOCK_DIR}/{name}")


def _unlink(path: str) -> None:
    try:  # noqa: SIM105 - as above
        os.unlink(path)
    except OSError:  # another process was faster; or it is not permitted, as the lock is not
        pass


def _leads_to(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _left_over() -> list[str]:
    suffixes = (SUFFIX, CONFIRM_SUFFIX)
    return [f"{LOCK_DIR}/{name}" for name in os.listdir(LOCK_DIR) if name.endswith(suffixes) and name != ALL]
