"""Network namespaces: find them, open them safely, and open sockets in them. netns_dir.py makes named ones.

A namespace is identified by (device, inode) of its nsfs file. Several names may lead to one namespace.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from kokofast.host import libc
from kokofast.host.netlink import Socket
from kokofast.host.threads import in_own_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol, TypeVar

    Identity = tuple[int, int]

    class Closable(Protocol):
        """What open_each() opens."""

        def close(self) -> None:
            """Close it."""

    Opened = TypeVar("Opened", bound=Closable)

HERE = "/proc/self/ns/net"  # the caller's network namespace; namespaces(7)
OWN = "/proc/thread-self/ns/net"  # the calling thread's
NETNS_DIR = "/run/netns"
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)
CLAIM_PREFIX = "kokofast:"


def check_name(name: str) -> None:
    """Raise ValueError unless the name is safe as a file in NETNS_DIR: root uses the path."""
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > 255:
        raise ValueError(f"{name!r} cannot be the name of a network namespace")


def of_process(pid: int) -> str:
    """Return the path of the network namespace that a process is in; proc_pid_ns(5)."""
    return f"/proc/{pid}/ns/net"


def named(name: str) -> str:
    """Return the path of a named network namespace. Raises ValueError."""
    check_name(name)
    return f"{NETNS_DIR}/{name}"


def open_namespace(path: str) -> int:
    """Open a network namespace file; the descriptor keeps the namespace alive.

    Check the type of the file before opening it for reading: opening a FIFO blocks, opening a device may act.
    Raises OSError: ENOENT, EACCES ... as open(2); EINVAL when the file is no network namespace.
    """
    # In NETNS_DIR only root can create files.
    fd = os.open(path, _READ) if os.path.dirname(path) == NETNS_DIR else _open_carefully(path)
    try:
        if fcntl.ioctl(fd, NS_GET_NSTYPE) == libc.CLONE_NEWNET:
            return fd
    except OSError:  # ENOTTY: not of nsfs
        pass
    os.close(fd)
    raise OSError(errno.EINVAL, "not a network namespace", path)


def _open_carefully(path: str) -> int:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "not a network namespace", path)
        return os.open(f"/proc/self/fd/{place}", _READ)
    finally:
        os.close(place)


def identity(fd: int) -> Identity:
    """Return (device, inode) of an open namespace."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def identity_at(path: str) -> Identity | None:
    """Return (device, inode) of what is at a path; None if nothing is there that we may look at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def misled(path: str, expected: Identity) -> OSError | None:
    """Return why a path no longer leads to the expected namespace; None if it does, or if that cannot be seen."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, ProcessLookupError):
        return OSError(errno.ESTALE, f"{path} is gone by now", path)
    except OSError:
        return None
    if (found.st_dev, found.st_ino) == expected:
        return None
    return OSError(errno.ESTALE, f"{path} leads to another network namespace by now", path)


def open_each(namespaces: Iterable[int], make: Callable[[], Opened]) -> list[Opened | OSError]:
    """Return what make() opens, or its OSError, in each of these open namespaces.

    A new thread enters them, and ends. Raises OSError EAGAIN when no thread can be started.
    """

    def job() -> list[Opened | OSError]:
        found: list[Opened | OSError] = []
        try:
            for fd in namespaces:
                try:
                    libc.setns(fd, libc.CLONE_NEWNET)
                    found.append(make())
                except OSError as error:
                    found.append(error)
        except BaseException:
            _close_all(found)
            raise
        return found

    return in_own_thread(job)


def open_sockets(namespaces: Iterable[int]) -> list[Socket]:
    """Return a netlink socket in each of these open namespaces, or raise the first OSError."""
    found = open_each(namespaces, Socket)
    sockets = [item for item in found if isinstance(item, Socket)]
    for item in found:
        if isinstance(item, OSError):
            _close_all(sockets)
            raise item
    return sockets


def _close_all(found: Iterable[Closable | OSError]) -> None:
    for item in found:
        if not isinstance(item, OSError):
            item.close()


class NewNamespace:
    """A new namespace: its descriptor, its identity and a netlink socket in it."""

    __slots__ = ("fd", "identity", "socket")

    def __init__(self, fd: int, identity: Identity, socket: Socket) -> None:
        self.fd = fd
        self.identity = identity
        self.socket = socket

    def close(self) -> None:
        """Close the descriptor and the socket. The namespace ends if it has no name."""
        os.close(self.fd)
        self.socket.close()


def enter_new_namespace() -> None:
    """Give the calling thread a new network namespace. Raises OSError, which names a limit that is reached."""
    try:
        libc.unshare(libc.CLONE_NEWNET)
    except OSError as error:
        from kokofast.host.limits import explained  # not needed by koko's command line

        raise explained(error, "unshare") from error


def new_namespace() -> NewNamespace:
    """Give the calling thread a new network namespace, and return that with a socket in it. Raises OSError."""
    enter_new_namespace()
    fd = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return NewNamespace(fd, identity(fd), Socket())
    except BaseException:
        os.close(fd)
        raise


def make_scratch() -> NewNamespace:
    """Make an empty namespace without a name, which ends with its descriptor and its socket. Raises OSError."""
    return in_own_thread(new_namespace)


def claimed(path: str) -> str | None:
    """Return the claim in a file that never became a namespace (its maker was killed); None for all else."""
    text = read_plain(path)
    return text if text is not None and text.startswith(CLAIM_PREFIX) else None


def read_plain(path: str) -> str | None:
    """Return the beginning of a plain file; None for all else, also for a namespace."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.read(fd, 300).decode("utf-8", "replace")
    except OSError:  # nsfs files cannot be read
        return None
    finally:
        os.close(fd)


def list_named() -> dict[str, bool]:
    """Return the names in NETNS_DIR, sorted, and whether each is a symbolic link; none without NETNS_DIR.

    Symbolic links come last. Users make them, such as to the namespace of a container; ip-netns and we never do.
    """
    try:
        with os.scandir(NETNS_DIR) as entries:
            found = sorted((entry.is_symlink(), entry.name) for entry in entries)
    except FileNotFoundError:
        return {}
    return {name: symlink for symlink, name in found}


def count_named() -> int:
    """Return the number of names in NETNS_DIR."""
    try:
        return len(os.listdir(NETNS_DIR))
    except OSError:
        return 0


def list_processes() -> Iterator[tuple[int, Identity]]:
    """Yield (lowest pid, network namespace) for each namespace of the processes that we may look at."""
    seen: set[Identity] = set()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            found = os.stat(f"/proc/{pid}/ns/net")
        except OSError:  # it has ended, or we may not look at it
            continue
        key = found.st_dev, found.st_ino
        if key not in seen:
            seen.add(key)
            yield pid, key
