"""The part of a lab that is on one host: what its file has."""

from __future__ import annotations

import json
from typing import Any

MARK = "part"  # the key by which a file is known as a part
ENDING = ".json"
ENDING_OF_TIMELINE = ".timeline.jsonl"
ENDINGS = (ENDING, ENDING_OF_TIMELINE)


class Part:
    """The file of one host.

    Attributes:
        host: The name of the host.
        lab: The name of the lab.
        top: What the file has before its nodes: defaults.
        nodes: What it has for each node, by name.
        links: What it has for each link.
        between: How many of the links lead to other hosts.
        has_timeline: Whether there is a timeline for them.
    """

    __slots__ = ("between", "has_timeline", "host", "lab", "links", "nodes", "top")

    def __init__(self, host: str, lab: str, top: dict[str, object]) -> None:
        self.host = host
        self.lab = lab
        self.top = top
        self.nodes: dict[str, dict[str, Any]] = {}
        self.links: list[object] = []
        self.between = 0
        self.has_timeline = False

    def tree(self) -> dict[str, Any]:
        """Return what the file has."""
        nodes = {"nodes": self.nodes} if self.nodes else {}
        return {
            MARK: _mark(self.host, self.lab, self.has_timeline),
            "name": self.lab,
            **self.top,
            **nodes,
            "links": self.links,
        }


def file_of(host: str) -> str:
    """Return the name of a host's file."""
    return host + ENDING


def timeline_of(host: str) -> str:
    """Return the name of the file with a host's timeline."""
    return host + ENDING_OF_TIMELINE


def _mark(host: str, lab: str, has_timeline: bool) -> dict[str, str]:
    return {"host": host, "lab": lab, **({"timeline": timeline_of(host)} if has_timeline else {})}


def is_part_of(head: str, host: str, lab: str, *, with_timeline: bool = False) -> bool:
    """Return whether a file that begins with this text is the part of a lab for a host, and has a timeline."""
    marks = [_mark(host, lab, True), *([] if with_timeline else [_mark(host, lab, False)])]
    return any(head.startswith(f'{{\n  "{MARK}": {json.dumps(mark)},\n') for mark in marks)
