"""The JSON Schema of a topology file, made of the rules that load() applies."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import msgspec

from kokofast.kinds import KINDS
from kokofast.kinds.fields import Field
from kokofast.topology import segments
from kokofast.topology.nodes import HOST
from kokofast.topology.routes import SHORTEST_PATH
from kokofast.topology.rules import Rule, make_rule, record
from kokofast.topology.shapes import (
    DEFAULT_KIND,
    NODE_KINDS,
    SCHEMA_KEY,
    HostRecord,
    NodeRecord,
    RoutingRecord,
    between_rules,
    default_rules,
    shape,
)
from kokofast.topology.values import LAB_NAME_BYTES

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the object form and the bare list of links.

    It accepts whatever load() accepts. load() is stricter where a schema cannot be: addresses, repeated names.
    """
    records = [shape(kind).link_record for kind in KINDS.values()]
    defaults = {
        key: reduce(or_, (rule.annotation for rule in _distinct(rules))) if key != "type" else rules[0].annotation
        for key, rules in default_rules().items()
    }
    Defaults = msgspec.defstruct(
        "Defaults",
        [(key, annotation | msgspec.UnsetType, msgspec.UNSET) for key, annotation in defaults.items()],
        forbid_unknown_fields=True,
    )
    _, definitions = msgspec.json.schema_components(
        [*records, NodeRecord, HostRecord, record("Between", between_rules()), Defaults, RoutingRecord],
        ref_template="#/$defs/{name}",
    )
    # msgspec cannot express exactly one kind, and links of different types.
    definitions["Node"]["oneOf"] = _node_kinds()
    definitions[_default_record()]["properties"][segments.BETWEEN] = _either_type(definitions)
    ends = definitions[_default_record()]["properties"]["endpoints"]  # a link may be the list of its ends
    definitions["Segment"] = _segment(definitions)
    names = [*(record.__name__ for record in records), "Segment"]
    definitions["Link"] = {"anyOf": [*({"$ref": f"#/$defs/{name}"} for name in names), ends]}
    links = {"type": "array", "items": {"$ref": "#/$defs/Link"}}
    definitions["File"] = {
        "type": "object",
        "properties": {
            SCHEMA_KEY: {"type": "string"},
            "name": {
                "type": "string",
                "pattern": rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{LAB_NAME_BYTES - 1}}}$",
                "description": "the lab's name; the file's stem when absent",
            },
            "part": {"type": "object", "description": "of what the file is a part: written by split"},
            "hosts": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Host"}, "minProperties": 1},
            "between": _either_type(definitions),
            "defaults": {"$ref": "#/$defs/Defaults"},
            "routing": {"anyOf": [{"const": SHORTEST_PATH}, {"$ref": "#/$defs/RoutingRecord"}]},
            "nodes": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Node"}},
            "links": links,
        },
        "required": ["links"],
        "additionalProperties": False,
        "allOf": [_unless_default(key, {"properties": {"links": of_links}}) for key, of_links in _demands().items()],
    }
    return {
        "$schema": DIALECT,
        "title": "kokofast topology",
        "anyOf": [{"$ref": "#/$defs/File"}, {"allOf": [links, *_demands().values()]}],
        "$defs": definitions,
    }


def _node_kinds() -> list[dict[str, Any]]:
    """Return a schema for each kind that a node may be; one with a host alone is a netns node."""
    place = {"properties": {HOST: {"type": "string"}}}
    own = {"properties": {HOST: {"const": True}}, "required": [HOST]}
    kinds = [{"required": [kind]} for kind in NODE_KINDS if kind != HOST]
    return [own, *({**kind, **place} for kind in kinds), {"required": [HOST], **place, "not": {"anyOf": kinds}}]


def _either_type(definitions: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [definitions["Between"]["properties"]["type"], {"$ref": "#/$defs/Between"}]}


def _segment(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a link that topology.segments expands: a bridge's, with any number of veth ends."""
    bridge = definitions[shape(KINDS[segments.KIND]).link_record.__name__]
    veth = definitions[_default_record()]["properties"]
    end = veth["endpoints"]["prefixItems"][0]
    at = {"type": "string", "description": "node:interface of the bridge; in a namespace that the lab makes by default"}
    between = {segments.BETWEEN: veth[segments.BETWEEN]}
    more = between | {segments.ENDS: {"type": "array", "items": end, "maxItems": segments.PORTS_MAX}, segments.AT: at}
    of_ends = {key: veth[key] for key in shape(KINDS[DEFAULT_KIND]).shared}
    properties = of_ends | {key: value for key, value in bridge["properties"].items() if key != "endpoint"} | more
    return {**bridge, "title": "Segment", "properties": properties, "required": [segments.ENDS]}


def _demands() -> dict[str, dict[str, Any]]:
    """Return, by key, what links must have unless defaults do: required options, and the type if it is no veth."""
    needed: dict[str, list[str]] = {}
    for kind in KINDS.values():
        for field in kind.fields:
            if field.required:
                needed.setdefault(field.name, []).append(kind.name)
    demands: dict[str, dict[str, Any]] = {
        key: {"items": {"if": _typed({"enum": kinds}), "then": {"required": [key]}}} for key, kinds in needed.items()
    }
    default = f"#/$defs/{_default_record()}"
    demands["type"] = {"items": {"if": {"not": _typed({})}, "then": {"$ref": default}}}
    return demands


def _default_record() -> str:
    return shape(KINDS[DEFAULT_KIND]).link_record.__name__


def _typed(type: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"type": type}, "required": ["type"]}


def _unless_default(key: str, otherwise: dict[str, Any]) -> dict[str, Any]:
    """Return a schema by which otherwise holds for files whose defaults lack the key."""
    given = {"properties": {"defaults": {"required": [key]}}, "required": ["defaults"]}
    return {"if": given, "else": otherwise}


def _distinct(rules: list[Rule]) -> list[Rule]:
    """Merge the rules of one key: msgspec cannot make a union of two ranges of int."""
    first = rules[0]
    if any(rule.field.type != first.field.type for rule in rules) or first.field.type not in ("int", "choice"):
        return [first]
    return [_widest(rules)]


def _widest(rules: list[Rule]) -> Rule:
    fields = [rule.field for rule in rules]
    lows = [field.minimum for field in fields if field.minimum is not None]
    highs = [field.maximum for field in fields if field.maximum is not None]
    choices = tuple(dict.fromkeys(choice for field in fields for choice in field.choices))
    return make_rule(
        Field(
            fields[0].name,
            fields[0].type,
            fields[0].doc,
            minimum=min(lows) if len(lows) == len(fields) else None,
            maximum=max(highs) if len(highs) == len(fields) else None,
            choices=choices,
        )
    )
