"""Whatever the bytes, load() returns a Topology or raises TopologyError with printable problems."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.kinds import KINDS
from kokofast.topology import FORMATS
from kokofast.topology.shapes import FILE_KEYS, NODE_RULES, shape
from tests.fuzz.topology import must_answer

FILENAMES = st.sampled_from(["-", *(f"links.{name}" for name in FORMATS)])
KEYS = st.sampled_from(
    [*FILE_KEYS, *NODE_RULES, "type", "endpoints", "endpoint", "node", "interface", "mtu", "addresses", "mac", "mirror"]
)
WORDS = st.sampled_from(["a:b", "c:d:10.0.0.1/8", "veth", "10.0.0.1", "02:00:00:00:00:01", "auto", "\ud800", "\x1b"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
FILES = TREES | st.lists(TREES, max_size=3).map(lambda links: {"links": links})


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="replace")), FILENAMES)
def test_bytes(data: bytes, filename: str) -> None:
    must_answer(data, filename)


@given(FILES, FILENAMES)
def test_trees(tree: object, filename: str) -> None:
    must_answer(json.dumps(tree).encode(), filename)


@given(
    st.lists(
        st.lists(st.sampled_from(["a_node", "a_if", "b_node", "b_if", "mtu", "a", "pid:1", '"', " ", "70"])), max_size=4
    )
)
def test_rows(rows: list[list[str]]) -> None:
    must_answer("\n".join(["a_node,a_if,b_node,b_if", *(",".join(row) for row in rows)]).encode(), "links.csv")
    must_answer("\n".join(",".join(row) for row in rows).encode(), "links.csv")


@given(st.text("-:?[]{}&*!|>'\"%@`#, \na1~", max_size=30))
@settings(max_examples=300)
def test_yaml_text(text: str) -> None:
    must_answer(text.encode(), "links.yaml")


@given(st.text("-:?[]{}&*!|>'\"%@`#, \na1~", max_size=30))
def test_yaml_without_libyaml(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        must_answer(text.encode(), "links.yaml")


def test_shapes_are_made_once() -> None:
    assert shape(KINDS["veth"]) is shape(KINDS["veth"])
