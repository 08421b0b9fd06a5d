"""Node kinds: the ways in which a node leads to its namespace. One entry each; how it resolves is in endpoints."""

from __future__ import annotations

from kokofast.kinds.fields import Field
from kokofast.topology.values import PID_MAX


class NodeKind:
    """A node kind.

    Args:
        field: Its key in the file, which is its name, and the target that this holds.
        letter: The letter of koko's option for an end there, in upper case of that for a deletion; "" for none.
        word: What koko's help calls the target; "" where there is none.
        daemon: The module of kokofast.endpoints that asks the daemon; "" for kinds that endpoints.local resolves.
        is_process: Whether the target is a process, with which the node is gone for good.
        is_file: Whether the namespace is at a file that comes and goes in a directory.
        is_own: Whether it is the namespace of the caller: a machine has one.
        is_named: Whether the target is the name of a namespace (ip-netns(8)), which batch can make.
        in_sandbox: Whether a sandbox can have it. All others belong to the machine.
        stem: What end names that the file does not give begin with; "" for the lab's name.
        first: The first number of such names.
    """

    __slots__ = (
        "daemon",
        "field",
        "first",
        "in_sandbox",
        "is_file",
        "is_named",
        "is_own",
        "is_process",
        "letter",
        "name",
        "stem",
        "word",
    )

    def __init__(
        self,
        field: Field,
        *,
        letter: str = "",
        word: str = "",
        daemon: str = "",
        is_process: bool = False,
        is_file: bool = False,
        is_named: bool = False,
        is_own: bool = False,
        in_sandbox: bool = False,
        stem: str = "eth",
        first: int = 1,  # existing namespaces mostly have an eth0
    ) -> None:
        self.name = field.name
        self.field = field
        self.letter = letter
        self.word = word
        self.daemon = daemon
        self.is_process = is_process
        self.is_file = is_file
        self.is_named = is_named
        self.is_own = is_own
        self.in_sandbox = in_sandbox
        self.stem = stem
        self.first = first


_ALL = (
    NodeKind(
        Field("netns", "netns", "a named network namespace (ip netns)"),
        letter="n",
        word="NAMESPACE",
        is_file=True,
        is_named=True,
        in_sandbox=True,
        first=0,
    ),
    NodeKind(
        Field("path", "path", "a namespace file, such as /run/netns/x or /proc/4711/ns/net"),
        letter="a",
        word="FILE",
        is_file=True,
    ),
    NodeKind(
        Field("pid", "int", "the namespace of a process", minimum=1, maximum=PID_MAX),
        letter="p",
        word="PID",
        is_process=True,
    ),
    # The machine has an eth0 and the ends of other labs.
    NodeKind(
        Field("host", "host", "true: the namespace of the caller; a text: the host that the node is on"),
        letter="c",
        is_own=True,
        in_sandbox=True,
        stem="",
        first=0,
    ),
    NodeKind(Field("docker", "container", "a container of Docker"), letter="d", word="CONTAINER", daemon="docker"),
    NodeKind(Field("podman", "container", "a container of Podman"), daemon="docker"),
    NodeKind(
        Field("cri", "cri_container", "a container of a CRI runtime: CRI-O, containerd"),
        letter="e",
        word="CONTAINER",
        daemon="cri",
    ),
)
NODES = {kind.name: kind for kind in _ALL}
CONTAINER_KINDS = tuple(kind.name for kind in _ALL if kind.daemon)
