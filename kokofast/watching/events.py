"""What a watch reports: the events, their fields, the JSON Schema of a line, and a line for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "number"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_ERRORS: dict[str, Any] = {"type": "array", "items": _TEXT}

COUNTS = ("created", "updated", "unchanged", "failed", "removed")  # of links, in an event "applied"

# Event -> its line for people, and its fields; those with a "?" may be missing.
EVENTS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "watching": ("watching {links} links of {nodes} nodes", {"links": _COUNT, "nodes": _COUNT, "waiting": _COUNT}),
    "changed": ("{node}:{interface} {change}", {"node": _TEXT, "interface": _TEXT, "change": _TEXT}),
    "done": ("{action} {object}", {"action": _TEXT, "kind": _TEXT, "object": _TEXT, "step": {"type": "object"}}),
    "applied": (
        "{created} links created, {updated} updated, {failed} failed in {seconds} s",
        {
            **dict.fromkeys(COUNTS, _COUNT),
            "seconds": _NUMBER,
            "everything": {"type": "boolean"},
        },
    ),
    "waiting": ("waiting for node {node}: {message}", {"node": _TEXT, "message": _TEXT}),
    "found": ("node {node} is there", {"node": _TEXT}),
    "failed": (
        "{source}: {message}; trying again in {seconds} s",
        {"source": _TEXT, "message": _TEXT, "seconds": _NUMBER},
    ),
    "left_alone": (
        "{link} is changed by others again and again: left alone for {seconds} s",
        {"link": _TEXT, "seconds": _NUMBER},
    ),
    "resumed": ("{link} is kept again", {"link": _TEXT}),
    "overrun": ("notifications were lost: looking at everything", {}),
    "reloaded": ("the file was read again", {"links": _COUNT, "nodes": _COUNT}),
    "file_refused": ("the file has errors; its last valid content holds: {errors}", {"errors": _ERRORS}),
    "daemon_lost": ("{daemon}: {message}", {"daemon": _TEXT, "message": _TEXT}),
    "daemon_back": ("{daemon} is there again", {"daemon": _TEXT}),
    "note": ("{message}", {"message": _TEXT}),
    "destroyed": ("the lab was destroyed by another run: not kept any more", {}),
    "ended": ("ended; the links stay", {}),
}


class Event:
    """Something that a watch reports; docs/watch.md lists the events and their fields.

    Attributes:
        time (datetime.datetime): When it happened, in UTC.
        lab (str): The name of the lab.
        event (str): What happened: "changed", "done", "waiting" and others.
        fields (dict[str, Any]): The fields of this event, by name.
    """

    __slots__ = ("event", "fields", "lab", "time")

    def __init__(self, event: str, lab: str, fields: dict[str, Any]) -> None:
        self.time = datetime.now(UTC)
        self.lab = lab
        self.event = event
        self.fields = fields

    def as_dict(self) -> dict[str, object]:
        """Return the JSON object; docs/watch.md."""
        time = self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"time": time, "lab": self.lab, "event": self.event, **self.fields}

    def __str__(self) -> str:
        shown = {name: "; ".join(value) if isinstance(value, list) else value for name, value in self.fields.items()}
        return EVENTS[self.event][0].format_map(shown)

    def __repr__(self) -> str:
        return f"<Event {self.event}: {self}>"


def schema() -> dict[str, object]:
    """Return the JSON Schema of a line."""
    common = {"time": {"type": "string", "format": "date-time"}, "lab": _TEXT}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a line of kokofast watch",
        "oneOf": [
            {
                "type": "object",
                "properties": {**common, "event": {"const": name}, **fields},
                "required": [*common, "event", *fields],
                "additionalProperties": False,
            }
            for name, (_, fields) in EVENTS.items()
        ],
    }
