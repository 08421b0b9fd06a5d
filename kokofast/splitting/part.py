"""The part of a lab that is on one host: what its file has."""

from __future__ import annotations

import json
from typing import Any

MARK = "part"  # the key by which a file is known as a part


class Part:
    """The file of one host.

    Attributes:
        host: The name of the host.
        lab: The name of the lab.
        top: What the file has before its nodes: defaults.
        nodes: What it has for each node, by name.
        links: What it has for each link.
        between: How many of the links lead to other hosts.
    """

    __slots__ = ("between", "host", "lab", "links", "nodes", "top")

    def __init__(self, host: str, lab: str, top: dict[str, object]) -> None:
        self.host = host
        self.lab = lab
        self.top = top
        self.nodes: dict[str, dict[str, Any]] = {}
        self.links: list[object] = []
        self.between = 0

    def tree(self) -> dict[str, Any]:
        """Return what the file has."""
        nodes = {"nodes": self.nodes} if self.nodes else {}
        mark = {"host": self.host, "lab": self.lab}
        return {MARK: mark, "name": self.lab, **self.top, **nodes, "links": self.links}


def is_part_of(head: str, host: str, lab: str) -> bool:
    """Return whether a file that begins with this text is the part of a lab for a host."""
    mark = json.dumps({"host": host, "lab": lab})
    return head.startswith(f'{{\n  "{MARK}": {mark},\n')
