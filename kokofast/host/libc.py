"""System calls that Python 3.11 lacks, by the C module of ctypes, which only this module uses.

Each raises OSError, as the os module does. The GIL is released during the call. ctypes itself and what it imports take
1.5 ms, a twentieth of a single link.
Sources: setns(2), unshare(2), mount(2), umount2(2), fsopen(2), prctl(2), inotify(7), socket(7),
bind(2).
"""

from __future__ import annotations

import os
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    Structure,
    _SimpleCData,
    byref,
    dlopen,
    dlsym,
    get_errno,
    sizeof,
)
from errno import EINVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    class _Value(_SimpleCData[Any]): ...
else:
    _Value = _SimpleCData

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

M_ARENA_MAX = -8  # malloc.h

SOL_SOCKET = 1
SO_ATTACH_FILTER = 26

MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

# Numbers of system calls, the same on every architecture of Linux that Python runs on (asm-generic/unistd.h).
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432

# linux/mount.h
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_CMD_CREATE = 6


# The types of C, by the letters of the struct module.
class _Int(_Value):
    _type_ = "i"


class _UInt(_Value):
    _type_ = "I"


class _Long(_Value):
    _type_ = "l"


class _ULong(_Value):
    _type_ = "L"


class _UShort(_Value):
    _type_ = "H"


class _CharP(_Value):
    _type_ = "z"


class _VoidP(_Value):
    _type_ = "P"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Int


_program = dlopen(None, 0)  # type: ignore[arg-type] # None: this process, and libc with it


def _function(name: str, *types: type[_Value]) -> _Function:
    function = _Function(dlsym(_program, name))
    function.argtypes = types
    return function


_setns = _function("setns", _Int, _Int)
_unshare = _function("unshare", _Int)
_mount = _function("mount", _CharP, _CharP, _CharP, _ULong, _CharP)
_umount2 = _function("umount2", _CharP, _Int)
# glibc has functions of their own for these since 2.36 only.
_fsopen = _function("syscall", _Long, _CharP, _UInt)
_fsconfig = _function("syscall", _Long, _Int, _UInt, _CharP, _CharP, _Int)
_fsmount = _function("syscall", _Long, _Int, _UInt, _UInt)
_inotify_init1 = _function("inotify_init1", _Int)
_inotify_add_watch = _function("inotify_add_watch", _Int, _CharP, _UInt)
_prctl = _function("prctl", _Int, _ULong, _ULong, _ULong, _ULong)
_bind = _function("bind", _Int, _CharP, _UInt)
_setsockopt = _function("setsockopt", _Int, _Int, _Int, _VoidP, _UInt)


def _fail(path: str | None = None) -> None:
    code = get_errno()
    if path is None:
        raise OSError(code, os.strerror(code))
    raise OSError(code, os.strerror(code), path)


def _path(text: str) -> bytes:
    """Return what C can read. It would take a text with a null byte for a shorter one, which may be another file."""
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise OSError(EINVAL, os.strerror(EINVAL), text)
    return encoded


def setns(fd: int, nstype: int) -> None:
    """Move the calling thread into the namespace of fd; nstype 0 accepts any type."""
    if _setns(fd, nstype) != 0:
        _fail()


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces. CLONE_NEWUSER needs a process with a single thread."""
    if _unshare(flags) != 0:
        _fail()


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """Mount a file system; None stands for NULL."""
    encoded = [None if text is None else _path(text) for text in (source, target, fstype)]
    if _mount(*encoded, flags, None if data is None else _path(data)) != 0:
        _fail(target)


def umount2(target: str, flags: int) -> None:
    """Unmount a file system."""
    if _umount2(_path(target), flags) != 0:
        _fail(target)


def new_mount(fstype: str) -> int:
    """Return the root of a new instance of a file system, which is mounted nowhere and ends when this is closed.

    Linux has this since 5.2.
    """
    context: int = _fsopen(SYS_FSOPEN, _path(fstype), FSOPEN_CLOEXEC)
    if context < 0:
        _fail()
    try:
        if _fsconfig(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0) != 0:
            _fail()
        fd: int = _fsmount(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, MS_NOSUID | MS_NODEV | MS_NOEXEC)
        if fd < 0:
            _fail()
    finally:
        os.close(context)
    return fd


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
    fd: int = _inotify_init1(flags)
    if fd < 0:
        _fail()
    return fd


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch a path, and return the number that its events carry."""
    number: int = _inotify_add_watch(fd, _path(path), mask)
    if number < 0:
        _fail(path)
    return number


def share_heap() -> None:
    """Let all threads share one heap: glibc gives each a heap of its own, of 64 MiB of the address space; mallopt(3).

    Does nothing where libc has no mallopt(), which is glibc's.
    """
    try:
        mallopt = _function("mallopt", _Int, _Int)
    except OSError:
        return
    mallopt(M_ARENA_MAX, 1)


def die_with_parent(signal: int) -> None:
    """Let the kernel send this process the signal when the thread that started it ends (PR_SET_PDEATHSIG)."""
    if _prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) != 0:
        _fail()


class _Program(Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", _UShort), ("instructions", _CharP))


def attach_filter(fd: int, program: bytes) -> None:
    """Let a socket receive only what a classic BPF program passes; each of its instructions has eight bytes."""
    given = _Program(len(program) // 8, program)
    if _setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, byref(given), sizeof(given)) != 0:
        _fail()


def bind(fd: int, address: bytes) -> None:
    """Give a socket an address that Python's sockets cannot express."""
    if _bind(fd, address, len(address)) != 0:
        _fail()
