"""Network namespaces: open them safely, make and remove named ones as ip-netns(8) does.

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
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Identity = tuple[int, int]

HERE = "/proc/self/ns/net"  # the caller's network namespace; namespaces(7)
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


def enter_new_namespace() -> None:
    """Give the calling thread a new network namespace. Raises OSError, which names a limit that is reached."""
    try:
        libc.unshare(libc.CLONE_NEWNET)
    except OSError as error:
        raise _explained(error, "unshare") from error


def _explained(error: OSError, call: str = "open") -> OSError:
    from kokofast.host.limits import explained  # not needed by koko's command line

    return explained(error, call)


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
    """Say why a path no longer leads to the expected namespace; None when it does, or that cannot be seen."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, ProcessLookupError):
        return OSError(errno.ESTALE, f"{path} is gone by now", path)
    except OSError:
        return None
    if (found.st_dev, found.st_ino) == expected:
        return None
    return OSError(errno.ESTALE, f"{path} leads to another network namespace by now", path)


def open_each(namespaces: Iterable[int]) -> list[Socket | OSError]:
    """Return a netlink socket, or its OSError, in each of these open namespaces.

    A new thread enters them, and ends. Raises OSError EAGAIN when no thread can be started.
    """

    def job() -> list[Socket | OSError]:
        found: list[Socket | OSError] = []
        try:
            for fd in namespaces:
                try:
                    libc.setns(fd, libc.CLONE_NEWNET)
                    found.append(Socket())
                except OSError as error:
                    found.append(error)
        except BaseException:
            _close_all(found)
            raise
        return found

    return in_own_thread(job)


def open_sockets(namespaces: Iterable[int]) -> list[Socket]:
    """Return a netlink socket in each of these open namespaces, or raise the first OSError."""
    found = open_each(namespaces)
    sockets = [item for item in found if isinstance(item, Socket)]
    for item in found:
        if isinstance(item, OSError):
            _close_all(sockets)
            raise item
    return sockets


def _close_all(found: Iterable[Socket | OSError]) -> None:
    for item in found:
        if isinstance(item, Socket):
            item.close()


SYSCTL_BYTES = 4096  # more than any value that people write


def write_sysctl(namespace: int, path: str, value: str) -> str:
    """Write /proc/sys/net/PATH of a namespace, unless it has the value, and return the value before.

    The file is that of the namespace of the thread that opens it. Most of those that matter to all interfaces are
    written under the rtnl lock, which the kernel only tries to take: it repeats the system call until the lock is free
    (restart_syscall()), and others that wait in turn come first. Raises OSError.
    """

    def job() -> str:
        libc.setns(namespace, libc.CLONE_NEWNET)
        fd = os.open(f"/proc/sys/net/{path}", os.O_RDWR | os.O_CLOEXEC)
        try:
            before = os.read(fd, SYSCTL_BYTES).decode().strip()
            if before.split() != value.split():
                os.pwrite(fd, value.encode(), 0)
        finally:
            os.close(fd)
        return before

    return in_own_thread(job)


def read_sysctls(namespace: int, paths: Iterable[str]) -> dict[str, str]:
    """Return what is in /proc/sys/net/PATH of a namespace, of those that can be read."""

    def job() -> dict[str, str]:
        libc.setns(namespace, libc.CLONE_NEWNET)
        return _read_sysctls(paths)

    return in_own_thread(job)


def read_sysctl_everywhere(namespace: int, family: str, key: str) -> dict[str, str]:
    """Return what is in /proc/sys/net/FAMILY/conf/NAME/KEY of a namespace, for the default and all interfaces."""

    def job() -> dict[str, str]:
        libc.setns(namespace, libc.CLONE_NEWNET)
        names = sorted(os.listdir(f"/proc/sys/net/{family}/conf"))
        return _read_sysctls(f"{family}/conf/{name}/{key}" for name in names if name != "all")

    return in_own_thread(job)


def _read_sysctls(paths: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        try:
            fd = os.open(f"/proc/sys/net/{path}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            found[path] = os.read(fd, SYSCTL_BYTES).decode(errors="replace").strip()
        except OSError:
            pass
        finally:
            os.close(fd)
    return found


class DirectoryLockedError(OSError):
    """Another program holds the lock of NETNS_DIR."""


def prepare_directory() -> None:
    """Make NETNS_DIR a shared mount, as ip-netns does, so that other mount namespaces see the names in it.

    Do nothing if it is one. Raises DirectoryLockedError while another program prepares it.
    """
    os.makedirs(NETNS_DIR, mode=0o755, exist_ok=True)
    if _share():
        return
    lock = os.open(NETNS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # ip-netns takes the same lock: without it two programs could stack mounts. Any user can hold it, so never wait.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            words = "another program holds its lock (flock(2)); 'fuser -v' shows which"
            raise DirectoryLockedError(errno.EBUSY, words, NETNS_DIR) from None
        if not _share():
            libc.mount(NETNS_DIR, NETNS_DIR, "none", libc.MS_BIND | libc.MS_REC)
            libc.mount("", NETNS_DIR, "none", libc.MS_SHARED | libc.MS_REC)
    finally:
        os.close(lock)


def _share() -> bool:
    """Make the mount at NETNS_DIR shared; return False if it is no mount yet."""
    try:
        libc.mount("", NETNS_DIR, "none", libc.MS_SHARED | libc.MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


class NewNamespace:
    """A new namespace: its descriptor, its identity and a netlink socket in it."""

    __slots__ = ("fd", "identity", "socket")

    def __init__(self, fd: int, identity: Identity, socket: Socket) -> None:
        self.fd = fd
        self.identity = identity
        self.socket = socket


def make_scratch() -> NewNamespace:
    """Make an empty namespace without a name, which ends with its descriptor and its socket. Raises OSError."""

    def job() -> NewNamespace:
        enter_new_namespace()
        fd, socket = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC), None
        try:
            socket = Socket()
            return NewNamespace(fd, identity(fd), socket)
        except BaseException:
            os.close(fd)
            if socket is not None:
                socket.close()
            raise

    return in_own_thread(job)


def make_namespaces(
    jobs: Iterable[tuple[str, str]], mark: Callable[[Socket, str], None]
) -> list[NewNamespace | OSError | KernelError]:
    """Make named namespaces, given (name, claim) of each.

    Call mark(socket, claim), with a socket in the new namespace, before the name exists: so none of our namespaces is
    ever visible without our mark. The claim is also the content of the file under the mount: if we are killed between
    the two steps, the next run knows the leftover file as ours (see claimed()).

    Returns:
        In the same order what was made, or its error (EEXIST: the name is taken).
    """

    def job() -> list[NewNamespace | OSError | KernelError]:
        made: list[NewNamespace | OSError | KernelError] = []
        directory = os.open(NETNS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name, claim in jobs:
                try:
                    made.append(_make_one(directory, name, claim, mark))
                except OSError as error:
                    made.append(_explained(error))
                except KernelError as error:
                    made.append(error)
                except ValueError as error:  # an invalid name; keep the other results
                    made.append(OSError(errno.EINVAL, str(error)))
        finally:
            os.close(directory)
        return made

    return in_own_thread(job)


def _make_one(directory: int, name: str, claim: str, mark: Callable[[Socket, str], None]) -> NewNamespace:
    check_name(name)
    enter_new_namespace()
    own = "/proc/thread-self/ns/net"
    fd = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    socket: Socket | None = None
    try:
        found = identity(fd)  # nothing may fail once it has a name
        socket = Socket()
        mark(socket, claim)
        _mount(directory, name, claim, own)
    except BaseException:
        os.close(fd)
        if socket is not None:
            socket.close()
        raise
    return NewNamespace(fd, found, socket)


def name_namespace(name: str, fd: int, claim: str) -> None:
    """Give an open namespace a name, by a file with this claim. Raises OSError: EEXIST when the name is taken."""
    directory = os.open(NETNS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _mount(directory, name, claim, f"/proc/self/fd/{fd}")
    finally:
        os.close(directory)


def _mount(directory: int, name: str, claim: str, namespace: str) -> None:
    path = named(name)
    _claim_name(directory, name, claim)
    try:
        libc.mount(namespace, path, "none", libc.MS_BIND)
    except OSError as error:
        os.unlink(name, dir_fd=directory)
        raise _explained(error, "mount") from error


def _claim_name(directory: int, name: str, claim: str) -> None:
    """Create a file with our claim under this name, atomically; take over a leftover with the same claim."""
    fd = os.open(f"/proc/self/fd/{directory}", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o444)
    try:
        os.write(fd, claim.encode())
        try:
            # Linking by /proc names the O_TMPFILE file in one step; open(2). With dst_dir_fd Python calls linkat(2),
            # which follows the link in /proc; link(2) would not.
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
        except FileExistsError:
            if claimed(named(name)) != claim:
                raise
    finally:
        os.close(fd)


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


def remove_namespace(name: str, expected: Identity | None) -> None:
    """Remove the name, as ``ip netns del`` does; the kernel ends the namespace when nothing else keeps it alive.

    expected is the namespace that was found there, None for a leftover claim. Do nothing if the name is gone. Raises
    OSError: ESTALE when the name leads to another namespace by now.
    """
    path = named(name)
    if expected is not None:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return
        if (found.st_dev, found.st_ino) != expected:
            os.close(open_namespace(path))  # raises when it is no namespace at all
            raise OSError(errno.ESTALE, "the name leads to another namespace by now", path)
        # Unmounting takes a capability, unlinking write permission: do both or neither.
        if not os.access(NETNS_DIR, os.W_OK, effective_ids=True):
            if os.statvfs(NETNS_DIR).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, f"{NETNS_DIR} is read-only", path)
            raise OSError(errno.EACCES, "removing names there needs root, or CAP_DAC_OVERRIDE", path)
        libc.umount2(path, libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
    elif claimed(path) is None:
        return
    try:  # noqa: SIM105 - contextlib costs koko's command line more than this module
        os.unlink(path)
    except FileNotFoundError:
        pass


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


# The machine's first pid namespace: include/linux/proc_ns.h PROC_PID_INIT_INO.
FIRST_PID_NAMESPACE = 0xEFFFFFFC


def names_are_private() -> bool:
    """Whether names in NETNS_DIR are visible in this mount namespace only, and their namespaces end with it.

    So it is under ``ip netns exec``, and in a container without the machine's directory.
    """
    try:
        if os.stat("/proc/self/ns/mnt").st_ino != os.stat("/proc/1/ns/mnt").st_ino:
            return not _peer_groups("self") & _peer_groups("1")
        if os.stat("/proc/self/ns/pid").st_ino == FIRST_PID_NAMESPACE:
            return False
        # The machine's, mounted into a container, is on another file system than its parent. Ours is bound on itself.
        return os.stat(NETNS_DIR).st_dev == os.stat(os.path.dirname(NETNS_DIR)).st_dev
    except OSError:  # not known
        return False


def _peer_groups(process: str) -> set[str]:
    with open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [line.split() for line in file]
    return {field for mount in mounts if mount[4] == NETNS_DIR for field in mount[6:] if field.startswith("shared:")}


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
