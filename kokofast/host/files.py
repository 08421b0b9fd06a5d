"""Read and write the user's files."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

CHUNK = 1 << 20


def read_file(path: str | None, limit: int, *, waits: bool = True) -> bytes:
    """Return the bytes of a file, or of standard input for None; limit + 1 bytes when it is longer than limit.

    Without waits only a regular file is read: a read of a FIFO waits for its writer.

    Raises OSError: EAGAIN when a regular file changed while it was read, as half a table of links is valid, too; EINVAL
    without waits for another kind of file.
    """
    # Python must not close standard input: the next file or socket would get its number.
    opener = None if waits else _open_at_once
    with open(0 if path is None else path, "rb", buffering=0, closefd=path is not None, opener=opener) as file:
        before = os.fstat(file.fileno())
        if not waits and not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", path)
        parts: list[bytes] = []
        size = 0
        while size <= limit:
            part: bytes | None = file.read(min(CHUNK, limit + 1 - size))
            if part is None:  # our parent has set the descriptor to non-blocking
                select.select([file], [], [])
                continue
            if not part:
                break
            parts.append(part)
            size += len(part)
        after = os.fstat(file.fileno())
    if stat.S_ISREG(before.st_mode) and _state(before) != _state(after):
        raise OSError(errno.EAGAIN, "was changed while it was read; try again", path)
    return b"".join(parts)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _state(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def open_to_write(path: str, *, other_than: str | None) -> IO[str]:
    """Open or create a file for text, keeping its content until clear().

    Raises OSError: as open(2); ENXIO for a FIFO without a reader; EINVAL when it is the same file as other_than (None:
    standard input).
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    try:
        os.set_blocking(fd, True)
        found = os.fstat(fd)
        try:
            other = os.fstat(0) if other_than is None else os.stat(other_than)
        except OSError:  # there is none
            other = None
        if other is not None and stat.S_ISREG(found.st_mode) and os.path.samestat(found, other):
            raise OSError(errno.EINVAL, "it is the file that the links are read from", path)
        return open(fd, "w", encoding="utf-8", closefd=True)
    except BaseException:
        os.close(fd)
        raise


def clear(file: IO[str]) -> None:
    """Empty the file. Raises OSError."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        os.ftruncate(file.fileno(), 0)


def write_whole(path: str, parts: Iterable[str], *, overwrite: bool) -> None:
    """Write a text file that appears when it is whole. A link that is overwritten stays one: its goal is written.

    Raises OSError: FileExistsError unless overwrite; EINVAL for something that is no regular file.
    """
    if overwrite:
        path = os.path.realpath(path)
    if os.path.lexists(path):  # before the work: link(2) decides
        if not overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if not os.path.isfile(path):
            raise OSError(errno.EINVAL, "is not a regular file", path)
    beside = f"{path}.{os.getpid()}.tmp"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(beside, path)
        else:
            os.link(beside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
