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
OPEN_FILES = "/proc/self/fd"


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
        _refuse_source(os.fstat(fd), path, other_than)
        return open(fd, "w", encoding="utf-8", closefd=True)
    except BaseException:
        os.close(fd)
        raise


def clear(file: IO[str]) -> None:
    """Empty the file. Raises OSError."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        os.ftruncate(file.fileno(), 0)


def write_whole(path: str, parts: Iterable[str], *, overwrite: bool, other_than: str | None) -> None:
    """Write a text file that appears when it is whole, and leaves nothing when the program is killed before.

    A file that is overwritten keeps its mode and its owner. A link that is overwritten stays one: its goal is written.

    Raises OSError: FileExistsError unless overwrite; EINVAL for something that is no regular file, and when it is the
    same file as other_than (None: standard input).
    """
    old = _check_goal(path, overwrite, other_than)
    goal = os.path.realpath(path) if overwrite else path
    name = os.path.basename(goal)
    folder = os.open(os.path.dirname(goal) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        beside = f".kokofast-{os.urandom(8).hex()}"
        fd, is_named = open_beside(beside, folder)
        try:
            with open(fd, "w", encoding="utf-8", closefd=False) as file:
                file.writelines(parts)
            if old is not None:
                make_as(fd, old)
            os.fsync(fd)
            if not is_named:
                # With a descriptor of a folder Python calls linkat(2), which follows this link.
                os.link(f"{OPEN_FILES}/{fd}", beside if overwrite else name, dst_dir_fd=folder)
            if overwrite:
                os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
            elif is_named:
                _name_new(beside, name, folder)
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=folder)
    finally:
        os.close(folder)


def _check_goal(path: str, overwrite: bool, other_than: str | None) -> os.stat_result | None:
    """Return what is at the path of a file to write, None for nothing. Raises OSError, see write_whole()."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if overwrite or not os.path.islink(path):
            return None
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file; without -o it is printed", path)
    if not overwrite:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    _refuse_source(found, path, other_than)
    return found


def _refuse_source(found: os.stat_result, path: str, other_than: str | None) -> None:
    """Raise OSError if a regular file is the one that is read (None: standard input)."""
    try:
        other = os.fstat(0) if other_than is None else os.stat(other_than)
    except OSError:  # there is none
        return
    if stat.S_ISREG(found.st_mode) and os.path.samestat(found, other):
        raise OSError(errno.EINVAL, "it is the file that the links are read from", path)


def open_beside(name: str, folder: int) -> tuple[int, bool]:
    """Make a file in a folder, without a name if its file system has such files. Return whether it has the name."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    if os.path.isdir(OPEN_FILES):  # where /proc is not mounted, such a file cannot be given a name
        try:
            return os.open(".", flags | os.O_TMPFILE, 0o666, dir_fd=folder), False
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    return os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=folder), True


def make_as(fd: int, old: os.stat_result) -> None:
    """Give a file the owner and the mode of the one whose place it takes, as far as that is allowed."""
    with contextlib.suppress(OSError):  # only root may, and not on every file system
        os.fchown(fd, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)


def _name_new(beside: str, name: str, folder: int) -> None:
    """Give a file another name, which must be free. Raises FileExistsError."""
    try:
        os.link(beside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # The file system has no second names, such as vfat: take the name, then replace what has it.
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder))
        os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
