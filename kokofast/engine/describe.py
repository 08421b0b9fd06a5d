"""What a dry run shows: the operations of a plan as lines for people."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from kokofast.plan.operations import AddMirror, CreateLink, MakeNamespace, RemoveMirror
from kokofast.plan.plan import UPDATE
from kokofast.topology.order import ancestors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.plan.operations import ConfigureEnd, Operation
    from kokofast.plan.plan import Plan
    from kokofast.topology.model import End


def describe_rest(plan: Plan) -> list[str]:
    """What there would be to do for the links without a problem, as lines for people."""
    faulty = {place for problem in plan.problems for place in ancestors(problem.place)}
    links = plan.topology.links
    return describe(
        plan,
        [
            one
            for one in plan.rest or plan.operations  # those, where the plan itself has no problems
            if isinstance(one, MakeNamespace) or links[one.link].place not in faulty
        ],
    )


def describe(plan: Plan, operations: Sequence[Operation]) -> list[str]:
    """Operations of a plan as lines for people: + for what comes, ~ for what changes."""
    topology = plan.topology
    lines: list[str] = []
    changed: set[int] = set()
    for operation in operations:
        if isinstance(operation, MakeNamespace):
            lines.append(f"+ namespace {operation.name}")
        elif isinstance(operation, CreateLink):
            link = topology.links[operation.link]
            lines.append(f"+ {link.kind} {'--'.join(map(_short, link.ends))}")
        elif isinstance(operation, AddMirror) and not operation.directions and operation.mtu is not None:
            end = topology.links[operation.link].ends[operation.end]
            lines.append(f"~ {end.node}:{operation.source.ifname} mtu {operation.mtu[1]} -> {operation.mtu[0]}")
        elif isinstance(operation, (AddMirror, RemoveMirror)):
            end = topology.links[operation.link].ends[operation.end]
            sign = "+" if isinstance(operation, AddMirror) else "-"
            way = " and ".join(sorted(operation.directions))
            lines.append(f"{sign} mirror {way} of {end.node}:{operation.source.ifname} to {end.ifname}")
        elif plan.actions[operation.link] == UPDATE:
            changed.add(operation.link)
            end = topology.links[operation.link].ends[operation.end]
            lines.append(f"~ {end.node}:{end.ifname} {_describe_change(operation)}")
    return lines


def _short(end: End) -> str:
    """The end as the file may have it: ``r1:eth1:10.0.0.0/31``."""
    return ":".join((end.node, end.ifname, *([",".join(one.text for one in end.addresses)] if end.addresses else ())))


def _describe_change(operation: ConfigureEnd) -> str:
    change = operation.change
    before = operation.undo.attributes if operation.undo is not None else {}
    parts = [_describe_value(name, before.get(name), value) for name, value in change.attributes.items()]
    if change.up is not None:
        parts.append("up" if change.up else "down")
    parts += [f"+{_text(address.packed, address.prefixlen)}" for address in change.add]
    parts += [f"-{_text(address.packed, address.prefixlen)}" for address in change.remove]
    return ", ".join(parts)


def _describe_value(name: str, before: object, value: object) -> str:
    if isinstance(value, bytes) and isinstance(before, bytes):
        return f"{'mac' if name == 'address' else name} {before.hex(':')} -> {value.hex(':')}"
    if isinstance(value, dict):
        return "addr_gen_mode"
    return name if isinstance(value, str) else f"{name} {before} -> {value}"


def _text(packed: bytes, prefixlen: int) -> str:
    return f"{ipaddress.ip_address(packed)}/{prefixlen}"
