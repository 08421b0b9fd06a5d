"""Nodes that resolve without a daemon: netns, path, pid, host."""

from __future__ import annotations

import errno
import os

from kokofast.host import namespaces as host
from kokofast.host.namespaces import named
from kokofast.topology.node_kinds import CONTAINER_KINDS
from kokofast.topology.values import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.topology.model import Node

# Target -> the path of the namespace file, of each node kind that needs no daemon.
PATHS: dict[str, Callable[[str], str]] = {
    "netns": named,
    "path": str,
    "pid": lambda target: host.of_process(int(target)),
    "host": lambda _: host.HERE,
}

_NO_NAMESPACE = (errno.ENOENT, errno.EINVAL, errno.ELOOP)


def path_of(node: Node) -> str:
    """Return the path of the node's network namespace file.

    Raises ValueError for a name that cannot be part of a path, and for containers.
    """
    find = PATHS.get(node.kind)
    if find is None:
        raise ValueError(f"a {node.kind} node has no path of its own")
    return find(node.target)


def stale(name: str) -> str | None:
    """Describe a leftover in /run/netns that leads to no namespace, and how to remove it; None for all else."""
    path = named(name)
    if os.path.islink(path):
        return f"{quote(path)} is a symbolic link that leads to no namespace; remove it with {_command('rm', path)}"
    claim = host.claimed(path)
    lab = claim.split(":")[1] if claim is not None else ""
    if lab:
        return (
            f"there is no network namespace {quote(name)}, but the lab {quote(lab)} has claimed its name: the run that "
            "was to make it was killed, or has made it in another mount namespace; remove the claim with "
            f"{_command('kokofast', 'destroy', '--name', lab)}"
        )
    if host.read_plain(path) == "":
        return (
            f"{quote(path)} is an empty file and no namespace: an 'ip netns add' was killed, or has made it in another "
            f"mount namespace; remove it with {_command('ip', 'netns', 'delete', name)}"
        )
    return None


def _command(*words: str) -> str:
    import shlex

    return f"'{' '.join(shlex.quote(word) if word.isprintable() else f'${word!a}' for word in words)}'"


def explain(node: Node, error: OSError, *, can_create: bool = True) -> str:
    """Say why the node's namespace could not be opened, and what to do; can_create: batch could make it."""
    if node.kind in CONTAINER_KINDS and error.errno in (errno.ENOENT, errno.ESRCH):
        return f"container {node.target!r} ended while its namespace was opened"
    reason = stale(node.target) if node.kind == "netns" and error.errno in _NO_NAMESPACE else None
    if reason is not None:
        return reason
    if error.errno == errno.ENOENT:
        if node.kind == "netns":
            batch = ', or have it made by "create": true in the file or --create' if can_create else ""
            return f"there is no network namespace {quote(node.target)}; make it with 'ip netns add'{batch}"
        if node.kind == "pid":
            return f"there is no process {node.target}"
        return f"there is no file {node.target!r}"
    if error.errno == errno.EINVAL:
        return f"{error.filename or node.target!r} is not a network namespace"
    if error.errno == errno.ESRCH:
        return f"process {node.target} has ended"
    if error.errno == errno.EACCES and (node.kind == "pid" or node.kind in CONTAINER_KINDS):
        whose = f"process {node.target} is" if node.kind == "pid" else f"the processes of container {node.target!r} are"
        return f"{whose} another user's: to look into it needs root, or CAP_SYS_PTRACE"
    return f"the namespace cannot be opened: {os.strerror(error.errno or 0)}"
