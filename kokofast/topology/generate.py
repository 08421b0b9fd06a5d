"""Generate topologies, and write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from kokofast.topology.subnets import addresses_of_pair, parse_subnet

DEFAULT_SUBNET = "10.0.0.0/8"

CSV_HEADER = "a_node,a_if,a_ip,b_node,b_if,b_ip"


def generate_chain(links: int, subnet: str | None = DEFAULT_SUBNET) -> dict[str, Any]:
    """Make a chain r0 - r1 - ...: each node has eth0 to the one before and eth1 to the next.

    Each link gets a /31 (IPv6: a /127) of subnet; None is for no addresses. Raises ValueError when the subnet is too
    small.
    """
    if links < 1:
        raise ValueError(f"a chain has at least 1 link, not {links}")
    addresses = pairs_of(links, subnet)
    return {
        "name": "chain",
        "links": [
            {"endpoints": [endpoint(f"r{number}:eth1", left), endpoint(f"r{number + 1}:eth0", right)]}
            for number, (left, right) in enumerate(addresses)
        ],
    }


def endpoint(end: str, address: str | None) -> str:
    """Return an endpoint in its short form."""
    return end if address is None else f"{end}:{address}"


def pairs_of(links: int, subnet: str | None) -> Iterator[tuple[str | None, str | None]]:
    """Return the addresses of the two ends of each link, None for no subnet. Raises ValueError when it is too small."""
    if subnet is None:
        return repeat((None, None), links)
    network = parse_subnet(subnet)
    if links > network.pairs:
        raise ValueError(f"{links} links need {links} times two addresses, {subnet} has them for {network.pairs}")
    pairs = (addresses_of_pair(network.family, network.first + number) for number in range(links))
    return ((one.text, two.text) for one, two in pairs)


def dump_json(topology: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a topology in JSON, one node and one link a line, to be read, compared and edited."""
    yield "{"
    for key, value in topology.items():
        if key == "nodes" and isinstance(value, dict):
            yield '  "nodes": {'
            nodes = [f"    {json.dumps(name)}: {json.dumps(node)}" for name, node in value.items()]
            yield from (f"{line}," for line in nodes[:-1])
            yield from nodes[-1:]
            yield "  },"
        elif key != "links":
            yield f"  {json.dumps(key)}: {json.dumps(value)},"
    yield '  "links": ['
    links = [f"    {json.dumps(link)}" for link in topology["links"]]
    for line in links[:-1]:
        yield line + ","
    yield from links[-1:]
    yield "  ]"
    yield "}"


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
            yield "links:" if value else "links: []"
            yield from (f"  - {flow(link)}" for link in value)
        elif key == "nodes" and value:
            yield "nodes:"
            yield from (f"  {flow(name)}: {flow(node)}" for name, node in value.items())
        else:
            yield f"{key}: {flow(value)}"


def dump_csv(topology: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a topology in CSV. It may have only veth links with short endpoints and nothing to quote."""
    yield CSV_HEADER
    for link in topology["links"]:
        yield ",".join(cell for end in link["endpoints"] for cell in _cells(end))


def _cells(endpoint: str) -> Iterable[str]:
    node, ifname, *rest = endpoint.split(":", 2)
    return node, ifname, rest[0].replace(",", " ") if rest else ""
