"""Topologies written in Python: the same checks as a file has, and the place in the caller's code."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NotRequired, Required, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kokofast
from kokofast import Endpoint, Link, Node, Topology, TopologyError
from kokofast.kinds import KINDS
from kokofast.topology import fields, load, model
from kokofast.topology.rules import Rule
from kokofast.topology.segments import AT, BETWEEN
from kokofast.topology.shapes import HOST_RULES, NODE_RULES, ROUTING, between_rules, default_rules, shape


def problems_of(make: Callable[[], object]) -> list[str]:
    with pytest.raises(TopologyError) as failed:
        make()
    return [f"{problem.place}: {problem.message}" for problem in failed.value.problems]


def shown(topology: model.Topology) -> list[object]:
    """All that a topology has, but for the places."""
    return [
        topology.name,
        {
            name: (node.kind, node.target, node.create, node.addresses, node.sysctls)
            for name, node in topology.nodes.items()
        },
        [
            (
                link.kind,
                dict(link.options),
                [(end.node, end.ifname, end.mtu, end.mac, end.addresses, dict(end.properties)) for end in link.ends],
            )
            for link in topology.links
        ],
    ]


def test_what_is_written_in_code_is_what_is_written_in_a_file() -> None:
    file: dict[str, Any] = {
        "name": "lab",
        "defaults": {"subnet": "10.0.0.0/16"},
        "routing": "shortest-path",
        "nodes": {"r1": {"netns": "r1", "create": True}, "web": {"docker": "web"}},
        "links": [
            {"endpoints": ["r1:eth0", "web:eth0"], "mtu": 9000, "delay": "5ms"},
            ["r1", "r2"],
            {"endpoints": [{"node": "r1", "interface": "eth3", "mac": "02:aa:c1:00:00:01"}, "r3"]},
            {"type": "macvlan", "endpoint": "r2:m0", "parent": "r1:eth0"},
            {"type": "bridge", "endpoints": ["a", "b", "c"]},
            {"type": "bridge", "endpoints": ["a"]},
        ],
    }
    code = Topology(
        "lab",
        links=[
            Link("r1:eth0", "web:eth0", mtu=9000, delay="5ms"),
            ("r1", "r2"),
            Link(Endpoint("r1", "eth3", mac="02:aa:c1:00:00:01"), "r3"),
            Link("r2:m0", type="macvlan", parent="r1:eth0"),
            Link("a", "b", "c", type="bridge"),
            Link("a", type="bridge"),
        ],
        nodes=[Node("r1", netns="r1", create=True), Node("web", docker="web")],
        defaults={"subnet": "10.0.0.0/16"},
        routing="shortest-path",
    )
    built = load(json.dumps(file).encode(), filename="lab.json")
    assert shown(code) == shown(built) == shown(kokofast.loads(file)) == shown(kokofast.loads(json.dumps(file)))
    assert code.routing is not None
    assert isinstance(kokofast.loads(file), Topology)
    again = Topology("lab", (link for link in file["links"]), file["nodes"], defaults={"subnet": "10.0.0.0/16"})
    assert shown(again) == shown(built)
    assert all(node.create for node in Topology("lab", [("a", "b")], create=True).nodes.values())


def test_the_type_of_defaults_decides_how_many_ends_a_link_has() -> None:
    topology = Topology("lab", [Link("r1:d0")], defaults={"type": "dummy"})
    assert [link.kind for link in topology.links] == ["dummy"]


def test_errors_name_the_place_in_the_data_and_the_line_of_the_caller() -> None:
    links = [Link("a:eth0", "b:eth0"), Link("a:eth1", "b:eth1", mtu=1), Link("a:eth0", "c")]
    line = problems_line()
    node = Node("r1", docker="")
    with pytest.raises(TopologyError) as failed:
        Topology("lab", links, [node], defaults={"mtuu": 1}, routing="nosuch")  # type: ignore[arg-type]
    found = {problem.place: problem for problem in failed.value.problems}
    assert set(found) == {"defaults.mtuu", "routing", "nodes['r1'].docker", "links[1].mtu", "links[2].endpoints[0]"}
    assert found["links[1].mtu"].position == f"{__file__}:{line - 1}"
    assert found["nodes['r1'].docker"].position == f"{__file__}:{line + 1}"
    assert found["defaults.mtuu"].position == ""
    assert "did you mean 'mtu'?" in found["defaults.mtuu"].message
    assert "is already the end at links[0].endpoints[0]" in found["links[2].endpoints[0]"].message
    assert str(found["links[1].mtu"]).startswith(f"{__file__}:{line - 1} links[1].mtu: must be a whole number from 68")


def problems_line() -> int:
    import sys

    return sys._getframe(1).f_lineno


def test_problems_come_in_the_order_of_the_data() -> None:
    found = problems_of(
        lambda: Topology(
            "lab",
            [Link(f"a:e{number}", f"b:e{number}", mtu=1) for number in range(12)],
            [Node("x.y"), Node("x.y", netns="z"), Node("q", netns="")],
        )
    )
    places = [text.partition(": ")[0] for text in found]
    assert places == ["nodes['x.y']", "nodes['q'].netns", *(f"links[{number}].mtu" for number in range(12))]


HUGE = pytest.param(10**5000, id="huge")


@pytest.mark.parametrize("value", [1.5, float("nan"), HUGE, object(), {1, 2}, b"1500", [1500], None])
def test_a_value_of_another_type_is_a_problem_of_its_field(value: Any) -> None:
    (found,) = problems_of(lambda: Topology("lab", [Link("a", "b", mtu=value)]))
    assert found.startswith("links[0].mtu: must be a whole number from 68 to 65535, not ")
    assert len(found) < 150


WRONG: Any = [5]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Topology("lab", "a:b"), "links are a list, not 'a:b'"),
        (lambda: Topology("lab", nodes=WRONG), "nodes are Node objects, or a dict by name, not 5"),
        (lambda: Topology("lab", nodes=WRONG[0]), "nodes are a list, not 5"),
        (lambda: kokofast.loads({("a",): 1}), "keys of a topology are texts"),
        (lambda: kokofast.loads({"links": []}, format="json"), "format is for texts"),
    ],
)
def test_arguments_of_another_type(make: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        make()


def test_the_name_of_a_lab() -> None:
    assert problems_of(lambda: Topology("a/b"))[0].startswith("name: 'a/b' cannot be the lab's name")
    assert problems_of(lambda: Topology(5)) == ["name: must be text, not 5"]  # type: ignore[arg-type]
    assert problems_of(lambda: kokofast.loads([["a", "b"]])) == ["data: the lab has no name; give one with name="]
    assert problems_of(lambda: kokofast.loads('[["a", "b"]]')) == ["text: the lab has no name; give one with name="]
    assert kokofast.loads([["a", "b"]], name="x").name == "x"
    with pytest.raises(ValueError, match="cannot be the lab's name"):
        kokofast.loads([["a", "b"]], name="a/b")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "x", "links": [["a:e0", "b:e0"]]}',
        'name: x\nlinks:\n  - ["a:e0", "b:e0"]\n',
        '{"endpoints": ["a:e0", "b:e0"]}\n',
        "a_node,a_if,b_node,b_if\na,e0,b,e0\n",
    ],
)
def test_loads_recognises_the_format_of_a_text(text: str) -> None:
    for data in (text, text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        (link,) = kokofast.loads(data, name="y").links
        assert link.title() == "a:e0--b:e0"


def test_a_text_has_lines_and_columns() -> None:
    with pytest.raises(TopologyError) as failed:
        kokofast.loads('{"name": "x",\n"links": [{"endpoints": ["a", "b"], "mtu": 1}]}')
    assert str(failed.value).startswith("text:2:37 $.links[0].mtu: ")


def test_data_that_contain_themselves() -> None:
    links: list[Any] = []
    links.append(links)
    for make in (lambda: kokofast.loads(links, name="x"), lambda: Topology("x", links)):
        assert problems_of(make) == ["data: nested too deeply, or contains itself"]


def test_hosts_written_in_code() -> None:
    topology = Topology(
        "lab",
        links=[Link("a:x", "b:x"), Link("a:y", "b:y", between="macvlan")],
        nodes=[Node("a", host="h1"), Node("b", docker="web", host="h2", tags={"rack": "1"})],
        hosts={"h1": {"address": "192.0.2.1", "parent": "eth0"}, "h2": {"address": "192.0.2.2", "parent": "eth1"}},
        between={"type": "vlan", "id": "5-9"},
    )
    assert [(node.host, node.kind, dict(node.tags)) for node in topology.nodes.values()] == [
        ("h1", "netns", {}),
        ("h2", "docker", {"rack": "1"}),
    ]
    assert topology.underlay is not None
    assert [topology.underlay.between(link).kind for link in topology.links] == ["vlan", "macvlan"]
    assert problems_of(lambda: Topology("lab", nodes=[Node("a", host="h1")])) == [
        "nodes['a'].host: the file has no 'hosts'; add them, or leave this out"
    ]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["links", "endpoints", "nodes", "defaults", "type", "mtu", "name"]), inner)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_no_data_are_a_traceback(data: object) -> None:
    given: Any = data
    makes: list[Callable[[], object]] = [
        lambda: kokofast.loads({"name": "x", "links": data}),
        lambda: kokofast.loads({"name": "x", "links": [data], "nodes": data, "defaults": data, "routing": data}),
        lambda: Topology("x", [given]),
        lambda: Topology("x", [Link("a", "b", type=given, mirror=given, addresses=given)]),
    ]
    for make in makes:
        with contextlib.suppress(TopologyError):
            make()


# The types of fields, as fields.py has them.
HINTS: dict[str, object] = {
    "int": int,
    "bool": bool,
    "choice": str,
    "addresses": Sequence[str],
    "texts": Sequence[str],
    "queues": int | Literal["auto"],
    "mirror": fields.Mirror,
    "offload": bool | fields.Offload,
    "ips": str | Sequence[str],
    "gateways": str | Sequence[str],
    "routes": Sequence[fields.Route],
    "sysctls": Mapping[str, int | str],
    "host": Literal[True] | str,
    "tags": Mapping[str, str],
    "range": int | str,
    "variables": Mapping[str, object],
}


def wanted(rules: Mapping[str, Rule]) -> dict[str, object]:
    return {key: HINTS.get(rule.field.type, str) for key, rule in rules.items()}


def test_the_types_have_the_fields_of_the_schema() -> None:
    links: dict[str, Rule] = {}
    ends: dict[str, Rule] = {}
    for kind in KINDS.values():
        of_kind = shape(kind)
        ends |= of_kind.shared
        links |= {"type": of_kind.link["type"]} | of_kind.subnets | of_kind.options
    assert get_type_hints(fields.EndFields) == wanted(ends)
    assert get_type_hints(fields.LinkFields) == wanted(ends | links) | {AT: str, BETWEEN: str | fields.BetweenFields}
    assert get_type_hints(fields.DefaultFields) == wanted({key: rules[0] for key, rules in default_rules().items()})
    assert get_type_hints(fields.NodeFields) == wanted(NODE_RULES)
    assert get_type_hints(fields.BetweenFields) == wanted(between_rules())
    assert get_type_hints(fields.HostFields) == wanted(HOST_RULES)
    for record, rule in (
        (fields.Mirror, ends["mirror"]),
        (fields.Offload, ends["offload"]),
        (fields.Route, NODE_RULES["routes"]),
        (fields.Routing, ROUTING),
    ):
        assert rule.nested is not None
        extras = get_type_hints(record, include_extras=True)
        assert extras.keys() == rule.nested.keys()
        usual = NotRequired if record.__total__ else Required
        assert {key for key, hint in extras.items() if (get_origin(hint) is not usual) is record.__total__} == {
            key for key, one in rule.nested.items() if one.field.required
        }
