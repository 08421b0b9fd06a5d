"""One run at a time on a lab: a second batch of the same lab waits, and then finds nothing to do.

A file lock, because the kernel drops it with its holder, however that ends. The file holds nothing and stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

LOCK_DIR = "/run/kokofast"


class LabLock:
    """The lock of a lab, held from acquire() to release(). Where its file cannot be opened (a user without
    CAP_DAC_OVERRIDE, a read-only /run) nobody is waited for, and refusal says why."""

    def __init__(self, lab: str) -> None:
        self._path = f"{LOCK_DIR}/{lab}.lock"  # a lab's name has no slash and does not start with a dot
        self._fd: int | None = None
        self.refusal = ""

    def acquire(self) -> bool:
        """Takes the lock if nobody has it. False when somebody does. Does not wait."""
        if self._fd is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                os.makedirs(LOCK_DIR, mode=0o700, exist_ok=True)
                self._fd = os.open(self._path, flags, 0o600)
            except OSError as error:
                self.refusal = f"{error.filename}: {error.strerror}"
                return True
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Gives it back."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None
