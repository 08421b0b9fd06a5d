"""Watch directories for files that are made, written or removed; inotify(7)."""

from __future__ import annotations

import os
import struct

from kokofast.host import libc

_EVENT = struct.Struct("=iIII")  # struct inotify_event
_BUFFER = 64 << 10
_MASK = libc.IN_CREATE | libc.IN_DELETE | libc.IN_CLOSE_WRITE | libc.IN_MOVED_FROM | libc.IN_MOVED_TO
_MASK |= libc.IN_MOVE_SELF | libc.IN_ONLYDIR
_IS_GONE = libc.IN_IGNORED | libc.IN_MOVE_SELF


class Inotify:
    """The names in directories that have changed."""

    def __init__(self) -> None:
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._directories: dict[int, set[str]] = {}  # the kernel has one number for all names of a directory

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def add(self, directory: str) -> bool:
        """Watch a directory; return False if that is not possible, as when there is none."""
        try:
            number = libc.inotify_add_watch(self._fd, directory or ".", _MASK)
        except OSError:
            return False
        self._directories.setdefault(number, set()).add(directory)
        return True

    def receive(self) -> tuple[dict[tuple[str, str], bool], bool]:
        """Return what has changed, and whether events were lost.

        That is (directory, name), and whether all that is known is that it was made. The name is "" when the directory
        itself is removed, or has another name: it has to be added again.
        """
        found: dict[tuple[str, str], bool] = {}
        lost = False
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return found, lost
        position = 0
        while position < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size + length
            if number < 0:  # IN_Q_OVERFLOW
                lost = True
                continue
            is_gone = bool(mask & _IS_GONE)
            directories = self._directories.pop(number, ()) if is_gone else self._directories.get(number, ())
            name = "" if is_gone else os.fsdecode(data[position - length : position].rstrip(b"\0"))
            for place in ((directory, name) for directory in directories):
                found[place] = found.get(place, True) and bool(mask & libc.IN_CREATE)
        return found, lost
