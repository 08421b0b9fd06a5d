"""One run at a time on a lab: a second batch of the same lab waits, and then finds nothing to do; and none at all while
all labs are removed.

A file lock, because the kernel drops it with its holder, however that ends. The file holds nothing and stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

LOCK_DIR = "/run/kokofast"


def is_locked(lab: str) -> bool:
    """Whether a run works on the lab now. The name may come from anybody, a namespace's owner say."""
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
    finally:
        os.close(fd)
    return False


class LabLock:
    """The lock of a lab, or with None of all labs, held from acquire() to release(). Where its files cannot be opened
    (a user without CAP_DAC_OVERRIDE, a read-only /run) nobody is waited for, and refusal says why."""

    def __init__(self, lab: str | None) -> None:
        # A lab's name has no slash and does not start with a dot.
        self._files = [(f"{LOCK_DIR}/.all.lock", fcntl.LOCK_EX if lab is None else fcntl.LOCK_SH)]
        if lab is not None:
            self._files.append((f"{LOCK_DIR}/{lab}.lock", fcntl.LOCK_EX))
        self._fds: list[int] = []
        self.refusal = ""

    def acquire(self) -> bool:
        """Takes the lock if nobody has it. False when somebody does. Does not wait."""
        if not self._fds:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                os.makedirs(LOCK_DIR, mode=0o700, exist_ok=True)
                for path, _ in self._files:
                    self._fds.append(os.open(path, flags, 0o600))
            except OSError as error:
                self.release()
                self.refusal = f"{LOCK_DIR}: {error.strerror}"
                return True
        try:
            for fd, (_, way) in zip(self._fds, self._files, strict=True):
                fcntl.flock(fd, way | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def notes(self) -> list[str]:
        """A line for the user where the lock cannot be had."""
        return [f"other runs are not kept off meanwhile: {self.refusal}"] if self.refusal else []

    def release(self) -> None:
        """Gives it back."""
        while self._fds:
            with contextlib.suppress(OSError):
                os.close(self._fds.pop())
