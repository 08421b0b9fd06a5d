"""Watch directories for files that are made, written or removed; inotify(7)."""

from __future__ import annotations

import os
import struct

from kokofast.host import libc

_EVENT = struct.Struct("=iIII")  # struct inotify_event
_BUFFER = 64 << 10
_MASK = libc.IN_CREATE | libc.IN_DELETE | libc.IN_CLOSE_WRITE | libc.IN_MOVED_FROM | libc.IN_MOVED_TO | libc.IN_ONLYDIR


class Inotify:
    """The names in directories that have changed."""

    def __init__(self) -> None:
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._directories: dict[int, str] = {}

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
        self._directories[number] = directory
        return True

    def receive(self) -> tuple[set[tuple[str, str]], bool]:
        """Return (directory, name) of what has changed; and whether events were lost."""
        found: set[tuple[str, str]] = set()
        lost = False
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return found, lost
        position = 0
        while position < len(data):
            number, _, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size + length
            if number < 0:  # IN_Q_OVERFLOW
                lost = True
            elif number in self._directories:
                name = os.fsdecode(data[position - length : position].rstrip(b"\0"))
                found.add((self._directories[number], name))
        return found, lost
