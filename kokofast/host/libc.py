"""System calls that Python 3.11 lacks, by ctypes, which only this module uses.

Each raises OSError, as the os module does. ctypes releases the GIL during the call.
Sources: setns(2), unshare(2), mount(2), umount2(2), prctl(2), inotify(7), socket(7),
bind(2).
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8

PR_SET_PDEATHSIG = 1

SOL_SOCKET = 1
SO_ATTACH_FILTER = 26

MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.bind.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_libc.setsockopt.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)


def _fail(path: str | None = None) -> None:
    code = ctypes.get_errno()
    if path is None:
        raise OSError(code, os.strerror(code))
    raise OSError(code, os.strerror(code), path)


def setns(fd: int, nstype: int) -> None:
    """Move the calling thread into the namespace of fd; nstype 0 accepts any type."""
    if _libc.setns(fd, nstype) != 0:
        _fail()


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces. CLONE_NEWUSER needs a process with a single thread."""
    if _libc.unshare(flags) != 0:
        _fail()


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """Mount a file system; None stands for NULL."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, fstype)]
    if _libc.mount(*encoded, flags, None if data is None else data.encode()) != 0:
        _fail(target)


def umount2(target: str, flags: int) -> None:
    """Unmount a file system."""
    if _libc.umount2(os.fsencode(target), flags) != 0:
        _fail(target)


IN_CREATE = 0x100
IN_DELETE = 0x200
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_MOVE_SELF = 0x800
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000


def inotify_init1(flags: int) -> int:
    """Return a new inotify descriptor; inotify(7)."""
    fd: int = _libc.inotify_init1(flags)
    if fd < 0:
        _fail()
    return fd


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch a path, and return the number that its events carry."""
    number: int = _libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(mask))
    if number < 0:
        _fail(path)
    return number


def die_with_parent(signal: int) -> None:
    """Let the kernel send this process the signal when the thread that started it ends (PR_SET_PDEATHSIG)."""
    if _libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) != 0:
        _fail()


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def attach_filter(fd: int, program: bytes) -> None:
    """Let a socket receive only what a classic BPF program passes; each of its instructions has eight bytes."""
    given = _Program(len(program) // 8, program)
    if _libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, ctypes.byref(given), ctypes.sizeof(given)) != 0:
        _fail()


def bind(fd: int, address: bytes) -> None:
    """Give a socket an address that Python's sockets cannot express."""
    if _libc.bind(fd, address, len(address)) != 0:
        _fail()
