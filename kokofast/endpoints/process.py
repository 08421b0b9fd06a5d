"""The process behind a container: whether a pid means the same process as before, and the container's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PROC = "/proc"
STARTTIME = 22 - 3  # proc(5), stat: field 22, counted from the one behind the name, which is field 3


def namespace_path(pid: int) -> str:
    """The file of the network namespace that a process is in."""
    return f"/proc/{pid}/ns/net"


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


def bears(pid: int, names: Iterable[str]) -> bool:
    """Whether the process bears one of these container ids: in its control group, or in what is mounted in it.

    A daemon may run elsewhere (DOCKER_HOST, a virtual machine behind a socket): its pids then mean other processes
    here, and a link would end up in somebody else's namespace.
    """
    wanted = [name.encode() for name in names if name]
    for file_name in ("cgroup", "mountinfo"):
        try:
            with open(f"{PROC}/{pid}/{file_name}", "rb") as file:
                text = file.read()
        except OSError:  # it ended meanwhile
            continue
        if any(name in text for name in wanted):
            return True
    return False
