"""Named network namespaces: make them, name them and remove them in NETNS_DIR, as ip-netns(8) does."""

from __future__ import annotations

import errno
import fcntl
import os

from kokofast.host import libc
from kokofast.host.limits import explained
from kokofast.host.namespaces import NETNS_DIR, OWN, check_name, claimed, named, new_namespace, open_namespace
from kokofast.host.threads import in_own_thread
from kokofast.wire.message import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kokofast.host.namespaces import Identity, NewNamespace
    from kokofast.host.netlink import Socket


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
            made += [_make_or_explain(directory, name, claim, mark) for name, claim in jobs]
        finally:
            os.close(directory)
        return made

    return in_own_thread(job)


# A function of its own, as memory may end in it: for a handler more than 256 instructions into a function Python
# allocates the instruction's number, and without memory it tries that again for ever (exception_unwind in ceval.c).
def _make_or_explain(
    directory: int, name: str, claim: str, mark: Callable[[Socket, str], None]
) -> NewNamespace | OSError | KernelError:
    try:
        return _make_one(directory, name, claim, mark)
    except OSError as error:
        return explained(error)
    except KernelError as error:
        return error
    except ValueError as error:  # an invalid name; keep the other results
        return OSError(errno.EINVAL, str(error))


def _make_one(directory: int, name: str, claim: str, mark: Callable[[Socket, str], None]) -> NewNamespace:
    check_name(name)
    made = new_namespace()  # nothing may fail once it has a name
    try:
        mark(made.socket, claim)
        _mount(directory, name, claim, OWN)
    except BaseException:
        made.close()
        raise
    return made


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
        raise explained(error, "mount") from error


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
