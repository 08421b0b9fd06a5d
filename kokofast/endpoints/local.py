"""The nodes that need no service to resolve: netns, path, pid, host."""

from __future__ import annotations

import errno
import os

from kokofast.host.namespaces import named
from kokofast.topology.model import CONTAINER_KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.topology.model import Node


def path_of(node: Node) -> str:
    """The path of the node's network namespace file. Raises ValueError on a name that cannot be part of a path, and
    for a container, which its daemon has to be asked for."""
    if node.kind == "netns":
        return named(node.target)
    if node.kind == "path":
        return node.target
    if node.kind == "pid":
        return f"/proc/{int(node.target)}/ns/net"
    if node.kind == "host":
        return "/proc/self/ns/net"
    raise ValueError(f"a {node.kind} node has no path of its own")


def explain(node: Node, error: OSError) -> str:
    """Why the node's namespace could not be opened, and what to do."""
    if node.kind in CONTAINER_KINDS and error.errno in (errno.ENOENT, errno.ESRCH):
        return f"container {node.target!r} ended while its namespace was opened"
    if error.errno == errno.ENOENT:
        if node.kind == "netns":
            return (
                f"there is no network namespace {node.target!r}; make it with 'ip netns add', "
                'or have it made by "create": true in the file or --create'
            )
        if node.kind == "pid":
            return f"there is no process {node.target}"
        return f"there is no file {node.target!r}"
    if error.errno == errno.EINVAL:
        return f"{error.filename or node.target!r} is not a network namespace"
    if error.errno == errno.ESRCH:
        return f"process {node.target} has ended"
    if error.errno == errno.EACCES and node.kind == "pid":
        return f"process {node.target} is another user's: to look into it takes root, or CAP_SYS_PTRACE"
    return f"the namespace cannot be opened: {os.strerror(error.errno or 0)}"
