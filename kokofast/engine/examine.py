"""Look at the machine for kokofast doctor. Changes nothing: what it makes ends before it returns."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shlex
import socket
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from kokofast.doctor.facts import Daemon, Facts
from kokofast.endpoints.containers import daemon_of, key_of
from kokofast.endpoints.cri import SOCKETS
from kokofast.endpoints.docker import DOCKER_SOCKET, PODMAN_SOCKET, UNIX
from kokofast.host import limits
from kokofast.host.lock import LOCK_DIR
from kokofast.host.namespaces import NETNS_DIR, enter_new_namespace, identity_at, list_named, list_processes
from kokofast.host.netns_dir import names_are_private
from kokofast.host.threads import in_own_thread
from kokofast.topology.node_kinds import NODES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kokofast.topology.model import Node, Topology

SYSCTLS = (
    "user.max_net_namespaces",
    "user.max_user_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "fs.mount-max",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv6.neigh.default.gc_thresh3",
)
CONNECT_SECONDS = 1.0


def examine(topology: Topology | None, *, sandbox: bool = False) -> Facts:
    """Return what there is. With a topology also what it names. Call it while the process has a single thread."""
    problem, kernel, untested = _try_the_kernel()
    named = list_named()
    nodes = list(topology.nodes.values()) if topology is not None else []
    to_make = {node.target for node in nodes if NODES[node.kind].is_named and (node.create or sandbox)}
    return Facts(
        kernel=kernel,
        untested=untested,
        capabilities=frozenset(limits.CAPABILITIES) - frozenset(limits.missing_capabilities((*limits.CAPABILITIES,))),
        is_root=os.geteuid() == 0,
        sandbox=problem,
        limits=_limits(),
        used={"fs.mount-max": len(_mounts()), "user.max_net_namespaces": 0 if sandbox else _namespaces(named)},
        to_make=len(to_make if sandbox else to_make - named.keys()),
        copies=_copies(_mounts()),
        private=names_are_private(),
        writable={path: _is_writable(path) for path in (NETNS_DIR, LOCK_DIR)},
        daemons=tuple(_daemons([node for node in nodes if NODES[node.kind].daemon])),
        packages=_packages(),
        python=shlex.quote(sys.executable),
        versions=f"{os.uname().sysname} {os.uname().release}, Python {sys.version.split()[0]}",
    )


def _try_the_kernel() -> tuple[str, dict[str, str], str]:
    """Return why no sandbox can be made, what the kernel has, and why that could not be tried.

    A child makes the sandbox, and tries the kernel in it. Else that needs capabilities.
    """
    problem, kernel, untested = _ask_a_child()
    if not problem:
        return problem, kernel, untested
    if limits.missing_capabilities():
        return problem, {}, "it takes root, or a sandbox"
    try:
        return problem, in_own_thread(_try_in_a_new_namespace), ""
    except OSError as error:
        return problem, {}, error.strerror or str(error)


def _try_in_a_new_namespace() -> dict[str, str]:
    from kokofast.ops.trial import try_all

    enter_new_namespace()
    return try_all()


def _ask_a_child() -> tuple[str, dict[str, str], str]:
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        child = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return f"no process can be started: {error.strerror}; see ulimit -u and the line on threads", {}, ""
    if child == 0:
        try:
            os.close(reader)
            with open(writer, "w", encoding="utf-8") as file:
                json.dump(_in_a_sandbox(), file)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(child, 0)
    if not text:
        return "the process that tried it ended without an answer", {}, ""
    problem, kernel, untested = json.loads(text)
    return problem, kernel, untested


def _in_a_sandbox() -> tuple[str, dict[str, str], str]:
    from kokofast.host.sandbox import SandboxError, enter

    try:
        enter()
    except SandboxError as error:
        return str(error), {}, ""
    from kokofast.ops.trial import try_all

    try:
        return "", try_all(), ""
    except OSError as error:
        return "", {}, error.strerror or str(error)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def _limits() -> dict[str, int | None]:
    found = {name: _number(limits.sysctl(name)) for name in SYSCTLS}
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found["open files"] = hard if hard != resource.RLIM_INFINITY else None
    found["memory"] = _available_memory()
    group = _cgroup("pids")
    room = [(most, now) for folder in group for most, now in [_of_cgroup(folder, "pids.max", "pids.current")] if most]
    found["pids.max"] = min((most - now for most, now in room), default=None)
    return found


def _namespaces(names: Iterable[str]) -> int:
    """Return how many network namespaces we can see."""
    found = {identity for _, identity in list_processes()}
    return len(found | {identity for name in names if (identity := identity_at(f"{NETNS_DIR}/{name}")) is not None})


def _available_memory() -> int | None:
    """Return the bytes that are free on the machine, or in the cgroup if that is less."""
    lines = (_read("/proc/meminfo") or "").splitlines()
    room = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    for folder in _cgroup("memory"):
        most, now = _of_cgroup(folder, "memory.max", "memory.current")
        if most is not None:
            room.append(max(most - now, 0))
    return min(room, default=None)


def _of_cgroup(folder: str, limit: str, use: str) -> tuple[int | None, int]:
    return _number(_read(f"{folder}/{limit}")), _number(_read(f"{folder}/{use}")) or 0


def _cgroup(controller: str) -> list[str]:
    """Return the folders of the process' cgroup and those above it; cgroups(7). Of version 1 pids only is the same."""
    folders: list[str] = []
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = f"/sys/fs/cgroup/{controllers}" if controllers else "/sys/fs/cgroup"
        while path and path != "/":
            folders.append(top + path)
            path = os.path.dirname(path)
        folders.append(top)
    return folders


def _mounts() -> list[list[str]]:
    return [line.split() for line in (_read("/proc/self/mountinfo") or "").splitlines()]


def _copies(mounts: list[list[str]]) -> int:
    """Return how many mounts one name in NETNS_DIR takes.

    Where the directory above is shared, too, its hidden part gets each mount as well: mount_namespaces(7).
    """
    fd = os.open(_existing(NETNS_DIR), os.O_PATH | os.O_CLOEXEC)
    try:
        fields = dict(line.split(":", 1) for line in (_read(f"/proc/self/fdinfo/{fd}") or "").splitlines())
    finally:
        os.close(fd)
    groups = {mount[0]: _groups(mount) for mount in mounts}
    own = groups.get(fields.get("mnt_id", "").strip(), set())
    is_mount = any(mount[4] == NETNS_DIR and _groups(mount) == own for mount in mounts)
    # Without a mount of its own the directory is bound on itself first, which makes one more of the group.
    return max(1, sum(bool(own & group) for group in groups.values()) + (bool(own) and not is_mount))


def _groups(mount: list[str]) -> set[str]:
    return {part for part in mount[6 : mount.index("-")] if part.startswith("shared:")}


def _existing(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _is_writable(path: str) -> bool:
    return os.access(_existing(path), os.W_OK, effective_ids=True)


def _daemons(nodes: list[Node]) -> Iterator[Daemon]:
    """Yield the daemons that nodes want, and others whose sockets are there."""
    wanted = {(key.kind, key.address) for key in map(key_of, nodes)}
    for kind, address in sorted(wanted):
        yield _daemon(kind, address, needed=True)
    known = [("docker", UNIX + DOCKER_SOCKET), ("podman", UNIX + PODMAN_SOCKET), *(("cri", path) for path in SOCKETS)]
    kinds = {kind for kind, _ in wanted}
    for kind, address in known:
        if kind not in kinds and os.path.exists(address.removeprefix(UNIX)):
            yield _daemon(kind, address, needed=False)


def _daemon(kind: str, address: str, *, needed: bool) -> Daemon:
    title = daemon_of(kind, address).title
    if "://" in address and not address.startswith(UNIX):
        return Daemon(kind, title, "it is on a network: not tested", needed, "network")
    path = address.removeprefix(UNIX)
    problems = [_cannot_connect(one) for one in ([path] if path else SOCKETS)]
    if None in problems:
        return Daemon(kind, title, "", needed)
    found = [problem for problem in problems if problem is not None]
    first = next((problem for problem in found if isinstance(problem, PermissionError)), found[0])
    is_denied = isinstance(first, PermissionError)
    return Daemon(kind, title, f"{first.filename}: {first.strerror}", needed, "denied" if is_denied else "absent")


def _cannot_connect(path: str) -> OSError | None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(CONNECT_SECONDS)
        try:
            client.connect(path)
        except TimeoutError:
            return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), path)
        except OSError as error:
            return OSError(error.errno, error.strerror, path)
    return None


def _packages() -> dict[str, tuple[str, str]]:
    """Return the installed and the oldest version of each package that kokofast depends on."""
    found: dict[str, tuple[str, str]] = {}
    with contextlib.suppress(PackageNotFoundError):  # not installed, but run from its folder
        for line in requires("kokofast") or ():
            if ";" in line:  # of an extra
                continue
            name, _, oldest = line.partition(">=")
            try:
                found[name] = version(name), oldest
            except PackageNotFoundError:
                found[name] = "", oldest
    return found
