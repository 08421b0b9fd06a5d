"""The module of each operation, imported at its first use: koko's command line imports only what its link needs."""

from __future__ import annotations

from kokofast.plan.operations import (
    AddMirror,
    ConfigureEnd,
    ConfigureNode,
    CreateLink,
    MakeNamespace,
    RemoveMirror,
    SetAside,
    SetSysctls,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Protocol

    from kokofast.plan.observed import Namespace
    from kokofast.plan.operations import Operation
    from kokofast.plan.step import Step
    from kokofast.topology.problems import Problem
    from kokofast.wire.message import KernelError

    class Home(Protocol):
        """The functions of an operation's module. It may have encode_ahead() (see Executor) and note() (below)."""

        # (executor, operations of this type) -> one result each, in order
        execute: Callable[..., list[KernelError | OSError | None]]
        # (applied, numbers of started operations of this type) -> a line for each thing that is left
        undo: Callable[..., list[str]]
        # (applied, operation, refusal, obstacle) -> place in the file, and sentence
        locate: Callable[..., Problem]
        # (plan, operation) -> what a dry run shows, None for nothing
        describe: Callable[..., Step | None]


# In the order of undoing.
MODULES: dict[type[object], str] = {
    CreateLink: "create_link",  # finds the links to delete, after all undoing
    AddMirror: "mirror",
    RemoveMirror: "mirror",
    ConfigureEnd: "configure_end",
    ConfigureNode: "configure_node",  # its routes need the addresses of the ends, and these up
    MakeNamespace: "make_namespace",
    SetSysctls: "set_sysctls",
    SetAside: "set_aside",
}
# Undone after the deletion of what the run made, which may have the names that these need.
AFTER_DELETION = ("set_aside",)


def home(name: str) -> Home:
    """Import the module of this name."""
    module: Any = __import__(f"{__package__}.{name}", fromlist=("execute",))
    found: Home = module
    return found


def home_of(operation: Operation) -> Home:
    """Import the module of an operation."""
    return home(MODULES[type(operation)])


def note(operations: Iterable[Operation], observed: Sequence[Namespace | None]) -> list[Operation]:
    """Update the observed namespaces after operations; return those whose effect only another look can show."""
    rest: list[Operation] = []
    for kind, chosen in by_kind(operations).items():
        has_noted = getattr(home(MODULES[kind]), "note", None)
        rest += [one for one in chosen if has_noted is None or not has_noted(one, observed)]
    return rest


def by_kind(operations: Iterable[Operation]) -> dict[type[object], list[Operation]]:
    """Group operations by their type."""
    found: dict[type[object], list[Operation]] = {}
    for operation in operations:
        found.setdefault(type(operation), []).append(operation)
    return found


def load(operations: Iterable[Operation]) -> None:
    """Import the modules of these operations before they run.

    A later import may fail, and would wait while another thread imports trio.
    """
    for kind in set(map(type, operations)):
        home(MODULES[kind])
