"""The schema accepts what load() accepts, and refuses what it can of the rest."""

# ruff: noqa: E501 - a table row is one line, so that file and words are read together

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from kokofast.generators.wiring import generate
from kokofast.kinds import KINDS
from kokofast.topology import TopologyError, load, schema
from kokofast.topology.shapes import NODE_RULES, shape
from tests.topology.test_kinds import TUNNEL, TWIN

LINK = {"endpoints": ["a:b", "c:d"]}
END = {"node": "n", "interface": "i"}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(schema())


def accepted(tree: object) -> bool:
    try:
        load(json.dumps(tree).encode(), filename="links.json")
    except TopologyError:
        return False
    return True


GOOD: list[Any] = [
    [],
    {"links": []},
    [LINK],
    [["a", "b"], ["b:eth7", {"node": "c"}], {"endpoints": ["a", "c"], "subnet": "10.1.0.0/16"}],
    {"defaults": {"subnet": "10.0.0.0/16", "subnet6": "2001:db8::/48"}, "links": [["a", "b"]]},
    [{"type": "dummy", "endpoint": "a"}],
    [
        {"type": "bridge", "endpoint": "a", "stp": True},
        {"type": "bridge", "endpoints": ["a", {"node": "b", "mtu": 68}, "c"]},
    ],
    [{"type": "bridge", "endpoints": ["a"], "bridge": "b:c", "mtu": 1400, "txqlen": 5}],
    {"defaults": {"type": "bridge"}, "links": [{"endpoints": ["a", "b", "c"]}]},
    generate("chain", links=3),
    {
        "hosts": {
            "h1": {"address": "192.0.2.1", "parent": "eth0"},
            "h2": {"address": "2001:db8::2", "parent": "eth0", "mtu": 9000, "vars": {"ansible_port": 2222, "x": [1.5]}},
        },
        "between": {"vni": "5-9", "port": 8472},
        "part": {"host": "h1", "lab": "x"},
        "nodes": {"a": {"host": "h1"}, "b": {"docker": "b", "host": "h2", "tags": {"rack": "1"}}, "h1": {"host": True}},
        "links": [
            {"endpoints": ["a", "b"], "between": "vlan"},
            {"endpoints": ["a", "b"], "between": {"type": "vlan", "id": 5}},
            {"type": "bridge", "endpoints": ["a", "b"], "between": {"vni": "7"}},
        ],
    },
    {
        "name": "fabric1",
        "defaults": {"mtu": 9000, "create": True, "type": "veth", "queues": "auto", "mac": "02:00:00:00:00:01"},
        "nodes": {
            "r1": {"docker": "clab-r1", "socket": "/run/docker.sock"},
            "r2": {"netns": "r2", "create": False},
            "r3": {"pid": 4711},
            "r4": {"path": "/run/netns/r4"},
            "r5": {"cri": "3f2a", "socket": "/run/crio/crio.sock"},
            "r6": {"podman": "p"},
            "me": {"host": True},
        },
        "links": [
            LINK | {"type": "veth", "mtu": 68, "txqlen": 0, "queues": 2, "up": False, "addresses": []},
            {"endpoints": [END | {"mirror": {"from": "e", "direction": "egress"}, "mac": "02-00-00-00-00-01"}, "r1:x"]},
        ],
    },
]

VXLAN = {"type": "vxlan", "endpoint": "a:x", "parent": "eth0", "remote": "192.0.2.9", "vni": 7}
GOOD += [
    {"$schema": "kokofast.schema.json", "links": []},
    [VXLAN],
    [{key: value for key, value in VXLAN.items() if key != "parent"} | {"remote": ["192.0.2.9", "192.0.2.8"]}],
    {"defaults": {"remote": "192.0.2.9", "vni": 7}, "links": [VXLAN | {"endpoint": "a:y", "vni": 8}, {k: VXLAN[k] for k in ("type", "endpoint", "parent")}]},
    [LINK | {"offload": False}, {"endpoints": [{"node": "a", "interface": "x", "offload": {"tx": False, "gro": True}}, "b:x"]}],
    {"defaults": {"offload": {"tso": False}}, "links": [LINK, VXLAN]},
    [{"type": "bridge", "endpoints": ["a", "b"], "offload": False}],
    {"defaults": {"type": "vxlan", "vni": 7}, "links": [{k: VXLAN[k] for k in ("endpoint", "parent", "remote")}]},
]  # fmt: skip

BAD: list[Any] = [
    5,
    {"$schema": 5, "links": []},
    *[[{key: value for key, value in VXLAN.items() if key != missing}] for missing in VXLAN.keys() - {"parent"}],
    *[
        {"links": [{key: value for key, value in VXLAN.items() if key != missing}]}
        for missing in VXLAN.keys() - {"parent"}
    ],
    [VXLAN | {"remote": [7]}],
    [LINK | {"offload": 0}],
    [VXLAN | {"offload": False}],
    [LINK | {"offload": {"lro": False}}],
    [LINK | {"offload": {"tx": 1}}],
    [{"type": "macvlan", "endpoint": "a:x"}],
    {"defaults": {"vni": 7}, "links": [{"type": "vxlan", "endpoint": "a:x", "parent": "eth0"}]},
    [{"type": "vlan", "endpoint": "a:x", "parent": "eth0"}],
    [{"type": "bridge", "endpoints": ["a", "b"], "endpoint": "c"}],
    [{"type": "bridge", "endpoints": "a"}],
    [{"type": "bridge", "endpoints": ["a"], "bridge": 5}],
    [{"type": "bridge", "endpoints": ["a"], "spt": True}],
    [{"endpoints": ["a", "b", "c"]}],
    {},
    {"links": [], "linkz": []},
    {"links": {}},
    {"links": [], "name": "-a"},
    {"links": [], "defaults": {"mtuu": 1}},
    {"links": [], "defaults": {"mtu": 10}},
    {"links": [], "nodes": {"a": {}}},
    {"links": [], "nodes": {"a": {"pid": 1, "netns": "b"}}},
    {"links": [], "nodes": {"a": {"pid": 0}}},
    {"links": [], "nodes": {"a": {"host": False}}},
    {"links": [], "nodes": {"a": {"path": "x"}}},
    [LINK | {"mtuu": 1}],
    [LINK | {"mtu": "1500"}],
    [LINK | {"mtu": 65536}],
    [LINK | {"queues": 0}],
    [LINK | {"queues": "x"}],
    [LINK | {"type": "x"}],
    [{"endpoints": ["a:b"]}],
    [{"endpoints": ["a:b", "c:d", "e:f"]}],
    [{"endpoints": ["a:b", ""]}],
    [{"endpoints": ["a:b", {"interface": "c"}]}],
    [["a"]],
    [["a", "b", "c"]],
    [["a", 5]],
    [LINK | {"subnet": 5}],
    [{"type": "dummy", "endpoint": "a", "subnet": "10.0.0.0/16"}],
    [{"endpoints": ["a:b", END | {"interface": "x" * 16}]}],
    [{"endpoints": ["a:b", END | {"x": 1}]}],
    [{"endpoints": ["a:b", END | {"mirror": {"direction": "both"}}]}],
]


@pytest.mark.parametrize("tree", GOOD)
def test_good(tree: object, validator: Draft202012Validator) -> None:
    assert accepted(tree)
    assert [error.message for error in validator.iter_errors(tree)] == []


@pytest.mark.parametrize("tree", BAD)
def test_bad(tree: object, validator: Draft202012Validator) -> None:
    assert not accepted(tree)
    assert not validator.is_valid(tree)


VALUES = st.sampled_from(
    [None, True, 0, 68, 1500, 70000, "auto", "veth", "a:b", "02:00:00:00:00:01", ["10.0.0.1/8"], [], {"from": "x"}, "10.0.0.0/8", "/x", "x"]
)  # fmt: skip
VETH = shape(KINDS["veth"])
SHARED = st.dictionaries(st.sampled_from(sorted(VETH.shared | VETH.subnets)), VALUES, max_size=2)
ENDS = st.sampled_from(["a:b", "c:d:10.0.0.1/8", "e"]) | SHARED.map(lambda given: END | given)
LINKS = st.builds(
    lambda ends, given: {"endpoints": ends} | given, st.lists(ENDS, min_size=2, max_size=2), SHARED
) | st.lists(ENDS, max_size=3)
NODES = st.dictionaries(
    st.sampled_from("abn"), st.dictionaries(st.sampled_from(sorted(NODE_RULES)), VALUES, max_size=2), max_size=1
)
TREES = st.fixed_dictionaries(
    {"links": st.lists(LINKS, max_size=2)}, optional={"nodes": NODES, "defaults": SHARED, "name": VALUES}
)


@given(TREES)
def test_schema_accepts_what_load_accepts(tree: object) -> None:
    if accepted(tree):
        Draft202012Validator(schema()).validate(tree)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_in_the_schema(name: str, validator: Draft202012Validator) -> None:
    ends = {"endpoints": ["a:b", "c:d"]} if KINDS[name].ends == 2 else {"endpoint": "a:b"}
    examples = {"int": 1, "str": "x", "bool": True, "ip": "192.0.2.9", "ips": ["192.0.2.9"], "interface": "eth0"}
    fields = {
        field.name: field.choices[0]
        if field.type == "choice"
        else max(field.minimum or 1, 1)
        if field.type == "int"
        else examples[field.type]
        for field in KINDS[name].fields
        if field.required
    }
    link = {"type": name, **ends, **fields}
    assert validator.is_valid([link])
    assert not validator.is_valid([link | {"nonsense": 1}])
    assert accepted([link])


def test_schema_of_other_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "tunnel", TUNNEL)
    monkeypatch.setitem(KINDS, "twin", TWIN)
    validator = Draft202012Validator(schema())
    Draft202012Validator.check_schema(schema())
    good = {"type": "tunnel", "endpoint": "a:b", "remote": "192.0.2.1", "key": 1, "mode": "fast"}
    assert validator.is_valid([good])
    assert validator.is_valid({"defaults": {"key": 2000, "mode": "even", "type": "twin"}, "links": []})
    wrongs: list[dict[str, object]] = [{"key": 101}, {"mode": "even"}, {"endpoints": []}, {"key": "1"}]
    for wrong in wrongs:
        assert not validator.is_valid([good | wrong])
