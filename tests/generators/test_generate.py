"""Generators: what they print, and that it is what load() reads."""

from __future__ import annotations

from typing import Any

import pytest

from kokofast.generators.wiring import DEFAULT_SUBNET, generate
from kokofast.topology import dump_csv, dump_json, load


def generate_chain(links: int, subnet: str | None = DEFAULT_SUBNET) -> dict[str, Any]:
    return generate("chain", links=links, subnet=subnet)


def test_chain() -> None:
    assert list(dump_json(generate_chain(2))) == [
        "{",
        '  "name": "chain",',
        '  "links": [',
        '    {"endpoints": ["r0:eth1:10.0.0.0/31", "r1:eth0:10.0.0.1/31"]},',
        '    {"endpoints": ["r1:eth1:10.0.0.2/31", "r2:eth0:10.0.0.3/31"]}',
        "  ]",
        "}",
    ]
    assert list(dump_csv(generate_chain(1, "2001:db8::/126"))) == [
        "a_node,a_if,a_ip,b_node,b_if,b_ip",
        "r0,eth1,2001:db8::/127,r1,eth0,2001:db8::1/127",
    ]
    assert list(dump_csv(generate_chain(1, None)))[1] == "r0,eth1,,r1,eth0,"


def test_chain_is_loaded() -> None:
    topology = load("\n".join(dump_json(generate_chain(300))).encode(), filename="x.json", create=True)
    assert (topology.name, len(topology.links), len(topology.nodes)) == ("chain", 300, 301)
    assert len({address.packed for link in topology.links for end in link.ends for address in end.addresses}) == 600
    assert all(node.create for node in topology.nodes.values())


@pytest.mark.parametrize(
    ("links", "subnet", "words"),
    [
        (0, "10.0.0.0/8", "links must be at least 1, not 0"),
        (3, "10.0.0.0/30", r"10\.0\.0\.0/30 has them for 2"),
        (1, "10.0.0.1/32", "is one address"),
        (1, "10.0.0.1/8", "has bits set behind the prefix"),
        (1, "x\x1b", r"'x\\x1b' is not an IPv4 or IPv6 address"),
        (1, "0.0.0.0/0", "unspecified"),
        (1, "ff00::/8", "multicast"),
    ],
)
def test_chain_refused(links: int, subnet: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        generate_chain(links, subnet)


def test_smallest_subnet() -> None:
    assert len(generate_chain(2, "10.0.0.0/30")["links"]) == 2
