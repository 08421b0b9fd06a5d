"""What a dry run prints of a change, in the words of the file."""

from __future__ import annotations

import json

import pytest
from jsonschema import validate

from kokofast.cli.result_schema import STEPS
from kokofast.plan.step import Step
from kokofast.topology import load


@pytest.mark.parametrize(
    ("field", "before", "after", "words"),
    [
        ("mtu", 1500, 9000, "mtu 1500 -> 9000"),
        ("lacp", None, True, "lacp none -> true"),
        ("lacp", True, False, "lacp true -> false"),
        ("altnames", ["x", "y"], [], "altnames x,y -> none"),
        ("offload", True, {"tx": False, "gro": True}, "offload true -> {tx: false, gro: true}"),
    ],
)
def test_a_change_is_told_as_the_file_has_it(field: str, before: object, after: object, words: str) -> None:
    assert str(Step("update", "end", name="a:e0", changes=((field, before, after),))) == f"~ a:e0 {words}"


def test_a_new_link_shows_what_the_file_gives_its_ends() -> None:
    first = {"node": "a", "interface": "e0", "master": "br0", "altnames": ["uplink"], "lacp": True, "delay": "20ms"}
    document = {
        "name": "lab",
        "links": [
            {
                "endpoints": [first, "b:e0:192.0.2.1/24"],
                "rate": "10mbit",
                "link_local": False,
                "offload": {"tso": False},
            },
            {"type": "vxlan", "endpoint": "a:vx0", "vni": 5, "remote": ["192.0.2.2"]},
        ],
    }
    topology = load(json.dumps(document).encode(), filename="lab.json")
    (link,), (tunnel,) = (Step("create", "link", one, source=one.place).as_dicts() for one in topology.links)
    common = {"rate": "10mbit", "link_local": False, "offload": {"tso": False}}
    assert link["endpoints"] == [
        {**first, "addresses": [], **common},
        {"node": "b", "interface": "e0", "addresses": ["192.0.2.1/24"], **common},
    ]
    assert tunnel["endpoints"] == [{"node": "a", "interface": "vx0", "addresses": []}]
    for step in (link, tunnel):
        validate(step, STEPS["link"])
