"""The process behind a container: whether a pid means the same process as before, and the container's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PROC = "/proc"
STARTTIME = 22 - 3  # proc(5), stat: field 22, counted from the one behind the name, which is field 3
IDENTITY_DIGITS = 64
# How runtimes name a container's control group, before its id: Docker and containerd with cgroupfs not at all; Podman's
# second one is that of --cgroups=split.
PREFIXES = (b"", b"docker-", b"libpod-", b"libpod-payload-", b"crio-", b"cri-containerd-")
# What all of them mount into a container from a folder that is called like it, or like its pod's sandbox.
MOUNTED = (b"/etc/hostname", b"/etc/hosts", b"/etc/resolv.conf", b"/run/.containerenv")


def started(pid: int) -> int | None:
    """When the process started, in clock ticks after boot; None when there is none. With the pid it makes a process
    unmistakable: pids are used again, at another time."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold spaces and parentheses itself.
    return int(text.rpartition(b")")[2].split()[STARTTIME])


def bears(pid: int, identities: Iterable[str]) -> bool:
    """Whether the process belongs to one of these containers, by the name of its control group or by the files that
    the runtime mounts into every container.

    A daemon may run elsewhere (DOCKER_HOST, a virtual machine behind a socket): its pids mean other processes here.
    And one that lies may give the pid of any process. So only whole ids count, and only as whole names, in places that
    the runtime fills for the container alone: the mount points of the host name every container, and the control
    groups of the monitors (libpod-conmon-ID.scope) its id too, but those are processes of the host.
    """
    wanted = frozenset(identity.encode() for identity in identities if is_identity(identity))
    return _is_in(pid, "cgroup", wanted, _of_cgroup) or _is_in(pid, "mountinfo", wanted, _of_mount)


def is_identity(text: str) -> bool:
    """Whether this is the whole id of a container or a pod's sandbox, as Docker, Podman, containerd and CRI-O choose
    them: 64 hexadecimal digits."""
    return len(text) == IDENTITY_DIGITS and not text.strip("0123456789abcdef")


def _is_in(pid: int, file_name: str, wanted: frozenset[bytes], names: Callable[[bytes], Iterable[bytes]]) -> bool:
    try:
        with open(f"{PROC}/{pid}/{file_name}", "rb") as file:
            return any(not wanted.isdisjoint(names(line)) for line in file)
    except OSError:  # it ended meanwhile
        return False


def _of_cgroup(line: bytes) -> Iterator[bytes]:
    """The ids that a line of cgroups(7), ``4:memory:/system.slice/docker-ID.scope``, may hold."""
    for name in line.rstrip(b"\n").split(b":", 2)[-1].split(b"/"):
        # Where the runtime has cgroupfs and its caller means systemd, all of the name is SLICE:PREFIX:ID.
        prefix, colon, identity = name.rpartition(b":")
        if colon:
            if prefix.rpartition(b":")[2] + b"-" in PREFIXES:
                yield identity
            continue
        prefix, dash, identity = name.removesuffix(b".scope").rpartition(b"-")
        if prefix + dash in PREFIXES:
            yield identity


def _of_mount(line: bytes) -> Iterable[bytes]:
    """The ids that a line of proc_pid_mountinfo(5), ``36 35 8:1 /var/lib/docker/containers/ID/hosts /etc/hosts rw``,
    may hold: in the file behind the mount, never in the mount point."""
    fields = line.split(b" ", 5)
    return fields[3].split(b"/") if len(fields) > 5 and fields[4] in MOUNTED else ()
