"""The JSON Schema of what ``batch`` and ``destroy`` print with ``--format json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from kokofast.ends import ENDS
from kokofast.engine.result_types import Status
from kokofast.hosts.checks import CheckState
from kokofast.hosts.outcome import HostStatus
from kokofast.hosts.playing import PlayStatus
from kokofast.verification.ports import CHECKS

if TYPE_CHECKING:
    from typing import Any

COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
SOURCE = {"type": "string", "description": "the place in the file; absent or empty: none"}
ANY: dict[str, Any] = {}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None, doc: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }
    return found | ({"description": doc} if doc else {})


def _counts(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(names, COUNT), "additionalProperties": False}


ERROR = _object({"source": SOURCE, "message": TEXT, "errno": {"type": ["integer", "null"]}}, {"position": TEXT})
# With what the file gives the end beside addresses.
ENDPOINT = _object(
    {"node": TEXT, "interface": TEXT, "addresses": TEXTS},
    {field.name: ANY for found in ENDS.values() if not found.is_of_kind for field in found.all_fields()},
)
COUNTS_OF_LINKS = _counts("total", "created", "updated", "unchanged", "removed", "replaced", "failed")
COUNTS_OF_NAMESPACES = _counts("created", "removed", "failed")
STAGES = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}
CREATED = {"const": "create"}
STEPS = {
    "namespace": _object({"action": {"enum": ["create", "delete"]}, "kind": {"const": "namespace"}, "name": TEXT}),
    "gone": _object(
        {"action": {"const": "delete"}, "kind": {"const": "node"}, "name": TEXT},
        doc="addresses of a loopback, and routes, of a node that left the file",
    ),
    "removal": _object(
        {"action": {"const": "delete"}, "kind": {"const": "link"}, "link": TEXT}, doc="of a link that left the file"
    ),
    "link": _object(
        {
            "action": CREATED,
            "kind": {"const": "link"},
            "source": SOURCE,
            "link": TEXT,
            "type": TEXT,
            "endpoints": {"type": "array", "items": ENDPOINT},
        }
    ),
    "replacement": _object(
        {
            "action": {"const": "replace"},
            "kind": {"const": "link"},
            "source": SOURCE,
            "link": TEXT,
            "type": TEXT,
            "endpoints": {"type": "array", "items": ENDPOINT},
            "changes": {
                "type": "array",
                "items": _object({"field": TEXT, "before": ANY, "after": ANY}),
                "description": "what cannot be changed in place; empty: the link is on another one that is replaced",
            },
        },
        doc="a link that is deleted and made again",
    ),
    "node": _object(
        {
            "action": {"const": "update"},
            "kind": {"const": "node"},
            "source": SOURCE,
            "name": TEXT,
            "field": {"enum": ["addresses", "routes", "sysctls"]},
            "before": ANY,
            "after": ANY,
        },
        doc="what a node has beside its links; of more than three routes that change before and after are numbers",
    ),
    "field": _object(
        {
            "action": {"enum": ["create", "update", "delete"]},
            "kind": {"enum": ["end", "mirror"]},
            "source": SOURCE,
            "link": TEXT,
            "end": TEXT,
            "field": TEXT,
            "before": ANY,
            "after": ANY,
        },
        doc="a field of an interface. before is null for a new address, after is null for a removed one",
    ),
}
PLAN = {
    "type": "array",
    "items": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in STEPS]},
    "description": "of a dry run: what would be done",
}
SECONDS = {"type": "number", "minimum": 0}
COUNTS_OF_EPOCH = _counts("created", "updated", "removed")
EPOCH = _object(
    {
        "at": {"type": "number", "minimum": 0, "description": "the epoch's time in the timeline"},
        "begun": SECONDS,
        "done": SECONDS,
        "lateness": {"type": "number", "minimum": 0, "description": "how long after its time it began"},
        "status": {"enum": ["applied", "unchanged", "invalid", "rolled_back", "partial"]},
        "changes": COUNTS_OF_EPOCH,
    },
    {
        "round": {"type": "integer", "minimum": 0, "description": "with --loop: rounds before this one"},
        "merged": {"type": "integer", "minimum": 2, "description": "how many epochs were done as one"},
        "run": {"type": "array", "items": _object({"node": TEXT, "pid": COUNT})},
        "errors": {"type": "array", "items": ERROR},
        "left": TEXTS,
    },
    doc="an epoch; times are in seconds since the start",
)
SUMMARY = _object(
    {
        "summary": _object(
            {
                "epochs": COUNT,
                "refused": COUNT,
                "missed": {"type": "integer", "minimum": 0, "description": "epochs that did not begin in their time"},
                "changes": COUNT,
                "lateness": _object({"p50": SECONDS, "p99": SECONDS, "worst": SECONDS}),
                "longest": {"type": "number", "minimum": 0, "description": "how long an epoch took at most"},
                "seconds": SECONDS,
            }
        )
    },
    doc="the last line",
)
PLANNED = _object(
    {"at": {"type": ["number", "null"]}, "changes": _counts("set", "add", "remove")},
    {"run": {"type": "array", "items": _object({"node": TEXT, "command": TEXTS})}},
    doc="an epoch of a dry run, with the number of its entries",
)


def schema_of_played() -> dict[str, Any]:
    """Return the schema of a line that play prints."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line that kokofast play prints",
        "anyOf": [EPOCH, SUMMARY, PLANNED],
    }


def schema_of_waiting() -> dict[str, Any]:
    """Return the schema of the line that a batch prints when it waits to be confirmed."""
    seconds = {"type": "number", "minimum": 0, "description": "for how long it waits"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A batch that waits to be confirmed",
        **_object({"event": {"const": "waiting"}, "lab": TEXT, "seconds": seconds}),
    }


def schema_of_doctor() -> dict[str, Any]:
    """Return the schema of what doctor prints."""
    needed = {"type": "boolean", "description": "whether the file, or any lab, needs it"}
    finding = _object(
        {"check": TEXT, "state": {"enum": ["ok", "warning", "missing"]}, "needed": needed, "fact": TEXT},
        {"cure": {"type": "string", "description": "a command, or what to do; absent: nothing"}},
    )
    ok = {"type": "boolean", "description": "whether nothing that is needed is missing"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What kokofast doctor prints",
        **_object(
            {"ok": ok, "findings": {"type": "array", "items": finding}},
            {"errors": {"type": "array", "items": ERROR, "description": "why the machine could not be looked at"}},
        ),
    }


def schema_of_verify() -> dict[str, Any]:
    """Return the schema of what verify prints."""
    problem = _object({"check": {"enum": list(CHECKS)}, "message": TEXT})
    link = _object(
        {
            "lab": TEXT,
            "type": TEXT,
            "link": {"type": "string", "description": "its ends, as inspect prints them"},
            "state": {"enum": ["ok", "failed", "unchecked"]},
            "problems": {"type": "array", "items": problem},
        },
        {"notes": TEXTS},
    )
    ok = {"type": "boolean", "description": "whether no link failed, and all could be looked at"}
    found = _object(
        {"ok": ok, "links": {"type": "array", "items": link}, "errors": {"type": "array", "items": ERROR}},
        {"notes": TEXTS},
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What kokofast verify prints",
        **found,
    }


def schema_of_split() -> dict[str, Any]:
    """Return the schema of what split prints."""
    file = {"type": "string", "description": "the host's file"}
    inside = {
        "type": "integer",
        "minimum": 0,
        "description": "links of its file; of a bridge and its ports each is one",
    }
    between = {"type": "integer", "minimum": 0, "description": "those of them that lead to other hosts"}
    host = _object({"file": file, "nodes": TEXTS, "links": inside, "between": between}, {"timeline": TEXT})
    link = _object(
        {
            "link": {"type": "string", "description": "its ends, node:interface--node:interface"},
            "hosts": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2},
            "type": {"type": "string", "description": "what it is on both hosts"},
            "mtu": COUNT,
        },
        {"vni": COUNT, "id": COUNT},
    )
    found = _object(
        {
            "lab": TEXT,
            "hosts": {"type": "object", "additionalProperties": host},
            "between": {"type": "array", "items": link},
        },
        {"notes": TEXTS},
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "What kokofast split prints", **found}


def _measured(what: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what is measured before a play and after it."""
    return _object({}, {"begin": what, "end": what}, doc="before the play, and after it")


def _play_of_host() -> dict[str, Any]:
    clock = _object({"offset": {"type": "number"}, "error": SECONDS}, doc="by how many seconds it is ahead of ours")
    return _object(
        {"status": {"enum": list(get_args(PlayStatus))}, "clock": _measured(clock)},
        {"code": {"type": "integer"}, "summary": SUMMARY["properties"]["summary"]},
        doc="of hosts play: how it ended there",
    )


def schema_of_hosts() -> dict[str, Any]:
    """Return the schema of what hosts prints."""
    host = _object(
        {"status": {"enum": list(get_args(HostStatus))}},
        {
            "links": COUNTS_OF_LINKS,
            "namespaces": COUNTS_OF_NAMESPACES,
            "seconds": STAGES,
            "left": TEXTS,
            "notes": TEXTS,
            "plan": PLAN,
            "play": _play_of_host(),
        },
        doc="how it ended on a host; what kokofast printed there last",
    )
    error = _object(
        {"source": SOURCE, "message": TEXT, "errno": {"type": ["integer", "null"]}},
        {"position": TEXT, "host": {"type": "string", "description": "absent: it is about none, or about all"}},
    )
    found = _object(
        {
            "lab": TEXT,
            "status": {"enum": list(dict.fromkeys((*get_args(Status), *get_args(PlayStatus))))},
            "hosts": {"type": "object", "additionalProperties": host},
            "errors": {"type": "array", "items": error},
            "seconds": STAGES,
        },
        {"clocks": _object({"apart": _measured(SECONDS), "within": SECONDS}, doc="of hosts play, in seconds")},
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What kokofast hosts prints",
        "anyOf": [found, _checks(error)],
        "$defs": STEPS,
    }


def _checks(error: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what hosts verify prints; error is that of an error."""
    counts = _counts("ok", "unchecked", "failed")
    host = _object(
        {"state": {"enum": list(get_args(CheckState))}},
        {"links": counts | {"description": "how many; a link between hosts counts on both"}},
    )
    problem = _object({"host": TEXT, "check": {"enum": list(CHECKS)}, "message": TEXT})
    link = _object(
        {
            "link": {"type": "string", "description": "its ends, as the file has them"},
            "type": {"type": "string", "description": "what it is on its hosts"},
            "source": SOURCE,
            "problems": {"type": "array", "items": problem},
        },
        {"position": TEXT},
    )
    return _object(
        {
            "lab": TEXT,
            "ok": {"type": "boolean", "description": "whether no link failed, and all hosts could be looked at"},
            "hosts": {"type": "object", "additionalProperties": host},
            "links": {"type": "array", "items": link, "description": "those that failed"},
            "errors": {"type": "array", "items": error},
            "seconds": STAGES,
        },
        doc="of hosts verify",
    )


def schema() -> dict[str, Any]:
    """Return the schema."""
    found = _object(
        {
            "lab": TEXT,
            "status": {"enum": list(get_args(Status))},
            "links": COUNTS_OF_LINKS,
            "namespaces": COUNTS_OF_NAMESPACES,
            "seconds": STAGES,
            "errors": {"type": "array", "items": ERROR},
        },
        {
            "workers": COUNT,
            "left": TEXTS,
            "plan": PLAN,
            "notes": TEXTS,
        },
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The result of kokofast",
        **found,
        "$defs": STEPS,
    }
