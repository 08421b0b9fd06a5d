"""Write several files of one folder together."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from kokofast.host.files import OPEN_FILES, make_as, open_beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

OPEN_MAX = 200  # files without a name, which a kill leaves nothing of; further ones have one at once
HEAD = 4096  # bytes of a file that is_ours() gets


class _Whole:
    """A file that is written: its name to be, the one that it has beside that, and its descriptor until it has one."""

    def __init__(self, name: str, beside: str, folder: int, fd: int | None) -> None:
        self.name = name
        self.beside = beside
        self._folder = folder
        self._fd = fd

    def give_name(self) -> None:
        """Give it the name beside, if it has none."""
        if self._fd is not None:
            os.link(f"{OPEN_FILES}/{self._fd}", self.beside, dst_dir_fd=self._folder)
            self._fd = None


class Folder:
    """A folder with files of ours: they are written when all of them are whole.

    Args:
        path: The folder, which is made if it is not there.
        is_ours: Whether a file, by its name and the text that it begins with, may be replaced and removed.

    Raises OSError.
    """

    def __init__(self, path: str, is_ours: Callable[[str, str], bool]) -> None:
        self._is_ours = is_ours
        self._open = 0  # files without a name
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)

    def write(self, files: Mapping[str, Iterable[str]]) -> None:
        """Write files by their names; none is touched before all are whole.

        A file that is replaced keeps its mode and its owner.

        Raises OSError: FileExistsError with the name of one that is there and not ours.
        """
        old: dict[str, os.stat_result] = {}
        for name in files:
            found = self._found(name)
            if found is not None:
                if not self.owns(name):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
                old[name] = found
        with contextlib.ExitStack() as stack:
            whole = [self._write_beside(name, parts, old.get(name), stack) for name, parts in files.items()]
            for one in whole:
                one.give_name()
            for one in whole:
                os.rename(one.beside, one.name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            os.fsync(self._fd)

    def _write_beside(
        self, name: str, parts: Iterable[str], old: os.stat_result | None, stack: contextlib.ExitStack
    ) -> _Whole:
        """Write a file under another name, or none; the end of the stack closes and removes it."""
        beside = f".kokofast-{os.urandom(8).hex()}"
        stack.callback(self.remove, beside)
        fd, is_named = open_beside(beside, self._fd)
        whole = _Whole(name, beside, self._fd, None if is_named else fd)
        with contextlib.ExitStack() as mine:
            mine.callback(os.close, fd)
            with open(fd, "w", encoding="utf-8", closefd=False) as file:
                file.writelines(parts)
            if old is not None:
                make_as(fd, old)
            os.fsync(fd)
            if is_named or self._open >= OPEN_MAX:
                whole.give_name()
            else:
                self._open += 1
                stack.push(mine.pop_all())
        return whole

    def names(self) -> list[str]:
        """Return the names of what is in it."""
        return sorted(os.listdir(self._fd))

    def owns(self, name: str) -> bool:
        """Return whether there is a regular file of this name, and it is ours."""
        head = self.head(name)
        return head is not None and self._is_ours(name, head)

    def head(self, name: str) -> str | None:
        """Return the text that a regular file begins with; None if there is none of this name."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self._fd)
        except OSError:
            return None
        with open(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            return (file.read(HEAD) or b"").decode("utf-8", "replace")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def _found(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
