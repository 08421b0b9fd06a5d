"""A sandbox: own user, pid, mount and network namespaces, so that kokofast needs no root and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from kokofast.host import libc
from kokofast.host.limits import missing_capabilities
from kokofast.host.lock import LOCK_DIR
from kokofast.host.namespaces import NETNS_DIR
from kokofast.host.netlink import Socket
from kokofast.wire.link import IFF_UP, RTM_SETLINK
from kokofast.wire.message import Request

if TYPE_CHECKING:
    from collections.abc import Sequence


class SandboxError(Exception):
    """The machine does not let us make a sandbox; the message says why and what helps."""


def enter() -> None:
    """Go on in a child process with namespaces of its own, which end with it.

    enter() returns in the child. The calling process, which must have a single thread, only waits for the child, passes
    signals on to it, and ends with its exit status. The child is the first process of a pid namespace with its own
    /proc, so that not even root can reach namespaces of the machine from inside. Without root a user namespace, in
    which we are root, comes first (user_namespaces(7)). Raises SandboxError.
    """
    unprivileged = bool(missing_capabilities())
    try:
        if unprivileged:
            _become_root_of_a_user_namespace()
        libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS | libc.CLONE_NEWPID)
    except OSError as error:
        raise _refusal(error, unprivileged) from error
    sys.stdout.flush()
    sys.stderr.flush()
    # No signal may arrive until both processes handle it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    try:
        child = os.fork()
    except OSError as error:
        raise _refusal(error, unprivileged=False) from error
    if child:
        _pass_on_signals([child])
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os._exit(_wait(child))
    libc.die_with_parent(signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        _furnish()
    except OSError as error:
        raise _refusal(error, unprivileged) from error


def _become_root_of_a_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    libc.unshare(libc.CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {uid} 1")
    _write("/proc/self/gid_map", f"0 {gid} 1")


def _furnish() -> None:
    libc.mount("none", "/", None, libc.MS_REC | libc.MS_PRIVATE)
    quiet = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    libc.mount("proc", "/proc", "proc", quiet)
    # Hide the names of the machine's namespaces.
    target = NETNS_DIR if os.path.isdir(NETNS_DIR) else os.path.dirname(NETNS_DIR)
    libc.mount("kokofast", target, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=755")
    os.makedirs(NETNS_DIR, exist_ok=True)
    if os.path.isdir(LOCK_DIR):  # labs of the same name outside are other labs
        libc.mount("kokofast", LOCK_DIR, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=700")
    with contextlib.suppress(OSError):  # shows the sandbox's /sys/class/net; some containers forbid it
        libc.mount("sysfs", "/sys", "sysfs", quiet)
    socket = Socket()
    socket.send([Request(RTM_SETLINK, {"index": 1, "flags": IFF_UP, "change": IFF_UP})])
    socket.close()


def run_command(command: list[str]) -> int:
    """Run a command in the sandbox, passing signals on to it; return its exit code, 128+n if signal n ended it.

    We are the first process of a pid namespace, which signals without a handler do not end. Raises OSError as
    execvp(3).
    """
    children: list[int] = []
    early = _pass_on_signals(children)
    # Python ignores these two, and the command would inherit that.
    default = (signal.SIGPIPE, signal.SIGXFSZ)
    children.append(os.posix_spawnp(command[0], command, os.environ, setsigmask=(), setsigdef=default))
    for number in early:
        os.kill(children[0], number)  # the pid is valid until _wait()
    return _wait(children[0])


PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def _pass_on_signals(children: Sequence[int]) -> list[int]:
    """Pass signals on to the child; while there is none collect them in the list that is returned."""
    early: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if number in (signal.SIGINT, signal.SIGQUIT) and _has_the_terminal():
            return
        if not children:
            early.append(number)
        with contextlib.suppress(ProcessLookupError):
            for child in children:
                os.kill(child, number)

    for number in PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, pass_on)
    return early


def _has_the_terminal() -> bool:
    """Whether we are in a terminal's foreground, where Ctrl-C reaches our children, too."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(fd)


def _wait(child: int) -> int:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - status if status < 0 else status


def _refusal(error: OSError, unprivileged: bool) -> SandboxError:
    hint = (
        "; this system may forbid user namespaces to ordinary users (sysctl kernel.unprivileged_userns_clone, "
        "user.max_user_namespaces or, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns)"
        if unprivileged
        else ""
    )
    return SandboxError(f"the sandbox cannot be made: {error.strerror}{hint}")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
