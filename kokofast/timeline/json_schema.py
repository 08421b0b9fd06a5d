"""The JSON Schema of a line of a timeline."""

from __future__ import annotations

from typing import Any

from kokofast.timeline.read import SECONDS_MAX
from kokofast.topology.change import FIXED, is_kept
from kokofast.topology.json_schema import DIALECT
from kokofast.topology.json_schema import schema as schema_of_file

_END = {"type": "string", "pattern": ":", "description": "node:interface"}
_NAMES: dict[str, Any] = {
    "endpoints": {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "maxItems": 2,
        "description": "the ends of a link, node:interface each; or the two nodes, if there is one link between them",
    },
    "endpoint": _END,
    "select": {"type": "string", "description": "a pattern: ends whose node:interface matches, with *, ? and [...]"},
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of an epoch. load() and play are stricter where a schema cannot be."""
    file = schema_of_file()
    definitions = file["$defs"]
    end = next(found for name, found in definitions.items() if name == "VethEndpoint")
    fields = {
        key: value if is_kept(key) and key != "mtu" else {"anyOf": [value, {"type": "null"}]}
        for key, value in end["properties"].items()
        if key not in (*FIXED, "node", "interface")
    }
    one = [{"required": [name]} for name in _NAMES]
    removal = {"type": "object", "properties": _NAMES, "oneOf": one, "additionalProperties": False}
    command = {
        "type": "object",
        "properties": {
            "node": {"type": "string"},
            "command": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
        "required": ["node", "command"],
        "additionalProperties": False,
    }
    return {
        "$schema": DIALECT,
        "title": "A line of a kokofast timeline",
        "type": "object",
        "properties": {
            "at": {
                "anyOf": [{"type": "number", "minimum": 0, "maximum": SECONDS_MAX}, {"type": "string"}],
                "description": "seconds after the start, or a date and time; from standard input it may be absent",
            },
            "set": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {**_NAMES, **fields},
                    "oneOf": one,
                    "minProperties": 2,
                    "additionalProperties": False,
                },
            },
            "add": {"type": "array", "items": {"$ref": "#/$defs/Link"}},
            "remove": {"type": "array", "items": {"anyOf": [removal, _NAMES["endpoints"]]}},
            "run": {"anyOf": [command, {"type": "array", "items": command}]},
        },
        "additionalProperties": False,
        "$defs": definitions,
    }
