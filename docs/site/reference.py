"""The pages that are made of the code: commands, JSON Schemas, the names of the library."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import kokofast
from kokofast.cli.parser import EXIT_CODES
from kokofast.cli.shell import whole_parser

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# kokofast.__all__, in the order of the page.
LIBRARY = {
    "Topologies": ("load", "loads", "generate", "Topology", "Link", "Node", "Endpoint"),
    "What is done with them": (
        "apply",
        "confirm",
        "destroy",
        "inspect",
        "verify",
        "draw",
        "deployed",
        "session",
        "Session",
        "watch",
    ),
    "Without an event loop": ("sync",),
    "Sandboxes": ("sandbox", "Sandbox", "Process"),
    "What comes back": ("Result", "Status", "Failure", "Step", "Progress", "SeenLink", "CheckedLink", "Event"),
    "What goes wrong": ("TopologyError", "Problem", "ApplyError", "DestroyError", "SandboxError"),
}


def pages() -> dict[str, str]:
    """Return the pages, and the files that they link to, by name."""
    os.environ["COLUMNS"] = "86"  # the same page on every terminal
    parser = whole_parser()
    (of,) = (action for action in _commands(parser)["schema"]._actions if action.dest == "of")
    printed = {name: _output("schema", name) for name in of.choices or ()}
    return {
        "commands.md": commands(parser),
        "schemas.md": schemas({name: json.loads(text) for name, text in printed.items()}),
        "library.md": library(),
        **{f"{name}.json": text for name, text in printed.items()},
    }


def _output(*arguments: str) -> str:
    command = [sys.executable, "-m", "kokofast", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found[0] if found else {}


def commands(parser: argparse.ArgumentParser) -> str:
    """Return the page of all commands and options."""
    parts = [
        "# Commands\n",
        "This is what `kokofast --help` and `kokofast COMMAND --help` print. "
        "[The README](../README.md#commands) says more about each command. "
        "`kokofast --version` prints the versions of what runs.\n",
        *(_command(command, 2) for command in _commands(parser).values()),
        "## Exit codes\n",
        _fenced("\n".join(line.strip() for line in EXIT_CODES.partition(": ")[2].splitlines())),
        "## koko's command line\n",
        _fenced(_output("-h")),
    ]
    return "\n".join(parts)


def _command(command: argparse.ArgumentParser, level: int) -> str:
    usage = command.format_usage().partition(": ")[2].replace("\n       ", "\n")
    parts = [f"{'#' * level} {command.prog}\n", f"{command.description}\n", _fenced(usage), _arguments(command)]
    return "\n".join([*parts, *(_command(shape, level + 1) for shape in _commands(command).values())])


def _arguments(parser: argparse.ArgumentParser) -> str:
    formatter = parser._get_formatter()
    left_out = (argparse._HelpAction, argparse._SubParsersAction)
    actions = [one for one in parser._actions if one.help and not isinstance(one, left_out)]
    return _table(
        ("argument", "meaning"),
        [(f"`{formatter._format_action_invocation(one)}`", formatter._expand_help(one)) for one in actions],
    )


def schemas(found: dict[str, dict[str, Any]]) -> str:
    """Return the page of the JSON Schemas: their fields, and those of the objects in them."""
    parts = ["# JSON Schemas\n", "`kokofast schema NAME` prints them. The objects that a schema names are below it.\n"]
    owners: dict[str, str] = {}  # the schema that has the object, by the object's definition
    for name, schema in found.items():
        objects = schema.get("$defs", {})
        new = {key: one for key, one in objects.items() if owners.setdefault(json.dumps(one), name) == name}
        anchors = {key: f"#{key}-of-{owners[json.dumps(one)]}".lower() for key, one in objects.items()}
        parts += [f"## {name}\n", f"{schema['title']}: [{name}.json]({name}.json)\n", _object(schema, anchors)]
        for key, one in new.items():
            parts += [f"### {key} of {name}\n", f"{one.get('description', '')}\n", _object(one, anchors)]
    return "\n".join(parts)


def _object(schema: dict[str, Any], anchors: dict[str, str]) -> str:
    """Return the table of an object's fields; if it may be one of several objects, a table for each."""
    several = [one for one in (*schema.get("oneOf", ()), *schema.get("anyOf", ())) if one.get("properties")]
    if several:
        return "\n".join(_object(one, anchors) for one in several)
    if not schema.get("properties"):
        return f"{_type(schema, anchors)}\n"
    required = schema.get("required", ())
    rows = [
        (f"`{name}`" + " (required)" * (name in required), _type(field, anchors), str(field.get("description", "")))
        for name, field in schema["properties"].items()
    ]
    return _table(("field", "is", "meaning"), rows)


def _type(schema: dict[str, Any], anchors: dict[str, str]) -> str:
    """Return what a value is, in words."""

    def any_of(schemas: Iterable[dict[str, Any]]) -> str:
        return " or ".join(dict.fromkeys(filter(None, (_type(one, anchors) for one in schemas))))

    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return any_of(schema[several])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}]({anchors[name]})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = [*schema.get("prefixItems", ()), *([schema["items"]] if schema.get("items") else ())]
        return f"list of {any_of(items) or 'anything'}"
    if schema.get("properties"):
        return f"object of {', '.join(f'`{name}`' for name in schema['properties'])}"
    kinds = schema.get("type", "")
    words = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([words, *bounds])


def library() -> str:
    """Return the page of the stable names, with directives of mkdocstrings for their docstrings."""
    parts = [
        "# Names of the library\n",
        "These names are stable; [the library](../docs/library.md) says how to use them, and what stable means. "
        "The fields of topologies are those of [the file](../docs/format.md).\n",
        f"`kokofast.__version__` is `{kokofast.__version__!r}`.\n",
    ]
    for heading, names in LIBRARY.items():
        parts.append(f"## {heading}\n")
        parts += (_blocking() if name == "sync" else _directive(name) for name in names)
    parts += ["## In tests of pytest\n", "::: kokofast.pytest_plugin\n"]
    return "\n".join(parts)


def _directive(name: str) -> str:
    # Users make objects of these classes themselves.
    made = ("Topology", "Link", "Node", "Endpoint", "session")
    return f"::: kokofast.{name}\n" + "    options:\n      merge_init_into_class: true\n" * (name in made)


def _blocking() -> str:
    """Return what kokofast.sync has: each function has the docstring of the one that it blocks for."""
    functions = [(name, getattr(kokofast.sync, name)) for name in kokofast.sync.__all__]
    rows = [(f"`kokofast.sync.{name}`", f"[kokofast.{name}][]", _first_line(function)) for name, function in functions]
    parts = ["### kokofast.sync\n", f"{inspect.cleandoc(kokofast.sync.__doc__ or '')}\n"]
    return "\n".join([*parts, _table(("function", "blocks for", "which does"), rows)])


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows] if rows else []
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _fenced(text: str) -> str:
    return f"```text\n{text.strip()}\n```\n"
