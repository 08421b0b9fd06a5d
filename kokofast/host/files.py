"""The user's file, read whole or not at all."""

from __future__ import annotations

import errno
import os
import select
import stat

CHUNK = 1 << 20


def read_file(path: str | None, limit: int) -> bytes:
    """The bytes of a file, or of standard input for None; of one that is longer than limit (a device without end, say)
    no more than a byte beyond it.

    Raises OSError, EAGAIN when a regular file was written to meanwhile: what was read may be half of the old and half
    of the new, and half a table of links is a table of links.
    """
    # Python must not close standard input: its number would be that of the next file or socket.
    with open(0 if path is None else path, "rb", buffering=0, closefd=path is not None) as file:
        before = os.fstat(file.fileno())
        parts: list[bytes] = []
        size = 0
        while size <= limit:
            part: bytes | None = file.read(min(CHUNK, limit + 1 - size))
            if part is None:  # whoever gave us this descriptor has set it to non-blocking
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


def _state(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns
