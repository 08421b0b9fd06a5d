"""Impairments in a file: where they may stand, what they become, and what is refused of them, with its place."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import yaml
from jsonschema import Draft202012Validator

from kokofast.ends.impairments import PROPERTY
from kokofast.ends.shaping import IMPAIRMENTS
from kokofast.topology import load, schema
from kokofast.topology.model import Topology
from tests.topology.test_load import problems

LINK = {"endpoints": ["a:e", "b:e"]}
ALL = {
    "delay": "20ms",
    "jitter": "2ms",
    "delay_correlation": "25%",
    "loss": "1%",
    "loss_correlation": "10%",
    "duplicate": "0.5%",
    "duplicate_correlation": "5%",
    "corrupt": "0.1%",
    "corrupt_correlation": "20%",
    "reorder": "5%",
    "reorder_correlation": "50%",
    "rate": "10mbit",
    "limit": 5000,
}
NUMBERS = {"delay": 20_000_000, "jitter": 2_000_000, "loss": 0x028F5C29, "rate": 1_250_000, "limit": 5000}


def read(tree: object, filename: str = "links.json") -> Topology:
    return load(json.dumps(tree).encode(), filename=filename)


def found(topology: Topology) -> list[dict[str, Any]]:
    ends = [end for link in topology.links for end in link.ends]
    return [dict(cast("dict[str, Any]", end.properties.get("impairments", {}))) for end in ends]


def test_each_impairment_is_a_field() -> None:
    assert {field.name for field in PROPERTY.fields} == set(IMPAIRMENTS) == set(ALL)


def test_a_link_says_it_for_both_ends() -> None:
    first, second = found(read([LINK | ALL]))
    assert first == second
    assert first.keys() == ALL.keys()
    assert {name: first[name] for name in NUMBERS} == NUMBERS


def test_an_end_overrides_its_link_and_a_link_the_defaults() -> None:
    end = {"node": "a", "interface": "e", "delay": "1ms"}
    tree = {
        "defaults": {"delay": "3ms", "loss": "1%"},
        "links": [{"endpoints": [end, "b:e"], "delay": "2ms"}, {"endpoints": ["a:f", "b:f"], "loss": "0%"}],
    }
    delays = [(one.get("delay"), one.get("loss")) for one in found(read(tree))]
    assert delays == [(10**6, 0x028F5C29), (2 * 10**6, 0x028F5C29), (3 * 10**6, 0), (3 * 10**6, 0)]


@pytest.mark.parametrize(
    "link",
    [
        {"type": "vxlan", "endpoint": "a:e", "parent": "up", "vni": 1, "remote": "192.0.2.1"},
        {"type": "vlan", "endpoint": "a:e", "parent": "up", "id": 1},
        {"type": "macvlan", "endpoint": "a:e", "parent": "up"},
        {"type": "ipvlan", "endpoint": "a:e", "parent": "up"},
        {"type": "dummy", "endpoint": "a:e"},
    ],
    ids=lambda link: link["type"],
)
def test_every_kind_takes_them(link: dict[str, object]) -> None:
    assert found(read([link | {"loss": "1%"}])) == [{"loss": 0x028F5C29}]


def test_without_any_there_are_none() -> None:
    ends = [end for link in read([LINK, LINK | {"endpoints": ["a:f", "b:f"]}]).links for end in link.ends]
    assert all(end.properties is ends[0].properties for end in ends)
    assert not ends[0].properties


def test_yaml_and_csv() -> None:
    wanted = found(read([LINK | ALL]))
    in_yaml = yaml.safe_dump({"links": [LINK | ALL]})
    assert found(load(in_yaml.encode(), filename="links.yaml")) == wanted
    header, row = ",".join(ALL), ",".join(map(str, ALL.values()))
    in_csv = f"a_node,a_if,b_node,b_if,{header}\na,e,b,e,{row}\n"
    assert found(load(in_csv.encode(), filename="links.csv")) == wanted


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (
            [LINK | {"delay": "20 sec"}],
            ['$[0].delay: \'20 sec\' is not a time: write for instance "20ms", "1.5s" or "100us"'],
        ),
        ([LINK | {"delay": 20}], ['$[0].delay: must be a time in text, such as "20ms", not 20']),
        ([LINK | {"rate": 10}], ['$[0].rate: must be a rate in text, such as "10mbit", not 10']),
        ([LINK | {"loss": 0.1}], ['$[0].loss: must be a percentage in text, such as "0.1%", not the number 0.1']),
        ([LINK | {"limit": "5"}], ["$[0].limit: must be a whole number from 1 to 4294967295, not '5'"]),
        ([LINK | {"delai": "1ms"}], ["$[0].delai: unknown key 'delai'; did you mean 'delay'?"]),
        (
            [{"endpoints": [{"node": "a", "interface": "e", "jitter": "1ms"}, "b:e"]}],
            ["$[0].endpoints[0].jitter: it has no effect without delay: give delay, too"],
        ),
        (
            {"defaults": {"reorder": "1%"}, "links": [LINK]},
            ["$.defaults.reorder: it has no effect without delay: give delay, too"],
        ),
        (
            [LINK | {"delay": "3s", "jitter": "2147483648ns"}],
            ["$[0].jitter: netem's jitter is 2.147483647s at most; give that or less"],
        ),
        ({"defaults": {"loss": "101%"}, "links": []}, ["$.defaults.loss: '101%' is more than 100%"]),
    ],
)
def test_problems(tree: object, expected: list[str]) -> None:
    assert problems(json.dumps(tree), "links.json") == expected


def test_the_place_in_a_table() -> None:
    text = "a_node,a_if,b_node,b_if,delay\na,e,b,e,20\n"
    assert problems(text.encode(), "links.csv") == [
        'links.csv:2 delay: \'20\' is not a time: write for instance "20ms", "1.5s" or "100us"'
    ]


@pytest.mark.parametrize(("value", "is_good"), [("20ms", True), (20, False)])
def test_the_schema(value: object, is_good: bool) -> None:
    tree: dict[str, Any] = {"defaults": ALL, "links": [LINK | ALL | {"delay": value}]}
    assert Draft202012Validator(schema()).is_valid(tree) == is_good
