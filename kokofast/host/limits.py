"""Limits of the process and of the machine: open files, memory, capabilities, sysctls."""

from __future__ import annotations

import errno
import fcntl
import os
import resource

# include/uapi/linux/capability.h
CAPABILITIES = {
    "CAP_NET_BROADCAST": 11,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}
# Needed to look into network namespaces, and to wire them.
TO_LOOK = ("CAP_SYS_ADMIN",)
TO_WIRE = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN")
# Needed for packet sockets, packet(7).
TO_SEND = ("CAP_NET_RAW", "CAP_SYS_ADMIN")
# Needed for notifications of other network namespaces: NETLINK_LISTEN_ALL_NSID, netlink(7).
TO_WATCH = ("CAP_NET_BROADCAST", *TO_WIRE)

# Descriptors that namespaces do not get: for the standard streams, the event loop, the user's file and imports.
RESERVED = 64

# Bytes of memory that must be free before more work is begun: a chunk of work takes a megabyte.
HEADROOM = 8 << 20

# The sysctl behind a system call's errno; unshare(2), mount(2), open(2).
_SYSCTLS = {
    ("unshare", errno.ENOSPC): ("user.max_net_namespaces", "network namespaces of a user"),
    ("mount", errno.ENOSPC): ("fs.mount-max", "mounts of a mount namespace"),
    ("open", errno.ENFILE): ("fs.file-max", "open files of the machine"),
}

_MEMORY = ((resource.RLIMIT_AS, "address space", "-v"), (resource.RLIMIT_DATA, "data", "-d"))


def explained(error: OSError, call: str = "open") -> OSError:
    """Return the error. If a limit caused it, the text names the limit and says how to raise it."""
    hint = ""
    if error.errno == errno.EMFILE:
        hint = f"the limit on open files is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}; raise it: ulimit -Hn"
    elif (found := _SYSCTLS.get((call, error.errno or 0))) is not None:
        name, what = found
        hint = f"the limit on {what} is {sysctl(name) or 'reached'}; raise it: sysctl -w {name}=NUMBER"
    if not hint:
        return error
    return OSError(error.errno, f"{os.strerror(error.errno or 0)}: {hint}", error.filename)


def sysctl(name: str) -> str | None:
    """Return a sysctl's value in the namespaces of the calling thread; None if it does not exist there.

    Much of net.* exists only in the machine's first network namespace.
    """
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def neighbours(family: str) -> tuple[str, int] | None:
    """Return the name and value of the limit on neighbours ("ipv4": ARP, "ipv6": NDP) of all namespaces together.

    None where the limit is not visible. Source: arp(7), net/core/neighbour.c neigh_alloc().
    """
    name = f"net.{family}.neigh.default.gc_thresh3"
    value = sysctl(name)
    return None if value is None else (name, int(value))


def raise_open_files() -> int:
    """Raise the soft limit on open files to the hard one. Return the number of descriptors for namespaces."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # a container may forbid it: the present limit has to do
            pass
    if soft == resource.RLIM_INFINITY:
        soft = 1 << 20
    return max(soft - RESERVED, 16)


def make_room(descriptors: int) -> None:
    """Grow the process' table of descriptors to this length at once. Do nothing if that fails.

    Otherwise the kernel doubles the table each time it is full. With several threads it waits for an RCU grace period
    each time: 10 to 30 ms. Source: fs/file.c expand_fdtable().
    """
    try:
        fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.close(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, descriptors))
    except OSError:  # beyond the limit on open files
        pass
    finally:
        os.close(fd)


def keep_files(count: int) -> list[int]:
    """Open this many descriptors as a reserve: close them when others are needed. Raises OSError."""
    kept: list[int] = []
    try:
        while len(kept) < count:
            kept.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        for fd in kept:
            os.close(fd)
        raise explained(error) from None
    return kept


def no_room(size: int) -> str | None:
    """Return why the process cannot get this many more bytes, as the end of a sentence; None if it can.

    A size of 0 stands for the stack of a thread. The bytes are mapped to find out, and never touched.
    """
    import mmap  # not needed by koko's command line

    if size == 0:
        soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
        size = 8 << 20 if soft == resource.RLIM_INFINITY else max(soft, 1 << 16)
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE).close()
    except (OSError, MemoryError):
        limits = [
            f"the limit on {what} (ulimit {option}) is {limit >> 20} MB; raise it"
            for number, what, option in _MEMORY
            for limit in resource.getrlimit(number)[:1]
            if limit != resource.RLIM_INFINITY
        ]
        return f": {' and '.join(limits) or 'the machine has no more; close other programs'}"
    return None


def need_room() -> None:
    """Raise OSError ENOMEM when there is not enough memory to begin more work."""
    shortage = no_room(HEADROOM)
    if shortage is not None:
        raise OSError(errno.ENOMEM, f"not enough memory{shortage}")


def missing_capabilities(needed: tuple[str, ...] = TO_WIRE) -> list[str]:
    """Return those of these capabilities that the process does not have; capabilities(7)."""
    try:
        status = open("/proc/self/status", "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "there is no /proc here; mount it: mount -t proc proc /proc") from None
    with status:
        effective = next((int(line.split()[1], 16) for line in status if line.startswith(b"CapEff:")), 0)
    return [name for name in needed if not effective >> CAPABILITIES[name] & 1]
