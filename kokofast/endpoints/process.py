"""Check that a pid is still the same process, and that it belongs to the container."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PROC = "/proc"
STARTTIME = 22 - 3  # proc_pid_stat(5): field 22; the one behind the name is field 3
IDENTITY_DIGITS = 64
# Prefixes of the id in the name of a container's cgroup. Docker and containerd have none with cgroupfs;
# libpod-payload- is of podman --cgroups=split.
PREFIXES = (b"", b"docker-", b"libpod-", b"libpod-payload-", b"crio-", b"cri-containerd-")
# Files that every runtime mounts from a folder named by the id of the container or its pod's sandbox.
MOUNTED = (b"/etc/hostname", b"/etc/hosts", b"/etc/resolv.conf", b"/run/.containerenv")


def started(pid: int) -> int | None:
    """Return when the process started, in clock ticks after boot; None when it does not exist.

    pid and start time together identify a process: a pid is used again only later.
    """
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may hold spaces and parentheses.
    return int(text.rpartition(b")")[2].split()[STARTTIME])


def belongs_to(pid: int, identities: Iterable[str]) -> bool:
    """Whether the process belongs to one of these containers, by its cgroup or the files mounted into it.

    A daemon on another machine (DOCKER_HOST, a socket of a virtual machine) has other pids, and one that lies may give
    any pid. So compare whole ids with whole names, and only where the runtime writes them for the container: the mount
    points of the host name every container, and the cgroups of monitors (libpod-conmon-ID.scope) hold host processes.
    """
    wanted = frozenset(identity.encode() for identity in identities if is_identity(identity))
    return _is_in(pid, "cgroup", wanted, _of_cgroup) or _is_in(pid, "mountinfo", wanted, _of_mount)


def is_identity(text: str) -> bool:
    """Whether this is the whole id of a container or a pod's sandbox: 64 hexadecimal digits in all runtimes."""
    return len(text) == IDENTITY_DIGITS and not text.strip("0123456789abcdef")


def _is_in(pid: int, file_name: str, wanted: frozenset[bytes], names: Callable[[bytes], Iterable[bytes]]) -> bool:
    try:
        with open(f"{PROC}/{pid}/{file_name}", "rb") as file:
            return any(not wanted.isdisjoint(names(line)) for line in file)
    except OSError:  # the process has ended
        return False


def _of_cgroup(line: bytes) -> Iterator[bytes]:
    """Yield possible ids of a line of /proc/PID/cgroup, ``4:memory:/system.slice/docker-ID.scope``; cgroups(7)."""
    for name in line.rstrip(b"\n").split(b":", 2)[-1].split(b"/"):
        # With cgroupfs, but a caller that expects systemd, the name is SLICE:PREFIX:ID.
        prefix, colon, identity = name.rpartition(b":")
        if colon:
            if prefix.rpartition(b":")[2] + b"-" in PREFIXES:
                yield identity
            continue
        prefix, dash, identity = name.removesuffix(b".scope").rpartition(b"-")
        if prefix + dash in PREFIXES:
            yield identity


def _of_mount(line: bytes) -> Iterable[bytes]:
    """Return possible ids of a line of proc_pid_mountinfo(5): of the mounted file, never of the mount point.

    ``36 35 8:1 /var/lib/docker/containers/ID/hosts /etc/hosts rw``
    """
    fields = line.split(b" ", 5)
    return fields[3].split(b"/") if len(fields) > 5 and fields[4] in MOUNTED else ()
