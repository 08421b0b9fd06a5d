"""Write a topology, the plain tree that a file holds, as the lines of a file. The links may come from an iterator."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from kokofast.topology.read_csv import END_COLUMNS


def dump_json(topology: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a topology in JSON, one node and one link a line, to be read, compared and edited."""
    yield "{"
    for key, value in topology.items():
        if key == "nodes" and isinstance(value, dict):
            yield '  "nodes": {'
            yield from _separated(f"    {json.dumps(name)}: {json.dumps(node)}" for name, node in value.items())
            yield "  },"
        elif key != "links":
            yield f"  {json.dumps(key)}: {json.dumps(value)},"
    yield '  "links": ['
    yield from _separated(f"    {json.dumps(link)}" for link in topology["links"])
    yield "  ]"
    yield "}"


def _separated(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines, each but the last with a comma behind it."""
    last = None
    for line in lines:
        if last is not None:
            yield f"{last},"
        last = line
    if last is not None:
        yield last


def dump_yaml(topology: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a topology in YAML, one node and one link a line."""
    import yaml

    from kokofast.topology.read_yaml import resolve

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Quotes the texts that are none in YAML 1.2, too."""

    def text(dumper: Any, value: str) -> Any:
        style = None if isinstance(resolve(value), str) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)

    def flow(value: object) -> str:
        written: str = yaml.dump(value, Dumper=Dumper, default_flow_style=True, width=1 << 30, sort_keys=False)
        return written.removesuffix("...\n").rstrip("\n")

    for key, value in topology.items():
        if key == "links":
            lines = iter(value)
            first = next(lines, None)
            yield "links: []" if first is None else f"links:\n  - {flow(first)}"
            yield from (f"  - {flow(link)}" for link in lines)
        elif key == "nodes" and value:
            yield "nodes:"
            yield from (f"  {flow(name)}: {flow(node)}" for name, node in value.items())
        else:
            yield f"{key}: {flow(value)}"


def dump_csv(topology: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a topology in CSV.

    It may have only veth links with short endpoints, nothing to quote, and defaults that are columns of links.
    """
    defaults: dict[str, str] = topology.get("defaults", {})
    yield ",".join([*END_COLUMNS, *defaults])
    for link in topology["links"]:
        yield ",".join([*(cell for end in link["endpoints"] for cell in _cells(end)), *defaults.values()])


def _cells(endpoint: str) -> Iterable[str]:
    node, ifname, *rest = endpoint.split(":", 2)
    return node, ifname, rest[0].replace(",", " ") if rest else ""


WRITERS = {"json": dump_json, "yaml": dump_yaml, "csv": dump_csv}
