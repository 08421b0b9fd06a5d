"""One epoch of a timeline: what changes at one time, and where the user wrote that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Command:
    """A command to run in the namespace of a node. place is that in the timeline."""

    __slots__ = ("arguments", "node", "place")

    def __init__(self, node: str, arguments: tuple[str, ...], place: str) -> None:
        self.node = node
        self.arguments = arguments
        self.place = place


class Epoch:
    """What changes at one time.

    Attributes:
        at: Seconds after the start of the timeline; None for at once.
        place: Of the epoch in the timeline: ``t.jsonl:12``.
        changes: As topology.change.make_change() takes them.
        paths: The paths of lists in changes as the user wrote them, where they have other names.
        commands: To be run after the changes.
    """

    __slots__ = ("at", "changes", "commands", "paths", "place")

    def __init__(
        self,
        at: float | None,
        place: str,
        changes: Mapping[str, list[object]],
        commands: tuple[Command, ...] = (),
        paths: Mapping[str, str] | None = None,
    ) -> None:
        self.at = at
        self.place = place
        self.changes = changes
        self.commands = commands
        self.paths: Mapping[str, str] = paths if paths is not None else {}

    def where(self, path: str) -> str:
        """Return the place of a path in the changes."""
        name, bracket, rest = path.partition("[")
        path = self.paths.get(name, name) + bracket + rest
        return f"{self.place} {path}" if path else self.place


def is_word(value: object) -> bool:
    """Whether a value can be an argument of a program."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= one <= "\udfff" for one in value)
