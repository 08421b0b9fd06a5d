"""What a dry run shows of an operation: a line for people, and data for programs."""

from __future__ import annotations

from kokofast.ends import ENDS
from kokofast.topology.units import as_in_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from kokofast.topology.model import End, Link

    # (field, value before, value after), each as the file has it. None: there was none, or there will be none.
    FieldChange = tuple[str, Any, Any]

SIGNS = {"create": "+", "replace": "-/+", "update": "~", "delete": "-"}


class Step:
    """One step of a plan.

    Attributes:
        action: "create", "replace", "update" or "delete".
        kind: What it is done to: "namespace", "node", "link", "end" or "mirror".
        link: The link of the file, None for a namespace or a node, and for a link that is not in the file any more.
        name: The namespace, the node; of an end or a mirror, the interface as node:interface; of a link that is not in
            the file, its title; empty for others.
        source: The place in the file; empty for a namespace.
        changes: The fields of a node or an end that change, or the mirror; of a link that is replaced, why.
    """

    __slots__ = ("action", "changes", "kind", "link", "name", "source")

    def __init__(
        self,
        action: str,
        kind: str,
        link: Link | None = None,
        *,
        name: str = "",
        source: str = "",
        changes: tuple[FieldChange, ...] = (),
    ) -> None:
        self.action = action
        self.kind = kind
        self.link = link
        self.name = name
        self.source = source
        self.changes = changes

    def __str__(self) -> str:
        return f"{SIGNS[self.action]} {self._subject()}"

    def __repr__(self) -> str:
        return f"<Step {self}>"

    def _subject(self) -> str:
        if self.kind == "mirror":
            _, before, after = self.changes[0]
            mirror = before or after
            way = "egress and ingress" if mirror["direction"] == "both" else mirror["direction"]
            node, _, ifname = self.name.rpartition(":")
            return f"mirror {way} of {node}:{mirror['from']} to {ifname}"
        if self.kind in ("end", "node"):
            return f"{self.name} {', '.join(_words(*change) for change in self.changes)}"
        if self.link is not None:
            changes = ", ".join(_words(*change) for change in self.changes)
            return f"{self.link.kind} {'--'.join(map(_short, self.link.ends))}{changes and f' ({changes})'}"
        return f"{self.kind} {self.name}"

    def as_dicts(self) -> Iterator[dict[str, object]]:
        """Yield JSON objects: one a changed field."""
        found: dict[str, object] = {"action": self.action, "kind": self.kind}
        if self.source:
            found["source"] = self.source
        if self.link is None:
            found |= {"link" if self.kind == "link" else "name": self.name}
            changed = [{"field": field, "before": before, "after": after} for field, before, after in self.changes]
            yield from (found | change for change in changed or [{}])
            return
        found |= {"link": self.link.title()}
        if self.kind == "link":
            found |= {"type": self.link.kind, "endpoints": [_as_dict(end) for end in self.link.ends]}
            if self.action == "replace":
                changes = [{"field": field, "before": before, "after": after} for field, before, after in self.changes]
                found["changes"] = changes
            yield found
            return
        for field, before, after in self.changes:
            yield found | {"end": self.name, "field": field, "before": before, "after": after}


def _as_dict(end: End) -> dict[str, object]:
    found: dict[str, object] = {"node": end.node, "interface": end.ifname}
    found["addresses"] = [address.text for address in end.addresses]
    for name, value in end.properties.items():
        prop = ENDS[name]
        values: Any = value if prop.fields else {prop.field.name: value}
        for field in () if prop.is_of_kind else prop.all_fields():
            if field.name in values:
                given = as_in_file(field, values[field.name])
                found[field.name] = list(given) if isinstance(given, tuple) else given
    return found


def _short(end: End) -> str:
    """Return the end as the file may have it: ``r1:eth1:10.0.0.0/31``."""
    return ":".join((end.node, end.ifname, *([",".join(one.text for one in end.addresses)] if end.addresses else ())))


def _words(field: str, before: object, after: object) -> str:
    if field == "up":
        return "up" if after else "down"
    if field == "addresses":
        return f"-{before}" if after is None else f"+{after}"
    if field == "routes":
        return ", ".join(f"{sign}{_route(value)}" for sign, value in (("-", before), ("+", after)) if value is not None)
    if field == "sysctls" and isinstance(after, dict):
        return ", ".join(f"{name} = {value}" for name, value in after.items())
    return f"{field} {_text(before)} -> {_text(after)}"


def _route(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,} routes"
    hops = " and ".join(" ".join(f"{word} {text}" for word, text in hop.items()) for hop in value["hops"])
    metric = f" metric {value['metric']}" if "metric" in value else ""
    return f"route {value['to']} {hops}{metric}"


def _text(value: object) -> object:
    """Return the value as the file would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_text(one)}' for name, one in value.items())}}}"
    return (",".join(value) if isinstance(value, list) else value) or ("none" if value in (None, []) else value)
