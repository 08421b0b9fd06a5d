"""A sandbox: user, network and mount namespaces of our own, so that kokofast needs no root and leaves nothing."""

from __future__ import annotations

import contextlib
import os

from kokofast.host import libc
from kokofast.host.limits import missing_capabilities
from kokofast.host.namespaces import NETNS_DIR
from kokofast.host.netlink import Socket
from kokofast.wire.link import IFF_UP, RTM_SETLINK
from kokofast.wire.message import Request


class SandboxError(Exception):
    """This machine does not let us make a sandbox; the message says why and what helps."""


def enter() -> None:
    """Moves this process, which must have one thread, into new namespaces that end with it and its children.

    Without root a user namespace comes first, in which we are root (user_namespaces(7)). Raises SandboxError.
    """
    uid, gid = os.geteuid(), os.getegid()
    unprivileged = bool(missing_capabilities())
    try:
        if unprivileged:
            libc.unshare(libc.CLONE_NEWUSER)
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"0 {uid} 1")
            _write("/proc/self/gid_map", f"0 {gid} 1")
        libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS)
        libc.mount("none", "/", None, libc.MS_REC | libc.MS_PRIVATE)
        # The namespaces of the machine stay out of sight and out of reach.
        target = NETNS_DIR if os.path.isdir(NETNS_DIR) else os.path.dirname(NETNS_DIR)
        libc.mount("kokofast", target, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=755")
        os.makedirs(NETNS_DIR, exist_ok=True)
    except OSError as error:
        hint = (
            "; this system may forbid user namespaces to ordinary users (sysctl kernel.unprivileged_userns_clone, "
            "user.max_user_namespaces or, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns)"
            if unprivileged
            else ""
        )
        raise SandboxError(f"the sandbox cannot be made: {error.strerror}{hint}") from error
    with contextlib.suppress(OSError):  # only for /sys/class/net to be that of the sandbox; some containers forbid it
        libc.mount("sysfs", "/sys", "sysfs", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)
    socket = Socket()
    socket.send([Request(RTM_SETLINK, {"index": 1, "flags": IFF_UP, "change": IFF_UP})])
    socket.close()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
