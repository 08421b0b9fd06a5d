"""The calls of libc: what they refuse, and whose errno it is."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kokofast.host import libc


@pytest.mark.parametrize("call", ["source", "target", "fstype", "data", "umount", "watch"])
def test_a_null_byte_ends_no_path(call: str, tmp_path: Path) -> None:
    cut = f"{tmp_path}\0beyond"
    fd = libc.inotify_init1(os.O_CLOEXEC)
    calls: dict[str, Callable[[], object]] = {
        "source": lambda: libc.mount(cut, "/nowhere", None, 0),
        "target": lambda: libc.mount(None, cut, None, 0),
        "fstype": lambda: libc.mount(None, "/nowhere", cut, 0),
        "data": lambda: libc.mount(None, "/nowhere", None, 0, cut),
        "umount": lambda: libc.umount2(cut, 0),
        "watch": lambda: libc.inotify_add_watch(fd, cut, libc.IN_CREATE),
    }
    try:
        with pytest.raises(OSError, match="Invalid argument") as caught:
            calls[call]()
    finally:
        os.close(fd)
    assert caught.value.filename == cut


def test_each_thread_has_its_own_errno() -> None:
    calls: dict[int, Callable[[], object]] = {
        errno.EBADF: lambda: libc.setns(-1, 0),
        errno.ENOENT: lambda: libc.umount2("/nowhere/at/all", 0),
        errno.EINVAL: lambda: libc.unshare(1),
    }
    told: dict[int, set[int | None]] = {code: set() for code in calls}

    def repeat(code: int) -> None:
        for _ in range(2000):
            try:
                calls[code]()
            except OSError as error:
                told[code].add(error.errno)
            else:
                told[code].add(None)

    threads = [threading.Thread(target=repeat, args=(code,)) for code in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {code: {code} for code in calls}
