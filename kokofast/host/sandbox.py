"""A sandbox: namespaces of our own, users and processes included, so that kokofast needs no root and leaves nothing."""

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
    """This machine does not let us make a sandbox; the message says why and what helps."""


def enter() -> None:
    """Goes on in a child process with namespaces of its own; when that ends, everything in them is gone.

    The calling process, which must have one thread, only waits for the child, passes signals on to it, and ends with
    its exit status: enter() returns in the child. The child is the first of a process namespace with a /proc of its
    own: no namespace of the machine can be found, or reached, from inside, also not by root.
    Without root a user namespace comes first, in which we are root (user_namespaces(7)). Raises SandboxError.
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
    # None may arrive between the fork and the moment when both know what to do with it.
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
    # The names of the machine's namespaces stay out of sight.
    target = NETNS_DIR if os.path.isdir(NETNS_DIR) else os.path.dirname(NETNS_DIR)
    libc.mount("kokofast", target, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=755")
    os.makedirs(NETNS_DIR, exist_ok=True)
    if os.path.isdir(LOCK_DIR):  # labs of the same name out there are others
        libc.mount("kokofast", LOCK_DIR, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=700")
    with contextlib.suppress(OSError):  # only for /sys/class/net to be that of the sandbox; some containers forbid it
        libc.mount("sysfs", "/sys", "sysfs", quiet)
    socket = Socket()
    socket.send([Request(RTM_SETLINK, {"index": 1, "flags": IFF_UP, "change": IFF_UP})])
    socket.close()


def run_command(command: list[str]) -> int:
    """Runs a command in the sandbox to its end, passing signals on to it: the first process of a process namespace,
    which we are, is not ended by those that it does not handle. Returns its exit code, 128+n when signal n ended it.

    Raises OSError as execvp(3) when it cannot be run.
    """
    children: list[int] = []
    early = _pass_on_signals(children)
    # Python ignores these two; a command expects that they end it.
    default = (signal.SIGPIPE, signal.SIGXFSZ)
    children.append(os.posix_spawnp(command[0], command, os.environ, setsigmask=(), setsigdef=default))
    for number in early:
        os.kill(children[0], number)  # it is there, ended or not: nobody has waited for it yet
    return _wait(children[0])


PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def _pass_on_signals(children: Sequence[int]) -> list[int]:
    """From now on the signals go to the child, or into the list that is returned while there is none."""
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
    """Whether we are in a terminal's foreground: its Ctrl-C goes to our children as well."""
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
